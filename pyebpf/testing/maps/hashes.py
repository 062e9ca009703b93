"""Hashes: plain, per CPU, and those that forget what was not used for longest (LRU)."""

from __future__ import annotations

import errno

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.buckets import Buckets
from pyebpf.testing.maps.contents import Contents, check_flags, region
from pyebpf.testing.maps.definition import PER_CPU, Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import Cmd, MapType, UpdateFlag

__all__ = ["Hash"]

_LRU = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})


class Hash(Contents):
    """All hashes whose values are memory.

    Of an LRU one the entry goes that programs have not looked up, and nobody has set, for longest.
    The kernel goes by approximation and in batches: it may forget others, and more at a time, all
    the more the smaller the map is.

    Args:
        definition: What it is made of.
        pops: Whether values can be looked up and deleted at once.

    Attributes:
        buckets: The keys in order, for batches.
    """

    batches = frozenset(
        {
            Cmd.MAP_LOOKUP_BATCH,
            Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
            Cmd.MAP_UPDATE_BATCH,
            Cmd.MAP_DELETE_BATCH,
        }
    )

    def __init__(self, definition: Definition, *, pops: bool) -> None:
        super().__init__(definition)
        self.pops = pops
        self._per_cpu = definition.type in PER_CPU
        self._lru = definition.type in _LRU
        self._values: dict[bytes, bytearray] = {}  # in order of use, of an LRU one
        self._regions: dict[bytes, dict[int, Region]] = {}  # by CPU
        self.buckets = Buckets(definition.max_entries)

    def lookup(self, key: bytes) -> bytes:
        # Reading by system call is no use: htab_lru_map_lookup_elem_sys.
        value = self._values.get(key)
        if value is None:
            raise Refused(errno.ENOENT)
        return bytes(value)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        self._check_update(key, flags)
        self._entry(key, flags)[:] = value

    def put(self, key: bytes, value: bytes, flags: int, cpu: int) -> None:
        self._check_update(key, flags)
        if not self._per_cpu:
            self._entry(key, flags)[:] = value
            return
        start = cpu * self.definition.stride
        # Of a new entry the other CPUs' values are zero: pcpu_init_value.
        self._entry(key, flags)[start : start + len(value)] = value

    def delete(self, key: bytes) -> None:
        if key not in self._values:
            raise Refused(errno.ENOENT)
        self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        # A key that is not there starts from the beginning: htab_map_get_next_key.
        known = key is not None and key in self._values
        following = self.buckets.after(key) if known and key is not None else self.buckets.first()
        if following is None:
            raise Refused(errno.ENOENT)
        return following

    def pop(self, key: bytes) -> bytes:
        value = self.lookup(key)
        self._remove(key)
        return value

    def at(self, key: bytes, cpu: int) -> Region | None:
        value = self._values.get(key)
        if value is None:
            return None
        if self._lru:
            self._use(key)
        cpu = cpu if self._per_cpu else 0
        regions = self._regions.setdefault(key, {})
        if cpu not in regions:
            start = cpu * self.definition.stride
            mine = memoryview(value)[start : start + self.definition.value_size]
            regions[cpu] = region(self.definition, mine)
        return regions[cpu]

    def _check_update(self, key: bytes, flags: int) -> None:
        allowed = flags & ~int(UpdateFlag.LOCK) if not self._lru and not self._per_cpu else flags
        if allowed > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        check_flags(flags, exists=key in self._values)
        if key not in self._values and len(self._values) >= self.definition.max_entries:
            if not self._lru:
                raise Refused(errno.E2BIG)
            self._remove(next(iter(self._values)))

    # The memory to fill. What replaces a value is another element, but where each CPU has its own
    # or a lock is taken: programs that hold a pointer go on seeing what was there before.
    def _entry(self, key: bytes, flags: int) -> bytearray:
        value = self._values.get(key)
        if value is not None and (self._per_cpu or flags & UpdateFlag.LOCK):
            if self._lru:
                self._use(key)
            return value
        if value is not None:
            self._remove(key)
        self.buckets.add(key)
        value = self._values[key] = bytearray(self.definition.transfer_size)
        return value

    def _use(self, key: bytes) -> None:
        self._values[key] = self._values.pop(key)

    def _remove(self, key: bytes) -> None:
        del self._values[key]
        self._regions.pop(key, None)
        self.buckets.remove(key)
