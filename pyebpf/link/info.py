"""Asking the kernel about a link: ``struct bpf_link_info`` into the class for its kind.

The kernel answers by kind: the first call learns which one it is, a second one asks with room for
names and arrays. Buffers have the largest size a name can have, so nothing comes back cut.
"""

from __future__ import annotations

import array
from collections.abc import Callable

from pyebpf.link.details import LinkDetails, OtherDetails
from pyebpf.link.kinds import (
    CgroupDetails,
    EventDetails,
    IterDetails,
    KprobeDetails,
    KprobeMultiDetails,
    NetfilterDetails,
    NetkitDetails,
    NetnsDetails,
    RawTracepointDetails,
    SockmapDetails,
    StructOpsDetails,
    TcxDetails,
    TracepointDetails,
    TracingDetails,
    UprobeDetails,
    UprobeMultiDetails,
    XdpDetails,
)
from pyebpf.sys import bpf
from pyebpf.typed import TypedDict, TypeVar
from pyebpf.uapi import info as raw
from pyebpf.uapi.bpf import AttachType, CgroupIterOrder, LinkType, PerfEventType
from pyebpf.uapi.cstruct import CStruct
from pyebpf.uapi.per_hook import KprobeMultiFlag, NetfilterFlag, UprobeMultiFlag

__all__ = ["link_details"]

_NAME_SIZE = 512  # KSYM_NAME_LEN; names of tracepoints and iterators are shorter
_PATH_SIZE = 4096  # PATH_MAX

_Raw = TypeVar("_Raw", bound=CStruct)


class _Head(TypedDict):
    id: int
    type: LinkType
    program_id: int


def link_details(fd: int) -> LinkDetails:
    """Ask the kernel about the link behind *fd*.

    Raises:
        SyscallError: *fd* is not a link's.

    Since Linux 5.8.
    """
    first = _ask(fd, raw.LinkInfo())
    head = _Head(id=first.id, type=LinkType(first.type), program_id=first.prog_id)
    reader = _READERS.get(head["type"])
    return reader(fd, head) if reader is not None else OtherDetails(**head)


def _raw_tracepoint(fd: int, head: _Head) -> LinkDetails:
    name = bytearray(_NAME_SIZE)
    told = _ask(fd, raw.LinkInfoRawTracepoint(tp_name=name, tp_name_len=len(name)))
    return RawTracepointDetails(**head, name=_text(name), cookie=told.cookie)


def _tracing(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoTracing())
    return TracingDetails(
        **head,
        attach_type=AttachType(told.attach_type),
        target_object_id=told.target_obj_id,
        target_btf_id=told.target_btf_id,
        cookie=told.cookie,
    )


def _cgroup(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoCgroup())
    return CgroupDetails(**head, cgroup_id=told.cgroup_id, attach_type=AttachType(told.attach_type))


def _iter(fd: int, head: _Head) -> LinkDetails:
    name = bytearray(_NAME_SIZE)
    told = _ask(fd, raw.LinkInfoIter(target_name=name, target_name_len=len(name)))
    target = _text(name)
    cgroup_id, order, tid, pid = 0, None, 0, 0
    # The kernel fills in the part that belongs to the target; the others share its place.
    if target == "cgroup":
        walked = _ask(fd, raw.LinkInfoIterCgroup())
        cgroup_id, order = walked.cgroup_id, CgroupIterOrder(walked.order)
    elif target.startswith("task"):
        tasks = _ask(fd, raw.LinkInfoIterTask())
        tid, pid = tasks.tid, tasks.pid
    return IterDetails(
        **head,
        target=target,
        map_id=told.map_id if target in _OVER_MAPS else 0,
        cgroup_id=cgroup_id,
        order=order,
        tid=tid,
        pid=pid,
    )


_OVER_MAPS = ("bpf_map_elem", "bpf_sk_storage_map")


def _netns(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoNetns())
    return NetnsDetails(
        **head, netns_inode=told.netns_ino, attach_type=AttachType(told.attach_type)
    )


def _xdp(fd: int, head: _Head) -> LinkDetails:
    return XdpDetails(**head, ifindex=_ask(fd, raw.LinkInfoXdp()).ifindex)


def _tcx(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoTcx())
    return TcxDetails(**head, ifindex=told.ifindex, attach_type=AttachType(told.attach_type))


def _netkit(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoNetkit())
    return NetkitDetails(**head, ifindex=told.ifindex, attach_type=AttachType(told.attach_type))


def _struct_ops(fd: int, head: _Head) -> LinkDetails:
    return StructOpsDetails(**head, map_id=_ask(fd, raw.LinkInfoStructOps()).map_id)


def _sockmap(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoSockmap())
    return SockmapDetails(**head, map_id=told.map_id, attach_type=AttachType(told.attach_type))


def _netfilter(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoNetfilter())
    return NetfilterDetails(
        **head,
        family=told.pf,
        hook=told.hooknum,
        priority=told.priority,
        flags=NetfilterFlag(told.flags),
    )


