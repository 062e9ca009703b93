"""Readers over rings that programs fill: contents, losses, waking, on both kernels."""

from __future__ import annotations

import mmap
import select
import struct
import threading

import pytest

from pyebpf.errors import FormatError, ReaderTimeout, SyscallError
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.ring import RingReader
from pyebpf.sys import kernel as seam
from pyebpf.uapi.bpf import MapType
from tests.support.contract import require
from tests.support.producers import Producer

PAGE = mmap.PAGESIZE
PATIENCE = 20.0


@pytest.fixture
def ring(kernel):
    """A ring buffer of one page."""
    with Map.create(type=MapType.RINGBUF, max_entries=PAGE, name="events") as made:
        yield made


@pytest.fixture
def events(kernel):
    """A perf event array for CPU 0."""
    with Map.create(
        type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=1, name="events"
    ) as made:
        yield made


def sequence(record: bytes) -> int:
    return int(struct.unpack_from("=Q", record)[0])


def test_a_ring_shows_what_was_put_in(ring):
    """In order, with its content, and discarded records left out."""
    with Producer("ring", ring.fileno(), base=13) as producer, RingReader(ring) as reader:
        producer.run(50)
        records = reader.drain()
        assert [sequence(record) for record in records] == list(range(1, 51))
        assert {record[8:] for record in records} == {b"\xab" * 5}
    with Producer("discard", ring.fileno()) as producer, RingReader(ring) as reader:
        producer.run(10)
        assert [sequence(record) for record in reader.drain()] == [2, 4, 6, 8, 10]


def test_a_ring_takes_as_much_as_fits(ring):
    """The very same number of records, of any size, until it is full."""
    for size in (8, 16, 17, 100, 2000, PAGE - 16, PAGE - 8):
        with Producer("ring", ring.fileno(), base=size) as producer, RingReader(ring) as reader:
            producer.run(1000)
            # One byte always stays free: __bpf_ringbuf_reserve.
            fitting = (PAGE - 1) // (size + 8 + 7 & ~7)
            assert len(reader.drain()) == fitting
            assert (producer.full, producer.other) == (1000 - fitting, 0)


@pytest.mark.parametrize("pages", [1, 2])
def test_a_wrapping_ring_keeps_its_records_whole(kernel, pages):
    """Sizes from 8 to 263 bytes, many times around."""
    with (
        Map.create(type=MapType.RINGBUF, max_entries=pages * PAGE) as ring,
        Producer("ring", ring.fileno(), base=8, mask=255) as producer,
        RingReader(ring) as reader,
    ):
        numbers = []
        for _ in range(60):
            producer.run(7)
            for record in reader.drain():
                assert record[8:] == b"\xab" * (len(record) - 8)
                numbers.append(sequence(record))
        assert numbers == list(range(1, 421))


def test_a_perf_ring_counts_what_it_loses(events):
    """Received and lost add up to produced; the last losses count, too."""
    require("PERF_FORMAT_LOST", "6.0")
    with (
        Producer("perf", events.fileno(), base=100) as producer,
        PerfReader(events, pages=1, cpus=[0]) as reader,
    ):
        received = 0
        for burst in (100, 5, 200, 3):
            producer.run(burst, cpu=0)
            received += len(reader.drain())
        producer.run(1000, cpu=0)
        stats = reader.stats()
        assert (stats.received, stats.lost) == (received, producer.full)
        assert producer.produced - producer.full == received + len(reader.drain())
        assert producer.other == 0


def test_a_perf_ring_takes_as_much_as_fits(events):
    """The very same number of records, of any size, until it is full."""
    for size in (8, 20, 100, 2000):
        with (
            Producer("perf", events.fileno(), base=size) as producer,
            PerfReader(events, pages=1, cpus=[0]) as reader,
        ):
            producer.run(1000, cpu=0)
            fitting = (PAGE - 1) // (size + 12 + 7 & ~7)
            records = reader.drain()
            assert len(records) == fitting
            assert {len(record) for record in records} == {(size + 12 + 7 & ~7) - 12}


