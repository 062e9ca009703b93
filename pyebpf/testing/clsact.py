"""The clsact qdisc of interfaces, and the filters on it: RTM_*QDISC and RTM_*TFILTER.

interface ── qdisc "clsact" ─┬─ hook tc/INDEX/ingress ── filters by priority, newest first
└─ hook tc/INDEX/egress
"""

from __future__ import annotations

import errno
import struct
import sys
from dataclasses import dataclass

from pyebpf.sys import netlink
from pyebpf.testing.attachments import Attachment, Hook
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.bpf import ProgType
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
    TcaMatchallAttr,
    TcMsg,
)

__all__ = ["Filter", "Told", "change_filter", "change_qdisc", "filters", "qdiscs"]

Told = list[tuple[RtnetlinkType, bytes]]
"""Messages: their types and bodies."""

_HANDLE = 0xFFFF0000
_KINDS = ("clsact", "ingress")
# tcf_auto_prio
_CHOSEN, _FIRST_CHOSEN = 0x8000, 0xC000


@dataclass(eq=False, kw_only=True)
class Filter(Attachment):
    """A filter; its program is the classifier itself, or the action of one of all packets.

    Attributes:
        kind: ``"bpf"`` or ``"matchall"``.
        handle: Tells it from others of its priority.
        protocol: Of the packets, as the request had it.
        name: What whoever attached it called it.
        direct: What the program returns is the verdict.
        class_id: Where packets go otherwise.
    """

    kind: str
    handle: int
    protocol: int
    name: bytes = b""
    direct: bool = False
    class_id: int = 0


# --- the qdisc


