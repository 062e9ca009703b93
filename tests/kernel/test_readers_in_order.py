"""Records of several CPUs by time, on the real kernel: sequence numbers are the time."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator

import pytest

from pyebpf.maps.map import Map
from pyebpf.readers.order import in_order
from pyebpf.readers.perf import PerfReader
from pyebpf.uapi.bpf import MapType
from tests.support.pairs import sequence
from tests.support.producers import Producer

CPUS = sorted(os.sched_getaffinity(0))
SECOND = 1_000_000_000


@pytest.fixture
def reader() -> Iterator[tuple[Producer, PerfReader]]:
    """A producer that may run on any CPU, and a reader of all."""
    with (
        Map.create(
            type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPUS[-1] + 1
        ) as array,
        Producer("perf", array.fileno(), base=16) as producer,
        PerfReader(array, pages=256) as opened,
    ):
        yield producer, opened


def test_records_of_all_cpus_come_by_time(reader):
    """However they are spread; each once."""
    producer, opened = reader
    choose = random.Random(3)
    for _ in range(200):
        producer.run(choose.randrange(1, 20), cpu=choose.choice(CPUS))
    count = producer.produced
    ordered = in_order(opened, key=lambda record: sequence(record) * SECOND, delay=0.05)
    seen = [sequence(record) for _, record in zip(range(count), ordered, strict=False)]
    assert seen == list(range(1, count + 1))
    assert ordered.late == 0


def test_leaving_the_loop_keeps_what_is_held_back(reader):
    """The next loop goes on."""
    producer, opened = reader
    ordered = in_order(opened, key=lambda record: sequence(record), delay=0.01)
    for cpu in CPUS:
        producer.run(50, cpu=cpu)
    total = 50 * len(CPUS)
    seen: list[int] = []
    while len(seen) < total:
        seen += [sequence(record) for _, record in zip(range(7), ordered, strict=False)]
        if len(seen) + 7 > total:
            seen += [
                sequence(record)
                for _, record in zip(range(total - len(seen)), ordered, strict=False)
            ]
    assert seen == list(range(1, total + 1))


def test_too_little_delay_is_counted_and_loses_nothing(reader):
    """Late ones come at once."""
    producer, opened = reader
    ordered = in_order(opened, key=lambda record: -sequence(record) * SECOND, delay=0)
    producer.run(10, cpu=CPUS[0])
    first = [sequence(record) for _, record in zip(range(10), ordered, strict=False)]
    producer.run(5, cpu=CPUS[0])
    second = [sequence(record) for _, record in zip(range(5), ordered, strict=False)]
    assert sorted(first + second) == list(range(1, 16))
    assert ordered.late == 5


def test_closing_the_reader_ends_it_after_what_is_held_back(reader):
    """Nothing that was read is lost."""
    producer, opened = reader
    producer.run(3, cpu=CPUS[0])
    ordered = in_order(opened, key=sequence, delay=3600)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(map(sequence, ordered)))
    thread.start()
    while opened.stats().received < 3:
        pass
    opened.close()
    thread.join(20)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt], ids=lambda each: each.__name__)
def test_an_exception_of_the_key_loses_no_other_record(reader, error):
    """Its own record is consumed; but Ctrl-C, which has nothing to do with it, loses none."""
    producer, opened = reader
    asked: list[int] = []

    def key(record: bytes) -> int:
        asked.append(sequence(record))
        if asked[-1] in (2, 30) and asked.count(asked[-1]) == 1:
            raise error
        return asked[-1] * SECOND

    ordered = in_order(opened, key=key, delay=0.01)
    producer.run(50, cpu=CPUS[0])
    lost = 2 if error is LookupError else 0
    seen: list[int] = []
    failures = 0
    giving_up = threading.Timer(20, opened.close)
    giving_up.start()
    while len(seen) < 50 - lost and not opened.closed:
        try:
            for record in ordered:
                seen.append(sequence(record))
                if len(seen) == 50 - lost:
                    break
        except error:
            failures += 1
    giving_up.cancel()
    assert failures == 2
    assert seen == [each for each in range(1, 51) if not lost or each not in (2, 30)]


@pytest.mark.parametrize("delay", [-1, float("nan")])
def test_a_delay_that_is_none_is_refused(reader, delay):
    """Seconds, 0 or more."""
    with pytest.raises(ValueError, match="delay must be"):
        in_order(reader[1], key=sequence, delay=delay)
