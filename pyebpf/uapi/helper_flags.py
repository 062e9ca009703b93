"""Flags and answers of the helpers that programs call, by helper."""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags

__all__ = [
    "ADJ_ROOM_ENCAP_L2_MASK",
    "ADJ_ROOM_ENCAP_L2_SHIFT",
    "F_CURRENT_NETNS",
    "RINGBUF_HDR_SZ",
    "SkbStoreBytesFlag",
    "CsumReplaceFlag",
    "TunnelKeyFlag",
    "StackFlag",
    "PerfEventFlag",
    "CsumLevel",
    "AdjRoomFlag",
    "AdjRoomMode",
    "HdrStartOff",
    "LwtEncapMode",
    "SysctlNameFlag",
    "LocalStorageFlag",
    "BranchRecordsFlag",
    "RingbufFlag",
    "RingbufQuery",
    "SkLookupAssignFlag",
    "BprmFlag",
    "RedirectFlag",
    "FibLookupFlag",
    "FibLookupRet",
    "CheckMtuFlag",
    "CheckMtuRet",
    "BtfShowFlag",
    "TimerFlag",
    "KfuncFlag",
    "FlowDissectorFlag",
    "RingbufHeader",
]

# Bytes before each record of a ring buffer: u32 length and bits, u32 page offset.
RINGBUF_HDR_SZ = 8

# Where the flags of ``skb_adjust_room`` hold the length of an inner L2 header.
ADJ_ROOM_ENCAP_L2_MASK = 0xFF
ADJ_ROOM_ENCAP_L2_SHIFT = 56

# Network namespace id of the caller's own, for the socket lookup helpers.
F_CURRENT_NETNS = -1


@c_flags("", prefix="BPF_F_")
class SkbStoreBytesFlag(CFlag):
    """Flags of ``skb_store_bytes``."""

    RECOMPUTE_CSUM = 1 << 0
    INVALIDATE_HASH = 1 << 1


@c_flags("", prefix="BPF_F_", since={"IPV6": "6.16"})
class CsumReplaceFlag(CFlag):
    """Flags of ``l3_csum_replace`` and ``l4_csum_replace``; the lowest bits are a field's size."""

    HDR_FIELD_MASK = 15
    PSEUDO_HDR = 1 << 4
    MARK_MANGLED_0 = 1 << 5
    MARK_ENFORCE = 1 << 6
    IPV6 = 1 << 7


@c_flags("", prefix="BPF_F_", since={"NO_TUNNEL_KEY": "6.3", "TUNINFO_FLAGS": "6.1"})
class TunnelKeyFlag(CFlag):
    """Flags of ``skb_set_tunnel_key`` and ``skb_get_tunnel_key``."""

    TUNINFO_IPV6 = 1 << 0
    ZERO_CSUM_TX = 1 << 1
    DONT_FRAGMENT = 1 << 2
    SEQ_NUMBER = 1 << 3
    NO_TUNNEL_KEY = 1 << 4
    TUNINFO_FLAGS = 1 << 4


@c_flags("", prefix="BPF_F_")
class StackFlag(CFlag):
    """Flags of ``get_stackid`` and ``get_stack``; the lowest bits are frames to skip."""

    SKIP_FIELD_MASK = 0xFF
    USER_STACK = 1 << 8
    FAST_STACK_CMP = 1 << 9
    REUSE_STACKID = 1 << 10
    USER_BUILD_ID = 1 << 11


@c_flags("", prefix="BPF_F_")
class PerfEventFlag(CFlag):
    """Flags of ``perf_event_output`` and of what reads counters; the lowest bits are an index."""

    INDEX_MASK = 0xFFFFFFFF
    CURRENT_CPU = 0xFFFFFFFF
    CTXLEN_MASK = 0xFFFFF00000000


@c_enum(
    "", prefix="BPF_CSUM_LEVEL_", since={"QUERY": "5.8", "INC": "5.8", "DEC": "5.8", "RESET": "5.8"}
)
class CsumLevel(CEnum):
    """What ``csum_level`` does."""

    QUERY = 0
    INC = 1
    DEC = 2
    RESET = 3


