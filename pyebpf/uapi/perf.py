"""perf_event_open(2), of ``linux/perf_event.h``; `pyebpf.uapi.perf_records` is what it gives."""

from __future__ import annotations

import os

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags
from pyebpf.uapi.cstruct import (
    CStruct,
    Pointer,
    bits,
    c_struct,
    pointer,
    s32,
    u16,
    u32,
    u64,
)

TYPE_CHECKING = False  # as in the package's own __init__
if TYPE_CHECKING:
    from pyebpf.uapi.perf_counters import BranchSampleType as BranchSampleType
    from pyebpf.uapi.perf_counters import BreakpointType as BreakpointType
    from pyebpf.uapi.perf_counters import IocFlag as IocFlag
    from pyebpf.uapi.perf_counters import PerfHw as PerfHw
    from pyebpf.uapi.perf_counters import PerfHwCache as PerfHwCache
    from pyebpf.uapi.perf_counters import PerfHwCacheOp as PerfHwCacheOp
    from pyebpf.uapi.perf_counters import PerfHwCacheResult as PerfHwCacheResult
    from pyebpf.uapi.perf_counters import PerfSw as PerfSw
    from pyebpf.uapi.perf_counters import ReadFormat as ReadFormat

__all__ = [
    "PERF_ATTR_SIZE_VER0",
    "PERF_ATTR_SIZE_VER1",
    "PERF_ATTR_SIZE_VER2",
    "PERF_ATTR_SIZE_VER3",
    "PERF_ATTR_SIZE_VER4",
    "PERF_ATTR_SIZE_VER5",
    "PERF_ATTR_SIZE_VER6",
    "PERF_ATTR_SIZE_VER7",
    "PERF_ATTR_SIZE_VER8",
    "PERF_ATTR_SIZE_VER9",
    "PerfEventAttr",
    "PerfEventQueryBpf",
    "PerfIoctl",
    "PerfType",
    "PerfHw",
    "PerfHwCache",
    "PerfHwCacheOp",
    "PerfHwCacheResult",
    "PerfSw",
    "SampleType",
    "BranchSampleType",
    "ReadFormat",
    "PerfOpenFlag",
    "IocFlag",
    "BreakpointType",
]

# Bytes of ``perf_event_attr`` as it grew, and the field that made it longer. A kernel refuses a
# longer one than it knows with E2BIG, unless what it does not know is zero.
PERF_ATTR_SIZE_VER0 = 64  # Linux 2.6.31
PERF_ATTR_SIZE_VER1 = 72  # config2, 2.6.33
PERF_ATTR_SIZE_VER2 = 80  # branch_sample_type, 3.4
PERF_ATTR_SIZE_VER3 = 96  # sample_regs_user, 3.7
PERF_ATTR_SIZE_VER4 = 104  # sample_regs_intr, 3.19
PERF_ATTR_SIZE_VER5 = 112  # aux_watermark, 4.1
PERF_ATTR_SIZE_VER6 = 120  # aux_sample_size, 5.5
PERF_ATTR_SIZE_VER7 = 128  # sig_data, 5.13
PERF_ATTR_SIZE_VER8 = 136  # config3, 6.3
PERF_ATTR_SIZE_VER9 = 144  # config4, 6.19


@c_enum("perf_type_id", prefix="PERF_TYPE_", header="linux/perf_event.h")
class PerfType(CEnum):
    """Kind of event; other numbers are of PMUs found at run time (``/sys/bus/event_source``)."""

    HARDWARE = 0
    SOFTWARE = 1
    TRACEPOINT = 2
    HW_CACHE = 3
    RAW = 4
    BREAKPOINT = 5


@c_flags(
    "perf_event_sample_format",
    prefix="PERF_SAMPLE_",
    since={
        "AUX": "5.5",
        "CGROUP": "5.7",
        "DATA_PAGE_SIZE": "5.11",
        "CODE_PAGE_SIZE": "5.11",
        "WEIGHT_STRUCT": "5.12",
    },
    header="linux/perf_event.h",
)
class SampleType(CFlag):
    """What a sample contains."""

    IP = 1 << 0
    TID = 1 << 1
    TIME = 1 << 2
    ADDR = 1 << 3
    READ = 1 << 4
    CALLCHAIN = 1 << 5
    ID = 1 << 6
    CPU = 1 << 7
    PERIOD = 1 << 8
    STREAM_ID = 1 << 9
    RAW = 1 << 10
    BRANCH_STACK = 1 << 11
    REGS_USER = 1 << 12
    STACK_USER = 1 << 13
    WEIGHT = 1 << 14
    DATA_SRC = 1 << 15
    IDENTIFIER = 1 << 16
    TRANSACTION = 1 << 17
    REGS_INTR = 1 << 18
    PHYS_ADDR = 1 << 19
    AUX = 1 << 20
    CGROUP = 1 << 21
    DATA_PAGE_SIZE = 1 << 22
    CODE_PAGE_SIZE = 1 << 23
    WEIGHT_STRUCT = 1 << 24


