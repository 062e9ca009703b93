"""The ways to take records out of a reader, on the real kernel: none loses or repeats any.

Every law holds for both kinds of readers, and for records of one size and of many.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pyebpf.errors import ClosedError, FormatError
from pyebpf.readers.reader import Reader
from tests.support.pairs import MANY, Pair, pair, sequence


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
    assert seen == [1]
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


# --- arrays


U8 = np.dtype("u8")


def numbers(array: np.ndarray) -> list[int]:
    return [int(each) for each in array]


def test_an_array_holds_all_that_waits(both):
    """In order, and an empty one when the time is over."""
    both.produce(MANY)
    assert numbers(both.reader.read_array(0, dtype=U8)) == list(range(1, MANY + 1))
    assert len(both.reader.read_array(0.01, dtype=U8)) == 0
    assert both.reader.stats().received == MANY


def test_an_array_of_equal_records_is_all_their_bytes(kind):
    """Without a dtype; of many sizes there is no such array, and nothing is lost by asking."""
    with pair(kind, 0) as made:
        made.produce(MANY)
        array = made.reader.read_array(0)
        assert array.dtype.itemsize >= 16
        assert [sequence(bytes(each)) for each in array] == list(range(1, MANY + 1))
    with pair(kind, 127) as made:
        made.produce(MANY)
        with pytest.raises(FormatError, match="make no array: give a dtype"):
            made.reader.read_array(0)
        records = made.reader.drain()
        assert {type(each) for each in records} == {bytes}
        assert [sequence(each) for each in records] == list(range(1, MANY + 1))


@pytest.mark.parametrize("out", [None, 1 << 20], ids=["memory of ours", "memory of theirs"])
def test_an_array_refused_after_an_interrupted_poll_loses_nothing(kind, out):
    """What that had decoded comes first, with the next call that can give it."""

    def interrupted(record: bytes) -> int:
        if sequence(record) == MANY // 2 and not calls:
            calls.append(record)
            raise KeyboardInterrupt
        return sequence(record)

    calls: list[bytes] = []
    with pair(kind, 0, record=interrupted) as made:
        made.produce(MANY)
        with pytest.raises(KeyboardInterrupt):
            made.reader.poll(0)
        memory = None if out is None else bytearray(out)
        for _ in range(2):
            with pytest.raises(ValueError, match="poll again"):
                made.reader.read_array(0, out=memory)
        assert made.reader.drain() == list(range(1, MANY + 1))


def test_an_array_comes_again_once_what_a_poll_had_decoded_is_read(kind):
    """However it was read."""
    calls: list[bytes] = []

    def interrupted(record: bytes) -> int:
        calls.append(record)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sequence(record)

    with pair(kind, 0, record=interrupted) as made:
        made.produce(5)
        with pytest.raises(KeyboardInterrupt):
            made.reader.poll(0)
        assert [made.reader.read(0) for _ in range(2)] == [1, 2]
        assert numbers(made.reader.read_array(0, dtype=U8)) == [3, 4, 5]


def unpacked(packed) -> list[bytes]:
    places = zip(packed.starts, packed.lengths, strict=True)
    return [bytes(packed.data[start : start + length]) for start, length in places]


def test_packed_records_have_any_sizes(both, mask):
    """What `drain` gives, but together, and also what other calls have read ahead."""
    both.produce(MANY)
    first = both.reader.read(0)
    records = [first, *unpacked(both.reader.read_packed(0)), *unpacked(both.reader.read_packed(0))]
    assert [sequence(each) for each in records] == list(range(1, MANY + 1))
    # Perf pads records.
    assert all(0 <= len(each) - (16 + (sequence(each) & mask)) < 8 for each in records)
    assert len(both.reader.read_packed(0).starts) == 0


@pytest.mark.parametrize("size", [4096, 10_000, 1 << 16, 1 << 20])
def test_packed_records_lie_in_memory_of_the_callers(both, size):
    """Filled again and again; nothing is copied out of it."""
    memory = bytearray(size)
    seen: list[int] = []
    both.produce(MANY)
    while len((packed := both.reader.read_packed(0, out=memory)).starts):
        assert np.shares_memory(packed.data, np.frombuffer(memory, np.uint8))
        seen += map(sequence, unpacked(packed))
    assert seen == list(range(1, MANY + 1))


@pytest.mark.parametrize("size", [4096, 10_000, 1 << 16, 1 << 20])
def test_memory_of_the_callers_is_filled_again_and_again(both, size):
    """No more is read than fits, until nothing is left."""
    memory = bytearray(size)
    seen: list[int] = []
    both.produce(MANY)
    while len(array := both.reader.read_array(0, dtype=U8, out=memory)):
        seen += numbers(array)
    assert seen == list(range(1, MANY + 1))


def test_memory_that_cannot_be_used_is_refused_before_anything_is_read(both):
    """Too small for one record, read-only, none at all."""
    both.produce(3)
    with pytest.raises(ValueError, match="out= has 16 bytes, the next record takes more"):
        both.reader.read_array(0, out=bytearray(16))
    with pytest.raises(TypeError, match="not writable"):
        both.reader.read_array(0, out=bytes(1 << 16))
    with pytest.raises(TypeError):
        both.reader.read_array(0, out=7)
    assert [sequence(each) for each in both.reader.drain()] == [1, 2, 3]


RECORDS = {
    "format": ("<QQ", lambda array: array["f0"]),
    "dtype": (np.dtype([("number", "u8"), ("rest", "u4")]), lambda array: array["number"]),
    "ctypes": (
        type("Two", (ctypes.Structure,), {"_fields_": [("a", ctypes.c_uint64)] * 1}),
        lambda array: array["a"],
    ),
    "bytes": (None, lambda array: [sequence(bytes(each)) for each in array]),
}


@pytest.mark.parametrize("record", RECORDS)
def test_the_type_of_an_array_is_that_of_the_records(kind, record):
    """Whatever says what a record is says what an item is."""
    what, column = RECORDS[record]
    with pair(kind, 0, record=what) as made:
        made.produce(MANY)
        array = made.reader.read_array(0)
        assert numbers(column(array)) == list(range(1, MANY + 1))


def test_records_too_short_for_the_dtype_are_dropped_and_counted(kind):
    """The others come with the next call; the books agree."""
    with pair(kind, 127) as made:
        made.produce(MANY)
        wanted = np.dtype([("number", "u8"), ("rest", "V72")])
        with pytest.raises(FormatError, match=r"where dtype .* has 80: \d+ records are too short"):
            made.reader.read_array(0, dtype=wanted)
        array = made.reader.read_array(0, dtype=wanted)
        stats = made.reader.stats()
        assert len(array) + stats.unknown == stats.received == MANY
        seen = numbers(array["number"])
        # perf pads payloads so that the record's size is a multiple of 8.
        sizes = {n: 16 + (n & 127) for n in range(1, MANY + 1)}
        if kind == "perf":
            sizes = {n: size + -(12 + size) % 8 for n, size in sizes.items()}
        assert seen == [n for n, size in sizes.items() if size >= 80]


# --- leases


def test_a_lease_lends_every_record_once(both):
    """One block after the other, in order."""
    both.produce(MANY)
    seen: list[int] = []
    while True:
        with both.reader.lease(0) as records:
            if not records:
                break
            before = len(seen)
            seen += [sequence(bytes(each)) for each in records]
            assert len(seen) - before == len(records)
    assert seen == list(range(1, MANY + 1))
    assert both.reader.stats().received == MANY


def test_a_lease_as_an_array_is_no_copy(kind):
    """It cannot be written, and shows the memory of the ring."""
    with pair(kind, 0) as made:
        made.produce(1000)
        with made.reader.lease(0) as records:
            array = records.array(U8)
            assert numbers(array) == list(range(1, 1001))
            assert not array.flags.writeable
            assert not array.flags.owndata


def test_an_array_that_outlives_its_lease_and_reader_crashes_nothing(kind):
    """Its memory is unmapped when it goes."""
    with pair(kind, 0) as made:
        made.produce(100)
        with made.reader.lease(0) as records:
            array = records.array(U8)
        made.reader.close()
    assert int(array.sum()) >= 0


def test_the_records_of_a_lease_count_as_read_also_when_it_fails(both):
    """The next read begins behind them."""
    both.produce(10)

    def fail() -> int:
        with contextlib.suppress(LookupError), both.reader.lease(0) as records:
            count = len(records)
            raise LookupError
        return count

    count = fail()
    assert count > 0
    both.produce(1)
    rest = [sequence(each) for each in both.reader.drain()]
    assert rest == list(range(count + 1, 12))


def test_a_lease_is_for_one_with_block(both):
    """Said, and not taken for the end of an iteration."""
    lease = both.reader.lease(0)
    with lease as records:
        assert len(records) == 0
    with pytest.raises(RuntimeError, match="a lease is for one with block"):
        lease.__enter__()


def test_a_reader_is_in_use_during_a_lease(both):
    """Reading from inside is refused; closing ends the lease's reader at its end."""
    both.produce(10)
    with both.reader.lease(0) as records:
        with pytest.raises(ValueError, match="interrupted its reading"):
            both.reader.read(0)
        both.reader.close()
        assert [sequence(bytes(each)) for each in records][:1] == [1]
    assert both.reader.stats().received >= 10


