"""`Reader`: what PerfReader and RingReader share, the one interface to records.

    rings ──Source.fill──▶ queue of blocks ──Decoder.cursor──▶ read · poll · drain · iteration · …
              one look at the positions, one copy, many records in a block

A `Source` knows its rings, a `Supply` what comes next, how it is waited for and decoded, a Reader
who may ask: turns, closing, and what is made of the records. Two locks keep it together. *reading*
is held while records are fetched, asleep or not. *lifetime* is held for moments, by whoever uses
the descriptors without reading: `Reader.stats`, `Reader.fileno`, and closing. Both may be taken
again by the thread that has them, since a signal handler may close the reader that it interrupts.
"""

from __future__ import annotations

import functools
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence

from pyebpf.errors import ClosedError, ReaderTimeout
from pyebpf.readers import arrays
from pyebpf.readers.aio import Sleepers
from pyebpf.readers.block import Block
from pyebpf.readers.lease import Lease, Lending, Lent
from pyebpf.readers.pace import Losses, Pace, deadline_of
from pyebpf.readers.record import Decoder
from pyebpf.readers.source import Source
from pyebpf.readers.stats import ReaderStats
from pyebpf.readers.supply import NO_RECORDS, NOTHING, Supply
from pyebpf.readers.turn import Turn
from pyebpf.sys.forks import stays_here
from pyebpf.typed import Any, Generic, TypeVar

__all__ = ["Reader"]

T = TypeVar("T")
R = TypeVar("R")
Self = TypeVar("Self", bound="Reader[Any]")


