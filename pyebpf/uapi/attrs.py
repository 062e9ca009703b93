"""``union bpf_attr``: the second argument of bpf(2), one class per arm of the union.

Each class packs to the whole union (zero outside its own fields: the kernel refuses a command
whose unused bytes are not zero). Kernels older than a field accept it as long as it is zero and
say E2BIG otherwise.

    command                                             class
    MAP_CREATE                                          MapCreate
    MAP_LOOKUP_ELEM MAP_UPDATE_ELEM MAP_DELETE_ELEM     MapElem
    MAP_LOOKUP_AND_DELETE_ELEM MAP_FREEZE               MapElem
    MAP_GET_NEXT_KEY                                    MapNextKey
    MAP_{LOOKUP,LOOKUP_AND_DELETE,UPDATE,DELETE}_BATCH  MapBatch
    PROG_LOAD PROG_ATTACH PROG_DETACH PROG_TEST_RUN     ProgLoad ProgAttach ProgAttach ProgTestRun
    OBJ_PIN OBJ_GET OBJ_GET_INFO_BY_FD                  ObjPin ObjPin ObjInfo
    {PROG,MAP,BTF,LINK}_GET_{NEXT_ID,FD_BY_ID}          ObjId
    PROG_QUERY RAW_TRACEPOINT_OPEN BTF_LOAD             ProgQuery RawTracepointOpen BtfLoad
    TASK_FD_QUERY LINK_CREATE                           TaskFdQuery LinkCreate and what derives
    LINK_UPDATE LINK_DETACH ENABLE_STATS ITER_CREATE    LinkUpdate LinkDetach EnableStats IterCreate
    PROG_BIND_MAP TOKEN_CREATE                          ProgBindMap TokenCreate
    PROG_STREAM_READ_BY_FD PROG_ASSOC_STRUCT_OPS        ProgStreamRead ProgAssocStructOps
"""

from __future__ import annotations

from pyebpf.uapi.cstruct import CStruct, Pointer, c_struct, chars, pointer, s32, u32, u64

__all__ = [
    "ATTR_SIZE",
    "BtfLoad",
    "CommonAttr",
    "EnableStats",
    "IterCreate",
    "IterLinkInfoCgroup",
    "IterLinkInfoMap",
    "IterLinkInfoTask",
    "LinkCreate",
    "LinkCreateCgroup",
    "LinkCreateIter",
    "LinkCreateKprobeMulti",
    "LinkCreateNetfilter",
    "LinkCreateNetkit",
    "LinkCreatePerfEvent",
    "LinkCreateTcx",
    "LinkCreateTracing",
    "LinkCreateTracingMulti",
    "LinkCreateUprobeMulti",
    "LinkDetach",
    "LinkUpdate",
    "MapBatch",
    "MapCreate",
    "MapElem",
    "MapNextKey",
    "ObjId",
    "ObjInfo",
    "ObjPin",
    "ProgAssocStructOps",
    "ProgAttach",
    "ProgBindMap",
    "ProgLoad",
    "ProgQuery",
    "ProgStreamRead",
    "ProgTestRun",
    "RawTracepointOpen",
    "TaskFdQuery",
    "TokenCreate",
]

# Bytes of the whole union, since Linux 6.18. Older kernels take it as long as what they do not
# know is zero.
ATTR_SIZE = 168


@c_struct("bpf_attr", size=ATTR_SIZE)
class MapCreate(CStruct):
    """``MAP_CREATE``."""

    map_type: int = u32()
    key_size: int = u32()
    value_size: int = u32()
    max_entries: int = u32()
    map_flags: int = u32()
    inner_map_fd: int = u32()
    numa_node: int = u32()
    map_name: bytes = chars(16)
    map_ifindex: int = u32()
    btf_fd: int = u32()
    btf_key_type_id: int = u32()
    btf_value_type_id: int = u32()
    btf_vmlinux_value_type_id: int = u32(since="5.6")
    map_extra: int = u64(since="5.16")
    value_type_btf_obj_fd: int = s32(since="6.9")
    map_token_fd: int = s32(since="6.9")
    excl_prog_hash: Pointer = pointer(since="6.18")
    excl_prog_hash_size: int = u32(since="6.18")


