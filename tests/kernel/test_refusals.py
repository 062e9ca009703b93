"""Programs refused for real: each known cause, with its line of C, its instruction and registers.

Which words kernels have for them differs, so what is compared is what the library makes of them.
"""

from __future__ import annotations

import errno
import pathlib
import pickle
import resource
import struct
import sys
from collections.abc import Callable

import pytest

import pyebpf
from pyebpf import AttachType, ProgType
from pyebpf.programs.load import LoadRequest, load
from pyebpf.sys import kernel
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import Cmd, ProgFlag
from pyebpf.uapi.helpers import FuncId
from tests.support import refusals
from tests.support.children import outcome_as_nobody

RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
POLICY = "the kernel gave no reason, and no capability is missing"


def insn(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


EXIT = insn(0x95)
RANDOM = insn(0x85, immediate=FuncId.get_prandom_u32)


def refusal_of(
    code: bytes, kind: ProgType = ProgType.SOCKET_FILTER, flags: int = 0, attach_type: int = 0
) -> pyebpf.EbpfError | None:
    attr = ProgLoad(
        prog_type=kind, license=b"GPL\0", prog_flags=flags, expected_attach_type=attach_type
    )
    try:
        # With a log at once: the verifier takes its time for some of these.
        fd, _ = load(LoadRequest(attr=attr, code=code, log_level=1))
    except pyebpf.EbpfError as error:
        return error
    fd.close()
    return None


@pytest.mark.parametrize("name", refusals.PROGRAMS)
def test_a_refused_program_says_why_and_where(name):
    """Cause, line of C and instruction of every program that is made to be refused."""
    known = refusals.PROGRAMS[name]
    with pytest.raises(pyebpf.VerifierError) as caught:
        pyebpf.load(refusals.spec_of(name)).close()
    error = caught.value
    assert str(error).startswith(f'load program "{name}": BPF_PROG_LOAD: E')
    assert "\n" not in str(error)
    if "not supported yet" in str(error):
        return  # before Linux 5.12 global functions take no pointers but the context
    assert error.instruction in (known.instruction, "")
    if known.line:
        assert known.line in error.source.text
        assert f"--> refused.bpf.c:{error.source.line}:" in error.explain()
    # Before Linux 5.14 the kind has no helper that sleeps at all.
    if not (name == "sleeping_helper" and "helper not allowed" in error.cause):
        assert known.cause in error.cause
    assert f"note: {error.cause}" in error.explain()
    assert pickle.loads(pickle.dumps(error)).explain() == error.explain()


def fork(count: int) -> bytes:
    """Return code with so many ways through it, all different to the end."""
    code = insn(0xB7, 6)
    for bit in range(count):
        code += RANDOM + insn(0x15, 0, 0, 1, 0) + insn(0x07, 6, 0, 0, 1 << bit)
    return code + insn(0xBF, 0, 6) + insn(0x55, 0, 0, 1, 0x123456) + EXIT + EXIT


def waiting(count: int) -> bytes:
    """Return code with so many branches that wait to be followed at the same time."""
    branches = (insn(0x25, 0, 0, count - at - 1, 0x7FFFFFFF - at) for at in range(count))
    return RANDOM + b"".join(branches) + RETURN_ZERO


def calls(depth: int) -> bytes:
    """Return functions of which each calls the next."""
    return (insn(0x85, 0, 1, 0, 1) + EXIT) * depth + RETURN_ZERO


@pytest.mark.parametrize(
    ("code", "cause", "slot"),
    [
        (fork(24), "too complex: the verifier gave up after 1000001", None),
        (waiting(9000), "too complex: more than 8192 branches", None),
        (calls(40), "calls too deep", None),
        (EXIT, "R0 is read, but nothing was put in it", 0),
        (RETURN_ZERO * 2, "not well formed", 2),
        (insn(0x05, offset=100) + EXIT, "not well formed", 0),
        (insn(0xFF) + EXIT, "unknown to this kernel", None),
        (insn(0x18, 1, 1, 0, 9999) + insn(0) + RETURN_ZERO, "descriptor", None),
        (insn(0xBF, 0, 1) + insn(0x27, 0, 0, 0, 3) + EXIT, "adding or subtracting", 1),
        (insn(0x7B, 10, 1, -9) + RETURN_ZERO, "no multiple of the size", 0),
    ],
    ids=[
        "paths",
        "branches",
        "calls",
        "return value",
        "unreachable",
        "jump",
        "opcode",
        "map",
        "arithmetic",
        "alignment",
    ],
)
def test_causes_that_no_compiler_makes(code, cause, slot):
    """Code by hand: causes in words, and the slot where there is one."""
    error = refusal_of(code)
    assert isinstance(error, pyebpf.VerifierError)
    assert cause in error.cause
    assert f"note: {error.cause}" in error.explain()
    if slot is not None:
        assert error.slot == slot


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (b"", "the program has no instructions"),
        (RETURN_ZERO[:8] * 1_000_000 + EXIT, "1,000,001 instructions, more than"),
    ],
    ids=["none", "too many"],
)
def test_sizes_no_kernel_takes(code, text):
    """E2BIG without a log is about the number of instructions, and that is said."""
    error = refusal_of(code)
    assert error.errno == errno.E2BIG
    assert text in str(error)
    assert "argument list" not in str(error)


