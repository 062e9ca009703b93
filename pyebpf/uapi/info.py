"""What ``OBJ_GET_INFO_BY_FD`` tells about a program, map, BTF blob, link or token.

All are in/out: ask once to learn the counts and lengths, then again with buffers for the arrays
that are wanted and zero for all others. A kernel older than a field leaves it zero; one that is
newer than us fills only what we gave room for.

    LinkInfo    0     4   8        16
                |type |id |prog_id |  by type: LinkInfoTracing, LinkInfoCgroup, ... each of which
                                      has the first three as well
"""

from __future__ import annotations

from pyebpf.uapi.cstruct import (
    CStruct,
    Pointer,
    bits,
    c_struct,
    chars,
    octets,
    pointer,
    s32,
    u32,
    u64,
)

__all__ = [
    "BtfInfo",
    "LinkInfo",
    "LinkInfoCgroup",
    "LinkInfoEvent",
    "LinkInfoIter",
    "LinkInfoIterCgroup",
    "LinkInfoIterTask",
    "LinkInfoKprobe",
    "LinkInfoKprobeMulti",
    "LinkInfoNetfilter",
    "LinkInfoNetkit",
    "LinkInfoNetns",
    "LinkInfoPerfEvent",
    "LinkInfoRawTracepoint",
    "LinkInfoSockmap",
    "LinkInfoStructOps",
    "LinkInfoTcx",
    "LinkInfoTracepoint",
    "LinkInfoTracing",
    "LinkInfoTracingMulti",
    "LinkInfoUprobe",
    "LinkInfoUprobeMulti",
    "LinkInfoXdp",
    "MapInfo",
    "ProgInfo",
    "TokenInfo",
]


@c_struct("bpf_prog_info")
class ProgInfo(CStruct):
    """About a program; ``load_time`` is ns since boot, ``run_time_ns`` counts with stats on."""

    type: int = u32()
    id: int = u32()
    tag: bytes = octets(8)
    jited_prog_len: int = u32()
    xlated_prog_len: int = u32()
    jited_prog_insns: Pointer = pointer()
    xlated_prog_insns: Pointer = pointer()
    load_time: int = u64()
    created_by_uid: int = u32()
    nr_map_ids: int = u32()
    map_ids: Pointer = pointer()
    name: bytes = chars(16)
    ifindex: int = u32()
    gpl_compatible: int = bits(1, unit="u32")
    netns_dev: int = u64()
    netns_ino: int = u64()
    nr_jited_ksyms: int = u32()
    nr_jited_func_lens: int = u32()
    jited_ksyms: Pointer = pointer()
    jited_func_lens: Pointer = pointer()
    btf_id: int = u32(since="5.0")
    func_info_rec_size: int = u32(since="5.0")
    func_info: Pointer = pointer(since="5.0")
    nr_func_info: int = u32(since="5.0")
    nr_line_info: int = u32(since="5.0")
    line_info: Pointer = pointer(since="5.0")
    jited_line_info: Pointer = pointer(since="5.0")
    nr_jited_line_info: int = u32(since="5.0")
    line_info_rec_size: int = u32(since="5.0")
    jited_line_info_rec_size: int = u32(since="5.0")
    nr_prog_tags: int = u32(since="5.0")
    prog_tags: Pointer = pointer(since="5.0")
    run_time_ns: int = u64(since="5.1")
    run_cnt: int = u64(since="5.1")
    recursion_misses: int = u64(since="5.12")
    verified_insns: int = u32(since="5.16")
    attach_btf_obj_id: int = u32(since="6.0")
    attach_btf_id: int = u32(since="6.0")


@c_struct("bpf_map_info")
class MapInfo(CStruct):
    """About a map."""

    type: int = u32()
    id: int = u32()
    key_size: int = u32()
    value_size: int = u32()
    max_entries: int = u32()
    map_flags: int = u32()
    name: bytes = chars(16)
    ifindex: int = u32()
    btf_vmlinux_value_type_id: int = u32(since="5.6")
    netns_dev: int = u64()
    netns_ino: int = u64()
    btf_id: int = u32()
    btf_key_type_id: int = u32()
    btf_value_type_id: int = u32()
    btf_vmlinux_id: int = u32(since="6.9")
    map_extra: int = u64(since="5.16")
    hash: Pointer = pointer(since="6.18")
    hash_size: int = u32(since="6.18")


