"""UserRing on the real kernel: a program takes out what was put in, once, in order."""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
from collections.abc import Iterator

import pytest

import pyebpf
from pyebpf.errors import ClosedError, ReaderTimeout
from pyebpf.maps.map import Map
from pyebpf.readers.user_ring import UserRing
from pyebpf.uapi.bpf import MapType
from tests.support.children import fork
from tests.support.programs import built

PATIENCE = 20.0


@pytest.fixture
def bpf() -> Iterator[pyebpf.Collection]:
    """A ring of a page, and a program that drains it."""
    with pyebpf.load(built("user_ring")) as loaded:
        yield loaded


@pytest.fixture
def ring(bpf) -> Iterator[UserRing]:
    """The side that writes."""
    with UserRing(bpf.maps["requests"]) as opened:
        yield opened


def drain(bpf) -> list[int]:
    """Return the numbers that the program found at the front of samples since the last call."""
    before = bpf.variables["taken"].value
    bpf.programs["drain"].run()
    after = bpf.variables["taken"].value
    numbers = bpf.variables["numbers"].value
    return [numbers[n % len(numbers)] for n in range(before, after)]


def test_samples_arrive_in_order(bpf, ring):
    """Of all sizes, around the ring's end many times."""
    choose = random.Random(5)
    sent: list[int] = []
    arrived: list[int] = []
    for number in range(2000):
        sample = struct.pack("=Q", number) + bytes(choose.randrange(200))
        try:
            ring.submit(sample)
        except ReaderTimeout:
            arrived += drain(bpf)
            ring.submit(sample)
        sent.append(number)
    assert arrived + drain(bpf) == sent


def test_what_is_written_in_place_is_handed_over_at_the_blocks_end(bpf, ring):
    """Not before: the kernel stops at what is not finished, also for what is behind it."""
    with ring.reserve(8) as memory:
        memory[:] = struct.pack("=Q", 1)
        ring.submit(struct.pack("=Q", 2))
        # Draining meets the sample that is being written.
        assert drain(bpf) == []
    assert drain(bpf) == [1, 2]


def test_an_exception_gives_the_sample_up(bpf, ring):
    """Programs do not see it; those behind it come."""

    def fail() -> None:
        with ring.reserve(8) as memory:
            memory[:] = struct.pack("=Q", 7)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    ring.submit(struct.pack("=Q", 8))
    assert drain(bpf) == [8]


def test_a_full_ring_is_a_timeout(bpf, ring):
    """At once by default; what is in it stays in it."""
    count = 4
    for number in range(count):
        ring.submit(struct.pack("=Q", number) + bytes(992))
    with pytest.raises(ReaderTimeout, match=r'map "requests": no room for 1000 bytes within 0 s'):
        ring.submit(bytes(1000))
    with pytest.raises(ReaderTimeout):
        ring.submit(bytes(1000), timeout=0.01)
    assert drain(bpf) == list(range(count))


def test_a_writer_sleeps_until_a_program_makes_room(bpf, ring):
    """However little is taken out at a time."""
    bpf.variables["at_once"].value = 1
    sent = 200
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(sent):
                ring.submit(struct.pack("=Q", number) + bytes(1500), timeout=PATIENCE)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    arrived: list[int] = []
    while len(arrived) < sent and not failures:
        arrived += drain(bpf)
    thread.join(PATIENCE)
    assert failures == []
    assert arrived == list(range(sent))


def test_many_threads_may_write(bpf, ring):
    """Each one's samples stay in order."""
    each = 100

    def write(who: int) -> None:
        for number in range(each):
            ring.submit(struct.pack("=Q", who << 32 | number), timeout=PATIENCE)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    arrived: list[int] = []
    while any(thread.is_alive() for thread in threads):
        arrived += drain(bpf)
    arrived += drain(bpf)
    for who in range(4):
        assert [n & 0xFFFFFFFF for n in arrived if n >> 32 == who] == list(range(each))


@pytest.mark.parametrize("length", [-1, 4089, 1 << 30])
def test_what_can_never_fit_is_refused(ring, length):
    """The message says the limit."""
    with pytest.raises(ValueError, match="takes samples of up to 4088 bytes"), ring.reserve(length):
        pass


def test_the_largest_sample_fits(bpf, ring):
    """The whole ring but for the header."""
    ring.submit(struct.pack("=Q", 3) + bytes(4080))
    assert drain(bpf) == [3]


def test_a_successor_goes_on_where_a_writer_stopped(bpf):
    """The position is in the ring."""
    for number in range(3):
        with UserRing(bpf.maps["requests"]) as ring:
            ring.submit(struct.pack("=Q", number))
    assert drain(bpf) == [0, 1, 2]


def test_closing_wakes_a_writer_that_waits(bpf, ring):
    """With an error that says so; closing twice is fine."""
    ring.submit(bytes(4000))
    errors: list[BaseException] = []

    def write() -> None:
        try:
            ring.submit(bytes(4000), timeout=None)
        except ClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    ring.close()
    ring.close()
    thread.join(PATIENCE)
    assert "used after close" in str(errors[0])
    with pytest.raises(ClosedError):
        ring.submit(b"")


def test_closing_gives_up_samples_that_are_being_written(bpf, ring):
    """Programs do not wait for them; the block says so at its end."""

    def close_inside() -> None:
        with ring.reserve(8):
            ring.close()

    with pytest.raises(ClosedError):
        close_inside()
    with UserRing(bpf.maps["requests"]) as other:
        other.submit(struct.pack("=Q", 5))
    assert drain(bpf) == [5]


def test_what_a_killed_writer_left_unfinished_is_given_up_by_the_next(bpf):
    """Or programs would stop there for ever; what it had finished comes."""
    child = fork()
    if child == 0:
        ring = UserRing(bpf.maps["requests"])
        ring.submit(struct.pack("=Q", 1))
        with ring.reserve(2000), ring.reserve(8):
            ring.submit(struct.pack("=Q", 2))
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert drain(bpf) == [1]
    assert drain(bpf) == []
    with UserRing(bpf.maps["requests"]) as ring:
        ring.submit(struct.pack("=Q", 3))
        assert drain(bpf) == [2, 3]
        for number in range(4, 300):
            ring.submit(struct.pack("=Q", number) + bytes(number))
            assert drain(bpf) == [number]


def test_the_writer_outlives_the_map_that_made_it(bpf):
    """It has a descriptor of its own."""
    with bpf.maps["requests"].clone() as own:
        ring = UserRing(own)
    with ring:
        ring.submit(struct.pack("=Q", 1))
        assert drain(bpf) == [1]


def test_another_kind_of_map_is_refused():
    """The message names both kinds."""
    with (
        Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1) as wrong,
        pytest.raises(ValueError, match="BPF_MAP_TYPE_ARRAY, not a BPF_MAP_TYPE_USER_RINGBUF"),
    ):
        UserRing(wrong)
