"""`Lease`: received packets where the kernel has put them, for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from pyebpf.typed import final
from pyebpf.uapi.if_xdp import XDP_PKT_CONTD
from pyebpf.xsk.channel import Descriptor
from pyebpf.xsk.frames import Frames

__all__ = ["Lease", "release"]


@final
class Lease:
    """Packets that an `XskSocket` lends; see `XskSocket.lease`.

    A sequence of views of the shared memory, in the order of arrival; they may be written. With
    ``multi_buffer`` a long packet has several: `packets` groups them.

    Attributes:
        frames: Among which the packets' are.
        held: Numbers of those that the kernel gets back at the end.
    """

    __slots__ = ("_forwarded", "_taken", "_views", "frames", "held")

    def __init__(self, frames: Frames, taken: Sequence[Descriptor]) -> None:
        self.frames = frames
        self.held = frames.numbers(taken)
        self._taken = taken
        self._views = [frames.view[at : at + length] for at, length, _ in taken]
        self._forwarded: set[int] = set()

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[memoryview[int]]:
        return iter(self._views)

    def __getitem__(self, number: int) -> memoryview[int]:
        return self._views[number]

    def packets(self) -> list[list[memoryview[int]]]:
        """Return the views of each packet."""
        found: list[list[memoryview[int]]] = [[]]
        for view, (_, _, options) in zip(self._views, self._taken, strict=True):
            found[-1].append(view)
            if not options & XDP_PKT_CONTD:
                found.append([])
        return found[:-1]

    def to_forward(self, numbers: Sequence[int]) -> list[Descriptor]:
        """Return where packets lie that are to be sent on.

        Raises:
            ValueError: One of them was, or is named twice; or the lease has ended.
            IndexError: There is no such packet.
        """
        if not self._taken and numbers:
            raise ValueError("packets of a lease that has ended are the kernel's")
        if numbers and min(numbers) < 0:
            raise IndexError("packets of a lease are numbered from 0")
        found = [self._taken[number] for number in numbers]
        if len({*numbers}) < len(numbers) or not self._forwarded.isdisjoint(numbers):
            raise ValueError("a packet can be forwarded once")
        return found

    def forwarded(self, numbers: Sequence[int], instead: Sequence[int]) -> None:
        """Note that packets were sent on, and which frames are held in the place of theirs."""
        self._forwarded.update(numbers)
        for number, frame in zip(numbers, instead, strict=True):
            self.held[number] = frame
        release([self._views[number] for number in numbers])

    def end(self) -> None:
        """Let the views be of no more use; others that were made from them show other packets."""
        self._taken = ()
        release(self._views)

    def __repr__(self) -> str:
        return f"<Lease of {len(self._views)} views of packets>"


def release(views: Iterable[memoryview[int]]) -> None:
    """Release views, but for those that others were made from in a way that keeps them."""
    left = iter(views)
    done = False
    while not done:
        with contextlib.suppress(BufferError):
            for view in left:
                view.release()
            done = True
