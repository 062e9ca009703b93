"""Options of readers on the real kernel: several rings, counts of drops, intervals."""

from __future__ import annotations

import contextlib
import mmap
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pyebpf.errors import ReaderTimeout
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.ring import RingReader
from pyebpf.uapi.bpf import MapType
from tests.support.pairs import CPU, MANY, pair, sequence
from tests.support.producers import Producer

PATIENCE = 20.0


@contextlib.contextmanager
def rings(*sizes: int) -> Iterator[tuple[list[Map], list[Producer]]]:
    """Some ring buffers, each with a program that fills it."""
    with contextlib.ExitStack() as stack:
        maps, producers = [], []
        for number, size in enumerate(sizes):
            made = Map.create(type=MapType.RINGBUF, max_entries=size, name=f"ring{number}")
            maps.append(stack.enter_context(made))
            producers.append(stack.enter_context(Producer("ring", made.fileno(), base=16 + number)))
        yield maps, producers


# --- several rings


def test_several_rings_are_read_as_one():
    """Each in its own order, whatever the others do."""
    with rings(1 << 20, 1 << 20, 4096) as (maps, producers), RingReader(maps) as reader:
        for _ in range(3):
            for producer in producers[:2]:
                producer.run(2000)
            producers[2].run(50)
            for each in ([reader.read(PATIENCE)], reader.poll(0)):
                assert each
        received = reader.stats().received
        assert received == 3 * (2000 + 2000 + 50)


def test_the_ring_of_a_record_is_told_by_its_type():
    """Each map has a type of records of its own."""
    kinds = {"ring0": lambda data: ("a", sequence(data)), "ring1": lambda data: ("b", len(data))}
    with rings(1 << 16, 1 << 16) as (maps, producers), RingReader(maps, record=kinds) as reader:
        producers[1].run(30)
        producers[0].run(20)
        records = reader.drain()
    assert [number for kind, number in records if kind == "a"] == list(range(1, 21))
    assert [number for kind, number in records if kind == "b"] == [17] * 30


def test_a_record_of_any_ring_wakes_the_reader():
    """Not only of the first."""
    with rings(4096, 4096) as (maps, producers), RingReader(maps) as reader:
        for producer in (*producers, *producers):
            with pytest.raises(ReaderTimeout):
                reader.read(0.01)
            producer.run(1)
            assert sequence(reader.read(PATIENCE)) > 0


def test_arrays_and_leases_of_several_rings_hold_every_record():
    """One array for all; a lease is of one ring."""
    with rings(1 << 20, 1 << 20) as (maps, producers), RingReader(maps) as reader:
        for producer in producers:
            producer.run(MANY)
        assert len(reader.read_array(0, dtype="u8")) == 2 * MANY
        for producer in producers:
            producer.run(MANY)
        lent = []
        while True:
            with reader.lease(0) as records:
                lent.append({len(each) for each in records})
                if not records:
                    break
        assert {16} in lent
        assert {17} in lent


def test_what_is_no_ring_is_refused():
    """By name; and none at all."""
    with (
        rings(4096) as (maps, _),
        Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, name="x") as wrong,
    ):
        with pytest.raises(ValueError, match='map "x" is a BPF_MAP_TYPE_ARRAY'):
            RingReader([*maps, wrong])
        with pytest.raises(ValueError, match="no map"):
            RingReader([])
        with pytest.raises(ValueError, match='says nothing of map "ring0"'):
            RingReader(maps, record={"other": None})


# --- losses


@contextlib.contextmanager
def full_ring() -> Iterator[tuple[Map, Producer]]:
    """A ring of a page."""
    with rings(mmap.PAGESIZE) as (maps, producers):
        yield maps[0], producers[0]