def _kprobe_multi(fd: int, head: _Head) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoKprobeMulti())
    addresses, cookies = array.array("Q"), array.array("Q")
    if told.count:
        addresses, cookies = (array.array("Q", bytes(8 * told.count)) for _ in range(2))
        # In one call: a count without addresses is EINVAL. Before Linux 6.9 cookies stay zero.
        told = _ask(fd, raw.LinkInfoKprobeMulti(addrs=addresses, cookies=cookies, count=told.count))
    return KprobeMultiDetails(
        **head,
        addresses=tuple(addresses) if any(addresses) else (),
        cookies=tuple(cookies) if any(cookies) else (),
        count=told.count,
        flags=KprobeMultiFlag(told.flags),
        missed=told.missed,
    )


def _uprobe_multi(fd: int, head: _Head) -> LinkDetails:
    count = _ask(fd, raw.LinkInfoUprobeMulti()).count
    path = bytearray(_PATH_SIZE)
    arrays = [array.array("Q", bytes(8 * count)) for _ in range(3)]
    told = raw.LinkInfoUprobeMulti(path=path, path_size=len(path), count=count)
    if count:
        told.offsets, told.ref_ctr_offsets, told.cookies = arrays
    _ask(fd, told)
    return UprobeMultiDetails(
        **head,
        path=_text(path),
        offsets=tuple(arrays[0]),
        reference_counters=tuple(arrays[1]) if any(arrays[1]) else (),
        cookies=tuple(arrays[2]) if any(arrays[2]) else (),
        flags=UprobeMultiFlag(told.flags),
        pid=told.pid,
    )


def _perf_event(fd: int, head: _Head) -> LinkDetails:
    kind = PerfEventType(_ask(fd, raw.LinkInfoPerfEvent()).perf_event_type)
    reader = _EVENT_READERS.get(kind)
    return reader(fd, head, kind) if reader is not None else OtherDetails(**head)


def _uprobe(fd: int, head: _Head, kind: PerfEventType) -> LinkDetails:
    path = bytearray(_PATH_SIZE)
    told = _ask(fd, raw.LinkInfoUprobe(file_name=path, name_len=len(path)))
    return UprobeDetails(
        **head,
        path=_text(path),
        offset=told.offset,
        retprobe=kind == PerfEventType.URETPROBE,
        cookie=told.cookie,
        reference_counter=told.ref_ctr_offset,
    )


def _kprobe(fd: int, head: _Head, kind: PerfEventType) -> LinkDetails:
    name = bytearray(_NAME_SIZE)
    told = _ask(fd, raw.LinkInfoKprobe(func_name=name, name_len=len(name)))
    return KprobeDetails(
        **head,
        function=_text(name),
        offset=told.offset,
        address=told.addr,
        retprobe=kind == PerfEventType.KRETPROBE,
        missed=told.missed,
        cookie=told.cookie,
    )


def _tracepoint(fd: int, head: _Head, kind: PerfEventType) -> LinkDetails:
    name = bytearray(_NAME_SIZE)
    told = _ask(fd, raw.LinkInfoTracepoint(tp_name=name, name_len=len(name)))
    return TracepointDetails(**head, name=_text(name), cookie=told.cookie)


def _event(fd: int, head: _Head, kind: PerfEventType) -> LinkDetails:
    told = _ask(fd, raw.LinkInfoEvent())
    return EventDetails(**head, event_type=told.event_type, config=told.config, cookie=told.cookie)


def _ask(fd: int, info: _Raw) -> _Raw:
    bpf.obj_get_info_by_fd(fd, info)
    return info


def _text(buffer: bytearray) -> str:
    return bytes(buffer).partition(b"\0")[0].decode(errors="surrogateescape")


_EVENT_READERS: dict[int, Callable[[int, _Head, PerfEventType], LinkDetails]] = {
    PerfEventType.UPROBE: _uprobe,
    PerfEventType.URETPROBE: _uprobe,
    PerfEventType.KPROBE: _kprobe,
    PerfEventType.KRETPROBE: _kprobe,
    PerfEventType.TRACEPOINT: _tracepoint,
    PerfEventType.EVENT: _event,
}

_READERS: dict[int, Callable[[int, _Head], LinkDetails]] = {
    LinkType.RAW_TRACEPOINT: _raw_tracepoint,
    LinkType.TRACING: _tracing,
    LinkType.CGROUP: _cgroup,
    LinkType.ITER: _iter,
    LinkType.NETNS: _netns,
    LinkType.XDP: _xdp,
    LinkType.PERF_EVENT: _perf_event,
    LinkType.KPROBE_MULTI: _kprobe_multi,
    LinkType.STRUCT_OPS: _struct_ops,
    LinkType.NETFILTER: _netfilter,
    LinkType.TCX: _tcx,
    LinkType.UPROBE_MULTI: _uprobe_multi,
    LinkType.NETKIT: _netkit,
    LinkType.SOCKMAP: _sockmap,
}
