"""Helpers that make room in a socket buffer or take it away: headers, tails, VLAN tags.

Errnos and order of the checks are those of net/core/filter.c.
"""

from __future__ import annotations

import errno

from pyebpf.errors import ENOTSUPP
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.helpers.packets import buffer_of
from pyebpf.testing.interpreter.run import Run
from pyebpf.testing.interpreter.skb import ETHERNET, SkbContext, protocol_of
from pyebpf.uapi.helper_flags import AdjRoomFlag, AdjRoomMode
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

MASK_32 = 0xFFFF_FFFF
LARGEST = 65536 - 320 - 16  # about SKB_MAX_ALLOC; no test packet comes near
IPV4, IPV6, VLAN_Q, VLAN_AD = 0x0800, 0x86DD, 0x8100, 0x88A8
IPV4_HEADER, IPV6_HEADER = 20, 40
VLAN_HEADER = 4
ADDRESSES = 12  # of the two Ethernet addresses
PACKET_TYPES = 8  # highest is PACKET_KERNEL
# Numbers: the complement of a flag knows no bits that have no name.
ENCAPSULATION = int(
    AdjRoomFlag.ENCAP_L3_IPV4
    | AdjRoomFlag.ENCAP_L3_IPV6
    | AdjRoomFlag.ENCAP_L4_GRE
    | AdjRoomFlag.ENCAP_L4_UDP
    | AdjRoomFlag.ENCAP_L2_ETH
)
DECAPSULATION = int(AdjRoomFlag.DECAP_L3_IPV4 | AdjRoomFlag.DECAP_L3_IPV6)
KNOWN = ENCAPSULATION | DECAPSULATION | int(AdjRoomFlag.FIXED_GSO | AdjRoomFlag.NO_CSUM_RESET)
INNER_L2_MASK = 0xFF << 56


def skb_change_tail(run: Run, context: int, length: int, flags: int) -> int:
    """Cut the packet, or let it grow by zeros."""
    skb, length = buffer_of(run, context), length & MASK_32
    smallest = skb.network if skb.transport is None else skb.transport
    if flags or length > LARGEST or length < smallest:
        return -errno.EINVAL
    if skb.encapsulated:
        return -ENOTSUPP
    skb.replace(bytes(skb.packet[:length]).ljust(length, b"\0"))
    return 0


def skb_change_head(run: Run, context: int, room: int, flags: int) -> int:
    """Put zeros in front of the packet, as room for a new link-layer header."""
    skb, room = buffer_of(run, context), room & MASK_32
    if flags or len(skb.packet) + room > LARGEST:
        return -errno.EINVAL
    skb.network += room
    _shift(skb, room)
    skb.replace(bytes(room) + skb.packet)
    return 0


def skb_adjust_room(run: Run, context: int, delta: int, mode: int, flags: int) -> int:
    """Insert zeros, or take bytes away, behind the link-layer or the network header."""
    skb = buffer_of(run, context)
    delta = (delta & MASK_32 ^ 0x8000_0000) - 0x8000_0000
    if flags & ~(KNOWN | INNER_L2_MASK):
        return -errno.EINVAL
    if abs(delta) > 0xFFF:
        return -errno.EFAULT
    protocol = _protocol(run, skb)
    if protocol not in (IPV4, IPV6):
        return -ENOTSUPP
    base = IPV4_HEADER if protocol == IPV4 else IPV6_HEADER
    at = skb.network
    if mode == AdjRoomMode.NET:
        at += base
    elif mode != AdjRoomMode.MAC:
        return -ENOTSUPP
    smallest = base
    if flags & DECAPSULATION:
        if delta >= 0 or flags & DECAPSULATION == DECAPSULATION:
            return -errno.EINVAL
        smallest = IPV4_HEADER if flags & AdjRoomFlag.DECAP_L3_IPV4 else IPV6_HEADER
    if delta < 0:
        status = _shrink(run, skb, at, -delta, smallest, flags)
    elif len(skb.packet) + delta > LARGEST:
        return -ENOTSUPP
    else:
        status = _grow(run, skb, at, delta, flags)
    if status == 0 and not flags & AdjRoomFlag.NO_CSUM_RESET:
        skb.checksum_level = None
    return status


