"""What is checked of a program when it is loaded: its structure, never its safety.

It decodes; jumps go where instructions begin; its end is not run past; descriptors in it are maps'
and the maps' values are that long; the helpers it calls are known to a kernel of that age and to
its licence. What the verifier proves besides (types of registers, bounds, termination) nobody
checks: a program that passes here may be refused by a kernel. In the place of that proof the
interpreter checks what really happens when the program runs.

Out comes what the interpreter runs, or a log in the verifier's words.
"""

from __future__ import annotations

import errno
import struct
import sys

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.btf.btf import Btf as Types
from pyebpf.btf.types import Func, Var
from pyebpf.errors import AsmError, BtfError
from pyebpf.testing import buffers
from pyebpf.testing.commands.elements import map_of
from pyebpf.testing.constants import reachable
from pyebpf.testing.interpreter import Program
from pyebpf.testing.interpreter.flow import blocks
from pyebpf.testing.maps.arenas import Arena
from pyebpf.testing.maps.instructions import InstructionArray
from pyebpf.testing.objects import Map
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.typed import NamedTuple
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId

__all__ = ["Checked", "Unsound", "check_structure", "is_gpl_compatible"]

# license_is_gpl_compatible() in include/linux/license.h
_GPL = frozenset(
    {b"GPL", b"GPL v2", b"GPL and additional rights", b"Dual BSD/GPL", b"Dual MIT/GPL",
     b"Dual MPL/GPL"}
)  # fmt: skip

# Helpers for programs under such a licence: Linux 6.18's answer for each of them.
_GPL_HELPERS = """
check_mtu copy_from_user_task fib_lookup get_branch_snapshot get_current_task
get_current_task_btf get_func_ip get_stack get_stackid perf_event_output perf_event_read
perf_event_read_value perf_prog_read_value probe_read probe_read_kernel probe_read_kernel_str
probe_read_str probe_read_user probe_read_user_str read_branch_records skb_output snprintf
task_pt_regs tcp_check_syncookie tcp_gen_syncookie tcp_raw_check_syncookie_ipv4
tcp_raw_check_syncookie_ipv6 tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 timer_cancel
timer_init timer_set_callback timer_start trace_printk trace_vprintk xdp_output
"""
_BY_FD = (insn.PSEUDO_MAP_FD, insn.PSEUDO_MAP_VALUE)
_BY_INDEX = (insn.PSEUDO_MAP_IDX, insn.PSEUDO_MAP_IDX_VALUE)
_VALUES = (insn.PSEUDO_MAP_VALUE, insn.PSEUDO_MAP_IDX_VALUE)
_FAR = 1 << 29  # BPF_MAX_VAR_OFF, the limit of offsets until Linux 7.0


class Unsound(Exception):
    """A program is refused: the log says why.

    Args:
        reason: In the verifier's words.
        slot: Where, or -1.
        number: The errno.
    """

    def __init__(self, reason: str, slot: int = -1, number: int = errno.EINVAL) -> None:
        super().__init__(reason)
        self.reason = reason
        self.slot = slot
        self.number = number


class Checked(NamedTuple):
    """A program that may be loaded.

    Attributes:
        maps: Those its code refers to.
    """

    executable: Program
    maps: list[Map]


def is_gpl_compatible(license: bytes) -> bool:  # noqa: A002 - the kernel's word
    """Whether the kernel takes a licence for compatible with the GPL."""
    return license in _GPL


def check_structure(system: System, attr: ProgLoad, code: bytes, *, gpl: bool) -> Checked:
    """Check a program.

    Args:
        system: The kernel.
        attr: The request.
        code: Its instructions.
        gpl: Whether its licence is compatible with the GPL.

    Raises:
        Unsound: It is refused.
    """
    by_fd: dict[int, Map] = {}
    by_index: dict[int, Map] = {}
    kfuncs: dict[int, str] = {}
    types = Types.decode(system.vmlinux.data)
    for slot, each in _instructions(code):
        if each.opcode == LOAD_IMMEDIATE_64:
            _check_load(system, attr, types, slot, each, by_fd, by_index)
        elif each.opcode == CALL and each.src == insn.PSEUDO_KFUNC_CALL and each.immediate:
            kfuncs[each.immediate] = _kfunc(types, slot, each)
    executable = _executable(attr, code, by_fd, by_index, kfuncs)
    # What is behind an answer that is known to be no is not looked at.
    for slot in sorted(reachable(executable, by_fd | by_index)):
        each = executable.instructions[slot]
        if each.opcode == CALL and each.src == 0:
            _check_helper(system, slot, each.immediate, gpl=gpl)
    maps = list({id(each): each for each in [*by_fd.values(), *by_index.values()]}.values())
    if sum(isinstance(each.contents, Arena) for each in maps) > 1:
        raise Unsound("Only one arena per program", number=errno.EBUSY)
    return Checked(executable, maps)


def _executable(
    attr: ProgLoad,
    code: bytes,
    by_fd: dict[int, Map],
    by_index: dict[int, Map],
    kfuncs: dict[int, str],
) -> Program:
    try:
        program = Program(
            code,
            name=bytes(attr.prog_name).decode(errors="replace"),
            type=ProgType(attr.prog_type),
            maps={fd: each.for_programs for fd, each in by_fd.items()},
            fd_array={number: each.for_programs for number, each in by_index.items()},
            kfuncs=kfuncs,
        )
        reached: set[int] = set()
        for entry in program.entries:
            for block in blocks(program, entry).values():
                reached.update(block.slots)
    except AsmError as error:
        number = (error.where or "").removeprefix("instruction ")
        slot = int(number) if number.isdigit() else -1
        denied = errno.EACCES if "read-only" in error.message else errno.EINVAL
        raise Unsound(error.message, slot, denied) from None
    unreachable = min(program.instructions.keys() - reached, default=None)
    if unreachable is not None:
        raise Unsound(f"unreachable insn {unreachable}", unreachable)
    return program


