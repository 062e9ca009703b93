"""Programs from assembler text and as assembler text: what `ProgramSpec` does with `pyebpf.asm`.

Text or instructions come in, code with references by slot goes out; and the other way round. What
is referred to is written in words that `pyebpf.asm.parse` reads:

    MAP          r1 = map[counts] ll              KSYM    r1 = ksym[runqueues] ll
    MAP_VALUE    r1 = map[.rodata][0]+0x8 ll      KFUNC   call bpf_task_acquire
    UNDEFINED    r1 = LIMIT ll, call function     others as UNDEFINED
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping

from pyebpf.asm.assemble import Assembled, Item, assemble, target_of
from pyebpf.asm.instruction import ByteOrder, Instruction
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64, carries_jump
from pyebpf.asm.parse import parse
from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, SourceLine
from pyebpf.references import Reference, ReferenceKind
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId

__all__ = ["assembled", "lines_of", "names_of", "references_of"]

_LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}
_COLUMN_BITS = 10  # below the line: BPF_LINE_INFO_LINE_COL in linux/bpf.h


def assembled(
    source: str | Iterable[Item], byteorder: ByteOrder, constants: Mapping[str, int] | None
) -> Assembled:
    """Assemble text, or instructions and labels.

    Raises:
        AsmError: It says where; see `pyebpf.asm.parse` and `pyebpf.asm.assemble`.
    """
    if not isinstance(source, str):
        return assemble(source, byteorder)
    parsed = parse(source, byteorder, constants=constants)
    return assemble(parsed.items, byteorder, places=parsed.places)


def lines_of(line_info: bytes, btf: Btf | None, byteorder: ByteOrder) -> dict[int, SourceLine]:
    """Return lines of source by slot; what names no string in the types is left out."""
    found = {}
    if btf is not None:
        for slot, file, text, packed in _LINE_INFO[byteorder].iter_unpack(line_info):
            line, column = divmod(packed, 1 << _COLUMN_BITS)
            try:
                found[slot] = SourceLine(btf.string(file), line, column, btf.string(text))
            except BtfError:
                continue
    return found


def references_of(assembled: Assembled) -> dict[int, Reference]:
    """Return what assembled code refers to, by slot."""
    kinds = {
        (LOAD_IMMEDIATE_64, 0): ReferenceKind.UNDEFINED,
        (LOAD_IMMEDIATE_64, insn.PSEUDO_MAP_FD): ReferenceKind.MAP,
        (LOAD_IMMEDIATE_64, insn.PSEUDO_MAP_VALUE): ReferenceKind.MAP_VALUE,
        (LOAD_IMMEDIATE_64, insn.PSEUDO_BTF_ID): ReferenceKind.KSYM,
        (CALL, insn.PSEUDO_KFUNC_CALL): ReferenceKind.KFUNC,
    }
    found = {}
    slot = 0
    for instruction in assembled.instructions:
        symbol = assembled.symbols.get(slot)
        if symbol is not None:
            kind = kinds.get((instruction.opcode, instruction.src), ReferenceKind.UNDEFINED)
            offset = 0
            if kind is ReferenceKind.MAP_VALUE:
                offset = instruction.immediate >> 32 & 0xFFFF_FFFF
            elif instruction.opcode == LOAD_IMMEDIATE_64 and kind is ReferenceKind.UNDEFINED:
                offset = instruction.immediate
            found[slot] = Reference(kind, symbol, offset)
        slot += instruction.slots
    return found


def names_of(
    instructions: tuple[Instruction, ...],
    references: Mapping[int, Reference],
    functions: Mapping[int, str],
) -> dict[int, str]:
    """Return what to print in the place of values: names of references, functions and helpers.

    Args:
        instructions: The whole code.
        references: By slot.
        functions: Names by slot.
    """
    found = {}
    slot = 0
    for instruction in instructions:
        reference = references.get(slot)
        if reference is not None:
            name = _referred(reference, called=instruction.opcode == CALL)
        elif instruction.opcode == CALL and not instruction.src:
            name = _helper(instruction.immediate)
        else:
            target = None if carries_jump(instruction.opcode) else target_of(slot, instruction)
            name = functions.get(target) if target is not None else None
            name = _quoted(name) if name is not None else None
        if name is not None:
            found[slot] = name
        slot += instruction.slots
    return found


def _referred(reference: Reference, *, called: bool) -> str | None:
    name, offset = _quoted(reference.symbol), reference.offset
    behind = f"{offset:+#x}" if offset else ""
    if reference.kind is ReferenceKind.CONSTANT:
        return None  # its value stands in the code, and tells more
    if reference.kind is ReferenceKind.MAP:
        return f"map[{name}]"
    if reference.kind is ReferenceKind.MAP_VALUE:
        return f"map[{name}][0]{behind}"
    if reference.kind is ReferenceKind.KSYM and not called:
        return f"ksym[{name}]{behind}"
    return f"{name}{behind}"


def _helper(number: int) -> str | None:
    known = number in FuncId.__members__.values()
    return f"bpf_{FuncId(number).name}" if known and number else None


# Names that assembler text cannot hold stand in quotes.
def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_.$][A-Za-z0-9_.$]*", name) else f'"{name}"'
