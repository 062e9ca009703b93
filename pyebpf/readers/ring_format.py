"""Records in a BPF ring buffer: which of the bytes waiting in it are finished records.

In: the ring's data as native 32-bit words, a place in it and how many bytes wait there. Out: a
`Scan` that says where the payloads are. Nothing is copied and no memory but headers is read, so it
may run over the live ring: a payload must not be touched before its header says it is finished.

    0                  4            8                       8 + length      multiple of 8
    |B|D| length (30)  | page offset| payload ............. | padding .... | next record
     ^ ^
     | DISCARD: the program gave the record up; skip it
     BUSY: the program is still writing; nothing behind it may be read either

The kernel maps the data twice in a row, so what waits is always contiguous.
"""

from __future__ import annotations

from pyebpf.readers.block import Alike, Run, Spans, alike
from pyebpf.typed import NamedTuple

__all__ = ["HEADER", "Fault", "Scan", "scan"]

HEADER = 8
_BUSY = 1 << 31
_DISCARD = 1 << 30
_LENGTH = _DISCARD - 1
# As each record of many sizes takes a hundred bytes, and as long as to copy it.
_WALK = 1 << 18
FEW = 12
"""Fewer records are found one by one: looking whether they are equal costs as much (measured)."""


class Fault(NamedTuple):
    """Something in a ring that cannot be a record.

    Attributes:
        text: What is wrong, with the numbers.
        skip: Bytes to skip to the next place where a record may begin, or ``None``: nothing is
            known before the end of what the producer wrote.
    """

    text: str
    skip: int | None = None


class Scan(NamedTuple):
    """What a run of records holds.

    Attributes:
        shape: Where the payloads are, in bytes after the place scanned from.
        size: Bytes the finished records cover, discarded ones included: where to go on.
        number: How many records *shape* has.
        busy: The next record is still being written.
        fault: The next record is malformed.
    """

    shape: Run | Spans
    size: int
    number: int
    busy: bool = False
    fault: Fault | None = None


def scan(
    words: memoryview[int], offset: int, available: int, *, limit: int, alike: Alike = alike
) -> Scan:
    """Find the finished records.

    Args:
        words: The data as native ``u32``, long enough for *offset* + *available* bytes.
        offset: Byte offset of the first record, a multiple of 8.
        available: Bytes the producer has handed over, from *offset* on.
        limit: Stop after so many bytes, or fewer where the records are of many sizes; at least one
            is taken whatever its size.
        alike: See `pyebpf.readers.block.alike`.
    """
    stop = min(limit, available)
    base = offset >> 2
    length = words[base] if stop else 0
    stride = (length + HEADER + 7) & ~7
    # Only a header that is finished equals one that is: nothing else need be looked at.
    if stop >= FEW * stride and length < _DISCARD:
        count = alike(words, base, stride >> 2, stop // stride)
        if count >= FEW:
            # Made without the calls of Python functions that constructors of named tuples are:
            # after a sleep each takes a microsecond.
            run = tuple.__new__(Run, (HEADER, length, stride, count))
            return tuple.__new__(Scan, (run, count * stride, count, False, None))
    stop = min(stop, _WALK)
    # Only the last record can reach too far, so that is looked at once, at the end.
    starts: list[int] = []
    ends: list[int] = []
    add_start, add_end = starts.append, ends.append
    position = begin = 0
    while position < stop:
        header = words[base + (position >> 2)]
        if header < _DISCARD:
            add_start(position := position + HEADER)
            add_end(position := position + header)
            position = (position + 7) & ~7
            continue
        if header & _BUSY:
            return Scan(Spans(starts, ends), position, len(ends), busy=True)
        begin, position = position, (position + (header & _LENGTH) + HEADER + 7) & ~7
    if position > stop:
        if header < _DISCARD:
            begin = starts[-1] - HEADER
        if position > available:
            fault = Fault(
                f"record of {header & _LENGTH} bytes where {available - begin} bytes wait"
            )
            return _but_from(begin, starts, ends, fault)
        if begin:
            return _but_from(begin, starts, ends)
    return Scan(Spans(starts, ends), position, len(ends))


# The records in front of a place.
def _but_from(place: int, starts: list[int], ends: list[int], fault: Fault | None = None) -> Scan:
    if starts and starts[-1] > place:
        starts.pop()
        ends.pop()
    return Scan(Spans(starts, ends), place, len(ends), fault=fault)
