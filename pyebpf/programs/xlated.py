"""The code of a loaded program as the verifier left it, and its text.

A descriptor comes in. The kernel hands out (``BPF_OBJ_GET_INFO_BY_FD``):

    xlated_prog_insns    instructions: dead code gone, some helpers inlined, accesses of contexts
                         rewritten; of maps their ids, of helpers their distance in the kernel from
                         ``__bpf_call_base``, of calls the distance in the offset if it was compiled
    func_info line_info  as they were loaded, moved along

Names of maps, functions and helpers are asked for; what cannot be named stays a number.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping

from pyebpf.asm.instruction import Instruction, decode_all, encode_all
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.asm.text import disassemble
from pyebpf.errors import PrivilegeError, SourceLine, SyscallError
from pyebpf.host import kallsyms, privileges
from pyebpf.maps.info import map_info
from pyebpf.plain import field, plain, replace
from pyebpf.program_text import names_of
from pyebpf.programs.source_tables import SourceTables
from pyebpf.sys import bpf, kernel
from pyebpf.uapi.bpf import Cmd
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.info import ProgInfo
from pyebpf.uapi.insn import PSEUDO_CALL, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE

__all__ = ["Xlated", "xlated", "xlated_text"]

# What the immediates of calls of helpers count from: kernel/bpf/core.c.
_BASE = "__bpf_call_base"
_ADDRESS = (1 << 64) - 1
_BLINDED = "net.core.bpf_jit_harden blinds it, and addresses of the kernel are hidden from us"


@plain(frozen=True, kw_only=True)
class Xlated:
    """Code of a loaded program.

    Attributes:
        instructions: Calls of the program's functions have their distances as immediates.
        functions: Names by slot, as far as the program has types.
        lines: Lines of source by slot, likewise.
    """

    instructions: tuple[Instruction, ...]
    functions: Mapping[int, str] = field(default_factory=dict)
    lines: Mapping[int, SourceLine] = field(default_factory=dict)


def xlated(fd: int) -> Xlated:
    """Ask for the code of the program behind *fd*.

    Raises:
        SyscallError: *fd* is not a program's.
        PrivilegeError: The kernel shows no code to this process.

    Since Linux 4.13; functions and lines since 5.0.
    """
    known = ProgInfo()
    bpf.obj_get_info_by_fd(fd, known)
    code = bytearray(known.xlated_prog_len)
    asked = ProgInfo(xlated_prog_len=len(code), xlated_prog_insns=code)
    tables = SourceTables(known, asked)
    bpf.obj_get_info_by_fd(fd, asked)
    if not any(code):  # a program has instructions, and none of them is all zeros
        reason = _BLINDED
        if not code:
            reason = privileges.explain(Cmd.OBJ_GET_INFO_BY_FD, root=kernel.current().root)
        raise PrivilegeError(str(Cmd.OBJ_GET_INFO_BY_FD), errno.EPERM, reason)
    return Xlated(
        instructions=tuple(_distance(each) for each in decode_all(code, sys.byteorder)),
        functions=tables.functions(),
        lines=tables.lines(),
    )


def xlated_text(found: Xlated, *, names: bool, sources: bool, raw_bytes: bool) -> str:
    """Print such code, with what the kernel calls its maps and helpers."""
    named: dict[int, str] = {}
    if names:
        named = names_of(found.instructions, {}, found.functions)
        named |= _maps(found.instructions) | _helpers(found.instructions)
    return disassemble(
        encode_all(found.instructions, sys.byteorder),
        sys.byteorder,
        labels=found.functions,
        names=named,
        lines=found.lines if sources else {},
        raw_bytes=raw_bytes,
    )


# Of compiled programs the kernel keeps the number of the function in the immediate.
def _distance(instruction: Instruction) -> Instruction:
    if instruction.opcode == CALL and instruction.src == PSEUDO_CALL and instruction.offset:
        return replace(instruction, offset=0, immediate=instruction.offset)
    return instruction


def _slots(instructions: tuple[Instruction, ...]) -> dict[int, Instruction]:
    found, slot = {}, 0
    for instruction in instructions:
        found[slot] = instruction
        slot += instruction.slots
    return found


def _maps(instructions: tuple[Instruction, ...]) -> dict[int, str]:
    named: dict[int, str] = {}
    known: dict[int, str] = {}
    for slot, each in _slots(instructions).items():
        if each.opcode != LOAD_IMMEDIATE_64 or each.src not in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            continue
        map_id = each.immediate & 0xFFFF_FFFF
        if map_id not in known:
            known[map_id] = _map_name(map_id)
        offset = each.immediate >> 32 & 0xFFFF_FFFF
        place = f"[0]{f'+{offset:#x}' if offset else ''}" if each.src == PSEUDO_MAP_VALUE else ""
        named[slot] = f"map[{known[map_id]}]{place}"
    return named


def _map_name(map_id: int) -> str:
    try:
        with bpf.map_get_fd_by_id(map_id) as fd:
            name = map_info(fd.fileno()).name
    except SyscallError:
        name = ""  # without CAP_SYS_ADMIN maps are not opened by their ids
    return name or f'"id:{map_id}"'


# Helpers and functions of the kernel by their distances. A small one is none: a tail call, or 0
# where addresses are hidden.
def _helpers(instructions: tuple[Instruction, ...]) -> dict[int, str]:
    calls = {
        slot: each.immediate
        for slot, each in _slots(instructions).items()
        if each.opcode == CALL and each.src != PSEUDO_CALL
    }
    known: dict[int, str] = {}
    base = kallsyms.find([_BASE]).addresses(_BASE) if any(calls.values()) else []
    if len(base) == 1 and base[0]:
        places = kallsyms.names_at([base[0] + each & _ADDRESS for each in calls.values()])
        known = {
            each: places[base[0] + each & _ADDRESS]
            for each in calls.values()
            if base[0] + each & _ADDRESS in places
        }
    known[int(FuncId.tail_call)] = "bpf_tail_call"
    return {slot: known.get(distance, f"{distance:#x}") for slot, distance in calls.items()}
