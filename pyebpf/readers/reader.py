"""`Reader`: what PerfReader and RingReader share, the one interface to records.

    rings ──Source.fill──▶ backlog (raw bytes) ──decode──▶ read · poll · drain · iteration
              one look at the positions, one copy, many records

A `Source` knows its rings, a Reader everything else: waiting, deadlines, closing, decoding and the
readiness that `Reader.fileno` shows. Two locks keep it together. *reading* is held while records
are fetched, asleep or not. *lifetime* is held for moments, by whoever uses the descriptors without
reading: `Reader.stats`, `Reader.fileno`, and closing. Both may be taken again by the thread that
has them, since a signal handler may close the reader that it interrupts.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

from pyebpf.errors import ClosedError, FormatError, ReaderTimeout
from pyebpf.readers.record import Decode
from pyebpf.readers.stats import ReaderStats
from pyebpf.sys.poller import Poller

__all__ = ["CHUNK", "Reader", "Source"]

T = TypeVar("T")
R = TypeVar("R", bound="Reader[Any]")

CHUNK = 1 << 16
"""Bytes a source copies at a time: big enough to share its costs among many records, small enough
for the cache and for malloc's fast path."""

# A BPF ring's first record is still being written: its program is running on another CPU, or was
# interrupted there. The ring counts as readable meanwhile, so sleep by the clock.
_STALL = 0.001


class Source(Protocol):
    """Rings to read; one thread at a time, but for `stats`."""

    poller: Poller
    stalled: bool
    """The last `fill` stopped at a record that is not finished."""

    def fill(self, backlog: deque[bytes], *, everything: bool) -> list[FormatError]:
        """Append the records that wait; what was malformed is skipped, counted and returned.

        Args:
            backlog: Where records go.
            everything: All that waits now, not only a chunk of each ring.
        """

    def waiting(self) -> bool:
        """Whether there is anything in the rings."""

    def stats(self, wakeups: int) -> ReaderStats:
        """Return the totals."""

    def close(self) -> None:
        """Close descriptors, mappings and the poller."""


