"""Map keys and values, tables beside a program's code, contexts for test runs."""

from __future__ import annotations

from collections.abc import Sequence

from pyebpf.uapi.cstruct import (
    CStruct,
    Pointer,
    array,
    c_struct,
    octets,
    pointer,
    s32,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "CgroupStorageKey",
    "CoreRelo",
    "CpumapVal",
    "DevmapVal",
    "FuncInfo",
    "InsnArrayValue",
    "LineInfo",
    "PerfEventValue",
    "PidnsInfo",
    "SkBuff",
    "SkLookup",
    "StackBuildId",
    "XdpMd",
]


@c_struct("bpf_func_info", since="5.0")
class FuncInfo(CStruct):
    """Where a function starts (in instructions) and its ``FUNC`` in the program's BTF."""

    insn_off: int = u32()
    type_id: int = u32()


@c_struct("bpf_line_info", since="5.0")
class LineInfo(CStruct):
    """Which source line an instruction comes from; ``line_col`` is line << 10 | column."""

    insn_off: int = u32()
    file_name_off: int = u32()
    line_off: int = u32()
    line_col: int = u32()


@c_struct("bpf_core_relo", since="5.17")
class CoreRelo(CStruct):
    """One CO-RE relocation; its kind is a `CoreReloKind` of ``btf``."""

    insn_off: int = u32()
    type_id: int = u32()
    access_str_off: int = u32()
    kind: int = u32()


@c_struct("bpf_devmap_val", since="5.8")
class DevmapVal(CStruct):
    """Value of a device map: written with a program's fd, read with its id."""

    ifindex: int = u32()
    fd: int = s32(name="bpf_prog.fd")
    id: int = u32(at=4, name="bpf_prog.id")


@c_struct("bpf_cpumap_val", since="5.9")
class CpumapVal(CStruct):
    """Value of a CPU map: written with a program's fd, read with its id."""

    qsize: int = u32()
    fd: int = s32(name="bpf_prog.fd")
    id: int = u32(at=4, name="bpf_prog.id")


@c_struct("bpf_stack_build_id")
class StackBuildId(CStruct):
    """One frame of a stack taken by build id; see `BuildIdStatus`."""

    status: int = s32()
    build_id: bytes = octets(20)
    offset: int = u64()
    ip: int = u64(at=24)


@c_struct("bpf_cgroup_storage_key")
class CgroupStorageKey(CStruct):
    """Key of a cgroup storage map."""

    cgroup_inode_id: int = u64()
    attach_type: int = u32()


@c_struct("bpf_insn_array_value", size=16, since="6.19")
class InsnArrayValue(CStruct):
    """Value of an instruction array; only ``orig_off`` is written, before the load."""

    orig_off: int = u32()
    xlated_off: int = u32()
    jitted_off: int = u32()


@c_struct("bpf_perf_event_value")
class PerfEventValue(CStruct):
    """A counter and the ns it was enabled and running."""

    counter: int = u64()
    enabled: int = u64()
    running: int = u64()


@c_struct("bpf_pidns_info", since="5.7")
class PidnsInfo(CStruct):
    """A task's ids in a pid namespace."""

    pid: int = u32()
    tgid: int = u32()


@c_struct("xdp_md")
class XdpMd(CStruct):
    """Context of an XDP program; in a test run the first three are offsets into the data."""

    data: int = u32()
    data_end: int = u32()
    data_meta: int = u32()
    ingress_ifindex: int = u32()
    rx_queue_index: int = u32()
    egress_ifindex: int = u32(since="5.8")


@c_struct("__sk_buff")
class SkBuff(CStruct):
    """Context of programs that see packets as socket buffers; addresses are in network order."""

    len: int = u32()
    pkt_type: int = u32()
    mark: int = u32()
    queue_mapping: int = u32()
    protocol: int = u32()
    vlan_present: int = u32()
    vlan_tci: int = u32()
    vlan_proto: int = u32()
    priority: int = u32()
    ingress_ifindex: int = u32()
    ifindex: int = u32()
    tc_index: int = u32()
    cb: Sequence[int] = array("u32", 5)
    hash: int = u32()
    tc_classid: int = u32()
    data: int = u32()
    data_end: int = u32()
    napi_id: int = u32()
    family: int = u32()
    remote_ip4: int = u32()
    local_ip4: int = u32()
    remote_ip6: Sequence[int] = array("u32", 4)
    local_ip6: Sequence[int] = array("u32", 4)
    remote_port: int = u32()
    local_port: int = u32()
    data_meta: int = u32()
    flow_keys: Pointer = pointer(since="4.20")
    tstamp: int = u64(since="5.0")
    wire_len: int = u32(since="5.0")
    gso_segs: int = u32(since="5.1")
    sk: Pointer = pointer(since="5.1")
    gso_size: int = u32(since="5.7")
    tstamp_type: int = u8(since="5.18")
    hwtstamp: int = u64(since="5.16")


@c_struct("bpf_sk_lookup", since="5.9")
class SkLookup(CStruct):
    """Context of a socket lookup program; ``cookie`` is the answer of a test run."""

    sk: Pointer = pointer()
    cookie: int = u64(at=0, since="5.13")
    family: int = u32()
    protocol: int = u32()
    remote_ip4: int = u32()
    remote_ip6: Sequence[int] = array("u32", 4)
    remote_port: int = u16()
    local_ip4: int = u32()
    local_ip6: Sequence[int] = array("u32", 4)
    local_port: int = u32()
    ingress_ifindex: int = u32(since="5.17")
