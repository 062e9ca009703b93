"""Waiting for records, on the real kernel: other people's event loops, closing, signals.

Every law holds for both kinds of readers, so every test runs with both.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyebpf.errors import ClosedError, FormatError, ReaderTimeout
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.reader import Reader
from pyebpf.readers.ring import RingReader
from pyebpf.sys.latch import Latch
from pyebpf.uapi.bpf import MapType
from tests.support.producers import Producer
from tests.support.ways import is_read

CPU = min(os.sched_getaffinity(0))
PATIENCE = 20.0
# Long enough for a readiness that is there to be seen, and to be waited out where there is none.
MOMENT = 0.05


class Pair:
    """A program that produces and a reader of what it produces."""

    def __init__(self, producer: Producer, reader: Reader) -> None:
        self.producer = producer
        self.reader = reader

    def produce(self, times: int = 1) -> None:
        """Make records."""
        self.producer.run(times, cpu=CPU)


@contextlib.contextmanager
def pair(kind: str, **options: object) -> Iterator[Pair]:
    """Make a map, a program and a reader of this kind."""
    if kind == "perf":
        map_type, size, entries, reader = MapType.PERF_EVENT_ARRAY, 4, CPU + 1, PerfReader
    else:
        map_type, size, entries, reader = MapType.RINGBUF, 0, 16 * mmap.PAGESIZE, RingReader
    with (
        Map.create(type=map_type, key_size=size, value_size=size, max_entries=entries) as made,
        Producer(kind, made.fileno()) as producer,
        reader(made, **options) as opened,
    ):
        yield Pair(producer, opened)


@pytest.fixture(params=["perf", "ring"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of readers."""
    return request.param


@pytest.fixture
def both(kind: str) -> Iterator[Pair]:
    """A producer and a reader of bytes."""
    with pair(kind) as made:
        yield made


# --- other people's event loops


def quiet(outer: select.epoll, reader: Reader) -> bool:
    """Say that nothing is left: a late readiness or two may come, but no records."""
    for _ in range(3):
        if not outer.poll(MOMENT):
            return True
        assert reader.drain() == []
    return False


def test_what_waited_before_registration_is_reported(both):
    """Adding a perf event to an epoll takes its readiness away; the reader gives it back."""
    both.produce(3)
    with selectors.DefaultSelector() as selector:
        selector.register(both.reader, selectors.EVENT_READ)
        assert selector.select(PATIENCE)
        assert len(both.reader.drain()) == 3
        if selector.select(MOMENT):
            assert both.reader.drain() == []
            assert not selector.select(MOMENT)


def test_what_comes_between_asking_for_the_descriptor_and_registering_it_is_reported(both):
    """As when a loop registers anew before every sleep (trio does), long after fileno()."""
    descriptor = both.reader.fileno()
    for _ in range(5):
        both.reader.drain()
        both.produce(2)
        with select.epoll() as outer:
            outer.register(descriptor, select.EPOLLIN)
            assert outer.poll(PATIENCE)
            assert len(both.reader.drain()) == 2
            assert quiet(outer, both.reader)


def test_it_stays_readable_while_records_are_left(both):
    """Nobody has to take everything at once, whether it is in the ring or was read ahead."""
    with select.epoll() as outer:
        outer.register(both.reader, select.EPOLLIN)
        both.reader.drain()
        both.produce(3)
        for _ in range(3):
            assert outer.poll(PATIENCE)
            both.reader.read(0)
        assert quiet(outer, both.reader)


def test_looking_does_not_use_readiness_up(both):
    """Polled twice without reading, by one epoll inside another, it is readable still."""
    with select.epoll() as outer, select.epoll() as middle:
        middle.register(both.reader, select.EPOLLIN)
        outer.register(middle.fileno(), select.EPOLLIN)
        both.reader.drain()
        assert not outer.poll(MOMENT)
        both.produce()
        for _ in range(3):
            assert outer.poll(PATIENCE)
            assert middle.poll(PATIENCE)
        assert select.select([both.reader], [], [], PATIENCE)[0]
        assert len(both.reader.drain()) == 1
        assert quiet(outer, both.reader)


def test_an_empty_reader_is_quiet_after_the_first_look(both):
    """One spurious readiness at the beginning, then none: no busy loop."""
    for _ in range(3):
        ready, _, _ = select.select([both.reader], [], [], 0)
        assert both.reader.drain() == []
    assert not ready


def test_records_in_batches_and_singly_wake_an_outer_epoll_every_time(both):
    """Two hundred rounds; none may hang until the next record comes."""
    with select.epoll() as outer:
        outer.register(both.reader, select.EPOLLIN)
        both.reader.drain()
        for times in [1, 2, 7] * 70:
            both.produce(times)
            assert outer.poll(PATIENCE)
            assert len(both.reader.drain()) == times


