"""`in_order`: the records of several CPUs by time.

    reader ──▶ heap by key ──▶ those older than the newest seen by more than the delay, or that have
                               waited for the delay without a newer one

Records of one CPU come in order, those of others may come later with an earlier time, as each CPU's
ring is read in turn. How much later is bounded by how long a reader takes to get around; the delay
is what one is willing to wait for that.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator

from pyebpf.errors import ClosedError
from pyebpf.readers.reader import Reader
from pyebpf.typed import Generic, TypeVar, final

__all__ = ["InOrder", "in_order"]

T = TypeVar("T")


@final
class InOrder(Generic[T]):
    """Iterates over records by time; see `in_order`.

    Attributes:
        late: Records that came after newer ones had been handed out; they are handed out at once.
    """

    def __init__(self, reader: Reader[T], key: Callable[[T], int], delay: float) -> None:
        if not delay >= 0:
            raise ValueError(f"delay must be seconds, 0 or more: {delay}")
        self.late = 0
        self._reader = reader
        self._key = key
        self._delay = delay
        # Key, a number that keeps equal keys in order and records from being compared, record.
        self._heap: list[tuple[int, int, T]] = []
        self._numbers = itertools.count()
        self._polled: deque[T] = deque()  # not in the heap yet
        self._newest = self._last = -(1 << 63)

    def __iter__(self) -> Iterator[T]:
        """Yield records for ever; ends when the reader is closed, after what is held back."""
        # Records that are held back stay in the heap if the caller stops, and come next time.
        heap, span = self._heap, int(self._delay * 1e9)
        while True:
            self._push()
            while heap and heap[0][0] <= self._newest - span:
                yield self._pop()
            try:
                self._polled.extend(self._reader.poll(self._delay if heap else None))
            except ClosedError:
                break
            # Nothing newer came for as long as anything older may take.
            if heap and not self._polled:
                self._newest += span
        while heap:
            yield self._pop()

    def _push(self) -> None:
        while self._polled:
            record = self._polled.popleft()
            try:
                key = self._key(record)
            except Exception:
                raise
            except BaseException:
                self._polled.appendleft(record)
                raise
            self._newest = max(self._newest, key)
            heapq.heappush(self._heap, (key, next(self._numbers), record))

    def _pop(self) -> T:
        key, _, record = heapq.heappop(self._heap)
        if key < self._last:
            self.late += 1
        self._last = max(self._last, key)
        return record


def in_order(reader: Reader[T], *, key: Callable[[T], int], delay: float = 0.01) -> InOrder[T]:
    """Iterate over the records of a reader by time.

    Args:
        reader: Of several CPUs, or several rings.
        key: From a record to its time in nanoseconds, from one clock for all CPUs:
            ``lambda event: event.time`` with ``bpf_ktime_get_ns()``. An exception it raises comes
            out of the loop, without that record; the next loop goes on with the others.
        delay: Seconds a record is held back at most, so that older ones can overtake it. With too
            little some come too late: they are handed out all the same, and counted in ``late``.

    Returns:
        An iterable over the records; it keeps what it holds back when the loop is left.

    Raises:
        ValueError: *delay* is negative.
    """
    return InOrder(reader, key, delay)
