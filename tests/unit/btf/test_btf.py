"""`Btf`: names to ids, sizes, what is behind typedefs, split BTF, and texts for messages."""

from __future__ import annotations

import mmap
import tempfile

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Int, Struct, Void
from pyebpf.errors import BtfError
from pyebpf.uapi.btf import BtfKind
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder


def sample() -> BtfBuilder:
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)  # 1
    builder.struct("sock", 8, ("a", 1, 0), ("b", 1, 32))  # 2
    builder.typedef("sock", 2)  # 3
    builder.struct("sock", 4, ("a", 1, 0))  # 4
    builder.struct("sock___old", 4, ("a", 1, 0))  # 5
    builder.add(wire.CONST, "", 3)  # 6
    builder.add(wire.VOLATILE, "", 6)  # 7
    builder.ptr(7)  # 8
    builder.array(2, 3)  # 9
    builder.array(9, 5)  # 10
    return builder


def test_a_name_has_all_its_ids() -> None:
    """Several types of one name are normal; a kind narrows them down."""
    btf = Btf.decode(sample().build())
    assert btf.ids("sock") == [2, 3, 4]
    assert btf.ids("sock", BtfKind.STRUCT) == [2, 4]
    assert btf.ids("sock", BtfKind.TYPEDEF) == [3]
    assert btf.ids("soc") == btf.ids("ock") == btf.ids("a") == btf.ids("a\0b") == []


def test_no_name_is_the_name_of_anonymous_types() -> None:
    """Qualifiers, pointers and arrays have none."""
    assert Btf.decode(sample().build()).ids("") == [6, 7, 8, 9, 10]


def test_flavours_count_as_one_name() -> None:
    """A flavour is found under the essential name, and under its own."""
    btf = Btf.decode(sample().build())
    assert btf.flavours("sock") == [2, 3, 4, 5]
    assert btf.flavours("sock___old") == []
    assert btf.ids("sock___old") == [5]


def test_find_wants_exactly_one() -> None:
    """None and several are errors that say so."""
    btf = Btf.decode(sample().build())
    assert btf.find("sock", BtfKind.TYPEDEF) == 3
    with pytest.raises(BtfError, match="2 struct of the name 'sock'"):
        btf.find("sock", BtfKind.STRUCT)
    with pytest.raises(BtfError, match="no union of the name 'sock'"):
        btf.find("sock", BtfKind.UNION)


def test_a_name_may_stand_in_the_strings_twice() -> None:
    """Nothing obliges a writer to merge equal strings."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.known.clear()
    builder.int("int", 8)
    assert Btf.decode(builder.build()).ids("int") == [1, 2]


def test_a_large_string_area_is_read_up_to_the_first_hit() -> None:
    """Kernels have each string once."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.string("x" * (1 << 20))
    builder.known.clear()
    builder.int("int", 8)
    assert Btf.decode(builder.build()).ids("int") == [1]


def test_names_need_not_be_text() -> None:
    """Bytes that are not UTF-8 survive as surrogates, and find their type."""
    builder = BtfBuilder()
    builder.int("caf\udce9", 4)
    btf = Btf.decode(builder.build())
    assert btf.type(1).name == "caf\udce9"
    assert btf.ids("caf\udce9") == [1]


@pytest.mark.parametrize("count", [1, 300])
def test_names_are_found_wherever_their_bytes_are_zero(count: int) -> None:
    """The search by single bytes of an offset has no blind spot at round offsets."""
    builder = BtfBuilder()
    names = [f"{number:0254d}x" for number in range(count)]  # 256 bytes each with its zero
    for name in names:
        builder.int(name, 4)
    btf = Btf.decode(builder.build())
    assert [btf.ids(name) for name in names] == [[number + 1] for number in range(count)]


def test_id_0_is_void_and_others_are_bounded() -> None:
    """No id below or above what there is."""
    btf = Btf.decode(sample().build())
    assert btf.type(0) == Void()
    assert btf.kind(0) == BtfKind.UNKN
    for bad in (-1, 11, 1 << 40):
        with pytest.raises(BtfError, match="no type"):
            btf.type(bad)


def test_an_empty_btf_has_void_only() -> None:
    """A blob with strings and no types decodes."""
    btf = Btf.decode(BtfBuilder().build())
    assert len(btf) == 1
    assert btf.ids("int") == []
    assert btf.ids("") == []


def test_strip_goes_behind_names_and_qualifiers() -> None:
    """const, volatile and typedef are nothing but a way to the type."""
    btf = Btf.decode(sample().build())
    assert [btf.strip(number) for number in (0, 2, 3, 6, 7, 8)] == [0, 2, 2, 2, 2, 8]


def test_sizes_multiply_through_arrays() -> None:
    """Arrays of arrays of structs; a pointer has the size of a long."""
    btf = Btf.decode(sample().build())
    assert [btf.size_of(number) for number in (1, 2, 7, 8, 9, 10)] == [4, 8, 8, 8, 24, 120]


@pytest.mark.parametrize(
    ("name", "size"), [("long unsigned int", 4), ("long", 8), ("int", 8), ("long", 16)]
)
def test_a_pointer_is_as_long_as_a_long(name: str, size: int) -> None:
    """Without a long it is BPF's 8 bytes."""
    builder = BtfBuilder()
    builder.int(name, size)
    builder.ptr(1)
    btf = Btf.decode(builder.build())
    assert btf.pointer_size == btf.size_of(2) == min(size, 8)


