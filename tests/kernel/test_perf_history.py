"""PerfHistory on the real kernel: the newest records, whole and in order, and no others."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from pyebpf.errors import ClosedError
from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.perf_history import PerfHistory
from pyebpf.uapi.bpf import MapType
from tests.support.pairs import CPU, sequence
from tests.support.producers import Producer

CPUS = sorted(os.sched_getaffinity(0))


@pytest.fixture
def array() -> Iterator[Map]:
    """A perf event array for all CPUs."""
    with Map.create(
        type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPUS[-1] + 1, name="e"
    ) as made:
        yield made


@pytest.fixture(params=[0, 127], ids=["one size", "many sizes"])
def producer(request, array) -> Iterator[Producer]:
    """Records of 16 bytes, or of 16 to 143."""
    with Producer("perf", array.fileno(), base=16, mask=request.param) as made:
        yield made


def kept(history: PerfHistory) -> list[int]:
    return [sequence(record) for record in history.snapshot()[CPU]]


def test_what_fits_is_kept_whole(array, producer):
    """From the first record on, and again and again: a look takes nothing away."""
    with PerfHistory(array, pages=8) as history:
        assert kept(history) == []
        producer.run(20, cpu=CPU)
        assert kept(history) == kept(history) == list(range(1, 21))


@pytest.mark.parametrize("count", [1000, 5000, 20_011])
def test_the_newest_records_are_kept_and_no_others(array, producer, count):
    """As many as fit, without a gap up to the last; a program never finds the ring full."""
    with PerfHistory(array, pages=4) as history:
        producer.run(count, cpu=CPU)
        numbers = kept(history)
        assert numbers == list(range(count - len(numbers) + 1, count + 1))
        assert len(numbers) > 4 * 4096 // 160 - 2
        assert producer.full == producer.other == 0


def test_each_cpu_has_its_own(array, producer):
    """With the records that were made there."""
    with PerfHistory(array, pages=8) as history:
        for number, cpu in enumerate(CPUS):
            producer.run(10 + number, cpu=cpu)
        found = history.snapshot()
    seen = {cpu: len(found[cpu]) for cpu in CPUS}
    assert seen == {cpu: 10 + number for number, cpu in enumerate(CPUS)}


def test_paused_it_keeps_what_there_was(array, producer):
    """Until it goes on; a look does not end the pause."""
    with PerfHistory(array, pages=8) as history:
        producer.run(5, cpu=CPU)
        history.pause()
        producer.run(5, cpu=CPU)
        assert kept(history) == [1, 2, 3, 4, 5]
        producer.run(5, cpu=CPU)
        assert kept(history) == [1, 2, 3, 4, 5]
        history.resume()
        producer.run(2, cpu=CPU)
        assert kept(history) == [1, 2, 3, 4, 5, 16, 17]


def test_looking_while_records_come_gives_whole_ones(array, producer):
    """In order and without a gap but at the pauses."""
    stop = threading.Event()

    def produce() -> None:
        while not stop.is_set():
            producer.run(1000, cpu=CPU)

    with PerfHistory(array, pages=8) as history:
        thread = threading.Thread(target=produce)
        thread.start()
        try:
            for _ in range(100):
                numbers = kept(history)
                assert numbers == sorted(set(numbers))
        finally:
            stop.set()
            thread.join()


def test_records_have_types(array, producer):
    """As for any reader."""
    with PerfHistory(array, pages=8, record=sequence) as history:
        producer.run(3, cpu=CPU)
        assert history.snapshot()[CPU] == [1, 2, 3]


def test_it_outlives_the_map_that_made_it(array, producer):
    """It has a descriptor, and an open file, of its own."""
    with array.clone() as own:
        history = PerfHistory(own, pages=8)
    with history:
        producer.run(3, cpu=CPU)
        assert kept(history) == [1, 2, 3]


def test_closed_it_says_so(array):
    """Closing twice is fine."""
    history = PerfHistory(array)
    history.close()
    history.close()
    for call in (history.snapshot, history.pause, history.resume):
        with pytest.raises(ClosedError, match='history of map "e" used after close'):
            call()


def test_a_reader_can_be_paused_too(array, producer):
    """What comes meanwhile is lost, and counted where the kernel counts."""
    with PerfReader(array, cpus=[CPU]) as reader:
        producer.run(3, cpu=CPU)
        reader.pause()
        producer.run(4, cpu=CPU)
        reader.resume()
        producer.run(2, cpu=CPU)
        assert [sequence(record) for record in reader.drain()] == [1, 2, 3, 8, 9]
        assert reader.stats().lost == 4


def test_another_kind_of_map_is_refused():
    """The message names both kinds."""
    with (
        Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1) as wrong,
        pytest.raises(ValueError, match="BPF_MAP_TYPE_ARRAY, not a BPF_MAP_TYPE_PERF_EVENT_ARRAY"),
    ):
        PerfHistory(wrong)
