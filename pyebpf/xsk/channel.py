"""`Channel`: packets of one socket into and out of its RX and TX ring, frame by frame.

    RX ring ──take──▶ descriptors of whole packets ──▶ copies or views ──give_back──▶ fill ring
    TX ring ◀─submit── descriptors ◀── packets copied, or written in place ◀──reserve── free frames

No system calls and no locks here: the rings may lie in any memory. A packet is one descriptor, or,
with ``XDP_USE_SG``, several: all but the last have ``XDP_PKT_CONTD``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import starmap

from pyebpf.errors import FormatError
from pyebpf.sys.xdp_rings import DESCRIPTOR, ConsumerRing, ProducerRing
from pyebpf.typed import TypeAlias, final
from pyebpf.uapi.if_xdp import XDP_PKT_CONTD
from pyebpf.xsk.frames import Queue

__all__ = ["Channel", "Descriptor", "Octets"]

Descriptor: TypeAlias = tuple[int, int, int]
"""Address, length and options, as in the rings."""
Octets: TypeAlias = bytes | bytearray | memoryview
"""A packet; of a view, the items are bytes."""


@final
class Channel:
    """The rings of one socket.

    Args:
        queue: Where its frames go and come from.
        rx: ``None`` if it does not receive.
        tx: ``None`` if it does not send.
        parts: Packets may have several descriptors.

    Attributes:
        received: Packets so far.
        sent: Packets given to the kernel to send, less those it gave back at the end.
        unsent: Packets that the kernel had not looked at when the socket was closed.
    """

    def __init__(
        self,
        queue: Queue,
        rx: ConsumerRing | None,
        tx: ProducerRing | None,
        *,
        parts: bool = False,
    ) -> None:
        self.queue = queue
        self.rx = rx
        self.tx = tx
        self.received = self.sent = self.unsent = 0
        self._frames = queue.frames
        self._parts = parts
        self._promised = 0  # entries of the TX ring for frames that are being written

    # --- receiving

    def take(self, limit: int) -> list[Descriptor]:
        """Take the next packets, at most *limit*, out of the RX ring: filled to lent.

        Raises:
            FormatError: The next packet makes no sense; it is skipped.
        """
        taken = self._take(limit, whole=self._parts)
        self.received += _packets(taken) if self._parts else len(taken)
        return taken

    def copy(self, taken: Sequence[Descriptor]) -> list[bytes]:
        """Return copies of packets, each in one piece."""
        memory = self._frames.memory
        if not self._parts:
            return [memory[at : at + length] for at, length, _ in taken]
        view = self._frames.view
        packets: list[bytes] = []
        pieces: list[memoryview[int]] = []
        for at, length, options in taken:
            pieces.append(view[at : at + length])
            if not options & XDP_PKT_CONTD:
                packets.append(b"".join(pieces))
                pieces.clear()
        return packets

    def give_back(self, taken: Sequence[Descriptor]) -> None:
        """Let the kernel receive again into what `take` took: lent to filled."""
        self.queue.fill(self._frames.numbers(taken))

    # --- sending

    def reserve(self, count: int) -> list[int]:
        """Take at most so many frames to send, with room in the TX ring: free to lent."""
        if self.tx is None:
            return []
        self.queue.collect()
        room = self.tx.size - self.tx.waiting() - self._promised
        taken = self._frames.take(min(count, room))
        self._promised += len(taken)
        return taken

    def cancel(self, frames: Sequence[int]) -> None:
        """Give frames up that were reserved: lent to free."""
        self._promised -= len(frames)
        self._frames.give_back(frames)

    def submit(self, packets: Sequence[Descriptor]) -> None:
        """Give packets in reserved frames to the kernel: lent to sending."""
        if self.tx is None or not packets:
            return
        frames = self._frames.numbers(packets)
        self._promised -= len(frames)
        self._frames.lent.difference_update(frames)
        self.queue.sending.update(frames)
        self.tx.put(b"".join(starmap(DESCRIPTOR.pack, packets)))
        self.sent += _packets(packets)

    def exchange(self, packets: Sequence[Descriptor]) -> list[int]:
        """Send packets from the lent frames they lie in, the first for which there is room.

        Returns:
            As many other frames, lent in their place: the sender of a packet gives one for it.
        """
        instead = self.reserve(len(packets))
        self.submit(packets[: len(instead)])
        return instead

    def write(self, packets: Sequence[Octets]) -> int:
        """Copy packets into frames and submit them; return how many there was room for."""
        if self._parts:
            return self._write_parts(packets)
        shift, memory = self._frames.shift, self._frames.memory
        frames = self.reserve(len(packets))
        ready: list[Descriptor] = []
        try:
            for frame, packet in zip(frames, packets):  # noqa: B905 - there may be less room
                address, length = frame << shift, len(packet)
                memory[address : address + length] = packet
                ready.append((address, length, 0))
        except BaseException:  # Ctrl-C
            self.cancel(frames)
            raise
        self.submit(ready)
        return len(ready)

    def _write_parts(self, packets: Sequence[Octets]) -> int:
        size, shift, memory = self._frames.size, self._frames.shift, self._frames.memory
        frames = self.reserve(sum(-(-len(each) // size) for each in packets))
        ready: list[Descriptor] = []
        done = 0
        try:
            for packet in packets:
                if len(ready) + -(-len(packet) // size) > len(frames):
                    break
                for start in range(0, len(packet), size):
                    piece = packet[start : start + size]
                    address = frames[len(ready)] << shift
                    memory[address : address + len(piece)] = piece
                    more = XDP_PKT_CONTD if start + size < len(packet) else 0
                    ready.append((address, len(piece), more))
                done += 1
        except BaseException:
            self.cancel(frames)
            raise
        self.cancel(frames[len(ready) :])
        self.submit(ready)
        return done

    # --- the end

    def close(self) -> None:
        """Take back what is in the rings, once the kernel does not use them any more."""
        if self.rx is not None:
            left = True
            while left:
                with contextlib.suppress(FormatError):  # it was skipped, and others may follow
                    taken = self._take(self.rx.size, whole=False)
                    self.give_back(taken)
                    left = bool(taken)
        if self.tx is not None:
            with contextlib.suppress(FormatError):  # then the frames are retired
                packets = list(DESCRIPTOR.iter_unpack(self.tx.take_back()))
                frames = self.queue.sending.intersection(self._frames.numbers(packets))
                self.queue.sending -= frames
                self._frames.give_back(frames)
                self.unsent = _packets(packets)
                self.sent -= self.unsent
        self.unmap()

    def unmap(self) -> None:
        """Let go of the rings and leave what is in them to another process."""
        for ring in (self.rx, self.tx):
            if ring is not None:
                ring.close()

    # *whole*: packets may have several descriptors, and half of one stays where it is.
    def _take(self, limit: int, *, whole: bool) -> list[Descriptor]:
        if self.rx is None:
            return []
        count = self.rx.available()
        if not whole:
            count = min(count, limit)
        if not count:
            return []
        found = list(DESCRIPTOR.iter_unpack(self.rx.peek(count)))
        frames = self._frames.numbers(found)
        good = self._good(found, frames)
        taken = found[: _end_of_packets(found[:good], limit)] if whole else found[:good]
        if not taken and good < count:
            self._skip(found[: good + 1])
        if len(taken) < count:
            del frames[len(taken) :]
        self.queue.filled.difference_update(frames)
        self._frames.lent.update(frames)
        self.rx.advance(len(taken))
        return taken

    # How many of them make sense: each in a frame that the kernel has, and no frame twice.
    def _good(self, found: Sequence[Descriptor], frames: Sequence[int]) -> int:
        size, filled = self._frames.size, self.queue.filled
        inside = size - 1
        ends = [(at & inside) + length for at, length, _ in found]
        if len(filled.intersection(frames)) == len(found) and max(ends) <= size:
            return len(found)
        seen: set[int] = set()
        for number, (frame, (at, length, _)) in enumerate(zip(frames, found, strict=True)):
            if frame not in filled or frame in seen or (at & inside) + length > size:
                return number
            seen.add(frame)
        return len(found)

    # Of these descriptors the last makes no sense.
    def _skip(self, wrong: Sequence[Descriptor]) -> None:
        assert self.rx is not None
        address, length, _ = wrong[-1]
        frames = self.queue.filled.intersection(self._frames.numbers(wrong))
        self.rx.advance(len(wrong))
        self.queue.filled -= frames
        self._frames.lent |= frames
        self.queue.fill(list(frames))
        raise FormatError(
            f"a packet of {length} bytes at {address:#x}, where the kernel may receive"
            f" {'less' if address >> self._frames.shift in frames else 'nothing'}",
            f"RX ring of {self.queue.name}",
        )


def _packets(descriptors: Sequence[Descriptor]) -> int:
    return len(descriptors) - sum([options & XDP_PKT_CONTD for _, _, options in descriptors])


# How many descriptors make at most *limit* whole packets.
def _end_of_packets(taken: Sequence[Descriptor], limit: int) -> int:
    end = 0
    for number, (_, _, options) in enumerate(taken, 1):
        if not options & XDP_PKT_CONTD:
            end, limit = number, limit - 1
            if not limit:
                break
    return end
