"""Linking: an entry function and everything it calls become one program.

A `Function` comes in, a `Linked` goes out: callees are appended breadth first, each once, and calls
and function addresses are given their distances:

    | entry ... call +N | callee ... | callee of the callee ... |
                   └──────▲
An exception callback is called by the kernel only, so it comes last.
"""

from __future__ import annotations

from pyebpf.asm.opcode import SLOT_SIZE
from pyebpf.asm.slots import Slots
from pyebpf.elf.functions import Function
from pyebpf.errors import ElfError
from pyebpf.plain import plain
from pyebpf.spec import ByteOrder, Reference

__all__ = ["Linked", "Linker"]

# A small file can call a large subprogram from very many entries; nothing real comes near this.
_LINKED_LIMIT = 1 << 26


@plain()
class Linked:
    """The code of one program.

    Attributes:
        code: Raw instructions.
        layout: The functions in it and the slots they start at, the entry first.
        references: Named references by slot of the whole code.
        jump_tables: Targets of indirect jumps as slots of the whole code, by the table's symbol.
    """

    code: bytes
    layout: tuple[tuple[int, Function], ...]
    references: dict[int, Reference]
    jump_tables: dict[str, tuple[int, ...]]


class Linker:
    """Links the programs of one file.

    Args:
        byteorder: Of the code.
    """

    __slots__ = ("_budget", "_byteorder")

    def __init__(self, byteorder: ByteOrder) -> None:
        self._byteorder = byteorder
        self._budget = _LINKED_LIMIT

    def link(self, entry: Function, *, callback: Function | None = None) -> Linked:
        """Link one program.

        Args:
            entry: Where it starts.
            callback: Its exception callback.

        Raises:
            ElfError: The programs of the file add up to more than 64 MiB, or two functions have
                jump tables of one name.
        """
        places = self._place(entry, callback)
        slots = Slots(bytearray().join(function.code for function in places), self._byteorder)
        references: dict[int, Reference] = {}
        tables: dict[str, tuple[int, ...]] = {}
        for function, start in places.items():
            for slot, callee in function.calls.items():
                here = start + slot
                slots.set_immediate(here, places[callee] - here - 1)
                if not slots.is_call(here):
                    slots.set_immediate(here + 1, 0)
            for slot, reference in function.references.items():
                references[start + slot] = reference
            for name, targets in function.jump_tables.items():
                if name in tables:
                    raise function.home.section.error(
                        f'a second jump table "{name}"', function.start
                    )
                tables[name] = tuple(start + target for target in targets)
        layout = tuple((start, function) for function, start in places.items())
        return Linked(bytes(slots.code), layout, dict(sorted(references.items())), tables)

    # Where each function of the program starts, in slots; dicts keep the order of appending.
    def _place(self, entry: Function, callback: Function | None) -> dict[Function, int]:
        order = _reachable(entry, {})
        if callback is not None:
            order = _reachable(callback, order)
        places: dict[Function, int] = {}
        size = 0
        for function in order:
            places[function] = size // SLOT_SIZE
            size += function.end - function.start
        self._budget -= size
        if self._budget < 0:
            raise ElfError(
                f"linked programs take more than {_LINKED_LIMIT >> 20} MiB",
                where=f"section {entry.home.section.name}",
            )
        return places


# What a function needs, breadth first, behind what is there already; a dict serves as ordered set.
def _reachable(first: Function, seen: dict[Function, None]) -> dict[Function, None]:
    waiting = [] if first in seen else [first]
    found = seen | dict.fromkeys(waiting)
    for function in waiting:  # grows while it is walked
        for _, callee in sorted(function.calls.items(), key=_by_slot):
            if callee not in found:
                found[callee] = None
                waiting.append(callee)
    return found


def _by_slot(item: tuple[int, Function]) -> int:
    return item[0]