@c_struct("bpf_attr", size=ATTR_SIZE)
class MapElem(CStruct):
    """``MAP_*_ELEM`` and ``MAP_FREEZE`` (of which only ``map_fd``)."""

    map_fd: int = u32()
    key: Pointer = pointer()
    value: Pointer = pointer()
    flags: int = u64()


@c_struct("bpf_attr", size=ATTR_SIZE)
class MapNextKey(CStruct):
    """``MAP_GET_NEXT_KEY``."""

    map_fd: int = u32()
    key: Pointer = pointer()
    next_key: Pointer = pointer()


@c_struct("bpf_attr", arm="batch", size=ATTR_SIZE, since="5.6")
class MapBatch(CStruct):
    """``MAP_*_BATCH``; ``count`` goes in and comes out."""

    in_batch: Pointer = pointer()
    out_batch: Pointer = pointer()
    keys: Pointer = pointer()
    values: Pointer = pointer()
    count: int = u32()
    map_fd: int = u32()
    elem_flags: int = u64()
    flags: int = u64()


@c_struct("bpf_attr", size=ATTR_SIZE)
class ProgLoad(CStruct):
    """``PROG_LOAD``; ``log_true_size`` comes out."""

    prog_type: int = u32()
    insn_cnt: int = u32()
    insns: Pointer = pointer()
    license: Pointer = pointer()
    log_level: int = u32()
    log_size: int = u32()
    log_buf: Pointer = pointer()
    kern_version: int = u32()
    prog_flags: int = u32()
    prog_name: bytes = chars(16)
    prog_ifindex: int = u32()
    expected_attach_type: int = u32()
    prog_btf_fd: int = u32(since="5.0")
    func_info_rec_size: int = u32(since="5.0")
    func_info: Pointer = pointer(since="5.0")
    func_info_cnt: int = u32(since="5.0")
    line_info_rec_size: int = u32(since="5.0")
    line_info: Pointer = pointer(since="5.0")
    line_info_cnt: int = u32(since="5.0")
    attach_btf_id: int = u32(since="5.5")
    attach_prog_fd: int = u32(since="5.5")
    attach_btf_obj_fd: int = u32(at=112, since="5.11")
    core_relo_cnt: int = u32(since="5.17")
    fd_array: Pointer = pointer(since="5.14")
    core_relos: Pointer = pointer(since="5.17")
    core_relo_rec_size: int = u32(since="5.17")
    log_true_size: int = u32(since="6.4")
    prog_token_fd: int = s32(since="6.9")
    fd_array_cnt: int = u32(since="6.14")
    signature: Pointer = pointer(since="6.18")
    signature_size: int = u32(since="6.18")
    keyring_id: int = s32(since="6.18")


@c_struct("bpf_attr", size=ATTR_SIZE)
class ObjPin(CStruct):
    """``OBJ_PIN``, ``OBJ_GET``."""

    pathname: Pointer = pointer()
    bpf_fd: int = u32()
    file_flags: int = u32()
    path_fd: int = s32(since="6.5")


@c_struct("bpf_attr", size=ATTR_SIZE)
class ProgAttach(CStruct):
    """``PROG_ATTACH``, ``PROG_DETACH``."""

    target_fd: int = u32()
    target_ifindex: int = u32(at=0, since="6.6")
    attach_bpf_fd: int = u32()
    attach_type: int = u32()
    attach_flags: int = u32()
    replace_bpf_fd: int = u32(since="5.6")
    relative_fd: int = u32(since="6.6")
    relative_id: int = u32(at=20, since="6.6")
    expected_revision: int = u64(since="6.6")


