"""Route sockets: a netlink request in, the datagrams that answer it out.

RTM_GETLINK RTM_SETLINK             which XDP programs an interface has   here
RTM_{NEW,DEL,GET}{QDISC,TFILTER}    clsact and its filters                `pyebpf.testing.clsact`
"""

from __future__ import annotations

import errno
import struct
import sys

from pyebpf.errors import FormatError
from pyebpf.sys import netlink
from pyebpf.testing import clsact, xdp
from pyebpf.testing.attachments import Attachment
from pyebpf.testing.clsact import Told
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.typed import ClassVar
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.net import XdpAttached, XdpFlag
from pyebpf.uapi.rtnetlink import (
    IfInfoMsg,
    IflaAttr,
    IflaXdpAttr,
    NetlinkFlag,
    NetlinkType,
    NlmsgerrAttr,
    NlMsgHdr,
    RtnetlinkType,
)

__all__ = ["RouteSocket", "answer"]

_DUMP = NetlinkFlag.ROOT | NetlinkFlag.MATCH
_XDP_FLAGS = xdp.MODES | XdpFlag.UPDATE_IF_NOEXIST | XdpFlag.REPLACE
# How a mode is told, and where its program's id stands.
_MODES = {
    XdpFlag.DRV_MODE: (XdpAttached.DRV, IflaXdpAttr.DRV_PROG_ID),
    XdpFlag.SKB_MODE: (XdpAttached.SKB, IflaXdpAttr.SKB_PROG_ID),
}
_NEW_OR_DELETED = frozenset({RtnetlinkType.NEWQDISC, RtnetlinkType.DELQDISC})
_FILTER_CHANGES = frozenset({RtnetlinkType.NEWTFILTER, RtnetlinkType.DELTFILTER})


class RouteSocket:
    """What a route socket's descriptor stands for; requests are answered at once."""

    FILE_NAME: ClassVar[str] = "socket:[1]"


def answer(system: System, request: bytes) -> list[bytes]:
    """Answer one message as rtnetlink does: netlink_rcv_skb, netlink_ack.

    Raises:
        NotImplementedError: It is none of those above; it is named.
    """
    try:
        (asked,) = netlink.messages(request)
    except (FormatError, ValueError):
        raise Refused(errno.EINVAL) from None
    kind = RtnetlinkType(asked.type)
    try:
        told = _told(system, kind, asked.flags, asked.body)
    except Refused as refused:
        return [_error(request, asked.sequence, refused.number, refused.detail)]
    except FormatError:
        return [_error(request, asked.sequence, errno.EINVAL, "")]
    dumped = asked.flags & _DUMP == _DUMP and kind.name.startswith("GET")
    flags = int(NetlinkFlag.MULTI) if dumped else 0
    datagrams = [netlink.message(kind, flags, asked.sequence, body) for kind, body in told]
    if dumped:
        done = netlink.message(NetlinkType.DONE, flags, asked.sequence, bytes(4))
        return [*datagrams, done]
    if asked.flags & NetlinkFlag.ACK:
        datagrams.append(_error(request, asked.sequence, 0, ""))
    return datagrams


def _told(system: System, kind: RtnetlinkType, flags: int, body: bytes) -> Told:
    if kind == RtnetlinkType.GETLINK:
        return _link(system, body)
    if kind == RtnetlinkType.SETLINK:
        return _set_link(system, body)
    if kind in _NEW_OR_DELETED:
        return clsact.change_qdisc(system, kind, flags, body)
    if kind in _FILTER_CHANGES:
        return clsact.change_filter(system, kind, flags, body)
    if kind == RtnetlinkType.GETQDISC:
        return clsact.qdiscs(system, body)
    if kind == RtnetlinkType.GETTFILTER:
        return clsact.filters(system, body)
    raise NotImplementedError(f"netlink: {kind}")


def _error(request: bytes, sequence: int, number: int, reason: str) -> bytes:
    header = request[: NlMsgHdr.SIZE]
    body, flags = struct.pack("=i", -number), int(NetlinkFlag.CAPPED)
    body += header
    if reason:
        body += netlink.attribute(NlmsgerrAttr.MSG, reason.encode() + b"\0")
        flags |= int(NetlinkFlag.ACK_TLVS)
    return netlink.message(NetlinkType.ERROR, flags, sequence, body)


# rtnl_getlink, rtnl_xdp_fill
def _link(system: System, body: bytes) -> Told:
    index, _ = _interface(system, body)
    (name,) = (each for each, number in system.interfaces.items() if number == index)
    there = xdp.hook_of(system, index).attachments
    how, place = XdpAttached.NONE, None
    if there:
        how, place = _MODES[XdpFlag(there[0].flags)]
    parts = [netlink.attribute(IflaXdpAttr.ATTACHED, bytes([how]))]
    if place is not None:
        number = struct.pack("=I", there[0].program.id)
        parts += [netlink.attribute(place, number), netlink.attribute(IflaXdpAttr.PROG_ID, number)]
    data = netlink.fixed(IfInfoMsg(ifi_index=index))
    data += netlink.attribute(IflaAttr.IFNAME, name.encode() + b"\0")
    data += netlink.attribute(IflaAttr.XDP, *parts, nested=True)
    return [(RtnetlinkType.NEWLINK, data)]


# do_setlink, as far as it is about XDP
def _set_link(system: System, body: bytes) -> Told:
    index, parts = _interface(system, body)
    if set(parts) - {IflaAttr.XDP}:
        raise NotImplementedError("netlink: RTM_SETLINK of something else than XDP programs")
    given = netlink.attributes(parts.get(IflaAttr.XDP, b""))
    flags = int.from_bytes(given.get(IflaXdpAttr.FLAGS, b""), sys.byteorder)
    modes = int(XdpFlag(flags) & xdp.MODES).bit_count()
    if flags & ~int(_XDP_FLAGS) or modes > 1 or IflaXdpAttr.ATTACHED in given:
        raise Refused(errno.EINVAL)
    fd = given.get(IflaXdpAttr.FD)
    if fd is None:
        return []
    expected = None
    if flags & XdpFlag.REPLACE:
        if IflaXdpAttr.EXPECTED_FD not in given:
            raise Refused(errno.EINVAL)
        expected = _program(system, given[IflaXdpAttr.EXPECTED_FD])
    program = _program(system, fd)
    if program is None:
        xdp.detach(system, index, flags, expected)
    else:
        new = Attachment(program=program, flags=flags)
        xdp.attach(system, index, new, by_link=False, expected=expected)
    return []


# A negative number is none.
def _program(system: System, given: bytes) -> ProgramObject | None:
    number = int.from_bytes(given, sys.byteorder, signed=True)
    if number < 0:
        return None
    program = program_of(system, number)
    if program.type != ProgType.XDP:
        raise Refused(errno.EINVAL)
    return program


def _interface(system: System, body: bytes) -> tuple[int, dict[int, bytes]]:
    if len(body) < IfInfoMsg.SIZE:
        raise Refused(errno.EINVAL)
    index = IfInfoMsg.unpack(body[: IfInfoMsg.SIZE]).ifi_index
    parts = netlink.attributes(body[IfInfoMsg.SIZE :])
    if index not in system.interfaces.values():
        raise Refused(errno.ENODEV)
    return index, parts
