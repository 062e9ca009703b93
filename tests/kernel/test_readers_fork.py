"""Readers and writers of rings after fork, on the real kernel: they stay with the parent."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import pyebpf
from pyebpf.errors import ClosedError
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.perf_history import PerfHistory
from pyebpf.readers.user_ring import UserRing
from pyebpf.uapi.bpf import MapType
from tests.support.children import fork, outcome
from tests.support.pairs import CPU, Pair, pair, sequence
from tests.support.producers import Producer
from tests.support.programs import built
from tests.support.ways import is_read

PATIENCE = 20.0
REFUSED = "used in a child of the process that made it"


@pytest.fixture(params=["perf", "ring"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of readers."""
    return request.param


@pytest.fixture(params=[False, True], ids=["alone", "fileno"])
def both(kind: str, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A producer and a reader of bytes, whose descriptor an event loop may have."""
    with pair(kind, 0) as made:
        if request.param:
            made.reader.fileno()
        yield made


def lease(reader) -> None:
    with reader.lease(0):
        pass


USES: dict[str, Callable] = {
    "read": lambda reader: reader.read(0),
    "poll": lambda reader: reader.poll(0),
    "drain": lambda reader: reader.drain(),
    "dispatch": lambda reader: reader.dispatch(len, timeout=0),
    "read_array": lambda reader: reader.read_array(0),
    "read_packed": lambda reader: reader.read_packed(0),
    "lease": lease,
    "fileno": lambda reader: reader.fileno(),
}


@pytest.mark.parametrize("use", USES)
def test_a_child_is_refused_and_takes_nothing_away(both, use):
    """The memory of perf events is not even there: a look would be a SIGSEGV."""
    both.produce(3)
    assert REFUSED in outcome(lambda: USES[use](both.reader))
    both.produce(2)
    assert [sequence(each) for each in both.reader.drain()] == [1, 2, 3, 4, 5]


def test_a_child_sees_it_closed_and_may_close_it(both):
    """Iterations are empty, totals nothing; the parent notices none of it, asleep or awake."""
    both.produce(3)
    assert sequence(both.reader.read(0)) == 1  # others are read ahead

    def use() -> object:
        with both.reader as reader:
            return list(reader), reader.closed, reader.stats().received

    assert outcome(use) == "([], True, 0)"
    assert [sequence(each) for each in both.reader.drain()] == [2, 3]
    started = time.thread_time()
    assert both.reader.poll(0.3) == []
    assert time.thread_time() - started < 0.1  # it slept
    both.produce(2)
    assert [sequence(each) for each in both.reader.poll(PATIENCE)] == [4, 5]


def test_a_child_forked_while_another_thread_waits_does_not_wait_for_it(both):
    """That thread is not in the child, but its locks are."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(map(sequence, both.reader)))
    thread.start()
    while not is_read(both.reader):
        os.sched_yield()
    assert outcome(lambda: (both.reader.close(), both.reader.stats().lost)) == "(None, None)"
    both.produce(4)
    while len(seen) < 4:
        os.sched_yield()
    both.reader.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert seen == [1, 2, 3, 4]


def test_a_child_forked_from_the_loop_over_it_sees_its_end(both):
    """In a callback, in a loop, in a lease: the parent goes on where it was."""
    both.produce(3)
    children: list[str] = []

    def look() -> None:
        children.append(outcome(both.reader.drain))

    seen: list[int] = []
    both.reader.dispatch(lambda record: (seen.append(sequence(record)), look()), timeout=0)
    both.produce(2)
    for record in both.reader:
        seen.append(sequence(record))
        look()
        if seen[-1] == 5:
            break
    both.produce(2)
    with both.reader.lease(0) as records:
        look()
        seen += [sequence(bytes(each)) for each in records]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert len(children) == 6
    assert all(REFUSED in child for child in children)


def test_a_child_may_go_on_from_inside(kind):
    """The callback's call ends there behind the record that it was forked at."""
    with pair(kind, 0) as made:
        made.produce(3)
        seen: list[int] = []
        children: list[int] = []
        done, end = os.pipe()

        def callback(record: bytes) -> None:
            seen.append(sequence(record))
            children.append(fork())

        with contextlib.suppress(ClosedError):
            made.reader.dispatch(callback, timeout=0)
        if 0 in children:
            os.write(end, bytes([len(seen)]))
            os._exit(0)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        assert sorted(os.read(done, 100)) == [1, 2, 3]
        assert seen == [1, 2, 3]
        os.close(done)
        os.close(end)


def test_events_leave_the_array_with_the_parents_reader():
    """A child holds nothing that keeps them in it."""
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPU + 1
        ) as array,
        Producer("perf", array.fileno()) as producer,
        PerfReader(array) as reader,
    ):
        done, end = os.pipe()
        forked, there = os.pipe()
        child = fork()
        if child == 0:
            os.close(end)
            os.write(there, b"!")
            os.read(done, 1)
            os._exit(0)
        os.read(forked, 1)
        reader.close()
        producer.run(5, cpu=CPU)
        for each in (end, done, forked, there):
            os.close(each)
        os.waitpid(child, 0)
        assert (producer.full, producer.other) == (0, 5)


def test_a_history_stays_with_the_parent():
    """As readers do."""
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPU + 1
        ) as array,
        Producer("perf", array.fileno()) as producer,
        PerfHistory(array, pages=8) as history,
    ):
        producer.run(3, cpu=CPU)
        assert outcome(history.snapshot).startswith("ClosedError")
        assert outcome(history.close) == "None"
        assert [sequence(each) for each in history.snapshot()[CPU]] == [1, 2, 3]


def test_a_writer_stays_with_the_parent():
    """Two of them would write over each other's samples."""
    with pyebpf.load(built("user_ring")) as bpf, UserRing(bpf.maps["requests"]) as ring:
        with ring.reserve(8) as memory:
            assert outcome(lambda: ring.submit(bytes(8))).startswith("ClosedError")
            assert outcome(ring.close) == "None"
            memory[:] = (7).to_bytes(8, "little")
        bpf.programs["drain"].run()
        assert bpf.variables["taken"].value == 1
        ring.submit(bytes(4000))
        started = time.thread_time()
        with pytest.raises(pyebpf.ReaderTimeout):
            ring.submit(bytes(4000), timeout=0.3)
        assert time.thread_time() - started < 0.1  # it slept
