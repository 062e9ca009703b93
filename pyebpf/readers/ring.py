"""`RingReader`: records of a BPF ring buffer (``BPF_MAP_TYPE_RINGBUF``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, final, overload

from pyebpf.errors import FormatError, NotSupportedError, naming
from pyebpf.maps.map import Map
from pyebpf.readers.block import Block, Cursor
from pyebpf.readers.reader import CHUNK, Reader
from pyebpf.readers.record import decoder
from pyebpf.readers.ring_format import scan
from pyebpf.readers.stats import ReaderStats
from pyebpf.sys.poller import Poller
from pyebpf.sys.rings import BpfRing
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["RingReader"]

T = TypeVar("T")


class RingReader(Reader[T]):
    """Reads the records of a BPF ring buffer, in the order in which programs reserved them.

    Discarded records are skipped. The kernel does not count what it drops when the ring is full:
    ``stats().lost`` is ``None``, and a program that cares counts the failures of its reserve.
    A program that commits with ``BPF_RB_NO_WAKEUP`` wakes nobody: use timeouts then, at whose end
    the ring is looked at.

    Args:
        map: The ring buffer. The reader holds a duplicate, so the map may be closed. A second
            reader of the same ring would take records away from the first.
        record: What a record is: ``None`` for bytes, or as told in `pyebpf.readers.record`.

    Raises:
        ValueError: *map* is of another type.
        BtfError: *record* names a type the map's BTF does not have.
        NotSupportedError: The ring overwrites its oldest records (``BPF_F_RB_OVERWRITE``).
        SyscallError: ``EPERM`` if the map may only be read.

    Since Linux 5.8.
    """

    @overload
    def __init__(self: RingReader[bytes], map: Map[Any, Any], *, record: None = None) -> None: ...

    @overload
    def __init__(self, map: Map[Any, Any], *, record: Callable[[bytes], T]) -> None: ...

    @overload
    def __init__(self: RingReader[Any], map: Map[Any, Any], *, record: object) -> None: ...

    def __init__(
        self,
        map: Map[Any, Any],  # noqa: A002 - the kernel's word
        *,
        record: object = None,
    ) -> None:
        if map.type != MapType.RINGBUF:
            raise ValueError(f'map "{map.name}" is a {map.type}, not a BPF_MAP_TYPE_RINGBUF')
        if map.flags & MapFlag.RB_OVERWRITE:
            raise NotSupportedError(
                f'reading map "{map.name}", which overwrites its oldest records'
            )
        with naming(f'read map "{map.name}"'):
            decode = decoder(record, btf=map.btf, name=map.name)
            super().__init__(_RingSource(map), decode, name=map.name)


@final
class _RingSource:
    def __init__(self, events: Map[Any, Any]) -> None:
        self.stalled = False
        self._name = events.name
        self._received = self._bytes = self._unknown = 0
        self._seen = 0  # bytes that wait, as far as we know
        with ExitStack() as stack:
            duplicate = stack.enter_context(events.clone())
            self._ring = BpfRing(duplicate.fileno(), duplicate.max_entries)
            stack.callback(self._ring.close)
            self.poller = Poller()
            stack.callback(self.poller.close)
            self.poller.add(duplicate.fileno())
            self._stack = stack.pop_all()

    def look(self) -> None:
        self._seen = self._ring.available()

    def fill(self, queue: deque[Block | Cursor]) -> list[FormatError]:
        ring = self._ring
        self.stalled = False
        if self._seen > ring.size:
            return [self._skip(f"{self._seen} bytes wait in a ring of {ring.size}")]
        while self._seen:
            found = scan(ring.words, ring.offset, self._seen, limit=CHUNK)
            if found.size:
                block = Block(ring.copy(found.size) if found.shape else b"", found.shape)
                ring.advance(found.size)
                self._seen -= found.size
                self._bytes += found.size
                self._received += block.number
                if block.number:
                    queue.append(block)
            if found.fault is not None:
                return [self._skip(found.fault.text)]
            if found.busy:
                self.stalled = not found.shape
                self._seen = 0
            if found.shape:
                break
        return []

    # Every position of the producer is the start of a record: reading can go on from there.
    def _skip(self, text: str) -> FormatError:
        size, self._seen = self._seen, 0
        self._ring.advance(size)
        self._bytes += size
        self._unknown += 1
        return FormatError(f"{text}; skipped {size} bytes", where=f'ring of map "{self._name}"')

    def waiting(self) -> bool:
        return self._ring.available() > 0

    def stats(self, wakeups: int) -> ReaderStats:
        return ReaderStats(
            received=self._received,
            lost=None,
            unknown=self._unknown,
            bytes=self._bytes,
            wakeups=wakeups,
        )

    def close(self) -> None:
        self._stack.close()
