"""A 64-bit load filled in, as the assembler reads it."""

from __future__ import annotations

import sys

import pytest

from pyebpf.loader.patch import load_64

LITTLE = sys.byteorder == "little"


@pytest.mark.parametrize(
    ("source", "low", "high", "expected"),
    [
        (1, 5, 0, (1, 5, 0)),
        (2, 5, 0x1234, (2, 5, 0x1234)),
        (0, 0xFFFFFFFF81000000, 0xFFFFFFFF81000000 >> 32, (0, 0x81000000, 0xFFFFFFFF)),
        (15, -1, 1 << 40, (15, 0xFFFFFFFF, 0)),
    ],
    ids=["map", "value", "address", "cut"],
)
def test_source_and_immediates_are_set_and_nothing_else(source, low, high, expected):
    """The destination, the offset and the neighbours stay as they are."""
    code = bytearray(range(1, 33))
    before = bytes(code)
    code[9] = 0x73 if LITTLE else 0x37  # destination 3, source 7
    load_64(code, 1, source, low, high)
    at = 8
    number = int.from_bytes(code[at + 1 : at + 2], sys.byteorder)
    assert (number & 15, number >> 4) == ((3, source) if LITTLE else (source, 3))
    immediates = [int.from_bytes(code[start : start + 4], sys.byteorder) for start in (12, 20)]
    assert (source, *immediates) == expected
    kept = [*range(9), 10, 11, *range(16, 20), *range(24, 32)]
    assert [code[each] for each in kept] == [before[each] for each in kept]
