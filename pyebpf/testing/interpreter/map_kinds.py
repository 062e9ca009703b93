"""Simple maps in memory, with the kernel's rules and errnos for what programs do to them.

`make_map` makes the map of a spec. Tests read and write them as programs do, by `lookup`, `update`
and `delete`, or look at ``events`` and ``records``.
"""

from __future__ import annotations

import errno
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from pyebpf.errors import NotModelledError
from pyebpf.spec import MapSpec
from pyebpf.testing.interpreter.arena import ArenaMap
from pyebpf.testing.interpreter.event_maps import PerfEventArray, RingBuffer
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import ByteOrder, Region
from pyebpf.uapi.bpf import MapFlag, MapType, UpdateFlag

__all__ = [
    "ArrayMap",
    "BloomFilter",
    "HashMap",
    "LocalStorageMap",
    "LpmTrie",
    "MapOfMaps",
    "PerfEventArray",
    "ProgramArray",
    "QueueMap",
    "RingBuffer",
    "StackTraceMap",
    "make_map",
]

# A number: the complement of a flag knows no bits that have no name.
LOCK = int(UpdateFlag.LOCK)
PER_CPU = {MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH}
LRU = {MapType.LRU_HASH, MapType.LRU_PERCPU_HASH}


class HashMap(Map):
    """Hash tables: plain, per CPU, least recently used.

    Args:
        name: For messages.
        type: Which of them.
        key_size: Bytes of a key.
        value_size: Bytes of a value.
        max_entries: When it is full.
    """

    def __init__(
        self,
        name: str,
        type: MapType = MapType.HASH,  # noqa: A002 - the kernel's word
        *,
        key_size: int,
        value_size: int,
        max_entries: int,
    ) -> None:
        super().__init__(
            name, type, key_size=key_size, value_size=value_size, max_entries=max_entries
        )
        self.elements: OrderedDict[bytes, dict[int, Region]] = OrderedDict()

    def lookup(self, key: bytes, cpu: int) -> Region | None:
        """Return the value of *key*."""
        values = self.elements.get(key)
        if values is None:
            return None
        if self.type in LRU:
            self.elements.move_to_end(key)
        cpu = cpu if self.type in PER_CPU else 0
        if cpu not in values:
            values[cpu] = self._value(bytes(self.value_size))
        return values[cpu]

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Set a value. Pointers to the value before keep the value before, but in per-CPU maps."""
        there = key in self.elements
        problem = _wrong_flags(flags, there=there)
        if problem:
            return problem
        if not there and len(self.elements) >= self.max_entries:
            if self.type not in LRU:
                return -errno.E2BIG
            self.elements.popitem(last=False)
        if self.type in PER_CPU:
            self.elements.setdefault(key, {})
            place = self.lookup(key, cpu)
            assert place is not None
            place.view(0, self.value_size, write=True)[:] = value
        else:
            self.elements[key] = {0: self._value(value)}
        return 0

    def delete(self, key: bytes) -> int:
        """Remove a key."""
        return 0 if self.elements.pop(key, None) is not None else -errno.ENOENT

    def keys(self) -> Iterable[bytes]:
        """Return the keys, oldest first."""
        return list(self.elements)

    def _value(self, data: bytes) -> Region:
        return Region(bytearray(data), f"value of map {self.name}")


class LpmTrie(HashMap):
    """Longest prefix match: a key is a 32-bit prefix length and bytes.

    Args:
        name: For messages.
        key_size: Bytes of a key, with the length.
        value_size: Bytes of a value.
        max_entries: When it is full.
        byteorder: Of the prefix length.
    """

    def __init__(
        self, name: str, *, key_size: int, value_size: int, max_entries: int, byteorder: ByteOrder
    ) -> None:
        super().__init__(
            name,
            MapType.LPM_TRIE,
            key_size=key_size,
            value_size=value_size,
            max_entries=max_entries,
        )
        self.byteorder: ByteOrder = byteorder

    def lookup(self, key: bytes, cpu: int) -> Region | None:
        """Return the value of the longest prefix of *key*."""
        for length in range(min(self._length(key), self._bits), -1, -1):
            found = self.elements.get(self._cut(key, length))
            if found is not None:
                return found[0]
        return None

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Set the value of a prefix."""
        length = self._length(key)
        if length > self._bits:
            return -errno.EINVAL
        status = super().update(self._cut(key, length), value, flags, cpu)
        return -errno.ENOSPC if status == -errno.E2BIG else status

    def delete(self, key: bytes) -> int:
        """Remove exactly this prefix."""
        length = self._length(key)
        return -errno.EINVAL if length > self._bits else super().delete(self._cut(key, length))

    @property
    def _bits(self) -> int:
        return 8 * (self.key_size - 4)

    def _length(self, key: bytes) -> int:
        return int.from_bytes(key[:4], self.byteorder)

    def _cut(self, key: bytes, length: int) -> bytes:
        mask = (1 << self._bits) - (1 << self._bits - length)
        data = int.from_bytes(key[4:], "big") & mask
        return length.to_bytes(4, self.byteorder) + data.to_bytes(self.key_size - 4, "big")