class Reader(Generic[T]):
    """Reads records out of the kernel's rings.

    Iterate, or use `read`, `poll` or `drain`. One thread reads at a time, another that tries waits
    for its turn; `close` and `stats` may be called from any thread and from signal handlers.
    Ctrl-C raises ``KeyboardInterrupt`` wherever the reader waits; nothing is lost by it.

    A record that cannot be decoded, and bytes in a ring that cannot be a record, raise
    `FormatError` once and are skipped: records before them come first, the next call goes on
    behind them.
    """

    def __init__(self, source: Source, decode: Decode | None, *, name: str) -> None:
        self._source = source
        self._decode: Decode = decode or _as_they_are
        self._name = name
        self._backlog: deque[bytes] = deque()
        self._faults: deque[FormatError] = deque()  # of the rings; behind the backlog's records
        self._error: Exception | None = None  # of decoding; in front of them
        self._reading = threading.RLock()
        self._lifetime = threading.RLock()
        self._active = False  # somebody holds *reading* and uses the source
        self._closing = False
        self._final: ReaderStats | None = None
        self._shown = False  # fileno() was called: keep the flag right
        self._flag = False
        self._wakeups = 0

    # --- reading

    def __iter__(self) -> Iterator[T]:
        """Yield records for ever; ends when the reader is closed."""
        backlog, decode = self._backlog, self._decode
        while True:
            try:
                self._fetch(None)
            except ClosedError:
                return
            while backlog:
                try:
                    record = backlog.popleft()
                except IndexError:  # another thread was faster
                    break
                yield decode(record)

    def read(self, timeout: float | None = None) -> T:
        """Return the next record.

        Args:
            timeout: Seconds to wait for one; 0 does not wait, ``None`` waits for ever.

        Raises:
            ReaderTimeout: None came in time.
            ClosedError: The reader is closed, also if that happens while it waits.
            FormatError: The record is malformed; see the class.
        """
        deadline = _deadline(timeout)
        record = self._fetch(deadline, pop=True)
        if record is None:
            raise ReaderTimeout(f'read map "{self._name}": no record within {timeout} s')
        return cast("T", self._decode(record))

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
        return self._decoded(self._fetch_all(_deadline(timeout)))

    def drain(self) -> list[T]:
        """Return the records that are there now, without waiting.

        Those that come meanwhile are left for the next call, so it ends however fast they come.

        Raises:
            ClosedError: The reader is closed.
            FormatError: A record is malformed; see the class.
        """
        return self.poll(0)

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
                self._shown = self._flag = True
                self._source.poller.raise_flag()
            return self._source.poller.fileno()

    def stats(self) -> ReaderStats:
        """Return the totals so far; those at the end once the reader is closed.

        Asks the kernel for losses, one system call per CPU.
        """
        with self._lifetime:
            if self._final is None:
                return self._source.stats(self._wakeups)
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
        with self._lifetime:
            if self._final is None:
                self._source.poller.raise_flag()
        with self._reading:
            # Not if a signal handler interrupted a read of this very thread: that read ends now
            # and gives everything back on its way out.
            if not self._active:
                self._give_back()

    def __enter__(self: R) -> R:  # noqa: PYI019 - typing.Self is Python 3.11's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closing else "open"
        return f'<{type(self).__name__} of map "{self._name}", {state}>'

    # --- turns

    def _fetch(self, deadline: float | None, *, pop: bool = False) -> bytes | None:
        with self._reading:
            self._check_turn()
            try:
                self._active = True
                self._gather(deadline, everything=False)
                return self._backlog.popleft() if pop and self._backlog else None
            finally:
                self._end_turn()

    def _fetch_all(self, deadline: float | None) -> list[bytes]:
        with self._reading:
            self._check_turn()
            try:
                self._active = True
                self._gather(deadline, everything=True)
                records = list(self._backlog)
                self._backlog.clear()
                return records
            finally:
                self._end_turn()

    def _check_turn(self) -> None:
        if self._active:
            raise ValueError("reader used by a signal handler that interrupted its reading")

    def _end_turn(self) -> None:
        try:
            if self._shown and not self._closing:
                self._show()
        finally:
            self._active = False
            if self._closing:
                self._give_back()

    # Fills the backlog; it is empty afterwards only if the time was over.
    def _gather(self, deadline: float | None, *, everything: bool) -> None:
        backlog, faults, source = self._backlog, self._faults, self._source
        while True:
            if self._closing:
                raise self._closed_error()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if faults and not backlog:
                raise faults.popleft()
            if backlog and (faults or not everything):
                return
            source.poller.rearm()
            faults.extend(source.fill(backlog, everything=everything))
            if backlog:
                return
            if faults:
                continue
            rest = None
            if deadline is not None:
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return
            self._sleep(rest)

    def _sleep(self, rest: float | None) -> None:
        poller = self._source.poller
        if self._flag:
            # Nothing is left, or we would not be here.
            self._flag = False
            poller.lower_flag()
            # close() says that it closes before it raises the flag, which may be lowered now.
            if self._closing:
                return
        if self._source.stalled:
            poller.wait_for_flag(_STALL if rest is None else min(rest, _STALL))
        elif poller.wait(rest) and not self._closing:
            self._wakeups += 1

    # Keeps the descriptor readable while something is left, and only then.
    def _show(self) -> None:
        left = bool(self._backlog or self._faults or self._error) or self._source.waiting()
        if left and not self._flag:
            self._flag = True
            self._source.poller.raise_flag()
        elif self._flag and not left:
            self._flag = False
            self._source.poller.lower_flag()
            if self._closing:
                self._source.poller.raise_flag()

    def _give_back(self) -> None:
        with self._lifetime:
            if self._final is not None:
                return
            try:
                self._final = self._source.stats(self._wakeups)
            finally:
                self._backlog.clear()
                self._faults.clear()
                self._source.close()

    def _decoded(self, records: list[bytes]) -> list[T]:
        decode = self._decode
        if decode is _as_they_are:
            return cast("list[T]", records)
        decoded: list[T] = []
        following = iter(records)
        try:
            for record in following:
                decoded.append(decode(record))  # noqa: PERF401 - what was decoded must be kept
        except Exception as error:
            self._put_back(list(following), error if decoded else None)
            if not decoded:
                raise
        except BaseException:
            # Ctrl-C: the caller gets nothing, so nothing counts as read.
            self._put_back(records, None)
            raise
        return decoded

    def _put_back(self, records: list[bytes], error: Exception | None) -> None:
        with self._reading:
            if self._closing:
                return
            self._backlog.extendleft(reversed(records))
            self._error = error
            if self._shown:
                self._show()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f'reader of map "{self._name}" used after close')


def _as_they_are(record: bytes) -> bytes:
    return record


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if not timeout >= 0:  # NaN too
        raise ValueError(f"timeout must be seconds, 0 or more, or None: {timeout}")
    return -math.inf if timeout == 0 else time.monotonic() + timeout
