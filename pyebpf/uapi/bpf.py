"""What every user of bpf(2) needs from ``linux/bpf.h``: commands, kinds and the flags of commands.

What only programs use is elsewhere: helpers in ``helpers`` and ``helper_flags``, what
programs return in ``net``, numbers of BTF in ``btf``, opcodes in ``insn``. A member's
``since`` is the kernel release that introduced it; distributions and stable kernels carry some
earlier.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, c_enum
from pyebpf.uapi.flags import MapFlag, OpenFlag, ProgFlag, UpdateFlag

TYPE_CHECKING = False  # as in the package's own __init__
if TYPE_CHECKING:
    from pyebpf.uapi.per_hook import AttachFlag as AttachFlag
    from pyebpf.uapi.per_hook import BuildIdStatus as BuildIdStatus
    from pyebpf.uapi.per_hook import CgroupIterOrder as CgroupIterOrder
    from pyebpf.uapi.per_hook import FdType as FdType
    from pyebpf.uapi.per_hook import KprobeMultiFlag as KprobeMultiFlag
    from pyebpf.uapi.per_hook import NetfilterFlag as NetfilterFlag
    from pyebpf.uapi.per_hook import PerfEventType as PerfEventType
    from pyebpf.uapi.per_hook import QueryFlag as QueryFlag
    from pyebpf.uapi.per_hook import StatsType as StatsType
    from pyebpf.uapi.per_hook import Stream as Stream
    from pyebpf.uapi.per_hook import TestRunFlag as TestRunFlag
    from pyebpf.uapi.per_hook import UprobeMultiFlag as UprobeMultiFlag

__all__ = [
    "BUILD_ID_SIZE",
    "COMMON_ATTRS",
    "OBJ_NAME_LEN",
    "TAG_SIZE",
    "Cmd",
    "MapType",
    "ProgType",
    "AttachType",
    "LinkType",
    "PerfEventType",
    "FdType",
    "StatsType",
    "Stream",
    "CgroupIterOrder",
    "BuildIdStatus",
    "UpdateFlag",
    "MapFlag",
    "OpenFlag",
    "ProgFlag",
    "AttachFlag",
    "QueryFlag",
    "TestRunFlag",
    "KprobeMultiFlag",
    "UprobeMultiFlag",
    "NetfilterFlag",
]

# Bytes of a name in the kernel, the final NUL included (``BPF_OBJ_NAME_LEN``), of a program's tag
# (``BPF_TAG_SIZE``) and of a build id (``BPF_BUILD_ID_SIZE``).
OBJ_NAME_LEN = 16
TAG_SIZE = 8
BUILD_ID_SIZE = 20


@c_enum(
    "bpf_cmd",
    prefix="BPF_",
    since={
        "PROG_RUN": "5.14",
        "MAP_LOOKUP_AND_DELETE_ELEM": "4.20",
        "MAP_FREEZE": "5.2",
        "BTF_GET_NEXT_ID": "5.4",
        "MAP_LOOKUP_BATCH": "5.6",
        "MAP_LOOKUP_AND_DELETE_BATCH": "5.6",
        "MAP_UPDATE_BATCH": "5.6",
        "MAP_DELETE_BATCH": "5.6",
        "LINK_CREATE": "5.7",
        "LINK_UPDATE": "5.7",
        "LINK_GET_FD_BY_ID": "5.8",
        "LINK_GET_NEXT_ID": "5.8",
        "ENABLE_STATS": "5.8",
        "ITER_CREATE": "5.8",
        "LINK_DETACH": "5.9",
        "PROG_BIND_MAP": "5.10",
        "TOKEN_CREATE": "6.9",
        "PROG_STREAM_READ_BY_FD": "6.17",
        "PROG_ASSOC_STRUCT_OPS": "7.0",
    },
)
class Cmd(CEnum):
    """The first argument of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    ITER_CREATE = 33
    LINK_DETACH = 34
    PROG_BIND_MAP = 35
    TOKEN_CREATE = 36
    PROG_STREAM_READ_BY_FD = 37
    PROG_ASSOC_STRUCT_OPS = 38


# Added to a command by the 5-argument form of bpf(2), Linux 7.2 (``BPF_COMMON_ATTRS``).
COMMON_ATTRS = 1 << 16


