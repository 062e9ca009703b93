r"""`LineSource`: text that a file of the kernel gives, as `pyebpf.readers.source.Source` of lines.

pull() ──▶ b"one line\nanother\nthe begin" ──▶ records "one line", "another"
                              └── kept: the rest of the line comes with the next pull, or, if
                                  nothing comes, it was all of it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from pyebpf.errors import FormatError
from pyebpf.readers.block import Alike, Block, Entry, Room, Spans
from pyebpf.readers.source import LENT
from pyebpf.readers.stats import ReaderStats
from pyebpf.sys.poller import Poller
from pyebpf.typed import final

__all__ = ["LineSource"]


@final
class LineSource:
    """Lines, none of them empty.

    Args:
        pull: Returns what there is to read now, never waits: ``b""`` if that is nothing. One line
            may come in several pieces.
        stack: Gives back what *pull* needs, the poller included; taken over.
        poller: Says when there is something to pull.
        lost: Returns how many records a line says to be lost, ``None`` if it is a record. Without
            it nobody knows of losses.
    """

    stalled = False
    take_few = None

    def __init__(
        self,
        pull: Callable[[], bytes],
        stack: ExitStack,
        *,
        poller: Poller,
        lost: Callable[[bytes], int | None] | None = None,
    ) -> None:
        self.poller = poller
        self._pull = pull
        self._stack = stack
        self._losses = lost
        self._lost = 0
        self._tail = b""
        self._lines: deque[bytes] = deque()  # without their newlines
        self._lent = 0
        self._received = 0
        self._bytes = 0

    @property
    def seen(self) -> int:
        """See `Source`."""
        return sum(map(len, self._lines))

    @property
    def needed(self) -> int:
        """See `Source`."""
        return self.seen

    def look(self) -> None:
        """See `Source`."""
        size, pulled = self.seen, False
        while size < LENT:  # or a fast writer keeps us here
            text = self._pull()
            if not text:
                break
            size, pulled = size + len(text), True
            self._bytes += len(text)
            *lines, self._tail = (self._tail + text).split(b"\n")
            for line in lines:
                self._take(line)
        if not pulled and size < LENT:
            self._take(self._tail)
            self._tail = b""

    def fill(
        self, queue: deque[Entry], faults: deque[FormatError], room: Room | None = None
    ) -> None:
        """See `Source`."""
        number, size = 0, 0
        for line in self._lines:
            if room is not None and size + len(line) > room.left:
                break
            number, size = number + 1, size + len(line)
        if number:
            block = self._block(number)
            if room is not None:
                memory = room.take(size)
                memory[:] = block.data
                block = block._replace(data=memory)
            queue.append(block)
            self._drop(number)

    def lend(self, compare: Alike) -> Block | FormatError | None:
        """See `Source`."""
        self._lent = len(self._lines)
        return self._block(self._lent) if self._lent else None

    def give_back(self, block: Block) -> None:
        """See `Source`."""
        self._drop(self._lent)

    def lost(self) -> int | None:
        """See `Source`."""
        return None if self._losses is None else self._lost

    def waiting(self) -> bool:
        """See `Source`: what the kernel holds is the poller's to show."""
        return bool(self._lines)

    def stats(self, wakeups: int) -> ReaderStats:
        """See `Source`."""
        return ReaderStats(
            received=self._received,
            lost=self.lost(),
            unknown=0,
            bytes=self._bytes,
            wakeups=wakeups,
        )

    def close(self) -> None:
        """See `Source`."""
        self._stack.close()

    def _take(self, line: bytes) -> None:
        if not line:
            return
        lost = None if self._losses is None else self._losses(line)
        if lost is None:
            self._lines.append(line)
        else:
            self._lost += lost

    def _block(self, number: int) -> Block:
        starts, ends, position = [], [], 0
        chosen = [self._lines[index] for index in range(number)]
        for line in chosen:
            starts.append(position)
            position += len(line)
            ends.append(position)
        return Block(b"".join(chosen), Spans(starts, ends))

    def _drop(self, number: int) -> None:
        for _ in range(number):
            self._lines.popleft()
        self._received += number