def test_asyncio_sees_every_record(both):
    """add_reader and drain; with records before registration and while the loop runs."""
    both.produce(5)

    async def collect() -> list[bytes]:
        records: list[bytes] = []
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def readable() -> None:
            records.extend(both.reader.drain())
            if len(records) >= 25:
                done.set()

        loop.add_reader(both.reader, readable)
        try:
            for _ in range(20):
                await asyncio.to_thread(both.produce)
            await asyncio.wait_for(done.wait(), PATIENCE)
        finally:
            loop.remove_reader(both.reader)
        return records

    assert len(asyncio.run(collect())) == 25


def test_asyncio_can_register_anew_for_every_record(both):
    """Wait, remove, read one, register again: the way of `await readable(fd)`."""

    async def collect(wanted: int) -> int:
        loop = asyncio.get_running_loop()
        count = 0
        while count < wanted:
            with contextlib.suppress(ReaderTimeout):
                both.reader.read(0)
                count += 1
                continue
            ready = loop.create_future()
            loop.add_reader(both.reader, ready.set_result, None)
            await asyncio.wait_for(ready, PATIENCE)
            loop.remove_reader(both.reader)
        return count

    thread = threading.Thread(target=lambda: [both.produce() for _ in range(100)])
    thread.start()
    try:
        assert asyncio.run(collect(100)) == 100
    finally:
        thread.join()


def test_reading_in_a_thread_goes_on_after_fileno_was_called(both):
    """The reader's own sleep works with readiness that is held, too."""
    both.reader.fileno()
    arrived = threading.Semaphore(0)

    def read() -> None:
        for _ in both.reader:
            arrived.release()

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(100):
        both.produce()
        assert arrived.acquire(timeout=PATIENCE)
    both.reader.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_without_asynchronous_io_everything_but_repeated_polls_works(monkeypatch):
    """A kernel without it: readiness is then for whoever polls first, once."""
    monkeypatch.setattr("pyebpf.sys.latch._CALLS", {})
    with pair("perf") as made, select.epoll() as outer:
        made.produce(2)
        outer.register(made.reader, select.EPOLLIN)
        assert outer.poll(PATIENCE)
        assert len(made.reader.drain()) == 2
        for _ in range(20):
            made.produce(3)
            for _ in range(3):  # those left keep it readable
                assert outer.poll(PATIENCE)
                made.reader.read(0)
        assert quiet(outer, made.reader)


def test_a_latch_without_descriptors_to_wait_for_is_refused():
    """A closed number among them is an error, and nothing stays open."""
    with pytest.raises(OSError, match="io_submit: EBADF"):
        Latch([1 << 20])


# --- closing


def test_closing_ends_an_iteration_in_another_thread(both):
    """The loop simply ends; what it had seen, it had seen."""
    seen: list[bytes] = []
    first = threading.Event()

    def read() -> None:
        for record in both.reader:
            seen.append(record)
            first.set()

    thread = threading.Thread(target=read)
    thread.start()
    both.produce()
    assert first.wait(PATIENCE)
    both.reader.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(seen) == 1


@pytest.mark.parametrize("method", ["read", "poll"])
def test_closing_gives_a_waiting_call_in_another_thread_a_closed_error(both, method):
    """Whether it sleeps already or is about to."""
    errors: list[BaseException] = []
    started = threading.Event()

    def wait() -> None:
        started.set()
        try:
            getattr(both.reader, method)()
        except ClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait(PATIENCE)
    both.reader.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(errors) == 1


def test_a_closed_reader_says_so_and_keeps_its_totals(both):
    """Closing twice is fine; iteration of a closed reader is empty."""
    both.produce(3)
    assert len(both.reader.drain()) == 3
    both.reader.close()
    both.reader.close()
    for call in (both.reader.read, both.reader.poll, both.reader.drain, both.reader.fileno):
        with pytest.raises(ClosedError, match="used after close"):
            call()
    assert list(both.reader) == []
    assert both.reader.closed
    assert both.reader.stats().received == 3


def test_a_reader_can_be_closed_from_the_loop_over_it(both):
    """Records that were read ahead are not handed out any more."""
    both.produce(5)
    seen = 0
    for _ in both.reader:
        seen += 1
        both.reader.close()
    assert seen == 1


def test_many_threads_may_close_and_ask_for_totals_while_one_reads(both):
    """Closed once, and every answer is a consistent one."""
    thread = threading.Thread(target=lambda: list(both.reader))
    thread.start()
    both.produce(10)
    barrier = threading.Barrier(6)

    def disturb(index: int) -> None:
        barrier.wait(PATIENCE)
        both.reader.stats()
        if index % 2:
            both.reader.close()
        both.reader.stats()

    others = [threading.Thread(target=disturb, args=(index,)) for index in range(6)]
    for other in others:
        other.start()
    for other in [thread, *others]:
        other.join(PATIENCE)
        assert not other.is_alive()


