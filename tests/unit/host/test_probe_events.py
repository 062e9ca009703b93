"""Probes in tracefs: the lines that are written, and which of those there are ours."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest

from pyebpf.errors import LoadError, NotSupportedError, PrivilegeError
from pyebpf.host import probe_events
from pyebpf.host.processes import pid_namespace, started
from pyebpf.sys import privileges

LISTED = """p:kprobes/others vfs_read
p:pyebpf_12_345/p_vfs_read_0badcafe vfs_read+4
r7:pyebpf_12_345/r_vfs_open_deadbeef vfs_open
p:pyebpf_x/odd vfs_open
"""


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root with a tracefs of plain files."""
    tracing = tmp_path / "sys/kernel/tracing"
    (tracing / "events").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    (tracing / "kprobe_events").write_text(LISTED)
    (tracing / "uprobe_events").write_text("p:pyebpf_9_9/p_bash_1 /bin/bash:0x10(0x20)\n")
    return tmp_path


def test_ours_are_told_from_others(root):
    """By the group's name, which says whose they are."""
    found = probe_events.ours(str(root))
    assert [(each.kind, each.name, each.place, each.pid, each.start) for each in found] == [
        ("kprobe", "p_vfs_read_0badcafe", "vfs_read+4", 12, 345),
        ("kprobe", "r_vfs_open_deadbeef", "vfs_open", 12, 345),
        ("uprobe", "p_bash_1", "/bin/bash:0x10(0x20)", 9, 9),
    ]


def test_removing_names_the_probe(root):
    """One line, behind what is there."""
    event = probe_events.ours(str(root))[1]
    probe_events.remove(event, str(root))
    text = (root / "sys/kernel/tracing/kprobe_events").read_text()
    assert text == LISTED + "-:pyebpf_12_345/r_vfs_open_deadbeef\n"


@pytest.mark.parametrize(
    ("options", "head"),
    [({}, "p"), ({"retprobe": True}, "r"), ({"retprobe": True, "maxactive": 9}, "r9")],
)
def test_a_new_one_is_in_this_processs_group(root, options, head):
    """And is removed again when its number cannot be read."""
    with pytest.raises(LoadError):
        probe_events.add("uprobe", "/lib/libc.so.6:0x10", root=str(root), **options)
    lines = (root / "sys/kernel/tracing/uprobe_events").read_text().splitlines()[1:]
    group = f"pyebpf_{os.getpid()}_{started(os.getpid())}_{pid_namespace()}"
    assert lines[0].startswith(f"{head}:{group}/{head[0]}_libc_so_6_0x10_")
    assert lines[0].endswith(" /lib/libc.so.6:0x10")
    name = lines[0].split("/")[1].split()[0]
    assert lines[1:] == [f"-:{group}/{name}"]
    assert len(name) < 64


def test_a_kernel_without_them_says_so(root):
    """The file is not there."""
    (root / "sys/kernel/tracing/kprobe_events").unlink()
    with pytest.raises(NotSupportedError, match="kprobes in tracefs"):
        probe_events.add("kprobe", "vfs_read", root=str(root))
    assert [each.kind for each in probe_events.ours(str(root))] == ["uprobe"]


def test_when_a_process_started():
    """The same at each call, and nothing for one that is not there."""
    assert started(os.getpid()) == started(os.getpid()) > 0
    assert started((1 << 22) + 1) == -1


def test_lockdown_is_named_and_has_nothing_to_list(root, monkeypatch):
    """Where tracefs may not be opened by anybody, there is nothing to find; a user is told why."""

    def refused(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(pathlib.Path, "read_text", refused)
    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(probe_events, "started", lambda pid: 5)
    for module in (probe_events, privileges):
        monkeypatch.setattr(module, "lockdown", lambda: "confidentiality")
    assert probe_events.ours(str(root)) == []
    with pytest.raises(PrivilegeError, match="kernel lockdown is at confidentiality"):
        probe_events.add("kprobe", "vfs_read", root=str(root))
    for module in (probe_events, privileges):
        monkeypatch.setattr(module, "lockdown", lambda: "")
    with pytest.raises(PrivilegeError, match="is for root only"):
        probe_events.ours(str(root))