@c_struct("bpf_btf_info")
class BtfInfo(CStruct):
    """About a BTF blob."""

    btf: Pointer = pointer()
    btf_size: int = u32()
    id: int = u32()
    name: Pointer = pointer(since="5.11")
    name_len: int = u32(since="5.11")
    kernel_btf: int = u32(since="5.11")


@c_struct("bpf_token_info", since="6.17")
class TokenInfo(CStruct):
    """What a BPF token allows: bits by number of command, map, program and attach type."""

    allowed_cmds: int = u64()
    allowed_maps: int = u64()
    allowed_progs: int = u64()
    allowed_attachs: int = u64()


# Bytes of struct bpf_link_info, whichever link it is about.
_LINK_INFO_SIZE = 64


@c_struct("bpf_link_info", size=_LINK_INFO_SIZE, since="5.8")
class LinkInfo(CStruct):
    """About a link, what all kinds have."""

    type: int = u32()
    id: int = u32()
    prog_id: int = u32()


@c_struct("bpf_link_info", arm="raw_tracepoint", size=_LINK_INFO_SIZE, since="5.8")
class LinkInfoRawTracepoint(LinkInfo):
    """``RAW_TRACEPOINT``."""

    tp_name: Pointer = pointer(at=16)
    tp_name_len: int = u32()
    cookie: int = u64(since="6.17")


@c_struct("bpf_link_info", arm="tracing", size=_LINK_INFO_SIZE, since="5.8")
class LinkInfoTracing(LinkInfo):
    """``TRACING``: the target is a program's id for freplace, otherwise a BTF object's."""

    attach_type: int = u32(at=16)
    target_obj_id: int = u32(since="5.13")
    target_btf_id: int = u32(since="5.13")
    cookie: int = u64(since="6.17")


@c_struct("bpf_link_info", arm="cgroup", size=_LINK_INFO_SIZE, since="5.8")
class LinkInfoCgroup(LinkInfo):
    """``CGROUP``."""

    cgroup_id: int = u64(at=16)
    attach_type: int = u32()


@c_struct("bpf_link_info", arm="iter", size=_LINK_INFO_SIZE, since="5.10")
class LinkInfoIter(LinkInfo):
    """``ITER``; ``map_id`` is what C calls ``iter.map.map_id``."""

    target_name: Pointer = pointer(at=16)
    target_name_len: int = u32()
    map_id: int = u32(name="map.map_id")


@c_struct("bpf_link_info", arm="iter.cgroup", size=_LINK_INFO_SIZE, since="6.1")
class LinkInfoIterCgroup(LinkInfoIter):
    """``ITER`` over cgroups."""

    cgroup_id: int = u64()
    order: int = u32()


@c_struct("bpf_link_info", arm="iter.task", size=_LINK_INFO_SIZE, since="6.1")
class LinkInfoIterTask(LinkInfoIter):
    """``ITER`` over tasks."""

    tid: int = u32()
    pid: int = u32()


@c_struct("bpf_link_info", arm="netns", size=_LINK_INFO_SIZE, since="5.8")
class LinkInfoNetns(LinkInfo):
    """``NETNS``."""

    netns_ino: int = u32(at=16)
    attach_type: int = u32()


@c_struct("bpf_link_info", arm="xdp", size=_LINK_INFO_SIZE, since="5.9")
class LinkInfoXdp(LinkInfo):
    """``XDP``."""

    ifindex: int = u32(at=16)


@c_struct("bpf_link_info", arm="struct_ops", size=_LINK_INFO_SIZE, since="6.4")
class LinkInfoStructOps(LinkInfo):
    """``STRUCT_OPS``."""

    map_id: int = u32(at=16)


