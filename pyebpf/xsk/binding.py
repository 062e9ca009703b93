"""From a queue of an interface to a bound socket with mapped rings: `bind`.

    socket ─▶ memory (the first of a Umem) ─▶ rings ─▶ bind ─▶ frames into the fill ring ─▶ `Bound`

The kernel's rules on sharing: the first socket brings the memory; one more on the same queue brings
RX and TX rings alone, one on another queue fill and completion rings, too (Linux 5.10); and what
the first said about copying and waking holds for all.
"""

from __future__ import annotations

import errno
import mmap
import struct
import time
from contextlib import ExitStack

from pyebpf import features
from pyebpf.errors import EbpfError, NotSupportedError, SyscallError
from pyebpf.link.interface import netns_inode
from pyebpf.sys import xdp_socket
from pyebpf.sys.fd import FD
from pyebpf.sys.xdp_rings import ADDRESS, DESCRIPTOR, ConsumerRing, Layout, ProducerRing
from pyebpf.typed import NamedTuple, TypeVar
from pyebpf.uapi.if_xdp import (
    XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING,
    XdpBindFlag,
    XdpSocketOption,
)
from pyebpf.xsk.channel import Channel
from pyebpf.xsk.frames import Queue
from pyebpf.xsk.umem import Umem, XskMode

__all__ = ["Bound", "Sizes", "bind"]

_PATIENCE, _PAUSE = 1.0, 0.001


class Sizes(NamedTuple):
    """Entries of the rings; fill and completion are those of the queue's first socket."""

    rx: int
    tx: int
    fill: int
    completion: int

    def check(self) -> None:
        """Refuse what no kernel takes."""
        for name, size in self._asdict().items():
            if size < 0 or size & (size - 1):
                raise ValueError(f"{name}_size must be a power of two: {size}")
        if not self.rx and not self.tx:
            raise ValueError("rx_size and tx_size are both 0")
        if not self.completion or (self.rx and not self.fill):
            raise ValueError("completion_size, or fill_size of a socket that receives, is 0")


class Bound(NamedTuple):
    """A socket that is ready.

    Attributes:
        fd: It.
        channel: Its rings.
        key: Of its queue in `Umem.queues`.
    """

    fd: FD
    channel: Channel
    key: tuple[int, int, int]


def bind(umem: Umem, interface: str | int, index: int, number: int, sizes: Sizes) -> Bound:
    """Make a socket on queue *number* of an interface; it is the caller's turn at *umem*.

    Raises:
        ValueError: *umem* has too few free frames for the fill ring.
        SyscallError, NotSupportedError: As `XskSocket` says.
    """
    key = (netns_inode(), index, number)
    shared = umem.queues.get(key)
    wanted = 0
    if sizes.rx and not (shared and shared.receives):
        wanted = shared.capacity if shared else sizes.fill
    if wanted > umem.frames.free:
        raise ValueError(
            f"fill_size is {wanted}, but the memory has {umem.frames.free} free frames"
        )
    with ExitStack() as stack:
        socket = stack.enter_context(xdp_socket.open_socket())
        fd = socket.fileno()
        if not umem.queues:
            xdp_socket.register_memory(
                fd, umem.frames.memory, chunk_size=umem.frame_size, headroom=umem.headroom
            )
        make = _Maker(fd, f"queue {number} of {interface}", stack)
        if shared is None:
            fill = make.ring(ProducerRing, _FILL, sizes.fill or 1)
            completion = make.ring(ConsumerRing, _COMPLETION, sizes.completion)
            queue = Queue(umem.frames, fill, completion, name=make.name)
        else:
            queue = shared
        rx = make.ring(ConsumerRing, _RX, sizes.rx) if sizes.rx else None
        tx = make.ring(ProducerRing, _TX, sizes.tx) if sizes.tx else None
        _bind(umem, fd, (interface, index, number), shared)
        stack.pop_all()
    umem.queues[key] = queue
    queue.users.append(fd)
    if wanted:
        queue.receives = True
        queue.fill(umem.frames.take(wanted))
    return Bound(socket, Channel(queue, rx, tx, parts=umem.multi_buffer), key)


