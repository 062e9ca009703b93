"""What networking programs return, and how XDP sits on a device."""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags

__all__ = [
    "XDP_PACKET_HEADROOM",
    "XdpAction",
    "RetCode",
    "SkAction",
    "TcxAction",
    "TcAction",
    "NetkitAction",
    "XdpFlag",
    "XdpAttached",
    "XdpFeature",
]

# Bytes a driver leaves free before a packet.
XDP_PACKET_HEADROOM = 256


@c_enum("xdp_action", prefix="XDP_")
class XdpAction(CEnum):
    """What an XDP program returns."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


@c_enum(
    "bpf_ret_code", prefix="BPF_", since={"LWT_REROUTE": "5.1", "FLOW_DISSECTOR_CONTINUE": "6.1"}
)
class RetCode(CEnum):
    """What programs of other kinds return."""

    OK = 0
    DROP = 2
    REDIRECT = 7
    LWT_REROUTE = 128
    FLOW_DISSECTOR_CONTINUE = 129


@c_enum("sk_action", prefix="SK_")
class SkAction(CEnum):
    """What ``SK_SKB``, ``SK_MSG``, ``SK_REUSEPORT`` and ``SK_LOOKUP`` programs return."""

    DROP = 0
    PASS = 1


@c_enum(
    "tcx_action_base",
    prefix="TCX_",
    since={"NEXT": "6.6", "PASS": "6.6", "DROP": "6.6", "REDIRECT": "6.6"},
)
class TcxAction(CEnum):
    """What a tcx program returns."""

    NEXT = -1
    PASS = 0
    DROP = 2
    REDIRECT = 7


@c_enum("", prefix="TC_ACT_", header="linux/pkt_cls.h", macros=True)
class TcAction(CEnum):
    """What a tc classifier in direct-action mode returns."""

    UNSPEC = -1
    OK = 0
    RECLASSIFY = 1
    SHOT = 2
    PIPE = 3
    STOLEN = 4
    QUEUED = 5
    REPEAT = 6
    REDIRECT = 7
    TRAP = 8


@c_enum(
    "netkit_action",
    prefix="NETKIT_",
    since={"NEXT": "6.7", "PASS": "6.7", "DROP": "6.7", "REDIRECT": "6.7"},
    header="linux/if_link.h",
)
class NetkitAction(CEnum):
    """What a program on a netkit device returns."""

    NEXT = -1
    PASS = 0
    DROP = 2
    REDIRECT = 7


@c_flags("", prefix="XDP_FLAGS_", since={"REPLACE": "5.7"}, header="linux/if_link.h", macros=True)
class XdpFlag(CFlag):
    """How an XDP program is attached to a device."""

    UPDATE_IF_NOEXIST = 1 << 0
    SKB_MODE = 1 << 1
    DRV_MODE = 1 << 2
    HW_MODE = 1 << 3
    REPLACE = 1 << 4


@c_enum("", prefix="XDP_ATTACHED_", header="linux/if_link.h")
class XdpAttached(CEnum):
    """How XDP is attached, as a device reports it."""

    NONE = 0
    DRV = 1
    SKB = 2
    HW = 3
    MULTI = 4


@c_flags(
    "netdev_xdp_act",
    prefix="NETDEV_XDP_ACT_",
    since={
        "BASIC": "6.3",
        "REDIRECT": "6.3",
        "NDO_XMIT": "6.3",
        "XSK_ZEROCOPY": "6.3",
        "HW_OFFLOAD": "6.3",
        "RX_SG": "6.3",
        "NDO_XMIT_SG": "6.3",
    },
    header="linux/netdev.h",
)
class XdpFeature(CFlag):
    """What a device can do with XDP."""

    BASIC = 1 << 0
    REDIRECT = 1 << 1
    NDO_XMIT = 1 << 2
    XSK_ZEROCOPY = 1 << 3
    HW_OFFLOAD = 1 << 4
    RX_SG = 1 << 5
    NDO_XMIT_SG = 1 << 6
