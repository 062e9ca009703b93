"""The clsact qdisc and its eBPF filters, by netlink: requests and answers, no policy.

    interface ── clsact (handle ffff:, parent ffff:fff1) ─┬─ ingress (parent ffff:fff2) ── filters
                                                          └─ egress  (parent ffff:fff3) ── filters

A filter has a priority (lower ones run first) and in it a handle; 0 lets the kernel choose.
"""

from __future__ import annotations

import errno
import struct
import sys

from pyebpf.errors import SyscallError
from pyebpf.sys import netlink
from pyebpf.sys.rtnetlink import RouteSocket
from pyebpf.typed import NamedTuple
from pyebpf.uapi.net import TcAction
from pyebpf.uapi.rtnetlink import (
    TC_H_CLSACT,
    TC_H_MIN_EGRESS,
    TC_H_MIN_INGRESS,
    NetlinkFlag,
    RtnetlinkType,
    TcaActAttr,
    TcaActBpfAttr,
    TcaAttr,
    TcaBpfAttr,
    TcaBpfFlag,
    TcActBpf,
    TcaMatchallAttr,
    TcMsg,
)

__all__ = [
    "Filter",
    "FilterAt",
    "add_action",
    "add_clsact",
    "add_filter",
    "delete_clsact",
    "delete_filter",
    "empty",
    "filters",
    "qdisc_kind",
]

_EVERY_PROTOCOL = 3  # ETH_P_ALL
_CLSACT_HANDLE = 0xFFFF0000


class FilterAt(NamedTuple):
    """Where a filter is.

    Attributes:
        ifindex: The interface.
        egress: Packets that leave, else those that arrive.
        priority: 1 to 65535; 0 lets the kernel choose.
        handle: Tells filters of one priority apart; 0 lets the kernel choose.
    """

    ifindex: int
    egress: bool
    priority: int = 0
    handle: int = 0


class Filter(NamedTuple):
    """An eBPF filter as the kernel describes it.

    Attributes:
        at: Where.
        program_id: 0 for one of another kind.
        name: What whoever attached it called it.
        direct: Its return value is the verdict.
        kind: ``"bpf"`` for a classifier, ``"matchall"`` for one of all packets whose action is a
            program.
    """

    at: FilterAt
    program_id: int
    name: str
    direct: bool
    kind: str = "bpf"


def add_clsact(socket: RouteSocket, ifindex: int) -> bool:
    """Give an interface the clsact qdisc; return whether it had none.

    Raises:
        NetlinkError: ``ENOENT``/``EOPNOTSUPP``: the kernel has no clsact; ``ENODEV``, …

    Since Linux 4.5.
    """
    body = _fixed(ifindex, _CLSACT_HANDLE, TC_H_CLSACT) + _kind("clsact")
    try:
        socket.request(RtnetlinkType.NEWQDISC, body, int(NetlinkFlag.CREATE | NetlinkFlag.EXCL))
    except SyscallError as error:
        # The older ingress qdisc has the same place, and only one of its two directions.
        if error.errno == errno.EEXIST and qdisc_kind(socket, ifindex) == "clsact":
            return False
        raise
    return True


def delete_clsact(socket: RouteSocket, ifindex: int, kind: str = "clsact") -> None:
    """Take the qdisc off, and all its filters with it.

    Args:
        socket: Of the interface's network namespace.
        ifindex: The interface.
        kind: ``"clsact"`` or ``"ingress"``.

    Raises:
        NetlinkError: ``ENOENT``/``EINVAL``: there is none.
    """
    body = _fixed(ifindex, _CLSACT_HANDLE, TC_H_CLSACT) + _kind(kind)
    socket.request(RtnetlinkType.DELQDISC, body)


def qdisc_kind(socket: RouteSocket, ifindex: int) -> str:
    """Return what sits in the place of the clsact qdisc: that, ``"ingress"``, or ``""``."""
    answers = socket.request(
        RtnetlinkType.GETQDISC, _fixed(0, 0, 0), int(NetlinkFlag.ROOT | NetlinkFlag.MATCH)
    )
    for answer in answers:
        if answer.type == RtnetlinkType.NEWQDISC and len(answer.body) >= TcMsg.SIZE:
            told = TcMsg.unpack(answer.body)
            if told.tcm_ifindex == ifindex and told.tcm_parent == TC_H_CLSACT:
                return _text(netlink.attributes(answer.body[TcMsg.SIZE :]), TcaAttr.KIND)
    return ""


