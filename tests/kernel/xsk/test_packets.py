"""AF_XDP sockets by real effect: numbered frames over a cable, counted exactly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import threading

import pytest

import pyebpf
from pyebpf import Umem, XskRedirect, XskSocket
from pyebpf.errors import ReaderTimeout
from tests.support.frames import PATIENCE, FarEnd, frame, numbers
from tests.support.netns import Veth, packets
from tests.support.programs import only_used

SOME = 200  # a cable holds 256 in each direction, if the kernel has other things to do


def received(xsk: XskSocket, count: int) -> list[int]:
    """Return the numbers of so many frames."""
    found: list[int] = []
    while len(found) < count:
        batch = numbers(xsk.receive(PATIENCE))
        assert batch, xsk.statistics()
        found += batch
    return found


def sender(veth: Veth, queue: int) -> XskSocket:
    """Return a socket at the other end of a cable, for one of its queues."""
    with veth.peer.entered():
        return XskSocket(veth.peer_name, queue, map=False, rx_size=0)


@pytest.fixture
def xsk(cable):
    with XskSocket(cable.name) as opened:
        yield opened


def test_every_frame_is_received_in_order(xsk, far):
    """As it was sent, more often than there are frames of memory or entries in rings."""
    for start in range(0, 5000, SOME):
        far.send(range(start, start + SOME), length=60 + start % 1400)
        assert received(xsk, SOME) == list(range(start, start + SOME))
    found = xsk.statistics()
    assert (found.received, found.rx_dropped, found.rx_ring_full) == (5000, 0, 0)
    assert xsk.receive(0) == []


def test_every_frame_is_sent_in_order(cable, far):
    """Many in one call, more than the rings have entries; the other end sees each."""
    with XskSocket(cable.name, tx_size=64, completion_size=32) as xsk:
        for start in range(0, 3000, SOME):
            wanted = range(start, start + SOME)
            assert xsk.send([frame(number, 60 + number % 1400) for number in wanted]) == SOME
            assert far.receive(SOME) == list(wanted)
        assert xsk.send(bytearray(frame(7))) == 1
        assert xsk.send([memoryview(frame(8))]) == 1
        assert far.receive(2) == [7, 8]
        assert xsk.flush(PATIENCE)
        found = xsk.statistics()
        assert (found.sent, found.refused, found.tx_invalid_descs) == (3002, 0, 0)
        assert xsk.umem.usage() == (2048, 2048, 0, 0, 0)


def test_frames_are_leased_in_place(xsk, far):
    """They can be changed, are gone after the block, and the kernel has their memory again."""
    far.send(range(100))
    seen: list[int] = []
    while len(seen) < 100:
        with xsk.lease(PATIENCE, limit=60) as lease:
            assert 0 < len(lease) <= 60
            assert xsk.umem.usage().lent == len(lease)
            seen += numbers(lease)
            kept = lease[0]
            kept[0] = 0xFF
            assert [[bytes(one) for one in packet] for packet in lease.packets()] == [
                [bytes(one)] for one in lease
            ]
        with pytest.raises(ValueError, match="released"):
            kept[0]
    assert seen == list(range(100))
    assert xsk.umem.usage() == (2048, 2048, 0, 0, 0)
    with xsk.lease(0) as nothing:
        assert len(nothing) == 0


def test_frames_are_written_in_place(xsk, far):
    """The block's end sends them; an exception gives them up."""
    with xsk.reserve(60, count=10) as places:
        for number, place in enumerate(places):
            place[:] = frame(number, 60)
    assert far.receive(10) == list(range(10))
    with pytest.raises(LookupError), xsk.reserve(60) as places:  # noqa: PT012
        places[0][:] = frame(99, 60)
        raise LookupError
    with pytest.raises(ValueError, match="released"):
        places[0][0]
    xsk.send(frame(10))
    assert far.receive(1) == [10]
    assert xsk.umem.usage() == (2048, 2048, 0, 0, 0)
    assert xsk.statistics().sent == 11


