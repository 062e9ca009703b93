"""Probes in the kernel's functions, one and many, and programs at their entry and return.

Hosts without kprobes, fprobe or trampolines skip these by name; tests/vm runs them elsewhere.
"""

from __future__ import annotations

import os
import platform

import pytest

import pyebpf
from pyebpf import link
from pyebpf.host import probe_events, traceable
from tests.support import kernel
from tests.support.killed import killed
from tests.support.programs import only

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the programs name x86-64's functions"
)


def load(*names: str) -> pyebpf.Collection:
    """Load some of the programs; skip where the machine's policy forbids them."""
    spec = only("hooks_trace", *names)
    spec.variables["target_pid"].value = os.getpid()
    try:
        return pyebpf.load(spec)
    except pyebpf.PrivilegeError as error:
        if "a policy of this kernel" in str(error):
            pytest.skip("a policy of this kernel refuses programs that attach to functions")
        raise


def hits(bpf: pyebpf.Collection, name: str) -> int:
    value = bpf.variables[f"{name}_hits"].value
    assert isinstance(value, int)
    return value


def call(count: int = 1) -> None:
    for _ in range(count):
        os.getpgid(0)


@pytest.mark.parametrize("use_tracefs", [None, True], ids=["pmu", "tracefs"])
@pytest.mark.parametrize("kind", ["kprobe", "kretprobe"])
def test_a_kprobe_counts_calls(kind, use_tracefs, tracefs):
    """Exactly those while it is attached; the plain name of a system call will do."""
    with load(f"on_{kind}") as bpf:
        program = bpf.programs[f"on_{kind}"]
        for function in ("__x64_sys_getpgid", "sys_getpgid"):
            with link.attach_kprobe(
                program, function, retprobe=kind == "kretprobe", use_tracefs=use_tracefs
            ):
                call(3)
            call()
        assert hits(bpf, kind) == 6
        assert probe_events.ours() == []


def test_a_link_tells_where_its_kprobe_is():
    """Function, offset, return or not (Linux 6.6)."""
    with (
        load("on_kprobe") as bpf,
        link.attach_kprobe(bpf.programs["on_kprobe"], "__x64_sys_getpgid") as attached,
    ):
        details = attached.info()
        assert details.program_id == bpf.programs["on_kprobe"].id
        if isinstance(details, link.KprobeDetails):
            assert details.function == "__x64_sys_getpgid"
            assert not details.retprobe


def test_maxactive_is_given_to_tracefs(tracefs):
    """And shows in its list of probes."""
    with load("on_kretprobe") as bpf:
        with link.attach_kprobe(
            bpf.programs["on_kretprobe"], "__x64_sys_getpgid", retprobe=True, maxactive=7
        ):
            text = (tracefs / "kprobe_events").read_text()
            assert any(line.startswith("r7:pyebpf_") for line in text.splitlines())
            call()
        assert hits(bpf, "kretprobe") == 1
        with pytest.raises(ValueError, match="maxactive"):
            link.attach_kprobe(bpf.programs["on_kretprobe"], "__x64_sys_getpgid", maxactive=7)


def test_functions_that_are_not_there_are_named():
    """With near ones."""
    with load("on_kprobe") as bpf:
        link.attach_kprobe(bpf.programs["on_kprobe"], "__x64_sys_getpgid").close()
        with pytest.raises(pyebpf.AttachError, match=r"no function .*near: .*getpgid"):
            link.attach_kprobe(bpf.programs["on_kprobe"], "__x64_sys_getpgidd")


def test_a_ksyscall_needs_just_the_calls_name():
    """By the function, and by SEC("ksyscall/getpgid")."""
    with load("on_ksyscall") as bpf:
        with pyebpf.attach(bpf.programs["on_ksyscall"]):
            call(2)
        with link.attach_ksyscall(bpf.programs["on_ksyscall"], "getpgid", retprobe=True):
            call(1)
        call()
        assert hits(bpf, "ksyscall") == 3


def test_a_kprobe_of_a_killed_process_is_found_and_removed(tracefs):
    """Tracefs keeps the probe; clean_up() takes it away."""
    with load("on_kprobe") as bpf:
        program = bpf.programs["on_kprobe"]
        link.attach_kprobe(program, "__x64_sys_getpgid").close()
        with killed(
            lambda: link.attach_kprobe(program, "__x64_sys_getpgid", use_tracefs=True)
        ) as child:
            assert [(each.kind, each.pid) for each in link.leftovers()] == [("probe", child)]
            assert [each.pid for each in link.clean_up()] == [child]
    assert probe_events.ours() == []