@c_flags(
    "",
    prefix="BPF_F_ADJ_ROOM_",
    since={
        "FIXED_GSO": "5.2",
        "ENCAP_L3_IPV4": "5.2",
        "ENCAP_L3_IPV6": "5.2",
        "ENCAP_L4_GRE": "5.2",
        "ENCAP_L4_UDP": "5.2",
        "NO_CSUM_RESET": "5.8",
        "ENCAP_L2_ETH": "5.13",
        "DECAP_L3_IPV4": "6.3",
        "DECAP_L3_IPV6": "6.3",
        "DECAP_L4_GRE": "7.3",
        "DECAP_L4_UDP": "7.3",
        "DECAP_IPXIP4": "7.3",
        "DECAP_IPXIP6": "7.3",
    },
)
class AdjRoomFlag(CFlag):
    """Flags of ``skb_adjust_room``; the top byte is the length of an inner L2 header."""

    FIXED_GSO = 1 << 0
    ENCAP_L3_IPV4 = 1 << 1
    ENCAP_L3_IPV6 = 1 << 2
    ENCAP_L4_GRE = 1 << 3
    ENCAP_L4_UDP = 1 << 4
    NO_CSUM_RESET = 1 << 5
    ENCAP_L2_ETH = 1 << 6
    DECAP_L3_IPV4 = 1 << 7
    DECAP_L3_IPV6 = 1 << 8
    DECAP_L4_GRE = 1 << 9
    DECAP_L4_UDP = 1 << 10
    DECAP_IPXIP4 = 1 << 11
    DECAP_IPXIP6 = 1 << 12


@c_enum("bpf_adj_room_mode", prefix="BPF_ADJ_ROOM_", since={"MAC": "5.2"})
class AdjRoomMode(CEnum):
    """Where ``skb_adjust_room`` makes room."""

    NET = 0
    MAC = 1


@c_enum("bpf_hdr_start_off", prefix="BPF_HDR_START_")
class HdrStartOff(CEnum):
    """What ``skb_load_bytes_relative`` counts from."""

    MAC = 0
    NET = 1


@c_enum("bpf_lwt_encap_mode", prefix="BPF_LWT_ENCAP_", since={"IP": "5.1"})
class LwtEncapMode(CEnum):
    """What ``lwt_push_encap`` pushes."""

    SEG6 = 0
    SEG6_INLINE = 1
    IP = 2


@c_flags("", prefix="BPF_F_", since={"SYSCTL_BASE_NAME": "5.2"})
class SysctlNameFlag(CFlag):
    """Flags of ``sysctl_get_name``."""

    SYSCTL_BASE_NAME = 1 << 0


@c_flags("", prefix="BPF_LOCAL_STORAGE_GET_F_", since={"CREATE": "5.10"})
class LocalStorageFlag(CFlag):
    """Flags of the ``*_storage_get`` helpers."""

    CREATE = 1 << 0


@c_flags("", prefix="BPF_F_", since={"GET_BRANCH_RECORDS_SIZE": "5.7"})
class BranchRecordsFlag(CFlag):
    """Flags of ``read_branch_records``."""

    GET_BRANCH_RECORDS_SIZE = 1 << 0


@c_flags("", prefix="BPF_RB_", since={"NO_WAKEUP": "5.8", "FORCE_WAKEUP": "5.8"})
class RingbufFlag(CFlag):
    """Flags of ``ringbuf_output``, ``ringbuf_submit`` and ``ringbuf_discard``."""

    NO_WAKEUP = 1 << 0
    FORCE_WAKEUP = 1 << 1


@c_enum(
    "",
    prefix="BPF_RB_",
    since={
        "AVAIL_DATA": "5.8",
        "RING_SIZE": "5.8",
        "CONS_POS": "5.8",
        "PROD_POS": "5.8",
        "OVERWRITE_POS": "6.19",
    },
)
class RingbufQuery(CEnum):
    """What ``ringbuf_query`` tells."""

    AVAIL_DATA = 0
    RING_SIZE = 1
    CONS_POS = 2
    PROD_POS = 3
    OVERWRITE_POS = 4


@c_flags("", prefix="BPF_SK_LOOKUP_F_", since={"REPLACE": "5.9", "NO_REUSEPORT": "5.9"})
class SkLookupAssignFlag(CFlag):
    """Flags of ``sk_assign`` in a socket lookup program."""

    REPLACE = 1 << 0
    NO_REUSEPORT = 1 << 1


@c_flags("", prefix="BPF_F_", since={"BPRM_SECUREEXEC": "5.11"})
class BprmFlag(CFlag):
    """Flags of ``bprm_opts_set``."""

    BPRM_SECUREEXEC = 1 << 0


