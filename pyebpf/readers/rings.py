"""`Rings`: rings of the kernel, read in turn, as a `pyebpf.readers.source.Source`.

owner   opens, counts and closes rings: of BPF maps, or of perf events
channel one ring, and how far one has looked into it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from pyebpf.errors import FormatError
from pyebpf.readers.block import Alike, Block, Entry, Few, Room
from pyebpf.readers.stats import ReaderStats
from pyebpf.sys.poller import Poller
from pyebpf.typed import Protocol, final

__all__ = ["Channel", "Owner", "Ring", "Rings"]


class Ring(Protocol):
    """The memory of a ring.

    Attributes:
        size: Bytes of data it holds.
    """

    size: int

    def available(self) -> int:
        """Return how many bytes wait."""


class Channel(Protocol):
    """One ring; the methods are those of `Source`.

    Attributes:
        seen: Bytes that wait, as far as we have looked.
        stalled: The last record found is not finished.
    """

    seen: int
    stalled: bool

    @property
    def ring(self) -> Ring:
        """Its memory."""

    def waiting(self) -> bool:
        """Say whether there is anything, seen or not."""

    def fill(self, queue: deque[Entry], room: Room | None) -> FormatError | None:
        """Append the next chunk of what was seen."""

    def lend(self, compare: Alike) -> Block | FormatError | None:
        """Return the next block of what was seen; there is something."""

    def give_back(self, block: Block) -> None:
        """Go on behind the block that was lent."""


class Owner(Protocol):
    """Who has opened the rings.

    Attributes:
        poller: Ready when there is something in one of them.
        renew: Opens rings that have come since, called before each look; ``None`` if none come.
        take_few: See `Source`.
    """

    poller: Poller

    @property
    def renew(self) -> Callable[[], None] | None:
        """See above."""

    @property
    def take_few(self) -> Callable[[Few], bool] | None:
        """See above."""

    @property
    def channels(self) -> Sequence[Channel]:
        """The rings, in the order in which they are read."""

    def lost(self) -> int | None:
        """See `Source`."""

    def stats(self, wakeups: int) -> ReaderStats:
        """See `Source`."""

    def close(self) -> None:
        """See `Source`."""


@final
class Rings:
    """The rings of an owner, which closes with them."""

    def __init__(self, owner: Owner) -> None:
        self._channels: Sequence[Channel] = owner.channels
        self._lender: Channel | None = None
        self.poller = owner.poller
        self.take_few = owner.take_few
        self._renew = owner.renew
        self.lost = owner.lost
        self.stats = owner.stats
        self._close = owner.close

    @property
    def seen(self) -> int:
        """See `Source`."""
        total = 0
        for channel in self._channels:
            total += channel.seen
        return total

    @property
    def needed(self) -> int:
        """See `Source`."""
        return sum(min(channel.seen, channel.ring.size) for channel in self._channels)

    @property
    def stalled(self) -> bool:
        """See `Source`."""
        return any(channel.stalled for channel in self._channels)

    def look(self) -> None:
        """See `Source`."""
        if self._renew is not None:
            self._renew()
        for channel in self._channels:
            channel.seen = channel.ring.available()

    def fill(
        self, queue: deque[Entry], faults: deque[FormatError], room: Room | None = None
    ) -> None:
        """See `Source`."""
        for channel in self._channels:
            if channel.seen:
                fault = channel.fill(queue, room)
                if fault is not None:
                    faults.append(fault)

    def lend(self, compare: Alike) -> Block | FormatError | None:
        """See `Source`."""
        for channel in self._channels:
            found = channel.lend(compare) if channel.seen else None
            if found is not None:
                self._lender = channel
                return found
        return None

    def give_back(self, block: Block) -> None:
        """See `Source`."""
        if self._lender is not None:
            self._lender.give_back(block)

    def waiting(self) -> bool:
        """See `Source`."""
        return any(channel.waiting() for channel in self._channels)

    def close(self) -> None:
        """See `Source`."""
        self._channels, self._lender = (), None  # a child may be forked in the midst of reading
        self._close()