def test_a_record_that_is_too_long_is_damaged(events):
    """Nobody checks that its size fits 16 bits; the reader says so and goes on."""
    with (
        Producer("perf", events.fileno(), base=65536) as producer,
        PerfReader(events, pages=64, cpus=[0]) as reader,
    ):
        producer.run(1, cpu=0)
        with pytest.raises(FormatError, match=r"65516 bytes\); skipped"):
            reader.drain()
        producer.resize(16)
        producer.run(2, cpu=0)
        assert [sequence(record) for record in reader.drain()] == [1, 2]


def test_without_a_reader_programs_get_an_error(events):
    """And again when the reader is closed."""
    with Producer("perf", events.fileno()) as producer:
        producer.run(3, cpu=0)
        with PerfReader(events, pages=1, cpus=[0]) as reader:
            producer.run(2, cpu=0)
            assert len(reader.drain()) == 2
        producer.run(4, cpu=0)
        assert (producer.produced, producer.other) == (9, 7)


@pytest.mark.parametrize("kind", ["ring", "perf"])
def test_a_sleeping_reader_is_woken(kernel, request, kind):
    """From another thread; without anything to read the time runs out."""
    source = request.getfixturevalue("ring" if kind == "ring" else "events")
    options = {} if kind == "ring" else {"pages": 1, "cpus": [0]}
    reader_of = RingReader if kind == "ring" else PerfReader
    with Producer(kind, source.fileno()) as producer, reader_of(source, **options) as reader:
        with pytest.raises(ReaderTimeout):
            reader.read(0.01)
        found = []
        thread = threading.Thread(target=lambda: found.append(reader.read(PATIENCE)))
        thread.start()
        producer.run(1, cpu=0)
        thread.join()
        assert sequence(found[0]) == 1
        with pytest.raises(ReaderTimeout):
            reader.read(0.01)


@pytest.mark.parametrize("kind", ["ring", "perf"])
def test_the_descriptor_is_readable_while_there_is_something(kernel, request, kind):
    """For an event loop of one's own."""
    source = request.getfixturevalue("ring" if kind == "ring" else "events")
    options = {} if kind == "ring" else {"pages": 1, "cpus": [0]}
    reader_of = RingReader if kind == "ring" else PerfReader
    with Producer(kind, source.fileno()) as producer, reader_of(source, **options) as reader:
        poll = select.poll()
        poll.register(reader.fileno(), select.POLLIN)
        reader.drain()
        assert poll.poll(0) == []
        for _ in range(3):
            producer.run(2, cpu=0)
            assert poll.poll(PATIENCE * 1000)
            reader.read(0)
            assert poll.poll(0)
            reader.read(0)
            reader.drain()  # it may have been told twice
            assert poll.poll(0) == []


def test_a_watermark_lets_records_gather(events):
    """Nobody is woken before so many bytes wait; at the end of the time they are there."""
    with (
        Producer("perf", events.fileno(), base=92) as producer,
        PerfReader(events, pages=1, cpus=[0], watermark=500) as reader,
    ):
        poll = select.poll()
        poll.register(reader.fileno(), select.POLLIN)
        reader.drain()
        producer.run(4, cpu=0)
        assert poll.poll(0) == []
        producer.run(2, cpu=0)
        assert poll.poll(PATIENCE * 1000)
        assert len(reader.drain()) == 6


def test_rings_refuse_odd_mappings(events, ring):
    """A number of pages that is no power of two; more than the ring has."""
    with pytest.raises(ValueError, match="power of two"):
        PerfReader(events, pages=3, cpus=[0])
    with pytest.raises(SyscallError, match="EPERM"):
        seam.current().mmap(ring.fileno(), PAGE, writable=True, offset=PAGE)
