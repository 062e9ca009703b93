"""What an XDP program is given: ``xdp_md``, and a packet in a frame with room around it.

    |frame header|headroom......|metadata|packet.......|tailroom......|skb_shared_info|
                                ^        ^             ^
                                data_meta data         data_end

A packet that does not fit a frame has the rest of it in further pages (``fragments``), which
programs reach with helpers only.

Every change of the borders gives the packet a new address, so pointers from before are invalid, as
they are to the verifier.
"""

from __future__ import annotations

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.contexts import Context
from pyebpf.testing.interpreter.fields import FieldsRegion
from pyebpf.testing.interpreter.memory import ByteOrder, Memory, Region

__all__ = ["XdpContext"]

# struct xdp_md
DATA, DATA_END, DATA_META, INGRESS_IFINDEX, RX_QUEUE_INDEX, EGRESS_IFINDEX = range(0, 24, 4)
SIZE = 24

# A page, as BPF_PROG_TEST_RUN gives: XDP_PACKET_HEADROOM in front, struct skb_shared_info behind.
FRAME_SIZE = 4096
HEADROOM = 256
TAILROOM = 320
FRAME_HEADER = 40  # struct xdp_frame, which the kernel puts into the headroom


class XdpContext(Context):
    """A packet on its way into an XDP program.

    Args:
        packet: The bytes; copied.
        fragments: More bytes, behind those in the frame.
        metadata: What lies in front of it, at most 252 bytes, a multiple of 4.
        ingress_ifindex: Where it came in; 1 is the loopback interface, as in test runs.
        rx_queue_index: The queue.
        egress_ifindex: Where it goes out, for programs in a devmap.
        frame_size: Room for everything.

    Attributes:
        frame: The whole frame.
        data_meta: Offset in it of the metadata.
        data: Offset of the packet.
        data_end: Offset of its end.
        fragments: What lies in further pages.
        start: The packet's address while a program runs.
    """

    def __init__(
        self,
        packet: bytes | bytearray | memoryview,
        *,
        fragments: bytes = b"",
        metadata: bytes = b"",
        ingress_ifindex: int = 1,
        rx_queue_index: int = 0,
        egress_ifindex: int = 0,
        frame_size: int = FRAME_SIZE,
    ) -> None:
        self.frame = bytearray(max(frame_size, HEADROOM + len(packet) + TAILROOM))
        self.data = HEADROOM
        self.data_meta = HEADROOM - len(metadata)
        self.data_end = self.data + len(packet)
        self.frame[self.data_meta : self.data_end] = bytes(metadata) + bytes(packet)
        self.fragments = bytearray(fragments)
        self._numbers = {
            INGRESS_IFINDEX: ingress_ifindex,
            RX_QUEUE_INDEX: rx_queue_index,
            EGRESS_IFINDEX: egress_ifindex,
        }
        self.address = 0
        self.start = 0

    @property
    def packet(self) -> bytes:
        """The packet as it is now."""
        return bytes(self.frame[self.data : self.data_end] + self.fragments)

    @property
    def metadata(self) -> bytes:
        """The metadata as it is now."""
        return bytes(self.frame[self.data_meta : self.data])

    @property
    def hard_end(self) -> int:
        """Where the packet may grow to."""
        return len(self.frame) - TAILROOM

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place ``xdp_md`` and the packet."""
        data = bytearray(SIZE)
        for offset, value in self._numbers.items():
            data[offset : offset + 4] = value.to_bytes(4, byteorder)
        self._memory = memory
        self._region = FieldsRegion(data, "xdp_md")
        self._packet: Region | None = None
        self.address = memory.place(self._region)
        self._place()
        return (self.address,)

    def packet_bytes(self) -> bytes:
        """Return the packet."""
        return self.packet

    def check(self, address: int) -> None:
        """Refuse what is not the context that a helper needs.

        Raises:
            ExecutionError: *address* is something else.
        """
        if address != self.address:
            raise ExecutionError(f"{address:#x} is not the address of the context")

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the packet, which are there."""
        room = max(self.data_end - self.data - offset, 0)
        first, rest = data[:room], data[room:]
        start = self.data + offset
        self.frame[start : start + len(first)] = first
        start = max(start - self.data_end, 0)
        self.fragments[start : start + len(rest)] = rest

    def move(self, *, data_meta: int, data: int, data_end: int) -> None:
        """Change the borders of the packet."""
        self.data_meta, self.data, self.data_end = data_meta, data, data_end
        self._place()

    def _place(self) -> None:
        if self._packet is not None:
            self._memory.remove(self._packet)
        view = memoryview(self.frame)[self.data_meta : self.data_end]
        self._packet = Region(view, "packet")
        start = self._memory.place(self._packet)
        self.start = start + self.data - self.data_meta
        self._region.pointers = {
            DATA_META: start,
            DATA: self.start,
            DATA_END: start + self.data_end - self.data_meta,
        }