@c_struct("bpf_link_info", arm="netfilter", size=_LINK_INFO_SIZE, since="6.4")
class LinkInfoNetfilter(LinkInfo):
    """``NETFILTER``."""

    pf: int = u32(at=16)
    hooknum: int = u32()
    priority: int = s32()
    flags: int = u32()


@c_struct("bpf_link_info", arm="kprobe_multi", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoKprobeMulti(LinkInfo):
    """``KPROBE_MULTI``."""

    addrs: Pointer = pointer(at=16)
    count: int = u32()
    flags: int = u32()
    missed: int = u64(since="6.7")
    cookies: Pointer = pointer(since="6.9")


@c_struct("bpf_link_info", arm="uprobe_multi", size=_LINK_INFO_SIZE, since="6.8")
class LinkInfoUprobeMulti(LinkInfo):
    """``UPROBE_MULTI``; ``path_size`` counts the final NUL."""

    path: Pointer = pointer(at=16)
    offsets: Pointer = pointer()
    ref_ctr_offsets: Pointer = pointer()
    cookies: Pointer = pointer()
    path_size: int = u32()
    count: int = u32()
    flags: int = u32()
    pid: int = u32()


@c_struct("bpf_link_info", arm="tracing_multi", size=_LINK_INFO_SIZE, since="7.3")
class LinkInfoTracingMulti(LinkInfo):
    """``TRACING_MULTI``."""

    attach_type: int = u32(at=16)
    count: int = u32()
    btf_obj_id: int = u32()
    ids: Pointer = pointer()
    addrs: Pointer = pointer()
    cookies: Pointer = pointer()


@c_struct("bpf_link_info", arm="perf_event", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoPerfEvent(LinkInfo):
    """``PERF_EVENT``; ``perf_event_type`` says which of the next four it is."""

    perf_event_type: int = u32(at=16, name="type")


@c_struct("bpf_link_info", arm="perf_event.uprobe", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoUprobe(LinkInfoPerfEvent):
    """``PERF_EVENT`` of an uprobe or uretprobe."""

    file_name: Pointer = pointer(at=24)
    name_len: int = u32()
    offset: int = u32()
    cookie: int = u64(since="6.9")
    ref_ctr_offset: int = u64(since="6.16")


@c_struct("bpf_link_info", arm="perf_event.kprobe", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoKprobe(LinkInfoPerfEvent):
    """``PERF_EVENT`` of a kprobe or kretprobe."""

    func_name: Pointer = pointer(at=24)
    name_len: int = u32()
    offset: int = u32()
    addr: int = u64()
    missed: int = u64(since="6.7")
    cookie: int = u64(since="6.9")


@c_struct("bpf_link_info", arm="perf_event.tracepoint", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoTracepoint(LinkInfoPerfEvent):
    """``PERF_EVENT`` of a tracepoint."""

    tp_name: Pointer = pointer(at=24)
    name_len: int = u32()
    cookie: int = u64(since="6.9")


@c_struct("bpf_link_info", arm="perf_event.event", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoEvent(LinkInfoPerfEvent):
    """``PERF_EVENT`` of any other event: its ``perf_event_attr`` type and config."""

    config: int = u64(at=24)
    event_type: int = u32(name="type")
    cookie: int = u64(since="6.9")


@c_struct("bpf_link_info", arm="tcx", size=_LINK_INFO_SIZE, since="6.6")
class LinkInfoTcx(LinkInfo):
    """``TCX``."""

    ifindex: int = u32(at=16)
    attach_type: int = u32()


@c_struct("bpf_link_info", arm="netkit", size=_LINK_INFO_SIZE, since="6.7")
class LinkInfoNetkit(LinkInfo):
    """``NETKIT``."""

    ifindex: int = u32(at=16)
    attach_type: int = u32()


@c_struct("bpf_link_info", arm="sockmap", size=_LINK_INFO_SIZE, since="6.10")
class LinkInfoSockmap(LinkInfo):
    """``SOCKMAP``."""

    map_id: int = u32(at=16)
    attach_type: int = u32()