@c_enum(
    "bpf_map_type",
    prefix="BPF_MAP_TYPE_",
    since={
        "CGROUP_STORAGE": "4.19",
        "REUSEPORT_SOCKARRAY": "4.19",
        "PERCPU_CGROUP_STORAGE": "4.20",
        "QUEUE": "4.20",
        "STACK": "4.20",
        "SK_STORAGE": "5.2",
        "DEVMAP_HASH": "5.4",
        "STRUCT_OPS": "5.6",
        "RINGBUF": "5.8",
        "INODE_STORAGE": "5.10",
        "TASK_STORAGE": "5.11",
        "BLOOM_FILTER": "5.16",
        "USER_RINGBUF": "6.1",
        "CGRP_STORAGE": "6.2",
        "ARENA": "6.9",
        "INSN_ARRAY": "6.19",
        "RHASH": "7.2",
    },
)
class MapType(CEnum):
    """What kind of map."""

    UNSPEC = 0
    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33
    INSN_ARRAY = 34
    RHASH = 35


@c_enum(
    "bpf_prog_type",
    prefix="BPF_PROG_TYPE_",
    since={
        "SK_REUSEPORT": "4.19",
        "FLOW_DISSECTOR": "4.20",
        "CGROUP_SYSCTL": "5.2",
        "RAW_TRACEPOINT_WRITABLE": "5.2",
        "CGROUP_SOCKOPT": "5.3",
        "TRACING": "5.5",
        "STRUCT_OPS": "5.6",
        "EXT": "5.6",
        "LSM": "5.7",
        "SK_LOOKUP": "5.9",
        "SYSCALL": "5.14",
        "NETFILTER": "6.4",
    },
)
class ProgType(CEnum):
    """What kind of program: its context, and what it may call."""

    UNSPEC = 0
    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    PERF_EVENT = 7
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    LWT_IN = 10
    LWT_OUT = 11
    LWT_XMIT = 12
    SOCK_OPS = 13
    SK_SKB = 14
    CGROUP_DEVICE = 15
    SK_MSG = 16
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    LWT_SEG6LOCAL = 19
    LIRC_MODE2 = 20
    SK_REUSEPORT = 21
    FLOW_DISSECTOR = 22
    CGROUP_SYSCTL = 23
    RAW_TRACEPOINT_WRITABLE = 24
    CGROUP_SOCKOPT = 25
    TRACING = 26
    STRUCT_OPS = 27
    EXT = 28
    LSM = 29
    SK_LOOKUP = 30
    SYSCALL = 31
    NETFILTER = 32


