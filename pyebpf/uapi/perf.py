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


@c_enum("perf_hw_id", prefix="PERF_COUNT_HW_", header="linux/perf_event.h")
class PerfHw(CEnum):
    """Config of ``HARDWARE`` events."""

    CPU_CYCLES = 0
    INSTRUCTIONS = 1
    CACHE_REFERENCES = 2
    CACHE_MISSES = 3
    BRANCH_INSTRUCTIONS = 4
    BRANCH_MISSES = 5
    BUS_CYCLES = 6
    STALLED_CYCLES_FRONTEND = 7
    STALLED_CYCLES_BACKEND = 8
    REF_CPU_CYCLES = 9


@c_enum("perf_hw_cache_id", prefix="PERF_COUNT_HW_CACHE_", header="linux/perf_event.h")
class PerfHwCache(CEnum):
    """Config of ``HW_CACHE`` events, lowest byte."""

    L1D = 0
    L1I = 1
    LL = 2
    DTLB = 3
    ITLB = 4
    BPU = 5
    NODE = 6


@c_enum("perf_hw_cache_op_id", prefix="PERF_COUNT_HW_CACHE_OP_", header="linux/perf_event.h")
class PerfHwCacheOp(CEnum):
    """Config of ``HW_CACHE`` events, second byte."""

    READ = 0
    WRITE = 1
    PREFETCH = 2


@c_enum(
    "perf_hw_cache_op_result_id", prefix="PERF_COUNT_HW_CACHE_RESULT_", header="linux/perf_event.h"
)
class PerfHwCacheResult(CEnum):
    """Config of ``HW_CACHE`` events, third byte."""

    ACCESS = 0
    MISS = 1


@c_enum(
    "perf_sw_ids",
    prefix="PERF_COUNT_SW_",
    since={"CGROUP_SWITCHES": "5.13"},
    header="linux/perf_event.h",
)
class PerfSw(CEnum):
    """Config of ``SOFTWARE`` events."""

    CPU_CLOCK = 0
    TASK_CLOCK = 1
    PAGE_FAULTS = 2
    CONTEXT_SWITCHES = 3
    CPU_MIGRATIONS = 4
    PAGE_FAULTS_MIN = 5
    PAGE_FAULTS_MAJ = 6
    ALIGNMENT_FAULTS = 7
    EMULATION_FAULTS = 8
    DUMMY = 9
    BPF_OUTPUT = 10
    CGROUP_SWITCHES = 11


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


@c_flags(
    "perf_branch_sample_type",
    prefix="PERF_SAMPLE_BRANCH_",
    since={"HW_INDEX": "5.7", "PRIV_SAVE": "6.1", "COUNTERS": "6.7"},
    header="linux/perf_event.h",
)
class BranchSampleType(CFlag):
    """Which branches a branch stack contains."""

    USER = 1 << 0
    KERNEL = 1 << 1
    HV = 1 << 2
    ANY = 1 << 3
    ANY_CALL = 1 << 4
    ANY_RETURN = 1 << 5
    IND_CALL = 1 << 6
    ABORT_TX = 1 << 7
    IN_TX = 1 << 8
    NO_TX = 1 << 9
    COND = 1 << 10
    CALL_STACK = 1 << 11
    IND_JUMP = 1 << 12
    CALL = 1 << 13
    NO_FLAGS = 1 << 14
    NO_CYCLES = 1 << 15
    TYPE_SAVE = 1 << 16
    HW_INDEX = 1 << 17
    PRIV_SAVE = 1 << 18
    COUNTERS = 1 << 19


@c_flags(
    "perf_event_read_format",
    prefix="PERF_FORMAT_",
    since={"LOST": "6.0"},
    header="linux/perf_event.h",
)
class ReadFormat(CFlag):
    """What reading an event's fd returns; `LOST` counts lost records."""

    TOTAL_TIME_ENABLED = 1 << 0
    TOTAL_TIME_RUNNING = 1 << 1
    ID = 1 << 2
    GROUP = 1 << 3
    LOST = 1 << 4


@c_flags("", prefix="PERF_FLAG_", header="linux/perf_event.h", macros=True)
class PerfOpenFlag(CFlag):
    """Flags of perf_event_open(2)."""

    FD_NO_GROUP = 1 << 0
    FD_OUTPUT = 1 << 1
    PID_CGROUP = 1 << 2
    FD_CLOEXEC = 1 << 3


@c_flags("perf_event_ioc_flags", prefix="PERF_IOC_FLAG_", header="linux/perf_event.h")
class IocFlag(CFlag):
    """Argument of the ioctls that switch events: all of a group."""

    GROUP = 1 << 0


@c_flags("", prefix="HW_BREAKPOINT_", header="linux/hw_breakpoint.h")
class BreakpointType(CFlag):
    """What a ``BREAKPOINT`` event watches for."""

    EMPTY = 0
    R = 1 << 0
    W = 1 << 1
    X = 1 << 2


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