class Variable:
    """As the collection's: a value that is read when it is asked for."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    @property
    def value(self) -> int:
        return self.producer.full


@pytest.mark.parametrize("kind", ["variable", "callable", "map", "per-CPU map"])
def test_what_programs_count_is_what_was_lost(kind):
    """Produced = received + lost, from any place that holds the count, but for what was before."""
    with full_ring() as (ring, producer), contextlib.ExitStack() as stack:
        producer.run(1000)  # full before there is a reader
        before = producer.full
        counted: object = Variable(producer) if kind == "variable" else lambda: producer.full
        if "map" in kind:
            kind_of = MapType.PERCPU_ARRAY if "CPU" in kind else MapType.ARRAY
            drops = stack.enter_context(
                Map.create(type=kind_of, key_size=4, value_size=8, max_entries=2, value="Q")
            )
            counted = drops

            def copy_count() -> None:
                if "CPU" in kind:
                    drops[1] = [producer.full, *[0] * (len(drops[1]) - 1)]
                else:
                    drops[1] = producer.full
        else:

            def copy_count() -> None:
                pass

        copy_count()
        received = 0
        with RingReader(ring, drops=counted) as reader:
            assert reader.stats().lost == 0
            for burst in (500, 1, 700):
                producer.run(burst)
                copy_count()
                received += len(reader.drain())
            stats = reader.stats()
        assert stats.lost == producer.full - before > 0
        assert producer.produced == before + received + stats.lost + (received - stats.received)


@pytest.mark.parametrize("kind", ["perf", "ring"])
def test_on_lost_hears_of_every_loss_once(kind):
    """The numbers add up to the total."""
    heard: list[int] = []
    with contextlib.ExitStack() as stack:
        if kind == "ring":
            ring, producer = stack.enter_context(full_ring())
            reader = RingReader(ring, drops=lambda: producer.full, on_lost=heard.append)
        else:
            array = stack.enter_context(
                Map.create(
                    type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPU + 1
                )
            )
            producer = stack.enter_context(Producer("perf", array.fileno()))
            reader = PerfReader(array, pages=1, on_lost=heard.append)
        stack.enter_context(reader)
        received = 0
        for _ in range(5):
            producer.run(1000, cpu=CPU)
            received += len(reader.drain())
        producer.run(1, cpu=CPU)
        received += len(reader.drain())
        assert sum(heard) == producer.full == producer.produced - received > 0
        assert min(heard) > 0


def test_an_exception_of_on_lost_stops_the_reading_and_loses_nothing_more():
    """For those who want to stop: the records that are there come with the next call."""

    def stop(number: int) -> None:
        raise LookupError(number)

    with full_ring() as (ring, producer):
        with RingReader(ring, drops=lambda: producer.full, on_lost=stop) as reader:
            producer.run(1000)
            with pytest.raises(LookupError):
                reader.drain()
            records = reader.drain()
        assert len(records) + producer.full == 1000


def test_on_lost_without_a_count_is_refused():
    """The kernel does not count what rings lose."""
    with full_ring() as (ring, _), pytest.raises(ValueError, match="needs drops="):
        RingReader(ring, on_lost=print)


@pytest.mark.parametrize("drops", [7, "dropped"])
def test_what_holds_no_count_is_refused(drops):
    """At once."""
    with full_ring() as (ring, _), pytest.raises(TypeError, match="drops= must be"):
        RingReader(ring, drops=drops)


# --- interval


@pytest.mark.parametrize("kind", ["perf", "ring"])
def test_with_an_interval_records_come_in_batches(kind):
    """No more often than asked, and all of them."""
    with pair(kind, 0, interval=0.05) as made:
        begun = time.monotonic()
        seen: list[int] = []
        for _ in range(4):
            made.produce(10)
            seen += [sequence(record) for record in made.reader.poll(PATIENCE)]
        assert time.monotonic() - begun >= 3 * 0.05
        assert seen == list(range(1, 41))
        made.produce(1)
        assert len(made.reader.drain()) == 1  # what does not wait looks at once
        with pytest.raises(ReaderTimeout):
            made.reader.read(0.001)


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_is_none_is_refused(interval):
    """Seconds, more than 0."""
    with full_ring() as (ring, _), pytest.raises(ValueError, match="interval must be"):
        RingReader(ring, interval=interval)


def test_the_numbers_of_a_sequence_are_what_numpy_sees():
    """The dtype of one map's records is that of the array."""
    with rings(1 << 16) as (maps, producers), RingReader(maps, record="<QQ") as reader:
        producers[0].run(100)
        array = reader.read_array(0)
        assert array.dtype == np.dtype([("f0", "<u8"), ("f1", "<u8")])
        assert struct.calcsize("<QQ") == array.dtype.itemsize
        assert list(array["f0"]) == list(range(1, 101))
