"""Books of every way of reading while programs run at full speed: none twice, none missing.

Each producer numbers its records, and begins with a number of its own. What one of them has put out
comes in its order; what is missing of it is what was refused to it, and what the reader says is
lost. At the end a last producer puts a record out on each CPU, into rings that have room again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.reader import Reader
from pyebpf.readers.ring import RingReader
from pyebpf.uapi.bpf import MapType
from tests.support.pairs import sequence
from tests.support.producers import Producer
from tests.support.ways import BATCHES, WAYS

CPUS = sorted(os.sched_getaffinity(0))
PATIENCE = 20.0
EACH = 20_000
BURST = 4000  # more than a ring holds, before a slow reader begins
PART = 32  # a number is the producer's, shifted so far, plus its count


class Books:
    """What has come, until the last record of each CPU."""

    def __init__(self, *, slow: bool) -> None:
        self.numbers: list[int] = []
        self._slow = slow
        self._last = 0

    def add(self, numbers: list[int]) -> bool:
        """Say whether that was all."""
        self.numbers += numbers
        self._last += sum(number >> PART == 0 for number in numbers)
        if self._slow and (len(numbers) > 1 or not len(self.numbers) % 256):
            time.sleep(0.002)
        return self._last == len(CPUS)


def by_calls(way: str) -> Callable[[Reader, Books], None]:
    def take(reader: Reader, books: Books) -> None:
        while not books.add(WAYS[way](reader, PATIENCE)):
            pass

    return take


def by_iterating(reader: Reader, books: Books) -> None:
    for record in reader:
        if books.add([sequence(record)]):
            break


def by_async_for(reader: Reader, books: Books) -> None:
    async def take() -> None:
        async for record in reader:
            if books.add([sequence(record)]):
                break

    asyncio.run(take())


TAKERS = {
    **{way: by_calls(way) for way in ("read", *BATCHES)},
    "iterate": by_iterating,
    "async for": by_async_for,
}


@contextlib.contextmanager
def producing(producers: list[Producer], last: Producer) -> Iterator[None]:
    """Let them run, each in a thread, and then the last one."""

    def run(index: int) -> None:
        for _ in range(10):
            producers[index].run(EACH // 10, cpu=CPUS[index % len(CPUS)])

    def direct() -> None:
        threads = [threading.Thread(target=run, args=(each,)) for each in range(len(producers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, cpu in enumerate(CPUS, 1):
            while last.produced - last.full < number:
                last.run(1, cpu=cpu)
                os.sched_yield()

    director = threading.Thread(target=direct)
    director.start()
    try:
        yield
    finally:
        director.join(PATIENCE)
        assert not director.is_alive()


@pytest.mark.parametrize("way", TAKERS)
@pytest.mark.parametrize("kind", ["perf", "ring"])
@pytest.mark.parametrize(
    ("count", "mask", "slow"),
    [(1, 0, False), (2, 127, False), (3, 0, True), (4, 127, False), (4, 255, True)],
    ids=[
        "1",
        "2 of many sizes",
        "3, slow reader",
        "4 of many sizes",
        "4 of many sizes, slow reader",
    ],
)
def test_the_books_of_each_producer_agree(kind, way, count, mask, slow):
    """Received and refused are produced; in order; and the reader knows how many are lost."""
    with contextlib.ExitStack() as stack:
        if kind == "perf":
            made = Map.create(
                type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=CPUS[-1] + 1
            )
        else:
            made = Map.create(type=MapType.RINGBUF, max_entries=1 << 16)
        stack.enter_context(made)
        last, *producers = (
            stack.enter_context(Producer(kind, made.fileno(), mask=mask, start=number << PART))
            for number in range(count + 1)
        )
        everybody = (last, *producers)
        if kind == "perf":
            reader: Reader = PerfReader(made, pages=8)
        else:
            reader = RingReader(made, drops=lambda: sum(each.full for each in everybody))
        stack.enter_context(reader)
        books = Books(slow=slow)
        burst = BURST if slow else 0
        if burst:
            for index, producer in enumerate(producers):
                producer.run(burst, cpu=CPUS[index % len(CPUS)])
        with producing(producers, last):
            TAKERS[way](reader, books)
        for number, producer in enumerate(producers, 1):
            mine = [each & ((1 << PART) - 1) for each in books.numbers if each >> PART == number]
            assert all(before < after for before, after in itertools.pairwise(mine))
            assert producer.produced == EACH + burst
            assert len(mine) == EACH + burst - producer.full
            assert producer.other == 0
        stats = reader.stats()
        assert stats.received == len(books.numbers)
        assert stats.lost == sum(each.full for each in everybody)
        assert stats.unknown == 0
        if slow:
            assert stats.lost > 0
