"""The law of frames: each is in exactly one place, whatever happens, and bytes arrive unchanged."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pyebpf.errors import FormatError
from pyebpf.sys.xdp_rings import ADDRESS, DESCRIPTOR, ConsumerRing, ProducerRing
from tests.unit.xsk.rings import LAYOUT, MadeUp, Shared

WRAPPING = (1 << 32) - 3


class Traffic(RuleBasedStateMachine):
    """Random traffic with everything that may go on at a time."""

    @initialize(
        size=st.sampled_from([1, 4, 8]),
        spare=st.integers(0, 12),
        parts=st.booleans(),
        start=st.sampled_from([0, WRAPPING]),
        data=st.data(),
    )
    def begin(self, size, spare, parts, start, data):
        filled = data.draw(st.integers(0, size))
        self.made = MadeUp(max(1, filled + spare), size, filled=filled, parts=parts, start=start)
        self.longest = 4000 if parts else 1500
        self.coming: list[bytes] = []
        self.going: list[bytes] = []
        self.leases: list[list] = []
        self.reserved: list[list[int]] = []
        self.number = 0

    def packet(self, length):
        self.number += 1
        length = min(length, self.longest)
        return self.number.to_bytes(4, "big") + bytes([self.number & 0xFF]) * (length - 4)

    @rule(length=st.integers(4, 4000))
    def arrive(self, length):
        packet = self.packet(length)
        if self.made.receive(packet):
            self.coming.append(packet)

    @rule(limit=st.integers(1, 10))
    def receive(self, limit):
        taken = self.made.channel.take(limit)
        packets = self.made.channel.copy(taken)
        self.made.channel.give_back(taken)
        assert len(packets) == min(limit, len(self.coming))
        assert packets == self.coming[: len(packets)]
        del self.coming[: len(packets)]

    @rule(limit=st.integers(1, 10))
    def lend(self, limit):
        taken = self.made.channel.take(limit)
        packets = self.made.channel.copy(taken)
        assert packets == self.coming[: len(packets)]
        del self.coming[: len(packets)]
        if taken:
            self.leases.append([taken, packets])

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def give_back(self, data):
        taken, packets = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        assert self.made.channel.copy(taken) == packets  # nobody else has written there
        self.made.channel.give_back(taken)

    @precondition(lambda self: self.leases and self.longest == 1500)
    @rule()
    def forward(self):
        taken, packets = self.leases.pop()
        instead = self.made.channel.exchange(taken)
        self.made.queue.fill(instead)
        count = len(instead)
        self.going += packets[:count]
        self.leases.append([taken[count:], packets[count:]])

    @rule(lengths=st.lists(st.integers(4, 4000), max_size=12))
    def write(self, lengths):
        packets = [self.packet(length) for length in lengths]
        self.going += packets[: self.made.channel.write(packets)]

    @rule(count=st.integers(1, 10))
    def reserve(self, count):
        frames = self.made.channel.reserve(count)
        assert len(frames) <= count
        if frames:
            self.reserved.append(frames)

    @precondition(lambda self: self.reserved)
    @rule(length=st.integers(4, 1500), give_up=st.booleans())
    def finish(self, length, give_up):
        frames = self.reserved.pop()
        if give_up:
            self.made.channel.cancel(frames)
            return
        ready = []
        for frame in frames:
            packet, address = self.packet(length), frame * MadeUp.FRAME
            self.made.frames.memory[address : address + len(packet)] = packet
            ready.append((address, len(packet), 0))
            self.going.append(packet)
        self.made.channel.submit(ready)

    @rule(count=st.integers(1, 10))
    def send(self, count):
        self.made.send(count)
        sent = self.made.sent
        assert sent == self.going[: len(sent)]
        del self.going[: len(sent)]
        sent.clear()

    @rule(count=st.integers(1, 10))
    def complete(self, count):
        self.made.complete(count)

    @rule()
    def collect(self):
        self.made.queue.collect()

    @rule(frame=st.integers(0, 1 << 33), length=st.integers(0, 5000))
    def give_nonsense(self, frame, length):
        """What the kernel reports as received but has not, and as sent but has not."""
        made = self.made
        wrong = frame * MadeUp.FRAME
        if frame not in made.queue.filled and not made.rx.waiting():
            made.rx.give(wrong, length, 0)
            with pytest.raises(FormatError, match="where the kernel may receive nothing"):
                made.channel.take(10)
        if frame not in made.queue.sending and not made.completion.waiting():
            made.completion.give(wrong)
            with pytest.raises(FormatError, match="1 of 1 frames given back that were not there"):
                made.queue.collect()

    @invariant()
    def every_frame_is_in_one_place(self):
        self.made.check()

    def teardown(self):
        if not hasattr(self, "made"):
            return
        made = self.made
        unsent = made.tx.waiting()
        on_the_way = len(made.to_complete)
        made.channel.close()
        made.queue.collect()
        made.queue.close(copies=True)
        made.check()
        for taken, packets in self.leases:
            assert made.channel.copy(taken) == packets
            made.channel.give_back(taken)
        for frames in self.reserved:
            made.channel.cancel(frames)
        made.check()
        # What the kernel has not looked at comes back; what it has not reported is given up.
        assert len(made.frames.retired) == on_the_way
        assert made.frames.free == made.count - on_the_way
        assert unsent == 0 or made.channel.unsent > 0


Traffic.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_traffic = Traffic.TestCase


def test_without_copies_all_that_the_kernel_has_is_retired():
    """Its device may go on writing there."""
    made = MadeUp(20, 8, filled=8)
    made.channel.write([b"packet"] * 3)
    made.send(2)
    made.channel.close()
    made.queue.close(copies=False)
    made.check()
    assert len(made.frames.retired) == 8 + 2
    assert made.channel.unsent == 1


@pytest.mark.parametrize("distance", [9, 1 << 31, (1 << 32) - 1])
def test_an_impossible_index_is_an_error(distance):
    """The kernel's side of a ring is further ahead or behind than the ring is long."""
    rx, tx = Shared(8, DESCRIPTOR), Shared(8, ADDRESS)
    reading = ConsumerRing(rx.memory, LAYOUT, 8, DESCRIPTOR, name="RX ring")
    writing = ProducerRing(tx.memory, LAYOUT, 8, ADDRESS, name="fill ring")
    rx.set(LAYOUT.producer, distance)
    tx.set(LAYOUT.consumer, -distance)
    with pytest.raises(FormatError, match=f"RX ring: {distance} entries wait in a ring of 8"):
        reading.available()
    assert reading.available() == 0
    assert rx.waiting() == 0
    with pytest.raises(FormatError, match=f"fill ring: {distance} entries wait in a ring of 8"):
        writing.waiting()