def test_what_has_no_size_says_so() -> None:
    """void, functions and forward declarations."""
    builder = sample()
    proto = builder.func_proto(0)
    ids = [0, proto, builder.func("f", proto), builder.add(wire.FWD, "x"), builder.array(0, 3)]
    btf = Btf.decode(builder.build())
    for number in ids:
        with pytest.raises(BtfError, match="has no size"):
            btf.size_of(number)


def test_cycles_end_in_an_error() -> None:
    """Typedefs of themselves and arrays of themselves are malformed, not endless."""
    builder = BtfBuilder()
    builder.typedef("t", 1)
    builder.array(2, 1)
    builder.array(3, 1 << 31)
    builder.ptr(4)
    btf = Btf.decode(builder.build())
    with pytest.raises(BtfError, match="more than 32 deep"):
        btf.strip(1)
    with pytest.raises(BtfError, match="more than 32 deep"):
        btf.size_of(2)
    with pytest.raises(BtfError, match="too large"):
        btf.size_of(3)
    for number in range(1, 5):
        assert btf.describe(number)


DESCRIPTIONS = {
    0: "void",
    1: "int",
    2: "struct sock",
    3: "sock",
    7: "volatile const sock",
    8: "volatile const sock *",
    10: "struct sock[5][3]",
    11: "struct {...}",
    12: "enum e",
    13: "int (*)()",
    14: "int (*)()",
    15: "f()",
    16: "union u",
    17: "int v",
    18: 'section ".data"',
    19: "float",
    20: "int",
    99: "<bad type 99>",
}


def test_descriptions_look_like_c() -> None:
    """What messages call a type."""
    builder = sample()
    builder.struct("", 0)
    builder.enum("e", {})
    builder.func_proto(1)
    builder.ptr(13)
    builder.func("f", 13)
    builder.add(wire.FWD, "u", kflag=True)
    builder.var("v", 1)
    builder.datasec(".data", 0)
    builder.add(wire.FLOAT, "float", 4)
    builder.add(wire.TYPE_TAG, "user", 1)
    btf = Btf.decode(builder.build())
    assert {number: btf.describe(number) for number in DESCRIPTIONS} == DESCRIPTIONS


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_split_btf_continues_its_base(byteorder: str) -> None:
    """Ids, strings, names and kinds of both are found through the split one."""
    first = BtfBuilder(byteorder)
    first.int("int", 4)
    first.struct("shared", 4, ("a", 1, 0))
    base = Btf.decode(first.build())
    second = BtfBuilder(byteorder, ids=len(base), strings=base.strings_length)
    second.known = dict(first.known)
    second.struct("module", 8, ("a", 2, 0), ("fresh", 1, 32))
    second.int("int", 8)
    second.struct("module___x", 4)
    split = Btf.decode(second.build(), base=base)
    assert len(split) == 6
    assert split.first_id == 3
    assert split.type(1) is base.type(1)
    assert split.type(3) == Struct("module", 8, (("a", 2, 0, 0), ("fresh", 1, 32, 0)))  # type: ignore[arg-type]
    assert split.type(4) == Int("int", 8)
    assert split.ids("int") == [1, 4]
    assert split.ids("module") == [3]
    assert split.ids("shared") == [2]
    assert split.flavours("module") == [3, 5]
    assert split.size_of(3) == 8
    assert list(split.of_kind(BtfKind.INT)) == [1, 4]
    assert split.string(0) == ""
    assert base.ids("module") == []
    assert split.ids("") == base.ids("") == []
    assert repr(split) == f"<Btf {len(second.build())} bytes, {byteorder} endian>"


def test_the_first_string_of_a_split_area_is_found() -> None:
    """There is no zero byte in front of it."""
    base = Btf.decode(BtfBuilder().build())
    builder = BtfBuilder(ids=1, strings=1)
    builder.int("first", 4)
    builder.int("first___x", 4)
    split = Btf.decode(builder.build(), base=base)
    assert split.ids("first") == [1]
    assert split.flavours("first") == [1, 2]


def test_a_base_of_the_other_byte_order_is_refused() -> None:
    """They cannot be from one machine."""
    base = Btf.decode(BtfBuilder("big").build())
    with pytest.raises(BtfError, match="byte order"):
        Btf.decode(BtfBuilder("little").build(), base=base)


def test_an_mmap_and_other_buffers_read_like_bytes() -> None:
    """Where the bytes come from does not matter."""
    data = sample().build()
    expected = [Btf.decode(data).type(number) for number in range(11)]
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), len(data), access=mmap.ACCESS_READ)
        for source in (bytearray(data), memoryview(data), mapped):
            btf = Btf.decode(source)
            assert [btf.type(number) for number in range(11)] == expected
            assert bytes(btf.raw) == data
        del btf, source


def test_types_are_made_once() -> None:
    """Whoever asks again gets the same object."""
    btf = Btf.decode(sample().build())
    assert btf.type(2) is btf.type(2)


def test_a_name_longer_than_any_is_refused_before_it_is_multiplied():
    """One long name in every member of a struct would take its size for each of them."""
    longest = "x" * 4096
    for name in (longest, longest + "x"):
        builder = BtfBuilder()
        builder.int("int", 4)
        builder.struct("s", 8, ("a", 1, 0), (name, 1, 32))
        btf = Btf.decode(builder.build())
        if name is longest:
            assert btf.type(2).members[1].name == name
        else:
            with pytest.raises(BtfError, match=r"type 2, .*: a name of 4097 characters"):
                btf.type(2)