class ArrayMap(Map):
    """Arrays, plain and per CPU. Data sections are arrays of one value.

    Args:
        name: For messages.
        type: Which of them.
        value_size: Bytes of a value.
        max_entries: How many there are.
        contents: Of the first value, if it is not zeros.
        writable: Whether programs may write (``BPF_F_RDONLY_PROG``).
        byteorder: Of the index.
    """

    def __init__(
        self,
        name: str,
        type: MapType = MapType.ARRAY,  # noqa: A002 - the kernel's word
        *,
        value_size: int,
        max_entries: int,
        contents: bytes = b"",
        writable: bool = True,
        byteorder: ByteOrder = "little",
    ) -> None:
        super().__init__(name, type, key_size=4, value_size=value_size, max_entries=max_entries)
        self.writable = writable
        self.byteorder: ByteOrder = byteorder
        self._values: dict[tuple[int, int], Region] = {}
        if contents:
            self._values[0, 0] = self._value(bytearray(contents))

    def lookup(self, key: bytes, cpu: int) -> Region | None:
        """Return the value at an index."""
        index = int.from_bytes(key, self.byteorder)
        if index >= self.max_entries:
            return None
        place = index, cpu if self.type in PER_CPU else 0
        if place not in self._values:
            self._values[place] = self._value(bytearray(self.value_size))
        return self._values[place]

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Set the value at an index, in place."""
        if flags & ~LOCK > UpdateFlag.EXIST:
            return -errno.EINVAL
        place = self.lookup(key, cpu)
        if place is None:
            return -errno.E2BIG
        if flags & UpdateFlag.NOEXIST:
            return -errno.EEXIST
        place.view(0, self.value_size, write=True)[:] = value
        return 0

    def keys(self) -> Iterable[bytes]:
        """Return all indexes."""
        return (index.to_bytes(4, self.byteorder) for index in range(self.max_entries))

    def _value(self, data: bytearray) -> Region:
        return Region(data, f"value of map {self.name}", writable=self.writable)


class MapOfMaps(Map):
    """Arrays and hash tables of maps; programs look up and nothing else.

    Args:
        name: For messages.
        type: Which of them.
        key_size: Bytes of a key.
        max_entries: How many fit.

    Attributes:
        inner: The maps by key.
    """

    def __init__(
        self,
        name: str,
        type: MapType = MapType.HASH_OF_MAPS,  # noqa: A002 - the kernel's word
        *,
        key_size: int,
        max_entries: int,
    ) -> None:
        super().__init__(name, type, key_size=key_size, value_size=4, max_entries=max_entries)
        self.inner: dict[bytes, Map] = {}

    def lookup(self, key: bytes, cpu: int) -> Map | None:
        """Return the inner map of *key*."""
        return self.inner.get(key)


class ProgramArray(Map):
    """Programs for tail calls, by index.

    Attributes:
        programs: The programs.
    """

    def __init__(self, name: str, *, max_entries: int) -> None:
        super().__init__(
            name, MapType.PROG_ARRAY, key_size=4, value_size=4, max_entries=max_entries
        )
        self.programs: dict[int, object] = {}

    def program(self, index: int) -> object | None:
        """Return the program at *index*."""
        return self.programs.get(index) if index < self.max_entries else None


class StackTraceMap(Map):
    """Stack traces by number.

    Attributes:
        traces: Addresses, as the value of a number holds them.
    """

    def __init__(self, name: str, *, value_size: int, max_entries: int) -> None:
        super().__init__(
            name, MapType.STACK_TRACE, key_size=4, value_size=value_size, max_entries=max_entries
        )
        self.traces: list[bytes] = []

    def stack_id(self, addresses: bytes, flags: int) -> int:
        """Return the number of a trace; the kernel's come from a hash, these count up."""
        if addresses not in self.traces:
            if len(self.traces) >= self.max_entries:
                return -errno.EEXIST
            self.traces.append(addresses)
        return self.traces.index(addresses)


class LocalStorageMap(Map):
    """Values of sockets, tasks, inodes or control groups.

    Attributes:
        values: By the address of the struct.
    """

    def __init__(self, name: str, type: MapType, *, value_size: int) -> None:  # noqa: A002
        super().__init__(name, type, key_size=4, value_size=value_size, max_entries=0)
        self.values: dict[int, Region] = {}

    def local_storage(self, owner: int, initial: bytes | None) -> Region | None:
        """Return the value of the struct at an address, made if there is none and it should be."""
        if owner not in self.values and initial is not None:
            self.values[owner] = Region(bytearray(initial), f"value of map {self.name}")
        return self.values.get(owner)

    def remove_local_storage(self, owner: int) -> int:
        """Remove it."""
        return 0 if self.values.pop(owner, None) is not None else -errno.ENOENT


