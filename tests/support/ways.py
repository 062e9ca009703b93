"""Every way to take records out of a reader, each as a function that returns their numbers.

A way waits until there is something, takes what one call gives, and returns the numbers that the
records begin with; `ONE` takes one at a time. What has no timeout waits for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from pyebpf.readers.reader import Reader
from tests.support.pairs import sequence

__all__ = ["BATCHES", "ONE", "WAYS", "Way", "is_read"]

Way = Callable[[Reader, "float | None"], "list[int]"]
U8 = np.dtype("u8")


def is_read(reader: Reader) -> bool:
    """Say whether another thread is reading now."""
    free = reader._reading.acquire(blocking=False)
    if free:
        reader._reading.release()
    return not free


def read(reader: Reader, timeout: float | None) -> list[int]:
    return [sequence(reader.read(timeout))]


def iterate(reader: Reader, timeout: float | None) -> list[int]:
    return [sequence(record) for _, record in zip(range(1), reader, strict=False)]


def async_for(reader: Reader, timeout: float | None) -> list[int]:
    async def one() -> list[int]:
        async for record in reader:
            return [sequence(record)]
        return []

    return asyncio.run(one())


def poll(reader: Reader, timeout: float | None) -> list[int]:
    return [sequence(record) for record in reader.poll(timeout)]


def dispatch(reader: Reader, timeout: float | None) -> list[int]:
    seen: list[int] = []
    reader.dispatch(lambda record: seen.append(sequence(record)), timeout=timeout)
    return seen


def read_array(reader: Reader, timeout: float | None) -> list[int]:
    return reader.read_array(timeout, dtype=U8).tolist()


MEMORY = bytearray(1 << 18)


def read_array_out(reader: Reader, timeout: float | None) -> list[int]:
    return reader.read_array(timeout, dtype=U8, out=MEMORY).tolist()


def read_packed(reader: Reader, timeout: float | None) -> list[int]:
    packed = reader.read_packed(timeout)
    octets = packed.data.tobytes()
    return [sequence(octets[start : start + 8]) for start in packed.starts]


def lease(reader: Reader, timeout: float | None) -> list[int]:
    with reader.lease(timeout) as records:
        return [sequence(record) for record in records]


def lease_array(reader: Reader, timeout: float | None) -> list[int]:
    with reader.lease(timeout) as records:
        return records.array(U8).tolist()


ONE: dict[str, Way] = {"read": read, "iterate": iterate, "async for": async_for}
BATCHES: dict[str, Way] = {
    "poll": poll,
    "dispatch": dispatch,
    "read_array": read_array,
    "read_array, out": read_array_out,
    "read_packed": read_packed,
    "lease": lease,
    "lease, array": lease_array,
}
WAYS: dict[str, Way] = {**ONE, **BATCHES}