def test_many_functions_by_pattern_and_by_name():
    """SEC("kprobe.multi/__x64_sys_getp*id") has getpgid among its matches.

    And getppid, where the kernel lists it under this name: system calls without arguments have
    several.
    """
    listed = set(traceable.functions("__x64_sys_getp*id"))
    with load("on_kprobe_multi") as bpf:
        program = bpf.programs["on_kprobe_multi"]
        with pyebpf.attach(program) as attached:
            call()
            os.getppid()
            before = hits(bpf, "kprobe_multi")
            assert before == len(listed & {"__x64_sys_getpgid", "__x64_sys_getppid"}) > 0
            details = attached.info()
            if isinstance(details, link.KprobeMultiDetails):
                assert details.count == len(listed)
        functions = ["__x64_sys_getpgid", "__x64_sys_getsid"]
        with link.attach_kprobe_multi(
            program, functions=functions, retprobe=True, cookies=[5, 6]
        ) as attached:
            call()
            os.getsid(0)
            details = attached.info()
            if isinstance(details, link.KprobeMultiDetails):
                assert set(details.cookies) in ({5, 6}, set())  # told since Linux 6.9
        os.getsid(0)
        assert hits(bpf, "kprobe_multi") == before + 2
        with pytest.raises(pyebpf.AttachError, match="no function of the kernel matches"):
            link.attach_kprobe_multi(program, pattern="nothing_like_this_*")
        for name in ("nothing_like_this", "__x64_sys_getpgidd"):
            near = r" \(near: .*__x64_sys_getpgid" if name != "nothing_like_this" else "$"
            with pytest.raises(pyebpf.SyscallError, match=f"no function {name}{near}"):
                link.attach_kprobe_multi(program, functions=["__x64_sys_getpgid", name])


def test_a_session_runs_at_entry_and_return():
    """Twice a call (Linux 6.10)."""
    with load("on_kprobe_session") as bpf:
        with pyebpf.attach(bpf.programs["on_kprobe_session"]):
            call(2)
        assert hits(bpf, "kprobe_session") == 4


@pytest.mark.parametrize("kind", ["fentry", "fexit"])
def test_a_program_at_the_entry_or_return_of_a_function(kind):
    """By its section's name; exactly the calls while it is attached."""
    with load(f"on_{kind}") as bpf:
        with pyebpf.attach(bpf.programs[f"on_{kind}"]) as attached:
            call(3)
            assert attached.info().program_id == bpf.programs[f"on_{kind}"].id
            with pytest.raises(pyebpf.SyscallError, match="attached already"):
                pyebpf.attach(bpf.programs[f"on_{kind}"])
        call()
        assert hits(bpf, kind) == 3


def test_a_tracing_program_has_a_cookie():
    """Which it asks for (Linux 5.19)."""
    with load("on_fentry") as bpf:
        with link.attach_tracing(bpf.programs["on_fentry"], cookie=77):
            call()
        assert bpf.variables["cookies"].value == 77


def test_a_security_program_denies(tmp_path):
    """mkdir(2) of this process alone, while it is attached and says so."""
    with load("on_lsm") as bpf:
        with pyebpf.attach(bpf.programs["on_lsm"]):
            (tmp_path / "allowed").mkdir()
            if not hits(bpf, "lsm"):
                pytest.skip("bpf is not among the active security modules")
            bpf.variables["lsm_verdict"].value = -1
            with pytest.raises(PermissionError):
                (tmp_path / "denied").mkdir()
        (tmp_path / "free again").mkdir()
        assert hits(bpf, "lsm") == 2


def test_a_security_program_is_attached_by_its_own_function():
    """And no other kind of program is."""
    with load("on_lsm", "on_kprobe") as bpf:
        with link.attach_lsm(bpf.programs["on_lsm"]) as attached:
            assert attached.info().program_id == bpf.programs["on_lsm"].id
        with pytest.raises(pyebpf.AttachError, match="not LSM"):
            link.attach_lsm(bpf.programs["on_kprobe"])


def test_a_program_takes_the_place_of_another_programs_function():
    """Of the one it was loaded for, and of a second one of the same form."""
    with (
        pyebpf.load(only("subprogs", "first")) as one,
        pyebpf.load(only("subprogs", "first")) as two,
    ):
        spec = only("attach_target", "nine_more")
        spec.programs["nine_more"].attach_target = one.programs["first"]
        try:
            replacing = pyebpf.load(spec)
        except pyebpf.PrivilegeError:
            pytest.skip("a policy of this kernel refuses programs that attach to functions")
        with replacing:
            program, packet = replacing.programs["nine_more"], bytes(64)
            with pyebpf.attach(program):
                assert one.programs["first"].run(packet).retval == 4321 + 9
            assert one.programs["first"].run(packet).retval == 4321
            with link.attach_freplace(program, two.programs["first"], "tens"):
                assert two.programs["first"].run(packet).retval == 4321 + 9
                assert one.programs["first"].run(packet).retval == 4321
                name = "another program replaces that function"
                if kernel.version() >= (5, 13):  # which tells what a link replaces
                    name = rf'program {program.id} "nine_more" replaces that'
                with pytest.raises(pyebpf.SyscallError, match=name):
                    link.attach_freplace(program, two.programs["first"], "tens")
            assert two.programs["first"].run(packet).retval == 4321
            with pytest.raises(pyebpf.AttachError, match="no function elevens"):
                link.attach_freplace(program, two.programs["first"], "elevens")