class BloomFilter(Map):
    """A Bloom filter that is never mistaken."""

    def __init__(self, name: str, *, value_size: int, max_entries: int) -> None:
        super().__init__(
            name, MapType.BLOOM_FILTER, key_size=0, value_size=value_size, max_entries=max_entries
        )
        self.values: set[bytes] = set()

    def push(self, value: bytes, flags: int) -> int:
        """Add a value."""
        if flags != UpdateFlag.ANY:
            return -errno.EINVAL
        self.values.add(value)
        return 0

    def peek(self, value: bytes) -> bytes | int:
        """Tell whether a value was added."""
        return value if value in self.values else -errno.ENOENT


class QueueMap(Map):
    """Queues and stacks.

    Args:
        name: For messages.
        type: Which of them.
        value_size: Bytes of a value.
        max_entries: How many fit.
    """

    def __init__(
        self,
        name: str,
        type: MapType = MapType.QUEUE,  # noqa: A002 - the kernel's word
        *,
        value_size: int,
        max_entries: int,
    ) -> None:
        super().__init__(name, type, key_size=0, value_size=value_size, max_entries=max_entries)
        self.values: deque[bytes] = deque()

    def push(self, value: bytes, flags: int) -> int:
        """Add a value; ``BPF_EXIST`` makes room by dropping the oldest."""
        if flags not in (UpdateFlag.ANY, UpdateFlag.EXIST):
            return -errno.EINVAL
        if len(self.values) >= self.max_entries:
            if flags != UpdateFlag.EXIST:
                return -errno.E2BIG
            self.values.popleft()
        self.values.append(value)
        return 0

    def pop(self) -> bytes | int:
        """Remove the next value."""
        if not self.values:
            return -errno.ENOENT
        return self.values.pop() if self.type is MapType.STACK else self.values.popleft()

    def peek(self, value: bytes) -> bytes | int:
        """Return the next value."""
        if not self.values:
            return -errno.ENOENT
        return self.values[-1 if self.type is MapType.STACK else 0]


# Targets of redirects have numbers for values; all that programs ask is whether there is one.
_HASHES = {
    MapType.HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_HASH,
    MapType.LRU_PERCPU_HASH,
    MapType.DEVMAP,
    MapType.DEVMAP_HASH,
    MapType.CPUMAP,
    MapType.XSKMAP,
}
_ARRAYS = {MapType.ARRAY, MapType.PERCPU_ARRAY}
_STORAGE = {
    MapType.SK_STORAGE,
    MapType.TASK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.CGRP_STORAGE,
}


def make_map(spec: MapSpec, byteorder: ByteOrder = "little") -> Map:
    """Make the map that a spec describes.

    Args:
        spec: The map; its contents become those of an array's first value.
        byteorder: Of the programs that will use it.

    Raises:
        NotModelledError: There is no such kind here.
    """
    sizes = {"value_size": spec.value_size, "max_entries": spec.max_entries}
    if spec.type in _HASHES:
        return HashMap(spec.name, spec.type, key_size=spec.key_size, **sizes)
    if spec.type in _ARRAYS:
        return ArrayMap(
            spec.name,
            spec.type,
            **sizes,
            contents=bytes(spec.contents or b""),
            writable=not spec.flags & MapFlag.RDONLY_PROG,
            byteorder=byteorder,
        )
    if spec.type is MapType.LPM_TRIE:
        return LpmTrie(spec.name, key_size=spec.key_size, **sizes, byteorder=byteorder)
    if spec.type in (MapType.HASH_OF_MAPS, MapType.ARRAY_OF_MAPS):
        return MapOfMaps(spec.name, spec.type, key_size=spec.key_size, max_entries=spec.max_entries)
    if spec.type in (MapType.QUEUE, MapType.STACK):
        return QueueMap(spec.name, spec.type, **sizes)
    if spec.type is MapType.STACK_TRACE:
        return StackTraceMap(spec.name, **sizes)
    if spec.type in (MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE):
        return Map(spec.name, spec.type, key_size=spec.key_size, **sizes)
    if spec.type in _STORAGE:
        return LocalStorageMap(spec.name, spec.type, value_size=spec.value_size)
    if spec.type is MapType.BLOOM_FILTER:
        return BloomFilter(spec.name, **sizes)
    if spec.type is MapType.ARENA:
        contents = bytes(spec.contents or b"")
        return ArenaMap(spec.name, max_entries=spec.max_entries, contents=contents)
    simple: dict[int, Callable[..., Map]] = {
        MapType.PROG_ARRAY: ProgramArray,
        MapType.PERF_EVENT_ARRAY: PerfEventArray,
        MapType.RINGBUF: RingBuffer,
    }
    kind = simple.get(spec.type)
    if kind is None:
        raise NotModelledError(f'map "{spec.name}" of type {spec.type}')
    return kind(spec.name, max_entries=spec.max_entries)


def _wrong_flags(flags: int, *, there: bool) -> int:
    flags &= ~LOCK
    if flags > UpdateFlag.EXIST:
        return -errno.EINVAL
    if there and flags == UpdateFlag.NOEXIST:
        return -errno.EEXIST
    if not there and flags == UpdateFlag.EXIST:
        return -errno.ENOENT
    return 0