@c_enum(
    "bpf_attach_type",
    prefix="BPF_",
    since={
        "FLOW_DISSECTOR": "4.20",
        "CGROUP_SYSCTL": "5.2",
        "CGROUP_UDP4_RECVMSG": "5.2",
        "CGROUP_UDP6_RECVMSG": "5.2",
        "CGROUP_GETSOCKOPT": "5.3",
        "CGROUP_SETSOCKOPT": "5.3",
        "TRACE_RAW_TP": "5.5",
        "TRACE_FENTRY": "5.5",
        "TRACE_FEXIT": "5.5",
        "MODIFY_RETURN": "5.7",
        "LSM_MAC": "5.7",
        "TRACE_ITER": "5.8",
        "CGROUP_INET4_GETPEERNAME": "5.8",
        "CGROUP_INET6_GETPEERNAME": "5.8",
        "CGROUP_INET4_GETSOCKNAME": "5.8",
        "CGROUP_INET6_GETSOCKNAME": "5.8",
        "XDP_DEVMAP": "5.8",
        "CGROUP_INET_SOCK_RELEASE": "5.9",
        "XDP_CPUMAP": "5.9",
        "SK_LOOKUP": "5.9",
        "XDP": "5.9",
        "SK_SKB_VERDICT": "5.13",
        "SK_REUSEPORT_SELECT": "5.14",
        "SK_REUSEPORT_SELECT_OR_MIGRATE": "5.14",
        "PERF_EVENT": "5.15",
        "TRACE_KPROBE_MULTI": "5.18",
        "LSM_CGROUP": "6.0",
        "STRUCT_OPS": "6.4",
        "NETFILTER": "6.4",
        "TCX_INGRESS": "6.6",
        "TCX_EGRESS": "6.6",
        "TRACE_UPROBE_MULTI": "6.6",
        "CGROUP_UNIX_CONNECT": "6.7",
        "CGROUP_UNIX_SENDMSG": "6.7",
        "CGROUP_UNIX_RECVMSG": "6.7",
        "CGROUP_UNIX_GETPEERNAME": "6.7",
        "CGROUP_UNIX_GETSOCKNAME": "6.7",
        "NETKIT_PRIMARY": "6.7",
        "NETKIT_PEER": "6.7",
        "TRACE_KPROBE_SESSION": "6.10",
        "TRACE_UPROBE_SESSION": "6.13",
        "TRACE_FSESSION": "7.0",
        "TRACE_FENTRY_MULTI": "7.2",
        "TRACE_FEXIT_MULTI": "7.2",
        "TRACE_FSESSION_MULTI": "7.2",
    },
)
class AttachType(CEnum):
    """Where a program is attached."""

    CGROUP_INET_INGRESS = 0
    CGROUP_INET_EGRESS = 1
    CGROUP_INET_SOCK_CREATE = 2
    CGROUP_SOCK_OPS = 3
    SK_SKB_STREAM_PARSER = 4
    SK_SKB_STREAM_VERDICT = 5
    CGROUP_DEVICE = 6
    SK_MSG_VERDICT = 7
    CGROUP_INET4_BIND = 8
    CGROUP_INET6_BIND = 9
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_INET4_POST_BIND = 12
    CGROUP_INET6_POST_BIND = 13
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    LIRC_MODE2 = 16
    FLOW_DISSECTOR = 17
    CGROUP_SYSCTL = 18
    CGROUP_UDP4_RECVMSG = 19
    CGROUP_UDP6_RECVMSG = 20
    CGROUP_GETSOCKOPT = 21
    CGROUP_SETSOCKOPT = 22
    TRACE_RAW_TP = 23
    TRACE_FENTRY = 24
    TRACE_FEXIT = 25
    MODIFY_RETURN = 26
    LSM_MAC = 27
    TRACE_ITER = 28
    CGROUP_INET4_GETPEERNAME = 29
    CGROUP_INET6_GETPEERNAME = 30
    CGROUP_INET4_GETSOCKNAME = 31
    CGROUP_INET6_GETSOCKNAME = 32
    XDP_DEVMAP = 33
    CGROUP_INET_SOCK_RELEASE = 34
    XDP_CPUMAP = 35
    SK_LOOKUP = 36
    XDP = 37
    SK_SKB_VERDICT = 38
    SK_REUSEPORT_SELECT = 39
    SK_REUSEPORT_SELECT_OR_MIGRATE = 40
    PERF_EVENT = 41
    TRACE_KPROBE_MULTI = 42
    LSM_CGROUP = 43
    STRUCT_OPS = 44
    NETFILTER = 45
    TCX_INGRESS = 46
    TCX_EGRESS = 47
    TRACE_UPROBE_MULTI = 48
    CGROUP_UNIX_CONNECT = 49
    CGROUP_UNIX_SENDMSG = 50
    CGROUP_UNIX_RECVMSG = 51
    CGROUP_UNIX_GETPEERNAME = 52
    CGROUP_UNIX_GETSOCKNAME = 53
    NETKIT_PRIMARY = 54
    NETKIT_PEER = 55
    TRACE_KPROBE_SESSION = 56
    TRACE_UPROBE_SESSION = 57
    TRACE_FSESSION = 58
    TRACE_FENTRY_MULTI = 59
    TRACE_FEXIT_MULTI = 60
    TRACE_FSESSION_MULTI = 61


@c_enum(
    "bpf_link_type",
    prefix="BPF_LINK_TYPE_",
    since={
        "UNSPEC": "5.8",
        "RAW_TRACEPOINT": "5.8",
        "TRACING": "5.8",
        "CGROUP": "5.8",
        "ITER": "5.8",
        "NETNS": "5.8",
        "XDP": "5.9",
        "PERF_EVENT": "5.15",
        "KPROBE_MULTI": "5.18",
        "STRUCT_OPS": "5.19",
        "NETFILTER": "6.4",
        "TCX": "6.6",
        "UPROBE_MULTI": "6.6",
        "NETKIT": "6.7",
        "SOCKMAP": "6.10",
        "TRACING_MULTI": "7.2",
    },
)
class LinkType(CEnum):
    """What kind of link."""

    UNSPEC = 0
    RAW_TRACEPOINT = 1
    TRACING = 2
    CGROUP = 3
    ITER = 4
    NETNS = 5
    XDP = 6
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    STRUCT_OPS = 9
    NETFILTER = 10
    TCX = 11
    UPROBE_MULTI = 12
    NETKIT = 13
    SOCKMAP = 14
    TRACING_MULTI = 15


# What few need is looked up when it is used; the names of all are here.
def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyebpf.uapi import per_hook

    return getattr(per_hook, name)