@c_struct("bpf_attr", arm="test", size=ATTR_SIZE)
class ProgTestRun(CStruct):
    """``PROG_TEST_RUN``; ``retval``, ``duration`` (ns) and the sizes out come out."""

    prog_fd: int = u32()
    retval: int = u32()
    data_size_in: int = u32()
    data_size_out: int = u32()
    data_in: Pointer = pointer()
    data_out: Pointer = pointer()
    repeat: int = u32()
    duration: int = u32()
    ctx_size_in: int = u32(since="5.2")
    ctx_size_out: int = u32(since="5.2")
    ctx_in: Pointer = pointer(since="5.2")
    ctx_out: Pointer = pointer(since="5.2")
    flags: int = u32(since="5.10")
    cpu: int = u32(since="5.10")
    batch_size: int = u32(since="5.18")


@c_struct("bpf_attr", size=ATTR_SIZE)
class ObjId(CStruct):
    """``*_GET_NEXT_ID`` and ``*_GET_FD_BY_ID``; ``next_id`` comes out."""

    start_id: int = u32()
    prog_id: int = u32(at=0)
    map_id: int = u32(at=0)
    btf_id: int = u32(at=0)
    link_id: int = u32(at=0, since="5.8")
    next_id: int = u32()
    open_flags: int = u32()
    fd_by_id_token_fd: int = s32(since="6.15")


@c_struct("bpf_attr", arm="info", size=ATTR_SIZE)
class ObjInfo(CStruct):
    """``OBJ_GET_INFO_BY_FD``; ``info_len`` goes in and comes out."""

    bpf_fd: int = u32()
    info_len: int = u32()
    info: Pointer = pointer()


@c_struct("bpf_attr", arm="query", size=ATTR_SIZE)
class ProgQuery(CStruct):
    """``PROG_QUERY``; ``attach_flags``, ``count`` and ``revision`` come out."""

    target_fd: int = u32()
    target_ifindex: int = u32(at=0, since="6.6")
    attach_type: int = u32()
    query_flags: int = u32()
    attach_flags: int = u32()
    prog_ids: Pointer = pointer()
    prog_cnt: int = u32()
    count: int = u32(at=24, since="6.6")
    prog_attach_flags: Pointer = pointer(since="6.0")
    link_ids: Pointer = pointer(since="6.6")
    link_attach_flags: Pointer = pointer(since="6.6")
    revision: int = u64(since="6.6")


@c_struct("bpf_attr", arm="raw_tracepoint", size=ATTR_SIZE)
class RawTracepointOpen(CStruct):
    """``RAW_TRACEPOINT_OPEN``; without a name for programs attached by BTF id."""

    name: Pointer = pointer()
    prog_fd: int = u32()
    cookie: int = u64(since="6.10")


@c_struct("bpf_attr", size=ATTR_SIZE)
class BtfLoad(CStruct):
    """``BTF_LOAD``; ``btf_log_true_size`` comes out."""

    btf: Pointer = pointer()
    btf_log_buf: Pointer = pointer()
    btf_size: int = u32()
    btf_log_size: int = u32()
    btf_log_level: int = u32()
    btf_log_true_size: int = u32(since="6.4")
    btf_flags: int = u32(since="6.9")
    btf_token_fd: int = s32(since="6.9")


@c_struct("bpf_attr", arm="task_fd_query", size=ATTR_SIZE)
class TaskFdQuery(CStruct):
    """``TASK_FD_QUERY``; ``buf_len`` and all after ``buf`` come out."""

    pid: int = u32()
    fd: int = u32()
    flags: int = u32()
    buf_len: int = u32()
    buf: Pointer = pointer()
    prog_id: int = u32()
    fd_type: int = u32()
    probe_offset: int = u64()
    probe_addr: int = u64()