class _Kind(NamedTuple):
    option: XdpSocketOption
    offset: int
    entry: struct.Struct
    layout: str  # in `Layouts`


_FILL = _Kind(XdpSocketOption.UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, ADDRESS, "fill")
_COMPLETION = _Kind(
    XdpSocketOption.UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, ADDRESS, "completion"
)
_RX = _Kind(XdpSocketOption.RX_RING, XDP_PGOFF_RX_RING, DESCRIPTOR, "rx")
_TX = _Kind(XdpSocketOption.TX_RING, XDP_PGOFF_TX_RING, DESCRIPTOR, "tx")

_Ring = TypeVar("_Ring", ProducerRing, ConsumerRing)


# Makes the rings of a socket; *stack* unmaps them.
class _Maker:
    def __init__(self, fd: int, name: str, stack: ExitStack) -> None:
        self.name = name
        self._fd = fd
        self._stack = stack

    def ring(self, side: type[_Ring], kind: _Kind, size: int) -> _Ring:
        xdp_socket.set_ring(self._fd, kind.option, size)
        layout: Layout = getattr(xdp_socket.layouts(self._fd), kind.layout)
        length = layout.length(size, kind.entry.size)
        memory = xdp_socket.map_ring(self._fd, kind.offset, length)
        ring = side(memory, layout, size, kind.entry, name=f"{kind.layout} ring of {self.name}")
        self._stack.callback(ring.close)
        return ring


def _bind(umem: Umem, fd: int, place: tuple[str | int, int, int], shared: Queue | None) -> None:
    interface, index, number = place
    flags, other = 0, 0
    if umem.queues:
        # One of the same queue, if there is one: that is what makes the kernel share its rings.
        other = (shared or next(iter(umem.queues.values()))).users[0]
        flags = XdpBindFlag.SHARED_UMEM
    else:
        flags = umem.mode.value
        # Without it no driver sleeps, and the rings have no flags, which says the same.
        if umem.need_wakeup and features.xdp_bind_flag(XdpBindFlag.USE_NEED_WAKEUP).available():
            flags |= XdpBindFlag.USE_NEED_WAKEUP
        if umem.multi_buffer:
            features.xdp_bind_flag(XdpBindFlag.USE_SG).require()
            flags |= XdpBindFlag.USE_SG
    failed = xdp_socket.bind(fd, index, number, flags=flags, shared=other)
    # The kernel gives a queue free a moment after its last socket was closed.
    deadline = time.monotonic() + _PATIENCE
    while failed == errno.EBUSY and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        failed = xdp_socket.bind(fd, index, number, flags=flags, shared=other)
    if failed:
        raise _explained(umem, failed, interface, index, number)


def _explained(umem: Umem, failed: int, interface: str | int, index: int, number: int) -> EbpfError:
    detail = ""
    if failed == errno.EBUSY:
        detail = f"another AF_XDP socket is bound to queue {number} of {interface}"
    elif failed == errno.EOPNOTSUPP and umem.mode is XskMode.ZERO_COPY:
        detail = f"the driver of {interface} cannot do without copying: use XskMode.AUTO or COPY"
    elif failed == errno.ENODEV:
        detail = f"no interface {interface} in this network namespace"
    elif failed == errno.EINVAL:
        if not _exists(index, number):
            detail = f"{interface} has no queue {number}"
        elif umem.queues:
            return NotSupportedError("AF_XDP memory shared between queues", "5.10")
    return SyscallError("bind", failed, detail)


# Whether there is such a queue: found out with a socket that asks for nothing else.
def _exists(index: int, number: int) -> bool:
    try:
        with xdp_socket.open_socket() as socket, mmap.mmap(-1, mmap.PAGESIZE) as memory:
            fd = socket.fileno()
            xdp_socket.register_memory(fd, memory, chunk_size=mmap.PAGESIZE, headroom=0)
            for kind in (_FILL, _COMPLETION, _RX):
                xdp_socket.set_ring(fd, kind.option, 1)
            found = xdp_socket.bind(fd, index, number, flags=XdpBindFlag.COPY)
    except EbpfError:
        return True  # who knows
    return found != errno.EINVAL
