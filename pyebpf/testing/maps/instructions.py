"""Instruction arrays: where the indirect jumps of one program may lead.

value   | slot as given u32 | slot in the kernel's code u32 | place in the machine's code u32 | 0 |
"""

from __future__ import annotations

import errno
import struct
import weakref

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.arrays import index_of, next_index
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import UpdateFlag

__all__ = ["InstructionArray"]

_VALUE = struct.Struct("=IIII")
_POINTER = 8


class InstructionArray(Contents):
    """``BPF_MAP_TYPE_INSN_ARRAY``. There is no machine's code here: that place stays 0.

    Attributes:
        user: The program that has it; there may be one.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._slots: dict[int, int] = {}  # by index; the others are 0
        self.user: weakref.ref[object] | None = None

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots as given."""
        return tuple(self._slots.get(each, 0) for each in range(self.definition.max_entries))

    @property
    def used(self) -> bool:
        """Whether a program has it."""
        return self.user is not None and self.user() is not None

    @property
    def direct_size(self) -> int:
        return _POINTER * self.definition.max_entries

    def lookup(self, key: bytes) -> bytes:
        slot = self._slots.get(index_of(key, self.definition, beyond=errno.ENOENT), 0)
        return _VALUE.pack(slot, slot if self.used else 0, 0, 0)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # insn_array_update_elem
        number = index_of(key, self.definition)
        if flags & UpdateFlag.NOEXIST:
            raise Refused(errno.EEXIST)
        slot, kernel, machine, _ = _VALUE.unpack(value)
        if kernel or machine:
            raise Refused(errno.EINVAL)
        self._slots[number] = slot

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)

    def at(self, key: bytes, cpu: int) -> Region | None:
        return None
