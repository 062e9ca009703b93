"""The base of structs: packing, unpacking, unions, bit-fields, and what it refuses."""

from __future__ import annotations

import copy
import struct
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyebpf.uapi.attrs import LinkCreateTracing, MapCreate, MapElem, ProgAttach, ProgLoad
from pyebpf.uapi.cstruct import (
    CStruct,
    Field,
    Pointer,
    array,
    bits,
    c_struct,
    chars,
    octets,
    padding,
    pointer,
    s64,
    u8,
    u16,
    u32,
    u64,
)
from pyebpf.uapi.info import LinkInfo, LinkInfoTracing, ProgInfo
from pyebpf.uapi.perf import PerfEventAttr
from tests.unit.uapi import declared

_RANGES = {
    "u8": (0, 0xFF),
    "u16": (0, 0xFFFF),
    "u32": (0, 0xFFFF_FFFF),
    "u64": (0, 0xFFFF_FFFF_FFFF_FFFF),
    "s32": (-(1 << 31), (1 << 31) - 1),
    "s64": (-(1 << 63), (1 << 63) - 1),
    "pointer": (1, 0xFFFF_FFFF_FFFF_FFFF),
}


@c_struct("sample")
class Sample(CStruct):
    """One field of each kind, with holes as C makes them."""

    small: int = u8()
    middle: int = u16()
    signed: int = s64()
    low: int = bits(3, unit="u32")
    high: int = bits(29, unit="u32")
    next_unit: int = bits(1, unit="u32")
    text: bytes = chars(5)
    raw: bytes = octets(3)
    numbers: Sequence[int] = array("u16", 3)
    gap: None = padding(2)
    address: Pointer = pointer()
    tail: int = u8()


def _no_buffers(value: object) -> int:
    raise AssertionError(f"{value!r} is no address")


def _values(field: Field) -> st.SearchStrategy[object]:
    if field.kind == "chars":
        return st.binary(max_size=field.size).map(lambda data: data.replace(b"\0", b"."))
    if field.kind == "octets":
        return st.binary(min_size=field.size, max_size=field.size)
    if field.kind == "array":
        element = st.integers(*_RANGES[field.element])
        return st.tuples(*[element] * field.count)
    if field.kind == "bits":
        return st.integers(0, (1 << field.bit_size) - 1)
    numbers = st.integers(*_RANGES[field.kind])
    return st.none() | numbers if field.kind == "pointer" else numbers


# Keywords for any object of the class: one field of each place, fitting all fields of that place.
@st.composite
def _keywords(draw: st.DrawFn, struct_class: type[CStruct]) -> dict[str, object]:
    places: dict[tuple[int, int], list[Field]] = {}
    for field in struct_class.FIELDS:
        places.setdefault((field.offset, field.bit_offset), []).append(field)
    chosen = {}
    for fields in places.values():
        field = draw(st.sampled_from(fields))
        if len(fields) > 1:
            low = max(_RANGES[other.kind][0] for other in fields)
            high = min(_RANGES[other.kind][1] for other in fields)
            chosen[field.name] = draw(st.integers(low, high))
        else:
            chosen[field.name] = draw(_values(field))
    return chosen


@pytest.mark.parametrize(
    "struct_class", [Sample, *declared.structs()], ids=lambda cls: cls.__name__
)
@settings(max_examples=20)  # of each of ninety structs
@given(data=st.data())
def test_unpacking_what_was_packed_gives_it_back(
    struct_class: type[CStruct], data: st.DataObject
) -> None:
    """``unpack(pack(x)) == x`` for every struct, also with bytes behind it; length is SIZE."""
    before = struct_class(**data.draw(_keywords(struct_class)))
    packed = before.pack(_no_buffers)
    assert (len(packed), type(packed)) == (struct_class.SIZE, bytearray)
    assert struct_class.unpack(packed) == before
    assert struct_class.unpack(bytes(packed) + b"newer") == before
    assert copy.copy(before) == before == copy.deepcopy(before)
    after = struct_class()
    after.unpack_into(packed)
    pointers = [field.name for field in struct_class.FIELDS if field.kind == "pointer"]
    assert all(getattr(after, name) in (None, 0) for name in pointers)


@given(st.binary(max_size=400))
def test_any_bytes_unpack(data: bytes) -> None:
    """Shorter buffers read as if zeros followed, and packing gives the bytes of the fields back."""
    for struct_class in (Sample, ProgInfo, PerfEventAttr, ProgLoad):
        once = struct_class.unpack(data)
        assert struct_class.unpack(once.pack(_no_buffers)) == once


def test_places_follow_from_c() -> None:
    """Natural alignment, bit-fields share a unit while they fit, the size is rounded up."""
    places = {field.name: (field.offset, field.size) for field in Sample.FIELDS}
    assert places == {
        "small": (0, 1),
        "middle": (2, 2),
        "signed": (8, 8),
        "low": (16, 4),
        "high": (16, 4),
        "next_unit": (20, 4),
        "text": (24, 5),
        "raw": (29, 3),
        "numbers": (32, 6),
        "address": (40, 8),
        "tail": (48, 1),
    }
    assert (Sample.SIZE, Sample.EXTENT, Sample.offset_of("tail")) == (56, 49, 48)


def test_packed_bytes_are_those_of_c() -> None:
    """An object with all kinds of fields, byte by byte."""
    sample = Sample(
        small=1, middle=2, signed=-3, low=5, high=1, next_unit=1, text=b"abc", raw=b"xyz",
        numbers=[7, 8, 9], address=0x1000, tail=255,
    )  # fmt: skip
    units = (5 | 1 << 3, 1) if sys.byteorder == "little" else (5 << 29 | 1, 1 << 31)
    expected = struct.pack(
        "=BxH4xqII5s3s3H2xQB7x", 1, 2, -3, *units, b"abc", b"xyz", 7, 8, 9, 0x1000, 255
    )
    assert sample.pack(_no_buffers) == expected


