"""Functions whose symbols a stripper has removed, found by who calls them.

A section of code and the file come in, symbols for what is called and has none go out.
``llvm-strip --strip-unneeded`` takes the names of static functions, which nothing links to by name:
calls of them go by the section's own symbol, or by no relocation at all. The calls are left.

    tp_btf/x   call .text + 0x40 ──▶ .text  | 0x0 log (global) | 0x40 nameless | ... |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64, SLOT_SIZE
from pyebpf.asm.slots import Slots
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.uapi.elf import STB_LOCAL, STT_FUNC
from pyebpf.uapi.insn import PSEUDO_CALL, PSEUDO_FUNC

__all__ = ["nameless_functions"]


def nameless_functions(elf: Elf, section: Section, symbols: Iterable[Symbol]) -> list[Symbol]:
    """Return symbols for the functions of a section that are called and have none.

    Args:
        elf: The file.
        section: The section.
        symbols: Those it has.

    Raises:
        ElfError: A relocation names no symbol, or code is not whole instructions.
    """
    known = sorted((each.value, each.value + max(each.size, 1)) for each in symbols)
    if sum(end - start for start, end in known) >= section.size:
        return []
    starts = {
        target
        for home in elf.sections
        if home.executable
        for target in _targets(elf, home, section)
        if target % SLOT_SIZE == 0 and 0 <= target < section.size
    }
    return [
        Symbol(f"{section.name}+{at:#x}", STB_LOCAL, STT_FUNC, False, section.index, at, 0)
        for at in _outside(known, sorted(starts))
    ]


# Those of some places, in order, that are in none of the ranges, in order of their starts.
def _outside(ranges: list[tuple[int, int]], places: list[int]) -> Iterator[int]:
    number = covered = 0
    for place in places:
        while number < len(ranges) and ranges[number][0] <= place:
            covered = max(covered, ranges[number][1])
            number += 1
        if place >= covered:
            yield place


# Where the calls and function addresses of one section lead in another, which may be the same.
def _targets(elf: Elf, home: Section, section: Section) -> Iterator[int]:
    slots = Slots(bytearray(home.data()), elf.byteorder)
    relocated = {each.offset: each.symbol for each in elf.relocations_of(home)}
    for slot in slots.positions(CALL, LOAD_IMMEDIATE_64):
        call = slots.is_call(slot)
        number = relocated.get(slot * SLOT_SIZE)
        if number is None:
            if home is section and slots.source(slot) == (PSEUDO_CALL if call else PSEUDO_FUNC):
                yield (slot + slots.immediate(slot) + 1) * SLOT_SIZE
            continue
        symbol = elf.symbol(number)
        if symbol.section == section.index:
            addend = slots.immediate(slot)
            yield symbol.value + ((addend + 1) * SLOT_SIZE if call else addend)