def test_a_packet_longer_than_its_frame_is_skipped():
    """What comes before and after it is received, and its frame is not lost."""
    made = MadeUp(8, 8, filled=8)
    assert made.receive(b"first")
    address = made.to_receive.pop()
    made.rx.give(address + 256, 1793, 0)
    assert made.receive(b"second")
    first = made.channel.take(8)
    assert made.channel.copy(first) == [b"first"]
    with pytest.raises(FormatError, match=r"of 1793 bytes .* may receive less"):
        made.channel.take(8)
    made.check()
    second = made.channel.take(8)
    assert made.channel.copy(second) == [b"second"]
    made.channel.give_back(first + second)
    assert len(made.queue.filled) == 8


def test_a_frame_that_comes_twice_is_skipped():
    """Its second packet would overwrite the first."""
    made = MadeUp(8, 8, filled=8)
    assert made.receive(b"once")
    (address, length, options) = DESCRIPTOR.unpack_from(made.rx.memory, LAYOUT.entries)
    made.rx.give(address, length, options)
    taken = made.channel.take(8)
    assert made.channel.copy(taken) == [b"once"]
    with pytest.raises(FormatError, match="may receive nothing"):
        made.channel.take(8)
    made.channel.give_back(taken)
    made.check()


def test_half_a_packet_waits_for_the_rest():
    """The kernel hands parts over one by one; a packet is received whole."""
    made = MadeUp(8, 8, filled=8, parts=True)
    made.receive(bytes(1500) + b"rest")
    producer = made.rx.get(LAYOUT.producer)
    made.rx.set(LAYOUT.producer, producer - 1)
    assert made.channel.take(8) == []
    made.check()
    made.rx.set(LAYOUT.producer, producer)
    assert made.channel.copy(made.channel.take(8)) == [bytes(1500) + b"rest"]


def test_a_packet_with_a_part_that_makes_no_sense_is_skipped_whole():
    """Its good parts come back to the kernel."""
    made = MadeUp(8, 8, filled=8, parts=True)
    made.receive(bytes(3100))
    wrong = LAYOUT.entries + DESCRIPTOR.size
    DESCRIPTOR.pack_into(made.rx.memory, wrong, 1 << 40, 9, 1)
    assert made.receive(b"next")
    with pytest.raises(FormatError, match="at 0x10000000000"):
        made.channel.take(8)
    made.check()


def test_the_wakeup_flag_is_read():
    """Where there are no flags (Linux before 5.4), the kernel always has to be woken."""
    made = MadeUp(8, 8, filled=8)
    assert not made.queue.needs_wakeup()
    made.fill.set(LAYOUT.flags, 1)
    assert made.queue.needs_wakeup()
    old = ProducerRing(made.tx.memory, LAYOUT._replace(flags=None), 8, DESCRIPTOR, name="tx")
    assert old.needs_wakeup()
