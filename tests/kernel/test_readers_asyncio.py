"""``async for`` over readers, on the real kernel: nothing lost, nothing twice, nobody starved."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator

import pytest

from pyebpf.errors import FormatError
from tests.support.pairs import MANY, Pair, pair, sequence

PATIENCE = 20.0


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


async def take(reader, count: int) -> list[int]:
    seen: list[int] = []
    async for record in reader:
        seen.append(sequence(record))
        if len(seen) == count:
            break
    return seen


def test_every_record_comes_whether_it_waited_or_not(both):
    """Some are there before, some come while the task sleeps."""

    async def main() -> list[int]:
        both.produce(100)
        task = asyncio.create_task(take(both.reader, 100 + MANY))
        while both.reader.stats().received < 100:
            await asyncio.sleep(0)
        await asyncio.to_thread(both.produce, MANY)
        return await asyncio.wait_for(task, PATIENCE)

    assert asyncio.run(main()) == list(range(1, 101 + MANY))


def test_single_records_wake_the_task_each(kind):
    """In lock-step, with nobody to help when a wake-up is missed."""

    async def main(reader, produce) -> list[int]:
        records = aiter(reader)
        seen: list[int] = []
        for _ in range(200):
            waiting = asyncio.ensure_future(anext(records))
            await asyncio.sleep(0)
            produce(1)
            seen.append(sequence(await asyncio.wait_for(waiting, PATIENCE)))
        await records.aclose()
        return seen

    with pair(kind, 0) as made:
        assert asyncio.run(main(made.reader, made.produce)) == list(range(1, 201))


def test_cancellation_loses_nothing(both):
    """Whoever comes next goes on behind the last record that was handed out."""

    async def main() -> list[int]:
        seen: list[int] = []

        async def endless() -> None:
            async for record in both.reader:
                seen.append(sequence(record))
                if len(seen) % 50 == 0:
                    await asyncio.sleep(0)

        for _ in range(20):
            both.produce(137)
            task = asyncio.create_task(endless())
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return seen + [sequence(record) for record in both.reader.drain()]

    assert asyncio.run(main()) == list(range(1, 20 * 137 + 1))


def test_several_tasks_share_the_records(both):
    """Each record goes to one of them."""

    async def main() -> list[int]:
        seen: list[int] = []

        async def consume() -> None:
            async for record in both.reader:
                seen.append(sequence(record))
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(consume()) for _ in range(3)]
        for _ in range(5):
            both.produce(100)
            await asyncio.sleep(0)
        while len(seen) < 500:
            await asyncio.sleep(0)
        both.reader.close()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        return seen

    assert sorted(asyncio.run(main())) == list(range(1, 501))


def test_other_tasks_run_while_records_never_end(both):
    """A task gets its turn between chunks."""

    async def main() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        both.produce(3 * MANY)
        await take(both.reader, 3 * MANY)
        task.cancel()
        return turns

    assert asyncio.run(main()) > 3


def test_what_a_slow_task_does_not_take_stays_in_the_ring(kind):
    """Back-pressure: a chunk is read ahead, no more; what the ring refuses is counted."""

    async def main(made: Pair) -> list[int]:
        records = aiter(made.reader)
        made.produce(1)
        seen = [sequence(await anext(records))]
        made.produce(50_000)
        for _ in range(100):
            await asyncio.sleep(0)
        assert made.reader.stats().received == 1
        seen.append(sequence(await anext(records)))
        assert made.reader.stats().received <= 1 + (1 << 16) // 1000
        made.produce(50_000)
        received = made.reader.stats().received
        while len(seen) < received:
            seen.append(sequence(await anext(records)))
            received = made.reader.stats().received
        await records.aclose()
        return seen

    with pair(kind, 0) as made:
        made.producer.resize(992)
        seen = asyncio.run(main(made))
        seen += [sequence(record) for record in made.reader.drain()]
        assert made.producer.full > 0
        assert len(seen) == made.producer.produced - made.producer.full
        assert all(before < after for before, after in itertools.pairwise(seen))
        if kind == "perf":
            made.produce(1)  # lets LOST records in, on old kernels
            assert made.reader.drain()
            assert made.reader.stats().lost == made.producer.full


@pytest.mark.parametrize("where", ["in the loop", "in a thread"])
def test_closing_ends_the_iteration_of_a_sleeping_task(kind, where):
    """From the loop itself, and from any other thread."""

    async def main(reader) -> list[int]:
        task = asyncio.create_task(take(reader, 5))
        for _ in range(3):
            await asyncio.sleep(0)
        if where == "in the loop":
            reader.close()
        else:
            threading.Thread(target=reader.close).start()
        return await asyncio.wait_for(task, PATIENCE)

    with pair(kind, 0) as made:
        made.produce(2)
        assert asyncio.run(main(made.reader)) == [1, 2]


def test_a_reader_closes_after_a_loop_that_left_a_task_sleeping(kind):
    """Nobody is there to be woken."""
    loop = asyncio.new_event_loop()
    with pair(kind, 0) as made:
        task = loop.create_task(take(made.reader, 1))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        made.reader.close()
        assert made.reader.stats().received == 0
    with contextlib.suppress(RuntimeError):
        task.get_coro().close()  # which cannot leave the loop any more


def test_a_record_that_cannot_be_decoded_is_an_error_once(kind):
    """And the iteration goes on behind it when it is begun anew."""

    def decode(record: bytes) -> int:
        if sequence(record) == 3:
            raise FormatError("three")
        return sequence(record)

    async def main(reader) -> list[int]:
        seen: list[int] = []

        async def iterate() -> None:
            async for number in reader:
                seen.append(number)
                if number == 5:
                    return

        with pytest.raises(FormatError, match="three"):
            await iterate()
        await iterate()
        return seen

    with pair(kind, 0, record=decode) as made:
        made.produce(5)
        assert asyncio.run(main(made.reader)) == [1, 2, 4, 5]
