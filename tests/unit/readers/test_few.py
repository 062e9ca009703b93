"""What a sleep finds at its end, which has a way of its own: that it is the same as by a look."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import ClosedError, FormatError
from pyebpf.readers.reader import Reader
from pyebpf.readers.rings import Rings
from pyebpf.sys import rings
from pyebpf.sys.poller import Poller
from pyebpf.sys.rings import BpfRing
from tests.support.ring_memory import BUSY, DISCARD, PAGE, WORD, BpfMemory, bpf_ring

PLACES = {"0": 0, "end": 5 * PAGE - 8, "wrap": (WORD - 2 * PAGE - 7) & ~7}


@contextlib.contextmanager
def asleep(put: Callable[[], object]) -> Iterator[list[None]]:
    """The next sleep of a reader ends when *put* has been called; gets an item then."""
    slept: list[None] = []

    def wait(_: Poller, timeout: float | None) -> bool:
        assert not slept, "it sleeps again"
        slept.append(None)
        put()
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Poller, "wait", wait)
        yield slept


def taken(memory: BpfMemory, reader: Reader, data: bytes) -> list[bytes]:
    """Return what a sleep at whose end *data* are there brings."""
    with asleep(lambda: memory.put(data)) as slept:
        records = reader.poll(20)
    assert slept
    return records


@pytest.fixture(params=["ordered", "fenced"])
def machine(request, monkeypatch) -> None:
    """Keeps the order of loads and stores by itself, or needs fences."""
    if request.param == "fenced":
        monkeypatch.setattr(rings, "_ORDERED_MACHINES", frozenset())


@pytest.mark.parametrize("start", PLACES.values(), ids=PLACES)
def test_what_is_there_at_the_end_of_a_sleep_comes_out_wherever_the_ring_wraps(machine, start):
    """One record or some, few bytes or many."""
    number = 0
    with bpf_ring(position=start) as (memory, reader):
        for burst in range(1, 40):
            wanted = []
            for _ in range(1 + burst % 5):
                number += 1
                wanted.append(struct.pack("=I", number) * (number % 60))
            assert taken(memory, reader, b"".join(map(memory.record, wanted))) == wanted
            assert memory.tail & WORD == memory.head & WORD
        assert reader.stats().received == number
        assert reader.stats().bytes == memory.head - start
        assert reader.stats().wakeups == 39


records_strategy = st.lists(
    st.tuples(st.binary(max_size=40), st.sampled_from([0, 0, 0, DISCARD])), min_size=1, max_size=40
)


@given(records_strategy, st.integers(0, 40), st.sampled_from(sorted(PLACES.values())))
def test_a_sleep_and_a_look_give_the_same(records, unfinished, start):
    """Records, discarded ones, and one that is not finished until later."""
    with bpf_ring(position=start) as (memory, reader), bpf_ring(position=start) as (other, looker):
        data, busy_at = b"", None
        for place, (payload, flags) in enumerate(records):
            if place == unfinished:
                busy_at = start + len(data)
                flags |= BUSY
            data += memory.record(payload, flags)
        good = [payload for payload, flags in records if not flags]
        front = [payload for payload, flags in records[:unfinished] if not flags]
        other.put(data)
        looked = looker.drain()
        if front:
            assert taken(memory, reader, data) == looked == front
        else:
            memory.put(data)
            assert reader.drain() == looked == []
        if busy_at is not None:
            payload, flags = records[unfinished]
            for each in (memory, other):
                each.set_header(busy_at, len(payload) | flags)
        assert front + reader.drain() == looked + looker.drain() == good
        assert reader.stats().received == looker.stats().received == len(good)
        assert reader.stats().bytes == looker.stats().bytes == memory.head - start


@pytest.mark.parametrize("early", [True, False], ids=["before it looks", "once it has records"])
@pytest.mark.parametrize("way", ["poll", "dispatch"])
def test_a_reader_that_is_closed_at_the_end_of_a_sleep_says_so(monkeypatch, way, early):
    """And does not return nothing, as if the time were over."""
    with bpf_ring() as (memory, reader):
        ways: dict[str, Callable[[], object]] = {
            "poll": lambda: reader.poll(None),
            "dispatch": lambda: reader.dispatch(len),
        }

        def put() -> None:
            memory.put(memory.record(b"data"))
            if early:
                reader.close()

        take_few = BpfRing.take_few

        def take_and_close(*arguments: Any) -> Any:
            found = take_few(*arguments)
            reader.close()
            return found

        monkeypatch.setattr(BpfRing, "take_few", take_and_close)
        with asleep(put), pytest.raises(ClosedError):
            ways[way]()


@pytest.mark.parametrize("length", [9, 4000], ids=["padding", "far"])
def test_a_length_that_reaches_behind_what_waits_is_an_error(length):
    """Also by a few bytes, where the padding would be there; what is in front of it is good."""
    with bpf_ring() as (memory, reader):
        bad = struct.pack("=II", length, 0) + bytes(8)
        with asleep(lambda: memory.put(memory.record(b"good") + bad)):
            assert reader.poll(20) == [b"good"]
        with pytest.raises(FormatError, match=f"record of {length} bytes where 16 bytes wait"):
            reader.drain()
        memory.put(memory.record(b"next"))
        assert reader.drain() == [b"next"]
        assert (reader.stats().received, reader.stats().unknown) == (2, 1)


def test_a_position_that_no_record_can_end_at_is_an_error():
    """Then nothing in front of it is believed either."""
    with bpf_ring() as (memory, reader):
        with (
            asleep(lambda: memory.put(memory.record(b"in front") + bytes(4))),
            pytest.raises(FormatError, match="20 bytes wait in a ring of 4096; skipped 20 bytes"),
        ):
            reader.poll(20)
        assert (reader.stats().received, reader.stats().unknown) == (0, 1)


def test_other_ways_go_on_where_one_stands():
    """With what a sleep brought: arrays, leases, iteration, a callback."""
    pytest.importorskip("numpy")
    numbers = [struct.pack("=Q", number) for number in range(7)]
    with bpf_ring() as (memory, reader):
        with asleep(lambda: memory.put(b"".join(map(memory.record, numbers)))):
            assert reader.read(20) == numbers[0]
        assert next(iter(reader)) == numbers[1]
        assert reader.read_array(0, dtype="=u8").tolist() == [2, 3, 4, 5, 6]
        with asleep(lambda: memory.put(b"".join(map(memory.record, numbers)))):
            assert next(iter(reader)) == numbers[0]
        with reader.lease(0) as lease:
            assert list(map(bytes, lease)) == numbers[1:]
        assert reader.drain() == []


def test_records_that_cannot_be_decoded_are_told_and_counted():
    """Those in front come first, those behind with the next call."""
    with bpf_ring(record="=Q") as (memory, reader):
        given = [struct.pack("=Q", 1), b"bad", struct.pack("=Q", 3)]
        with asleep(lambda: memory.put(b"".join(map(memory.record, given)))):
            assert reader.poll(20) == [(1,)]
        with pytest.raises(FormatError, match="3 bytes where format '=Q' has 8"):
            reader.poll(0)
        assert reader.poll(0) == [(3,)]
        assert (reader.stats().received, reader.stats().unknown) == (3, 1)


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_a_callback_that_raises_loses_no_other_record(error):
    """What its call began with is read."""
    seen: list[bytes] = []

    def callback(record: bytes) -> None:
        seen.append(record)
        if record == b"b":
            raise error

    with bpf_ring() as (memory, reader):
        with (
            asleep(lambda: memory.put(b"".join(map(memory.record, (b"a", b"b", b"c"))))),
            pytest.raises(error),
        ):
            reader.dispatch(callback, timeout=20)
        assert seen == [b"a", b"b"]
        assert reader.dispatch(callback, timeout=0) == 1
        assert seen == [b"a", b"b", b"c"]


def test_a_poll_that_was_interrupted_leaves_nothing_but_its_records(monkeypatch):
    """Where all had been taken, too: the poll after the next one waits for others."""
    fill, interrupting = Rings.fill, False

    def interrupted(*arguments: Any) -> None:
        if interrupting:
            raise KeyboardInterrupt
        fill(*arguments)

    monkeypatch.setattr(Rings, "fill", interrupted)

    def put() -> None:
        nonlocal interrupting
        memory.put(memory.record(b"a") + memory.record(b"b"))
        interrupting = True

    with bpf_ring() as (memory, reader):
        with asleep(put), pytest.raises(KeyboardInterrupt):
            reader.poll(20)
        interrupting = False
        assert reader.poll(None) == [b"a", b"b"]
        with asleep(lambda: memory.put(memory.record(b"c"))):
            assert reader.poll(None) == [b"c"]
