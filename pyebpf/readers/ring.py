"""`RingReader`: records of a BPF ring buffer (``BPF_MAP_TYPE_RINGBUF``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, final, overload

from pyebpf.errors import FormatError, NotSupportedError, naming
from pyebpf.maps.map import Map
from pyebpf.readers.block import Alike, Block, Cursor, Room, alike
from pyebpf.readers.reader import Reader
from pyebpf.readers.record import decoder
from pyebpf.readers.ring_format import Scan, scan
from pyebpf.readers.source import CHUNK, LENT
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
        self.seen = 0  # bytes that wait, as far as we know
        self._lent = 0
        with ExitStack() as stack:
            duplicate = stack.enter_context(events.clone())
            self._ring = BpfRing(duplicate.fileno(), duplicate.max_entries)
            stack.callback(self._ring.close)
            self.poller = Poller()
            stack.callback(self.poller.close)
            self.poller.add(duplicate.fileno())
            self._stack = stack.pop_all()

    def look(self) -> None:
        self.seen = self._ring.available()

    def fill(self, queue: deque[Block | Cursor], room: Room | None = None) -> list[FormatError]:
        if room is None:
            found = self._scan(CHUNK, alike)
        elif room.left:
            found = self._scan(min(CHUNK, room.left), room.alike)
        else:
            return []
        if isinstance(found, FormatError):
            return [found]
        if found.shape and (room is None or found.size <= room.left):
            data = self._ring.copy(found.size, None if room is None else room.take(found.size))
            queue.append(self._took(Block(data, found.shape), found.size))
        return []

    def lend(self, compare: Alike) -> Block | FormatError | None:
        found = self._scan(LENT, compare)
        if isinstance(found, FormatError) or not found.shape:
            return found if isinstance(found, FormatError) else None
        self._lent = found.size
        return Block(self._ring.lend(found.size), found.shape)

    def give_back(self, block: Block) -> None:
        self._took(block, self._lent)

    # The next records of those seen; discarded ones in front of them are passed.
    def _scan(self, limit: int, compare: Alike) -> Scan | FormatError:
        ring = self._ring
        self.stalled = False
        if self.seen > ring.size:
            return self._skip(f"{self.seen} bytes wait in a ring of {ring.size}")
        while self.seen:
            found = scan(ring.words, ring.offset, self.seen, limit=limit, alike=compare)
            if found.shape:
                return found
            self._pass(found.size)
            if found.fault is not None:
                return self._skip(found.fault.text)
            if found.busy:
                self.stalled = True
                self.seen = 0
        return Scan([], 0)

    def _took(self, block: Block, size: int) -> Block:
        self._pass(size)
        self._received += block.number
        return block

    def _pass(self, size: int) -> None:
        self._ring.advance(size)
        self.seen -= size
        self._bytes += size

    # Every position of the producer is the start of a record: reading can go on from there.
    def _skip(self, text: str) -> FormatError:
        size = self.seen
        self._pass(size)
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
