"""Socket filters: a program that decides how much of each packet a socket receives."""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Protocol

from pyebpf.errors import SyscallError, naming
from pyebpf.link.base import DescriptorLink
from pyebpf.programs.program import Program
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD

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

    When the socket itself goes, so does the filter.
    """

    def close(self) -> None:
        """Detach the program; the socket stays open for its owner."""
        if not self.closed:
            # ENOENT: somebody detached it already.
            with contextlib.suppress(SyscallError):
                kernel.current().setsockopt(self.fileno(), SOL_SOCKET, SO_DETACH_BPF, bytes(4))
        super().close()


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
        kernel.current().setsockopt(
            number,
            SOL_SOCKET,
            SO_ATTACH_BPF,
            struct.pack("=i", program.fileno()),
        )
        return SocketLink(FD(os.dup(number)), target=f"socket {number}")