class Reader(Supply, Generic[T]):
    """Reads records out of the kernel's rings.

    Iterate, or use `read`, `poll` or `drain`. One thread reads at a time, another that tries waits
    for its turn; `close` and `stats` may be called from any thread and from signal handlers.
    Ctrl-C raises ``KeyboardInterrupt`` wherever the reader waits; nothing is lost by it. Signals
    whose handlers raise nothing do not end a wait.

    A record that cannot be decoded, and bytes in a ring that cannot be a record, raise
    `FormatError` once, are skipped and count as `unknown`: records before them come first, the next
    call goes on behind them. It is also raised when a ring's next record stays unfinished for 10 s:
    its program was stopped there for good, or for as long, and the call waits on.

    A reader stays in the process that made it: in a child of ``fork`` it is closed.
    """

    def __init__(
        self,
        source: Source,
        decoders: Sequence[Decoder],
        *,
        name: str,
        pace: Pace,
        losses: Losses,
    ) -> None:
        super().__init__(source, decoders, name=name, pace=pace, losses=losses)
        self._reading = threading.RLock()
        self._lifetime = threading.RLock()
        self._final: ReaderStats | None = None
        self._shown = False  # fileno() was called: keep the flag right
        self._sleepers = Sleepers()
        stays_here(self)

    # --- reading

    def __iter__(self) -> Iterator[T]:
        """Yield records for ever; ends when the reader is closed."""
        while True:
            # In C from here to the ring's bytes, and shared: other calls go on where this one is.
            cursor = self._current
            yield from cursor.records
            try:
                with self._free(), Turn(self):
                    self._advance(cursor, None)
            except ClosedError:
                return

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield records for ever, in asyncio; ends when the reader is closed.

        Other tasks run whenever a chunk of records is used up, and while there is none. Several
        tasks may iterate, each record goes to one of them. A task that is cancelled has taken the
        records it was given and no others. Nothing is read ahead while nobody asks: what a slow
        task cannot take stays in the ring, and its losses are counted.

        A thread that waits in `read` or `poll` meanwhile would stop the event loop.
        """
        while True:
            cursor = self._current
            for record in cursor.records:
                yield record
            try:
                with self._free(), Turn(self):
                    found = self._advance(cursor, -math.inf)
                fd = self.fileno()
            except ClosedError:
                return
            if found:
                await self._sleepers.let_others_run()
            else:
                pause = self._pace.pause(stalled=self._source.stalled)
                await self._sleepers.sleep(fd, pause, lambda: self._closing)

    def read(self, timeout: float | None = None) -> T:
        """Return the next record.

        Args:
            timeout: Seconds to wait for one; 0 does not wait, ``None`` waits for ever.

        Raises:
            ReaderTimeout: None came in time.
            ClosedError: The reader is closed, also if that happens while it waits.
            FormatError: The record is malformed; see the class.
        """
        deadline = deadline_of(timeout)
        with self._free(), Turn(self):
            while True:
                cursor = self._current
                self._raise_error()
                for record in cursor.records:
                    return record  # type: ignore[no-any-return]  # a call here could lose it
                if not self._advance(cursor, deadline):
                    raise ReaderTimeout(
                        f'read {self._kind} "{self._name}": no record within {timeout} s'
                    )

    def poll(self, timeout: float | None = None) -> list[T]:
        """Wait until there is a record, then return all that are there.

        Args:
            timeout: Seconds to wait; 0 does not wait, ``None`` waits for ever.

        Returns:
            The records, none if the time is over.

        Raises:
            ClosedError: The reader is closed, also if that happens while it waits.
            FormatError: A record is malformed; see the class.
        """
        deadline = deadline_of(timeout)
        records: list[T] = []
        with self._free(), Turn(self):
            try:
                self._gather(deadline, look=True)
                while self._has_more():
                    records.extend(self._current.records)
                    self._current = NOTHING
            except Exception as error:
                if not records:
                    raise
                self._error = error  # the records in front of it come first
            except BaseException:
                # The caller gets nothing, so nothing counts as read.
                if records:
                    self._put_back(records)
                raise
            if self._closing and not records:
                raise self._closed_error()
        return records

    def drain(self) -> list[T]:
        """Return the records that are there now, without waiting.

        Those that come meanwhile are left for the next call, so it ends however fast they come.

        Raises:
            ClosedError: The reader is closed.
            FormatError: A record is malformed; see the class.
        """
        return self.poll(0)

    def dispatch(self, callback: Callable[[T], object], *, timeout: float | None = None) -> int:
        """Wait until there is a record, then call *callback* with each that is there.

        The fastest way to have a function called. A record counts as read once its call begins:
        when the callback raises, the next call of any kind goes on behind that record.

        Args:
            callback: What it returns is ignored. It must not read from this reader, but may close
                it; then those that are left are dropped.
            timeout: Seconds to wait; 0 does not wait, ``None`` waits for ever.

        Returns:
            How many records there were, 0 if the time is over.

        Raises:
            ClosedError: The reader is closed, also if that happens while it waits.
            FormatError: A record is malformed; see the class.
        """
        deadline = deadline_of(timeout)
        with self._free(), Turn(self):
            self._gather(deadline, look=True)
            count = 0
            while self._has_more():
                count += self._current.left
                deque(map(callback, self._current.records), 0)
                self._current = NOTHING
            if self._closing and not count:
                raise self._closed_error()
            return count

    # --- many at a time

    def read_array(
        self, timeout: float | None = None, *, dtype: object = None, out: object = None
    ) -> Any:  # noqa: ANN401  numpy is imported late
        """Wait until there is a record, then return all that are there as one numpy array.

        The fastest way to many records: nothing is done per record. Records that other calls have
        read ahead come first, alone. On to pandas and Arrow: `pyebpf.readers.arrays`.

        Args:
            timeout: Seconds to wait; 0 does not wait, ``None`` waits for ever.
            dtype: What the front of a record is; by default what ``record=`` says, or all its
                bytes (``V64``). Bit-fields of a BTF type have no numpy type and are left out.
            out: Writable memory to use again and again, 256 KiB to 1 MiB, which is quicker than new
                memory: no more is read than fits, headers included, and the array is a view of it
                if all records are of one size.

        Returns:
            The records, none if the time is over. The items may lie further apart than their size.

        Raises:
            ClosedError: The reader is closed, also if that happens while it waits.
            FormatError: Something malformed, see the class; or records shorter than *dtype*, which
                are dropped and count as unknown: the next call returns the others. Or records of
                many sizes, without a dtype; they stay where they are.
            ValueError: Not one record fits in *out*.
            TypeError: *out* is not writable memory; *dtype* has Python objects.
            ImportError: numpy is not installed.
        """
        make = functools.partial(arrays.array, self._dtype(dtype), self._name)
        return self._blocks(timeout, out, make)

    def read_packed(self, timeout: float | None = None, *, out: object = None) -> arrays.Packed:
        """Do what `read_array` does for records of any sizes: their bytes, and where each is.

        Args:
            timeout: As there.
            out: As there; the data are a view of it.
        """
        return self._blocks(timeout, out, arrays.packed)

    def lease(self, timeout: float | None = None) -> Lent:
        """Wait until there is a record, then lend records that are there, in place: not copied.

        For use in a ``with`` block, whose end gives the memory back to the kernel. The reader is
        in use meanwhile: other calls from inside are refused, other threads wait. What is taken
        from the lease (views, arrays) shows other records once the block has ended. The records
        count as read also if the block ends with an exception.

        Args:
            timeout: Seconds to wait; 0 does not wait, ``None`` waits for ever.

        Returns:
            For a ``with`` block, that gets a `Lease` of up to 256 KiB of records of one ring, of a
            large BPF ring up to half of it; of none if the time is over.

        Raises:
            ClosedError: The reader is closed, also if that happens while it waits.
            FormatError: The record is malformed; see the class.
        """
        return Lent(self._lend(deadline_of(timeout)))

    def _lend(self, deadline: float | None) -> Generator[Lease, None, None]:
        with self._free(), Turn(self):
            lending = Lending(self._source)
            blocks: list[Block] = []
            try:
                self._gather(deadline, lending.fetch)
                blocks = self._take_blocks()
                lease = Lease(blocks[0] if blocks else NO_RECORDS, self._dtype, self._name)
                self._queue.extend(blocks[1:])
            except BaseException:
                self._queue.extendleft(reversed(blocks))
                lending.undo(self._queue)
                raise
            try:
                yield lease
            finally:
                try:
                    lending.end()
                except BaseException:
                    lending.end()
                    raise

    # --- the rest

    def fileno(self) -> int:
        """Return a descriptor for an event loop of your own: asyncio, selectors, epoll, poll.

        It is readable while there are records. It may be readable when there are none (once at the
        beginning, for one), so answer with `drain`, ``poll(0)`` or ``read(0)``, none of which
        waits; records that are left keep it readable. Take it out of the loop before `close`.

        Raises:
            ClosedError: The reader is closed.
        """
        with self._lifetime:
            if self._closing:
                raise self._closed_error()
            if not self._shown:
                self._source.poller.hold()
                # What came before may have announced itself already, to nobody.
                self._source.poller.raise_flag()
                self._shown = self._flag = True
            return self._source.poller.fileno()

    def stats(self) -> ReaderStats:
        """Return the totals so far; those at the end once the reader is closed.

        Asks the kernel for losses, one system call per CPU.
        """
        with self._lifetime:
            if self._final is None:
                return self._totals()
            return self._final

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def close(self) -> None:
        """Stop reading and give everything back; does nothing the second time.

        From any thread: one that waits in `read` or `poll` gets `ClosedError`, one that iterates
        sees the end. Records that were not read are gone; `drain` before, if they matter.
        """
        self._closing = True
        self._sleepers.wake()
        with self._lifetime:
            if self._final is None:
                self._source.poller.raise_flag()
        # A callback, or a signal handler, may have interrupted a read of this very thread: that
        # read ends now and gives everything back on its way out.
        reads = self._reading._is_owned()  # type: ignore[attr-defined]
        with self._reading:
            if reads:
                self._current.drop()
            else:
                self._give_back()

    def __enter__(self: Self) -> Self:  # noqa: PYI019 - typing.Self is Python 3.11's
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closing else "open"
        return f'<{type(self).__name__} of {self._kind} "{self._name}", {state}>'

    # --- turns: one thread uses the source, and has *reading*

    # The lock, which no thread but this one may have already. A flag would stay set if a signal
    # handler raised before it was taken back; C lets go of its locks whatever happens.
    def _free(self) -> threading.RLock:
        if self._reading._is_owned():  # type: ignore[attr-defined]  # as threading.Condition asks
            raise ValueError(
                "reader used by a callback, or a signal handler, that interrupted its reading"
            )
        return self._reading

    def _end_turn(self) -> None:
        try:
            if not self._closing:
                self._show()
        finally:
            if self._closing:
                self._give_back()

    # All that is there in blocks, which stay in the queue unless *make* can make something of them.
    def _blocks(
        self,
        timeout: float | None,
        out: object,
        make: Callable[[Sequence[Block], memoryview[int] | None], R],
    ) -> R:
        deadline = deadline_of(timeout)
        with self._free(), Turn(self):
            filling = arrays.Filling(self._source, out)
            blocks: list[Block] = []
            try:
                self._gather(deadline, filling.fetch)
                blocks = self._take_blocks()
                return make(blocks, filling.memory)
            except BaseException as error:
                if isinstance(error, arrays.TooShort):
                    blocks = error.rest
                    self._spoilt.add(error.number)
                self._queue.extendleft(reversed(blocks))
                self._queue = arrays.kept(self._queue)
                raise

    def _dtype(self, given: object) -> object:
        if given is not None or len(self._decoders) > 1:
            return given
        dtype = self._decoders[0].dtype
        return dtype() if dtype is not None else None

    def _give_back(self) -> None:
        with self._lifetime:
            if self._final is None:
                self._final = _UNKNOWN  # should drops= raise
                try:
                    self._final = self._totals()
                finally:
                    self._let_go()

    def _forked(self) -> None:
        self._reading, self._lifetime = threading.RLock(), threading.RLock()
        self._closing = True
        self._when = "in a child of the process that made it"
        if self._final is None:
            self._final = _UNKNOWN
            self._let_go()

    def _let_go(self) -> None:
        self._current.drop()
        self._current = NOTHING
        self._queue.clear()
        self._faults.clear()
        self._source.close()

    def _totals(self) -> ReaderStats:
        return self._source.stats(self._wakeups).plus_unknown(self._spoilt.number)


_UNKNOWN = ReaderStats(received=0, lost=None, unknown=0, bytes=0, wakeups=0)
