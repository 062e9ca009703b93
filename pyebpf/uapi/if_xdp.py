"""AF_XDP: sockets whose packets lie in memory that the kernel and this process share.

    SockaddrXdp      |family 2|flags 2|ifindex 4|queue_id 4|shared_umem_fd 4|
    XdpDesc          |addr 8|len 4|options 4|        an entry of the RX and TX rings
                     |addr 8|                        an entry of the fill and completion rings

`XdpMmapOffsets` says where in the mapping of a ring its indices, flags and entries are.
"""

from __future__ import annotations

from pyebpf.uapi.cenum import CEnum, CFlag, c_enum, c_flags
from pyebpf.uapi.cstruct import CStruct, Pointer, c_struct, pointer, u16, u32, u64

__all__ = [
    "AF_XDP",
    "SOL_XDP",
    "XDP_OPTIONS_ZEROCOPY",
    "XDP_PGOFF_RX_RING",
    "XDP_PGOFF_TX_RING",
    "XDP_PKT_CONTD",
    "XDP_RING_NEED_WAKEUP",
    "XDP_UMEM_PGOFF_COMPLETION_RING",
    "XDP_UMEM_PGOFF_FILL_RING",
    "SockaddrXdp",
    "XdpBindFlag",
    "XdpDesc",
    "XdpMmapOffsets",
    "XdpSocketOption",
    "XdpStatistics",
    "XdpUmemFlag",
    "XdpUmemReg",
]

AF_XDP = 44
SOL_XDP = 283

# Where mmap(2) finds the rings of a socket.
XDP_PGOFF_RX_RING = 0
XDP_PGOFF_TX_RING = 0x8000_0000
XDP_UMEM_PGOFF_FILL_RING = 0x1_0000_0000
XDP_UMEM_PGOFF_COMPLETION_RING = 0x1_8000_0000

XDP_RING_NEED_WAKEUP = 1 << 0  # in a ring's flags
XDP_OPTIONS_ZEROCOPY = 1 << 0  # what the socket option XDP_OPTIONS answers
XDP_PKT_CONTD = 1 << 0  # in the options of a descriptor: the packet goes on in the next one


@c_flags(
    "",
    prefix="XDP_",
    since={"USE_NEED_WAKEUP": "5.4", "USE_SG": "6.6"},
    header="linux/if_xdp.h",
    macros=True,
)
class XdpBindFlag(CFlag):
    """How a socket is bound."""

    SHARED_UMEM = 1 << 0
    COPY = 1 << 1
    ZEROCOPY = 1 << 2
    USE_NEED_WAKEUP = 1 << 3
    USE_SG = 1 << 4


@c_flags(
    "",
    prefix="XDP_UMEM_",
    since={"UNALIGNED_CHUNK_FLAG": "5.4", "TX_SW_CSUM": "6.8", "TX_METADATA_LEN": "6.11"},
    header="linux/if_xdp.h",
    macros=True,
)
class XdpUmemFlag(CFlag):
    """How the memory of packets is used."""

    UNALIGNED_CHUNK_FLAG = 1 << 0
    TX_SW_CSUM = 1 << 1
    TX_METADATA_LEN = 1 << 2


@c_enum("", prefix="XDP_", since={"OPTIONS": "5.3"}, header="linux/if_xdp.h", macros=True)
class XdpSocketOption(CEnum):
    """Socket options of level ``SOL_XDP``."""

    MMAP_OFFSETS = 1
    RX_RING = 2
    TX_RING = 3
    UMEM_REG = 4
    UMEM_FILL_RING = 5
    UMEM_COMPLETION_RING = 6
    STATISTICS = 7
    OPTIONS = 8


@c_struct("sockaddr_xdp", header="linux/if_xdp.h")
class SockaddrXdp(CStruct):
    """What a socket is bound to."""

    sxdp_family: int = u16()
    sxdp_flags: int = u16()
    sxdp_ifindex: int = u32()
    sxdp_queue_id: int = u32()
    sxdp_shared_umem_fd: int = u32()


@c_struct("xdp_mmap_offsets", header="linux/if_xdp.h")
class XdpMmapOffsets(CStruct):
    """Where in the mapping of each ring things are; ``fr`` is the fill, ``cr`` the completion ring.

    Before Linux 5.4 there are no flags, and everything is closer together.
    """

    rx_producer: int = u64(name="rx.producer")
    rx_consumer: int = u64(name="rx.consumer")
    rx_desc: int = u64(name="rx.desc")
    rx_flags: int = u64(name="rx.flags", since="5.4")
    tx_producer: int = u64(name="tx.producer")
    tx_consumer: int = u64(name="tx.consumer")
    tx_desc: int = u64(name="tx.desc")
    tx_flags: int = u64(name="tx.flags", since="5.4")
    fr_producer: int = u64(name="fr.producer")
    fr_consumer: int = u64(name="fr.consumer")
    fr_desc: int = u64(name="fr.desc")
    fr_flags: int = u64(name="fr.flags", since="5.4")
    cr_producer: int = u64(name="cr.producer")
    cr_consumer: int = u64(name="cr.consumer")
    cr_desc: int = u64(name="cr.desc")
    cr_flags: int = u64(name="cr.flags", since="5.4")


@c_struct("xdp_umem_reg", header="linux/if_xdp.h")
class XdpUmemReg(CStruct):
    """The memory of packets."""

    addr: Pointer = pointer()
    len: int = u64()
    chunk_size: int = u32()
    headroom: int = u32()
    flags: int = u32(since="5.4")
    tx_metadata_len: int = u32(since="6.8")


@c_struct("xdp_statistics", header="linux/if_xdp.h")
class XdpStatistics(CStruct):
    """What a socket lost."""

    rx_dropped: int = u64()
    rx_invalid_descs: int = u64()
    tx_invalid_descs: int = u64()
    rx_ring_full: int = u64(since="5.9")
    rx_fill_ring_empty_descs: int = u64(since="5.9")
    tx_ring_empty_descs: int = u64(since="5.9")


@c_struct("xdp_desc", header="linux/if_xdp.h")
class XdpDesc(CStruct):
    """A packet, or a part of one: so many bytes at an offset of the memory."""

    addr: int = u64()
    len: int = u32()
    options: int = u32()
