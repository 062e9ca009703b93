"""The rings of a `PerfReader`: perf events, one per CPU, for `pyebpf.readers.rings`.

*Losses.* When a ring is full the kernel counts the record in two places: in the ring, to be told in
a ``PERF_RECORD_LOST`` in front of the next record that fits, and since Linux 6.0 in the event
(``PERF_FORMAT_LOST``). Both count the same losses (tried), but the first stays silent until
something fits again. So the event's count is the truth where there is one, and LOST records where
there is not; they are never added up.

*CPUs that come and go* (tried on Linux 5.10, 6.12, 7.3). With its CPU the kernel switches an event
off, for good: no hang-up, programs get ``EOPNOTSUPP`` once the CPU is back, only the time that the
event was enabled stands still. Its ring stays. So one looks once a second whether anything has come
or gone (`Newcomers`), and if so opens events for CPUs that are new, and for those that came back
one that writes into the ring that is there: what was not read yet is still read, in order, and the
ring's first event still wakes the reader.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import ExitStack

from pyebpf.errors import FormatError
from pyebpf.maps.map import Map
from pyebpf.readers.block import Alike, Block, Entry, Room, alike
from pyebpf.readers.perf_events import Newcomers, Opener, is_alive, own_file, store
from pyebpf.readers.perf_format import LONGEST, Parsed, parse
from pyebpf.readers.source import CHUNK, LENT
from pyebpf.readers.stats import CpuStats, ReaderStats
from pyebpf.sys import perf_event
from pyebpf.sys.fd import FD
from pyebpf.sys.poller import Poller
from pyebpf.sys.rings import PerfRing, read_counts
from pyebpf.typed import Any, final

__all__ = ["PerfEvents"]

# A copy must hold a whole record, or reading would stop.
_COPY = max(CHUNK, LONGEST)
_RENEWAL = 1.0  # seconds until a CPU that came is noticed, at most


@final
class PerfEvents:
    """The rings of a perf event array, as the owner of `pyebpf.readers.rings.Rings`.

    Args:
        events: The array.
        candidates: CPUs; those that are offline are left out, unless they *must* be there.
        must: See *candidates*.
        pages: Of each ring.
        watermark: Bytes that wake the reader.

    Attributes:
        channels: One for each CPU.
        poller: Ready when there is something in one of them.
    """

    take_few = None

    def __init__(
        self,
        events: Map[Any, Any],
        candidates: list[int],
        pages: int,
        watermark: int,
        *,
        must: bool,
    ) -> None:
        self.channels: list[_Channel] = []
        self._newcomers = Newcomers(candidates)
        self._pages = pages
        self._name = events.name
        self._opener = Opener(pages, watermark)
        self._paused = False
        self._changing = threading.RLock()  # of the channels, while others ask for their counts
        self._due = time.monotonic() + _RENEWAL
        with ExitStack() as self._stack:
            self._array = own_file(events)
            self._stack.callback(self._array.close)
            self.poller = Poller(_RENEWAL)
            self._stack.callback(self.poller.close)
            for cpu in candidates:
                self._open(cpu, must=must)
            # Last: from here on records come.
            for channel in self.channels:
                store(self._array, channel.cpu, channel.event)
            self._stack = self._stack.pop_all()

    def renew(self) -> None:
        """Open rings for CPUs that have come, and events for those that came back.

        Raises:
            SyscallError: One of them could not be opened: said once, the others are.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _RENEWAL
        self._newcomers.meet(self._revive)

    def _revive(self, cpu: int) -> None:
        with self._changing:
            channel = next((each for each in self.channels if each.cpu == cpu), None)
            if channel is None:
                channel = self._open(cpu, must=False)
                if channel is not None:
                    if self._paused:
                        perf_event.pause(channel.event.fileno(), paused=True)
                    store(self._array, cpu, channel.event)
            elif not is_alive(channel.writer):
                event = self._opener.open(cpu, must=False)
                if event is not None:
                    channel.write_by(event)
                    store(self._array, cpu, event)

    def _open(self, cpu: int, *, must: bool) -> _Channel | None:
        event = self._opener.open(cpu, must=must)
        if event is None:
            return None
        with ExitStack() as stack:
            stack.callback(event.close)
            ring = PerfRing(event.fileno(), self._pages)
            stack.callback(ring.close)
            channel = _Channel(cpu, event, ring, self._opener.counts_lost, self._name)
            stack.callback(channel.close)
            self.poller.add(event.fileno(), forgetful=True)
            self._stack.push(stack.pop_all())
            self.channels.append(channel)
        return channel

    def lost(self) -> int:
        """See `Source`."""
        return sum(channel.told for channel in self.channels)

    def stats(self, wakeups: int) -> ReaderStats:
        """See `Source`."""
        with self._changing:
            channels = sorted(self.channels, key=lambda channel: channel.cpu)
            per_cpu = tuple(channel.stats() for channel in channels)
        return ReaderStats(
            received=sum(cpu.received for cpu in per_cpu),
            lost=sum(cpu.lost for cpu in per_cpu),
            unknown=sum(cpu.unknown for cpu in per_cpu),
            bytes=sum(cpu.bytes for cpu in per_cpu),
            wakeups=wakeups,
            per_cpu=per_cpu,
        )

    def pause(self, *, paused: bool) -> None:
        """Stop taking records, or go on; what comes meanwhile counts as lost."""
        with self._changing:
            for channel in self.channels:
                perf_event.pause(channel.event.fileno(), paused=paused)
            self._paused = paused

    def close(self) -> None:
        """See `Source`."""
        self._stack.close()


