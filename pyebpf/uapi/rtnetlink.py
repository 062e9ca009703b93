"""What attaching XDP and tc programs through netlink needs.

    NlMsgHdr   |len 4|type 2|flags 2|seq 4|pid 4|
    IfInfoMsg  |family 1|pad 1|type 2|index 4|flags 4|change 4|
    TcMsg      |family 1|pad 3|ifindex 4|handle 4|parent 4|info 4|
    NlAttr     |len 2|type 2|payload, padded to 4|

A message is a NlMsgHdr, one of the next two, then attributes, which may hold attributes.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags
from pyebpf.uapi.cstruct import CStruct, c_struct, s32, u8, u16, u32

__all__ = [
    "NETLINK_ROUTE",
    "NETLINK_EXT_ACK",
    "NETLINK_CAP_ACK",
    "NETLINK_GET_STRICT_CHK",
    "NLA_F_NESTED",
    "NLA_TYPE_MASK",
    "SOL_NETLINK",
    "TC_H_CLSACT",
    "TC_H_MIN_EGRESS",
    "TC_H_MIN_INGRESS",
    "TC_H_UNSPEC",
    "IfInfoMsg",
    "NlAttr",
    "NlMsgErr",
    "NlMsgHdr",
    "TcActBpf",
    "TcMsg",
    "NetlinkType",
    "NetlinkFlag",
    "NlmsgerrAttr",
    "RtnetlinkType",
    "IflaAttr",
    "IflaXdpAttr",
    "TcaActAttr",
    "TcaActBpfAttr",
    "TcaAttr",
    "TcaBpfAttr",
    "TcaBpfFlag",
    "TcaMatchallAttr",
]

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12  # Linux 4.20

NLA_F_NESTED = 1 << 15
NLA_TYPE_MASK = 0x3FFF

# Handles of the clsact qdisc: itself, and the two places that filters hang on.
TC_H_UNSPEC = 0
TC_H_CLSACT = 0xFFFFFFF1
TC_H_MIN_INGRESS = 0xFFF2
TC_H_MIN_EGRESS = 0xFFF3


@c_enum("", prefix="NLMSG_", header="linux/netlink.h", macros=True)
class NetlinkType(CEnum):
    """Messages of netlink itself."""

    NOOP = 1
    ERROR = 2
    DONE = 3
    OVERRUN = 4


@c_flags("", prefix="NLM_F_", header="linux/netlink.h", macros=True)
class NetlinkFlag(CFlag):
    """Flags in a netlink header; queries, changes and answers share bits."""

    REQUEST = 1 << 0
    MULTI = 1 << 1
    ACK = 1 << 2
    ECHO = 1 << 3
    DUMP_INTR = 1 << 4
    DUMP_FILTERED = 1 << 5
    ROOT = 1 << 8
    MATCH = 1 << 9
    ATOMIC = 1 << 10
    REPLACE = 1 << 8
    EXCL = 1 << 9
    CREATE = 1 << 10
    APPEND = 1 << 11
    CAPPED = 1 << 8
    ACK_TLVS = 1 << 9


@c_enum(
    "nlmsgerr_attrs",
    prefix="NLMSGERR_ATTR_",
    since={"POLICY": "5.10", "MISS_TYPE": "6.1", "MISS_NEST": "6.1"},
    header="linux/netlink.h",
)
class NlmsgerrAttr(CEnum):
    """Attributes of an error message (extended ack)."""

    UNUSED = 0
    MSG = 1
    OFFS = 2
    COOKIE = 3
    POLICY = 4
    MISS_TYPE = 5
    MISS_NEST = 6


@c_enum("", prefix="RTM_", header="linux/rtnetlink.h")
class RtnetlinkType(CEnum):
    """Messages of rtnetlink."""

    NEWLINK = 16
    DELLINK = 17
    GETLINK = 18
    SETLINK = 19
    NEWQDISC = 36
    DELQDISC = 37
    GETQDISC = 38
    NEWTFILTER = 44
    DELTFILTER = 45
    GETTFILTER = 46


@c_enum("", prefix="IFLA_", header="linux/if_link.h")
class IflaAttr(CEnum):
    """Attributes of a device."""

    UNSPEC = 0
    IFNAME = 3
    MTU = 4
    XDP = 43
    LINKINFO = 18
    EXT_MASK = 29


@c_enum(
    "",
    prefix="IFLA_XDP_",
    since={
        "DRV_PROG_ID": "4.19",
        "SKB_PROG_ID": "4.19",
        "HW_PROG_ID": "4.19",
        "EXPECTED_FD": "5.7",
    },
    header="linux/if_link.h",
)
class IflaXdpAttr(CEnum):
    """Attributes inside ``IFLA_XDP``."""

    UNSPEC = 0
    FD = 1
    ATTACHED = 2
    FLAGS = 3
    PROG_ID = 4
    DRV_PROG_ID = 5
    SKB_PROG_ID = 6
    HW_PROG_ID = 7
    EXPECTED_FD = 8


@c_enum("", prefix="TCA_", header="linux/rtnetlink.h")
class TcaAttr(CEnum):
    """Attributes of a qdisc or filter."""

    UNSPEC = 0
    KIND = 1
    OPTIONS = 2
    STATS = 3
    XSTATS = 4
    RATE = 5
    FCNT = 6
    STATS2 = 7
    STAB = 8
    PAD = 9
    DUMP_INVISIBLE = 10
    CHAIN = 11
    HW_OFFLOAD = 12
    INGRESS_BLOCK = 13
    EGRESS_BLOCK = 14


@c_enum("", prefix="TCA_BPF_", header="linux/pkt_cls.h")
class TcaBpfAttr(CEnum):
    """Attributes of a filter of kind bpf."""

    UNSPEC = 0
    ACT = 1
    POLICE = 2
    CLASSID = 3
    OPS_LEN = 4
    OPS = 5
    FD = 6
    NAME = 7
    FLAGS = 8
    FLAGS_GEN = 9
    TAG = 10
    ID = 11


@c_enum("", prefix="TCA_MATCHALL_", header="linux/pkt_cls.h")
class TcaMatchallAttr(CEnum):
    """Attributes of a filter of kind matchall."""

    UNSPEC = 0
    CLASSID = 1
    ACT = 2
    FLAGS = 3


@c_enum("", prefix="TCA_ACT_", header="linux/pkt_cls.h")
class TcaActAttr(CEnum):
    """Attributes of an action of a filter."""

    UNSPEC = 0
    KIND = 1
    OPTIONS = 2
    INDEX = 3
    STATS = 4


@c_enum("", prefix="TCA_ACT_BPF_", header="linux/tc_act/tc_bpf.h")
class TcaActBpfAttr(CEnum):
    """Attributes of an action of kind bpf."""

    UNSPEC = 0
    TM = 1
    PARMS = 2
    OPS_LEN = 3
    OPS = 4
    FD = 5
    NAME = 6
    TAG = 8
    ID = 9


@c_flags("", prefix="TCA_BPF_FLAG_", header="linux/pkt_cls.h", macros=True)
class TcaBpfFlag(CFlag):
    """Flags of a filter of kind bpf."""

    ACT_DIRECT = 1 << 0


@c_struct("tc_act_bpf", header="linux/tc_act/tc_bpf.h")
class TcActBpf(CStruct):
    """``TCA_ACT_BPF_PARMS``: what every action has; ``action`` is what -1 of a program means."""

    index: int = u32()
    capab: int = u32()
    action: int = s32()
    refcnt: int = s32()
    bindcnt: int = s32()


@c_struct("nlmsghdr", header="linux/netlink.h")
class NlMsgHdr(CStruct):
    """Before each message; ``nlmsg_len`` counts it too."""

    nlmsg_len: int = u32()
    nlmsg_type: int = u16()
    nlmsg_flags: int = u16()
    nlmsg_seq: int = u32()
    nlmsg_pid: int = u32()


@c_struct("nlmsgerr", size=20, header="linux/netlink.h")
class NlMsgErr(CStruct):
    """An answer: 0 or minus errno, and the header of the request (left out here)."""

    error: int = s32()


@c_struct("nlattr", header="linux/netlink.h")
class NlAttr(CStruct):
    """Before each attribute; ``nla_len`` counts it too, but not the padding."""

    nla_len: int = u16()
    nla_type: int = u16()


@c_struct("ifinfomsg", header="linux/rtnetlink.h")
class IfInfoMsg(CStruct):
    """What ``RTM_*LINK`` is about."""

    ifi_family: int = u8()
    ifi_type: int = u16()
    ifi_index: int = s32()
    ifi_flags: int = u32()
    ifi_change: int = u32()


@c_struct("tcmsg", header="linux/rtnetlink.h")
class TcMsg(CStruct):
    """What ``RTM_*QDISC`` and ``RTM_*TFILTER`` are about; info is priority << 16 | protocol."""

    tcm_family: int = u8()
    tcm_ifindex: int = s32()
    tcm_handle: int = u32()
    tcm_parent: int = u32()
    tcm_info: int = u32()
