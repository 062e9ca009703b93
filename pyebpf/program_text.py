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
from pyebpf.asm.tokens import Place
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import assemble as join_areas
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Func, FuncProto, Int
from pyebpf.errors import BtfError, SourceLine
from pyebpf.references import Reference, ReferenceKind
from pyebpf.typed import NamedTuple
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId

__all__ = ["Tables", "assembled", "function_types", "lines_of", "names_of", "references_of"]

_FUNC_INFO = {"little": struct.Struct("<II"), "big": struct.Struct(">II")}
_LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}
_COLUMN_BITS = 10  # below the line: BPF_LINE_INFO_LINE_COL in linux/bpf.h


class Tables(NamedTuple):
    """What is known about assembled code, as `ProgramSpec` has it.

    Attributes:
        btf: A type for each function; lines of the text.
        func_info: ``struct bpf_func_info`` records.
        line_info: ``struct bpf_line_info`` records, or nothing for code that was no text.
    """

    btf: Btf
    func_info: bytes
    line_info: bytes


def assembled(
    name: str,
    source: str | Iterable[Item],
    byteorder: ByteOrder,
    constants: Mapping[str, int] | None,
) -> tuple[Assembled, Tables]:
    """Assemble text, or instructions and labels.

    Raises:
        AsmError: It says where; see `pyebpf.asm.parse` and `pyebpf.asm.assemble`.
    """
    if not isinstance(source, str):
        made = assemble(source, byteorder)
        return made, _tables(name, made, byteorder, [], [])
    parsed = parse(source, byteorder, constants=constants)
    made = assemble(parsed.items, byteorder, places=parsed.places)
    places = [
        place
        for item, place in zip(parsed.items, parsed.places, strict=True)
        if isinstance(item, Instruction)
    ]
    return made, _tables(name, made, byteorder, places, source.split("\n"))


def function_types(names: Iterable[str], byteorder: ByteOrder, *, lines: bytes = b"") -> Btf:
    """Return a type for each function: static, and all that is said is that it returns an int.

    The kernel asks for types of functions that it is to call, and takes those of all or of none.

    Args:
        names: The functions; the first one's type has the id 3.
        byteorder: Of the types.
        lines: Strings to have behind their names, each with its zero.
    """
    valid = (re.sub("[^A-Za-z0-9_]|^(?=[0-9])", "_", name) or "_" for name in names)
    functions = [Func(name, 2) for name in valid]
    blob = Btf.decode(encode([Int("int", 4, 1), FuncProto(1, ()), *functions], byteorder=byteorder))
    types, strings, layout = blob.areas
    return Btf.decode(join_areas(types, strings + lines, layout, byteorder))


def _tables(
    name: str,
    made: Assembled,
    byteorder: ByteOrder,
    places: list[Place],
    text: list[str],
) -> Tables:
    functions = {0: name} | {slot: each for slot, each in made.functions if slot}
    bare = function_types(functions.values(), byteorder)
    lines = bytearray(f"{name}.s\0".encode()) if places else bytearray()
    file = bare.strings_length
    offsets: dict[int, int] = {}
    records, slot = [], 0
    for instruction, place in zip(made.instructions, places, strict=False):
        if place.line not in offsets:
            offsets[place.line] = file + len(lines)
            lines += text[place.line - 1].replace("\0", " ").encode(errors="replace") + b"\0"
        packed = place.line << _COLUMN_BITS | min(place.column, (1 << _COLUMN_BITS) - 1)
        records.append((slot, file, offsets[place.line], packed))
        slot += instruction.slots
    return Tables(
        function_types(functions.values(), byteorder, lines=bytes(lines)),
        b"".join(_FUNC_INFO[byteorder].pack(at, 3 + n) for n, at in enumerate(functions)),
        b"".join(_LINE_INFO[byteorder].pack(*record) for record in records),
    )


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
