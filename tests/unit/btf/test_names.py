"""Names of types: flavours, and searching strings and offsets."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf import decode
from pyebpf.btf.btf import Btf
from pyebpf.btf.names import NameIndex, NameSearch, SortedNames, Strings, essential_name
from pyebpf.btf.places import Places
from tests.support.btf_builder import BtfBuilder

ESSENTIAL = {
    "task_struct": "task_struct",
    "task_struct___old": "task_struct",
    "a___b": "a",
    "foo___bar___baz": "foo___bar",
    "foo____bar": "foo____bar",
    "foo_____x": "foo_____x",
    "___foo": "___foo",
    "__foo___x": "__foo",
    "foo___": "foo___",
    "___": "___",
    "": "",
    "a___b____c": "a",
    "x__y": "x__y",
}


@pytest.mark.parametrize(("name", "expected"), ESSENTIAL.items())
def test_a_flavour_is_behind_three_underscores(name: str, expected: str) -> None:
    """Exactly three, with something else on both sides, the last such place."""
    assert essential_name(name) == expected


@given(st.text("_ab", max_size=12))
def test_a_flavour_is_what_a_scan_from_the_end_finds(name: str) -> None:
    """The definition, spelt out."""
    expected = name
    for i in range(len(name) - 5, -1, -1):
        if name[i] != "_" and name[i + 1 : i + 4] == "___" and name[i + 4] != "_":
            expected = name[: i + 1]
            break
    assert essential_name(name) == expected


@given(st.lists(st.text("ab_", max_size=6)), st.text("ab_", max_size=6))
def test_find_yields_every_place_of_a_string(texts: list[str], wanted: str) -> None:
    """Whole strings only, however they overlap."""
    area = b"\0" + b"".join(text.encode() + b"\0" for text in texts)
    places, place = [], 1
    for text in texts:
        places.append((place, text))
        place += len(text) + 1
    # In the middle of something, too, that goes on as the area does.
    strings = Strings(b"a\0a___b" + area + b"a\0a___b\0", 7, 7 + len(area))
    assert len(strings) == len(area)
    assert [strings.at(at) for at, _ in places] == texts
    assert strings.at(len(area)) is None
    if wanted:
        assert list(strings.find(wanted)) == [at for at, text in places if text == wanted]
    flavoured: dict[str, list[int]] = {}
    for at, text in places:
        if essential_name(text) != text:
            flavoured.setdefault(essential_name(text), []).append(at)
    assert strings.flavours() == flavoured


@given(st.lists(st.integers(0, 1 << 32 - 1) | st.sampled_from([256, 512, 65536, 1 << 24])))
def test_offsets_are_found_by_value(offsets: list[int]) -> None:
    """All places of each, in order, whatever their bytes."""
    index = NameIndex(array("I", offsets))
    ordered = sorted(range(len(offsets)), key=offsets.__getitem__)
    words = memoryview(array("I", offsets))
    kept = SortedNames(words, range(len(offsets)), ordered)
    for wanted in {*offsets, 7, 256, 0}:
        found = [i for i, o in enumerate(offsets) if o == wanted]
        assert list(index.find(wanted)) == found
        assert list(kept.find(wanted)) == found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["struct", "typedef", "enum", "ptr", "func"]),
            st.text("ab", max_size=2),
            st.lists(st.text("ab", max_size=2), max_size=3),
            st.sampled_from([0, 1, 2, 9, 1 << 24, 4 << 24 | 1, 0x8500_0001]),
        ),
        max_size=30,
    ),
    st.sampled_from(["little", "big"]),
    st.integers(0, 3),
)
def test_names_are_found_among_all_words(types, byteorder, searches) -> None:
    """Types alone, though members have their names and values look like kinds; index or not."""
    builder = BtfBuilder(byteorder)
    number = builder.int("int", 4, 1)
    for kind, name, members, value in types:
        if kind == "struct":
            builder.struct(name, 8, *((each, number, value & 0xFFFFFFFF) for each in members))
        elif kind == "enum":
            builder.enum(name, dict.fromkeys(members, value))
        elif kind == "typedef":
            builder.typedef(name, number)
        elif kind == "func":
            builder.func(name, builder.func_proto(0))
        else:
            builder.ptr(number)
    btf = Btf.decode(builder.build())
    names = [btf.name_offset(each) for each in range(1, len(btf))]
    data = bytes(btf.raw)
    header = decode.read_header(data)
    words = decode.type_words(data, header)
    for wanted in {*names, 7, 256}:
        search = NameSearch(
            words, lambda n: decode.type_bytes(data, header, n), Places(words, [], 1)
        )
        for _ in range(searches):
            list(search.find(wanted))
        assert list(search.find(wanted)) == [n for n, each in enumerate(names) if each == wanted]


def test_a_long_run_of_underscores_takes_no_time() -> None:
    """One string of a megabyte is looked at once."""
    assert Strings(b"\0" + b"_" * (1 << 20) + b"\0").flavours() == {}
