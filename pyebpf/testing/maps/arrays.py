"""Arrays: every index below max_entries exists, zero at first.

memory   | value 0, padded to 8 bytes | value 1 | ...        one value a CPU: one such memory each
"""

from __future__ import annotations

import errno
import struct
import sys

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.contents import Contents, check_flags, region
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.memory import SharedMemory, page_aligned, zeros
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import Cmd, MapFlag, UpdateFlag

__all__ = ["Array", "PerCpuArray", "index_of", "next_index"]

_U32 = struct.Struct("=I")
_LAST = 0xFFFFFFFF
_BATCHES = frozenset({Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_UPDATE_BATCH})


def index_of(key: bytes, definition: Definition, *, beyond: int = errno.E2BIG) -> int:
    """Return the index a key says.

    Raises:
        Refused: *beyond*, if it is not below max_entries.
    """
    number = int.from_bytes(key, sys.byteorder)
    if number >= definition.max_entries:
        raise Refused(beyond)
    return number


def next_index(key: bytes | None, definition: Definition) -> bytes:
    """Return the index after a key: array_map_get_next_key.

    Raises:
        Refused: ``ENOENT`` after the last.
    """
    number = _LAST if key is None else int.from_bytes(key, sys.byteorder)
    if number >= definition.max_entries:
        return _U32.pack(0)
    if number == definition.max_entries - 1:
        raise Refused(errno.ENOENT)
    return _U32.pack(number + 1)


def _check_update(flags: int) -> None:
    # array_map_update_elem
    if flags & ~int(UpdateFlag.LOCK) > UpdateFlag.EXIST:
        raise Refused(errno.EINVAL)


class Array(Contents):
    """``BPF_MAP_TYPE_ARRAY``.

    Attributes:
        shared: The memory the process may map, of a ``BPF_F_MMAPABLE`` one.
    """

    batches = _BATCHES

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        size = definition.stride * definition.max_entries
        self.shared: SharedMemory | None = None
        if definition.flags & MapFlag.MMAPABLE:
            self.shared = SharedMemory(page_aligned(size), "bpf-array")
            self.memory = self.shared.view[:size]
        else:
            self.memory = zeros(size)
        self._regions: dict[int, Region] = {}

    @property
    def direct_size(self) -> int | None:
        # array_map_direct_value_addr
        return self.definition.value_size if self.definition.max_entries == 1 else None

    def lookup(self, key: bytes) -> bytes:
        return bytes(self._value(index_of(key, self.definition, beyond=errno.ENOENT)))

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        _check_update(flags)
        number = index_of(key, self.definition)
        check_flags(flags, exists=True)
        self._value(number)[:] = value

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)

    def close(self) -> None:
        if self.shared is not None:
            self.shared.close()

    def at(self, key: bytes, cpu: int) -> Region | None:
        number = int.from_bytes(key, sys.byteorder)
        if number >= self.definition.max_entries:
            return None
        found = self._regions.get(number)
        if found is None:
            found = self._regions[number] = region(self.definition, self._value(number))
        return found

    def _value(self, number: int) -> memoryview:
        start = number * self.definition.stride
        return self.memory[start : start + self.definition.value_size]


class PerCpuArray(Contents):
    """``BPF_MAP_TYPE_PERCPU_ARRAY``."""

    batches = _BATCHES

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        one = definition._replace(flags=definition.flags & MapFlag.RDONLY_PROG)
        self._cpus = [Array(one) for _ in range(definition.cpus)]

    @property
    def direct_size(self) -> int | None:
        return self._cpus[0].direct_size

    def lookup(self, key: bytes) -> bytes:
        number = index_of(key, self.definition, beyond=errno.ENOENT)
        start, stride = number * self.definition.stride, self.definition.stride
        return b"".join(each.memory[start : start + stride] for each in self._cpus)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # bpf_percpu_array_update: no lock here, since values of one CPU need none.
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        number = index_of(key, self.definition)
        check_flags(flags, exists=True)
        start, stride = number * self.definition.stride, self.definition.stride
        for cpu, each in enumerate(self._cpus):
            each.memory[start : start + stride] = value[cpu * stride : (cpu + 1) * stride]

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)

    def at(self, key: bytes, cpu: int) -> Region | None:
        return self._cpus[cpu].at(key, cpu)

    def put(self, key: bytes, value: bytes, flags: int, cpu: int) -> None:
        self._cpus[cpu].update(key, value, flags)
