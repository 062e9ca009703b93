"""The system calls of AF_XDP sockets, in the order in which a socket is made.

    open_socket ─▶ register_memory ─▶ set_ring ─▶ map_ring ─▶ bind ─▶ push, pull

Numbers and memory come in, rings and errnos go out.
"""

from __future__ import annotations

import errno
import mmap
import select
import struct
import sys

from pyebpf.errors import SyscallError, errno_text
from pyebpf.sys import kernel, memlock
from pyebpf.sys._libc import ffi
from pyebpf.sys.call import Memory
from pyebpf.sys.failures import failure
from pyebpf.sys.fd import FD
from pyebpf.sys.libc import error_number, libc
from pyebpf.sys.xdp_rings import Layout
from pyebpf.typed import NamedTuple
from pyebpf.uapi.if_xdp import (
    AF_XDP,
    SOL_XDP,
    XDP_OPTIONS_ZEROCOPY,
    SockaddrXdp,
    XdpMmapOffsets,
    XdpSocketOption,
    XdpStatistics,
    XdpUmemReg,
)

__all__ = [
    "Layouts",
    "bind",
    "busy_poll",
    "layouts",
    "map_ring",
    "open_socket",
    "pull",
    "push",
    "register_memory",
    "set_ring",
    "statistics",
    "zero_copy",
]

_SOL_SOCKET = 1
_MSG_DONTWAIT = 0x40
# Linux 5.11: the first of them keeps interrupts off while the process polls often enough.
_SO_BUSY_POLL, _SO_PREFER_BUSY_POLL, _SO_BUSY_POLL_BUDGET = 46, 69, 70
# Before Linux 5.4 the structs were shorter.
_OLD_OFFSETS = 12
_OLD_REG_SIZE = 24


class Layouts(NamedTuple):
    """Where things are in the mappings of the four rings."""

    rx: Layout
    tx: Layout
    fill: Layout
    completion: Layout


def open_socket() -> FD:
    """Open a socket; errors as those of `LinuxKernel.xdp_socket`."""
    return FD(kernel.current().xdp_socket())


def register_memory(
    fd: int, memory: mmap.mmap, *, chunk_size: int, headroom: int, flags: int = 0
) -> None:
    """Make *memory* that of a socket's packets (``XDP_UMEM_REG``); the kernel keeps its pages.

    Raises:
        SyscallError: ``ENOBUFS``: more than ``RLIMIT_MEMLOCK`` allows.
    """
    registration = XdpUmemReg(
        addr=memory, len=len(memory), chunk_size=chunk_size, headroom=headroom, flags=flags
    )
    keep = Memory()
    data = bytes(keep.pack(registration))
    if not flags:
        data = data[:_OLD_REG_SIZE]
    try:
        _set(fd, XdpSocketOption.UMEM_REG, data)
    except SyscallError as error:
        if error.errno != errno.ENOBUFS:
            raise
        if memlock.raise_limit():
            _set(fd, XdpSocketOption.UMEM_REG, data)
            return
        error.detail = (
            f"{len(memory)} bytes are more than RLIMIT_MEMLOCK allows, which without CAP_IPC_LOCK"
            " counts all such memory of the user"
        )
        raise


def set_ring(fd: int, option: XdpSocketOption, size: int) -> None:
    """Make a ring of so many entries.

    Raises:
        SyscallError: ``EINVAL``: *size* is no power of two; ``ENOMEM``.
    """
    _set(fd, option, struct.pack("=I", size))


def layouts(fd: int) -> Layouts:
    """Ask where things are in the mappings of rings (``XDP_MMAP_OFFSETS``)."""
    answer = _get(fd, XdpSocketOption.MMAP_OFFSETS, XdpMmapOffsets.SIZE)
    numbers = struct.unpack(f"={len(answer) // 8}Q", answer)
    count = 3 if len(numbers) == _OLD_OFFSETS else 4
    rings = [numbers[at : at + count] for at in range(0, 4 * count, count)]
    return Layouts(*(Layout._make(ring if count == 4 else (*ring, None)) for ring in rings))


