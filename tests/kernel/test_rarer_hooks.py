"""Hooks that fewer kernels have, by real effect: what a host lacks is skipped by name.

The programs are assembled here: each counts in the first element of ``hits``, for this process.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import struct

import pytest

import pyebpf
from pyebpf import AttachType, MapSpec, MapType, ProgramSpec, link
from pyebpf.spec import CollectionSpec
from tests.support import kernel
from tests.support.cgroups import joined

PACKET = bytes(64)
# For other processes it returns what the hook has for "go on".
OURS = """
    r6 = r1
    call bpf_get_current_pid_tgid
    r0 >>= 32
    if r0 == PID goto ours
    r0 = GO_ON
    exit
ours:
    r1 = map[hits][0] ll
    r2 = 1
    lock *(u64 *)(r1 + 0) += r2
"""


def load(section: str, code: str, *, go_on: int = 0, everybody: bool = False) -> pyebpf.Collection:
    """Load one program, which begins with `OURS`; skip where a policy forbids its kind."""
    head = OURS.partition("ours:\n")[2].replace("r1 =", "r6 = r1\n r1 =", 1) if everybody else OURS
    program = ProgramSpec.assemble(
        "program",
        head + code,
        section=section,
        license="GPL",
        constants={"PID": os.getpid(), "GO_ON": go_on, "EPERM": errno.EPERM},
    )
    hits = MapSpec(name="hits", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1)
    try:
        return pyebpf.load(CollectionSpec(maps={"hits": hits}, programs={"program": program}))
    except pyebpf.PrivilegeError as error:
        if "a policy of this kernel" in str(error):
            pytest.skip("a policy of this kernel refuses programs that attach to functions")
        raise


def hits(bpf: pyebpf.Collection) -> int:
    with bpf.maps["hits"].raw as raw:
        return int(struct.unpack("=Q", raw[bytes(4)])[0])


# --- functions of the kernel -------------------------------------------------------------------


def test_a_function_returns_what_a_program_says(tmp_path):
    """Fmod_ret on a security hook: mkdir(2) of this process is refused, and only meanwhile."""
    kernel.needs("5.7", "fmod_ret")
    if kernel.lacks_function("security_path_mkdir"):
        pytest.skip("this kernel has no security hooks of paths (CONFIG_SECURITY_PATH)")
    with load("fmod_ret/security_path_mkdir", "r0 = -1; exit") as bpf:
        (tmp_path / "before").mkdir()
        with pyebpf.attach(bpf.programs["program"]) as attached:
            with pytest.raises(PermissionError):
                (tmp_path / "denied").mkdir()
            details = attached.info()
            assert isinstance(details, link.TracingDetails)
            assert details.attach_type == AttachType.MODIFY_RETURN
        (tmp_path / "after").mkdir()
        assert hits(bpf) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it names a function of x86-64")
def test_a_session_runs_at_the_entry_and_the_return_of_a_function():
    """Fsession: twice for each call."""
    kernel.needs("7.0", "fsession")
    with load("fsession/__x64_sys_getpgid", "r0 = 0; exit") as bpf:
        with pyebpf.attach(bpf.programs["program"]):
            for _ in range(3):
                os.getpgid(0)
        os.getpgid(0)
        assert hits(bpf) == 6


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it names functions of x86-64")
@pytest.mark.parametrize("kind", ["fentry", "fexit", "fsession"])
def test_one_link_is_at_many_functions(kind):
    """By the section's pattern: two system calls of three, a session at both ends of each.

    Those without arguments may be listed under another name of theirs: none of them is called.
    """
    kernel.needs("7.2", "many functions by one link")
    with load(f"{kind}.multi/__x64_sys_get[ps]*id", "r0 = 0; exit") as bpf:
        with pyebpf.attach(bpf.programs["program"]) as attached:
            os.getpgid(0)
            os.getsid(0)
            os.getpriority(os.PRIO_PROCESS, 0)
            assert attached.info().program_id == bpf.programs["program"].id
        os.getpgid(0)
        assert hits(bpf) == (4 if kind == "fsession" else 2)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it names functions of x86-64")
def test_functions_of_one_link_have_their_cookies():
    """Named one by one; what is no function is named, too."""
    kernel.needs("7.2", "many functions by one link")
    cookies = "r1 = r6; call bpf_get_attach_cookie; r1 = map[hits][0] ll; "
    cookies += "lock *(u64 *)(r1 + 0) += r0; r0 = 0; exit"
    with load("fentry.multi/__x64_sys_getpgid", cookies) as bpf:
        program = bpf.programs["program"]
        names = ["__x64_sys_getpgid", "__x64_sys_getsid"]
        with link.attach_tracing_multi(program, functions=names, cookies=[100, 1000]):
            os.getpgid(0)
            os.getsid(0)
        assert hits(bpf) == 2 + 1100
        with pytest.raises(pyebpf.AttachError, match="no function nothing_like_this"):
            link.attach_tracing_multi(program, functions=["nothing_like_this"])
        with pytest.raises(pyebpf.AttachError, match=r"matches nothing_like_\*"):
            link.attach_tracing_multi(program, pattern="nothing_like_*")
        with pytest.raises(pyebpf.AttachError, match="attach_tracing_multi"):
            link.attach_tracing(program)
        with pytest.raises(ValueError, match="1 cookies for 2 functions"):
            link.attach_tracing_multi(program, functions=names, cookies=[1])
        with pytest.raises(ValueError, match="pattern or functions"):
            link.attach_tracing_multi(program)


# --- security hooks ----------------------------------------------------------------------------


def test_a_security_program_may_sleep(tmp_path):
    """It reads memory of the process, which may have to be fetched, and then denies open(2)."""
    # Linux 5.10 lets programs of bprm_committed_creds sleep, no others.
    kernel.needs("5.11", "sleepable programs of this hook")
    code = """
        r1 = r10
        r1 += -8
        r2 = 8
        r3 = 0                              # nothing is there: the helper fails, after it tried
        call bpf_copy_from_user
        if r0 == 0 goto go_on
        r0 = -1
        exit
    go_on:
        r0 = 0
        exit
    """
    with load("lsm.s/file_open", code) as bpf:
        with pyebpf.attach(bpf.programs["program"]):
            try:
                os.close(os.open(tmp_path, os.O_RDONLY))
            except PermissionError:
                pass
            else:
                assert hits(bpf) == 0
                pytest.skip("bpf is not among the active security modules")
        os.close(os.open(tmp_path, os.O_RDONLY))
        assert hits(bpf) == 1


def test_a_security_program_watches_one_control_group(cgroup):
    """Lsm_cgroup: sockets are refused to the group's processes alone; 0 means no."""
    kernel.needs("6.0", "lsm_cgroup")
    with load("lsm_cgroup/socket_create", "r0 = 0; exit", go_on=1) as bpf:
        program = bpf.programs["program"]
        with link.attach_lsm(program, cgroup=cgroup) as attached:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
            with joined(cgroup), pytest.raises(PermissionError):
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            assert attached.info().program_id == program.id
            found = pyebpf.query(cgroup, AttachType.LSM_CGROUP)
            assert [each.program_id for each in found.programs] == [program.id]
        with joined(cgroup):
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        assert hits(bpf) == 1
        with pytest.raises(pyebpf.AttachError, match="attach_cgroup"):
            link.attach_lsm(program)


# --- tracepoints -------------------------------------------------------------------------------


def test_a_raw_tracepoint_writes_what_it_is_given():
    """The result of a test run, at the tracepoint that the kernel has for this."""
    kernel.needs("5.2", "writable raw tracepoints")
    code = """
        r1 = *(u64 *)(r6 + 0)
        w2 = -ERROR
        *(u32 *)(r1 + 0) = w2
        r0 = 0
        exit
    """.replace("ERROR", str(errno.EREMOTEIO))
    with (
        load("raw_tp.w/bpf_test_finish", code) as bpf,
        load("socket", "r0 = 0; exit", everybody=True) as other,
    ):
        victim = other.programs["program"]
        victim.run(PACKET)
        with (
            pyebpf.attach(bpf.programs["program"]),
            pytest.raises(pyebpf.SyscallError, match="EREMOTEIO"),
        ):
            victim.run(PACKET)
        victim.run(PACKET)
        assert hits(bpf) == 1
        assert hits(other) == 3
