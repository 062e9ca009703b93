"""Maps without keys: queues, stacks and bloom filters.

What is pushed into a queue is popped first in first out, from a stack last in first out. A bloom
filter takes values by ``push`` and answers ``value in m``: yes may be wrong, no never is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from pyebpf.errors import EbpfError, SyscallError
from pyebpf.maps.base import MapBase
from pyebpf.sys import bpf
from pyebpf.typed import Generic, TypeVar, cast
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import MapType, UpdateFlag

__all__ = ["QueueOperations"]

K = TypeVar("K")
V = TypeVar("V")

_QUEUES = (MapType.QUEUE, MapType.STACK)


class QueueOperations(MapBase[K, V], Generic[K, V]):
    """What can be done with a map that has no keys."""

    def push(self, value: V, *, replace: bool = False) -> None:
        """Put a value into a queue, stack or bloom filter.

        Args:
            value: As the value codec takes it.
            replace: A full queue or stack loses its oldest value instead of refusing the new one.

        Raises:
            MapFullError: A queue or stack holds ``max_entries`` already.
            TypeError: A map of another kind.
            SyscallError: Anything else; ``EPERM`` for a frozen map.

        Since Linux 4.20 (bloom filters: 5.16).
        """
        self._require_kind("push", *_QUEUES, MapType.BLOOM_FILTER)
        flags = UpdateFlag.EXIST if replace else UpdateFlag.ANY
        try:
            self._elements.update(b"", self.value_codec.encode(value), flags)
        except EbpfError as error:
            self._name("push into", error)
            raise

    def pop(self) -> V | None:
        """Take the next value out of a queue or stack; ``None`` if it is empty.

        Raises:
            TypeError: A map of another kind.
            SyscallError: ``EPERM`` for a frozen map, …

        Since Linux 4.20.
        """
        self._require_kind("pop", *_QUEUES)
        data = self._popped()
        return None if data is None else cast("V", self.value_codec.decode(data))

    def peek(self) -> V | None:
        """Return the next value of a queue or stack and leave it there; ``None`` if it is empty.

        Raises:
            TypeError: A map of another kind.
            SyscallError: Anything the kernel says.

        Since Linux 4.20.
        """
        self._require_kind("peek", *_QUEUES)
        try:
            data = self._elements.lookup(b"")
        except EbpfError as error:
            self._name("peek into", error)
            raise
        return None if data is None else cast("V", self.value_codec.decode(data))

    def drain(self) -> Iterator[V]:
        """Take values out of a queue or stack until it is empty, at most ``max_entries`` of them.

        Raises:
            TypeError: A map of another kind.
        """
        self._require_kind("drain", *_QUEUES)
        for _ in range(self.max_entries):
            data = self._popped()
            if data is None:
                return
            yield cast("V", self.value_codec.decode(data))

    def _popped(self) -> bytes | None:
        try:
            return self._elements.lookup_and_delete(b"")
        except EbpfError as error:
            self._name("pop from", error)
            raise

    # Whether a bloom filter may have it: yes is sometimes wrong, no never.
    def _may_hold(self, value: object) -> bool:
        self._require_kind("membership", MapType.BLOOM_FILTER)
        data = bytearray(self.value_codec.encode(value))
        try:
            bpf.map_lookup_elem(MapElem(map_fd=self.fileno(), value=data))
        except EbpfError as error:
            if isinstance(error, SyscallError) and error.errno == errno.ENOENT:
                return False
            self._name("lookup in", error)
            raise
        return True

    def _require_kind(self, what: str, *kinds: MapType) -> None:
        if self.type not in kinds:
            raise TypeError(f'map "{self.name}" ({self.type}) has no {what}')
