"""Readers in trio and anyio: through `Reader.fileno` alone, as in any loop of somebody else's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from pyebpf.readers.reader import Reader
from tests.support.pairs import Pair, pair, sequence

PATIENCE = 20.0
Waiting = Callable[[Reader], Awaitable[None]]


@pytest.fixture(params=["perf", "ring"])
def both(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A producer and a reader of bytes, of either kind."""
    with pair(request.param, 127) as made:
        yield made


STEPS = 500


async def lock_step(both: Pair, wait: Waiting) -> list[int]:
    """Do what a user writes: wait, then take what is there. Nobody helps if a wake-up is missed."""
    seen: list[int] = []
    while len(seen) < STEPS:
        both.produce(1)
        before = len(seen)
        while len(seen) == before:
            await wait(both.reader)
            seen += map(sequence, both.reader.drain())
    return seen


def test_trio_sees_every_record(both: Pair) -> None:
    """One by one; and one that gives up waiting has taken nothing."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def main() -> list[int]:
        with trio.move_on_after(0) as given_up:
            await trio.lowlevel.wait_readable(both.reader)
            both.reader.drain()  # readable at first, with nothing in it
            await trio.lowlevel.wait_readable(both.reader)
        assert given_up.cancelled_caught
        with trio.fail_after(PATIENCE):
            return await lock_step(both, trio.lowlevel.wait_readable)

    assert trio.run(main) == list(range(1, STEPS + 1))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_sees_every_record(both: Pair, backend: str) -> None:
    """On either of its backends."""
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")
    pytest.importorskip(backend, reason=f"{backend} is not installed")

    async def main() -> list[int]:
        with anyio.fail_after(PATIENCE):
            return await lock_step(both, anyio.wait_readable)

    assert anyio.run(main, backend=backend) == list(range(1, STEPS + 1))
