"""Why something was refused, read from a made /proc and /sys."""

from __future__ import annotations

import os
import pathlib
import resource

import pytest

from pyebpf.sys import memlock, privileges
from pyebpf.uapi.bpf import AttachType, Cmd, MapType, ProgType

NONE, BPF, PERFMON, NET, ADMIN = 0, 1 << 39, 1 << 38, 1 << 12, 1 << 21
ALL = (1 << 41) - 1


@pytest.fixture
def system(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, text in {
        "proc/self/status": f"Name:\tpython\nCapEff:\t{NONE:016x}\n",
        "proc/self/uid_map": "         0          0 4294967295\n",
        "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
        "proc/sys/kernel/perf_event_paranoid": "3\n",
        "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def grant(system: pathlib.Path, mask: int) -> str:
    (system / "proc/self/status").write_text(f"CapEff:\t{mask:016x}\n")
    return str(system)


@pytest.mark.parametrize(
    ("mask", "cmd", "kind", "wanted"),
    [
        (NONE, Cmd.MAP_CREATE, MapType.HASH, "needs CAP_BPF (or CAP_SYS_ADMIN)"),
        (BPF, Cmd.MAP_CREATE, MapType.DEVMAP, "needs CAP_NET_ADMIN (or CAP_SYS_ADMIN)"),
        (NONE, Cmd.PROG_LOAD, ProgType.KPROBE, "needs CAP_BPF and CAP_PERFMON"),
        (BPF, Cmd.PROG_LOAD, ProgType.TRACEPOINT, "needs CAP_PERFMON"),
        (BPF | PERFMON, Cmd.PROG_LOAD, ProgType.XDP, "needs CAP_NET_ADMIN"),
        (NET, Cmd.PROG_LOAD, ProgType.SOCKET_FILTER, "needs CAP_BPF"),
        (BPF | PERFMON | NET, Cmd.PROG_GET_FD_BY_ID, None, "needs CAP_SYS_ADMIN"),
        (BPF, Cmd.PROG_ATTACH, None, "needs CAP_NET_ADMIN"),
        (ALL, Cmd.OBJ_PIN, None, "not on a bpf file system"),
        (
            ADMIN,
            Cmd.PROG_LOAD,
            ProgType.TRACING,
            "policy of this kernel or machine may forbid BPF_PR",
        ),
        (ALL, Cmd.PROG_LOAD, ProgType.TRACING, "kernel lockdown is at integrity"),
    ],
)
def test_what_is_missing_is_named(
    system: pathlib.Path, mask: int, cmd: Cmd, kind: int | None, wanted: str
) -> None:
    """The capabilities this command and kind need and this process lacks; else other reasons."""
    text = privileges.explain(
        cmd,
        program_type=kind if cmd is Cmd.PROG_LOAD else None,
        map_type=kind if cmd is Cmd.MAP_CREATE else None,
        root=grant(system, mask),
    )
    assert wanted in text


def test_the_sysctl_is_named_only_with_a_missing_capability(system: pathlib.Path) -> None:
    """kernel.unprivileged_bpf_disabled does not bind the privileged."""
    sysctl = "kernel.unprivileged_bpf_disabled=2"
    assert sysctl in privileges.explain(root=grant(system, NONE))
    assert sysctl not in privileges.explain(root=grant(system, ALL))


def test_a_user_namespaces_root_is_told(system: pathlib.Path) -> None:
    """All capabilities, but of another namespace than the initial one."""
    (system / "proc/self/uid_map").write_text("0 1000 1\n")
    assert "user namespace" in privileges.explain(root=grant(system, ALL))
    assert "user namespace" in privileges.explain_perf(root=grant(system, ALL))


def test_perf_names_its_own_sysctl(system: pathlib.Path) -> None:
    """CAP_PERFMON, and how paranoid the kernel is."""
    text = privileges.explain_perf(root=grant(system, NONE))
    assert "CAP_PERFMON" in text
    assert "kernel.perf_event_paranoid=3" in text
    assert "lockdown is at integrity" in privileges.explain_perf(root=grant(system, ALL))


def test_what_was_tried_is_said_where_the_type_leaves_it_open(system: pathlib.Path) -> None:
    """Tracing of one kind may be allowed, of another forbidden."""
    text = privileges.explain(
        program_type=ProgType.TRACING, attach_type=AttachType.TRACE_FENTRY, root=grant(system, ALL)
    )
    assert "may forbid BPF_PROG_TYPE_TRACING with BPF_TRACE_FENTRY" in text


@pytest.mark.parametrize(
    ("answer", "release", "blamed"),
    [
        (True, "6.12.1", True),
        (False, "5.10.0-30-amd64", False),
        (None, "5.10.0-30-amd64", True),
        (None, "5.11.0", False),
        (None, "unknown", False),
    ],
)
def test_the_memory_limit_is_blamed_if_the_kernel_charges_to_it(
    system: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bool | None,
    release: str,
    blamed: bool,
) -> None:
    """The kernel's answer counts, its release only where it has none."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64 << 10, 64 << 10))
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "", release, "", "")))
    text = privileges.explain(
        program_type=ProgType.XDP, charged=lambda: answer, root=grant(system, ALL)
    )
    assert ("RLIMIT_MEMLOCK is 64 KiB" in text) == blamed


def test_an_unlimited_process_is_not_told_of_the_limit(
    system: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is not even asked."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    text = privileges.explain(Cmd.MAP_CREATE, charged=pytest.fail, root=grant(system, ALL))
    assert "RLIMIT_MEMLOCK" not in text


def test_without_proc_nothing_wrong_is_said(tmp_path: pathlib.Path) -> None:
    """An empty root: no capability is claimed to be missing."""
    assert "CAP_" not in privileges.explain(Cmd.OBJ_PIN, root=str(tmp_path))
    for said in (
        privileges.explain(Cmd.MAP_CREATE, root=str(tmp_path)),
        privileges.explain_perf(root=str(tmp_path)),
    ):
        assert said.startswith("takes CAP_")
        assert said.endswith("there is no /proc to say whether this process has that")


def test_a_limit_that_cannot_be_raised_is_no_error() -> None:
    """raise_limit says whether it helped; afterwards the soft limit is at least what it was."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    helped = memlock.raise_limit()
    after = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert helped == (after != before)
    if not helped:
        assert not memlock.raise_limit()


def test_the_soft_limit_rises_to_the_hard_one() -> None:
    """Which needs no privilege; to infinity where there is the privilege for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, hard))
    try:
        assert memlock.raise_limit()
        assert resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] in (hard, resource.RLIM_INFINITY)
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
