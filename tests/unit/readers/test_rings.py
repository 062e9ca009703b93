"""Rings in shared memory that the test writes as the kernel would, down to readers over them."""

from __future__ import annotations

import asyncio
import contextlib
import select
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyebpf.errors import FormatError, ReaderTimeout
from pyebpf.readers import ring_maps
from pyebpf.readers.reader import Reader
from pyebpf.readers.ring import RingReader
from pyebpf.sys import kernel, rings
from pyebpf.sys.poller import Poller
from pyebpf.sys.rings import distance
from pyebpf.uapi.bpf import MapType
from tests.support.ring_memory import (
    BUSY,
    DISCARD,
    LOST,
    PAGE,
    RINGS,
    SAMPLE,
    THROTTLE,
    WORD,
    BpfMemory,
    FakeMap,
    Several,
    bpf_ring,
    perf_ring,
)


@pytest.fixture(params=["ordered", "fenced"])
def machine(request, monkeypatch) -> str:
    """A machine that keeps the order of loads and stores by itself, and one that needs fences."""
    if request.param == "fenced":
        monkeypatch.setattr(rings, "_ORDERED_MACHINES", frozenset())
    return request.param


@pytest.mark.parametrize("open_ring", RINGS.values(), ids=RINGS)
@pytest.mark.parametrize("start", [0, 5 * PAGE - 8, WORD - 2 * PAGE - 7], ids=["0", "end", "wrap"])
def test_what_is_put_in_comes_out_wherever_the_ring_wraps(machine, open_ring, start):
    """The end of the data, and the end of the machine word, come in the midst of records."""
    number = 0
    with open_ring(position=start & ~7) as (memory, reader):
        for burst in range(60):
            wanted = []
            for _ in range(burst % 7):
                number += 1
                wanted.append(struct.pack("=I", number) * (1 + number % 90))
                memory.put(memory.record(wanted[-1]))
            records = reader.drain()
            assert [
                record[: len(data)] for record, data in zip(records, wanted, strict=True)
            ] == wanted
            assert memory.tail & WORD == memory.head & WORD


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.binary(min_size=1, max_size=300), max_size=10), max_size=12), st.data())
def test_any_records_in_any_bursts_come_out_one_by_one_or_together(bursts, choice):
    """Whichever ways of reading are mixed."""
    for open_ring in RINGS.values():
        with open_ring() as (memory, reader):
            wanted: list[bytes] = []
            records: list[bytes] = []
            for burst in bursts:
                for data in burst:
                    memory.put(memory.record(data))
                    wanted.append(data)
                singly = choice.draw(st.integers(0, len(burst)))
                records += [reader.read(0) for _ in range(singly)] + reader.drain()
            assert len(records) == len(wanted)
            assert all(map(bytes.startswith, records, wanted))
            assert reader.stats().received == len(wanted)


@pytest.mark.parametrize(
    ("ahead", "behind", "bits", "wanted"),
    [
        (8, 0, 64, 8),
        (8, (1 << 32) - 8, 32, 16),
        (8, (1 << 64) - 8, 64, 16),
        (8, (1 << 32) + 8, 32, 0),
    ],
)
def test_distances_are_taken_modulo_the_machine_word(ahead, behind, bits, wanted):
    """Our position has 64 bits, the kernel's wraps at 2^32 on a 32-bit machine."""
    assert distance(ahead, behind, bits=bits) == wanted


# --- BPF ring


def test_a_busy_record_holds_everything_back_until_it_is_finished():
    """The reader waits by the clock meanwhile: the descriptor is ready all the time."""
    with bpf_ring() as (memory, reader):
        memory.wake()
        memory.put(memory.record(b"busy", BUSY) + memory.record(b"done"))
        started = time.monotonic()
        with pytest.raises(ReaderTimeout):
            reader.read(0.03)
        assert time.monotonic() - started >= 0.03
        assert reader.stats().wakeups == 0
        thread = threading.Thread(target=memory.set_header, args=(0, 4))
        thread.start()
        assert reader.read(20) == b"busy"
        assert reader.read(0) == b"done"
        thread.join()


