"""Fields of single instructions, read and patched in place in raw code.

Linking and loading touch a handful of instructions of a program that may have a hundred thousand,
so nothing here makes an object per instruction: code stays a ``bytearray``, an instruction is the
number of its slot.
"""

from __future__ import annotations

import struct

from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64, SLOT_SIZE
from pyebpf.typed import Literal

__all__ = ["Slots"]

_IMMEDIATE = {"little": struct.Struct("<i"), "big": struct.Struct(">i")}
_IMMEDIATE_AT = 4  # bytes into the slot


class Slots:
    """A view of code as slots of 8 bytes.

    Args:
        code: Raw instructions, changed in place.
        byteorder: Of the code.
    """

    __slots__ = ("_immediate", "_src_shift", "code")

    def __init__(self, code: bytearray, byteorder: Literal["little", "big"]) -> None:
        self.code = code
        self._immediate = _IMMEDIATE[byteorder]
        self._src_shift = 4 if byteorder == "little" else 0

    def __len__(self) -> int:
        return len(self.code) // SLOT_SIZE

    def opcode(self, slot: int) -> int:
        """Return the opcode byte."""
        return self.code[slot * SLOT_SIZE]

    def source(self, slot: int) -> int:
        """Return the source register's number."""
        return self.code[slot * SLOT_SIZE + 1] >> self._src_shift & 0xF

    def set_source(self, slot: int, source: int) -> None:
        """Set the source register's number, leaving the destination alone."""
        registers = self.code[slot * SLOT_SIZE + 1] & ~(0xF << self._src_shift)
        self.code[slot * SLOT_SIZE + 1] = registers | source << self._src_shift

    def immediate(self, slot: int) -> int:
        """Return the signed 32-bit immediate."""
        value: int = self._immediate.unpack_from(self.code, slot * SLOT_SIZE + _IMMEDIATE_AT)[0]
        return value

    def set_immediate(self, slot: int, value: int) -> None:
        """Set the immediate from a value of 32 bits, signed or not."""
        value = (value + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        self._immediate.pack_into(self.code, slot * SLOT_SIZE + _IMMEDIATE_AT, value)

    def is_call(self, slot: int) -> bool:
        """Whether it is a call, of whatever kind."""
        return self.opcode(slot) == CALL

    def is_load_64(self, slot: int) -> bool:
        """Whether it is the first half of a 64-bit immediate load with its second half in place."""
        return (
            self.opcode(slot) == LOAD_IMMEDIATE_64
            and slot + 1 < len(self)
            and not self.opcode(slot + 1)
        )

    def positions(self, *opcodes: int) -> list[int]:
        """Return the slots whose opcode is one of *opcodes*, in order.

        Second halves of 64-bit loads have opcode 0 and are never found.
        """
        column = bytes(self.code[::SLOT_SIZE])
        found: list[int] = []
        for opcode in opcodes:
            wanted = opcode.to_bytes(1, "little")
            slot = column.find(wanted)
            while slot >= 0:
                found.append(slot)
                slot = column.find(wanted, slot + 1)
        found.sort()
        return found
