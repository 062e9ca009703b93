"""Where packets can be redirected to: devices and processors, by index or by key.

What a value asks for the kernel says: `Choose`, given when the map is made, turns it into a
`Target` or refuses it.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.arrays import index_of, next_index
from pyebpf.testing.maps.contents import Contents, check_flags, region
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import UpdateFlag

__all__ = ["Choose", "Target", "TargetArray", "TargetHash"]


class Target(NamedTuple):
    """A device or processor in a map.

    Attributes:
        value: As look-ups show it.
        program: What runs on the way there, or ``None``.
    """

    value: bytes
    program: object


Choose = Callable[[int, bytes], Target | None]
"""From a key and a value to what they name, ``None`` if the place is to be empty."""


class _Targets(Contents):
    def __init__(self, definition: Definition, choose: Choose) -> None:
        super().__init__(definition)
        self._choose = choose
        self._found: dict[int, tuple[Target, Region]] = {}  # by key

    def lookup(self, key: bytes) -> bytes:
        value = self.at(key, 0)
        if value is None:
            raise Refused(errno.ENOENT)
        return bytes(value.data)

    def at(self, key: bytes, cpu: int) -> Region | None:
        found = self._found.get(int.from_bytes(key, sys.byteorder))
        return None if found is None else found[1]

    def _put(self, number: int, target: Target | None) -> None:
        self._found.pop(number, None)
        if target is not None:
            self._found[number] = target, region(self.definition, bytearray(target.value))


class TargetArray(_Targets):
    """``BPF_MAP_TYPE_DEVMAP`` and ``BPF_MAP_TYPE_CPUMAP``."""

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # dev_map_update_elem, cpu_map_update_elem
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        number = index_of(key, self.definition)
        check_flags(flags, exists=True)
        self._put(number, self._choose(number, value))

    def delete(self, key: bytes) -> None:
        self._found.pop(index_of(key, self.definition, beyond=errno.EINVAL), None)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)


class TargetHash(_Targets):
    """``BPF_MAP_TYPE_DEVMAP_HASH``."""

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # dev_map_hash_update_elem, which has no use for BPF_EXIST.
        number = int.from_bytes(key, sys.byteorder)
        there = number in self._found
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        if there and flags & UpdateFlag.NOEXIST:
            raise Refused(errno.EEXIST)
        target = self._choose(number, value)
        if target is None:
            raise Refused(errno.EINVAL)
        if not there and len(self._found) >= self.definition.max_entries:
            raise Refused(errno.E2BIG)
        self._put(number, target)

    def delete(self, key: bytes) -> None:
        if self._found.pop(int.from_bytes(key, sys.byteorder), None) is None:
            raise Refused(errno.ENOENT)

    def next_key(self, key: bytes | None) -> bytes:
        order = self._order()
        number = None if key is None else int.from_bytes(key, sys.byteorder)
        place = order.index(number) + 1 if number in self._found else 0
        if place == len(order):
            raise Refused(errno.ENOENT)
        return order[place].to_bytes(4, sys.byteorder)

    # Bucket by bucket, in each the newest first.
    def _order(self) -> list[int]:
        count = 1 << (self.definition.max_entries - 1).bit_length()
        newest_first = list(self._found)[::-1]
        return sorted(newest_first, key=lambda number: number % count)