def test_a_lease_waits_until_its_time_is_over(both):
    """And lends nothing then."""
    with both.reader.lease(0.01) as records:
        assert len(records) == 0
        assert list(records) == []


def test_arrays_and_leases_go_on_where_other_ways_stopped(both):
    """Records that were read ahead come first."""
    both.produce(MANY)
    seen = take_one(both.reader) + take_some(both.reader)
    seen += numbers(both.reader.read_array(0, dtype=U8))
    seen += take_one(both.reader) if len(seen) < MANY else []
    with both.reader.lease(0) as records:
        seen += [sequence(bytes(each)) for each in records]
    seen += take_dispatched(both.reader)
    while len(array := both.reader.read_array(0, dtype=U8)):
        seen += numbers(array)
    assert seen == list(range(1, MANY + 1))


def test_an_iteration_goes_on_behind_an_array_or_a_lease(both):
    """Also one that stopped in front of their records."""
    both.produce(10)
    records = iter(both.reader)
    assert sequence(next(records)) == 1
    assert numbers(both.reader.read_array(0, dtype=U8)) == list(range(2, 11))
    both.produce(10)
    assert sequence(next(records)) == 11
    with both.reader.lease(0) as lent:
        assert [sequence(bytes(each)) for each in lent] == list(range(12, 21))
    both.produce(1)
    assert sequence(next(records)) == 21
