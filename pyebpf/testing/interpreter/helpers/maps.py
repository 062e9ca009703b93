"""Helpers on maps: elements, queues, iteration."""

from __future__ import annotations

import errno

from pyebpf.testing.interpreter.calls import Function, Generated
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]


def map_lookup_elem(run: Run, pointer: int, key: int) -> int:
    """Return the address of a value, or 0."""
    return _lookup(run, pointer, key, run.world.cpu)


def map_lookup_percpu_elem(run: Run, pointer: int, key: int, cpu: int) -> int:
    """Return the address of another CPU's value, or 0."""
    cpu &= 0xFFFF_FFFF
    return _lookup(run, pointer, key, cpu) if cpu < run.world.cpu_count else 0


def map_update_elem(run: Run, pointer: int, key: int, value: int, flags: int) -> int:
    """Set a value."""
    found = run.map_at(pointer)
    key_bytes = run.memory.read(key, found.key_size)
    return found.update(key_bytes, run.memory.read(value, found.value_size), flags, run.world.cpu)


def map_delete_elem(run: Run, pointer: int, key: int) -> int:
    """Remove a key."""
    found = run.map_at(pointer)
    return found.delete(run.memory.read(key, found.key_size))


def map_push_elem(run: Run, pointer: int, value: int, flags: int) -> int:
    """Add a value to a queue, a stack or a Bloom filter."""
    found = run.map_at(pointer)
    return found.push(run.memory.read(value, found.value_size), flags)


def map_pop_elem(run: Run, pointer: int, value: int) -> int:
    """Move the next value of a queue or a stack to *value*."""
    found = run.map_at(pointer)
    place = run.memory.view(value, found.value_size, write=True)
    return _take(place, found.pop())


def map_peek_elem(run: Run, pointer: int, value: int) -> int:
    """Copy the next value to *value*; of a Bloom filter, ask whether it was pushed."""
    found = run.map_at(pointer)
    if found.type is MapType.BLOOM_FILTER:
        answer = found.peek(run.memory.read(value, found.value_size))
        return answer if isinstance(answer, int) else 0
    place = run.memory.view(value, found.value_size, write=True)
    return _take(place, found.peek(b""))


def for_each_map_elem(run: Run, pointer: int, callback: int, context: int, flags: int) -> Generated:
    """Call *callback* with map, key, value and context for each element, until it returns 1."""
    if flags:
        return -errno.EINVAL
    found = run.map_at(pointer)
    if found.type not in ITERABLE:
        return -errno.EINVAL
    count = 0
    place = run.memory.allocate(found.key_size, f"key of map {found.name}")
    for key in found.keys():  # noqa: SIM118 - no dict
        value = found.lookup(key, run.world.cpu)
        if value is None:
            continue
        count += 1
        place.view(0, len(key), write=True)[:] = key
        answer = yield callback, (pointer, place.base, address_of(run, value), context)
        if answer:
            break
    run.memory.remove(place)
    return count


ITERABLE = {
    MapType.HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_HASH,
    MapType.LRU_PERCPU_HASH,
    MapType.ARRAY,
    MapType.PERCPU_ARRAY,
}


def _lookup(run: Run, pointer: int, key: int, cpu: int) -> int:
    found = run.map_at(pointer)
    return address_of(run, found.lookup(run.memory.read(key, found.key_size), cpu))


def address_of(run: Run, value: Region | Map | None) -> int:
    """Return the pointer that a program gets for what a look-up found."""
    if value is None:
        return 0
    return run.give_map(value) if isinstance(value, Map) else run.memory.place(value)


# The kernel fills the place with zeros where there is nothing to take (queue_stack_maps.c).
def _take(place: memoryview, answer: bytes | int) -> int:
    if isinstance(answer, int):
        place[:] = bytes(len(place))
        return answer
    place[:] = answer
    return 0


HELPERS: dict[int, Function] = {
    FuncId.map_lookup_elem: map_lookup_elem,
    FuncId.map_update_elem: map_update_elem,
    FuncId.map_delete_elem: map_delete_elem,
    FuncId.map_push_elem: map_push_elem,
    FuncId.map_pop_elem: map_pop_elem,
    FuncId.map_peek_elem: map_peek_elem,
    FuncId.map_lookup_percpu_elem: map_lookup_percpu_elem,
    FuncId.for_each_map_elem: for_each_map_elem,
}
