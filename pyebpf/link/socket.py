"""Socket filters: a program that decides how much of each packet a socket receives."""

from __future__ import annotations

import errno
import struct
from typing import Protocol

from pyebpf.errors import ClosedError, EbpfError, SyscallError, naming
from pyebpf.link.base import DescriptorLink
from pyebpf.programs.program import Program
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD, duplicate

__all__ = ["SocketLink", "attach_socket"]

SOL_SOCKET = 1
SO_ATTACH_BPF = 50
SO_DETACH_BPF = 27  # = SO_DETACH_FILTER


class HasFileno(Protocol):
    """A socket, or anything that stands for its descriptor."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


class SocketLink(DescriptorLink):
    """A program on a socket, by a descriptor of its own: closing it takes the program off.

    A socket has one filter: closing the link takes off whatever is there by then. When the socket
    itself goes, so does its filter; but a link that is merely forgotten leaves the filter on.
    """

    def close(self) -> None:
        """Detach the program; the socket stays open for its owner.

        Raises:
            PrivilegeError: The filter was locked (``SO_LOCK_FILTER``); it stays.
        """
        try:
            held = FD(self._fd.take())
        except ClosedError:
            return
        with held, naming(f"detach from {self.target}"):
            try:
                kernel.current().setsockopt(held.fileno(), SOL_SOCKET, SO_DETACH_BPF, bytes(4))
            except SyscallError as error:
                if error.errno != errno.ENOENT:  # somebody detached it already
                    raise


def attach_socket(program: Program, sock: HasFileno) -> SocketLink:
    """Attach *program* to a socket as its filter; it replaces one that is there.

    Args:
        program: Of type ``BPF_PROG_TYPE_SOCKET_FILTER``; may be closed afterwards.
        sock: The socket; stays the caller's.

    Returns:
        A link that detaches when closed.

    Raises:
        SyscallError: ``EINVAL`` for a program of another type, ``EPERM`` for a locked filter.

    Since Linux 3.19.
    """
    number = sock.fileno()
    with naming(f'attach program "{program.name}" to socket {number}'):
        given = struct.pack("=i", program.fileno())
        held = FD(duplicate(number))
        link = SocketLink(held, target=f"socket {number}")
        try:
            kernel.current().setsockopt(number, SOL_SOCKET, SO_ATTACH_BPF, given)
        except EbpfError:
            held.close()  # and leave the filter that is there alone
            raise
        except BaseException:  # Ctrl-C, maybe after the call had its effect
            link.close()
            raise
        return link
