"""Linking: an entry function and everything it calls become one program.

A `Function` comes in, a `Linked` goes out: callees are appended breadth first, each once, and calls
and function addresses are given their distances:

    | entry ... call +N | callee ... | callee of the callee ... |
                   └──────▲
"""

from __future__ import annotations

from dataclasses import dataclass

from pyebpf.asm.opcode import SLOT_SIZE
from pyebpf.asm.slots import Slots
from pyebpf.elf.functions import Function
from pyebpf.errors import ElfError
from pyebpf.spec import ByteOrder, Reference

__all__ = ["Linked", "Linker"]

# A small file can call a large subprogram from very many entries; nothing real comes near this.
_LINKED_LIMIT = 1 << 26


@dataclass(slots=True)
class Linked:
    """The code of one program.

    Attributes:
        code: Raw instructions.
        layout: The functions in it and the slots they start at, the entry first.
        references: Named references by slot of the whole code.
    """

    code: bytes
    layout: tuple[tuple[int, Function], ...]
    references: dict[int, Reference]


class Linker:
    """Links the programs of one file.

    Args:
        byteorder: Of the code.
    """

    __slots__ = ("_budget", "_byteorder")

    def __init__(self, byteorder: ByteOrder) -> None:
        self._byteorder = byteorder
        self._budget = _LINKED_LIMIT

    def link(self, entry: Function) -> Linked:
        """Link one program.

        Raises:
            ElfError: The programs of the file add up to more than 64 MiB.
        """
        places = self._place(entry)
        slots = Slots(bytearray().join(function.code for function in places), self._byteorder)
        references: dict[int, Reference] = {}
        for function, start in places.items():
            for slot, callee in function.calls.items():
                here = start + slot
                slots.set_immediate(here, places[callee] - here - 1)
                if not slots.is_call(here):
                    slots.set_immediate(here + 1, 0)
            for slot, reference in function.references.items():
                references[start + slot] = reference
        layout = tuple((start, function) for function, start in places.items())
        return Linked(bytes(slots.code), layout, dict(sorted(references.items())))

    # Where each function of the program starts, in slots; dicts keep the order of appending.
    def _place(self, entry: Function) -> dict[Function, int]:
        places: dict[Function, int] = {}
        size = 0
        waiting = [entry]
        seen = {entry}
        for function in waiting:  # grows while it is walked: breadth first
            places[function] = size // SLOT_SIZE
            size += function.end - function.start
            for _, callee in sorted(function.calls.items(), key=_by_slot):
                if callee not in seen:
                    seen.add(callee)
                    waiting.append(callee)
        self._budget -= size
        if self._budget < 0:
            raise ElfError(
                f"linked programs take more than {_LINKED_LIMIT >> 20} MiB",
                where=f"section {entry.home.section.name}",
            )
        return places


def _by_slot(item: tuple[int, Function]) -> int:
    return item[0]