# tc_modify_qdisc, tc_get_qdisc
def change_qdisc(system: System, kind: RtnetlinkType, flags: int, body: bytes) -> Told:
    """RTM_NEWQDISC, RTM_DELQDISC.

    Raises:
        Refused: As the kernel does, with its reason.
    """
    about, parts = _parsed(body)
    name = _text(parts, TcaAttr.KIND)
    index = about.tcm_ifindex
    if index not in system.interfaces.values():
        raise Refused(errno.ENODEV)
    if about.tcm_parent != TC_H_CLSACT or (name and name not in _KINDS):
        raise NotImplementedError(f"netlink: {kind} of another qdisc than clsact and ingress")
    there = system.qdiscs.get(index)
    if kind == RtnetlinkType.DELQDISC:
        if there is None:
            raise Refused(errno.ENOENT, "Cannot find specified qdisc on specified device")
        if about.tcm_handle and (not there or about.tcm_handle != _HANDLE):
            raise Refused(errno.EINVAL, "Invalid handle")
        if name and name != there:
            raise Refused(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")
        for hook in _hooks(system, index):
            hook.clear()
        system.qdiscs[index] = ""
        return []
    if there:
        if about.tcm_handle and about.tcm_handle != _HANDLE:
            raise Refused(errno.EEXIST, "NLM_F_REPLACE needed to override")
        if flags & NetlinkFlag.EXCL:
            raise Refused(errno.EEXIST, "Exclusivity flag on, cannot modify")
        if name != there:
            raise Refused(errno.EINVAL, "Invalid qdisc name")
        return []
    if not flags & NetlinkFlag.CREATE:
        raise Refused(errno.ENOENT, "Qdisc not found. To create specify NLM_F_CREATE flag")
    system.qdiscs[index] = name
    return []


def qdiscs(system: System, body: bytes) -> Told:
    """RTM_GETQDISC: all of them."""
    found = [
        (index, name)
        for index, name in system.qdiscs.items()
        if name and index in system.interfaces.values()
    ]
    return [
        (
            RtnetlinkType.NEWQDISC,
            netlink.fixed(TcMsg(tcm_ifindex=index, tcm_handle=_HANDLE, tcm_parent=TC_H_CLSACT))
            + netlink.attribute(TcaAttr.KIND, name.encode() + b"\0"),
        )
        for index, name in sorted(found)
    ]


# --- filters


def change_filter(system: System, kind: RtnetlinkType, flags: int, body: bytes) -> Told:
    """RTM_NEWTFILTER, RTM_DELTFILTER; errors as for `change_qdisc`."""
    about, parts = _parsed(body)
    hook = _hook(system, about)
    if hook is None:
        raise Refused(errno.EINVAL, "Parent Qdisc doesn't exists")
    if kind == RtnetlinkType.DELTFILTER:
        _delete(hook, about, _text(parts, TcaAttr.KIND))
        return []
    made = _add(system, hook, about, parts, flags)
    return [_message(about, made)] if flags & NetlinkFlag.ECHO else []


def filters(system: System, body: bytes) -> Told:
    """RTM_GETTFILTER: all of one direction of an interface."""
    about, _ = _parsed(body)
    if about.tcm_ifindex not in system.interfaces.values():
        return []
    hook = _hook(system, about)
    found = hook.attachments if hook is not None else []
    return [_message(about, each) for each in found if isinstance(each, Filter)]


# tc_new_tfilter
def _add(system: System, hook: Hook, about: TcMsg, parts: dict[int, bytes], flags: int) -> Filter:
    priority, protocol = about.tcm_info >> 16, about.tcm_info & 0xFFFF
    kind = _text(parts, TcaAttr.KIND)
    creates = bool(flags & NetlinkFlag.CREATE)
    if not priority:
        if not creates:
            raise Refused(errno.ENOENT, "Invalid filter command with priority of zero")
        chosen = [each.priority for each in hook.attachments if each.priority >= _CHOSEN]
        priority = min(chosen, default=_FIRST_CHOSEN + 1) - 1
    beside = _of_priority(hook, priority)
    if beside and beside[0].protocol != protocol:
        raise Refused(errno.EINVAL, "Filter with specified priority/protocol not found")
    if not beside and (not kind or not protocol):
        raise Refused(errno.EINVAL, "Filter kind and protocol must be specified")
    if not beside and not creates:
        raise Refused(
            errno.ENOENT, "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter"
        )
    if beside and kind and kind != beside[0].kind:
        raise Refused(errno.EINVAL, "Specified filter kind does not match existing one")
    old = next((each for each in beside if each.handle == about.tcm_handle), None)
    if old is not None and flags & NetlinkFlag.EXCL:
        raise Refused(errno.EEXIST, "Filter already exists")
    if old is None and not creates:
        raise Refused(errno.ENOENT)
    if beside and kind == "matchall":
        raise Refused(errno.EEXIST)
    made = _made(system, kind, netlink.attributes(parts.get(TcaAttr.OPTIONS, b"")))
    made.priority, made.protocol = priority, protocol
    used = {each.handle for each in beside}
    free = next(number for number in range(1, len(used) + 2) if number not in used)
    made.handle = about.tcm_handle or free
    if old is not None:
        index = hook.attachments.index(old)
        hook.remove(old)
    else:
        index = sum(1 for each in hook.attachments if each.priority < priority)
    hook.put(made, index)
    return made


# cls_bpf_change, mall_change with tcf_bpf_init
def _made(system: System, kind: str, options: dict[int, bytes]) -> Filter:
    if kind == "bpf":
        flags = _number(options, TcaBpfAttr.FLAGS)
        if flags & ~int(TcaBpfFlag.ACT_DIRECT) or TcaBpfAttr.FD not in options:
            raise Refused(errno.EINVAL)
        return Filter(
            program=_program(system, _number(options, TcaBpfAttr.FD), ProgType.SCHED_CLS),
            kind=kind,
            handle=0,
            protocol=0,
            name=options.get(TcaBpfAttr.NAME, b""),
            direct=bool(flags),
            class_id=_number(options, TcaBpfAttr.CLASSID),
        )
    if kind == "matchall":
        actions = netlink.attributes(options.get(TcaMatchallAttr.ACT, b""))
        for action in actions.values():
            parts = netlink.attributes(action)
            if _text(parts, TcaActAttr.KIND) == "bpf":
                given = netlink.attributes(parts.get(TcaActAttr.OPTIONS, b""))
                fd = _number(given, TcaActBpfAttr.FD)
                return Filter(
                    program=_program(system, fd, ProgType.SCHED_ACT),
                    kind=kind,
                    handle=0,
                    protocol=0,
                    name=given.get(TcaActBpfAttr.NAME, b""),
                )
    raise NotImplementedError(f"netlink: a filter of kind {kind!r} without a program")


# tc_del_tfilter
def _delete(hook: Hook, about: TcMsg, kind: str) -> None:
    priority = about.tcm_info >> 16
    if not priority:
        if about.tcm_info or about.tcm_handle or kind:
            reason = "Cannot flush filters with protocol, handle or kind set"
            raise Refused(errno.ENOENT, reason)
        hook.clear()
        return
    if not hook.attachments:
        raise Refused(errno.ENOENT, "Cannot find specified filter chain")
    found = _of_priority(hook, priority)
    if not found or found[0].protocol != about.tcm_info & 0xFFFF:
        raise Refused(errno.ENOENT, "Filter with specified priority/protocol not found")
    if kind and kind != found[0].kind:
        raise Refused(errno.EINVAL, "Specified filter kind does not match existing one")
    if about.tcm_handle:
        found = [each for each in found if each.handle == about.tcm_handle]
        if not found:
            raise Refused(errno.ENOENT, "Specified filter handle not found")
    for each in found:
        hook.remove(each)


# __tcf_qdisc_find; None: there is no qdisc.
def _hook(system: System, about: TcMsg) -> Hook | None:
    index, place = about.tcm_ifindex, about.tcm_parent & 0xFFFF
    if index not in system.interfaces.values():
        raise Refused(errno.ENODEV)
    kind = system.qdiscs.get(index)
    if about.tcm_parent & 0xFFFF0000 != _HANDLE:
        raise NotImplementedError("netlink: filters of another qdisc than clsact and ingress")
    if not kind or place not in (TC_H_MIN_INGRESS, TC_H_MIN_EGRESS):
        return None
    # The older one has one direction, whichever is asked for.
    ingress, egress = _hooks(system, index)
    return egress if place == TC_H_MIN_EGRESS and kind == "clsact" else ingress


def _hooks(system: System, index: int) -> tuple[Hook, Hook]:
    return system.hook(f"tc/{index}/ingress"), system.hook(f"tc/{index}/egress")


def _of_priority(hook: Hook, priority: int) -> list[Filter]:
    return [
        each for each in hook.attachments if isinstance(each, Filter) and each.priority == priority
    ]


def _program(system: System, fd: int, kind: ProgType) -> ProgramObject:
    program = program_of(system, fd)
    if program.type != kind:
        raise Refused(errno.EINVAL)
    return program


# tcf_fill_node
def _message(about: TcMsg, what: Filter) -> tuple[RtnetlinkType, bytes]:
    head = TcMsg(
        tcm_ifindex=about.tcm_ifindex,
        tcm_handle=what.handle,
        tcm_parent=about.tcm_parent,
        tcm_info=what.priority << 16 | what.protocol,
    )
    program_id = struct.pack("=I", what.program.id)
    if what.kind == "bpf":
        options = [netlink.attribute(TcaBpfAttr.NAME, what.name)]
        if what.class_id:
            options.append(netlink.attribute(TcaBpfAttr.CLASSID, struct.pack("=I", what.class_id)))
        options.append(netlink.attribute(TcaBpfAttr.ID, program_id))
        options.append(netlink.attribute(TcaBpfAttr.TAG, what.program.tag))
        flags = int(TcaBpfFlag.ACT_DIRECT) if what.direct else 0
        options.append(netlink.attribute(TcaBpfAttr.FLAGS, struct.pack("=I", flags)))
    else:
        action = netlink.attribute(
            1,
            netlink.attribute(TcaActAttr.KIND, b"bpf\0"),
            netlink.attribute(
                TcaActAttr.OPTIONS,
                netlink.attribute(TcaActBpfAttr.NAME, what.name),
                netlink.attribute(TcaActBpfAttr.ID, program_id),
                nested=True,
            ),
            nested=True,
        )
        options = [netlink.attribute(TcaMatchallAttr.ACT, action, nested=True)]
    body = netlink.fixed(head)
    body += netlink.attribute(TcaAttr.KIND, what.kind.encode() + b"\0")
    return RtnetlinkType.NEWTFILTER, body + netlink.attribute(
        TcaAttr.OPTIONS, *options, nested=True
    )


def _parsed(body: bytes) -> tuple[TcMsg, dict[int, bytes]]:
    if len(body) < TcMsg.SIZE:
        raise Refused(errno.EINVAL)
    return TcMsg.unpack(body[: TcMsg.SIZE]), netlink.attributes(body[TcMsg.SIZE :])


def _text(parts: dict[int, bytes], kind: int) -> str:
    return parts.get(kind, b"").partition(b"\0")[0].decode(errors="replace")


def _number(parts: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(parts.get(kind, b""), sys.byteorder)
