"""Helpers that work on maps."""

from __future__ import annotations

from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]


def map_lookup_elem(run: Run, pointer: int, key: int) -> int:
    """Return the address of a value, or 0."""
    return _lookup(run, pointer, key, run.world.cpu)


def map_update_elem(run: Run, pointer: int, key: int, value: int, flags: int) -> int:
    """Set a value."""
    found = run.map_at(pointer)
    key_bytes = run.memory.read(key, found.key_size)
    value_bytes = run.memory.read(value, found.value_size)
    return found.update(key_bytes, value_bytes, flags, run.world.cpu)


def map_delete_elem(run: Run, pointer: int, key: int) -> int:
    """Remove a key."""
    found = run.map_at(pointer)
    return found.delete(run.memory.read(key, found.key_size))


def _lookup(run: Run, pointer: int, key: int, cpu: int) -> int:
    found = run.map_at(pointer)
    value = found.lookup(run.memory.read(key, found.key_size), cpu)
    return address_of(run, value)


def address_of(run: Run, value: Region | Map | None) -> int:
    """Return the pointer that a program gets for what a look-up found."""
    if value is None:
        return 0
    return run.give_map(value) if isinstance(value, Map) else run.memory.place(value)


HELPERS: dict[int, Function] = {
    FuncId.map_lookup_elem: map_lookup_elem,
    FuncId.map_update_elem: map_update_elem,
    FuncId.map_delete_elem: map_delete_elem,
}
