"""`Lease`: received packets where the kernel has put them, for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import final

from pyebpf.uapi.if_xdp import XDP_PKT_CONTD
from pyebpf.xsk.channel import Descriptor

__all__ = ["Lease", "release"]


@final
class Lease:
    """Packets that an `XskSocket` lends; see `XskSocket.lease`.

    A sequence of views of the shared memory, in the order of arrival; they may be written. With
    ``multi_buffer`` a long packet has several: `packets` groups them.
    """

    __slots__ = ("_taken", "_views")

    def __init__(self, view: memoryview[int], taken: Sequence[Descriptor]) -> None:
        self._taken = taken
        self._views = [view[at : at + length] for at, length, _ in taken]

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

    def end(self) -> None:
        """Let the views be of no more use; others that were made from them show other packets."""
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