def add_filter(
    socket: RouteSocket,
    at: FilterAt,
    program_fd: int,
    *,
    name: str,
    direct: bool = True,
    class_id: int = 0,
    replace: bool = False,
) -> FilterAt:
    """Attach a classifier.

    Args:
        socket: Of the interface's network namespace.
        at: Where.
        program_fd: The program.
        name: For people who list filters.
        direct: The program's return value is the verdict.
        class_id: Where packets go that the program returns -1 for, without *direct*; 0: nowhere.
        replace: A filter of that priority and handle is replaced; otherwise it is an error.

    Returns:
        Where it is, with priority and handle that the kernel chose.

    Raises:
        NetlinkError: ``EEXIST``, ``EINVAL`` without a clsact qdisc, …

    Since Linux 4.5.
    """
    options = [
        netlink.attribute(TcaBpfAttr.FD, struct.pack("=I", program_fd)),
        netlink.attribute(TcaBpfAttr.NAME, name.encode() + b"\0"),
    ]
    if direct:
        flags = struct.pack("=I", TcaBpfFlag.ACT_DIRECT)
        options.append(netlink.attribute(TcaBpfAttr.FLAGS, flags))
    if class_id:
        options.append(netlink.attribute(TcaBpfAttr.CLASSID, struct.pack("=I", class_id)))
    body = _at(at) + _kind("bpf") + netlink.attribute(TcaAttr.OPTIONS, *options, nested=True)
    return _add(socket, at, body, replace=replace)


def add_action(socket: RouteSocket, at: FilterAt, program_fd: int, *, name: str) -> FilterAt:
    """Attach a program as the action of a filter that matches all packets.

    Arguments and errors as for `add_filter`, and ``ENOENT``: the kernel has no such actions. The
    filter of a priority cannot be replaced, only removed.

    Since Linux 4.8 (``matchall``).
    """
    action = netlink.attribute(
        1,  # the first of up to 32
        netlink.attribute(TcaActAttr.KIND, b"bpf\0"),
        netlink.attribute(
            TcaActAttr.OPTIONS,
            netlink.attribute(
                TcaActBpfAttr.PARMS, netlink.fixed(TcActBpf(action=int(TcAction.PIPE)))
            ),
            netlink.attribute(TcaActBpfAttr.FD, struct.pack("=I", program_fd)),
            netlink.attribute(TcaActBpfAttr.NAME, name.encode() + b"\0"),
            nested=True,
        ),
        nested=True,
    )
    options = netlink.attribute(TcaMatchallAttr.ACT, action, nested=True)
    body = _at(at) + _kind("matchall")
    body += netlink.attribute(TcaAttr.OPTIONS, options, nested=True)
    made = _add(socket, at, body, replace=False)
    # A priority has one such filter, 1 unless asked otherwise, which the answer does not tell.
    return made if made.handle else made._replace(handle=at.handle or 1)


def delete_filter(socket: RouteSocket, at: FilterAt, kind: str = "bpf") -> None:
    """Take one filter off.

    Raises:
        NetlinkError: ``ENOENT``, ``EINVAL``, ``ENODEV``: it is not there.
    """
    socket.request(RtnetlinkType.DELTFILTER, _at(at) + _kind(kind))


def filters(socket: RouteSocket, ifindex: int, *, egress: bool) -> list[Filter]:
    """List the eBPF filters of one direction, in the order they run.

    Raises:
        NetlinkError: ``ENODEV``; a missing clsact qdisc is an empty list or ``EINVAL``.
    """
    body = netlink.fixed(TcMsg(tcm_ifindex=ifindex, tcm_parent=_parent(egress=egress)))
    flags = int(NetlinkFlag.ROOT | NetlinkFlag.MATCH)
    found = []
    for answer in socket.request(RtnetlinkType.GETTFILTER, body, flags):
        each = _filter(answer)
        # One with handle 0 heads a priority and is none itself.
        if each is not None and each.at.handle and each.at.ifindex == ifindex:
            found.append(each)
    return found


