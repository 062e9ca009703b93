"""The wire format of BTF, read: headers, both byte orders, every kind, and what is malformed."""

from __future__ import annotations

import struct

import pytest

from pyebpf.btf.btf import Btf
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
    Void,
    Volatile,
)
from pyebpf.errors import BtfError
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder

ORDERS = ("little", "big")


def every_kind(builder: BtfBuilder) -> list[Type]:
    """Add one type of each kind; return what they must read as."""
    builder.int("int", 4, wire.SIGNED)
    builder.ptr(1)
    builder.array(1, 7)
    builder.struct("s", 8, ("a", 1, 0), ("", 5, 32))
    builder.union("u", 4, ("x", 1, 0))
    builder.enum("e", {"A": 1, "B": 0xFFFFFFFF})
    builder.add(wire.FWD, "f", kflag=True)
    builder.typedef("t", 1)
    builder.add(wire.VOLATILE, "", 1)
    builder.add(wire.CONST, "", 1)
    builder.add(wire.RESTRICT, "", 2)
    builder.func("fn", 13, 2)
    builder.func_proto(1, ("p", 2), ("", 0))
    builder.var("v", 1, 1)
    builder.datasec(".data", 12, (14, 4, 8))
    builder.add(wire.FLOAT, "double", 8)
    builder.add(wire.DECL_TAG, "tag", 4, -1)
    builder.add(wire.TYPE_TAG, "user", 1)
    builder.enum64("e64", {"BIG": 1 << 40, "MINUS": -2}, signed=True)
    builder.struct("bits", 4, ("b", 1, 3, 5), ("c", 1, 8, 0))
    return [
        Void(),
        Int("int", 4, 1, 32, 0),
        Ptr(1),
        Array(1, 1, 7),
        Struct("s", 8, (Member("a", 1, 0, 0), Member("", 5, 32, 0))),
        Union("u", 4, (Member("x", 1, 0, 0),)),
        Enum("e", 4, False, (Enumerator("A", 1), Enumerator("B", 0xFFFFFFFF))),
        Fwd("f", True),
        Typedef("t", 1),
        Volatile(1),
        Const(1),
        Restrict(2),
        Func("fn", 13, 2),
        FuncProto(1, (Param("p", 2), Param("", 0))),
        Var("v", 1, 1),
        Datasec(".data", 12, (SectionVariable(14, 4, 8),)),
        Float("double", 8),
        DeclTag("tag", 4, -1),
        TypeTag("user", 1),
        Enum64("e64", 8, True, (Enumerator("BIG", 1 << 40), Enumerator("MINUS", -2))),
        Struct("bits", 4, (Member("b", 1, 3, 5), Member("c", 1, 8, 0)), True),
    ]


@pytest.mark.parametrize("byteorder", ORDERS)
def test_every_kind_reads_as_written(byteorder: str) -> None:
    """Fields of all nineteen kinds, in both byte orders."""
    builder = BtfBuilder(byteorder)
    expected = every_kind(builder)
    btf = Btf.decode(builder.build())
    assert btf.byteorder == byteorder
    assert [btf.type(number) for number in range(len(btf))] == expected


@pytest.mark.parametrize("byteorder", ORDERS)
def test_a_longer_header_reads_alike(byteorder: str) -> None:
    """Header fields newer than us are fine as long as they are zero."""
    builder = BtfBuilder(byteorder)
    expected = every_kind(builder)
    for length in (28, 32, 40):
        btf = Btf.decode(builder.build(header=length))
        assert [btf.type(number) for number in range(len(btf))] == expected