def _shrink(run: Run, skb: SkbContext, at: int, size: int, smallest: int, flags: int) -> int:
    length = len(skb.packet) - skb.network
    if size >= length or length - size < smallest:
        return -ENOTSUPP
    if flags & (ENCAPSULATION | INNER_L2_MASK):
        return -errno.EINVAL
    if at + size > len(skb.packet):
        return -errno.ENOMEM
    if flags & DECAPSULATION:
        protocol = IPV4 if flags & AdjRoomFlag.DECAP_L3_IPV4 else IPV6
        _set_protocol(run, skb, protocol)
    _shift(skb, -size)
    skb.replace(skb.packet[:at] + skb.packet[at + size :])
    return 0


def _grow(run: Run, skb: SkbContext, at: int, size: int, flags: int) -> int:
    over_4, over_6 = flags & AdjRoomFlag.ENCAP_L3_IPV4, flags & AdjRoomFlag.ENCAP_L3_IPV6
    if over_4 or over_6:
        inner = flags >> 56  # bytes of an inner link-layer header
        gre_and_udp = flags & AdjRoomFlag.ENCAP_L4_GRE and flags & AdjRoomFlag.ENCAP_L4_UDP
        no_ethernet = flags & AdjRoomFlag.ENCAP_L2_ETH and inner < ETHERNET
        if (over_4 and over_6) or gre_and_udp or no_ethernet:
            return -errno.EINVAL
        if skb.encapsulated:
            return -errno.EALREADY
        if inner > size:
            return -errno.EINVAL
        skb.encapsulated = True
        if flags & (AdjRoomFlag.ENCAP_L4_GRE | AdjRoomFlag.ENCAP_L4_UDP):
            skb.transport = skb.network + (IPV4_HEADER if over_4 else IPV6_HEADER)
        else:
            _shift(skb, size)
        _set_protocol(run, skb, IPV4 if over_4 else IPV6)
    else:
        _shift(skb, size)
    # A packet may be shorter than the header that is stepped over. The kernel then moves what
    # happens to lie behind it; here zeros do.
    length = len(skb.packet) + size
    packet = bytes(skb.packet[:at]).ljust(at, b"\0") + bytes(size) + skb.packet[at:]
    skb.replace(packet[:length])
    return 0


# The transport header stays where it is when the start of the packet moves.
def _shift(skb: SkbContext, size: int) -> None:
    if skb.transport is not None:
        skb.transport += size


def skb_change_proto(run: Run, context: int, protocol: int, flags: int) -> int:
    """Turn an IPv4 packet into an IPv6 one or back, as far as its length goes."""
    skb = buffer_of(run, context)
    wanted = int.from_bytes((protocol & 0xFFFF).to_bytes(2, run.byteorder), "big")
    if flags:
        return -errno.EINVAL
    at, more = skb.network, IPV6_HEADER - IPV4_HEADER
    if (_protocol(run, skb), wanted) == (IPV4, IPV6):
        _shift(skb, more)
        skb.replace((skb.packet[:at] + bytes(more) + skb.packet[at:])[: len(skb.packet) + more])
    elif (_protocol(run, skb), wanted) == (IPV6, IPV4):
        if at + more > len(skb.packet):
            return -errno.ENOMEM
        _shift(skb, -more)
        skb.replace(skb.packet[:at] + skb.packet[at + more :])
    else:
        return -ENOTSUPP
    _set_protocol(run, skb, wanted)
    skb.set("hash", 0)
    return 0


def skb_change_type(run: Run, context: int, kind: int) -> int:
    """Change whom the packet is for, among this host, all, some and others."""
    skb, kind = buffer_of(run, context), kind & MASK_32
    if kind > 3 or skb.get("pkt_type") > 3:
        return -errno.EINVAL
    skb.set("pkt_type", kind)
    return 0


