"""`Umem`: the memory of packets, shared with the kernel and between sockets.

    Umem ──┬── queue 0 of eth0: fill and completion ring ──┬── socket
           │                                              └── socket
           └── queue 1 of eth0: ...                        ── socket

The kernel knows it as long as a socket uses it. Whoever works on frames or rings has the `Turn`.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
from types import TracebackType

from pyebpf.typed import final
from pyebpf.uapi.if_xdp import XdpBindFlag
from pyebpf.xsk.frames import Frames, Queue
from pyebpf.xsk.statistics import UmemUsage
from pyebpf.xsk.turn import Turn

__all__ = ["Umem", "XskMode"]

_SMALLEST_FRAME = 2048
_PACKET_HEADROOM = 256  # XDP_PACKET_HEADROOM


class XskMode(enum.Enum):
    """Whether the kernel copies packets: as the driver can, always, or never."""

    AUTO = 0
    COPY = int(XdpBindFlag.COPY)
    ZERO_COPY = int(XdpBindFlag.ZEROCOPY)


@final
class Umem:
    """Memory for packets, cut into frames.

    Made by an `XskSocket` for itself unless one is given. To be closed after its sockets; if it is
    closed before, the memory goes with the last of them. May be shared between threads; not usable
    in a child after fork(2), where only `close` does anything.

    Args:
        frame_count: How many frames.
        frame_size: Bytes of a frame: a power of two, 2048 or up to a page.
        headroom: Bytes to leave free in front of received packets; 256 more are the kernel's.
        mode: Whether packets are copied; AUTO takes zero-copy where the driver has it.
        need_wakeup: Let drivers sleep until they are woken (Linux 5.4), which costs system calls
            and saves a CPU.
        multi_buffer: Packets may be longer than a frame (``XDP_USE_SG``, Linux 6.6).

    Raises:
        ValueError: A size that the kernel does not take.

    Since Linux 4.18; several queues of one memory, 5.10.
    """

    def __init__(
        self,
        frame_count: int = 4096,
        *,
        frame_size: int = _SMALLEST_FRAME,
        headroom: int = 0,
        mode: XskMode = XskMode.AUTO,
        need_wakeup: bool = True,
        multi_buffer: bool = False,
    ) -> None:
        if frame_count < 1:
            raise ValueError(f"frame_count must be 1 or more: {frame_count}")
        if frame_size & (frame_size - 1) or not _SMALLEST_FRAME <= frame_size <= mmap.PAGESIZE:
            raise ValueError(
                f"frame_size must be a power of two from {_SMALLEST_FRAME} to a page,"
                f" {mmap.PAGESIZE}: {frame_size}"
            )
        most = frame_size - _PACKET_HEADROOM - 1
        if not 0 <= headroom <= most:
            raise ValueError(f"headroom must be 0 to {most}: {headroom}")
        self.frame_count = frame_count
        self.frame_size = frame_size
        self.headroom = headroom
        self.mode = mode
        self.need_wakeup = need_wakeup
        self.multi_buffer = multi_buffer
        # Shared, so that a fork's child does not take the pages away that the kernel has.
        self._memory = mmap.mmap(-1, frame_count * frame_size)
        self.frames = Frames(self._memory, frame_size)
        self.queues: dict[tuple[int, int, int], Queue] = {}
        self.turn = Turn("AF_XDP memory")
        self._closed = False

    def usage(self) -> UmemUsage:
        """Return how many frames are where."""
        with self.turn.free(), self.turn:
            frames, queues = self.frames, self.queues.values()
            return UmemUsage(
                free=frames.free,
                filled=sum(len(queue.filled) for queue in queues),
                sending=sum(len(queue.sending) for queue in queues),
                lent=len(frames.lent),
                retired=len(frames.retired),
            )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Let no more sockets use it, and give the memory back when none does; twice is fine."""
        self._closed = True
        if self.turn.foreign:
            self._release()
        else:
            self.turn.when_idle(self.release_unused)

    def release_unused(self) -> None:
        """Give the memory back if it is closed and no socket uses it."""
        if self._closed and not self.queues:
            self._release()

    def __enter__(self) -> Umem:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.queues)} queues"
        return f"<Umem of {self.frame_count} frames of {self.frame_size} bytes, {state}>"

    # Who still has a view that was lent keeps the memory until it goes.
    def _release(self) -> None:
        with contextlib.suppress(BufferError):
            self.frames.view.release()
        with contextlib.suppress(BufferError):
            self._memory.close()
