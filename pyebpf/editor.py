"""Changing a program after it was compiled or assembled: `Editor`.

A `ProgramSpec` comes in and is changed in place; whatever points into its code moves along:

    code         | a  b  c  d |          jumps and calls over the place, addresses of functions,
                      ▲ insert           references, CO-RE relocations, targets of jump tables,
    afterwards   | a  n  n  b  c  d |    functions, their types (func_info), lines (line_info)

Places are slots: 8 bytes each, a 64-bit load takes two. New code belongs to the line of source of
what it replaces or stands before. A jump that no longer fits its 16 bits is an `AsmError`, and then
nothing is changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from pyebpf.asm.assemble import Assembled, Item, assemble, target_of
from pyebpf.asm.instruction import Instruction, decode_all, encode_all
from pyebpf.asm.opcode import CALL, SLOT_SIZE, carries_jump, is_long_jump
from pyebpf.asm.parse import parse
from pyebpf.btf.join import join
from pyebpf.errors import AsmError, UnreferencedSymbolError
from pyebpf.plain import replace
from pyebpf.program_text import function_types, references_of
from pyebpf.spec import ProgramSpec, ReferenceKind
from pyebpf.typed import TypeVar

__all__ = ["Editor"]

_Value = TypeVar("_Value")

_FUNC_INFO = {"little": struct.Struct("<II"), "big": struct.Struct(">II")}
_LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}


class Editor:
    """Changes one program.

    Args:
        program: What to change; its tables are replaced, not changed, so copies stay as they are.
    """

    def __init__(self, program: ProgramSpec) -> None:
        self.program = program

    # ---- what it refers to --------------------------------------------------------------------

    @property
    def symbols(self) -> dict[str, tuple[int, ...]]:
        """Names of all it refers to outside of its code, with the slots that do."""
        found: dict[str, tuple[int, ...]] = {}
        for slot, reference in sorted(self.program.references.items()):
            found[reference.symbol] = (*found.get(reference.symbol, ()), slot)
        return found

    @property
    def maps(self) -> frozenset[str]:
        """Names of the maps it uses, those of data sections included."""
        kinds = (ReferenceKind.MAP, ReferenceKind.MAP_VALUE)
        references = self.program.references.values()
        return frozenset(each.symbol for each in references if each.kind in kinds)

    def uses(self, symbol: str) -> tuple[int, ...]:
        """Return the slots that refer to a symbol.

        Raises:
            UnreferencedSymbolError: None does.
        """
        found = self.symbols.get(symbol)
        if found is None:
            message = f'program "{self.program.name}" does not use "{symbol}"'
            raise UnreferencedSymbolError(symbol, message)
        return found

    def rewrite_map(self, name: str, other: str) -> None:
        """Make it use another map: `ProgramSpec.rewrite_map`."""
        self.program.rewrite_map(name, other)

    def rewrite_constant(self, name: str, value: int) -> None:
        """Set a named constant: `ProgramSpec.rewrite_constant`."""
        self.program.rewrite_constant(name, value)

    # ---- its code -----------------------------------------------------------------------------

    def insert(
        self,
        slot: int,
        source: str | Iterable[Item],
        *,
        labels: Mapping[str, int] | None = None,
        constants: Mapping[str, int] | None = None,
    ) -> None:
        """Insert code before an instruction; jumps to that one go to the new code.

        Args:
            slot: The instruction, or the size of the code to append.
            source: Text, or instructions and labels. It may call the program's functions.
            labels: Names for slots of the program as it is now, for jumps of the new code.
            constants: Values of names in the text.

        Raises:
            AsmError: The text is malformed, *slot* is in the middle of a 64-bit load, or a jump
                would not fit.
        """
        self.replace(slot, slot, source, labels=labels, constants=constants)

    def delete(self, start: int, end: int) -> None:
        """Take instructions out; jumps to the first one go to what stood behind the last one.

        Args:
            start: The first slot.
            end: The slot behind the last one.

        Raises:
            AsmError: Something jumps or refers into the middle of them, they are of several
                functions, or all of one that is called.
        """
        self.replace(start, end, ())

    def replace(
        self,
        start: int,
        end: int,
        source: str | Iterable[Item],
        *,
        labels: Mapping[str, int] | None = None,
        constants: Mapping[str, int] | None = None,
    ) -> None:
        """Put other code in the place of instructions: `insert` and `delete` in one.

        Raises:
            AsmError: As for both.
        """
        program = self.program
        named = {name: slot for slot, name in program.functions} | dict(labels or {})
        items, places = tuple(source) if not isinstance(source, str) else (), None
        if isinstance(source, str):
            items, places = parse(source, program.byteorder, constants=constants, labels=named)
        size = sum(item.slots for item in items if isinstance(item, Instruction))
        splice = _Splice(program, start, end, size)
        staying = {name: slot for name, slot in named.items() if not splice.takes_out(slot)}
        outside = {name: splice.target(slot) - start for name, slot in staying.items()}
        if end * SLOT_SIZE < len(program.code):
            outside[""] = size  # a label behind the new code's end is of what follows
        splice.apply(assemble(items, program.byteorder, places=places, outside=outside))


class _Splice:
    # The place where code is put, and where all the rest is afterwards.

    def __init__(self, program: ProgramSpec, start: int, end: int, size: int) -> None:
        self._program = program
        self._start = start
        self._end = end
        self._size = size
        self._shift = size - (end - start)
        self._instructions: dict[int, Instruction] = {}
        slot = 0
        for instruction in decode_all(program.code, program.byteorder):
            self._instructions[slot] = instruction
            slot += instruction.slots
        for place in (start, end):
            if place not in self._instructions and place != slot:
                inside = "in the middle of a 64-bit load" if 0 <= place < slot else "outside"
                raise AsmError(f'slot {place} of program "{program.name}" is {inside}')
        if start > end:
            raise AsmError(f"slots {start} to {end} are none")
        self._gone = self._whole_function(slot) and not size

    # Whether a function is taken out altogether; parts of several cannot be.
    def _whole_function(self, code_end: int) -> bool:
        starts = [slot for slot, _ in self._program.functions] or [0]
        if any(self._start < slot < self._end for slot in starts):
            raise AsmError(f"slots {self._start} to {self._end} are of several functions")
        ends = {*starts, code_end}
        return self._start in starts and self._end in ends and self._start < self._end

    def takes_out(self, slot: int) -> bool:
        """Whether nothing may jump or refer to a place any more."""
        return self._start < slot < self._end or (slot == self._start and self._gone)

    def target(self, slot: int) -> int:
        """Where what jumped, or referred, to a place has to go."""
        if self.takes_out(slot):
            raise AsmError(f"slot {slot} is jumped to or called, and would be gone")
        return slot + self._shift if slot >= self._end and slot != self._start else slot

    def position(self, slot: int) -> int | None:
        """Where an instruction is; ``None`` for those that are replaced."""
        if slot < self._start:
            return slot
        return slot + self._shift if slot >= self._end else None

    def apply(self, made: Assembled) -> None:
        program = self._program
        before, after = [], []
        for slot, instruction in self._instructions.items():
            if slot < self._start:
                before.append(self._retargeted(slot, instruction))
            elif slot >= self._end:
                after.append(self._retargeted(slot, instruction))
        code = encode_all((*before, *made.instructions, *after), program.byteorder)
        references = self._moved(program.references)
        new = {self._start + slot: each for slot, each in references_of(made).items()}
        tables = {
            name: tuple(self.target(slot) for slot in slots)
            for name, slots in program.jump_tables.items()
        }
        relocations = tuple(
            replace(each, slot=place)
            for each in program.relocations
            if (place := self.position(each.slot)) is not None
        )
        functions, func_info, line_info = self._functions(), self._func_info(), self._line_info()
        # All or nothing: whatever does not fit has been said by now.
        program.code, program.jump_tables, program.relocations = code, tables, relocations
        program.references = dict(sorted((references | new).items()))
        program.functions, program.func_info, program.line_info = functions, func_info, line_info
        self._add_functions([(self._start + slot, name) for slot, name in made.functions])

    def _moved(self, table: Mapping[int, _Value]) -> dict[int, _Value]:
        return {
            place: value
            for slot, value in table.items()
            if (place := self.position(slot)) is not None
        }

    # An instruction that stays, with its distance if it has one.
    def _retargeted(self, slot: int, instruction: Instruction) -> Instruction:
        target = target_of(slot, instruction)
        place = self.position(slot)
        if target is None or place is None or slot in self._program.references:
            return instruction
        distance = self.target(target) - place - 1
        if is_long_jump(instruction.opcode) or instruction.opcode == CALL:
            return replace(instruction, immediate=distance)
        if not carries_jump(instruction.opcode):
            return replace(instruction, immediate=distance & 0xFFFF_FFFF)
        if not -0x8000 <= distance <= 0x7FFF:
            raise AsmError(f"the jump of slot {slot} would go {distance} slots, more than 16 bits")
        return replace(instruction, offset=distance)

    def _functions(self) -> tuple[tuple[int, str], ...]:
        return tuple(
            (self.target(slot), name)
            for slot, name in self._program.functions
            if not (self._gone and slot == self._start)
        )

    # The kernel takes types of all functions or of none, and a line for the start of each.
    def _add_functions(self, new: list[tuple[int, str]]) -> None:
        program = self._program
        known = {slot for slot, _ in program.functions}
        new = [(slot, name) for slot, name in new if slot not in known]
        program.functions = tuple(sorted((*program.functions, *new)))
        if not new or not program.func_info or program.btf is None:
            return
        record, line = _FUNC_INFO[program.byteorder], _LINE_INFO[program.byteorder]
        types = function_types([name for _, name in new], program.byteorder)
        joined = join(program.btf, types)
        added = [(slot, joined.ids + 3 + number) for number, (slot, _) in enumerate(new)]
        records = sorted([*record.iter_unpack(program.func_info), *added])
        program.func_info = b"".join(record.pack(*each) for each in records)
        program.btf = joined.btf
        lines = {slot: rest for slot, *rest in line.iter_unpack(program.line_info)}
        for slot, _ in new:
            before = max((each for each in lines if each <= slot), default=None)
            if before is not None:
                lines[slot] = lines[before]
        program.line_info = b"".join(line.pack(slot, *lines[slot]) for slot in sorted(lines))

    def _func_info(self) -> bytes:
        record = _FUNC_INFO[self._program.byteorder]
        return b"".join(
            record.pack(self.target(slot), type_id)
            for slot, type_id in record.iter_unpack(self._program.func_info)
            if not (self._gone and slot == self._start)
        )

    # The first line of what is replaced is that of the new code. Its last one goes on behind it.
    def _line_info(self) -> bytes:
        record = _LINE_INFO[self._program.byteorder]
        lines: dict[int, tuple[int, ...]] = {}
        for slot, *line in record.iter_unpack(self._program.line_info):
            place = self.position(slot)
            if slot == self._start and self._size:
                lines[slot] = tuple(line)
            if self._start <= slot < self._end:
                if self._end in self._instructions and not self._gone:
                    lines[self._end + self._shift] = tuple(line)
            elif place is not None and slot != self._start:
                lines[place] = tuple(line)
        return b"".join(record.pack(slot, *lines[slot]) for slot in sorted(lines))