@c_flags(
    "", prefix="BPF_F_", since={"EGRESS": "7.3", "BROADCAST": "5.14", "EXCLUDE_INGRESS": "5.14"}
)
class RedirectFlag(CFlag):
    """Flags of ``redirect``, ``redirect_map`` and ``redirect_peer``."""

    INGRESS = 1 << 0
    EGRESS = 1 << 1
    BROADCAST = 1 << 3
    EXCLUDE_INGRESS = 1 << 4


@c_flags(
    "",
    prefix="BPF_FIB_LOOKUP_",
    since={
        "SKIP_NEIGH": "6.3",
        "TBID": "6.5",
        "SRC": "6.7",
        "MARK": "6.10",
        "VLAN": "7.3",
        "VLAN_INPUT": "7.3",
    },
)
class FibLookupFlag(CFlag):
    """Flags of ``fib_lookup``."""

    DIRECT = 1 << 0
    OUTPUT = 1 << 1
    SKIP_NEIGH = 1 << 2
    TBID = 1 << 3
    SRC = 1 << 4
    MARK = 1 << 5
    VLAN = 1 << 6
    VLAN_INPUT = 1 << 7


@c_enum("", prefix="BPF_FIB_LKUP_RET_", since={"NO_SRC_ADDR": "6.7", "VLAN_FAILURE": "7.3"})
class FibLookupRet(CEnum):
    """What ``fib_lookup`` returns."""

    SUCCESS = 0
    BLACKHOLE = 1
    UNREACHABLE = 2
    PROHIBIT = 3
    NOT_FWDED = 4
    FWD_DISABLED = 5
    UNSUPP_LWT = 6
    NO_NEIGH = 7
    FRAG_NEEDED = 8
    NO_SRC_ADDR = 9
    VLAN_FAILURE = 10


@c_flags("bpf_check_mtu_flags", prefix="BPF_MTU_CHK_", since={"SEGS": "5.12"})
class CheckMtuFlag(CFlag):
    """Flags of ``check_mtu``."""

    SEGS = 1 << 0


@c_enum(
    "bpf_check_mtu_ret",
    prefix="BPF_MTU_CHK_RET_",
    since={"SUCCESS": "5.12", "FRAG_NEEDED": "5.12", "SEGS_TOOBIG": "5.12"},
)
class CheckMtuRet(CEnum):
    """What ``check_mtu`` returns."""

    SUCCESS = 0
    FRAG_NEEDED = 1
    SEGS_TOOBIG = 2


@c_flags(
    "",
    prefix="BTF_F_",
    since={"COMPACT": "5.10", "NONAME": "5.10", "PTR_RAW": "5.10", "ZERO": "5.10"},
)
class BtfShowFlag(CFlag):
    """Flags of ``snprintf_btf`` and ``seq_printf_btf``."""

    COMPACT = 1 << 0
    NONAME = 1 << 1
    PTR_RAW = 1 << 2
    ZERO = 1 << 3


@c_flags("", prefix="BPF_F_TIMER_", since={"ABS": "6.4", "CPU_PIN": "6.7"})
class TimerFlag(CFlag):
    """Flags of ``timer_start``."""

    ABS = 1 << 0
    CPU_PIN = 1 << 1


@c_flags("bpf_kfunc_flags", prefix="BPF_F_", since={"PAD_ZEROS": "6.12"})
class KfuncFlag(CFlag):
    """Flags of kfuncs that copy strings."""

    PAD_ZEROS = 1 << 0


@c_flags(
    "",
    prefix="BPF_FLOW_DISSECTOR_F_",
    since={"PARSE_1ST_FRAG": "5.4", "STOP_AT_FLOW_LABEL": "5.4", "STOP_AT_ENCAP": "5.4"},
)
class FlowDissectorFlag(CFlag):
    """Flags in ``bpf_flow_keys``."""

    PARSE_1ST_FRAG = 1 << 0
    STOP_AT_FLOW_LABEL = 1 << 1
    STOP_AT_ENCAP = 1 << 2


@c_flags("", prefix="BPF_RINGBUF_", since={"BUSY_BIT": "5.8", "DISCARD_BIT": "5.8"})
class RingbufHeader(CFlag):
    """Bits in the length of a ring buffer record's header."""

    BUSY_BIT = 1 << 31
    DISCARD_BIT = 1 << 30