def test_leased_frames_are_forwarded_in_place(xsk, far):
    """Those that are chosen, changed or not; the kernel gets other frames for them."""
    far.send(range(10))
    while xsk.statistics().received < 10:
        with xsk.lease(PATIENCE) as lease:
            found = numbers(lease)
            even = [number for number, each in enumerate(found) if each % 2 == 0]
            for number in even:
                lease[number][17] += 100
            assert xsk.forward(lease, even) == len(even)
            for wrong in (even[:1], [len(lease)], [-1]):
                with pytest.raises((ValueError, IndexError)):
                    xsk.forward(lease, wrong)
            assert xsk.umem.usage().lent == len(lease)
    assert far.receive(5) == [100, 102, 104, 106, 108]
    with pytest.raises(ValueError, match="ended"):
        xsk.forward(lease, [0])
    assert xsk.flush(PATIENCE)
    assert xsk.umem.usage() == (2048, 2048, 0, 0, 0)


def test_packets_are_forwarded_between_sockets(wide):
    """From one queue to another of the same memory; more packets than there are spare frames."""
    with (
        contextlib.closing(FarEnd(wide)) as far,
        sender(wide, 0) as origin,
        Umem(96) as umem,
        XskRedirect(wide.name) as redirect,
        XskSocket(wide.name, 0, umem=umem, map=redirect.map, fill_size=64) as source,
        XskSocket(wide.name, 1, umem=umem, map=False, rx_size=0) as target,
        XskSocket(wide.name, 0, umem=umem, map=False, rx_size=0) as beside,
    ):
        done = 0
        while done < 300:
            origin.send([frame(number) for number in range(done, done + 60)])
            while done < 300 and source.wait(0):
                with source.lease(0) as lease:
                    assert target.forward(lease, range(0, len(lease), 2), timeout=PATIENCE)
                    beside.forward(lease, range(1, len(lease), 2), timeout=PATIENCE)
                    done += len(lease)
        assert sorted(far.receive(300)) == list(range(300))
        assert umem.usage() == (32, 64, 0, 0, 0)
        with source.lease(0) as nothing:
            assert target.forward(nothing) == 0


def test_several_leases_at_a_time(xsk, far):
    """Each holds its own frames; the rest goes on."""
    far.send(range(3))
    with xsk.lease(PATIENCE, limit=1) as first:
        with xsk.lease(PATIENCE, limit=1) as second, xsk.reserve(64) as places:
            places[0][:] = frame(7)
            assert numbers([*first, *second]) == [0, 1]
            assert xsk.umem.usage() == (2047, 2046, 0, 3, 0)
        assert far.receive(1) == [7]
        assert received(xsk, 1) == [2]
        assert numbers(first) == [0]
    assert xsk.umem.usage() == (2048, 2048, 0, 0, 0)


def test_a_full_rx_ring_is_counted(cable, far):
    """What does not fit the kernel drops, and says how much."""
    with XskSocket(cable.name, rx_size=4, fill_size=64) as xsk:
        far.send(range(10))
        assert received(xsk, 4) == [0, 1, 2, 3]
        assert xsk.receive(0) == []
        assert xsk.statistics().rx_ring_full == 6
        far.send([10])
        assert received(xsk, 1) == [10]


def test_an_empty_fill_ring_is_counted(cable, far):
    """Frames that are leased are not there to receive into."""
    with XskSocket(cable.name, fill_size=4) as xsk:
        far.send(range(4))
        with xsk.lease(PATIENCE) as lease:
            assert numbers(lease) == [0, 1, 2, 3]
            far.send(range(4, 7))
            assert xsk.receive(0) == []
            found = xsk.statistics()
            assert (found.rx_dropped, found.rx_fill_ring_empty_descs) == (3, 3)
        far.send([7])
        assert received(xsk, 1) == [7]


def test_a_frame_longer_than_its_memory_is_counted(netns, cable, far):
    """256 bytes of each frame are the kernel's."""
    netns.run("ip", "link", "set", cable.name, "mtu", "2000")
    cable.peer.run("ip", "link", "set", cable.peer_name, "mtu", "2000")
    with XskSocket(cable.name) as xsk:
        far.send([1], length=1792)
        far.send([2], length=1793)
        far.send([3])
        assert received(xsk, 2) == [1, 3]
        assert xsk.statistics().rx_dropped == 1


