"""BTF written by the library: the inverse of reading, and what another writer writes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder

names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
words = st.integers(0, (1 << 32) - 1)
small = st.integers(0, 200)


def lists(one: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(one, max_size=4).map(tuple)


@st.composite
def composites(draw: st.DrawFn) -> t.Type:
    kflag = draw(st.booleans())
    width, offset = (255, (1 << 24) - 1) if kflag else (0, (1 << 32) - 1)
    member = st.builds(t.Member, names, words, st.integers(0, offset), st.integers(0, width))
    make = draw(st.sampled_from([t.Struct, t.Union]))
    return make(draw(names), draw(words), draw(lists(member)), kflag)


@st.composite
def enums(draw: st.DrawFn) -> t.Type:
    make, bits = draw(st.sampled_from([(t.Enum, 32), (t.Enum64, 64)]))
    signed = draw(st.booleans())
    low = -(1 << bits - 1) if signed else 0
    value = st.integers(low, low + (1 << bits) - 1)
    return make(
        draw(names), draw(small), signed, draw(lists(st.builds(t.Enumerator, names, value)))
    )


types = st.one_of(
    st.builds(t.Int, names, words, st.integers(0, 15), st.integers(0, 255), st.integers(0, 255)),
    st.builds(t.Float, names, words),
    st.builds(t.Ptr, words),
    st.builds(t.Array, words, words, words),
    composites(),
    enums(),
    st.builds(t.Fwd, names, st.booleans()),
    st.builds(t.Typedef, names, words),
    st.sampled_from([t.Volatile, t.Const, t.Restrict]).flatmap(lambda kind: st.builds(kind, words)),
    st.builds(t.TypeTag, names, words, st.booleans()),
    st.builds(t.Func, names, words, st.integers(0, 2)),
    st.builds(t.FuncProto, words, lists(st.builds(t.Param, names, words))),
    st.builds(t.Var, names, words, words),
    st.builds(t.Datasec, names, words, lists(st.builds(t.SectionVariable, words, words, words))),
    st.builds(t.DeclTag, names, words, st.integers(-1, 1 << 30), st.booleans()),
)


@given(st.lists(types, max_size=6), st.sampled_from(["little", "big"]))
def test_decoding_what_was_encoded_gives_the_same(given_types: list, byteorder: str) -> None:
    """Every kind, any names and numbers, both byte orders."""
    btf = Btf.decode(encode(given_types, byteorder=byteorder))  # type: ignore[arg-type]
    assert btf.byteorder == byteorder
    assert [btf.type(number) for number in range(1, len(btf))] == given_types


@given(st.lists(types, max_size=4), st.lists(types, max_size=4), st.sampled_from(["little", "big"]))
def test_split_btf_comes_back_the_same(first: list, second: list, byteorder: str) -> None:
    """Ids and string offsets go on where those of the base end."""
    base = Btf.decode(encode(first, byteorder=byteorder))  # type: ignore[arg-type]
    btf = Btf.decode(encode(second, base=base), base=base)
    assert [btf.type(number) for number in range(1, len(btf))] == [*first, *second]


def test_the_bytes_are_those_of_the_other_writer() -> None:
    """Two writers, one format."""
    builder = BtfBuilder()
    builder.int("int", 4, wire.SIGNED)
    builder.struct("s", 4, ("a", 1, 3, 5))
    builder.enum64("e", {"A": -1}, signed=True)
    expected = [
        t.Int("int", 4, 1),
        t.Struct("s", 4, (t.Member("a", 1, 3, 5),), True),
        t.Enum64("e", 8, True, (t.Enumerator("A", -1),)),
    ]
    # Strings differ in order only: the builder adds those of members first.
    assert len(encode(expected)) == len(builder.build())
    assert [Btf.decode(builder.build()).type(number) for number in (1, 2, 3)] == expected


def test_forward_declarations_say_what_they_are() -> None:
    """In the kind's flag; an array has three words behind."""
    given_types = [t.Fwd("s"), t.Fwd("u", True), t.Array(1, 2, 3)]
    btf = Btf.decode(encode(given_types))
    assert [btf.type(number) for number in (1, 2, 3)] == given_types


def test_kinds_newer_than_us_are_written_as_they_were_read() -> None:
    """Words in, words out; only a layout area would make them readable again."""
    blob = encode([t.Opaque("new", 100, 100 << 24 | 1, 7, (1, 2))])
    assert blob[24:44] == struct.pack("<5I", 1, 100 << 24 | 1, 7, 1, 2)


class _Endless(tuple):
    __slots__ = ()

    def __len__(self) -> int:
        return 1 << 24


BAD = {
    "too many members": t.Struct("s", 0, _Endless()),
    "negative size": t.Int("x", -1),
    "wide offset": t.Struct("s", 4, (t.Member("a", 1, 1 << 24, 1),), True),
    "bit-field without kflag": t.Struct("s", 4, (t.Member("a", 1, 0, 1),)),
    "zero byte in a name": t.Float("a\0b", 4),
    "void": t.Void(),
}


@pytest.mark.parametrize("one", BAD.values(), ids=BAD)
def test_what_the_format_cannot_hold_is_a_value_error(one: t.Type) -> None:
    """And never a blob that says something else."""
    with pytest.raises(ValueError, match=r"."):
        encode([one])
