"""`Lease`: received packets where the kernel has put them, for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import final

from pyebpf.uapi.if_xdp import XDP_PKT_CONTD
from pyebpf.xsk.channel import Descriptor

__all__ = ["Lease"]


@final
class Lease:
    """Packets that an `XskSocket` lends; see `XskSocket.lease`.

    A sequence of views of the shared memory, in the order of arrival; they may be written. With
    ``multi_buffer`` a long packet has several: `packets` groups them.
    """

    __slots__ = ("_last", "_views")

    def __init__(self, view: memoryview[int], taken: Sequence[Descriptor]) -> None:
        self._views = [view[at : at + length] for at, length, _ in taken]
        self._last = [not options & XDP_PKT_CONTD for _, _, options in taken]

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[memoryview[int]]:
        return iter(self._views)

    def __getitem__(self, number: int) -> memoryview[int]:
        return self._views[number]

    def packets(self) -> list[list[memoryview[int]]]:
        """Return the views of each packet."""
        found: list[list[memoryview[int]]] = [[]]
        for view, last in zip(self._views, self._last, strict=True):
            found[-1].append(view)
            if last:
                found.append([])
        return found[:-1]

    def end(self) -> None:
        """Let the views be of no more use; others that were made from them show other packets."""
        for view in self._views:
            with contextlib.suppress(BufferError):
                view.release()

    def __repr__(self) -> str:
        return f"<Lease of {sum(self._last)} packets>"