def test_queues_are_apart(wide):
    """One socket each, one program, one memory; nothing comes twice or at the wrong one."""
    with (
        contextlib.closing(FarEnd(wide)) as far,
        Umem(8192) as umem,
        XskRedirect(wide.name) as redirect,
        XskSocket(wide.name, 0, umem=umem, map=redirect.map) as first,
        XskSocket(wide.name, 1, umem=umem, map=redirect.map) as second,
        sender(wide, 0) as evens,
        sender(wide, 1) as odds,
    ):
        assert umem.usage() == (4096, 4096, 0, 0, 0)
        for start in range(0, 1000, SOME):
            even, odd = range(start, start + SOME, 2), range(start + 1, start + SOME, 2)
            evens.send([frame(number) for number in even])
            odds.send([frame(number) for number in odd])
            assert received(first, len(even)) == list(even)
            assert received(second, len(odd)) == list(odd)
        assert first.receive(0) == second.receive(0) == []
        first.send([frame(number) for number in range(100)])
        second.send([frame(number) for number in range(100, 200)])
        assert far.receive(200) == list(range(200))
        second.close()
        assert umem.usage() == (6144, 2048, 0, 0, 0)
        first.send(frame(5))
        assert far.receive(1) == [5]


def test_sockets_of_one_queue_share_its_frames(cable, far):
    """The one in the map receives, both send; what the first had goes to the second."""
    with Umem() as umem, XskRedirect(cable.name) as redirect:
        first = XskSocket(cable.name, umem=umem, map=redirect.map)
        with XskSocket(cable.name, umem=umem, map=False) as second:
            assert umem.usage() == (2048, 2048, 0, 0, 0)
            first.send(frame(1))
            second.send(frame(2))
            assert far.receive(2) == [1, 2]
            far.send(range(50))
            assert first.wait(PATIENCE)
            first.close()
            assert umem.usage() == (2048, 2048, 0, 0, 0)
            redirect.map[0] = second
            far.send(range(3000), length=60)
            assert second.wait(PATIENCE)
            assert sum(numbers(second.receive(PATIENCE))) > 0
        assert umem.usage() == (4096, 0, 0, 0, 0)


def test_a_receiver_may_come_after_a_sender(cable, far):
    """On the same queue; it brings the frames to receive into."""
    with Umem() as umem, XskSocket(cable.name, umem=umem, rx_size=0, fill_size=64) as sender:
        assert umem.usage().filled == 0
        with XskSocket(cable.name, umem=umem) as receiver:
            assert umem.usage().filled == 64
            far.send([1])
            assert received(receiver, 1) == [1]
            sender.send(frame(2))
            assert far.receive(1) == [2]


def test_memory_is_shared_between_interfaces(cable, netns):
    """Also between those of two network namespaces: the sockets stay where they were opened."""
    with Umem() as umem, XskSocket(cable.name, umem=umem, fill_size=1024) as near:
        with cable.peer.entered():
            far = XskSocket(cable.peer_name, umem=umem, fill_size=1024)
        with far:
            near.send([frame(number) for number in range(SOME)])
            assert received(far, SOME) == list(range(SOME))
            far.send(frame(4))
            assert received(near, 1) == [4]


def test_a_program_of_ones_own_redirects(cable, far):
    """Its map takes the socket; the program decides what comes. An empty slot lets nothing come."""
    with pyebpf.load(only_used("map_kinds", "to_xsks")) as bpf:
        sockets, program = bpf.maps["xsks"], bpf.programs["to_xsks"]
        with pyebpf.link.attach_xdp(program, cable.name):
            with XskSocket(cable.name, map=sockets, key=1) as xsk:
                far.send(range(10))
                assert received(xsk, 10) == list(range(10))
                del sockets[1]
                far.send(range(10, 20))
                sockets[1] = xsk
                far.send(range(20, 30))
                assert received(xsk, 10) == list(range(20, 30))
            # The kernel takes a closed socket out of its maps.
            assert program.run(bytes(64)).retval == pyebpf.XdpAction.DROP


def test_without_a_socket_packets_go_to_the_network_stack(veth):
    """The built-in program takes nothing from queues that have no socket."""
    with XskRedirect(veth.name) as redirect:
        assert packets(veth, 5) == 5
        with XskSocket(veth.name, map=redirect.map) as xsk:
            assert packets(veth, 1) == 0
            assert len(xsk.receive(PATIENCE)) == 1
        assert packets(veth, 5) == 5
    assert pyebpf.link.query_xdp(veth.name).program_id == 0


