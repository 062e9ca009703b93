"""The rings of a `RingReader`: BPF ring buffers, for `pyebpf.readers.rings`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from pyebpf.errors import ClosedError, FormatError
from pyebpf.maps.map import Map
from pyebpf.readers.block import Alike, Block, Entry, Few, Room, alike
from pyebpf.readers.ring_format import Scan, scan
from pyebpf.readers.source import CHUNK, LENT
from pyebpf.readers.stats import ReaderStats
from pyebpf.sys.poller import Poller
from pyebpf.sys.rings import BpfRing
from pyebpf.typed import Any, final

__all__ = ["RingMaps"]

# Seconds. A program that sleeps may fault in pages while it writes; the others take microseconds.
_PATIENCE = 10.0
# Bytes: as many records as are not worth a block.
_LITTLE = 1 << 10


@final
class RingMaps:
    """The ring buffers of some maps, as the owner of `pyebpf.readers.rings.Rings`.

    Args:
        maps: Duplicates of them are held.
        drops: Where it is counted what programs could not put into them, see `RingReader`.

    Attributes:
        channels: One for each map.
        poller: Ready when there is something in one of them.
        take_few: See `Source`.
    """

    renew = None  # no map comes later

    def __init__(self, maps: Sequence[Map[Any, Any]], drops: object) -> None:
        self.channels: list[_Channel] = []
        with ExitStack() as stack:
            if isinstance(drops, Map):
                drops = stack.enter_context(drops.clone())
            self._drops = None if drops is None else _counter(drops)
            self._dropped_before = 0 if self._drops is None else self._drops()
            self.poller = Poller()
            stack.callback(self.poller.close)
            for number, each in enumerate(maps):
                duplicate = stack.enter_context(each.clone())
                ring = BpfRing(duplicate.fileno(), duplicate.max_entries)
                stack.callback(ring.close)
                self.poller.add(duplicate.fileno())
                self.channels.append(_Channel(ring, number, each.name))
            self.take_few = self.channels[0].take_few if len(maps) == 1 else None
            self._stack = stack.pop_all()

    def lost(self) -> int | None:
        """See `Source`."""
        if self._drops is None:
            return None
        try:
            return self._drops() - self._dropped_before
        except ClosedError:  # a variable, whose collection is
            return None

    def stats(self, wakeups: int) -> ReaderStats:
        """See `Source`."""
        return ReaderStats(
            received=sum(channel.received for channel in self.channels),
            lost=self.lost(),
            unknown=sum(channel.unknown for channel in self.channels),
            bytes=sum(channel.bytes for channel in self.channels),
            wakeups=wakeups,
        )

    def close(self) -> None:
        """See `Source`."""
        self._stack.close()


def _counter(drops: Any) -> Callable[[], int]:  # noqa: ANN401  three kinds, told apart here
    if isinstance(drops, Map):
        return lambda: sum(_numbers(value) for value in drops.values())
    if hasattr(drops, "value"):
        return lambda: int(drops.value)
    if callable(drops):
        return lambda: int(drops())
    raise TypeError(f"drops= must be a map, a variable or a callable, not {drops!r}")


# One value, or one per CPU.
def _numbers(value: int | bytes | Iterable[int | bytes]) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        raise TypeError("drops= is a map whose values are not numbers")
    return sum(_numbers(each) for each in value)


# One map's ring.
@final
class _Channel:
    def __init__(self, ring: BpfRing, number: int, name: str) -> None:
        self.ring = ring
        self.seen = 0  # bytes that wait, as far as we know
        self.stalled = False
        self.received = self.unknown = self.bytes = 0
        self._number = number
        self._name = name
        self._lent: Scan | None = None
        self._stalled_at = -1  # bytes taken out before
        self._patience = 0.0

    def waiting(self) -> bool:
        return self.ring.available() > 0

    def fill(self, queue: deque[Entry], room: Room | None) -> FormatError | None:
        if room is None:
            found = self._scan(CHUNK, alike)
        elif room.left:
            found = self._scan(room.left, room.alike)
        else:
            return None
        if found is None or isinstance(found, FormatError):
            return found
        if room is None:
            data = self.ring.copy(found.size)
        elif found.size <= room.left:
            data = self.ring.copy(found.size, room.take(found.size))
        else:
            return None
        block = tuple.__new__(Block, (data, found.shape, self._number))  # as in `scan`
        # Signal handlers do not run between the two (from Python 3.11 on).
        self._took(found)
        queue.append(block)
        return None

    def take_few(self, few: Few) -> bool:
        size, rest, number = self.ring.take_few(_LITTLE, few)
        if not number:
            return False
        # Signal handlers do not run from there until the reader has them (from Python 3.11 on).
        self.bytes += size
        self.received += number
        self.seen, self.stalled = rest, False
        return True

    def lend(self, compare: Alike) -> Block | FormatError | None:
        # Each lease costs as much as a look at thousands of records, and half of a large ring is
        # left to the programs.
        found = self._scan(max(LENT, self.ring.size >> 1), compare)
        if found is None or isinstance(found, FormatError):
            return found
        self._lent = found
        return Block(self.ring.lend(found.size), found.shape, self._number)

    def give_back(self, block: Block) -> None:
        if self._lent is not None:
            self._took(self._lent)

    # The next records of those seen, if any; discarded ones in front of them are passed.
    def _scan(self, limit: int, compare: Alike) -> Scan | FormatError | None:
        ring = self.ring
        self.stalled = False
        if self.seen > ring.size or self.seen & 7:
            return self._skip(f"{self.seen} bytes wait in a ring of {ring.size}")
        while self.seen:
            found = scan(ring.words, ring.offset, self.seen, limit=limit, alike=compare)
            if found.number:
                return found
            self._pass(found.size)
            if found.fault is not None:
                return self._skip(found.fault.text)
            if found.busy:
                self.seen = 0
                return self._stall()
        return None

    # It cannot be told apart whether the next record takes long or nobody is there to finish it.
    def _stall(self) -> FormatError | None:
        self.stalled = True
        now = time.monotonic()
        if self._stalled_at != self.bytes:
            self._stalled_at, self._patience = self.bytes, now + _PATIENCE
        elif now >= self._patience:
            self._patience = now + _PATIENCE
            return FormatError(
                f"the next record is not finished after {_PATIENCE:g} s, those behind it wait",
                where=f'ring of map "{self._name}"',
            )
        return None

    def _took(self, found: Scan) -> None:
        size = found.size
        self.ring.advance(size)
        self.seen -= size
        self.bytes += size
        self.received += found.number

    def _pass(self, size: int) -> None:
        self.ring.advance(size)
        self.seen -= size
        self.bytes += size

    # Every position of the producer is the start of a record: reading can go on from there.
    def _skip(self, text: str) -> FormatError:
        size = self.seen
        self._pass(size)
        self.unknown += 1
        return FormatError(f"{text}; skipped {size} bytes", where=f'ring of map "{self._name}"')
