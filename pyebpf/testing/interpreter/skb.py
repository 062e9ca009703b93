"""What a program on a socket buffer is given: ``__sk_buff``, and the packet.

Programs of tc, of lightweight tunnels and of control groups may reach the packet through ``data``
and ``data_end``; socket filters only through helpers and the loads of classic BPF.
"""

from __future__ import annotations

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.contexts import Context
from pyebpf.testing.interpreter.fields import FieldsRegion
from pyebpf.testing.interpreter.memory import ByteOrder, Memory, Region
from pyebpf.uapi.bpf import ProgType

__all__ = ["ETHERNET", "SkbContext", "protocol_of"]

ETHERNET = 14  # ETH_HLEN
SMALLEST_ETHERTYPE = 0x0600  # ETH_P_802_3_MIN: below it is a length
ETH_P_802_3, ETH_P_802_2 = 1, 4
SIZE = 192  # of struct __sk_buff

# Fields that are numbers: offset and size (struct __sk_buff in linux/bpf.h).
FIELDS = {
    "len": (0, 4),
    "pkt_type": (4, 4),
    "mark": (8, 4),
    "queue_mapping": (12, 4),
    "protocol": (16, 4),
    "vlan_present": (20, 4),
    "vlan_tci": (24, 4),
    "vlan_proto": (28, 4),
    "priority": (32, 4),
    "ingress_ifindex": (36, 4),
    "ifindex": (40, 4),
    "tc_index": (44, 4),
    "hash": (68, 4),
    "tc_classid": (72, 4),
    "napi_id": (84, 4),
    "tstamp": (152, 8),
    "wire_len": (160, 4),
    "gso_segs": (164, 4),
    "gso_size": (176, 4),
    "hwtstamp": (184, 8),
}
CB = (48, 68)
DATA, DATA_END, DATA_META = 76, 80, 140

# What programs may write (tc_cls_act_is_valid_access, sk_filter_is_valid_access and their like).
MARK, QUEUE_MAPPING, PRIORITY, TC_INDEX, TC_CLASSID = (
    (8, 12),
    (12, 16),
    (32, 36),
    (44, 48),
    (72, 76),
)
TSTAMP = (152, 160)
WRITABLE = {
    ProgType.SCHED_CLS: (MARK, QUEUE_MAPPING, PRIORITY, TC_INDEX, CB, TC_CLASSID, TSTAMP),
    ProgType.SCHED_ACT: (MARK, QUEUE_MAPPING, PRIORITY, TC_INDEX, CB, TC_CLASSID, TSTAMP),
    ProgType.CGROUP_SKB: (MARK, PRIORITY, CB, TSTAMP),
    ProgType.LWT_IN: (MARK, PRIORITY, CB),
    ProgType.LWT_OUT: (MARK, PRIORITY, CB),
    ProgType.LWT_XMIT: (MARK, PRIORITY, CB),
}
ONLY_CB = (CB,)
# 16 bits of struct sk_buff; NO_QUEUE_MAPPING cannot be set.
SHORT = {QUEUE_MAPPING[0]: 0xFFFF, TC_INDEX[0]: 1 << 32, TC_CLASSID[0]: 1 << 32}

# Negative offsets of classic BPF's loads (linux/filter.h), as unsigned numbers.
FROM_NETWORK, FROM_LINK = (1 << 32) - 0x100000, (1 << 32) - 0x200000


def protocol_of(data: bytes | bytearray) -> int:
    """Return the protocol that begins with a type field, as ``eth_type_trans`` tells it.

    Args:
        data: The type field and what follows it.
    """
    found = int.from_bytes(data[:2], "big")
    if found >= SMALLEST_ETHERTYPE:
        return found
    return ETH_P_802_3 if data[2:4] == b"\xff\xff" else ETH_P_802_2


