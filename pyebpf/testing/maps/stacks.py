"""Stack traces by number."""

from __future__ import annotations

import errno
import sys

from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import MapFlag
from pyebpf.uapi.helper_flags import StackFlag

__all__ = ["StackTraces"]


class StackTraces(Contents):
    """``BPF_MAP_TYPE_STACK_TRACE``; numbers count up, where the kernel's come from a hash.

    Args:
        definition: What it is made of.
        pops: Whether traces can be looked up and deleted at once.
    """

    def __init__(self, definition: Definition, *, pops: bool) -> None:
        super().__init__(definition)
        self.pops = pops
        self._count = 1 << (definition.max_entries - 1).bit_length()
        self._traces: dict[int, bytes] = {}

    def keep(self, trace: bytes, flags: int) -> int:
        """Keep a trace, as long as a value, and return its number or a negative errno."""
        if self.definition.flags & MapFlag.STACK_BUILD_ID:
            raise NotImplementedError("bpf_get_stackid with BPF_F_STACK_BUILD_ID")
        # bpf_get_stackid: one that is there has its number already.
        for number, known in self._traces.items():
            if known == trace:
                return number
        free = next((each for each in range(self._count) if each not in self._traces), None)
        if free is None:
            if not flags & StackFlag.REUSE_STACKID:
                return -errno.EEXIST
            free = next(iter(self._traces))
            del self._traces[free]
        self._traces[free] = trace
        return free

    def lookup(self, key: bytes) -> bytes:
        found = self._traces.get(int.from_bytes(key, sys.byteorder))
        if found is None:
            raise Refused(errno.ENOENT)
        return found

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        raise Refused(errno.EINVAL)

    def delete(self, key: bytes) -> None:
        number = int.from_bytes(key, sys.byteorder)
        if number >= self._count:
            raise Refused(errno.E2BIG)
        if self._traces.pop(number, None) is None:
            raise Refused(errno.ENOENT)

    def next_key(self, key: bytes | None) -> bytes:
        # stack_map_get_next_key: one that is not there starts from the beginning.
        number = -1 if key is None else int.from_bytes(key, sys.byteorder)
        after = number if number in self._traces else -1
        following = min((each for each in self._traces if each > after), default=None)
        if following is None:
            raise Refused(errno.ENOENT)
        return following.to_bytes(4, sys.byteorder)

    def pop(self, key: bytes) -> bytes:
        trace = self.lookup(key)
        self.delete(key)
        return trace
