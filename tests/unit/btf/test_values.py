"""Values: records as tuples, what encoding refuses, and types without values."""

from __future__ import annotations

import copy
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf.btf import Btf
from pyebpf.btf.records import Record
from pyebpf.btf.values import codec, record_codec
from pyebpf.errors import BtfError
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder


def sample(byteorder: str = "little") -> tuple[Btf, dict[str, int]]:
    builder = BtfBuilder(byteorder)
    ids = {"int": builder.int("int", 4, wire.SIGNED), "u32": builder.int("unsigned int", 4)}
    ids["char"] = builder.int("char", 1, wire.SIGNED)
    ids["u8"] = builder.int("unsigned char", 1)
    ids["bool"] = builder.int("_Bool", 1, wire.BOOL)
    ids["comm"] = builder.array(ids["char"], 8)
    ids["mac"] = builder.array(ids["u8"], 6)
    ids["enum"] = builder.enum("state", {"RUN": 1, "STOP": 2})
    ids["point"] = builder.struct("point", 8, ("x", ids["int"], 0), ("y", ids["int"], 32))
    ids["event"] = builder.struct(
        "event",
        40,
        ("pid", ids["u32"], 0),
        ("comm", ids["comm"], 32),
        ("state", ids["enum"], 96),
        ("where", ids["point"], 128),
        ("path", builder.array(ids["point"], 2), 192),
    )
    ids["ints"] = builder.array(ids["int"], 3)
    ids["float"] = builder.add(wire.FLOAT, "float", 4)
    ids["double"] = builder.add(wire.FLOAT, "double", 8)
    ids["long double"] = builder.add(wire.FLOAT, "long double", 16)
    ids["pointer"] = builder.ptr(0)
    ids["int128"] = builder.int("__int128", 16, wire.SIGNED)
    ids["bits"] = builder.struct("bits", 4, ("a", ids["u32"], 0, 3))
    ids["named"] = builder.typedef("named", builder.struct("", 4, ("a", ids["int"], 0)))
    ids["constant"] = builder.add(wire.CONST, "", ids["named"])
    return Btf.decode(builder.build()), ids


BTF, IDS = sample()
EVENT = record_codec(BTF, "event")
POINT = record_codec(BTF, "point")


def event(**values: object) -> Record:
    return EVENT.record(**values)


def test_a_record_has_its_fields_by_name_and_place() -> None:
    """As a named tuple has; what is left out is zero."""
    made = event(pid=7, comm="bash", state="RUN", where={"x": -1}, path=[(1, 2), (3, 4)])
    assert (made.pid, made.comm, made.state, made.where, made.path) == tuple(made)
    assert (made[0], made[-1], made[1:3]) == (7, ((1, 2), (3, 4)), ("bash", 1))
    assert made._fields == ("pid", "comm", "state", "where", "path")
    assert made._asdict() == dict(zip(made._fields, made, strict=True))
    assert len(made) == len(list(made)) == 5
    assert "bash" in made
    assert event() == (0, "", 0, (0, 0), ((0, 0), (0, 0)))


def test_a_record_reads_like_its_struct() -> None:
    """The C name, the fields, the enumerator's name."""
    made = event(pid=7, comm="bash", state=1)
    assert repr(made) == (
        "event(pid=7, comm='bash', state=RUN, where=point(x=0, y=0), "
        "path=(point(x=0, y=0), point(x=0, y=0)))"
    )
    assert str(made.state) == "RUN"


def test_records_compare_and_hash_by_their_values() -> None:
    """What is behind the zero of a text does not count, and plain tuples are as good."""
    data = bytearray(EVENT.encode(event(pid=1, comm="a")))
    clean = EVENT.decode(data)
    data[10] = 0xFF
    dirty = EVENT.decode(data)
    assert clean == dirty == tuple(dirty)  # type: ignore[arg-type]
    assert not clean != dirty  # noqa: SIM202  both operators
    assert hash(clean) == hash(dirty)
    assert event(pid=1) < event(pid=2) <= event(pid=2)
    assert event(pid=3) > event(pid=2) >= event(pid=2)
    assert event(pid=1) != 1
    point: Any = POINT.record
    assert {point(x=1): "a"}[(1, 0)] == "a"