class SkbContext(Context):
    """A packet in a socket buffer.

    Args:
        data: What the program sees as the packet; copied. Programs of tc see the link-layer header,
            others begin at the network header.
        type: The kind of program, which decides what may be written and reached.
        link_header: Bytes of the link-layer header that precede *data*, or ``b""`` where *data*
            begins with it.
        fields: Fields of ``__sk_buff`` by name: ``mark=7``. ``len`` and the like are known.
        cb: The control buffer, 20 bytes.

    Attributes:
        packet: The packet as it is now.
        start: Its address while a program runs.
        network: Offset of the network header in it.
        transport: Offset of the transport header, or ``None`` if nothing told it yet.
        checksum_level: How many checksums after the first are known to be right; ``None`` if not
            even the first is (``CHECKSUM_NONE``).
        encapsulated: Whether a helper put a header around it.
    """

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        type: ProgType = ProgType.SCHED_CLS,  # noqa: A002 - the kernel's word
        *,
        link_header: bytes = b"",
        cb: bytes = b"",
        **fields: int,
    ) -> None:
        unknown = fields.keys() - FIELDS.keys() - {"network"}
        if unknown:
            raise TypeError(f"__sk_buff has no {', '.join(sorted(unknown))}")
        self.packet = bytearray(data)
        self.type = type
        self.link_header = link_header
        self.network = 0 if link_header else min(ETHERNET, len(self.packet))
        self.transport: int | None = None
        self.encapsulated = False
        self.checksum_level: int | None = None
        self._given = fields
        self._cb = cb
        self.address = 0
        self.start = 0

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place ``__sk_buff`` and the packet."""
        self._memory = memory
        self._byteorder: ByteOrder = byteorder
        writable = WRITABLE.get(self.type, ONLY_CB)
        self._region = FieldsRegion(
            bytearray(SIZE), "__sk_buff", writable_fields=writable, short=SHORT
        )
        self._region.data[CB[0] : CB[0] + len(self._cb)] = self._cb  # type: ignore[index]
        for name, value in self._given.items():
            self.set(name, value)
        self._placed: Region | None = None
        self.address = memory.place(self._region)
        self.replace(self.packet)
        return (self.address,)

    def get(self, name: str) -> int:
        """Return a field of ``__sk_buff`` by name."""
        offset, size = FIELDS[name]
        return int.from_bytes(self._region.data[offset : offset + size], self._byteorder)

    def set(self, name: str, value: int) -> None:
        """Set one, as the kernel may."""
        offset, size = FIELDS[name]
        value &= (1 << 8 * size) - 1
        data = value.to_bytes(size, self._byteorder)
        self._region.data[offset : offset + size] = data  # type: ignore[index]

    @property
    def cb(self) -> bytes:
        """The control buffer."""
        return bytes(self._region.data[CB[0] : CB[1]])

    def packet_bytes(self) -> bytes:
        """Return the packet."""
        return bytes(self.packet)

    def check(self, address: int) -> None:
        """Refuse what is not the context that a helper needs.

        Raises:
            ExecutionError: *address* is something else.
        """
        if address != self.address:
            raise ExecutionError(f"{address:#x} is not the address of the context")

    def replace(self, packet: bytes | bytearray) -> None:
        """Put another packet into the buffer, at a new address: old pointers are invalid."""
        if self._placed is not None:
            self._memory.remove(self._placed)
        self.packet = bytearray(packet)
        self._placed = Region(self.packet, "packet")
        self.start = start = self._memory.place(self._placed)
        self.set("len", len(self.packet))
        self._region.pointers = {
            DATA: start,
            DATA_META: start,
            DATA_END: start + len(self.packet),
        }

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        """Load a big-endian number as classic BPF does; ``None`` if it is not in the packet."""
        self.check(skb)
        data: bytes | bytearray = self.packet
        if offset >= FROM_NETWORK:
            offset += self.network - FROM_NETWORK
        elif offset >= FROM_LINK:
            offset -= FROM_LINK
            data = self.link_header + self.packet
        elif offset >> 31:
            return None
        if offset + size > len(data):
            return None
        return int.from_bytes(data[offset : offset + size], "big")
