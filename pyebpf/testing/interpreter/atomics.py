"""Atomic operations on memory, by size: load, change, store, return what was there.

Nothing else runs meanwhile, so they are atomic by nature. Comes in: the loads and stores of one
byte order. Goes out: the functions that compiled programs call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from pyebpf.testing.interpreter.memory import ByteOrder, Memory
from pyebpf.uapi import insn

__all__ = ["FETCHING", "namespace", "name_of"]

_CHANGES: dict[int, tuple[str, Callable[[int, int], int]]] = {
    insn.ADD: ("add", operator.add),
    insn.OR: ("or", operator.or_),
    insn.AND: ("and", operator.and_),
    insn.XOR: ("xor", operator.xor),
    insn.XCHG: ("exchange", lambda old, new: new),
}
# The names of the functions that return the old value into the source register.
FETCHING = {change | insn.FETCH for change in _CHANGES}


def name_of(operation: int, size: int) -> str | None:
    """Return the name of the function for an atomic's immediate, ``None`` if there is none."""
    if size not in (4, 8):
        return None
    if operation == insn.CMPXCHG:
        return f"atomic_compare_{size}"
    change = _CHANGES.get(operation) or _CHANGES.get(operation & ~insn.FETCH)
    return None if change is None else f"atomic_{change[0]}_{size}"


def namespace(memory: Memory, byteorder: ByteOrder) -> dict[str, Callable[..., int]]:
    """Return all functions by their names."""
    found: dict[str, Callable[..., int]] = {}
    for size in (4, 8):
        for name, change in _CHANGES.values():
            found[f"atomic_{name}_{size}"] = _changer(memory, byteorder, size, change)
        found[f"atomic_compare_{size}"] = _comparer(memory, byteorder, size)
    return found


def _changer(
    memory: Memory, byteorder: ByteOrder, size: int, change: Callable[[int, int], int]
) -> Callable[[int, int], int]:
    load, store = memory.loads(byteorder)[size], memory.stores(byteorder)[size]

    def apply(address: int, operand: int) -> int:
        old = load(address)
        store(address, change(old, operand))
        return old

    return apply


# With 32 bits only the lower half of R0 is compared. The memory is written either way in the
# kernel's own interpreter and on real processors, so it has to be writable.
def _comparer(memory: Memory, byteorder: ByteOrder, size: int) -> Callable[[int, int, int], int]:
    load, store = memory.loads(byteorder)[size], memory.stores(byteorder)[size]
    mask = (1 << 8 * size) - 1

    def compare_and_exchange(address: int, expected: int, new: int) -> int:
        old = load(address)
        store(address, new if old == expected & mask else old)
        return old

    return compare_and_exchange
