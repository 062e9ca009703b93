"""Names of types: flavours, and searching strings and offsets."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf.names import NameIndex, SortedNames, Strings, essential_name

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
    strings = Strings(area)
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


def test_a_long_run_of_underscores_takes_no_time() -> None:
    """One string of a megabyte is looked at once."""
    assert Strings(b"\0" + b"_" * (1 << 20) + b"\0").flavours() == {}
