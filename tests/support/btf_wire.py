"""BTF and code moved about as bytes, with nothing of `pyebpf.btf`: other ids, the other byte order.

Types of one BTF are records of whole 32-bit words; `_REFERENCES` says which words are ids.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.support import btf_builder as wire

__all__ = ["renumbered", "swapped_btf", "swapped_code"]

# By kind: fixed words behind the first three and words for each element, then which hold ids.
_SHAPES: dict[int, tuple[int, int, tuple[int, ...], tuple[int, ...]]] = {
    wire.INT: (1, 0, (), ()),
    wire.ARRAY: (3, 0, (3, 4), ()),
    wire.STRUCT: (0, 3, (), (1,)),
    wire.UNION: (0, 3, (), (1,)),
    wire.ENUM: (0, 2, (), ()),
    wire.FWD: (0, 0, (), ()),
    wire.FUNC: (0, 0, (2,), ()),
    wire.FUNC_PROTO: (0, 2, (2,), (1,)),
    wire.VAR: (1, 0, (2,), ()),
    wire.DATASEC: (0, 3, (), (0,)),
    wire.FLOAT: (0, 0, (), ()),
    wire.DECL_TAG: (1, 0, (2,), ()),
    wire.ENUM64: (0, 3, (), ()),
}
_REFERENCE = (0, 0, (2,), ())  # pointers, typedefs, qualifiers


def _split(data: bytes, order: str) -> tuple[bytes, list[list[int]], bytes]:
    # The header, the records, the strings; without a layout area.
    fields = struct.unpack_from(order + "HBBI4I", data)
    start, (place, length, names, size) = fields[3], fields[4:]
    words = list(struct.unpack_from(f"{order}{length // 4}I", data, start + place))
    records = []
    at = 0
    while at < len(words):
        kind, vlen = words[at + 1] >> 24 & 0x1F, words[at + 1] & 0xFFFF
        fixed, each, _, _ = _SHAPES.get(kind, _REFERENCE)
        end = at + 3 + fixed + (0 if kind == wire.FUNC else vlen * each)
        records.append(words[at:end])
        at = end
    return data[:start], records, data[start + names : start + names + size]


def _join(records: Sequence[Sequence[int]], strings: bytes, order: str) -> bytes:
    words = [word for record in records for word in record]
    types = struct.pack(f"{order}{len(words)}I", *words)
    sizes = (0, len(types), len(types), len(strings))
    return struct.pack(order + "HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + types + strings


def renumbered(data: bytes, ids: Sequence[int], byteorder: str = "little") -> bytes:
    """Return BTF in which type *n* is type ``ids[n - 1]``: a permutation of 1, 2, ..."""
    order = "<" if byteorder == "little" else ">"
    _, records, strings = _split(data, order)
    new_id = dict(enumerate(ids, 1))
    moved: list[list[int]] = [[]] * len(records)
    for number, record in enumerate(records, 1):
        _, each, fixed, inside = _SHAPES.get(record[1] >> 24 & 0x1F, _REFERENCE)
        places = list(fixed)
        for at in range(3, len(record), each) if inside else ():
            places += [at + place for place in inside]
        for place in places:
            record[place] = new_id.get(record[place], 0)
        moved[new_id[number] - 1] = record
    return _join(moved, strings, order)


def swapped_btf(data: bytes) -> bytes:
    """Return little-endian BTF as big-endian."""
    _, records, strings = _split(data, "<")
    return _join(records, strings, ">")


def swapped_code(code: bytes) -> bytes:
    """Return little-endian instructions as big-endian."""
    found = b""
    for opcode, registers, offset, immediate in struct.iter_unpack("<BBhi", code):
        swapped = registers >> 4 | registers << 4 & 0xF0
        found += struct.pack(">BBhi", opcode, swapped, offset, immediate)
    return found