def test_a_record_can_be_changed_into_another() -> None:
    """It is immutable itself; a copy of it is itself."""
    made = event(pid=7, comm="bash")
    assert made._replace(pid=8) == event(pid=8, comm="bash")
    assert made.pid == 7
    assert copy.copy(made) is copy.deepcopy(made) is made
    with pytest.raises(AttributeError):
        made.pid = 9
    with pytest.raises(AttributeError, match="event has no field 'nope'"):
        _ = made.nope


def test_records_match_patterns() -> None:
    """Fields by place in a class pattern."""
    point: Any = POINT.record
    match point(x=1, y=2):
        case point(1, 2):
            pass
        case _:
            pytest.fail("no match")


def test_a_plain_record_is_a_plain_tuple() -> None:
    """No Python code between its fields and whoever unpacks it."""
    made = POINT.decode(struct.pack("<2i", 3, -4))
    assert isinstance(made, Record)
    x, y = made
    assert (x, y, made.x, made.y) == (3, -4, 3, -4)
    assert type(made).__iter__ is tuple.__iter__
    assert type(made).__getitem__ is tuple.__getitem__


def test_a_block_of_records_can_be_unpacked_at_once() -> None:
    """What readers need for speed: the struct and the class."""
    data = b"".join(POINT.encode((n, -n)) for n in range(4))
    made = [tuple.__new__(POINT.record, raw) for raw in POINT.layout.struct.iter_unpack(data)]
    assert made == [(n, -n) for n in range(4)]
    assert made[1].y == -1


def test_bytes_behind_a_value_are_ignored_and_missing_ones_counted() -> None:
    """Perf pads records; a short one is an error with both sizes."""
    data = EVENT.encode({"pid": 5})
    assert EVENT.decode(data + b"padding") == EVENT.decode(memoryview(data)) == event(pid=5)
    with pytest.raises(BtfError, match="struct event takes 40 bytes, not 39"):
        EVENT.decode(data[:-1])
    with pytest.raises(BtfError, match="int takes 4 bytes, not 0"):
        codec(BTF, IDS["int"]).decode(b"")


def test_encoding_accepts_what_stands_for_the_record() -> None:
    """Its own kind, another BTF's, mappings, sequences, raw bytes."""
    made = event(pid=7, comm="bash", where=(1, 2))
    wanted = EVENT.encode(made)
    other = record_codec(sample()[0], "event")
    assert other.encode(made) == wanted
    assert EVENT.encode(made._asdict()) == wanted
    assert EVENT.encode(list(made)) == EVENT.encode(tuple(made)) == wanted
    assert EVENT.encode(wanted) == EVENT.encode(bytearray(wanted)) == wanted
    big = record_codec(sample("big")[0], "event")
    assert big.decode(big.encode(made)) == made
    assert big.encode(made) != wanted


REFUSED = {
    "too large": ("int", 1 << 31, ValueError, "does not fit int"),
    "negative": ("u32", -1, ValueError, "does not fit unsigned int"),
    "text for a number": ("int", "1", TypeError, "integer"),
    "float for a number": ("int", 1.5, TypeError, "integer"),
    "unknown enumerator": ("enum", "WALK", ValueError, "enum state has no 'WALK'"),
    "long text": ("comm", "123456789", ValueError, "takes 8 bytes, not 9"),
    "number for text": ("comm", 5, TypeError, "takes str or bytes"),
    "short bytes": ("mac", b"12345", ValueError, "takes 6 bytes, not 5"),
    "number for bytes": ("mac", 6, TypeError, "takes bytes, not int"),
    "text for bytes": ("mac", "123456", TypeError, "takes bytes, not str"),
    "short array": ("ints", [1, 2], ValueError, "takes 3 elements, not 2"),
    "short raw array": ("ints", b"1234", ValueError, "takes 12 bytes, not 4"),
    "bad element": ("ints", [1, 2, 1 << 40], ValueError, "does not fit int"),
    "unknown field": ("event", {"nope": 1}, TypeError, "no field 'nope'"),
    "bad field": ("event", {"pid": -1}, ValueError, "field 'pid': -1 does not fit"),
    "deep bad field": ("event", {"where": {"x": "a"}}, TypeError, "field 'where': field 'x'"),
    "short tuple": ("point", (1,), ValueError, "takes 2 fields, not 1"),
    "number for a record": ("point", 5, TypeError, "takes a record"),
    "short raw record": ("point", b"123", ValueError, "takes 8 bytes, not 3"),
    "too large for 128 bits": ("int128", 1 << 127, ValueError, "does not fit __int128"),
    "too large for a bit-field": ("bits", {"a": 8}, ValueError, "does not fit 3 bits of unsigned"),
    "negative pointer": ("pointer", -1, ValueError, "does not fit"),
    "text for a float": ("float", "x", ValueError, "float"),
}


