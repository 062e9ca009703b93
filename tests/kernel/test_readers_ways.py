"""The ways to take records out of a reader, on the real kernel: none loses or repeats any.

Every law holds for both kinds of readers, and for records of one size and of many.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
from collections.abc import Callable, Iterator

import pytest

from pyebpf.errors import ClosedError
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.reader import Reader
from pyebpf.readers.ring import RingReader
from pyebpf.uapi.bpf import MapType
from tests.support.producers import Producer

CPU = min(os.sched_getaffinity(0))
MANY = 5000  # more than one chunk holds


def sequence(record: bytes) -> int:
    (number,) = struct.unpack_from("=Q", record)
    return number


class Pair:
    """A program that produces and a reader of what it produces."""

    def __init__(self, producer: Producer, reader: Reader) -> None:
        self.producer = producer
        self.reader = reader

    def produce(self, times: int) -> None:
        """Make records."""
        self.producer.run(times, cpu=CPU)


@contextlib.contextmanager
def pair(kind: str, mask: int, **options: object) -> Iterator[Pair]:
    """Make a map, a program and a reader of this kind."""
    if kind == "perf":
        made = Map.create(type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=64)
    else:
        made = Map.create(type=MapType.RINGBUF, max_entries=1 << 21)
    with made, Producer(kind, made.fileno(), base=16, mask=mask) as producer:
        if kind == "perf":
            opened: Reader = PerfReader(made, pages=512, cpus=[CPU], **options)
        else:
            opened = RingReader(made, **options)
        with opened:
            yield Pair(producer, opened)


@pytest.fixture(params=["perf", "ring"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of readers."""
    return request.param


@pytest.fixture(params=[0, 127], ids=["one size", "many sizes"])
def mask(request: pytest.FixtureRequest) -> int:
    """Records of 16 bytes, or of 16 to 143."""
    return request.param


@pytest.fixture
def both(kind: str, mask: int) -> Iterator[Pair]:
    """A producer and a reader of bytes."""
    with pair(kind, mask) as made:
        yield made


def test_dispatch_calls_with_every_record_in_order(both):
    """And says how many there were."""
    seen: list[bytes] = []
    both.produce(MANY)
    assert both.reader.dispatch(seen.append, timeout=0) == MANY
    assert [sequence(record) for record in seen] == list(range(1, MANY + 1))
    assert both.reader.dispatch(seen.append, timeout=0) == 0


def test_an_exception_of_a_callback_loses_no_other_record(both):
    """The record it was called with is consumed, the next call begins with the one behind it."""
    seen: list[int] = []

    def callback(record: bytes) -> None:
        seen.append(sequence(record))
        if seen[-1] % 700 == 0:
            raise LookupError(seen[-1])

    both.produce(MANY)
    failures = 0
    while len(seen) < MANY:
        try:
            both.reader.dispatch(callback, timeout=0)
        except LookupError:
            failures += 1
    assert seen == list(range(1, MANY + 1))
    assert failures == MANY // 700


def test_a_callback_may_close_the_reader_but_not_read(both):
    """Records that were left are not handed out any more."""
    seen: list[int] = []

    def callback(record: bytes) -> None:
        seen.append(sequence(record))
        with pytest.raises(ValueError, match="used by a callback"):
            both.reader.read(0)
        both.reader.stats()
        both.reader.close()

    both.produce(MANY)
    both.reader.dispatch(callback, timeout=0)
    assert len(seen) <= MANY
    assert seen[:1] == [1]
    with pytest.raises(ClosedError):
        both.reader.dispatch(callback, timeout=0)


def take_one(reader: Reader) -> list[int]:
    return [sequence(reader.read(0))]


def take_some(reader: Reader) -> list[int]:
    return [sequence(record) for _, record in zip(range(97), reader, strict=False)]


def take_dispatched(reader: Reader) -> list[int]:
    seen: list[int] = []

    def callback(record: bytes) -> None:
        seen.append(sequence(record))
        if len(seen) == 300:
            raise StopAsyncIteration

    with contextlib.suppress(StopAsyncIteration):
        reader.dispatch(callback, timeout=0)
    return seen


WAYS: list[Callable[[Reader], list[int]]] = [take_one, take_some, take_dispatched]


def test_ways_may_be_mixed_freely(both):
    """Each goes on where the one before it stopped."""
    choose = random.Random(7)
    produced = 0
    seen: list[int] = []
    for _ in range(60):
        burst = choose.randrange(200, 600)
        both.produce(burst)
        produced += burst
        for way in choose.sample(WAYS, 2):
            if len(seen) + 301 < produced:
                seen += way(both.reader)
    seen += [sequence(record) for record in both.reader.drain()]
    assert seen == list(range(1, produced + 1))
    assert both.reader.stats().received == produced


def test_ctrl_c_during_a_poll_loses_nothing(kind, mask):
    """The caller gets no list, so all its records come again."""
    interrupted: list[int] = []

    def decode(record: bytes) -> int:
        number = sequence(record)
        if number in (5, 3000) and number not in interrupted:
            interrupted.append(number)
            raise KeyboardInterrupt
        return number

    with pair(kind, mask, record=decode) as made:
        made.produce(MANY)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                made.reader.poll(0)
        assert made.reader.read(0) == 1
        assert made.reader.poll(0) == list(range(2, MANY + 1))
    assert interrupted == [5, 3000]
