r"""The wire format of BTF, read: the header on arrival, single types when asked for.

    | header                                | types           | [layout]    | strings        |
    | u16 magic 0xEB9F (sets the byte order)| u32 name_off    | u8 info_sz  | \0int\0pid\0…  |
    | u8 version 1, u8 flags, u32 hdr_len   | u32 info        | u8 elem_sz  |                |
    | u32 type_off type_len str_off str_len | u32 size or type| u16 flags   |                |
    | [u32 layout_off layout_len]  (2026)   | more, by kind   | one per kind|                |

Offsets count from the end of the header. ``info`` is kind_flag << 31 | kind << 24 | vlen; kind has
7 and vlen 24 bits in the widest form, and the bits beyond 5 and 16 are zero in the classic one, so
reading wide reads both. Everything in the type area is a 32-bit word, in any byte order, so the
area becomes one sequence of native words (a view where the order is the machine's, else a swapped
copy) and a place in it is an index of words.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
from mmap import mmap

from pyebpf.btf.types import (
    Array,
    Const,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Opaque,
    Param,
    Ptr,
    Restrict,
    SectionVariable,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from pyebpf.errors import BtfError
from pyebpf.typed import Literal, NamedTuple
from pyebpf.uapi.btf import BTF_MAGIC, BtfKind

__all__ = [
    "ByteOrder", "Header", "inflate", "read_header", "read_layout", "type_bytes", "type_words",
]  # fmt: skip

ByteOrder = Literal["little", "big"]

_CLASSIC_HEADER = 24
_LAYOUT_HEADER = 32


class Header(NamedTuple):
    """Where the areas of a BTF blob are, as absolute byte ranges."""

    byteorder: ByteOrder
    types: tuple[int, int]
    strings: tuple[int, int]
    layout: tuple[int, int]


def read_header(data: bytes | mmap) -> Header:
    """Check the header of *data* and return where its areas are.

    Raises:
        BtfError: Not BTF, or an area outside the data.
    """
    if len(data) < _CLASSIC_HEADER:
        raise BtfError(f"{len(data)} bytes are too few for a BTF header")
    byteorder: ByteOrder = "little"
    if data[:2] == BTF_MAGIC.to_bytes(2, "big"):
        byteorder = "big"
    elif data[:2] != BTF_MAGIC.to_bytes(2, "little"):
        raise BtfError(f"no BTF magic, found 0x{data[:2].hex()}", "offset 0x0")
    order = "<" if byteorder == "little" else ">"
    # The version is the kernel's to judge: libbpf does not look at it either.
    (length,) = struct.unpack_from(order + "I", data, 4)
    if not _CLASSIC_HEADER <= length <= len(data):
        raise BtfError(f"header length {length}", "offset 0x4")
    known = _CLASSIC_HEADER
    type_off, type_len, str_off, str_len = struct.unpack_from(order + "4I", data, 8)
    layout_off = layout_len = 0
    if length >= _LAYOUT_HEADER:
        layout_off, layout_len = struct.unpack_from(order + "2I", data, _CLASSIC_HEADER)
        known = _LAYOUT_HEADER
    if any(data[known:length]):
        raise BtfError("header has fields newer than this library", f"offset 0x{known:x}")
    ranges = []
    areas = (("type", type_off, type_len), ("string", str_off, str_len))
    for name, offset, size in (*areas, ("layout", layout_off, layout_len)):
        if length + offset + size > len(data):
            raise BtfError(f"{name} area ends at {length + offset + size} of {len(data)} bytes")
        ranges.append((length + offset, length + offset + size))
    if type_len % 4 or layout_len % 4:
        raise BtfError("length of the type or layout area is not a multiple of 4")
    return Header(byteorder, *ranges)


def type_words(data: bytes | mmap, header: Header) -> memoryview:
    """Return the type area of *data* as native words; a copy only in foreign byte order."""
    start, end = header.types
    view = memoryview(data)[start:end]
    if header.byteorder == sys.byteorder:
        return view.cast("I")
    swapped = array("I", bytes(view))
    swapped.byteswap()
    return memoryview(swapped)


def type_bytes(data: bytes | mmap, header: Header, number: int) -> bytes:
    """Return of every word of the type area one byte, counted from the lowest."""
    start, end = header.types
    return data[start + (number if header.byteorder == "little" else 3 - number) : end : 4]


def read_layout(data: bytes | mmap, header: Header) -> list[tuple[int, int]]:
    """Return ``(info_sz, elem_sz)`` by kind from the layout area; empty if there is none."""
    start, end = header.layout
    order = "<" if header.byteorder == "little" else ">"
    return [
        (info, element) for info, element, _ in struct.iter_unpack(order + "BBH", data[start:end])
    ]


# ---- one type ---------------------------------------------------------------------------------
# Each function gets the words behind the common three, and those three taken apart.


class _Raw(NamedTuple):
    name: str
    info: int
    value: int  # size or type
    extra: list[int]  # what follows
    string: Callable[[int], str]

    @property
    def kflag(self) -> bool:
        return bool(self.info >> 31)


def _int(raw: _Raw) -> Int:
    extra = raw.extra[0]
    # Encoding has 4 bits; the kernel refuses more.
    return Int(raw.name, raw.value, extra >> 24 & 0xF, extra & 0xFF, extra >> 16 & 0xFF)


def _array(raw: _Raw) -> Array:
    return Array(*raw.extra)


def _members(raw: _Raw) -> tuple[Member, ...]:
    extra, string = raw.extra, raw.string
    if raw.kflag:
        return tuple(
            Member(string(extra[i]), extra[i + 1], extra[i + 2] & 0xFFFFFF, extra[i + 2] >> 24)
            for i in range(0, len(extra), 3)
        )
    return tuple(
        Member(string(extra[i]), extra[i + 1], extra[i + 2], 0) for i in range(0, len(extra), 3)
    )


def _struct(raw: _Raw) -> Struct:
    return Struct(raw.name, raw.value, _members(raw), raw.kflag)


def _union(raw: _Raw) -> Union:
    return Union(raw.name, raw.value, _members(raw), raw.kflag)


def _enum(raw: _Raw) -> Enum:
    # Only clang 15 and pahole 1.24 (Linux 6.0) began to set kind_flag; before, a negative value
    # cannot be told from a large one and reads as large, as in libbpf and the kernel.
    sign = 1 << 31 if raw.kflag else 0
    values = tuple(
        Enumerator(raw.string(name), (value ^ sign) - sign)
        for name, value in zip(raw.extra[::2], raw.extra[1::2], strict=True)
    )
    return Enum(raw.name, raw.value, raw.kflag, values)


def _enum64(raw: _Raw) -> Enum64:
    sign = 1 << 63 if raw.kflag else 0
    values = tuple(
        Enumerator(raw.string(name), ((high << 32 | low) ^ sign) - sign)
        for name, low, high in zip(raw.extra[::3], raw.extra[1::3], raw.extra[2::3], strict=True)
    )
    return Enum64(raw.name, raw.value, raw.kflag, values)


def _func_proto(raw: _Raw) -> FuncProto:
    pairs = zip(raw.extra[::2], raw.extra[1::2], strict=True)
    return FuncProto(raw.value, tuple(Param(raw.string(name), type_) for name, type_ in pairs))


def _datasec(raw: _Raw) -> Datasec:
    triples = zip(raw.extra[::3], raw.extra[1::3], raw.extra[2::3], strict=True)
    return Datasec(raw.name, raw.value, tuple(SectionVariable(*triple) for triple in triples))


def _decl_tag(raw: _Raw) -> DeclTag:
    component = raw.extra[0]
    signed = component - (1 << 32) if component >> 31 else component
    return DeclTag(raw.name, raw.value, signed, raw.kflag)


_INFLATE: dict[int, Callable[[_Raw], Type]] = {
    BtfKind.INT: _int,
    BtfKind.PTR: lambda raw: Ptr(raw.value),
    BtfKind.ARRAY: _array,
    BtfKind.STRUCT: _struct,
    BtfKind.UNION: _union,
    BtfKind.ENUM: _enum,
    BtfKind.FWD: lambda raw: Fwd(raw.name, raw.kflag),
    BtfKind.TYPEDEF: lambda raw: Typedef(raw.name, raw.value),
    BtfKind.VOLATILE: lambda raw: Volatile(raw.value),
    BtfKind.CONST: lambda raw: Const(raw.value),
    BtfKind.RESTRICT: lambda raw: Restrict(raw.value),
    BtfKind.FUNC: lambda raw: Func(raw.name, raw.value, raw.info & 0xFFFFFF),
    BtfKind.FUNC_PROTO: _func_proto,
    BtfKind.VAR: lambda raw: Var(raw.name, raw.value, raw.extra[0]),
    BtfKind.DATASEC: _datasec,
    BtfKind.FLOAT: lambda raw: Float(raw.name, raw.value),
    BtfKind.DECL_TAG: _decl_tag,
    BtfKind.TYPE_TAG: lambda raw: TypeTag(raw.name, raw.value, raw.kflag),
    BtfKind.ENUM64: _enum64,
}


def inflate(words: memoryview, start: int, end: int, string: Callable[[int], str]) -> Type:
    """Make the object for the type that takes *words* from *start* up to *end*.

    Args:
        words: The type area.
        start: Its place, from `pyebpf.btf.places`.
        end: The next type's place.
        string: Looks a string offset up.

    Raises:
        BtfError: A name outside the strings.
    """
    name_off, info, value, *extra = words[start:end].tolist()
    kind = info >> 24 & 0x7F
    make = _INFLATE.get(kind)
    if make is None:
        return Opaque(string(name_off), kind, info, value, tuple(extra))
    return make(_Raw(string(name_off), info, value, extra, string))
