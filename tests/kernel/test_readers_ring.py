"""RingReader on the real kernel: every record produced is either received or was refused."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from pyebpf.errors import ReaderTimeout
from pyebpf.maps.map import Map
from pyebpf.readers.ring import RingReader
from pyebpf.uapi.bpf import MapType
from tests.support.producers import HUGE, Producer

CPUS = sorted(os.sched_getaffinity(0))
PATIENCE = 20.0
PAGE = mmap.PAGESIZE


@pytest.fixture
def ring() -> Iterator[Map]:
    """A ring buffer of one page."""
    with Map.create(type=MapType.RINGBUF, max_entries=PAGE, name="events") as created:
        yield created


@pytest.fixture
def producer(ring: Map) -> Iterator[Producer]:
    """A program that fills the ring with records of 16 bytes."""
    with Producer("ring", ring.fileno()) as made:
        yield made


def sequence(record: bytes) -> int:
    (number,) = struct.unpack_from("=Q", record)
    return number


def test_every_record_comes_in_order_with_its_content(ring, producer):
    """Exactly the bytes the program put out, unlike perf without padding."""
    producer.resize(13)
    with RingReader(ring) as reader:
        producer.run(100)
        records = reader.drain()
    assert [sequence(record) for record in records] == list(range(1, 101))
    assert {record[8:] for record in records} == {b"\xab" * 5}


def test_what_a_full_ring_refuses_is_unknown_and_never_zero(ring, producer):
    """Produced = received + refused; only the program knows the second."""
    received = 0
    with RingReader(ring) as reader:
        for burst in (1000, 1, 500, 3000):
            producer.run(burst)
            received += len(reader.drain())
        stats = reader.stats()
    assert producer.full > 0
    assert producer.produced == received + producer.full
    assert stats.received == received
    assert stats.lost is None
    assert stats.per_cpu == ()


def test_discarded_records_are_skipped(ring):
    """Those with odd numbers were given up by the program, also more in a row than it reads."""
    with Producer("discard", ring.fileno()) as producer, RingReader(ring) as reader:
        producer.run(100)
        assert [sequence(record) for record in reader.drain()] == list(range(2, 101, 2))
        producer.run(1)
        with pytest.raises(ReaderTimeout):
            reader.read(0.01)
        assert reader.stats().received == 50


@pytest.mark.parametrize("pages", [1, 4])
def test_records_of_all_sizes_survive_many_wraps(pages):
    """Sizes from 8 to 263 bytes, until the ring has wrapped a hundred times."""
    size = pages * PAGE
    numbers: list[int] = []
    with (
        Map.create(type=MapType.RINGBUF, max_entries=size) as ring,
        Producer("ring", ring.fileno(), base=8, mask=255) as producer,
        RingReader(ring) as reader,
    ):
        while reader.stats().bytes < 100 * size:
            producer.run(size // 300)
            for record in reader.poll(PATIENCE):
                number = sequence(record)
                assert record[8:] == b"\xab" * (number & 255)
                numbers.append(number)
        assert producer.full == 0
        assert numbers == list(range(1, producer.produced + 1))


def test_nothing_is_lost_or_invented_while_both_sides_run(ring, producer):
    """Two producers on two CPUs against one reader of a small ring: the books agree."""
    with Producer("ring", ring.fileno(), base=8, mask=127) as other, RingReader(ring) as reader:
        threads = [
            threading.Thread(target=lambda p=p, cpu=cpu: p.run(200_000, cpu=cpu))
            for p, cpu in ((producer, CPUS[0]), (other, CPUS[-1]))
        ]
        for thread in threads:
            thread.start()
        received = 0
        while any(thread.is_alive() for thread in threads):
            received += len(reader.poll(0.05))
        for thread in threads:
            thread.join()
        received += len(reader.drain())
        assert reader.stats().received == received
        assert producer.other == other.other == 0
        assert producer.produced + other.produced == received + producer.full + other.full


def test_one_record_can_fill_most_of_the_ring():
    """A record larger than what is copied at a time comes whole."""
    with (
        Map.create(type=MapType.RINGBUF, max_entries=4 * HUGE) as ring,
        Producer("ring", ring.fileno(), base=HUGE) as producer,
        RingReader(ring) as reader,
    ):
        for _ in range(6):
            producer.run(2)
            assert [len(record) for record in reader.drain()] == [HUGE, HUGE]


def test_what_is_read_ahead_is_bounded_and_all_comes():
    """Iterating reads a chunk at a time, and the ring's end is reached."""
    with (
        Map.create(type=MapType.RINGBUF, max_entries=1 << 20, name="big") as ring,
        Producer("ring", ring.fileno(), base=1000) as producer,
        RingReader(ring) as reader,
    ):
        producer.run(1000)
        assert sequence(reader.read(0)) == 1
        assert reader.stats().received < 100
        rest = iter(reader)
        assert [sequence(next(rest)) for _ in range(999)] == list(range(2, 1001))


def test_a_successor_goes_on_where_a_reader_stopped(ring, producer):
    """The position is in the ring; records that were only read ahead are gone."""
    with RingReader(ring) as first:
        producer.run(3)
        assert len(first.drain()) == 3
    producer.run(2)
    with RingReader(ring) as second:
        assert [sequence(record) for record in second.drain()] == [4, 5]


def test_the_reader_outlives_the_map_that_made_it():
    """It has a descriptor of its own."""
    with (
        Map.create(type=MapType.RINGBUF, max_entries=PAGE) as own,
        Producer("ring", own.fileno()) as producer,
        RingReader(own) as reader,
    ):
        own.close()
        producer.run(3)
        assert len(reader.drain()) == 3


def test_a_sleeping_reader_is_woken_by_every_record(ring, producer):
    """Read, sleep, be woken, in lock-step, with nobody to help when a wake-up is missed."""
    with RingReader(ring) as reader:
        arrived = threading.Semaphore(0)
        numbers: list[int] = []

        def read() -> None:
            for _, record in zip(range(300), reader, strict=False):
                numbers.append(sequence(record))
                arrived.release()

        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(300):
            producer.run(1)
            assert arrived.acquire(timeout=PATIENCE)
        thread.join(PATIENCE)
        assert numbers == list(range(1, 301))


def test_another_kind_of_map_is_refused():
    """The message names both kinds."""
    with (
        Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1) as wrong,
        pytest.raises(ValueError, match="BPF_MAP_TYPE_ARRAY, not a BPF_MAP_TYPE_RINGBUF"),
    ):
        RingReader(wrong)