@c_flags("", prefix="PERF_FLAG_", header="linux/perf_event.h", macros=True)
class PerfOpenFlag(CFlag):
    """Flags of perf_event_open(2)."""

    FD_NO_GROUP = 1 << 0
    FD_OUTPUT = 1 << 1
    PID_CGROUP = 1 << 2
    FD_CLOEXEC = 1 << 3


# Number of an ioctl of perf events: direction, size of what the argument points to, letter, number.
def _ioctl(direction: str, number: int, size: int = 0) -> int:
    # asm-generic/ioctl.h has it so; powerpc, mips, sparc and alpha have three bits of direction.
    shift, codes = 30, {"": 0, "w": 1, "r": 2, "rw": 3}
    if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")):
        shift, codes = 29, {"": 1, "w": 4, "r": 2, "rw": 6}
    return codes[direction] << shift | size << 16 | ord("$") << 8 | number


@c_enum("", prefix="PERF_EVENT_IOC_", header="linux/perf_event.h", macros=True)
class PerfIoctl(CEnum):
    """Requests to ioctl(2) on a perf event."""

    ENABLE = _ioctl("", 0)
    DISABLE = _ioctl("", 1)
    REFRESH = _ioctl("", 2)
    RESET = _ioctl("", 3)
    PERIOD = _ioctl("w", 4, 8)
    SET_OUTPUT = _ioctl("", 5)
    SET_FILTER = _ioctl("w", 6, 8)
    ID = _ioctl("r", 7, 8)
    SET_BPF = _ioctl("w", 8, 4)
    PAUSE_OUTPUT = _ioctl("w", 9, 4)
    QUERY_BPF = _ioctl("rw", 10, 8)
    MODIFY_ATTRIBUTES = _ioctl("w", 11, 8)


@c_struct("perf_event_attr", header="linux/perf_event.h")
class PerfEventAttr(CStruct):
    """What to count or sample; the kernel writes what size it knows into ``size`` on E2BIG."""

    type: int = u32()
    size: int = u32()
    config: int = u64()
    sample_period: int = u64()
    sample_freq: int = u64(at=16)
    sample_type: int = u64()
    read_format: int = u64()
    disabled: int = bits(1)
    inherit: int = bits(1)
    pinned: int = bits(1)
    exclusive: int = bits(1)
    exclude_user: int = bits(1)
    exclude_kernel: int = bits(1)
    exclude_hv: int = bits(1)
    exclude_idle: int = bits(1)
    mmap: int = bits(1)
    comm: int = bits(1)
    freq: int = bits(1)
    inherit_stat: int = bits(1)
    enable_on_exec: int = bits(1)
    task: int = bits(1)
    watermark: int = bits(1)
    precise_ip: int = bits(2)
    mmap_data: int = bits(1)
    sample_id_all: int = bits(1)
    exclude_host: int = bits(1)
    exclude_guest: int = bits(1)
    exclude_callchain_kernel: int = bits(1)
    exclude_callchain_user: int = bits(1)
    mmap2: int = bits(1)
    comm_exec: int = bits(1)
    use_clockid: int = bits(1)
    context_switch: int = bits(1)
    write_backward: int = bits(1)
    namespaces: int = bits(1)
    ksymbol: int = bits(1, since="5.1")
    bpf_event: int = bits(1, since="5.1")
    aux_output: int = bits(1, since="5.4")
    cgroup: int = bits(1, since="5.7")
    text_poke: int = bits(1, since="5.9")
    build_id: int = bits(1, since="5.12")
    inherit_thread: int = bits(1, since="5.13")
    remove_on_exec: int = bits(1, since="5.13")
    sigtrap: int = bits(1, since="5.13")
    defer_callchain: int = bits(1, since="6.19")
    defer_output: int = bits(1, since="6.19")
    wakeup_events: int = u32()
    wakeup_watermark: int = u32(at=48)
    bp_type: int = u32()
    config1: Pointer = pointer()
    bp_addr: int = u64(at=56)
    kprobe_func: Pointer = pointer(at=56)
    uprobe_path: Pointer = pointer(at=56)
    config2: int = u64()
    bp_len: int = u64(at=64)
    kprobe_addr: int = u64(at=64)
    probe_offset: int = u64(at=64)
    branch_sample_type: int = u64()
    sample_regs_user: int = u64()
    sample_stack_user: int = u32()
    clockid: int = s32()
    sample_regs_intr: int = u64()
    aux_watermark: int = u32()
    sample_max_stack: int = u16()
    aux_sample_size: int = u32(since="5.5")
    aux_action: int = u32(since="6.13")
    sig_data: int = u64(since="5.13")
    config3: int = u64(since="6.3")
    config4: int = u64(since="6.19")


@c_struct("perf_event_query_bpf", header="linux/perf_event.h")
class PerfEventQueryBpf(CStruct):
    """Argument of ``QUERY_BPF``; room for ``ids_len`` program ids (u32) follows."""

    ids_len: int = u32()
    prog_cnt: int = u32()


# What few need is looked up when it is used; the names of all are here.
def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyebpf.uapi import perf_counters

    return getattr(perf_counters, name)
