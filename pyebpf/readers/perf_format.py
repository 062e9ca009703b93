"""Records in a perf ring: from the bytes of one stretch of it to payloads and losses.

In: a linear copy that starts at a record. Out: a `Parsed` that says where the payloads are and what
else was there. Unlike a BPF ring, ``data_head`` only ever covers whole, finished records, so
copying first and parsing afterwards is safe.

    0          4       6       8
    | type u32 | misc  | size  | SAMPLE: | raw_size u32 | payload, padded so that size % 8 == 0 |
                                 LOST:   | id u64 | lost u64 |

``raw_size`` counts the padding, up to 7 bytes of whatever was in the ring before: nobody can tell
it from payload, and a decoder has to tolerate it. ``size`` has 16 bits and the kernel does not
check: a program that puts out more than 65 516 bytes leaves a record whose size is wrong (seen on
Linux 6.18: 65 528 bytes give a SAMPLE of 8).
"""

from __future__ import annotations

import struct

from pyebpf.readers.block import Alike, Run, Spans, alike
from pyebpf.readers.ring_format import FEW, Fault
from pyebpf.typed import NamedTuple
from pyebpf.uapi.perf_records import RecordType

__all__ = ["LONGEST", "Parsed", "parse"]

_HEADER = struct.Struct("=IHH")
_RAW_SIZE = struct.Struct("=I")
_SAMPLE = struct.Struct("=IHHI")
_LOST = struct.Struct("=QQ")
_PAYLOAD = _HEADER.size + _RAW_SIZE.size
_LOST_END = _HEADER.size + _LOST.size
_SAMPLE_TYPE = int(RecordType.SAMPLE)
_LOST_TYPE = int(RecordType.LOST)

LONGEST = 1 << 16
"""No record is longer, so a copy of this size holds a whole one."""


class Parsed(NamedTuple):
    """What a stretch of a perf ring holds.

    Attributes:
        shape: Where the payloads are.
        size: Bytes the records parsed cover: where to go on.
        lost: Sum of the LOST records' counts.
        unknown: Records of other types.
        fault: The next record is malformed.
    """

    shape: Run | Spans
    size: int
    lost: int = 0
    unknown: int = 0
    fault: Fault | None = None


def parse(block: bytes | memoryview, *, complete: bool, alike: Alike = alike) -> Parsed:
    """Parse the records of *block*.

    Args:
        block: A copy of the ring from a record's start on.
        complete: The block reaches to ``data_head``, so a record that is cut off is malformed.
            Otherwise parsing ends before it.
        alike: See `pyebpf.readers.block.alike`.
    """
    run = _run(memoryview(block), alike)
    if run is not None:
        return Parsed(run, run.number * run.stride)
    return _walk(block, complete=complete)


# Samples of one size at the front of *view*, if there are more than a few.
def _run(view: memoryview[int], alike: Alike) -> Run | None:
    if len(view) < FEW * 16:
        return None
    kind, _, size = _HEADER.unpack_from(view)
    count = len(view) // size if size else 0
    if kind != _SAMPLE_TYPE or size % 8 or count < FEW:
        return None
    end = _sample_end(view, 0, size)
    if end is None:
        return None
    whole = view[: count * size]
    # Each header says where the next one is; that the one before it is equal proves the place.
    # First with misc, which seldom differs, as that is a single comparison.
    equal = alike(whole.cast("Q"), 0, size // 8, count)
    if equal < count:
        equal = alike(whole.cast("H"), 3, size // 2, count)
        equal = alike(whole.cast("I"), 0, size // 4, equal)
    equal = alike(whole.cast("I"), 2, size // 4, equal)
    return Run(_PAYLOAD, end - _PAYLOAD, size, equal) if equal >= FEW else None


def _walk(block: bytes | memoryview, *, complete: bool) -> Parsed:
    found = Spans([], [])
    add_start, add_end = found.starts.append, found.ends.append
    unpack = _SAMPLE.unpack_from
    lost = unknown = position = 0
    total = len(block)
    fault = None
    while position + _PAYLOAD <= total:
        kind, _, size, raw_size = unpack(block, position)
        # Nearly every record: a good sample.
        if kind != _SAMPLE_TYPE or raw_size > size - _PAYLOAD or size % 8:
            fault = _odd(kind, size)
            if fault is not None:
                break
        if position + size > total:
            if complete:
                fault = Fault(f"record of {size} bytes where {total - position} bytes wait")
            break
        if kind == _SAMPLE_TYPE:
            start = position + _PAYLOAD
            add_start(start)
            add_end(start + raw_size)
        elif kind == _LOST_TYPE and size >= _LOST_END:
            lost += _LOST.unpack_from(block, position + _HEADER.size)[1]
        else:
            unknown += 1
        position += size
    if fault is None and position < total < position + _PAYLOAD:
        return _end(block, complete, Parsed(found, position, lost, unknown))
    return Parsed(found, position, lost, unknown, fault)


# What is wrong with a record that is no good sample, if anything is.
def _odd(kind: int, size: int) -> Fault | None:
    if size < _HEADER.size or size % 8:
        return Fault(f"record of type {kind} with a size of {size} bytes")
    if kind != _SAMPLE_TYPE:
        return None
    text = f"sample whose size of {size} bytes does not fit its payload"
    return Fault(f"{text} (a perf record holds at most 65516 bytes)", skip=size)


# A few bytes at the end: a record of another kind without anything in it, or the start of one.
def _end(block: bytes | memoryview, complete: bool, parsed: Parsed) -> Parsed:
    rest = len(block) - parsed.size
    if rest < _HEADER.size:
        text = f"{rest} bytes where a record's header needs {_HEADER.size}"
        return parsed._replace(fault=Fault(text) if complete else None)
    kind, _, size = _HEADER.unpack_from(block, parsed.size)
    if size > rest and size % 8 == 0:
        text = f"record of {size} bytes where {rest} bytes wait"
        return parsed._replace(fault=Fault(text) if complete else None)
    fault = _odd(kind, size)
    if fault is not None:
        return parsed._replace(fault=fault)
    return parsed._replace(size=parsed.size + size, unknown=parsed.unknown + 1)


def _sample_end(block: bytes | memoryview, position: int, size: int) -> int | None:
    if size < _PAYLOAD:
        return None
    (raw_size,) = _RAW_SIZE.unpack_from(block, position + _HEADER.size)
    if raw_size > size - _PAYLOAD:
        return None
    return position + _PAYLOAD + int(raw_size)
