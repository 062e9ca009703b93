"""Kinds without keys: queues, stacks and bloom filters."""

from __future__ import annotations

import errno
from collections import deque

from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import MapType, UpdateFlag

__all__ = ["BloomFilter", "Queue"]


class Queue(Contents):
    """``BPF_MAP_TYPE_QUEUE`` and ``BPF_MAP_TYPE_STACK``; a look-up peeks."""

    pops = True

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._first_out = -1 if definition.type == MapType.STACK else 0
        self._values: deque[bytes] = deque()

    def lookup(self, key: bytes) -> bytes:
        if not self._values:
            raise Refused(errno.ENOENT)
        return self._values[self._first_out]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # queue_stack_map_push_elem: BPF_EXIST means to overwrite the oldest when there is no room.
        if flags & UpdateFlag.NOEXIST or flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        if len(self._values) >= self.definition.max_entries:
            if not flags & UpdateFlag.EXIST:
                raise Refused(errno.E2BIG)
            self._values.popleft()
        self._values.append(value)

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        raise Refused(errno.EINVAL)

    def pop(self, key: bytes) -> bytes:
        value = self.lookup(key)
        del self._values[self._first_out]
        return value


class BloomFilter(Contents):
    """``BPF_MAP_TYPE_BLOOM_FILTER``; this one never takes a value for one that was pushed.

    A look-up has no answer but yes and no: `contains`.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._pushed: set[bytes] = set()

    def contains(self, value: bytes) -> bool:
        """Whether a value was pushed."""
        return value in self._pushed

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags != UpdateFlag.ANY:
            raise Refused(errno.EINVAL)
        self._pushed.add(value)

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EOPNOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise Refused(errno.EOPNOTSUPP)
