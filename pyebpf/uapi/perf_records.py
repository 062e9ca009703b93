"""What an event's ring holds: the other half of ``linux/perf_event.h``.

    mmap of an event's fd
    |metadata page: PerfEventMmapPage |data: 2^n pages of records ...........................|
                                       each record: |type 4|misc 2|size 2|body, padded to 8 |

A record that passes the end of the data goes on at its start.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags
from pyebpf.uapi.cstruct import CStruct, c_struct, s64, u16, u32, u64

__all__ = [
    "RecordType",
    "CpuMode",
    "RecordMisc",
    "CallchainContext",
    "KsymbolType",
    "BpfEventType",
    "AuxFlag",
    "PerfEventHeader",
    "PerfEventMmapPage",
]


@c_enum(
    "perf_event_type",
    prefix="PERF_RECORD_",
    since={
        "KSYMBOL": "5.1",
        "BPF_EVENT": "5.1",
        "CGROUP": "5.7",
        "TEXT_POKE": "5.9",
        "AUX_OUTPUT_HW_ID": "5.16",
        "CALLCHAIN_DEFERRED": "6.19",
    },
    header="linux/perf_event.h",
)
class RecordType(CEnum):
    """Kind of a record in an event's buffer."""

    MMAP = 1
    LOST = 2
    COMM = 3
    EXIT = 4
    THROTTLE = 5
    UNTHROTTLE = 6
    FORK = 7
    READ = 8
    SAMPLE = 9
    MMAP2 = 10
    AUX = 11
    ITRACE_START = 12
    LOST_SAMPLES = 13
    SWITCH = 14
    SWITCH_CPU_WIDE = 15
    NAMESPACES = 16
    KSYMBOL = 17
    BPF_EVENT = 18
    CGROUP = 19
    TEXT_POKE = 20
    AUX_OUTPUT_HW_ID = 21
    CALLCHAIN_DEFERRED = 22


@c_enum(
    "",
    prefix="PERF_RECORD_MISC_",
    names={"UNKNOWN": "PERF_RECORD_MISC_CPUMODE_UNKNOWN"},
    header="linux/perf_event.h",
    macros=True,
)
class CpuMode(CEnum):
    """Where the CPU was: the lowest three bits of a record's ``misc``."""

    UNKNOWN = 0
    KERNEL = 1
    USER = 2
    HYPERVISOR = 3
    GUEST_KERNEL = 4
    GUEST_USER = 5


@c_flags(
    "",
    prefix="PERF_RECORD_MISC_",
    since={"MMAP_BUILD_ID": "5.12"},
    header="linux/perf_event.h",
    macros=True,
)
class RecordMisc(CFlag):
    """The other bits of a record's ``misc``; what a bit means depends on the record's type."""

    CPUMODE_MASK = 7
    PROC_MAP_PARSE_TIMEOUT = 1 << 12
    MMAP_DATA = 1 << 13
    COMM_EXEC = 1 << 13
    FORK_EXEC = 1 << 13
    SWITCH_OUT = 1 << 13
    EXACT_IP = 1 << 14
    SWITCH_OUT_PREEMPT = 1 << 14
    MMAP_BUILD_ID = 1 << 14
    EXT_RESERVED = 1 << 15


@c_enum(
    "perf_callchain_context",
    prefix="PERF_CONTEXT_",
    since={"USER_DEFERRED": "6.19"},
    header="linux/perf_event.h",
)
class CallchainContext(CEnum):
    """Markers between the addresses of a callchain: what follows is of this context."""

    HV = (1 << 64) - 32
    KERNEL = (1 << 64) - 128
    USER = (1 << 64) - 512
    USER_DEFERRED = (1 << 64) - 640
    GUEST = (1 << 64) - 2048
    GUEST_KERNEL = (1 << 64) - 2176
    GUEST_USER = (1 << 64) - 2560
    MAX = (1 << 64) - 4095


@c_enum(
    "perf_record_ksymbol_type",
    prefix="PERF_RECORD_KSYMBOL_TYPE_",
    since={"UNKNOWN": "5.1", "BPF": "5.1", "OOL": "5.9"},
    header="linux/perf_event.h",
)
class KsymbolType(CEnum):
    """What a ``KSYMBOL`` record is about."""

    UNKNOWN = 0
    BPF = 1
    OOL = 2


@c_enum(
    "perf_bpf_event_type",
    prefix="PERF_BPF_EVENT_",
    since={"UNKNOWN": "5.1", "PROG_LOAD": "5.1", "PROG_UNLOAD": "5.1"},
    header="linux/perf_event.h",
)
class BpfEventType(CEnum):
    """What a ``BPF_EVENT`` record tells."""

    UNKNOWN = 0
    PROG_LOAD = 1
    PROG_UNLOAD = 2


@c_flags("", prefix="PERF_AUX_FLAG_", header="linux/perf_event.h", macros=True)
class AuxFlag(CFlag):
    """Flags of an ``AUX`` record."""

    TRUNCATED = 1 << 0
    OVERWRITE = 1 << 1
    PARTIAL = 1 << 2
    COLLISION = 1 << 3


@c_struct("perf_event_header", header="linux/perf_event.h")
class PerfEventHeader(CStruct):
    """Before each record; ``size`` counts it too."""

    type: int = u32()
    misc: int = u16()
    size: int = u16()


@c_struct("perf_event_mmap_page", size=1088, header="linux/perf_event.h")
class PerfEventMmapPage(CStruct):
    """The metadata page of an event's buffer. Heads and tails count bytes and never wrap."""

    version: int = u32()
    compat_version: int = u32()
    lock: int = u32()
    index: int = u32()
    offset: int = s64()
    time_enabled: int = u64()
    time_running: int = u64()
    capabilities: int = u64()
    pmc_width: int = u16()
    time_shift: int = u16()
    time_mult: int = u32()
    time_offset: int = u64()
    time_zero: int = u64()
    size: int = u32()
    time_cycles: int = u64(at=80, since="5.9")
    time_mask: int = u64(since="5.9")
    data_head: int = u64(at=1024)
    data_tail: int = u64()
    data_offset: int = u64()
    data_size: int = u64()
    aux_head: int = u64()
    aux_tail: int = u64()
    aux_offset: int = u64()
    aux_size: int = u64()
