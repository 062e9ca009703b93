"""`Source`: what a reader asks of the rings it reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pyebpf.errors import FormatError
from pyebpf.readers.block import Alike, Block, Entry, Few, Room
from pyebpf.readers.stats import ReaderStats
from pyebpf.sys.poller import Poller
from pyebpf.typed import Protocol

__all__ = ["CHUNK", "LENT", "Source"]

CHUNK = 1 << 16
"""Bytes a source copies at a time: big enough to share its costs among many records, small enough
for the cache and for malloc's fast path."""

LENT = 1 << 18
"""Bytes a source copies into an array or lends at a time, as the cache of one core holds them; of a
large BPF ring it is more."""


class Source(Protocol):
    """Rings to read; one thread at a time, but for `stats`.

    Attributes:
        poller: Ready when there is something to read.
    """

    poller: Poller

    @property
    def take_few(self) -> Callable[[Few], bool] | None:
        """What looks, and if only a few records wait takes them, or returns false.

        For what most wake-ups find, on a way as short as can be; ``None`` where there is none.
        """

    @property
    def stalled(self) -> bool:
        """The last `fill` stopped at a record that is not finished."""

    @property
    def seen(self) -> int:
        """Bytes that wait, as far as the source has looked."""

    @property
    def needed(self) -> int:
        """Bytes of memory that take all of that: `seen`, but for damaged rings."""

    def look(self) -> None:
        """See how much waits: `fill` and `lend` hand out that.

        Once per wake-up: whoever asks after every record finds one more, and pays for the asking.
        """

    def fill(
        self, queue: deque[Entry], faults: deque[FormatError], room: Room | None = None
    ) -> None:
        """Append the next chunk of what was seen, nothing if that is all.

        Args:
            queue: Where the blocks go, none of them empty.
            faults: Where goes what was malformed; it is skipped and counted.
            room: Where to copy them to, as far as there is room; new memory by default.
        """

    def lend(self, compare: Alike) -> Block | FormatError | None:
        """Return the next block of what was seen in place, read-only, or what was malformed."""

    def give_back(self, block: Block) -> None:
        """Go on behind the block that was lent last."""

    def lost(self) -> int | None:
        """Return how many records are known to be lost by now; cheap, and may come to know late."""

    def waiting(self) -> bool:
        """Whether there is anything in the rings."""

    def stats(self, wakeups: int) -> ReaderStats:
        """Return the totals."""

    def close(self) -> None:
        """Close descriptors, mappings and the poller."""