# As far as they can be told apart; what is malformed is found out by the interpreter's own check.
def _instructions(code: bytes) -> list[tuple[int, Instruction]]:
    found = []
    slot = 0
    count = len(code) // 8
    while slot < count:
        opcode, registers, offset, immediate = struct.unpack_from("=BBhi", code, slot * 8)
        dst, src = registers & 0xF, registers >> 4
        if sys.byteorder == "big":
            dst, src = src, dst
        if opcode == LOAD_IMMEDIATE_64 and slot + 1 < count:
            upper = struct.unpack_from("=i", code, slot * 8 + 12)[0]
            found.append((slot, Instruction(opcode, dst, src, upper, immediate)))
            slot += 2
        else:
            found.append((slot, Instruction(opcode, dst, src, offset, immediate)))
            slot += 1
    return found


# Of a 64-bit load, *each* has the upper half as its offset.
def _check_load(
    system: System,
    attr: ProgLoad,
    types: Types,
    slot: int,
    each: Instruction,
    by_fd: dict[int, Map],
    by_index: dict[int, Map],
) -> None:
    if each.src in _BY_FD or each.src in _BY_INDEX:
        number = each.immediate & 0xFFFFFFFF
        fd = number
        if each.src in _BY_INDEX:
            fd = struct.unpack("=i", _fd_array(attr, number)[-4:])[0]
        found = _map(system, slot, fd)
        (by_fd if each.src in _BY_FD else by_index)[number] = found
        _check_kind(slot, found, attr.insn_cnt)
        if each.src in _VALUES:
            _check_value(system, slot, found, each.offset & 0xFFFFFFFF)
    elif each.src == insn.PSEUDO_BTF_ID:
        _check_type(system, types, slot, each.immediate)
    elif each.src == insn.PSEUDO_FUNC:
        if not system.age.has_ability("function pointers in programs", "5.13"):
            raise Unsound("unrecognized bpf_ld_imm64 insn", slot)
        if not attr.func_info_cnt:
            raise Unsound("missing btf func_info", slot)


# check_arena_map, bpf_insn_array_init
def _check_kind(slot: int, found: Map, length: int) -> None:
    contents = found.contents
    if isinstance(contents, Arena) and not contents.user_base:
        raise Unsound("arena's user address must be set via map_extra or mmap()", slot)
    if isinstance(contents, InstructionArray):
        if not found.frozen or any(each >= length for each in contents.slots):
            raise Unsound("Failed to properly initialize insn array", slot)
        if contents.used:
            raise Unsound("Failed to properly initialize insn array", slot, errno.EBUSY)


def _fd_array(attr: ProgLoad, number: int) -> bytes:
    try:
        return buffers.read(attr.fd_array, 4 * (number + 1))
    except Refused:
        raise Unsound("fd_idx without fd_array is invalid", number=errno.EPROTO) from None


def _map(system: System, slot: int, fd: int) -> Map:
    try:
        return map_of(system, fd)[0]
    except Refused as refused:
        text = f"fd {fd} is not pointing to valid bpf_map"
        raise Unsound(text, slot, refused.number) from None


# array_map_direct_value_addr
def _check_value(system: System, slot: int, found: Map, offset: int) -> None:
    size = found.contents.direct_size
    if size is None:
        raise Unsound("no direct value access support for this map type", slot)
    far = system.age.has_ability("addresses far behind the start of a map", "7.0")
    if offset >= _FAR and not far:
        raise Unsound(f"direct value offset of {offset} is not allowed", slot)
    if offset >= size:
        text = f"invalid access to map value pointer, value_size={found.definition.value_size}"
        raise Unsound(f"{text} off={offset}", slot)


# __check_pseudo_btf_id
def _check_type(system: System, types: Types, slot: int, number: int) -> None:
    try:
        found = types.type(number)
    except BtfError:
        raise Unsound(f"ldimm64 insn specifies invalid btf_id {number}.", slot) from None
    functions = system.age.has_ability("addresses of kernel functions", "6.4")
    if isinstance(found, Var) or (functions and isinstance(found, Func)):
        return
    kinds = "KIND_VAR or KIND_FUNC" if functions else "KIND_VAR"
    raise Unsound(f"pseudo btf_id {number} in ldimm64 isn't {kinds}.", slot)


def _kfunc(types: Types, slot: int, each: Instruction) -> str:
    if each.offset:
        raise NotImplementedError("BPF_PROG_LOAD: calls of modules' functions")
    try:
        found = types.type(each.immediate)
    except BtfError:
        found = None
    if not isinstance(found, Func):
        raise Unsound(f"kernel btf_id {each.immediate} is not a function", slot)
    return found.name


def _check_helper(system: System, slot: int, number: int, *, gpl: bool) -> None:
    if number <= 0 or not system.age.has_helper(number):
        name = "unknown" if FuncId(number).name.startswith("UNKNOWN_") else FuncId(number).name
        raise Unsound(f"invalid func {name}#{number}", slot)
    if not gpl and FuncId(number).name in _GPL_HELPERS.split():
        text = "cannot call GPL-restricted function from non-GPL compatible program"
        raise Unsound(text, slot)
