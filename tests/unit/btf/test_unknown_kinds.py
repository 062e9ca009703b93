"""Kinds of BTF from after this library: skipped by the layout, kept, and in nobody's way.

The made kernel has one between its own types, one as a member and one behind a pointer, as a kernel
of some later year may have.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.compat import fields_compatible, types_compatible, types_match
from pyebpf.btf.encode import encode
from pyebpf.btf.relocate import relocate
from pyebpf.btf.sanitize import BtfFeatures, sanitize
from pyebpf.btf.values import codec
from pyebpf.errors import BtfError
from pyebpf.uapi.btf import BtfKind, CoreReloKind
from tests.support.btf_builder import BtfBuilder

ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])

# The kinds of today, then nothing up to 99, then two of tomorrow.
TODAY = [(0, 0), (4, 0), (0, 0), (12, 0), (0, 12), (0, 12), (0, 8), *[(0, 0)] * 6]
TODAY += [(0, 8), (4, 0), (0, 12), (0, 0), (4, 0), (0, 0), (0, 12)]
LAYOUT = [*TODAY, *[(0, 0)] * 80, (4, 8), (0, 0)]
NEW, SMALL = 100, 101


def tomorrow(byteorder: str = "little") -> BtfBuilder:
    builder = BtfBuilder(byteorder)
    builder.int("int", 4, 1)  # 1
    builder.add(NEW, "new", 5, 7, 1, 2, 3, 4, vlen=2)  # 2: one word and two times two
    builder.ptr(2)  # 3
    builder.add(SMALL, "", 1)  # 4
    builder.struct("task", 24, ("a", 2, 0), ("pid", 1, 64), ("p", 3, 128))  # 5
    return builder


def kernel(byteorder: str = "little") -> Btf:
    return Btf.decode(tomorrow(byteorder).build(layout=LAYOUT))


def everything(btf: Btf) -> list[t.Type]:
    return [btf.type(number) for number in range(len(btf))]


def new(byteorder: str = "little") -> t.Opaque:
    info = NEW << 24 | 2
    return t.Opaque("new", NEW, info, 5, (7, 1, 2, 3, 4))


@ORDERS
def test_what_is_not_known_is_kept_as_it_is(byteorder: str) -> None:
    """Its words in the right order, and the types behind it where they belong."""
    btf = kernel(byteorder)
    assert btf.layout == LAYOUT
    assert btf.type(2) == new()
    assert btf.type(4) == t.Opaque("", SMALL, SMALL << 24, 1, ())
    assert btf.find("task", BtfKind.STRUCT) == 5


@ORDERS
def test_it_survives_being_written_again(byteorder: str) -> None:
    """With the layout; both areas where the kernel and libbpf look for them."""
    btf = kernel(byteorder)
    blob = encode(everything(btf)[1:], byteorder=btf.byteorder, layout=btf.layout)
    again = Btf.decode(blob)
    assert (everything(again), again.layout) == (everything(btf), LAYOUT)
    order = "<" if byteorder == "little" else ">"
    _, types, strings, _, layout, length = struct.unpack_from(order + "6I", blob, 8)
    assert (layout, layout + length) == (types, strings)


def test_without_a_layout_it_cannot_be_skipped() -> None:
    """Nor where the layout ends before it, and the error says which type it is."""
    for layout in (None, TODAY):
        with pytest.raises(BtfError, match="unknown kind 100") as caught:
            len(Btf.decode(tomorrow().build(layout=layout)))
        assert caught.value.where.startswith("type 2")


def test_the_layout_says_nothing_about_kinds_we_know() -> None:
    """A wrong one does no harm."""
    builder = BtfBuilder()
    builder.struct("s", 4, ("a", 2, 0))
    builder.int("int", 4)
    plain, odd = Btf.decode(builder.build()), Btf.decode(builder.build(layout=[(255, 255)] * 7))
    assert everything(odd) == everything(plain)


def test_split_btf_has_the_layout_of_its_base() -> None:
    """Unless it brings its own."""
    base = kernel()
    module = BtfBuilder(ids=len(base), strings=base.strings_length)
    module.add(SMALL, "of_module", 1)
    split = Btf.decode(module.build(), base=base)
    assert split.type(len(base)) == t.Opaque("of_module", SMALL, SMALL << 24, 1, ())
    own = Btf.decode(module.build(layout=[(0, 0)] * 101 + [(0, 4)]), base=base)
    assert own.type(len(base)) == split.type(len(base))
    with pytest.raises(BtfError, match="unknown kind 101"):
        len(Btf.decode(module.build(layout=TODAY), base=base))


@pytest.mark.parametrize("layout", [[(256, 0)], [(0, -1)]])
def test_a_layout_has_bytes(layout: list[tuple[int, int]]) -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match="layout does not fit"):
        encode([], layout=layout)


# ---- those who use types ----------------------------------------------------------------------


def test_questions_about_it_have_an_answer() -> None:
    """Or a `BtfError` that names the kind."""
    btf = kernel()
    assert btf.ids("new") == [2]
    assert btf.kind(2) == NEW
    assert btf.strip(2) == 2
    assert btf.describe(3) == "kind 100 'new' *"
    assert (btf.size_of(3), btf.size_of(5)) == (8, 24)
    with pytest.raises(BtfError, match="kind 100 'new' has no size"):
        btf.size_of(2)


def test_it_has_no_values() -> None:
    """What points at it has."""
    btf = kernel()
    assert codec(btf, 3).decode(bytes(7) + b"\1") == 1 << 56
    for number in (2, 4, 5):
        with pytest.raises(BtfError, match="has no values"):
            codec(btf, number)


def test_it_is_compatible_with_nothing() -> None:
    """Not even with itself: what makes two of them the same is not known."""
    btf = kernel()
    for compare in (fields_compatible, types_compatible, types_match):
        assert not compare(btf, 2, btf, 2)
    # Behind a pointer fields are not compared.
    assert fields_compatible(btf, 3, btf, 3)


class Note(NamedTuple):
    slot: int
    type_id: int
    access: str
    kind: int


@ORDERS
def test_a_kernel_with_it_still_relocates(byteorder: str) -> None:
    """All other types and members are found."""
    builder = BtfBuilder(byteorder)
    builder.int("int", 4, 1)
    builder.struct("task", 4, ("pid", 1, 0))
    ours = Btf.decode(builder.build())
    order, registers = ("<", 0x10) if byteorder == "little" else (">", 0x01)
    load = struct.pack(order + "BBhi", 0x61, registers, 0, 0)
    note = Note(0, 2, "0:0", CoreReloKind.FIELD_BYTE_OFFSET)
    done = relocate(load, [note], ours, [kernel(byteorder)], ours.byteorder)
    assert struct.unpack_from(order + "h", done.code, 2) == (8,)


@ORDERS
def test_a_kernel_gets_something_it_knows(byteorder: str) -> None:
    """One byte that anything may hold, and no id moves."""
    btf = kernel(byteorder)
    reduced = Btf.decode(sanitize(btf, BtfFeatures()))
    byte = t.Int("", 1)
    expected = everything(btf)
    expected[2] = expected[4] = byte
    assert everything(reduced) == expected
    assert reduced.layout == LAYOUT
