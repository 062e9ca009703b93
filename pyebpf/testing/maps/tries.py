"""LPM tries: the most specific prefix that covers a key.

key   | bits that count u32 | the bits, first byte first, first bit its highest |
"""

from __future__ import annotations

import bisect
import errno
import sys

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.contents import Contents, check_flags, region
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import Cmd, UpdateFlag

__all__ = ["Trie"]

_PREFIX = 4
_END = "2"  # behind 0 and 1: a prefix comes after those it covers


class Trie(Contents):
    """``BPF_MAP_TYPE_LPM_TRIE``.

    Args:
        definition: What it is made of.
        flags_count: Whether ``BPF_NOEXIST`` and ``BPF_EXIST`` mean something, and what is there can
            be replaced when there is no more room.
    """

    batches = frozenset({Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_UPDATE_BATCH, Cmd.MAP_DELETE_BATCH})

    def __init__(self, definition: Definition, *, flags_count: bool) -> None:
        super().__init__(definition)
        self._flags_count = flags_count
        self._longest = (definition.key_size - _PREFIX) * 8
        self._keys: dict[str, bytes] = {}  # by the bits that count, as they were given
        self._values: dict[str, Region] = {}
        self._order: list[str] = []  # the most specific first: trie_get_next_key

    def lookup(self, key: bytes) -> bytes:
        value = self.at(key, 0)
        if value is None:
            raise Refused(errno.ENOENT)
        return bytes(value.data)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        bits = self._bits(key)
        if bits is None:
            raise Refused(errno.EINVAL)
        there = bits in self._values
        if self._flags_count:
            check_flags(flags, exists=there)
        full = len(self._values) >= self.definition.max_entries
        if full and not (there and self._flags_count):
            raise Refused(errno.ENOSPC)
        if not there:
            bisect.insort(self._order, bits + _END)
        self._keys[bits] = key
        self._values[bits] = region(self.definition, bytearray(value))

    def delete(self, key: bytes) -> None:
        bits = self._bits(key)
        if bits is None:
            raise Refused(errno.EINVAL)
        if bits not in self._values:
            raise Refused(errno.ENOENT)
        del self._values[bits], self._keys[bits]
        del self._order[bisect.bisect_left(self._order, bits + _END)]

    def next_key(self, key: bytes | None) -> bytes:
        bits = None if key is None else self._bits(key)
        place = 0
        if bits in self._values:
            place = bisect.bisect_right(self._order, f"{bits}{_END}")
        if place == len(self._order):
            raise Refused(errno.ENOENT)
        return self._keys[self._order[place].removesuffix(_END)]

    def at(self, key: bytes, cpu: int) -> Region | None:
        bits = self._bits(key)
        if bits is None:
            return None
        for length in range(len(bits), -1, -1):
            found = self._values.get(bits[:length])
            if found is not None:
                return found
        return None

    # None: more of them are to count than the key has.
    def _bits(self, key: bytes) -> str | None:
        length = int.from_bytes(key[:_PREFIX], sys.byteorder)
        if length > self._longest:
            return None
        number = int.from_bytes(key[_PREFIX:], "big")
        return f"{number:0{self._longest}b}"[:length]