def test_missing_fields_are_zero() -> None:
    """What was not given reads as zero, empty or None, and packs to zeros."""
    sample = Sample()
    assert (sample.small, sample.text, sample.raw, sample.address) == (0, b"", bytes(3), None)
    assert (list(sample.numbers), sample.low) == ([0, 0, 0], 0)
    assert sample.pack(_no_buffers) == bytes(Sample.SIZE)


def test_buffers_become_addresses_only_when_packed() -> None:
    """A pointer keeps its buffer; packing asks for its address; unpack_into leaves it alone."""
    key, value = bytearray(b"key"), memoryview(b"value")
    seen = []

    def address(buffer: object) -> int:
        seen.append(buffer)
        return 0x1000 * len(seen)

    attr = MapElem(map_fd=3, key=key, value=value)
    packed = attr.pack(address)
    assert seen == [key, value]
    assert MapElem.unpack(packed) == MapElem(map_fd=3, key=0x1000, value=0x2000)
    struct.pack_into("=I", packed, 0, 9)
    attr.unpack_into(packed)
    assert (attr.map_fd, attr.key, attr.value) == (9, key, value)


def test_fields_at_one_place_share_their_value() -> None:
    """A C union: setting one sets the other, and both at once are refused."""
    attr = ProgAttach(target_ifindex=7)
    assert (attr.target_fd, attr.target_ifindex) == (7, 7)
    attr.target_fd = 8
    assert attr == ProgAttach(target_fd=8)
    assert repr(attr) == "ProgAttach(target_fd=8)"
    with pytest.raises(TypeError, match="target_ifindex and target_fd are one field"):
        ProgAttach(target_fd=1, target_ifindex=2)


def test_integer_and_pointer_at_one_place_have_each_their_zero() -> None:
    """A null union of both reads as 0 by one name and None by the other."""
    attr = PerfEventAttr.unpack(PerfEventAttr().pack(_no_buffers))
    assert (attr.bp_addr, attr.config1) == (0, None)
    assert attr == PerfEventAttr(bp_addr=0)


def test_a_derived_struct_goes_on_where_its_base_ends() -> None:
    """Arms share the front fields of the union's member, whichever class is used first."""
    assert LinkCreateTracing.FIELDS[-1].path == "link_create.tracing.cookie"
    assert LinkCreateTracing.FIELDS[0].path == "link_create.prog_fd"
    assert LinkInfo.FIELDS[-1].name == "prog_id"
    assert LinkInfoTracing(id=3, attach_type=4).pack(_no_buffers)[16] in (0, 4)
    assert LinkInfo.SIZE == LinkInfoTracing.SIZE == 64


@pytest.mark.parametrize("struct_class", declared.structs(), ids=lambda cls: cls.__name__)
def test_unknown_fields_are_refused(struct_class: type[CStruct]) -> None:
    """A misspelt keyword or attribute is an error at once."""
    with pytest.raises(TypeError, match=f"{struct_class.__name__} has no field 'no_such_field'"):
        struct_class(no_such_field=1)
    with pytest.raises(AttributeError, match="has no field 'no_such_field'"):
        struct_class().no_such_field = 1


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"middle": 65536}, ValueError, "Sample.middle: 65536 does not fit u16"),
        ({"small": -1}, ValueError, "Sample.small: -1 does not fit u8"),
        ({"small": "1"}, TypeError, "Sample.small takes an integer, not str"),
        ({"address": 1 << 64}, ValueError, "does not fit pointer"),
        ({"text": b"abcdef"}, ValueError, "Sample.text takes 5 bytes, not 6"),
        ({"text": "abc"}, TypeError, "Sample.text takes bytes, not str"),
        ({"raw": b"ab"}, ValueError, "Sample.raw takes 3 bytes, not 2"),
        ({"numbers": (1, 2)}, ValueError, "Sample.numbers takes 3 numbers, not 2"),
        ({"numbers": (1, 2, -1)}, ValueError, "Sample.numbers"),
        ({"low": 8}, ValueError, "Sample.low: 8 is not 0 to 7"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_values_that_do_not_fit_are_refused(
    values: dict[str, object], error: type[Exception], text: str
) -> None:
    """Nothing is cut silently; the message names struct, field and value."""
    with pytest.raises(error, match=text):
        Sample(**values).pack(_no_buffers)


def test_text_ends_at_nul_when_read() -> None:
    """Names come without their padding; fixed bytes whole."""
    info = ProgInfo.unpack(struct.pack("=II8s", 6, 1, b"\x01\0tag\0\0\0").ljust(232, b"\0"))
    assert (info.tag, info.name) == (b"\x01\0tag\0\0\0", b"")
    assert MapCreate.unpack(bytes(28) + b"ab\0cd").map_name == b"ab"


def test_overlapping_fields_are_a_mistake_of_the_declaration() -> None:
    """Only fields of exactly one place may share it."""

    @c_struct("wrong")
    class Wrong(CStruct):
        """Half of one field is another."""

        whole: int = u64()
        half: int = u32(at=4)

    with pytest.raises(TypeError, match="half overlaps"):
        Wrong()._TABLE  # noqa: B018


def test_structs_differ_by_class_and_value() -> None:
    """Equal means same class, same values; they cannot be hashed."""
    assert MapElem(map_fd=1) != MapElem(map_fd=2)
    assert MapElem() != MapCreate()
    assert MapElem(flags=0) == MapElem()
    with pytest.raises(TypeError, match="unhashable"):
        hash(MapElem())
