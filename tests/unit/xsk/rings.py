"""A made-up kernel's side of AF_XDP rings that lie in ordinary memory.

It does what the real one does with frames: takes them from the fill ring, gives them back through
the RX ring; takes packets from the TX ring, gives their frames back through the completion ring.
Tests may also let it do what the real one never should.
"""

from __future__ import annotations

import mmap
import struct

from pyebpf.sys.xdp_rings import ADDRESS, DESCRIPTOR, ConsumerRing, Layout, ProducerRing
from pyebpf.uapi.if_xdp import XDP_PKT_CONTD
from pyebpf.xsk.channel import Channel
from pyebpf.xsk.frames import Frames, Queue

LAYOUT = Layout(producer=0, consumer=64, entries=192, flags=128)
_U32 = (1 << 32) - 1


class Shared:
    """A ring's memory, with the kernel's hands on it.

    Args:
        size: Entries.
        entry: `ADDRESS` or `DESCRIPTOR`.
        start: Where the indices begin.
    """

    def __init__(self, size: int, entry: struct.Struct, start: int = 0) -> None:
        self.size, self.entry = size, entry
        self.memory = bytearray(LAYOUT.length(size, entry.size))
        self.set(LAYOUT.producer, start)
        self.set(LAYOUT.consumer, start)

    def get(self, offset: int) -> int:
        """Return an index or the flags."""
        return int(struct.unpack_from("=I", self.memory, offset)[0])

    def set(self, offset: int, value: int) -> None:
        """Set an index or the flags."""
        struct.pack_into("=I", self.memory, offset, value & _U32)

    def waiting(self) -> int:
        """Return how many entries are in it."""
        return (self.get(LAYOUT.producer) - self.get(LAYOUT.consumer)) & _U32

    def give(self, *entry: int) -> None:
        """Write an entry, as the producer."""
        producer = self.get(LAYOUT.producer)
        self.entry.pack_into(self.memory, self._place(producer), *entry)
        self.set(LAYOUT.producer, producer + 1)

    def take(self) -> tuple[int, ...]:
        """Read an entry, as the consumer."""
        consumer = self.get(LAYOUT.consumer)
        found = self.entry.unpack_from(self.memory, self._place(consumer))
        self.set(LAYOUT.consumer, consumer + 1)
        return found

    def _place(self, index: int) -> int:
        return LAYOUT.entries + index % self.size * self.entry.size


class MadeUp:
    """A queue and a channel over made-up rings, and the kernel behind them.

    Args:
        frames: How many.
        size: Entries of each ring.
        filled: Frames for the fill ring.
        parts: Packets may have several descriptors.
        start: Where the indices begin.
    """

    FRAME = 2048

    def __init__(
        self, frames: int, size: int, *, filled: int, parts: bool = False, start: int = 0
    ) -> None:
        self.fill, self.completion = Shared(size, ADDRESS, start), Shared(size, ADDRESS, start)
        self.rx, self.tx = Shared(size, DESCRIPTOR, start), Shared(size, DESCRIPTOR, start)
        self.frames = Frames(mmap.mmap(-1, frames * self.FRAME), self.FRAME)
        self.count = frames
        self.queue = Queue(
            self.frames,
            ProducerRing(self.fill.memory, LAYOUT, size, ADDRESS, name="fill"),
            ConsumerRing(self.completion.memory, LAYOUT, size, ADDRESS, name="completion"),
            name="a queue",
        )
        self.channel = Channel(
            self.queue,
            ConsumerRing(self.rx.memory, LAYOUT, size, DESCRIPTOR, name="rx"),
            ProducerRing(self.tx.memory, LAYOUT, size, DESCRIPTOR, name="tx"),
            parts=parts,
        )
        self.queue.fill(self.frames.take(filled))
        self.to_receive: list[int] = []  # addresses that the kernel has taken from the fill ring
        self.to_complete: list[int] = []
        self.sent: list[bytes] = []
        self._sending = b""

    def receive(self, packet: bytes) -> bool:
        """Let a packet come in; return whether there was room."""
        pieces = [packet[at : at + 1500] for at in range(0, len(packet), 1500)]
        while self.fill.waiting():
            self.to_receive.append(self.fill.take()[0])
        room = self.rx.size - self.rx.waiting()
        if len(pieces) > min(room, len(self.to_receive)):
            return False
        for number, piece in enumerate(pieces):
            address = self.to_receive.pop() + 256
            self.frames.memory[address : address + len(piece)] = piece
            more = XDP_PKT_CONTD if number + 1 < len(pieces) else 0
            self.rx.give(address, len(piece), more)
        return True

    def send(self, count: int) -> None:
        """Take at most so many entries out of the TX ring."""
        for _ in range(min(count, self.tx.waiting())):
            address, length, options = self.tx.take()
            self._sending += bytes(self.frames.memory[address : address + length])
            self.to_complete.append(address)
            if not options & XDP_PKT_CONTD:
                self.sent.append(self._sending)
                self._sending = b""

    def complete(self, count: int) -> None:
        """Report at most so many frames as sent."""
        room = self.completion.size - self.completion.waiting()
        for _ in range(min(count, room, len(self.to_complete))):
            self.completion.give(self.to_complete.pop(0))

    def check(self) -> None:
        """Check the law: every frame is in exactly one place."""
        places = [
            self.frames._free,
            self.frames.lent,
            self.frames.retired,
            self.queue.filled,
            self.queue.sending,
        ]
        found = sorted(frame for place in places for frame in place)
        assert found == list(range(self.count))