def test_drivers_need_not_be_woken(cable, far):
    """The same without XDP_USE_NEED_WAKEUP."""
    with (
        Umem(need_wakeup=False, mode=pyebpf.XskMode.COPY) as umem,
        XskSocket(cable.name, umem=umem) as xsk,
    ):
        assert not xsk.zero_copy
        far.send(range(100))
        assert received(xsk, 100) == list(range(100))
        xsk.send([frame(number) for number in range(100)])
        assert far.receive(100) == list(range(100))


def test_frames_may_be_longer_than_a_frame_of_memory(netns, cable, far):
    """With multi_buffer a packet is several frames of memory, received as one, leased in parts."""
    netns.run("ip", "link", "set", cable.name, "mtu", "9000")
    cable.peer.run("ip", "link", "set", cable.peer_name, "mtu", "9000")
    with Umem(multi_buffer=True) as umem, XskSocket(cable.name, umem=umem) as xsk:
        far.send([1, 2], length=9000)
        far.send([3])
        assert received(xsk, 3) == [1, 2, 3]
        far.send([4, 5], length=5000)
        with xsk.lease(PATIENCE, limit=1) as lease:
            (parts,) = lease.packets()
            assert len(parts) > 1
            assert numbers([b"".join(parts)]) == [4]
        assert received(xsk, 1) == [5]
        sent = [frame(number, 60 + 890 * number) for number in range(10)]
        assert xsk.send(sent) == 10
        assert far.receive(10) == list(range(10))
        assert umem.usage() == (2048, 2048, 0, 0, 0)
        found = xsk.statistics()
        assert (found.received, found.sent) == (5, 10)


def test_one_thread_receives_while_another_sends(xsk, far):
    """A waiting receiver does not keep the sender waiting."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(received(xsk, 1)))
    thread.start()
    xsk.send([frame(number) for number in range(SOME)])
    assert far.receive(SOME) == list(range(SOME))
    far.send([5])
    thread.join(PATIENCE)
    assert found == [5]


def test_an_event_loop_may_wait(xsk, far):
    """The descriptor is readable while packets wait, and only then."""
    assert select.select([xsk], [], [], 0)[0] == []
    far.send([1])
    assert select.select([xsk], [], [], PATIENCE)[0] == [xsk]
    assert received(xsk, 1) == [1]
    assert select.select([xsk], [], [], 0)[0] == []


def test_asyncio_waits_by_the_descriptor(xsk, far):
    """add_reader and receive(0) are all it takes."""

    async def numbers_of(count: int) -> list[int]:
        loop, found, done = asyncio.get_running_loop(), [], asyncio.Event()

        def ready() -> None:
            found.extend(numbers(xsk.receive(0)))
            if len(found) >= count:
                done.set()

        loop.add_reader(xsk, ready)
        far.send(range(count))
        await asyncio.wait_for(done.wait(), PATIENCE)
        loop.remove_reader(xsk)
        return found

    assert asyncio.run(numbers_of(20)) == list(range(20))


def test_timeouts(xsk):
    """No packet is no error; no room is one."""
    assert xsk.receive(0) == xsk.receive(0.01) == []
    assert not xsk.wait(0.01)
    with xsk.reserve(64, count=2048):
        with pytest.raises(ReaderTimeout, match=r"no room for 1 packets in 0\.01 s"):
            xsk.reserve(64, timeout=0.01).__enter__()
        assert xsk.send(frame(1), timeout=0.01) == 0


def test_what_the_interface_refuses_is_counted(netns, cable):
    """A cable whose other end is down drops; no frame is lost by that. Older ones do not say so."""
    cable.peer.run("ip", "link", "set", cable.peer_name, "down")
    with XskSocket(cable.name, map=False, rx_size=0) as xsk:
        assert xsk.send([frame(number) for number in range(10)]) == 10
        assert xsk.statistics().refused in (0, 10)
        assert xsk.flush(PATIENCE)
        assert xsk.umem.usage() == (4096, 0, 0, 0, 0)
    (told,) = json.loads(netns.run("ip", "-j", "-s", "link", "show", cable.name))
    assert told["stats64"]["tx"]["dropped"] == 10
