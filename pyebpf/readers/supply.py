"""`Supply`: what a reader hands out next, the inner half of `pyebpf.readers.reader.Reader`.

    error ─▶ current ─▶ queue ─▶ faults ─▶ what was seen ─▶ what a look shows ─▶ a sleep
    of decoding          put back   of rings

Whoever calls these methods has the turn: one thread at a time.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from pyebpf.errors import ClosedError, FormatError
from pyebpf.readers.block import Block, Cursor, Entry, Few, Spans
from pyebpf.readers.pace import Losses, Pace
from pyebpf.readers.record import Decoder
from pyebpf.readers.source import Source
from pyebpf.readers.stats import Tally
from pyebpf.typed import Any

__all__ = ["NOTHING", "NO_RECORDS", "Fetch", "Supply"]

Fetch = Callable[["deque[Entry]", "deque[FormatError]"], None]
"""Appends what was seen, or is malformed; as `Source.fill` does."""

NO_RECORDS = Block(b"", Spans([], []))
NOTHING = Decoder().cursor(NO_RECORDS)


def _rest(entry: Entry) -> Block:
    return entry.take_rest() if isinstance(entry, Cursor) else entry


class Supply:
    """Records that were read ahead, and those in the rings of a source.

    Args:
        source: The rings.
        decoders: One for each of its maps.
        name: The map's, for messages.
        pace: How often one looks.
        losses: Who is told of them.
    """

    _kind = "map"  # what is read, for messages
    _when = "after close"  # what is no use, likewise

    def __init__(
        self,
        source: Source,
        decoders: Sequence[Decoder],
        *,
        name: str,
        pace: Pace,
        losses: Losses,
    ) -> None:
        self._source = source
        self._decoders = decoders
        self._name = name
        self._pace = pace
        self._losses = losses
        self._current = NOTHING
        self._queue: deque[Entry] = deque()  # cursors: what is put back
        self._faults: deque[FormatError] = deque()  # of the rings; behind the queue's records
        self._error: Exception | None = None  # of decoding; in front of all records
        self._closing = False
        self._flag = False  # that of the poller is raised
        self._wakeups = 0
        self._spoilt = Tally()  # records that are not what record= or a dtype says

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _next_block(self) -> None:
        if not self._queue:
            self._current = NOTHING
            return
        # It stays in the queue until there is a cursor: a signal may end the making of one.
        found = self._queue[0]
        if not isinstance(found, Cursor):
            found = self._decoders[found.ring].cursor(found, self._spoilt.add)
        self._current = found
        self._queue.popleft()

    def _look(self) -> None:
        if self._pace.interval:
            self._pace.due = time.monotonic() + self._pace.interval
        self._source.look()

    # All records as they are, out of what was read ahead, and of iterations that stand there.
    def _take_blocks(self) -> list[Block]:
        if self._current is NOTHING:  # what is most often, on a short way
            if not self._queue:
                return []
            only = self._queue[0]
            if len(self._queue) == 1 and isinstance(only, Block):
                # No call behind which a signal handler could raise: it would be in neither.
                self._queue = deque()
                return [only]
        waiting = [self._current, *self._queue]
        if any(isinstance(each, Cursor) and each.again and each.left for each in waiting):
            raise ValueError(
                "records that an interrupted poll() has decoded come first: poll again"
            )
        try:
            blocks = [block for each in waiting if (block := _rest(each)).number]
        except BaseException:  # whoever iterates does not have them any more
            self._current, self._queue = NOTHING, deque(map(_rest, waiting))
            raise
        self._current, self._queue = NOTHING, deque()
        return blocks

    # Puts the next records in place of *finished*, unless another thread has; false if the time
    # was over.
    def _advance(self, finished: Cursor, deadline: float | None) -> bool:
        if self._closing:
            raise self._closed_error()
        self._raise_error()
        if self._current is not finished or finished.left:
            return True
        if not self._queue:
            self._gather(deadline)
        if self._current is finished:
            self._next_block()
        return self._current is not NOTHING

    # Whether anything of what was seen is left; its next part is `_current` then.
    def _has_more(self) -> bool:
        if self._closing:
            return False
        if self._current is NOTHING:
            if not self._queue and not self._faults:
                self._fetched(self._source.fill)
                if self._closing:
                    return False
            self._next_block()
        return self._current is not NOTHING

    def _put_back(self, records: list[Any]) -> None:
        again = iter(records)
        if self._current.left:
            self._queue.appendleft(self._current)
        self._current = Cursor(NO_RECORDS, again, again, again=True)

    # Fills the queue, or has a few records for `_current`; nothing is there afterwards only if the
    # time was over. From a wake-up to the user each call of a Python function takes a microsecond,
    # as nothing of it is in a cache after a sleep: what can be done before is.
    # What is wrong with a ring is raised when nothing is in front of it.
    def _gather(
        self, deadline: float | None, fetch: Fetch | None = None, *, look: bool = False
    ) -> None:
        source, take_few = self._source, None
        if look and (deadline == -math.inf or self._pace.rest() <= 0):
            self._look()
        if fetch is None:
            fetch = source.fill
            if not self._pace.interval and not self._losses.wanted:
                take_few = source.take_few
        self._raise_error()
        if self._queue or (self._current is not NOTHING and self._current.left):
            return
        while not self._faults and not self._fetched(fetch):
            if self._pace.interval:
                self._wait_until_due(deadline)
            source.poller.rearm()
            self._look()
            if self._fetched(fetch):
                break
            rest = None
            if deadline is not None:
                rest = deadline - time.monotonic()
                if rest <= 0:
                    return
            few = Few()
            cursor = (
                NOTHING if take_few is None else self._decoders[0].cursor(few, self._spoilt.add)
            )
            pause = self._before_sleep()
            if pause:
                source.poller.wait_for_flag(pause if rest is None else min(rest, pause))
            elif source.poller.wait(rest) and not self._closing:
                self._wakeups += 1
            if self._closing:
                raise self._closed_error()
            if take_few is not None and take_few(few):
                self._current = cursor
                return
            self._look()
        if self._closing:  # on_lost= may have
            raise self._closed_error()
        if not self._queue:
            raise self._faults.popleft()

    def _fetched(self, fetch: Fetch) -> bool:
        fetch(self._queue, self._faults)
        if self._losses.wanted:
            self._losses.tell(self._source.lost)
        return bool(self._queue or self._faults)

    # Sleeps until the rings are to be looked at, or the deadline.
    def _wait_until_due(self, deadline: float | None) -> None:
        due = self._pace.due if deadline is None else min(self._pace.due, deadline)
        while (rest := due - time.monotonic()) > 0:
            self._source.poller.wait_for_flag(rest)
            if self._closing:
                raise self._closed_error()

    # Lowers the flag; returns how many seconds to sleep, 0 if the rings are to end it.
    def _before_sleep(self) -> float:
        if self._flag:
            # Nothing is left, or we would not be here.
            self._flag = False
            self._source.poller.lower_flag()
            # close() says that it closes before it raises the flag, which may be lowered now.
            if self._closing:
                raise self._closed_error()
        return self._pace.pause(stalled=self._source.stalled)

    # Keeps the descriptor readable while something is left, and only then.
    def _show(self) -> None:
        here = self._current.left or self._queue or self._faults or self._error
        left = bool(here) or self._source.waiting()
        if left and not self._flag:
            self._flag = True
            self._source.poller.raise_flag()
        elif self._flag and not left:
            self._flag = False
            self._source.poller.lower_flag()
            if self._closing:
                self._source.poller.raise_flag()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f'reader of {self._kind} "{self._name}" used {self._when}')
