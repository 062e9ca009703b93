"""Kernels older than any that runs here: the real one, but for what was added since.

Each test takes one addition away, as the older kernel would refuse it, and sees the program run.
"""

from __future__ import annotations

import errno
import struct
import sys

import pytest

import pyebpf
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import AttachType, Cmd, MapType, ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support.programs import built

PACKET = bytes(64)
NEWER_READS = (112, 113, 114, 115)


class Older:
    """The real kernel without what *lacks* says, and a record of what it took.

    Args:
        lacks: Asked of each command and attr; an errno, or ``None`` to let it pass.
    """

    def __init__(self, lacks) -> None:
        self._real = kernel.current()
        self._lacks = lacks
        self.taken = []

    def __getattr__(self, name):
        return getattr(self._real, name)

    def bpf(self, cmd, attr, *, common=None):
        number = self._lacks(cmd, attr)
        if number is not None:
            raise pyebpf.SyscallError(str(cmd), number)
        result = self._real.bpf(cmd, attr, common=common)
        self.taken.append((cmd, attr))
        return result


def unknown_field(*names):
    """A kernel that does not know these fields: they must be zero."""
    return lambda cmd, attr: (
        errno.E2BIG if any(getattr(attr, name, None) for name in names) else None
    )


def calls(code):
    """The helpers that code calls."""
    slots = struct.iter_unpack("=BBhi", code)
    return [slot[3] for slot in slots if slot[0] == 0x85 and not slot[1]]


def insn(opcode, dst=0, src=0, offset=0, immediate=0):
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


def reading(helper):
    """Read 8 bytes of the stack to the stack with a helper, and return them."""
    return (
        insn(0x7A, 10, 0, -8, 77)  # *(u64 *)(r10 - 8) = 77
        + insn(0x7A, 10, 0, -16, 0)
        + insn(0xBF, 1, 10)
        + insn(0x07, 1, 0, 0, -16)
        + insn(0xB7, 2, 0, 0, 8)
        + insn(0xBF, 3, 10)
        + insn(0x07, 3, 0, 0, -8)
        + insn(0x18, 4, 0, 0, 0x85)  # a load whose halves look like nothing else
        + insn(0, 0, 0, 0, 113)
        + insn(0x85, 0, 0, 0, helper)
        + insn(0x79, 0, 10, -16)
        + insn(0x95)
    )


def no_newer_reads(cmd, attr):
    """Before Linux 5.5 there are no helpers 112 to 115."""
    if cmd != Cmd.PROG_LOAD:
        return None
    return errno.EINVAL if set(calls(bytes(attr.insns))) & set(NEWER_READS) else None


@pytest.mark.parametrize(
    ("newer", "older"), [(112, 4), (113, 4), (114, 45), (115, 45)], ids=lambda each: str(each)
)
def test_reads_fall_back_to_the_helper_of_both_memories(newer, older):
    """probe_read_kernel and its kin become probe_read where the kernel lacks them."""
    code = reading(newer)
    one = pyebpf.ProgramSpec(
        name="p", type=ProgType.TRACEPOINT, code=code, license="GPL", byteorder=sys.byteorder
    )
    spec = pyebpf.CollectionSpec(programs={"p": one})
    seam = Older(no_newer_reads)
    with kernel.use(seam), pyebpf.load(spec):
        _, loaded = seam.taken[-1]
    assert calls(bytes(loaded.insns)) == [older]
    assert len(bytes(loaded.insns)) == len(code)
    assert spec.programs["p"].code == code, "the spec is left alone"
    with pyebpf.load(spec) as bpf:
        assert FuncId(newer) in calls(bpf.programs["p"].spec.code)


def test_attach_types_are_left_out_where_the_kind_says_it_all():
    """Before Linux 4.17 there are none; a kind that always needs one is refused."""
    spec = pyebpf.CollectionSpec(
        programs={
            "p": pyebpf.ProgramSpec(
                name="p",
                type=ProgType.CGROUP_SOCK,
                code=insn(0xB7, 0, 0, 0, 1) + insn(0x95),
                attach_type=AttachType.CGROUP_INET_SOCK_CREATE,
                attach_type_optional=True,
                license="GPL",
                byteorder=sys.byteorder,
            )
        }
    )
    seam = Older(unknown_field("expected_attach_type"))
    with kernel.use(seam):
        with pyebpf.load(spec):
            assert seam.taken[-1][1].expected_attach_type == 0
        spec.programs["p"].attach_type_optional = False
        with pytest.raises(pyebpf.SyscallError, match=r'load program "p": .*E2BIG'):
            pyebpf.load(spec)


def test_programs_load_without_types_of_functions():
    """Between 4.18 and 5.0 BTF is taken for maps only."""
    seam = Older(unknown_field("func_info_cnt", "line_info_cnt", "prog_btf_fd"))
    with kernel.use(seam), pyebpf.load(built("globals")) as bpf:
        assert bpf.programs["add_up"].run(PACKET).retval


@pytest.mark.parametrize("dots_only", [True, False], ids=["5.1", "4.14"])
def test_names_are_left_out_or_cleaned(dots_only):
    """Before 5.2 names have no dots, before 4.15 there are no names."""

    def lacks(cmd, attr):
        name = bytes(getattr(attr, "map_name", b"") or getattr(attr, "prog_name", b""))
        if dots_only:
            return errno.EINVAL if b"." in name else None
        return errno.E2BIG if name else None

    seam = Older(lacks)
    with kernel.use(seam), pyebpf.load(built("globals")) as bpf:
        assert bpf.programs["add_up"].run(PACKET).retval
        bpf.variables["total"].value = 1
        names = {bytes(attr.map_name) for cmd, attr in seam.taken if cmd == Cmd.MAP_CREATE}
    assert (b"data" in names) == dots_only
    assert b".data" not in names


def test_what_is_refused_for_itself_is_tried_once():
    """A map of a wrong shape fails with the kernel's first word, on any kernel."""
    attempts = []

    def lacks(cmd, attr):
        if cmd == Cmd.MAP_CREATE and bytes(attr.map_name) == b"wrong.shape":
            attempts.append(1)

    with (
        kernel.use(Older(lacks)),
        pytest.raises(pyebpf.SyscallError, match=r'create map "wrong.shape": .*EINVAL'),
    ):
        pyebpf.Map.create(
            name="wrong.shape", type=MapType.ARRAY, key_size=3, value_size=4, max_entries=1
        )
    assert len(attempts) == 1