def empty(socket: RouteSocket, ifindex: int) -> bool:
    """Whether no filter of any kind hangs on the clsact qdisc, in either direction."""
    flags = int(NetlinkFlag.ROOT | NetlinkFlag.MATCH)
    for egress in (False, True):
        body = netlink.fixed(TcMsg(tcm_ifindex=ifindex, tcm_parent=_parent(egress=egress)))
        for answer in socket.request(RtnetlinkType.GETTFILTER, body, flags):
            if answer.type == RtnetlinkType.NEWTFILTER:
                return False
    return True


def _add(socket: RouteSocket, at: FilterAt, body: bytes, *, replace: bool) -> FilterAt:
    wanted = NetlinkFlag.CREATE | NetlinkFlag.ECHO
    wanted |= NetlinkFlag.REPLACE if replace else NetlinkFlag.EXCL
    for answer in socket.request(RtnetlinkType.NEWTFILTER, body, int(wanted)):
        if answer.type == RtnetlinkType.NEWTFILTER and len(answer.body) >= TcMsg.SIZE:
            return _place(answer)
    return at


def _place(answer: netlink.Message) -> FilterAt:
    told = TcMsg.unpack(answer.body)
    egress = told.tcm_parent == _parent(egress=True)
    return FilterAt(told.tcm_ifindex, egress, told.tcm_info >> 16, told.tcm_handle)


def _filter(answer: netlink.Message) -> Filter | None:
    if answer.type != RtnetlinkType.NEWTFILTER or len(answer.body) < TcMsg.SIZE:
        return None
    parts = netlink.attributes(answer.body[TcMsg.SIZE :])
    kind = _text(parts, TcaAttr.KIND)
    options = netlink.attributes(parts.get(TcaAttr.OPTIONS, b""))
    at = _place(answer)
    if kind == "matchall":
        return _with_action(at, options)
    if kind != "bpf":
        return None
    return Filter(
        at,
        int.from_bytes(options.get(TcaBpfAttr.ID, b""), sys.byteorder),
        _text(options, TcaBpfAttr.NAME),
        bool(
            int.from_bytes(options.get(TcaBpfAttr.FLAGS, b""), sys.byteorder)
            & TcaBpfFlag.ACT_DIRECT
        ),
    )


def _with_action(at: FilterAt, options: dict[int, bytes]) -> Filter | None:
    actions = netlink.attributes(options.get(TcaMatchallAttr.ACT, b""))
    for action in actions.values():
        parts = netlink.attributes(action)
        if _text(parts, TcaActAttr.KIND) == "bpf":
            told = netlink.attributes(parts.get(TcaActAttr.OPTIONS, b""))
            program_id = int.from_bytes(told.get(TcaActBpfAttr.ID, b""), sys.byteorder)
            name = _text(told, TcaActBpfAttr.NAME)
            return Filter(at, program_id, name, direct=False, kind="matchall")
    return None


def _at(at: FilterAt) -> bytes:
    protocol = int.from_bytes(_EVERY_PROTOCOL.to_bytes(2, "big"), sys.byteorder)
    return netlink.fixed(
        TcMsg(
            tcm_ifindex=at.ifindex,
            tcm_handle=at.handle,
            tcm_parent=_parent(egress=at.egress),
            tcm_info=at.priority << 16 | protocol,
        )
    )


def _fixed(ifindex: int, handle: int, parent: int) -> bytes:
    return netlink.fixed(TcMsg(tcm_ifindex=ifindex, tcm_handle=handle, tcm_parent=parent))


def _parent(*, egress: bool) -> int:
    return _CLSACT_HANDLE | (TC_H_MIN_EGRESS if egress else TC_H_MIN_INGRESS)


def _kind(name: str) -> bytes:
    return netlink.attribute(TcaAttr.KIND, name.encode() + b"\0")


def _text(parts: dict[int, bytes], kind: int) -> str:
    return parts.get(kind, b"").partition(b"\0")[0].decode(errors="replace")
