"""Records of a perf ring, from bytes to payloads and losses."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.readers.block import Block, Run
from pyebpf.readers.perf_format import LONGEST, parse
from pyebpf.readers.ring_format import FEW

SAMPLE, LOST, THROTTLE = 9, 2, 5


def spans(parsed) -> list[tuple[int, int]]:
    return [(each.start, each.stop) for each in Block(b"", parsed.shape).slices()]


def sample(payload: bytes, misc: int = 1) -> bytes:
    # As the kernel: raw_size counts the padding, which is whatever was there.
    payload += b"\xee" * (-(12 + len(payload)) % 8)
    return struct.pack("=IHHI", SAMPLE, misc, 12 + len(payload), len(payload)) + payload


def lost(count: int) -> bytes:
    return struct.pack("=IHHQQ", LOST, 0, 24, 77, count)


def other(kind: int, size: int) -> bytes:
    return struct.pack("=IHH", kind, 0, size) + bytes(size - 8)


piece = st.one_of(
    st.binary(max_size=50).map(lambda payload: ("sample", payload)),
    st.integers(0, 1 << 63).map(lambda count: ("lost", count)),
    st.integers(1, 8).map(lambda words: ("other", words * 8)),
)


@given(st.lists(st.tuples(piece, st.sampled_from([1, 1, 1, 30])), max_size=30))
def test_parse_finds_what_was_written(pieces):
    """parse(write(x)) == x, but for padding behind payloads; losses add up, the rest is counted."""
    write = {"sample": sample, "lost": lost, "other": lambda size: other(THROTTLE, size)}
    pieces = [each for each, times in pieces for _ in range(times)]
    data = b"".join(write[kind](value) for kind, value in pieces)
    found, losses, unknown, position = [], 0, 0, 0
    while position < len(data):  # a run of equal samples ends a parse
        parsed = parse(data[position:], complete=True)
        assert parsed.fault is None
        assert parsed.size > 0
        found += [data[position:][start:end] for start, end in spans(parsed)]
        losses, unknown = losses + parsed.lost, unknown + parsed.unknown
        position += parsed.size
    wanted = [value for kind, value in pieces if kind == "sample"]
    for seen, payload in zip(found, wanted, strict=True):
        assert seen.startswith(payload)
        assert len(seen) - len(payload) < 8
    assert losses == sum(value for kind, value in pieces if kind == "lost")
    assert unknown == sum(kind == "other" for kind, _ in pieces)


@pytest.mark.parametrize("length", [4, 12, 60, 508])
@pytest.mark.parametrize("good", [FEW - 1, FEW, 100])
@pytest.mark.parametrize("after", ["end", "other size", "other kind", "raw size", "cut"])
@pytest.mark.parametrize("miscs", [(1,), (1, 2)], ids=["one misc", "two miscs"])
def test_equal_samples_are_one_run_up_to_the_first_that_differs(length, good, after, miscs):
    """By size, by type, or by the payload's own length; where the kernel was does not matter."""
    tail = {
        "end": b"",
        "other size": sample(bytes(length + 8)),
        "other kind": other(THROTTLE, len(sample(bytes(length)))),
        "raw size": struct.pack("=IHHI", SAMPLE, 1, 12 + length, length - 1) + bytes(length),
        "cut": b"",
    }[after]
    data = b"".join(sample(bytes(length), miscs[n % len(miscs)]) for n in range(good)) + tail
    parsed = parse(data + b"\0" * 8 * (after == "cut"), complete=False)
    if good >= FEW:
        assert parsed.shape == Run(12, length, 12 + length, good)
        assert parsed.size == good * (12 + length)
    else:
        assert spans(parsed)[:good] == [
            (n * (12 + length) + 12, (n + 1) * (12 + length)) for n in range(good)
        ]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_spans_inside_or_a_fault(data, complete):
    """Whatever the ring holds, parse ends, stays inside and goes forward."""
    parsed = parse(data, complete=complete)
    assert 0 <= parsed.size <= len(data)
    assert all(12 <= start <= end <= parsed.size for start, end in spans(parsed))
    if complete and parsed.fault is None:
        assert parsed.size == len(data)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=9), st.data())
def test_a_piece_that_ends_inside_a_record_ends_before_it(payloads, choice):
    """Cut anywhere, the whole records of the first piece and the rest give the same records."""
    data = b"".join(map(sample, payloads))
    cut = choice.draw(st.integers(0, len(data)))
    first = parse(data[:cut], complete=False)
    second = parse(data[first.size :], complete=True)
    assert first.fault is None
    moved = [(start + first.size, end + first.size) for start, end in spans(second)]
    assert spans(first) + moved == spans(parse(data, complete=True))


@pytest.mark.parametrize("size", [0, 4, 7, 12, 65535], ids=str)
def test_a_size_that_is_no_multiple_of_8_or_0_is_a_fault(size):
    """Nothing can be found behind such a record, and it does not loop."""
    data = sample(b"good") + struct.pack("=IHH", SAMPLE, 0, size) + bytes(1 << 16)
    parsed = parse(data, complete=True)
    assert len(spans(parsed)) == 1
    assert parsed.fault is not None
    assert f"size of {size} bytes" in parsed.fault.text
    assert parsed.fault.skip is None


def test_a_record_beyond_what_waits_is_a_fault_at_the_end_only():
    """In a piece of what waits, it is only cut off."""
    data = sample(b"good") + struct.pack("=IHH", SAMPLE, 0, 64)
    assert parse(data, complete=False).fault is None
    fault = parse(data, complete=True).fault
    assert fault is not None
    assert "record of 64 bytes where 8 bytes wait" in fault.text


@pytest.mark.parametrize(
    ("size", "raw_size"),
    [(8, 65532), (16, 65540), (16, 5)],
    ids=["65528 bytes", "65536 bytes", "one too many"],
)
def test_a_sample_too_long_for_its_16_bit_size_is_skipped_alone(size, raw_size):
    """Linux 6.18 writes these for payloads over 65516 bytes; the record behind is good."""
    bad = struct.pack("=IHHI", SAMPLE, 1, size, raw_size).ljust(size, b"\0")[:size]
    data = bad + sample(b"next")
    parsed = parse(data, complete=True)
    assert spans(parsed) == []
    assert parsed.fault is not None
    assert parsed.fault.skip == size
    assert "65516" in parsed.fault.text
    assert len(spans(parse(data[size:], complete=True))) == 1


def test_the_longest_record_fits_one_copy():
    """65516 bytes of payload are the most a perf record holds."""
    data = sample(b"x" * 65516)
    assert len(data) <= LONGEST
    assert spans(parse(data, complete=True)) == [(12, 12 + 65516)]


def test_a_lost_record_too_short_for_its_count_is_unknown():
    """It is not read beyond its end."""
    parsed = parse(other(LOST, 16), complete=True)
    assert (parsed.lost, parsed.unknown) == (0, 1)
