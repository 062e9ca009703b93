"""Sockets of this machine, as maps of the made-up kernel know them.

The made-up kernel has no sockets of its own and keeps none of this machine's open: what is closed
everywhere in this process is gone from its maps, as it would be when the last descriptor closes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct

from pyebpf.testing.refusal import Refused
from pyebpf.typed import NamedTuple

__all__ = ["Socket", "is_open", "socket_of"]

_SO_COOKIE = 57
_TCP_INFO = 11
_ESTABLISHED, _LISTEN = 1, 10


class Socket(NamedTuple):
    """A socket.

    Attributes:
        inode: What it is known by.
        cookie: What user space is shown.
        family: ``AF_INET``; likewise its type and protocol.
        connected: Whether it is, of a stream.
        listening: Whether it waits for connections.
        bound: Whether it has an address.
        shares_port: Whether it has ``SO_REUSEPORT``.
    """

    inode: int
    cookie: int
    family: int
    type: int
    protocol: int
    connected: bool
    listening: bool
    bound: bool
    shares_port: bool


def socket_of(fd: int) -> Socket:
    """Return the socket behind a descriptor: sockfd_lookup.

    Raises:
        Refused: ``EBADF``, ``ENOTSOCK``.
    """
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode):
            raise Refused(errno.ENOTSOCK)
        duplicate = os.dup(fd)
    except (OSError, OverflowError):
        raise Refused(errno.EBADF) from None
    # Some have no name for Python to look at; so it is told a family, which none need be of.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, duplicate) as given:
        return _described(given, found.st_ino)


def is_open(inode: int) -> bool:
    """Whether a descriptor of this process is that socket's."""
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found = os.fstat(int(fd))
            if found.st_ino == inode and stat.S_ISSOCK(found.st_mode):
                return True
    return False


def _described(given: socket.socket, inode: int) -> Socket:
    family, kind, protocol = (
        given.getsockopt(socket.SOL_SOCKET, option)
        for option in (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)
    )
    state = 0
    if protocol == socket.IPPROTO_TCP:
        state = given.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]
    elif kind == socket.SOCK_STREAM:
        with contextlib.suppress(OSError):
            given.getpeername()
            state = _ESTABLISHED
    return Socket(
        inode=inode,
        cookie=struct.unpack("=Q", given.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0],
        family=family,
        type=kind,
        protocol=protocol,
        connected=state == _ESTABLISHED,
        listening=state == _LISTEN,
        bound=_is_bound(given, family),
        shares_port=bool(given.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)),
    )


def _is_bound(given: socket.socket, family: int) -> bool:
    try:
        name = given.getsockname()
    except OSError:
        return False
    return bool(name[1]) if family in (socket.AF_INET, socket.AF_INET6) else bool(name)