def test_unknown_kinds_are_skipped_by_the_layout() -> None:
    """A kind newer than us is opaque where the file says how long it is; its vlen is wide."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.add(100, "new", 5, 1, 2, 3, 4, 5, vlen=4)
    builder.int("last", 8)
    layout = [(0, 0)] * 100 + [(4, 4)]
    btf = Btf.decode(builder.build(layout=layout))
    assert btf.type(2) == Opaque("new", 100, 100 << 24 | 4, 5, (1, 2, 3, 4, 5))
    assert btf.type(3) == Int("last", 8)


def test_vlen_has_24_bits() -> None:
    """More than 65535 members fit the widest form of info."""
    builder = BtfBuilder()
    builder.int("int", 4)
    count = 70_000
    builder.add(wire.ENUM, "huge", 4, *([0, 1] * count), vlen=count)
    btf = Btf.decode(builder.build())
    found = btf.type(2)
    assert isinstance(found, Enum)
    assert len(found.values) == count


def test_enum_values_have_the_sign_their_flag_says() -> None:
    """kind_flag alone makes 32-bit values negative."""
    builder = BtfBuilder()
    builder.enum("plain", {"A": -1})
    builder.enum("signed", {"A": -1}, signed=True)
    btf = Btf.decode(builder.build())
    values = [btf.type(number).values[0].value for number in (1, 2)]  # type: ignore[attr-defined]
    assert values == [0xFFFFFFFF, -1]


GOOD = BtfBuilder()
GOOD.int("int", 4)
BLOB = GOOD.build()


def patched(offset: int, layout: str, *values: int) -> bytes:
    data = bytearray(BLOB)
    struct.pack_into("<" + layout, data, offset, *values)
    return bytes(data)


MALFORMED = {
    "empty": b"",
    "short": BLOB[:23],
    "magic": b"\0" + BLOB[1:],
    "header too short": patched(4, "I", 23),
    "header too long": patched(4, "I", 1 << 30),
    "types outside": patched(8, "I", 1 << 31),
    "types too long": patched(12, "I", 1 << 31),
    "types not whole words": patched(12, "I", 15),
    "strings outside": patched(16, "I", 1 << 31),
    "strings too long": patched(20, "I", 1 << 31),
    "no strings": patched(20, "I", 0),
    "strings not terminated": BLOB[:-1] + b"x",
    "strings without the empty one": BLOB[:40] + b"x" + BLOB[41:],
    "layout outside": GOOD.build(header=32)[:30] + b"\1\0" + GOOD.build(header=32)[32:],
    "newer header fields": GOOD.build(header=40)[:39] + b"\1" + GOOD.build(header=40)[40:],
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_header_is_a_btf_error(data: bytes) -> None:
    """Nothing but BtfError comes out of a bad header."""
    with pytest.raises(BtfError):
        Btf.decode(data)


BAD_TYPES = {
    "unknown kind": ((31, "x"), "unknown kind 31"),
    "kind 0": ((0, ""), "unknown kind 0"),
    "int without its word": ((wire.INT, "x", 4), "ends outside"),
    "more members than bytes": ((wire.STRUCT, "x", 4), "ends outside"),
}


@pytest.mark.parametrize(("arguments", "text"), BAD_TYPES.values(), ids=BAD_TYPES)
def test_a_malformed_type_area_names_the_type(arguments: tuple, text: str) -> None:
    """The error says which type is wrong, however late it is looked at."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.add(*arguments, vlen=3)
    btf = Btf.decode(builder.build())
    with pytest.raises(BtfError, match=text) as caught:
        len(btf)
    assert caught.value.where.startswith("type 2")


def test_a_cut_off_type_is_an_error() -> None:
    """The last type's common words may be missing too."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.types += bytes(4)
    with pytest.raises(BtfError, match="ends outside"):
        len(Btf.decode(builder.build()))


def test_a_name_outside_the_strings_names_the_type() -> None:
    """Strings are looked up when the type is, and not before."""
    builder = BtfBuilder()
    builder.add(wire.FLOAT, 1 << 20, 4)
    btf = Btf.decode(builder.build())
    assert len(btf) == 2
    with pytest.raises(BtfError, match="string offset 0x100000") as caught:
        btf.type(1)
    assert caught.value.where == "type 1, offset 0x0"


def test_layouts_in_odd_sizes_are_refused() -> None:
    """An unknown kind that is not in whole words cannot be skipped."""
    builder = BtfBuilder()
    builder.add(21, "odd", vlen=1)
    builder.types += bytes(8)
    with pytest.raises(BtfError, match="whole words"):
        len(Btf.decode(builder.build(layout=[(0, 0)] * 21 + [(3, 4)])))


def test_types_are_found_across_pieces_of_the_index() -> None:
    """Small ones on both sides of a border, and one larger than a piece."""
    builder = BtfBuilder()
    number = builder.int("int", 4, 1)
    expected = {f"small{n}": builder.typedef(f"small{n}", number) for n in range(6000)}
    members = [("m", number, 0)] * 6000
    expected |= {f"large{n}": builder.struct(f"large{n}", 4, *members) for n in range(2)}
    expected["last"] = builder.typedef("last", number)
    btf = Btf.decode(builder.build())
    for name in ("small0", "small5461", "small5462", "small5999", "large0", "large1", "last"):
        assert btf.ids(name) == [expected[name]]
        assert btf.type(expected[name]).name == name
    assert len(btf) == len(expected) + 2
