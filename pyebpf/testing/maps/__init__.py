"""The contents of maps, one module for each family of kinds.

`contents_of` makes them. Kinds that are not modelled can be created, so that programs which mention
them load; using their elements is a ``NotImplementedError``.
"""

from __future__ import annotations

from pyebpf.testing.maps.arrays import Array, PerCpuArray
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.maps.events import RingBuffer
from pyebpf.testing.maps.hashes import Hash
from pyebpf.testing.maps.queues import BloomFilter, Queue
from pyebpf.testing.maps.slots import FdArray, HashOfMaps, Resolve
from pyebpf.testing.maps.tries import Trie
from pyebpf.testing.maps.unmodelled import Unmodelled
from pyebpf.uapi.bpf import MapType

__all__ = ["contents_of", "is_modelled"]

_KINDS: dict[MapType, type[Contents]] = {
    MapType.HASH: Hash,
    MapType.PERCPU_HASH: Hash,
    MapType.LRU_HASH: Hash,
    MapType.LRU_PERCPU_HASH: Hash,
    MapType.ARRAY: Array,
    MapType.PERCPU_ARRAY: PerCpuArray,
    MapType.LPM_TRIE: Trie,
    MapType.QUEUE: Queue,
    MapType.STACK: Queue,
    MapType.BLOOM_FILTER: BloomFilter,
    MapType.RINGBUF: RingBuffer,
}
_SLOTS: dict[MapType, type[FdArray | HashOfMaps]] = {
    MapType.PROG_ARRAY: FdArray,
    MapType.PERF_EVENT_ARRAY: FdArray,
    MapType.ARRAY_OF_MAPS: FdArray,
    MapType.HASH_OF_MAPS: HashOfMaps,
}


def is_modelled(kind: MapType) -> bool:
    """Whether maps of a kind have elements here."""
    return kind in _KINDS or kind in _SLOTS


def contents_of(definition: Definition, resolve: Resolve | None) -> Contents:
    """Return the empty contents of a new map.

    Args:
        definition: What it is made of.
        resolve: For kinds that hold objects: from a descriptor to the object.
    """
    slots = _SLOTS.get(definition.type)
    if slots is not None:
        assert resolve is not None
        return slots(definition, resolve)
    return _KINDS.get(definition.type, Unmodelled)(definition)