WAYS: dict[str, Callable[[Reader], object]] = {
    "read": lambda reader: reader.read(20),
    "poll": lambda reader: reader.poll(20),
    "iterate": lambda reader: next(iter(reader)),
    "async for": lambda reader: asyncio.run(anext(aiter(reader))),
    "dispatch": lambda reader: reader.dispatch(len, timeout=20),
    "read_array": lambda reader: reader.read_array(20),
    "read_array, out": lambda reader: reader.read_array(20, out=bytearray(PAGE)),
    "read_packed": lambda reader: reader.read_packed(20),
    "lease": lambda reader: contextlib.ExitStack().enter_context(reader.lease(20)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_record_whose_producer_died_is_an_error_and_not_the_end(monkeypatch, way):
    """Said once in a while, as nobody can tell; should it be finished after all, it comes."""
    monkeypatch.setattr(ring_maps, "_PATIENCE", 0.02)
    with bpf_ring() as (memory, reader):
        memory.put(memory.record(b"good") + memory.record(b"busy", BUSY) + memory.record(b"next"))
        assert reader.drain() == [b"good"]
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(
                FormatError, match=r'ring of map "events": the next record is not finished after'
            ):
                WAYS[way](reader)
            assert 0.01 < time.monotonic() - started < 10
        memory.set_header(16, 4)
        assert reader.drain() == [b"busy", b"next"]
        assert (reader.stats().received, reader.stats().unknown) == (3, 0)


def test_other_rings_go_on_beside_one_whose_producer_died(monkeypatch):
    """The error names the ring."""
    monkeypatch.setattr(ring_maps, "_PATIENCE", 0.02)
    with contextlib.ExitStack() as stack:
        memories = [BpfMemory(PAGE, 0), BpfMemory(PAGE, 0)]
        made = []
        for number, memory in enumerate(memories):
            stack.callback(memory.close)
            made.append(stack.enter_context(FakeMap(MapType.RINGBUF, PAGE, memory.ready)))
            made[-1].name = f"ring{number}"
        stack.enter_context(kernel.use(Several(memories)))
        reader = stack.enter_context(RingReader(made))
        memories[0].put(memories[0].record(b"busy", BUSY))
        seen: list[bytes] = []

        def read_on() -> None:
            while True:
                memories[1].put(memories[1].record(b"good"))
                seen.extend(reader.poll(20))

        with pytest.raises(FormatError, match='ring of map "ring0": the next record'):
            read_on()
        assert seen == [b"good"] * len(seen)
        assert len(seen) > 1


def test_a_task_that_waits_for_a_busy_record_lets_the_processor_rest():
    """The descriptor is ready all the time, as in the other ways of waiting."""

    async def main(memory: BpfMemory, reader: RingReader) -> bytes:
        waiting = asyncio.ensure_future(anext(aiter(reader)))
        started = time.thread_time()
        await asyncio.sleep(0.3)
        assert time.thread_time() - started < 0.15
        memory.set_header(0, 4)
        return await waiting

    with bpf_ring() as (memory, reader):
        memory.wake()
        memory.put(memory.record(b"busy", BUSY))
        assert asyncio.run(main(memory, reader)) == b"busy"


def test_a_reader_that_waits_for_a_busy_record_can_be_closed():
    """From another thread, with no time limit."""
    with bpf_ring() as (memory, reader):
        memory.put(memory.record(b"busy", BUSY))
        thread = threading.Thread(target=lambda: list(reader))
        thread.start()
        reader.close()
        thread.join(20)
        assert not thread.is_alive()


def test_discarded_records_are_passed_without_a_trace():
    """Even a chunk full of them before one that counts."""
    with bpf_ring(64 * PAGE) as (memory, reader):
        memory.put(memory.record(bytes(992), DISCARD) * 100 + memory.record(b"x"))
        assert reader.read(0) == b"x"
        assert reader.stats().received == 1


@pytest.mark.parametrize("flags", [0, DISCARD], ids=["data", "discarded"])
def test_a_record_that_ends_beyond_the_position_is_an_error_once(flags):
    """Those before it come first; reading goes on at the producer's position."""
    with bpf_ring() as (memory, reader):
        memory.put(memory.record(b"good") + struct.pack("=II", 100 | flags, 0) + bytes(8))
        assert reader.drain() == [b"good"]
        with pytest.raises(
            FormatError, match=r'ring of map "events": record of 100 bytes where 16'
        ):
            reader.drain()
        assert reader.drain() == []
        memory.put(memory.record(b"next"))
        assert reader.drain() == [b"next"]
        assert reader.stats().unknown == 1


@pytest.mark.parametrize("open_ring", RINGS.values(), ids=RINGS)
def test_positions_that_cannot_be_are_an_error_once(open_ring):
    """More in the ring than it holds, or less than nothing."""
    with open_ring(position=10 * PAGE) as (memory, reader):
        for step in (2 * memory.size, -memory.size):
            memory.head += step
            memory.put(b"")
            with pytest.raises(FormatError, match=rf"bytes wait in a ring of {PAGE}"):
                reader.poll(20)
            memory.put(memory.record(b"next"))
            (record,) = reader.drain()
            assert record.startswith(b"next")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["length", "forwards", "backwards"])
@pytest.mark.parametrize("open_ring", RINGS.values(), ids=RINGS)
def test_no_way_of_reading_invents_records_of_a_damaged_ring(open_ring, what, way):
    """An error at once and once; records before and behind it come, and are all there are."""
    with open_ring(position=10 * PAGE) as (memory, reader):
        memory.put(memory.record(b"good"))
        if what == "length":
            if open_ring is bpf_ring:
                memory.put(struct.pack("=II", 2 * PAGE, 0) + bytes(8))
            else:
                memory.put(struct.pack("=IHHQ", SAMPLE, 0, 2 * PAGE, 0))
            (first,) = reader.drain()
            assert first.startswith(b"good")
        else:
            reader.drain()
            memory.head += 2 * memory.size if what == "forwards" else -memory.size
            memory.put(b"")
        with pytest.raises(FormatError, match=r"ring of map .*; skipped \d+ bytes"):
            WAYS[way](reader)
        assert reader.drain() == []
        memory.put(memory.record(b"next"))
        (last,) = reader.drain()
        assert last.startswith(b"next")
        assert (reader.stats().received, reader.stats().unknown) == (2, 1)


@pytest.mark.parametrize("position", [1, 4, 7])
def test_a_place_where_no_record_can_begin_is_an_error_once(position):
    """Whoever else has the map may write the consumer's position."""
    with bpf_ring(position=position) as (memory, reader):
        memory.head = 0
        for _ in range(2):
            memory.put(memory.record(b"good"))
        with pytest.raises(FormatError, match="skipped"):
            reader.read(20)
        memory.put(memory.record(b"next"))
        assert reader.drain() == [b"next"]


# --- perf


@pytest.mark.parametrize("size", [0, 4, 12, 65528], ids=str)
def test_a_perf_record_with_an_impossible_size_is_an_error_once(size):
    """Those before it come first, the rest is skipped, and iteration can be started again."""
    with perf_ring() as (memory, reader):
        memory.put(memory.record(b"good") + struct.pack("=IHH", SAMPLE, 0, size) + bytes(16))
        seen = []
        with pytest.raises(FormatError, match=r'map "events", CPU 0: .* skipped 24 bytes'):
            seen.extend(reader)
        memory.put(memory.record(b"next"))
        seen.append(next(iter(reader)))
        assert reader.stats().received == 2
        assert seen[-1].startswith(b"next")


def test_other_perf_records_are_counted_and_losses_added_up():
    """LOST records are the only source here, as before Linux 6.0."""
    with perf_ring() as (memory, reader):
        memory.put(struct.pack("=IHHQ", THROTTLE, 0, 16, 0))
        memory.put(struct.pack("=IHHQQ", LOST, 0, 24, 7, 5) + memory.record(b"x"))
        memory.put(struct.pack("=IHHQQ", LOST, 0, 24, 7, 6))
        assert len(reader.drain()) == 1
        stats = reader.stats()
        assert (stats.received, stats.lost, stats.unknown) == (1, 11, 1)
        assert [(each.cpu, each.lost) for each in stats.per_cpu] == [(0, 11)]


def test_a_ring_with_nothing_but_losses_is_no_reason_to_wake_the_caller():
    """They are counted, and the reader sleeps on."""
    with perf_ring() as (memory, reader):
        memory.put(struct.pack("=IHHQQ", LOST, 0, 24, 7, 5))
        assert reader.poll(0.01) == []
        assert reader.stats().lost == 5


def test_a_perf_ring_longer_than_a_copy_is_read_in_pieces():
    """Records across the pieces' borders come whole."""
    with perf_ring(32) as (memory, reader):
        wanted = [bytes([number]) * 1000 for number in range(120)]
        memory.put(b"".join(map(memory.record, wanted)))
        assert [record[:1000] for record in reader.drain()] == wanted


# --- several things at once


@contextlib.contextmanager
def two_rings() -> Iterator[tuple[list[BpfMemory], RingReader]]:
    with contextlib.ExitStack() as stack:
        memories = [BpfMemory(PAGE, 0), BpfMemory(PAGE, 0)]
        maps = []
        for memory in memories:
            stack.callback(memory.close)
            maps.append(stack.enter_context(FakeMap(MapType.RINGBUF, PAGE, memory.ready)))
        stack.enter_context(kernel.use(Several(memories)))
        yield memories, stack.enter_context(RingReader(maps))


@pytest.mark.parametrize("length", [8, 16], ids=["one size", "two sizes"])
def test_out_is_not_taken_for_what_was_read_ahead_of_several_rings(length):
    """Those come alone, and are in memory of their own."""
    pytest.importorskip("numpy")
    payloads = [[bytes([ring, each]) * (length // 2) for each in range(20)] for ring in (0, 1)]
    payloads[1] = [each[:8] for each in payloads[1]]
    wanted = [each[:8] for each in payloads[0][1:] + payloads[1]]
    for packed in (False, True):
        with two_rings() as (memories, reader):
            for memory, records in zip(memories, payloads, strict=True):
                memory.put(b"".join(map(memory.record, records)))
            assert reader.read(0) == payloads[0][0]
            out = bytearray(PAGE)
            if packed:
                found = reader.read_packed(0, out=out)
                got = [bytes(found.data[start : start + 8]) for start in found.starts]
            else:
                got = [bytes(each) for each in reader.read_array(0, dtype="V8", out=out)]
            assert got == wanted
            assert out == bytes(PAGE)


def test_dispatch_counts_what_it_called_though_on_lost_closes_the_reader():
    """The callbacks were called: that is no failure."""
    lost = 0
    seen: list[bytes] = []

    def count() -> int:
        return lost

    def close(_: int) -> None:
        reader.close()

    memory = BpfMemory(PAGE, 0)
    reader: Reader
    with (
        contextlib.closing(memory),
        kernel.use(memory),
        FakeMap(MapType.RINGBUF, PAGE, memory.ready) as made,
        RingReader(made, drops=count, on_lost=close) as reader,
    ):
        memory.put(memory.record(b"a") * 3)

        def callback(record: bytes) -> None:
            nonlocal lost
            lost += 1
            seen.append(record)

        assert reader.dispatch(callback, timeout=0) == len(seen) == 3
        assert reader.closed


def test_a_descriptor_that_could_not_be_shown_is_shown_the_next_time(monkeypatch):
    """Whether it is readable is said once it is."""
    with bpf_ring() as (memory, reader):
        memory.put(memory.record(b"data"))

        def interrupted(_: Poller) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Poller, "raise_flag", interrupted)
            with pytest.raises(KeyboardInterrupt):
                reader.fileno()
        assert select.select([reader.fileno()], [], [], 0)[0]
        assert reader.drain() == [b"data"]


@pytest.mark.parametrize("number", [3, 30], ids=["few", "many"])
def test_dtypes_of_arrays_and_of_objects(number):
    """A sub-array is a dimension more; an object would be an address that a program has chosen."""
    numpy = pytest.importorskip("numpy")
    wanted = [[each, each + 1] for each in range(number)]
    with bpf_ring() as (memory, reader):
        for pair in wanted:
            memory.put(memory.record(struct.pack("=II", *pair)))
        for dtype in ("O", [("pointer", "O")]):
            with pytest.raises(TypeError, match="has Python objects, which no record has"):
                reader.read_array(0, dtype=dtype)
            with reader.lease(0) as lease, pytest.raises(TypeError, match="has Python objects"):
                lease.array(dtype)
            for pair in wanted:
                memory.put(memory.record(struct.pack("=II", *pair)))
        assert reader.read_array(0, dtype=("=u4", 2)).tolist() == wanted
        with (
            FakeMap(MapType.RINGBUF, PAGE, memory.ready) as made,
            pytest.raises(TypeError, match="has Python objects"),
        ):
            RingReader(made, record=numpy.dtype("O"))
