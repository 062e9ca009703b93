"""Programs of single sockets: filters, and the choice within a group that shares a port.

A filter decides how much of each packet a socket receives. A group of sockets with SO_REUSEPORT
has one program that says which of them gets a connection or datagram: a socket filter returns the
socket's index in the group, ``SEC("sk_reuseport")`` picks one out of a map.
"""

from __future__ import annotations

import errno
import struct

from pyebpf.errors import ClosedError, EbpfError, SyscallError, naming
from pyebpf.link.base import DescriptorLink
from pyebpf.link.interface import check_type
from pyebpf.programs.program import Program
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD, duplicate
from pyebpf.typed import Protocol, TypeVar
from pyebpf.uapi.bpf import ProgType

__all__ = ["ReuseportLink", "SocketLink", "attach_reuseport", "attach_socket"]

SOL_SOCKET = 1
SO_ATTACH_BPF = 50
SO_ATTACH_REUSEPORT_EBPF = 52
SO_DETACH_BPF = 27  # = SO_DETACH_FILTER
SO_DETACH_REUSEPORT_BPF = 68


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

    _DETACH = SO_DETACH_BPF

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
                kernel.current().setsockopt(held.fileno(), SOL_SOCKET, self._DETACH, bytes(4))
            except SyscallError as error:
                if error.errno != errno.ENOENT:  # somebody detached it already
                    raise

    def disown(self) -> None:
        """Close this object and leave the program on the socket, as long as that lives."""
        self._fd.close()


class ReuseportLink(SocketLink):
    """The program of a group of sockets that share a port; any socket of the group stands for it.

    Closing it needs Linux 5.3; before, the program goes with the last socket of the group.
    """

    _DETACH = SO_DETACH_REUSEPORT_BPF


def attach_socket(program: Program, sock: HasFileno) -> SocketLink:
    """Attach *program* to a socket as its filter; it replaces one that is there.

    Args:
        program: Of type ``BPF_PROG_TYPE_SOCKET_FILTER``; may be closed afterwards.
        sock: The socket; stays the caller's.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type.
        SyscallError: ``EPERM`` for a locked filter, ``ENOTSOCK``, …

    Since Linux 3.19.
    """
    check_type(program, ProgType.SOCKET_FILTER)
    target = f"socket {sock.fileno()}"
    return _attach(program, sock, SO_ATTACH_BPF, SocketLink, target)


def attach_reuseport(program: Program, sock: HasFileno) -> ReuseportLink:
    """Let *program* choose among the sockets that share a port; it replaces one that does.

    Args:
        program: Of type ``BPF_PROG_TYPE_SOCKET_FILTER``, which returns an index into the group in
            the order of bind(2), or ``BPF_PROG_TYPE_SK_REUSEPORT`` (Linux 4.19); may be closed
            afterwards.
        sock: Any socket of the group, with ``SO_REUSEPORT`` set; stays the caller's.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type.
        SyscallError: ``EINVAL``: the socket is not bound with ``SO_REUSEPORT``, …

    Since Linux 4.5.
    """
    check_type(program, ProgType.SOCKET_FILTER, ProgType.SK_REUSEPORT)
    target = f"the group of socket {sock.fileno()}"
    return _attach(program, sock, SO_ATTACH_REUSEPORT_EBPF, ReuseportLink, target)


_Kind = TypeVar("_Kind", bound=SocketLink)


def _attach(
    program: Program, sock: HasFileno, option: int, kind: type[_Kind], target: str
) -> _Kind:
    number = sock.fileno()
    with naming(f'attach program "{program.name}" to {target}'):
        given = struct.pack("=i", program.fileno())
        held = FD(duplicate(number))
        link = kind(held, target=target)
        try:
            kernel.current().setsockopt(number, SOL_SOCKET, option, given)
        except EbpfError:
            held.close()  # and leave the filter that is there alone
            raise
        except BaseException:  # Ctrl-C, maybe after the call had its effect
            link.close()
            raise
        return link
