"""What ``.BTF.ext`` says about instructions, moved along with the functions it is about.

Tables by ELF section come in, with offsets in bytes; tables of one linked program go out, counted
in slots of its code, as ``BPF_PROG_LOAD`` takes them:

    func_info    insn_off u32 | type_id u32
    line_info    insn_off u32 | file_name_off u32 | line_off u32 | line << 10 | column u32
    CO-RE        `CoreRelocation` objects

The kernel takes all or nothing: one function without its entries, and the program has no table.
"""

from __future__ import annotations

import struct
import sys
import warnings
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import chain
from operator import lt, or_

from pyebpf.asm.opcode import SLOT_SIZE
from pyebpf.btf.ext import CoreRelocationInfo, Ext, LineTable
from pyebpf.elf.functions import CodeSection, CodeSections, Function
from pyebpf.spec import ByteOrder, CoreRelocation
from pyebpf.typed import Any

__all__ = ["DebugInfo"]

_Layout = Iterable[tuple[int, Function]]
_Record = tuple[Any, ...]  # the offset in the section first


class DebugInfo:
    """The tables of a whole file.

    Args:
        ext: Decoded ``.BTF.ext``, or ``None``: then every program has empty tables.
        code: The functions of the file.
        byteorder: Of the tables to make.

    Raises:
        ElfError: It is unclear which section is meant.
    """

    __slots__ = ("_foreign", "_lines", "_order", "_relocations", "_types")

    def __init__(self, ext: Ext | None, code: CodeSections, byteorder: ByteOrder) -> None:
        self._order = "<" if byteorder == "little" else ">"
        self._foreign = byteorder != sys.byteorder
        self._types: dict[CodeSection, dict[int, int]] = {}
        self._lines: dict[CodeSection, _Lines] = {}
        self._relocations: dict[CodeSection, _Table] = {}
        if ext is None:
            return
        homes: dict[str, CodeSection] = {}
        for home in code:
            name = home.section.name
            if name in homes and any(name in table for table in _tables(ext)):
                raise home.section.error(
                    "a second section of this name, and .BTF.ext describes one"
                )
            homes[name] = home
        for name, home in homes.items():
            types = ext.func_info.get(name, ())
            lines = ext.line_info.get(name)
            if _describes(home, "func_info", [record[0] for record in types]):
                self._types[home] = dict(types)
            if lines is not None and _describes(home, "line_info", lines.numbers[::4]):
                self._lines[home] = _Lines(lines)
            self._relocations[home] = _Table(_checked(home, ext.core_relocations.get(name, ())))

    def func_info(self, layout: _Layout) -> bytes:
        """Return ``struct bpf_func_info`` records for a linked program, or nothing."""
        numbers: list[int] = []
        for start, function in layout:
            type_id = self._types.get(function.home, {}).get(function.start)
            if type_id is None:
                return b""
            numbers += (start, type_id)
        return struct.pack(f"{self._order}{len(numbers)}I", *numbers)

    def line_info(self, layout: _Layout) -> bytes:
        """Return ``struct bpf_line_info`` records for a linked program, or nothing."""
        found: array[int] = array("I")
        for start, function in layout:
            table = self._lines.get(function.home)
            moved = table.moved(function, start) if table is not None else None
            if not moved:
                return b""
            found += moved
        if self._foreign:
            found.byteswap()
        return found.tobytes()

    def relocations(self, layout: _Layout) -> tuple[CoreRelocation, ...]:
        """Return the CO-RE relocations of a linked program, by slot."""
        found = []
        for start, function in layout:
            table = self._relocations.get(function.home)
            moved = start - function.start // SLOT_SIZE
            for offset, type_id, access, kind in table.within(function) if table else ():
                found.append(CoreRelocation(offset // SLOT_SIZE + moved, type_id, access, kind))
        return tuple(found)


class _Table:
    # Records of one section, ascending by offset.

    __slots__ = ("_offsets", "_records")

    def __init__(self, records: Sequence[_Record]) -> None:
        self._records = records
        self._offsets = [record[0] for record in records]

    def within(self, function: Function) -> Sequence[_Record]:
        first = bisect_left(self._offsets, function.start)
        return self._records[first : bisect_left(self._offsets, function.end)]


class _Lines:
    # Line records of one section as plain numbers, four each: a large program has 50 000 records,
    # too many to make an object of each.

    __slots__ = ("_numbers", "_slots")

    def __init__(self, table: LineTable) -> None:
        numbers = table.numbers
        offsets = numbers[::4]
        if not all(map(lt, offsets, offsets[1:])):
            numbers = _ascending(numbers)
            offsets = numbers[::4]
        self._numbers = numbers
        self._slots = array("I", [offset // SLOT_SIZE for offset in offsets])

    # The records of one function, moved to a program in which it starts at a slot; nothing if its
    # first instruction has none.
    def moved(self, function: Function, start: int) -> array[int] | None:
        own_start = function.start // SLOT_SIZE
        first = bisect_left(self._slots, own_start)
        end = bisect_left(self._slots, function.end // SLOT_SIZE)
        slots = self._slots[first:end]
        if not slots or slots[0] != own_start:
            return None
        moved = self._numbers[first * 4 : end * 4]
        by = start - own_start
        moved[::4] = array("I", [slot + by for slot in slots]) if by else slots
        return moved


# Sorted by offset, and each offset once: the kernel refuses what is not.
def _ascending(numbers: array[int]) -> array[int]:
    records = {numbers[at]: numbers[at : at + 4] for at in range(0, len(numbers), 4)}
    return array("I", chain.from_iterable(records[offset] for offset in sorted(records)))


def _tables(ext: Ext) -> tuple[Mapping[str, Sequence[_Record]], ...]:
    return ext.func_info, ext.line_info, ext.core_relocations


# In order. One about the middle of an instruction loses its access, so that the program that it is
# about gives a spec and cannot be loaded, as with libbpf; one beyond the code is about no program.
def _checked(
    home: CodeSection, records: Sequence[CoreRelocationInfo]
) -> Sequence[CoreRelocationInfo]:
    if reduce(or_, map(_offset, records), 0) % SLOT_SIZE:
        warnings.warn(
            f"section {home.section.name} has a CO-RE relocation of no instruction",
            RuntimeWarning,
            stacklevel=2,
        )
        records = [
            each._replace(access="") if each.offset % SLOT_SIZE else each for each in records
        ]
    return sorted(records, key=_offset)


def _offset(record: _Record) -> int:
    offset: int = record[0]
    return offset


# Whether a table is about instructions. Names and lines that are not are no reason to refuse code.
def _describes(home: CodeSection, table: str, offsets: Sequence[int]) -> bool:
    if not reduce(or_, offsets, 0) % SLOT_SIZE and max(offsets, default=0) < home.section.size:
        return True
    warnings.warn(
        f"section {home.section.name} is read without {table}: .BTF.ext has some about no"
        " instruction",
        RuntimeWarning,
        stacklevel=2,
    )
    return False