# One CPU's event and ring.
@final
class _Channel:
    stalled = False  # a perf ring shows finished records only

    def __init__(self, cpu: int, event: FD, ring: PerfRing, counts_lost: bool, name: str) -> None:
        self.cpu = cpu
        self.event = event  # whose ring it is
        self.ring = ring
        self.writer = event
        self._counts_lost = counts_lost
        self._name = name
        self._received = self._unknown = self._bytes = 0
        self.seen = 0  # bytes that wait, as far as we know
        self._lent: Parsed | None = None
        self.told = 0  # by LOST records
        self._lost = 0  # by the event that writes
        self._lost_before = 0  # by those that did

    def write_by(self, event: FD) -> None:
        """Let another event write into the ring, in place of the one whose CPU went offline."""
        try:
            perf_event.redirect(event.fileno(), self.writer.fileno())
        except BaseException:
            event.close()
            raise
        self._count_lost()
        self._lost_before, self._lost = self._lost_before + self._lost, 0
        self.close()
        self.writer = event

    def close(self) -> None:
        """Close the event that writes, unless it is the ring's own."""
        if self.writer is not self.event:
            self.writer.close()

    def waiting(self) -> bool:
        return self.ring.available() > 0

    def fill(self, queue: deque[Entry], room: Room | None) -> FormatError | None:
        while self.seen:
            size = self.seen
            if size > self.ring.size:
                return self._overrun()
            if room is None:
                size = min(size, _COPY)
                data = self.ring.copy(size)
                parsed = parse(data, complete=size == self.seen, alike=alike)
            else:
                size = min(size, LENT, self.ring.size, room.left & ~7)
                data = self.ring.copy(size, room.take(size))
                parsed = parse(data, complete=size == self.seen, alike=room.alike)
                # Records that are none leave no trace, as blocks lie one behind the other.
                room.untake(size - parsed.size if parsed.shape.number else size)
            if parsed.shape.number:
                block = Block(data[: parsed.size], parsed.shape)
                # Signal handlers do not run between the two (from Python 3.11 on).
                self._took(parsed)
                queue.append(block)
                return self._fault(parsed)
            self._took(parsed)
            if parsed.fault is not None or not parsed.size:
                return self._fault(parsed)  # or the next one does not fit
        return None

    def lend(self, compare: Alike) -> Block | FormatError | None:
        while self.seen:
            if self.seen > self.ring.size:
                return self._overrun()
            data = self.ring.lend(min(self.seen, LENT))
            parsed = parse(data, complete=len(data) == self.seen, alike=compare)
            if not parsed.size and parsed.fault is None:
                # Around the end of the data: that one is copied.
                data = memoryview(self.ring.copy(min(self.seen, LONGEST)))
                parsed = parse(data, complete=len(data) == self.seen, alike=compare)
            block = Block(data[: parsed.size], parsed.shape)
            if block.number:
                self._lent = parsed
                return block
            self._took(parsed)
            if parsed.fault is not None:
                return self._fault(parsed)
        return None

    def give_back(self, block: Block) -> None:
        if self._lent is not None:
            lent, self._lent = self._lent, None
            self._took(lent)  # of a fault the next look tells

    def _took(self, parsed: Parsed) -> None:
        size, number = parsed.size, parsed.shape.number
        self.ring.advance(size)
        self.seen -= size
        self._bytes += size
        self._received += number
        self.told += parsed.lost
        self._unknown += parsed.unknown

    # What is wrong behind the records that were parsed; it is passed over.
    def _fault(self, parsed: Parsed) -> FormatError | None:
        if parsed.fault is None:
            return None
        skip = self.seen if parsed.fault.skip is None else parsed.fault.skip
        return self._skip(skip, parsed.fault.text)

    def _overrun(self) -> FormatError:
        return self._skip(self.seen, f"{self.seen} bytes wait in a ring of {self.ring.size}")

    def _pass(self, size: int) -> None:
        self.ring.advance(size)
        self.seen -= size
        self._bytes += size

    # data_head is always the start of a record: reading can go on from there.
    def _skip(self, size: int, text: str) -> FormatError:
        self._pass(size)
        self._unknown += 1
        where = f'ring of map "{self._name}", CPU {self.cpu}'
        return FormatError(f"{text}; skipped {size} bytes", where=where)

    def stats(self) -> CpuStats:
        return CpuStats(
            cpu=self.cpu,
            received=self._received,
            lost=self._count_lost(),
            unknown=self._unknown,
            bytes=self._bytes,
        )

    def _count_lost(self) -> int:
        if not self._counts_lost:
            return self.told
        counts = read_counts(self.writer.fileno())
        if counts is not None:
            self._lost = counts[1]
        return self._lost_before + self._lost
