"""What socket and cgroup programs are asked, and what they may set."""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags

__all__ = [
    "SockOp",
    "SockOpsFlag",
    "SkBpfCbFlag",
    "TcpState",
    "SockOption",
    "LoadHdrOptFlag",
    "WriteHdrOpt",
    "DeviceAccess",
    "DeviceType",
    "SkbClock",
]


@c_enum(
    "",
    prefix="BPF_SOCK_OPS_",
    since={
        "TCP_LISTEN_CB": "4.19",
        "RTT_CB": "5.3",
        "PARSE_HDR_OPT_CB": "5.10",
        "HDR_OPT_LEN_CB": "5.10",
        "WRITE_HDR_OPT_CB": "5.10",
        "TSTAMP_SCHED_CB": "6.15",
        "TSTAMP_SND_SW_CB": "6.15",
        "TSTAMP_SND_HW_CB": "6.15",
        "TSTAMP_ACK_CB": "6.15",
        "TSTAMP_SENDMSG_CB": "6.15",
    },
)
class SockOp(CEnum):
    """What a ``SOCK_OPS`` program is asked."""

    VOID = 0
    TIMEOUT_INIT = 1
    RWND_INIT = 2
    TCP_CONNECT_CB = 3
    ACTIVE_ESTABLISHED_CB = 4
    PASSIVE_ESTABLISHED_CB = 5
    NEEDS_ECN = 6
    BASE_RTT = 7
    RTO_CB = 8
    RETRANS_CB = 9
    STATE_CB = 10
    TCP_LISTEN_CB = 11
    RTT_CB = 12
    PARSE_HDR_OPT_CB = 13
    HDR_OPT_LEN_CB = 14
    WRITE_HDR_OPT_CB = 15
    TSTAMP_SCHED_CB = 16
    TSTAMP_SND_SW_CB = 17
    TSTAMP_SND_HW_CB = 18
    TSTAMP_ACK_CB = 19
    TSTAMP_SENDMSG_CB = 20


@c_flags(
    "",
    prefix="BPF_SOCK_OPS_",
    since={
        "RTT_CB_FLAG": "5.3",
        "PARSE_ALL_HDR_OPT_CB_FLAG": "5.10",
        "PARSE_UNKNOWN_HDR_OPT_CB_FLAG": "5.10",
        "WRITE_HDR_OPT_CB_FLAG": "5.10",
    },
)
class SockOpsFlag(CFlag):
    """What a ``SOCK_OPS`` program wants to be asked."""

    RTO_CB_FLAG = 1 << 0
    RETRANS_CB_FLAG = 1 << 1
    STATE_CB_FLAG = 1 << 2
    RTT_CB_FLAG = 1 << 3
    PARSE_ALL_HDR_OPT_CB_FLAG = 1 << 4
    PARSE_UNKNOWN_HDR_OPT_CB_FLAG = 1 << 5
    WRITE_HDR_OPT_CB_FLAG = 1 << 6


@c_flags("", prefix="SK_BPF_CB_", since={"TX_TIMESTAMPING": "6.15"})
class SkBpfCbFlag(CFlag):
    """What a ``SOCK_OPS`` program wants to be asked of any socket."""

    TX_TIMESTAMPING = 1 << 0


@c_enum("", prefix="BPF_TCP_", since={"BOUND_INACTIVE": "6.9"})
class TcpState(CEnum):
    """States of a TCP socket."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12
    BOUND_INACTIVE = 13


@c_enum(
    "",
    prefix="",
    since={
        "TCP_BPF_DELACK_MAX": "5.10",
        "TCP_BPF_RTO_MIN": "5.10",
        "TCP_BPF_SYN": "5.10",
        "TCP_BPF_SYN_IP": "5.10",
        "TCP_BPF_SYN_MAC": "5.10",
        "TCP_BPF_SOCK_OPS_CB_FLAGS": "6.12",
        "SK_BPF_CB_FLAGS": "6.15",
        "SK_BPF_BYPASS_PROT_MEM": "6.19",
    },
)
class SockOption(CEnum):
    """Options only the ``setsockopt`` and ``getsockopt`` helpers know."""

    TCP_BPF_IW = 1001
    TCP_BPF_SNDCWND_CLAMP = 1002
    TCP_BPF_DELACK_MAX = 1003
    TCP_BPF_RTO_MIN = 1004
    TCP_BPF_SYN = 1005
    TCP_BPF_SYN_IP = 1006
    TCP_BPF_SYN_MAC = 1007
    TCP_BPF_SOCK_OPS_CB_FLAGS = 1008
    SK_BPF_CB_FLAGS = 1009
    SK_BPF_BYPASS_PROT_MEM = 1010


@c_flags("", prefix="BPF_LOAD_HDR_OPT_", since={"TCP_SYN": "5.10"})
class LoadHdrOptFlag(CFlag):
    """Flags of ``load_hdr_opt``."""

    TCP_SYN = 1 << 0


@c_enum("", prefix="BPF_WRITE_HDR_", since={"TCP_CURRENT_MSS": "5.10", "TCP_SYNACK_COOKIE": "5.10"})
class WriteHdrOpt(CEnum):
    """Why header options are written: ``args[0]`` of ``HDR_OPT_LEN_CB``."""

    TCP_CURRENT_MSS = 1
    TCP_SYNACK_COOKIE = 2


@c_flags("", prefix="BPF_DEVCG_ACC_")
class DeviceAccess(CFlag):
    """Access a ``CGROUP_DEVICE`` program decides on, in the upper 16 bits of ``access_type``."""

    MKNOD = 1 << 0
    READ = 1 << 1
    WRITE = 1 << 2


@c_enum("", prefix="BPF_DEVCG_DEV_")
class DeviceType(CEnum):
    """Kind of device a ``CGROUP_DEVICE`` program decides on."""

    BLOCK = 1
    CHAR = 2


@c_enum("", prefix="BPF_SKB_CLOCK_", since={"REALTIME": "6.10", "MONOTONIC": "6.10", "TAI": "6.10"})
class SkbClock(CEnum):
    """The clock of ``__sk_buff.tstamp``."""

    REALTIME = 0
    MONOTONIC = 1
    TAI = 2