@c_struct("bpf_attr", arm="link_create", size=ATTR_SIZE, since="5.7")
class LinkCreate(CStruct):
    """``LINK_CREATE``, what all kinds of links share and enough for those without options."""

    prog_fd: int = u32()
    map_fd: int = u32(at=0, since="6.4")
    target_fd: int = u32()
    target_ifindex: int = u32(at=4, since="5.9")
    attach_type: int = u32()
    flags: int = u32()


@c_struct("bpf_attr", arm="link_create", size=ATTR_SIZE, since="5.9")
class LinkCreateIter(LinkCreate):
    """``LINK_CREATE`` of an iterator; ``iter_info`` points to an `IterLinkInfoMap` and the like."""

    iter_info: Pointer = pointer()
    iter_info_len: int = u32()


@c_struct("bpf_attr", arm="link_create.perf_event", size=ATTR_SIZE, since="5.15")
class LinkCreatePerfEvent(LinkCreate):
    """``LINK_CREATE`` on a perf event fd: kprobe, uprobe, tracepoint, counter."""

    bpf_cookie: int = u64()


@c_struct("bpf_attr", arm="link_create.kprobe_multi", size=ATTR_SIZE, since="5.18")
class LinkCreateKprobeMulti(LinkCreate):
    """``LINK_CREATE`` on many kernel functions; its own flags are ``kprobe_multi_flags``."""

    kprobe_multi_flags: int = u32(name="flags")
    cnt: int = u32()
    syms: Pointer = pointer()
    addrs: Pointer = pointer()
    cookies: Pointer = pointer()


@c_struct("bpf_attr", arm="link_create.tracing", size=ATTR_SIZE, since="5.19")
class LinkCreateTracing(LinkCreate):
    """``LINK_CREATE`` of fentry, fexit, fmod_ret, LSM, tp_btf and freplace programs.

    ``target_btf_id`` works since 5.10, where C calls it ``link_create.target_btf_id``.
    """

    target_btf_id: int = u32()
    cookie: int = u64()


@c_struct("bpf_attr", arm="link_create.netfilter", size=ATTR_SIZE, since="6.4")
class LinkCreateNetfilter(LinkCreate):
    """``LINK_CREATE`` on a netfilter hook; its own flags are ``netfilter_flags``."""

    pf: int = u32()
    hooknum: int = u32()
    priority: int = s32()
    netfilter_flags: int = u32(name="flags")


@c_struct("bpf_attr", arm="link_create.tcx", size=ATTR_SIZE, since="6.6")
class LinkCreateTcx(LinkCreate):
    """``LINK_CREATE`` on a device's tcx hook."""

    relative_fd: int = u32()
    relative_id: int = u32(at=16)
    expected_revision: int = u64()


@c_struct("bpf_attr", arm="link_create.uprobe_multi", size=ATTR_SIZE, since="6.6")
class LinkCreateUprobeMulti(LinkCreate):
    """``LINK_CREATE`` on many places of one binary; its own flags are ``uprobe_multi_flags``."""

    path: Pointer = pointer()
    offsets: Pointer = pointer()
    ref_ctr_offsets: Pointer = pointer()
    cookies: Pointer = pointer()
    cnt: int = u32()
    uprobe_multi_flags: int = u32(name="flags")
    pid: int = u32()
    path_fd: int = u32(since="7.2")


@c_struct("bpf_attr", arm="link_create.netkit", size=ATTR_SIZE, since="6.7")
class LinkCreateNetkit(LinkCreate):
    """``LINK_CREATE`` on a netkit device."""

    relative_fd: int = u32()
    relative_id: int = u32(at=16)
    expected_revision: int = u64()


@c_struct("bpf_attr", arm="link_create.cgroup", size=ATTR_SIZE, since="6.17")
class LinkCreateCgroup(LinkCreate):
    """``LINK_CREATE`` on a cgroup, with a place among the programs there."""

    relative_fd: int = u32()
    relative_id: int = u32(at=16)
    expected_revision: int = u64()