def map_ring(fd: int, offset: int, length: int) -> mmap.mmap:
    """Map a ring: *offset* is its ``XDP_PGOFF_*``."""
    return kernel.current().mmap(fd, length, writable=True, offset=offset)


def busy_poll(fd: int, microseconds: int, budget: int) -> None:
    """Let waiting calls drive the device themselves (``SO_PREFER_BUSY_POLL``).

    Raises:
        PrivilegeError: ``EPERM``: more than the system's own values, without ``CAP_NET_ADMIN``.
        SyscallError: ``ENOPROTOOPT``: before Linux 5.11.
    """
    for name, value in (
        (_SO_PREFER_BUSY_POLL, 1),
        (_SO_BUSY_POLL, microseconds),
        (_SO_BUSY_POLL_BUDGET, budget),
    ):
        kernel.current().setsockopt(fd, _SOL_SOCKET, name, struct.pack("=i", value))


def bind(fd: int, interface: int, queue: int, *, flags: int, shared: int = 0) -> int:
    """Bind a socket to a queue of an interface.

    Args:
        fd: The socket.
        interface: Its index.
        queue: Its number.
        flags: ``XDP_*``: see `XdpBindFlag`.
        shared: With ``XDP_SHARED_UMEM``, the descriptor of a bound socket.

    Returns:
        0, or the errno: what it means the caller knows.
    """
    address = SockaddrXdp(
        sxdp_family=AF_XDP,
        sxdp_flags=flags,
        sxdp_ifindex=interface,
        sxdp_queue_id=queue,
        sxdp_shared_umem_fd=shared,
    )
    data = bytes(Memory().pack(address))
    return error_number() if libc.bind(fd, data, len(data)) else 0


def push(fd: int) -> int:
    """Let the kernel send what is in the TX ring; return 0 or an errno.

    In copy mode it does so at once, up to 16 or 32 packets: ``EAGAIN`` if there are more, or no
    memory for more; ``EBUSY`` if the interface has refused the last one it took out of the ring.
    ``ENXIO``: the interface has gone. ``ENETDOWN``: it is down.
    """
    return error_number() if libc.send(fd, ffi.NULL, 0, _MSG_DONTWAIT) < 0 else 0


def pull(fd: int) -> None:
    """Let the driver look into the fill ring, and with `busy_poll` for packets."""
    # Before Linux 5.11 these sockets have no recv(2), and poll(2) does it.
    if libc.recv(fd, ffi.NULL, 0, _MSG_DONTWAIT) < 0 and error_number() == errno.EOPNOTSUPP:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(0)


def statistics(fd: int) -> dict[str, int | None]:
    """Ask what a socket has lost: the fields of `XdpStatistics`, ``None`` for unknown ones."""
    answer = _get(fd, XdpSocketOption.STATISTICS, XdpStatistics.SIZE)
    numbers: list[int | None] = [number for (number,) in struct.iter_unpack("=Q", answer)]
    fields = [field.name for field in XdpStatistics.FIELDS]
    return dict(zip(fields, numbers + [None] * (len(fields) - len(numbers)), strict=True))


def zero_copy(fd: int) -> bool:
    """Ask whether packets of a bound socket are not copied; false before Linux 5.3."""
    try:
        flags = int.from_bytes(_get(fd, XdpSocketOption.OPTIONS, 4), sys.byteorder)
    except SyscallError:
        return False
    return bool(flags & XDP_OPTIONS_ZEROCOPY)


def _set(fd: int, option: XdpSocketOption, value: bytes) -> None:
    try:
        kernel.current().setsockopt(fd, SOL_XDP, option, value)
    except SyscallError as error:
        error.detail = f"{errno_text(error.errno or 0)} ({option})"
        raise


def _get(fd: int, option: XdpSocketOption, size: int) -> bytes:
    answer, length = bytearray(size), bytearray(size.to_bytes(4, sys.byteorder))
    value, room = ffi.from_buffer(answer), ffi.from_buffer(length)
    if libc.getsockopt(fd, SOL_XDP, option, value, room):
        raise failure("getsockopt", error_number(), str(option))
    return bytes(answer[: int.from_bytes(length, sys.byteorder)])
