"""Route sockets: one request to the kernel's networking, and its answer.

In: a request's type and body. Out: the messages that answer it, or a `NetlinkError` with the
kernel's own words. A socket belongs to the network namespace it was opened in and goes on asking
there; while it is open the namespace lives.
"""

from __future__ import annotations

import errno
import itertools
import struct
import sys

from pyebpf.errors import NetlinkError
from pyebpf.sys import kernel, netlink
from pyebpf.sys.fd import FD
from pyebpf.typed import NamedTuple
from pyebpf.uapi.net import XdpAttached, XdpFlag
from pyebpf.uapi.rtnetlink import (
    IfInfoMsg,
    IflaAttr,
    IflaXdpAttr,
    NetlinkFlag,
    NetlinkType,
    RtnetlinkType,
)

__all__ = ["RouteSocket", "XdpState", "set_xdp", "xdp_state"]

_NO_PROGRAM = -1


class RouteSocket:
    """A socket for requests in the caller's network namespace.

    One request at a time: not to be shared between threads.

    Args:
        fd: Its descriptor, owned from now on; ``None`` opens one.
    """

    def __init__(self, fd: FD | None = None) -> None:
        self.fd = fd if fd is not None else FD(kernel.current().route_socket())
        self._sequence = itertools.count(1)

    def request(self, kind: RtnetlinkType, body: bytes, flags: int = 0) -> list[netlink.Message]:
        """Ask for something, and wait until the kernel has done it.

        Args:
            kind: ``RTM_*``.
            body: The fixed part and the attributes.
            flags: ``NLM_F_*`` besides ``REQUEST`` and ``ACK``.

        Returns:
            What the kernel told, without the acknowledgement.

        Raises:
            NetlinkError: It refused; ``.extack`` is its explanation, if it gave one.
            PrivilegeError: ``EPERM``.
            SyscallError: The socket failed.
        """
        number = next(self._sequence)
        asked = int(NetlinkFlag.REQUEST | NetlinkFlag.ACK) | flags
        data = netlink.message(kind, asked, number, body)
        told = []
        for datagram in kernel.current().rtnetlink(self.fd.fileno(), data, number):
            for answer in netlink.messages(datagram):
                if answer.sequence != number:
                    continue
                error = netlink.failure(kind.c_name, answer)
                if error is not None:
                    raise error
                if answer.type not in (NetlinkType.ERROR, NetlinkType.DONE):
                    told.append(answer)
        return told

    def close(self) -> None:
        """Close the socket."""
        self.fd.close()

    def __enter__(self) -> RouteSocket:  # noqa: PYI034 - typing.Self is Python 3.11's
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class XdpState(NamedTuple):
    """Which XDP programs sit on an interface.

    Attributes:
        attached: How, as the kernel reports it.
        program_id: The only program's id, else 0.
        driver_id: That of the driver's hook, 0 without.
        generic_id: That of the generic hook, 0 without.
        hardware_id: That of the card, 0 without.
    """

    attached: XdpAttached
    program_id: int
    driver_id: int
    generic_id: int
    hardware_id: int


def set_xdp(
    socket: RouteSocket,
    ifindex: int,
    program_fd: int | None,
    flags: int,
    *,
    expected_fd: int | None = None,
) -> None:
    """Put a program on an interface's XDP hook, or take one off.

    Args:
        socket: Of the interface's network namespace.
        ifindex: The interface.
        program_fd: The program, ``None`` for none.
        flags: ``XDP_FLAGS_*``.
        expected_fd: Only if this program is there now (Linux 5.7); adds ``XDP_FLAGS_REPLACE``.

    Raises:
        NetlinkError: ``EBUSY``, ``EEXIST`` (another program is there), ``ENODEV``, …

    Since Linux 4.8.
    """
    fd = _NO_PROGRAM if program_fd is None else program_fd
    parts = [netlink.attribute(IflaXdpAttr.FD, struct.pack("=i", fd))]
    if expected_fd is not None:
        flags |= XdpFlag.REPLACE
        parts.append(netlink.attribute(IflaXdpAttr.EXPECTED_FD, struct.pack("=i", expected_fd)))
    if flags:
        parts.append(netlink.attribute(IflaXdpAttr.FLAGS, struct.pack("=I", flags)))
    body = netlink.fixed(IfInfoMsg(ifi_index=ifindex))
    body += netlink.attribute(IflaAttr.XDP, *parts, nested=True)
    socket.request(RtnetlinkType.SETLINK, body)


def xdp_state(socket: RouteSocket, ifindex: int) -> XdpState:
    """Ask which XDP programs sit on an interface.

    Raises:
        NetlinkError: ``ENODEV``: no such interface.

    Since Linux 4.8 (ids: 4.12).
    """
    answers = socket.request(RtnetlinkType.GETLINK, netlink.fixed(IfInfoMsg(ifi_index=ifindex)))
    for answer in answers:
        if answer.type == RtnetlinkType.NEWLINK:
            told = netlink.attributes(answer.body[IfInfoMsg.SIZE :])
            return _xdp_state(netlink.attributes(told.get(IflaAttr.XDP, b"")))
    raise NetlinkError("RTM_GETLINK", errno.ENODEV)


def _xdp_state(told: dict[int, bytes]) -> XdpState:
    how = told.get(IflaXdpAttr.ATTACHED, b"\0")
    ids = {
        kind: int.from_bytes(told.get(kind, b""), sys.byteorder)
        for kind in (
            IflaXdpAttr.PROG_ID,
            IflaXdpAttr.DRV_PROG_ID,
            IflaXdpAttr.SKB_PROG_ID,
            IflaXdpAttr.HW_PROG_ID,
        )
    }
    return XdpState(
        attached=XdpAttached(how[0] if how else 0),
        program_id=ids[IflaXdpAttr.PROG_ID],
        driver_id=ids[IflaXdpAttr.DRV_PROG_ID],
        generic_id=ids[IflaXdpAttr.SKB_PROG_ID],
        hardware_id=ids[IflaXdpAttr.HW_PROG_ID],
    )