def skb_vlan_push(run: Run, context: int, protocol: int, tag: int) -> int:
    """Put a VLAN tag on, beside the packet; one that is there already goes into the packet."""
    skb = buffer_of(run, context)
    protocol = int.from_bytes((protocol & 0xFFFF).to_bytes(2, run.byteorder), "big")
    if protocol not in (VLAN_Q, VLAN_AD):
        protocol = VLAN_Q
    if skb.get("vlan_present"):
        older = _number_of(run, skb, "vlan_proto"), skb.get("vlan_tci")
        data = b"".join(each.to_bytes(2, "big") for each in older)
        _shift(skb, VLAN_HEADER)
        skb.replace(skb.packet[:ADDRESSES] + data + skb.packet[ADDRESSES:])
        _set_protocol(run, skb, older[0])
    _set_tag(run, skb, protocol, tag & 0xFFFF)
    return 0


def skb_vlan_pop(run: Run, context: int) -> int:
    """Take the outermost VLAN tag off; the next one, if any, takes its place beside the packet."""
    skb = buffer_of(run, context)
    if skb.get("vlan_present"):
        _set_tag(run, skb, 0, 0)
    elif not _is_tagged(run, skb):
        return 0
    else:
        status = _unwrap(run, skb)
        if status:
            return status
    if not _is_tagged(run, skb):
        return 0
    protocol = _protocol(run, skb)
    tag = int.from_bytes(skb.packet[ETHERNET : ETHERNET + 2], "big")
    status = _unwrap(run, skb)
    if status == 0:
        _set_tag(run, skb, protocol, tag)
    return status


# Takes the tag out of the packet itself.
def _unwrap(run: Run, skb: SkbContext) -> int:
    if len(skb.packet) < ETHERNET + VLAN_HEADER:
        return -errno.ENOMEM
    inner = protocol_of(skb.packet[ETHERNET + 2 :])
    skb.network = max(ETHERNET, skb.network - VLAN_HEADER)
    _shift(skb, -VLAN_HEADER)
    skb.replace(skb.packet[:ADDRESSES] + skb.packet[ADDRESSES + VLAN_HEADER :])
    _set_protocol(run, skb, inner)
    return 0


def _is_tagged(run: Run, skb: SkbContext) -> bool:
    return _protocol(run, skb) in (VLAN_Q, VLAN_AD)


def _set_tag(run: Run, skb: SkbContext, protocol: int, tag: int) -> None:
    skb.set("vlan_present", int(protocol != 0))
    skb.set("vlan_tci", tag)
    _set_number(run, skb, "vlan_proto", protocol)


# Protocols stand in __sk_buff in network order, whatever the machine's.
def _protocol(run: Run, skb: SkbContext) -> int:
    return _number_of(run, skb, "protocol")


def _set_protocol(run: Run, skb: SkbContext, protocol: int) -> None:
    _set_number(run, skb, "protocol", protocol)


def _number_of(run: Run, skb: SkbContext, name: str) -> int:
    return (
        int.from_bytes(skb.get(name).to_bytes(4, run.byteorder)[:2], "big")
        if (run.byteorder == "little")
        else skb.get(name)
    )


def _set_number(run: Run, skb: SkbContext, name: str, value: int) -> None:
    skb.set(name, int.from_bytes(value.to_bytes(2, "big"), run.byteorder))


HELPERS: dict[int, Function] = {
    FuncId.skb_change_tail: skb_change_tail,
    FuncId.skb_change_head: skb_change_head,
    FuncId.skb_adjust_room: skb_adjust_room,
    FuncId.skb_change_proto: skb_change_proto,
    FuncId.skb_change_type: skb_change_type,
    FuncId.skb_vlan_push: skb_vlan_push,
    FuncId.skb_vlan_pop: skb_vlan_pop,
}