def test_a_few_thousand_instructions_are_too_many_without_privilege():
    """Which capability lifts the limit is said."""
    path = "/proc/sys/kernel/unprivileged_bpf_disabled"
    if pathlib.Path(path).read_text("utf-8").strip() != "0":
        said = outcome_as_nobody(lambda: raise_(refusal_of(RETURN_ZERO)))
        assert "PrivilegeError: BPF_PROG_LOAD: EPERM: needs CAP_BPF" in said
        assert "kernel.unprivileged_bpf_disabled=" in said
        return
    said = outcome_as_nobody(lambda: raise_(refusal_of(RETURN_ZERO[:8] * 5000 + EXIT)))
    assert "5,001 instructions, and 4,096 are allowed without CAP_BPF" in said


def outcome(action: Callable[[], object]) -> str:
    """Return the text of the `PrivilegeError` that *action* raises, or ``""``."""
    try:
        action()
    except pyebpf.PrivilegeError as error:
        return str(error)
    return ""


def raise_(error: BaseException | None) -> None:
    assert error is not None
    raise error


def test_an_attach_type_that_is_needed_is_asked_for():
    """EINVAL says nothing; the error names one the program type takes."""
    error = refusal_of(RETURN_ZERO, ProgType.CGROUP_SOCK_ADDR)
    assert "BPF_PROG_TYPE_CGROUP_SOCK_ADDR needs an expected_attach_type, such as" in str(error)
    error = refusal_of(RETURN_ZERO, ProgType.CGROUP_SOCK_ADDR, attach_type=AttachType.SK_LOOKUP)
    assert "BPF_SK_LOOKUP is no expected_attach_type of BPF_PROG_TYPE_CGROUP_SOCK" in str(error)


def test_a_wrong_descriptor_is_not_blamed_on_the_attach_type():
    """What is said is what a probe has shown; nothing, where several things may be wrong."""
    attr = ProgLoad(
        prog_type=ProgType.TRACING, license=b"GPL\0", attach_btf_id=1, attach_btf_obj_fd=9999
    )
    with pytest.raises(pyebpf.SyscallError) as caught:
        load(LoadRequest(attr=attr, code=RETURN_ZERO))
    assert "expected_attach_type" not in str(caught.value)


@pytest.mark.parametrize("flag", [1 << 20, ProgFlag.XDP_HAS_FRAGS | 1 << 20])
def test_an_unknown_flag_is_named(flag):
    """By offering the smallest program with each flag alone."""
    error = refusal_of(RETURN_ZERO, ProgType.XDP, flag)
    assert isinstance(error, pyebpf.NotSupportedError)
    assert error.feature in ("program flag 0x100000", "program flag BPF_F_XDP_HAS_FRAGS")


def test_an_attach_type_newer_than_the_kernel_is_not_supported():
    """Of a type it goes with: the kernel is what has to be newer."""
    kind, attach_type = ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UNIX_CONNECT
    error = refusal_of(RETURN_ZERO, kind, attach_type=attach_type)
    if error is None:
        return
    assert isinstance(error, pyebpf.NotSupportedError)
    assert error.since == "6.7"
    raise error  # skipped on older kernels, a failure on newer ones


def test_an_unknown_program_type_is_not_supported():
    """Rather than an invalid argument."""
    error = refusal_of(RETURN_ZERO, ProgType(200))
    assert isinstance(error, pyebpf.NotSupportedError)


@pytest.mark.parametrize(
    ("kind", "attach_type", "target"),
    [
        (ProgType.TRACING, AttachType.TRACE_FENTRY, "vfs_read"),
        (ProgType.LSM, AttachType.LSM_MAC, "file_open"),
    ],
    ids=str,
)
def test_a_machine_that_forbids_a_kind_of_program_says_what_was_tried(kind, attach_type, target):
    """EPERM with no log and every capability: no limit and no capability is blamed."""
    spec = pyebpf.CollectionSpec()
    spec.programs["p"] = pyebpf.ProgramSpec(
        name="p",
        type=kind,
        attach_type=attach_type,
        attach_to=target,
        code=RETURN_ZERO,
        license="GPL",
        byteorder=sys.byteorder,
    )
    said = outcome(lambda: pyebpf.load(spec).close())
    if said:
        assert POLICY in said
        assert f"may forbid {kind} with {attach_type}" in said
        assert "MEMLOCK" not in said


def test_the_memory_limit_is_blamed_only_by_kernels_that_have_one():
    """Since Linux 5.11 nothing is charged to it, and the kernel itself says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    real = kernel.current()
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (min(4096, soft) if soft >= 0 else 4096, hard))
    try:
        attr = ProgLoad(prog_type=ProgType.SOCKET_FILTER)
        text = real._privilege(Cmd.PROG_LOAD, errno.EPERM, attr)
        charges = real._charges()
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    assert ("RLIMIT_MEMLOCK" in text) == (charges is not False)
