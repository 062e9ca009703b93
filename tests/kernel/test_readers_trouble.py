"""Trouble in every way of reading, on the real kernel: closing, signals, exceptions, losses."""

from __future__ import annotations

import ctypes
import mmap
import os
import pathlib
import signal
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import pyebpf
from pyebpf.errors import ClosedError, FormatError
from pyebpf.maps.map import Map
from pyebpf.readers.reader import Reader
from pyebpf.readers.ring import RingReader
from pyebpf.sys import perf_event
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.perf import PerfEventAttr, PerfSw, PerfType
from tests.support.amount import amount
from tests.support.children import fork
from tests.support.pairs import CPU, pair, sequence
from tests.support.producers import Producer, on_cpu
from tests.support.programs import built
from tests.support.ways import ONE, WAYS, is_read

PATIENCE = 20.0

every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(params=["perf", "ring"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of readers."""
    return request.param


def until_it_reads(reader: Reader) -> None:
    """Wait until another thread does; where it waits in a loop of its own, that has begun."""
    while not is_read(reader) and not reader._sleepers._wakes:
        os.sched_yield()


def until_it_sleeps(task: int) -> None:
    """Wait until a thread of this process sleeps in poll or epoll, not for the interpreter."""
    where = pathlib.Path("/proc/self/task", str(task), "wchan")
    end = time.monotonic() + PATIENCE  # for kernels that do not tell
    while "poll" not in where.read_text("utf-8") and time.monotonic() < end:
        os.sched_yield()


# --- closing and signals


@every_way
@pytest.mark.parametrize("interval", [None, 60.0], ids=["woken", "by the clock"])
def test_closing_ends_every_way_of_waiting(kind, way, interval):
    """Calls raise `ClosedError`, iterations come to their end."""
    found: list[object] = []

    def take(reader: Reader) -> None:
        try:
            found.append(WAYS[way](reader, None))
        except ClosedError as error:
            found.append(str(error))

    with pair(kind, 0, interval=interval) as made:
        thread = threading.Thread(target=take, args=(made.reader,))
        thread.start()
        until_it_reads(made.reader)
        made.reader.close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    (what,) = found
    assert what == [] if way in ("iterate", "async for") else "used after close" in str(what)


def test_closing_waits_for_a_lease_in_another_thread(kind):
    """What it lent stays good until its block ends; its records count as read."""
    with pair(kind, 0) as made:
        made.produce(100)
        closing, closed = threading.Event(), threading.Event()

        def close() -> None:
            closing.set()
            made.reader.close()
            closed.set()

        with made.reader.lease(PATIENCE) as records:
            thread = threading.Thread(target=close)
            thread.start()
            assert closing.wait(PATIENCE)
            while not made.reader.closed:
                os.sched_yield()
            assert not closed.wait(0.05)
            assert [sequence(each) for each in records] == list(range(1, 101))
        assert closed.wait(PATIENCE)
        thread.join()
        assert made.reader.stats().received == 100
        with pytest.raises(ClosedError):
            made.reader.drain()


@every_way
def test_ctrl_c_ends_every_way_of_waiting_and_loses_nothing(kind, way):
    """It comes while the kernel holds the call; earlier, a descriptor may have no owner yet."""
    this, task = threading.get_ident(), threading.get_native_id()

    def interrupt(reader: Reader) -> None:
        until_it_reads(reader)
        until_it_sleeps(task)
        signal.pthread_kill(this, signal.SIGALRM)

    with pair(kind, 0) as made:
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for _ in range(amount(20)):
                thread = threading.Thread(target=interrupt, args=(made.reader,))
                thread.start()
                with pytest.raises(KeyboardInterrupt):
                    WAYS[way](made.reader, None)
                thread.join(PATIENCE)
        finally:
            signal.signal(signal.SIGALRM, before)
        made.produce(3)
        seen: list[int] = []
        while len(seen) < 3:
            seen += WAYS[way](made.reader, PATIENCE)
        assert seen == [1, 2, 3]


def test_a_process_that_is_killed_loses_what_it_read_ahead_and_no_more():
    """SIGTERM without a handler: the next reader of the ring goes on where that one was."""
    with (
        Map.create(type=MapType.RINGBUF, max_entries=1 << 20) as ring,
        Producer("ring", ring.fileno(), base=992) as producer,
    ):
        producer.run(500)
        done, end = os.pipe()
        child = fork()
        if child == 0:
            with RingReader(ring) as reader:
                record = reader.read(0)
                os.write(end, struct.pack("=QQ", sequence(record), reader.stats().received))
                os.kill(os.getpid(), signal.SIGTERM)
            os._exit(1)
        first, ahead = struct.unpack("=QQ", os.read(done, 16))
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
        os.close(done)
        os.close(end)
        with RingReader(ring) as reader:
            rest = [sequence(record) for record in reader.drain()]
        assert first == 1
        assert 1 <= ahead <= (1 << 16) // 1000
        assert rest == list(range(ahead + 1, 501))


# --- exceptions


DECODING = [way for way in WAYS if way in ONE or way in ("poll", "dispatch")]


@pytest.mark.parametrize("way", DECODING)
@pytest.mark.parametrize("error", [LookupError, FormatError], ids=lambda each: each.__name__)
def test_an_exception_of_a_decoder_consumes_its_record_alone(kind, way, error):
    """In every way that decodes; what it calls malformed is counted."""
    bad = (1, 5, 6, 3000)
    asked: list[int] = []

    def decode(record: bytes) -> bytes:
        asked.append(sequence(record))
        if asked[-1] in bad:
            raise error("bad")
        return record

    with pair(kind, 127, record=decode) as made:
        made.produce(3001)
        seen: list[int] = []

        def take(record: bytes) -> None:
            seen.append(sequence(record))

        failures = 0
        while len(seen) + failures < 3001:
            try:
                if way == "dispatch":  # which has called for those before the bad one
                    made.reader.dispatch(take, timeout=0)
                else:
                    seen += WAYS[way](made.reader, 0)
            except error:
                failures += 1
        assert failures == len(bad)
        assert seen == [number for number in range(1, 3002) if number not in bad]
        assert asked == list(range(1, 3002))
        assert made.reader.stats().received == 3001
        assert made.reader.stats().unknown == (len(bad) if error is FormatError else 0)


class Long(ctypes.Structure):
    """80 bytes."""

    _fields_ = (("number", ctypes.c_uint64), ("rest", ctypes.c_uint8 * 72))


LONG = {
    "format": ("<Q72s", lambda value: value[0]),
    "dtype": (np.dtype([("number", "u8"), ("rest", "V72")]), lambda value: int(value["number"])),
    "ctypes": (Long, lambda value: value.number),
}


@pytest.mark.parametrize("way", ["read", "iterate", "poll", "dispatch"])
@pytest.mark.parametrize("record", LONG)
def test_records_too_short_for_their_type_are_said_and_counted(kind, way, record):
    """Each of them once; the others come."""
    what, number = LONG[record]
    sizes = {n: 16 + (n & 127) for n in range(1, 201)}
    if kind == "perf":  # pads payloads so that the record's size is a multiple of 8
        sizes = {n: size + -(12 + size) % 8 for n, size in sizes.items()}
    good = [n for n, size in sizes.items() if size >= 80]
    with pair(kind, 127, record=what) as made:
        made.produce(200)
        values: list[object] = []
        short = 0
        while len(values) + short < 200:
            try:
                if way == "dispatch":
                    made.reader.dispatch(values.append, timeout=0)
                elif way == "poll":
                    values += made.reader.poll(0)
                else:
                    values.append(made.reader.read(0) if way == "read" else next(iter(made.reader)))
            except FormatError:
                short += 1
        assert list(map(number, values)) == good
        assert short == 200 - len(good)
        assert (made.reader.stats().received, made.reader.stats().unknown) == (200, short)


@every_way
def test_an_exception_of_on_lost_stops_every_way_and_loses_nothing(way):
    """The records that are there come with the next call; each loss is heard of once."""
    heard: list[int] = []

    def stop(number: int) -> None:
        heard.append(number)
        raise LookupError

    with (
        Map.create(type=MapType.RINGBUF, max_entries=mmap.PAGESIZE) as ring,
        Producer("ring", ring.fileno()) as producer,
        RingReader(ring, drops=lambda: producer.full, on_lost=stop) as reader,
    ):
        received: list[int] = []
        for round_ in range(1, 4):
            producer.run(1000)
            with pytest.raises(LookupError):
                WAYS[way](reader, PATIENCE)
            assert (len(heard), sum(heard)) == (round_, producer.full)
            while len(received) < 1000 * round_ - producer.full:
                received += WAYS[way](reader, PATIENCE)
        assert len(received) == len(set(received)) == 3000 - producer.full
        assert received == sorted(received)


# --- maps that close, records that are none of ours


def test_a_map_that_counts_may_be_closed_and_variables_are_unknown_then():
    """`None`, not 0 and not the last number; closing works."""
    with (
        Map.create(type=MapType.RINGBUF, max_entries=mmap.PAGESIZE) as ring,
        Producer("ring", ring.fileno()) as producer,
        Map.create(
            type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1, key="I", value="Q"
        ) as drops,
        drops.clone() as other,
    ):
        reader = RingReader(ring, drops=drops)
        drops.close()
        producer.run(1000)
        other[0] = producer.full
        assert reader.stats().lost == producer.full > 0
        reader.close()
        assert reader.stats().lost == producer.full


def test_a_count_that_raises_at_the_end_leaves_nothing_open():
    """`close` lets it out, once, with everything given back (conftest looks)."""
    answers: list[int] = [0]
    with Map.create(type=MapType.RINGBUF, max_entries=mmap.PAGESIZE) as ring:
        reader = RingReader(ring, drops=answers.pop)
        with pytest.raises(IndexError):
            reader.close()
        reader.close()
        assert reader.closed
        assert reader.stats().lost is None


def test_what_a_program_counts_in_a_variable_is_what_was_lost():
    """Of a real object, whose program counts in .bss."""
    heard: list[int] = []
    with pyebpf.load(built("steady")) as bpf:
        counts, events = bpf.variables, bpf.maps["events"]
        with RingReader(events, drops=counts["dropped"], on_lost=heard.append) as reader:
            received = 0
            for _ in range(3):
                bpf.programs["produce"].run(data=bytes(64), repeat=100_000)
                received += len(reader.read_array(0))
            stats = reader.stats()
            assert stats.lost == counts["dropped"].value == sum(heard) > 0
            assert received + stats.lost == counts["produced"].value == 300_000
            bpf.close()
            assert reader.drain() == []
            assert reader.stats().lost is None
        assert reader.stats().lost is None
        assert reader.stats().received == received


@pytest.fixture
def comm_event() -> Iterator[object]:
    """A perf event that tells when a thread on the CPU changes its name."""
    attr = PerfEventAttr(type=PerfType.SOFTWARE, config=PerfSw.DUMMY, comm=1, sample_period=1)
    with perf_event.open_event(attr, pid=-1, cpu=CPU) as event:
        yield event


def test_records_of_other_kinds_are_counted(comm_event):
    """Real ones: the kernel's own PERF_RECORD_COMM, put into the reader's ring."""
    with pair("perf", 0) as made:
        perf_event.redirect(comm_event.fileno(), made.reader._events.channels[0].event.fileno())
        with on_cpu(CPU):
            made.produce(2)
            change_name()
            made.produce(2)
        assert [sequence(record) for record in made.reader.drain()] == [1, 2, 3, 4]
        stats = made.reader.stats()
        assert stats.unknown >= 2
        assert [each.unknown for each in stats.per_cpu] == [stats.unknown]
        assert (stats.received, stats.lost) == (4, 0)


def change_name() -> None:
    """Change this thread's name, and back."""
    path = pathlib.Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    name = path.read_text("utf-8").rstrip("\n")
    path.write_text("pyebpf-test", "utf-8")
    path.write_text(name, "utf-8")