@pytest.mark.parametrize(("name", "value", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_values_that_do_not_fit_are_refused(
    name: str, value: object, error: type[Exception], text: str
) -> None:
    """A programming error, with the type and the value in its text."""
    with pytest.raises(error, match=text):
        codec(BTF, IDS[name]).encode(value)


def test_scalars_are_python_s() -> None:
    """Each kind its own type."""
    values = {"int": -5, "u32": 5, "char": 65, "bool": True, "float": 0.5, "double": math.pi}
    for name, value in values.items():
        one = codec(BTF, IDS[name])
        assert one.decode(one.encode(value)) == value
        assert type(one.decode(one.encode(value))) is type(value)
    assert codec(BTF, IDS["pointer"]).decode(b"\1" * 8) == 0x0101010101010101
    assert codec(BTF, IDS["long double"]).decode(b"x" * 16) == b"x" * 16


def test_texts_and_arrays_take_raw_bytes() -> None:
    """As they are; shorter texts are filled up."""
    assert codec(BTF, IDS["comm"]).encode(b"\xff") == b"\xff" + bytes(7)
    assert codec(BTF, IDS["ints"]).encode(bytes(range(12))) == bytes(range(12))


def test_anonymous_structs_are_called_as_their_typedef() -> None:
    """Behind a qualifier too."""
    assert repr(codec(BTF, IDS["constant"]).decode(bytes(4))) == "named(a=0)"
    assert repr(codec(BTF, IDS["constant"])) == "<Codec const named, 4 bytes>"


def test_enums_take_names_and_keep_unknown_values() -> None:
    """A newer kernel's value is a number."""
    one = codec(BTF, IDS["enum"])
    assert one.encode("STOP") == one.encode(2) == b"\2\0\0\0"
    assert repr(one.decode(b"\2\0\0\0")) == "STOP"
    assert type(one.decode(b"\7\0\0\0")) is int


def test_an_enum_python_cannot_make_gives_numbers() -> None:
    """Some names Python keeps for itself."""
    builder = BtfBuilder()
    builder.enum("e", {"mro": 1, "_x_": 2})
    assert codec(Btf.decode(builder.build()), 1).decode(b"\1\0\0\0") == 1


def test_an_enum_of_odd_size_is_malformed() -> None:
    """No machine has integers of three bytes."""
    builder = BtfBuilder()
    builder.enum("e", {"A": 1}, size=3)
    with pytest.raises(BtfError, match="enum e has 3 bytes"):
        codec(Btf.decode(builder.build()), 1)


def test_fields_may_be_called_anything() -> None:
    """Names of tuple's own methods, Python's keywords, what records need themselves."""
    builder = BtfBuilder()
    builder.int("int", 4)
    names = ["count", "index", "class", "_fields", "__len__", "__class__", "a b", "\udcff"]
    builder.struct("odd", 32, *((name, 1, number * 32) for number, name in enumerate(names)))
    made = codec(Btf.decode(builder.build()), 2).decode(struct.pack("<8I", *range(8)))
    assert isinstance(made, Record)
    assert made._asdict() == {name: number for number, name in enumerate(names)}
    assert (made.count, made.index, getattr(made, "class")) == (0, 1, 2)
    assert len(made) == 8


def test_a_type_of_no_values_says_so() -> None:
    """void, functions, forward declarations."""
    builder = BtfBuilder()
    proto = builder.func_proto(0)
    ids = [0, proto, builder.func("f", proto), builder.add(wire.FWD, "x")]
    btf = Btf.decode(builder.build())
    for number in ids:
        with pytest.raises(BtfError, match="has no values"):
            codec(btf, number)


def test_a_dropped_type_says_how_to_keep_it() -> None:
    """Compilers leave out what nothing refers to."""
    with pytest.raises(BtfError, match=r"struct gone \*unused __attribute__"):
        record_codec(BTF, "gone")


def test_names_of_several_types_are_refused_if_they_differ() -> None:
    """By size; a typedef of the struct is the same."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.struct("s", 4, ("a", 1, 0))
    builder.typedef("s", 2)
    assert record_codec(Btf.decode(builder.build()), "s").size == 4
    builder.struct("s", 8, ("a", 1, 0))
    with pytest.raises(BtfError, match="3 different types"):
        record_codec(Btf.decode(builder.build()), "s")


def test_sections_are_records_of_their_variables() -> None:
    """What the only value of a data map is; a variable has its type's values."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.var("a", 1)
    builder.var("b", 1)
    builder.datasec(".data", 12, (2, 0, 4), (3, 8, 4))
    btf = Btf.decode(builder.build())
    assert codec(btf, 4).decode(struct.pack("<3i", 1, 9, -2)) == (1, -2)
    assert codec(btf, 2).decode(b"\5\0\0\0") == 5


def test_padding_bits_are_no_field() -> None:
    """A member without a name that is not a struct."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.struct("s", 4, ("", 1, 0, 3), ("a", 1, 3, 5))
    assert codec(Btf.decode(builder.build()), 2).decode(b"\xff\0\0\0") == (31,)


def test_bit_fields_of_old_pahole_are_bit_fields() -> None:
    """Their width is in the integer's type."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    narrow = builder.int("int", 4, wire.SIGNED, 3, 5)
    builder.struct("s", 4, ("a", narrow, 0), ("b", narrow, 8))
    made = codec(Btf.decode(builder.build()), 3).decode(struct.pack("<I", 7 << 5 | 3 << 13))
    assert made == (-1, 3)


MALFORMED = {
    "holds itself": [("a", 2, 0)],
    "ends outside": [("a", 1, 96)],
    "in the middle of a byte": [("a", 1, 3)],
    "bit-field of a struct": [("a", 3, 0, 4)],
    "bit-field outside": [("a", 1, 120, 16)],
}


@pytest.mark.parametrize("members", MALFORMED.values(), ids=MALFORMED)
def test_malformed_structs_are_btf_errors(members: list[tuple]) -> None:
    """Nothing else, and at once."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.struct("s", 8, *members)
    builder.struct("empty", 0)
    with pytest.raises(BtfError):
        codec(Btf.decode(builder.build()), 2)


def test_structs_that_multiply_are_refused() -> None:
    """Sixty levels of two would be more fields than there are atoms."""
    builder = BtfBuilder()
    for number in range(1, 60):
        builder.struct("s", 0, ("a", number + 1, 0), ("b", number + 1, 0))
    builder.struct("s", 0)
    with pytest.raises(BtfError, match="fields"):
        codec(Btf.decode(builder.build()), 1)


def test_endless_arrays_of_nothing_are_empty() -> None:
    """Four thousand million elements of no bytes."""
    builder = BtfBuilder()
    builder.struct("s", 0)
    builder.array(1, 0xFFFFFFFF)
    assert codec(Btf.decode(builder.build()), 2).decode(b"") == ()


def test_codecs_are_made_once() -> None:
    """Records of one type have one class."""
    assert codec(BTF, IDS["event"]) is codec(BTF, IDS["event"]) is EVENT


@given(st.binary(min_size=40, max_size=40), st.sampled_from(["little", "big"]))
def test_any_bytes_decode_and_encode_to_the_same_record(data: bytes, byteorder: str) -> None:
    """Whatever the kernel hands out, it can be handed back."""
    one = record_codec(sample(byteorder)[0], "event")
    made = one.decode(data)
    assert isinstance(made, Record)
    assert one.encode(made) == data
    assert one.decode(one.encode(made._asdict())) == made
    assert one.decode(one.encode(tuple(made))) == made


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 32)), min_size=1, max_size=12),
    st.sampled_from(["little", "big"]),
    st.data(),
)
def test_bit_fields_come_back_from_anywhere(
    widths: list[tuple[int, int]], byteorder: str, data: st.DataObject
) -> None:
    """Any run of bit-fields, packed without regard to words, signed and unsigned."""
    builder = BtfBuilder(byteorder)
    builder.int("int", 4, wire.SIGNED)
    builder.int("unsigned int", 4)
    members, place = [], 0
    for number, (type_id, width) in enumerate(widths):
        members.append((f"f{number}", type_id, place, width))
        place += width
    builder.struct("bits", (place + 7) // 8, *members)
    one = codec(Btf.decode(builder.build()), 3)
    values = {}
    for name, type_id, _, width in members:
        low = -(1 << width - 1) if type_id == 1 else 0
        values[name] = data.draw(st.integers(low, low + (1 << width) - 1))
    made = one.decode(one.encode(values))
    assert isinstance(made, Record)
    assert made._asdict() == values
