"""What perf events count, and how: users import it from ``perf``.

Tracepoints and probes do without.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags

__all__ = [
    "PerfHw",
    "PerfHwCache",
    "PerfHwCacheOp",
    "PerfHwCacheResult",
    "PerfSw",
    "BranchSampleType",
    "ReadFormat",
    "IocFlag",
    "BreakpointType",
]


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
