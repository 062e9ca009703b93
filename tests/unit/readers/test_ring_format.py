"""Which bytes of a BPF ring buffer are finished records."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.readers.block import Block, Run
from pyebpf.readers.ring_format import FEW, HEADER, scan

BUSY = 1 << 31
DISCARD = 1 << 30
NO_LIMIT = 1 << 40


def record(payload: bytes, flags: int = 0) -> bytes:
    size = HEADER + len(payload)
    return struct.pack("=II", len(payload) | flags, 7) + payload + bytes(-size % 8)


def words(data: bytes) -> memoryview:
    return memoryview(data).cast("I")


def spans(found) -> list[tuple[int, int]]:
    return [(each.start, each.stop) for each in Block(b"", found.shape).slices()]


def payloads(data: bytes, **options: int) -> list[bytes]:
    found = scan(words(data), 0, len(data), **{"limit": NO_LIMIT, **options})
    return [data[start:end] for start, end in spans(found)]


@given(
    st.lists(
        st.tuples(st.binary(max_size=40), st.booleans(), st.sampled_from([1, 1, 1, 40])),
        max_size=30,
    )
)
def test_scan_finds_what_was_written_and_skips_what_was_discarded(records):
    """scan(write(x)) == x without the discarded ones."""
    data = b"".join(record(p, DISCARD * gone) * times for p, gone, times in records)
    seen, position = [], 0
    while position < len(data):  # a run of equal records ends a scan
        found = scan(words(data), position, len(data) - position, limit=NO_LIMIT)
        assert (found.busy, found.fault) == (False, None)
        assert found.size > 0
        seen += [data[position + a : position + b] for a, b in spans(found)]
        position += found.size
    assert seen == [p for p, gone, times in records for _ in range(times) if not gone]


@pytest.mark.parametrize("length", [0, 1, 8, 13, 64, 4000])
@pytest.mark.parametrize("good", [FEW - 1, FEW, 100, 128])
@pytest.mark.parametrize("after", ["end", "other", "busy", "gone", "cut"])
def test_equal_records_are_one_run_up_to_the_first_that_differs(length, good, after):
    """Whatever makes it differ: its length, or that it is not finished, or was given up."""
    tail = {
        "end": b"",
        "other": record(bytes(length + 1)),
        "busy": record(bytes(length), BUSY),
        "gone": record(bytes(length), DISCARD),
        "cut": struct.pack("=II", length + 800, 0),
    }[after]
    data = record(bytes(length)) * good + tail
    found = scan(words(data), 0, len(data), limit=NO_LIMIT)
    stride = len(record(bytes(length)))
    if good >= FEW:
        assert found.shape == Run(HEADER, length, stride, good)
        assert found.size == good * stride
    else:
        assert spans(found)[:good] == [
            (n * stride + 8, n * stride + 8 + length) for n in range(good)
        ]


@given(st.binary(max_size=400), st.integers(0, 60), st.integers(0, 500))
def test_any_bytes_give_spans_inside_or_a_fault(data, offset, limit):
    """Whatever the memory holds, scan ends, stays inside what waits and goes forward."""
    data = data[: len(data) & ~7]
    offset = min(offset * 8, len(data))
    available = len(data) - offset
    found = scan(words(data), offset, available, limit=limit)
    assert 0 <= found.size <= available
    previous = 0
    for start, end in spans(found):
        assert previous + HEADER <= start <= end <= found.size
        previous = end
    if found.fault is None and not found.busy and min(limit, available):
        assert found.size > 0
        assert found.size <= limit or len(spans(found)) <= 1


def test_nothing_behind_a_busy_record_is_read():
    """A record still being written hides finished ones behind it: the order is kept."""
    data = record(b"first") + record(b"later", BUSY) + record(b"last")
    found = scan(words(data), 0, len(data), limit=NO_LIMIT)
    assert [data[a:b] for a, b in spans(found)] == [b"first"]
    assert found.size == 16
    assert found.busy


def test_a_busy_record_that_will_be_discarded_waits_too():
    """BUSY counts before DISCARD."""
    data = record(b"x", BUSY | DISCARD)
    assert scan(words(data), 0, len(data), limit=NO_LIMIT).busy


def test_an_empty_record_is_a_record():
    """A length of 0 takes 8 bytes and moves on."""
    assert payloads(record(b"") * 3) == [b"", b"", b""]


def test_the_limit_still_lets_one_record_through():
    """A record larger than the limit is taken whole, alone."""
    data = record(bytes(100)) + record(b"next")
    assert payloads(data, limit=8) == [bytes(100)]


@pytest.mark.parametrize("length", [1, 9, 4096, DISCARD - 1], ids=["1", "9", "4096", "largest"])
@pytest.mark.parametrize("flags", [0, DISCARD], ids=["data", "discarded"])
def test_a_length_beyond_what_waits_is_a_fault(length, flags):
    """The records before it come first; the text says both sizes."""
    before = record(b"good")
    data = before + struct.pack("=II", length | flags, 0)
    found = scan(words(data), 0, len(data), limit=NO_LIMIT)
    assert len(spans(found)) == 1
    assert found.size == len(before)
    assert found.fault is not None
    assert f"record of {length} bytes where 8 bytes wait" in found.fault.text


def test_offsets_run_on_into_the_second_mapping():
    """A record that starts at the data's last 8 bytes goes on behind them."""
    size = 64
    ring = bytearray(2 * size)
    whole = record(b"0123456789")
    for place, byte in enumerate(whole):
        position = (size - 8 + place) % size
        ring[position] = ring[position + size] = byte
    found = scan(memoryview(ring).cast("I"), size - 8, len(whole), limit=NO_LIMIT)
    ((start, end),) = spans(found)
    assert bytes(ring[size - 8 + start : size - 8 + end]) == b"0123456789"