@c_struct("bpf_attr", arm="link_create.tracing_multi", size=ATTR_SIZE, since="7.2")
class LinkCreateTracingMulti(LinkCreate):
    """``LINK_CREATE`` of fentry and fexit programs on many functions, by BTF id."""

    ids: Pointer = pointer()
    cookies: Pointer = pointer()
    cnt: int = u32()


@c_struct("bpf_attr", arm="link_update", size=ATTR_SIZE, since="5.7")
class LinkUpdate(CStruct):
    """``LINK_UPDATE``."""

    link_fd: int = u32()
    new_prog_fd: int = u32()
    new_map_fd: int = u32(at=4, since="6.4")
    flags: int = u32()
    old_prog_fd: int = u32()
    old_map_fd: int = u32(at=12, since="6.4")


@c_struct("bpf_attr", arm="link_detach", size=ATTR_SIZE, since="5.9")
class LinkDetach(CStruct):
    """``LINK_DETACH``."""

    link_fd: int = u32()


@c_struct("bpf_attr", arm="enable_stats", size=ATTR_SIZE, since="5.8")
class EnableStats(CStruct):
    """``ENABLE_STATS``."""

    type: int = u32()


@c_struct("bpf_attr", arm="iter_create", size=ATTR_SIZE, since="5.8")
class IterCreate(CStruct):
    """``ITER_CREATE``."""

    link_fd: int = u32()
    flags: int = u32()


@c_struct("bpf_attr", arm="prog_bind_map", size=ATTR_SIZE, since="5.10")
class ProgBindMap(CStruct):
    """``PROG_BIND_MAP``."""

    prog_fd: int = u32()
    map_fd: int = u32()
    flags: int = u32()


@c_struct("bpf_attr", arm="token_create", size=ATTR_SIZE, since="6.9")
class TokenCreate(CStruct):
    """``TOKEN_CREATE``."""

    flags: int = u32()
    bpffs_fd: int = u32()


@c_struct("bpf_attr", arm="prog_stream_read", size=ATTR_SIZE, since="6.17")
class ProgStreamRead(CStruct):
    """``PROG_STREAM_READ_BY_FD``."""

    stream_buf: Pointer = pointer()
    stream_buf_len: int = u32()
    stream_id: int = u32()
    prog_fd: int = u32()


@c_struct("bpf_attr", arm="prog_assoc_struct_ops", size=ATTR_SIZE, since="7.0")
class ProgAssocStructOps(CStruct):
    """``PROG_ASSOC_STRUCT_OPS``."""

    map_fd: int = u32()
    prog_fd: int = u32()
    flags: int = u32()


@c_struct("bpf_common_attr", since="7.2")
class CommonAttr(CStruct):
    """Fourth argument of bpf(2) when the command carries ``COMMON_ATTRS``: one log for any command.

    ``log_true_size`` comes out.
    """

    log_buf: Pointer = pointer()
    log_size: int = u32()
    log_level: int = u32()
    log_true_size: int = u32()


@c_struct("bpf_iter_link_info", arm="map", size=16, since="5.9")
class IterLinkInfoMap(CStruct):
    """Which map an iterator over map elements walks; ``iter_info`` of `LinkCreateIter`."""

    map_fd: int = u32()


@c_struct("bpf_iter_link_info", arm="cgroup", size=16, since="6.1")
class IterLinkInfoCgroup(CStruct):
    """Where a cgroup iterator starts, and its `CgroupIterOrder`."""

    order: int = u32()
    cgroup_fd: int = u32()
    cgroup_id: int = u64()


@c_struct("bpf_iter_link_info", arm="task", size=16, since="6.1")
class IterLinkInfoTask(CStruct):
    """Which tasks a task iterator walks; at most one of the three is not zero."""

    tid: int = u32()
    pid: int = u32()
    pid_fd: int = u32()
