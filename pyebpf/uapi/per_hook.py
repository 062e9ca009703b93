"""What single hooks and commands of bpf(2) know; users import it from ``bpf``.

Loading and attaching a program mostly does without, and twelve enums take a millisecond.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags

__all__ = [
    "PerfEventType",
    "FdType",
    "StatsType",
    "Stream",
    "CgroupIterOrder",
    "BuildIdStatus",
    "AttachFlag",
    "QueryFlag",
    "TestRunFlag",
    "KprobeMultiFlag",
    "UprobeMultiFlag",
    "NetfilterFlag",
]


@c_enum(
    "bpf_perf_event_type",
    prefix="BPF_PERF_EVENT_",
    since={
        "UNSPEC": "6.6",
        "UPROBE": "6.6",
        "URETPROBE": "6.6",
        "KPROBE": "6.6",
        "KRETPROBE": "6.6",
        "TRACEPOINT": "6.6",
        "EVENT": "6.6",
    },
)
class PerfEventType(CEnum):
    """What a link of type ``PERF_EVENT`` is attached to."""

    UNSPEC = 0
    UPROBE = 1
    URETPROBE = 2
    KPROBE = 3
    KRETPROBE = 4
    TRACEPOINT = 5
    EVENT = 6


@c_enum("bpf_task_fd_type", prefix="BPF_FD_TYPE_")
class FdType(CEnum):
    """What ``TASK_FD_QUERY`` found behind an fd."""

    RAW_TRACEPOINT = 0
    TRACEPOINT = 1
    KPROBE = 2
    KRETPROBE = 3
    UPROBE = 4
    URETPROBE = 5


@c_enum("bpf_stats_type", prefix="BPF_STATS_", since={"RUN_TIME": "5.8"})
class StatsType(CEnum):
    """What ``ENABLE_STATS`` switches on."""

    RUN_TIME = 0


@c_enum("", prefix="BPF_STREAM_", since={"STDOUT": "6.17", "STDERR": "6.17"})
class Stream(CEnum):
    """The output streams of a program."""

    STDOUT = 1
    STDERR = 2


@c_enum(
    "bpf_cgroup_iter_order",
    prefix="BPF_CGROUP_ITER_",
    since={
        "ORDER_UNSPEC": "6.1",
        "SELF_ONLY": "6.1",
        "DESCENDANTS_PRE": "6.1",
        "DESCENDANTS_POST": "6.1",
        "ANCESTORS_UP": "6.1",
        "CHILDREN": "7.0",
    },
)
class CgroupIterOrder(CEnum):
    """In which order a cgroup iterator walks."""

    ORDER_UNSPEC = 0
    SELF_ONLY = 1
    DESCENDANTS_PRE = 2
    DESCENDANTS_POST = 3
    ANCESTORS_UP = 4
    CHILDREN = 5


@c_enum("bpf_stack_build_id_status", prefix="BPF_STACK_BUILD_ID_")
class BuildIdStatus(CEnum):
    """What a ``bpf_stack_build_id`` holds."""

    EMPTY = 0
    VALID = 1
    IP = 2


@c_flags(
    "",
    prefix="BPF_F_",
    since={
        "REPLACE": "5.6",
        "BEFORE": "6.6",
        "AFTER": "6.6",
        "ID": "6.6",
        "PREORDER": "6.15",
        "LINK": "6.4",
    },
    macros=True,
)
class AttachFlag(CFlag):
    """Flags of ``PROG_ATTACH``, and of the links that are ordered among others."""

    ALLOW_OVERRIDE = 1 << 0
    ALLOW_MULTI = 1 << 1
    REPLACE = 1 << 2
    BEFORE = 1 << 3
    AFTER = 1 << 4
    ID = 1 << 5
    PREORDER = 1 << 6
    LINK = 1 << 13


@c_flags("", prefix="BPF_F_", macros=True)
class QueryFlag(CFlag):
    """Flags of ``PROG_QUERY``."""

    QUERY_EFFECTIVE = 1 << 0


@c_flags(
    "",
    prefix="BPF_F_TEST_",
    since={"RUN_ON_CPU": "5.10", "XDP_LIVE_FRAMES": "5.18", "SKB_CHECKSUM_COMPLETE": "6.11"},
    macros=True,
)
class TestRunFlag(CFlag):
    """Flags of ``PROG_TEST_RUN``."""

    RUN_ON_CPU = 1 << 0
    XDP_LIVE_FRAMES = 1 << 1
    SKB_CHECKSUM_COMPLETE = 1 << 2


@c_flags("", prefix="BPF_F_KPROBE_MULTI_", since={"RETURN": "5.18"})
class KprobeMultiFlag(CFlag):
    """Flags of a kprobe_multi link."""

    RETURN = 1 << 0


@c_flags("", prefix="BPF_F_UPROBE_MULTI_", since={"RETURN": "6.6", "PATH_FD": "7.2"})
class UprobeMultiFlag(CFlag):
    """Flags of an uprobe_multi link."""

    RETURN = 1 << 0
    PATH_FD = 1 << 1


@c_flags("", prefix="BPF_F_NETFILTER_", since={"IP_DEFRAG": "6.6"}, macros=True)
class NetfilterFlag(CFlag):
    """Flags of a netfilter link."""

    IP_DEFRAG = 1 << 0
