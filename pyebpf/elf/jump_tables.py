"""Jump tables: section ``.jumptables``, where an indirect jump of a large ``switch`` may go.

The file comes in; for each table that a function loads the address of, its targets go out, as slots
of that function. Entries count bytes from the start of the code section the function stands in:

    .jumptables  BPF.JT.0.0 | 0x40 u64 | 0x58 u64 | ...     symbol: place and size of one table
    socket       ... r4 = BPF.JT.0.0 ll; r4 += r3; r3 = *(u64 *)(r4 + 0); gotox r3

Clang makes them from release 22 on, for ``-mcpu=v4``; the kernel takes them since Linux 6.19.
"""

from __future__ import annotations

from pyebpf.asm.opcode import SLOT_SIZE
from pyebpf.elf.functions import Function
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.uapi.elf import SHT_PROGBITS

__all__ = ["JumpTables"]

_NAME = ".jumptables"
_ENTRY = 8


class JumpTables:
    """The jump tables of a file.

    Args:
        elf: The file.

    Attributes:
        section: The section they stand in, or ``None``.
    """

    __slots__ = ("_byteorder", "section")

    def __init__(self, elf: Elf) -> None:
        self._byteorder = elf.byteorder
        self.section: Section | None = None
        for section in elf.sections:
            if section.name == _NAME and section.type == SHT_PROGBITS and section.size:
                self.section = section

    def holds(self, symbol: Symbol) -> bool:
        """Whether *symbol* stands in the section of jump tables."""
        return self.section is not None and symbol.section == self.section.index

    def targets(self, symbol: Symbol, function: Function) -> tuple[int, ...]:
        """Return where the jumps of one table go, as slots of *function*.

        Args:
            symbol: The table.
            function: Who jumps.

        Raises:
            ElfError: The symbol has no size, or a target lies outside the function.
        """
        section = self.section
        assert section is not None
        if not symbol.size or symbol.size % _ENTRY or symbol.value % _ENTRY:
            raise section.error(
                f'jump table "{symbol.name}" of {symbol.size} bytes is not whole entries',
                symbol.value,
            )
        data = section.data()
        found = []
        for at in range(symbol.value, symbol.value + symbol.size, _ENTRY):
            target = int.from_bytes(data[at : at + _ENTRY], self._byteorder)
            if target % SLOT_SIZE or not function.start <= target < function.end:
                raise section.error(
                    f'jump table "{symbol.name}" leaves function "{function.name}"', at
                )
            found.append((target - function.start) // SLOT_SIZE)
        return tuple(found)