# --- signals


@contextlib.contextmanager
def signal_while_reading(reader: Reader, handler: Callable[..., None]) -> Iterator[None]:
    """Let *handler* be called in this thread as soon as it reads."""
    before = signal.signal(signal.SIGALRM, handler)
    this = threading.get_ident()

    def send() -> None:
        while not is_read(reader):
            os.sched_yield()
        signal.pthread_kill(this, signal.SIGALRM)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
        signal.signal(signal.SIGALRM, before)


def interrupt(*_: object) -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("timeout", [None, PATIENCE, 1e9], ids=["none", "some", "longest"])
def test_ctrl_c_ends_a_blocking_read(both, timeout):
    """KeyboardInterrupt comes through, and the reader can go on reading."""
    with pytest.raises(KeyboardInterrupt), signal_while_reading(both.reader, interrupt):
        both.reader.read(timeout)
    both.produce()
    assert len(both.reader.read(0)) >= 16


def test_ctrl_c_ends_an_iteration(both):
    """The same, and the next iteration goes on."""
    with pytest.raises(KeyboardInterrupt), signal_while_reading(both.reader, interrupt):
        list(both.reader)
    both.produce()
    assert len(next(iter(both.reader))) >= 16


def test_a_signal_that_raises_nothing_does_not_end_a_wait(both):
    """The deadline stands, whatever interrupts the sleep."""
    calls: list[int] = []
    started = time.monotonic()
    with signal_while_reading(both.reader, lambda *_: calls.append(1)):
        assert both.reader.poll(0.1) == []
    assert time.monotonic() - started >= 0.1
    assert calls == [1]


def test_a_signal_handler_may_close_the_reader_it_interrupts(both):
    """The usual SIGTERM handler of a daemon: the loop ends."""
    with signal_while_reading(both.reader, lambda *_: both.reader.close()):
        assert list(both.reader) == []
    assert both.reader.closed


def test_a_signal_handler_may_ask_for_totals_but_not_read(both):
    """Reading inside reading is a mistake that is told."""
    answers: list[object] = []

    def handler(*_: object) -> None:
        answers.append(both.reader.stats().received)
        try:
            both.reader.drain()
        except ValueError as error:
            answers.append(str(error))
        both.produce()

    with signal_while_reading(both.reader, handler):
        assert len(both.reader.poll(PATIENCE)) == 1
    assert answers == [
        0,
        "reader used by a callback, or a signal handler, that interrupted its reading",
    ]


# --- decoding


@pytest.mark.parametrize("kind", ["perf", "ring"])
def test_a_record_that_cannot_be_decoded_raises_once_and_the_others_come(kind):
    """Those before it first, then the error, then those behind it."""

    def picky(data: bytes) -> int:
        if data[0] in (3, 5):
            raise FormatError(f"record {data[0]}")
        return data[0]

    with pair(kind, record=picky) as made:
        made.produce(6)
        assert made.reader.drain() == [1, 2]
        with pytest.raises(FormatError, match="record 3"):
            made.reader.drain()
        assert made.reader.drain() == [4]
        with pytest.raises(FormatError, match="record 5"):
            made.reader.read(0)
        assert made.reader.read(0) == 6
        made.produce()
        assert made.reader.poll(PATIENCE) == [7]


@pytest.mark.parametrize("kind", ["perf", "ring"])
def test_records_behind_one_that_cannot_be_decoded_keep_the_descriptor_readable(kind):
    """So does the error that is still to come."""

    def picky(data: bytes) -> int:
        if data[0] in (2, 3):
            raise FormatError(f"record {data[0]}")
        return data[0]

    with pair(kind, record=picky) as made, select.epoll() as outer:
        outer.register(made.reader, select.EPOLLIN)
        made.reader.drain()
        made.produce(4)
        assert outer.poll(PATIENCE)
        assert made.reader.drain() == [1]
        for number in (2, 3):
            assert outer.poll(PATIENCE)
            with pytest.raises(FormatError, match=f"record {number}"):
                made.reader.drain()
        assert outer.poll(PATIENCE)
        assert made.reader.drain() == [4]
        assert quiet(outer, made.reader)


@pytest.mark.parametrize("timeout", [-1, float("nan")], ids=str)
def test_a_timeout_that_is_no_time_is_refused(both, timeout):
    """Neither negative nor not a number."""
    with pytest.raises(ValueError, match="timeout must be seconds"):
        both.reader.read(timeout)
