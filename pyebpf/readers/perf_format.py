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
from typing import NamedTuple

from pyebpf.readers.ring_format import Fault
from pyebpf.uapi.perf import RecordType

__all__ = ["LONGEST", "Parsed", "parse"]

_HEADER = struct.Struct("=IHH")
_RAW_SIZE = struct.Struct("=I")
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
        spans: Start and end of each payload.
        size: Bytes the records parsed cover: where to go on.
        lost: Sum of the LOST records' counts.
        unknown: Records of other types.
        fault: The next record is malformed.
    """

    spans: list[tuple[int, int]]
    size: int
    lost: int = 0
    unknown: int = 0
    fault: Fault | None = None


def parse(block: bytes, *, complete: bool) -> Parsed:
    """Parse the records of *block*.

    Args:
        block: A copy of the ring from a record's start on.
        complete: The block reaches to ``data_head``, so a record that is cut off is malformed.
            Otherwise parsing ends before it.
    """
    spans: list[tuple[int, int]] = []
    lost = unknown = position = 0
    total = len(block)
    fault = None
    while total - position >= _HEADER.size:
        kind, _, size = _HEADER.unpack_from(block, position)
        if size < _HEADER.size or size % 8:
            fault = Fault(f"record of type {kind} with a size of {size} bytes")
            break
        if size > total - position:
            if complete:
                fault = Fault(f"record of {size} bytes where {total - position} bytes wait")
            break
        if kind == _SAMPLE_TYPE:
            end = _sample_end(block, position, size)
            if end is None:
                fault = Fault(
                    f"sample whose size of {size} bytes does not fit its payload"
                    " (a perf record holds at most 65516 bytes)",
                    skip=size,
                )
                break
            spans.append((position + _PAYLOAD, end))
        elif kind == _LOST_TYPE and size >= _LOST_END:
            lost += _LOST.unpack_from(block, position + _HEADER.size)[1]
        else:
            unknown += 1
        position += size
    if complete and fault is None and position < total:
        fault = Fault(f"{total - position} bytes where a record's header needs {_HEADER.size}")
    return Parsed(spans, position, lost, unknown, fault)


def _sample_end(block: bytes, position: int, size: int) -> int | None:
    if size < _PAYLOAD:
        return None
    (raw_size,) = _RAW_SIZE.unpack_from(block, position + _HEADER.size)
    if raw_size > size - _PAYLOAD:
        return None
    return position + _PAYLOAD + int(raw_size)
