"""Any bytes into everything that reads BTF: a value or a `BtfError`, and soon."""

from __future__ import annotations

import contextlib
import struct
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pyebpf.btf.btf import Btf
from pyebpf.btf.ext import decode_ext
from pyebpf.btf.relocate import relocate
from pyebpf.btf.sanitize import BtfFeatures, sanitize
from pyebpf.btf.sections import fix_elf_btf
from pyebpf.btf.values import codec
from pyebpf.errors import BtfError
from tests.support.btf_builder import BtfBuilder


class Note(NamedTuple):
    slot: int
    type_id: int
    access: str
    kind: int


def valid() -> bytes:
    builder = BtfBuilder()
    builder.int("int", 4, 1)
    builder.int("char", 1, 1)
    builder.ptr(4)
    builder.struct("task", 32, ("pid", 1, 0), ("comm", 5, 32), ("", 6, 160), ("b", 1, 192, 5))
    builder.array(2, 16)
    builder.union("", 4, ("x", 1, 0), ("y", 7, 0))
    builder.enum("e", {"A": 1, "B": 2})
    builder.typedef("alias", 4)
    builder.func("f", builder.func_proto(1, ("t", 3)))
    builder.datasec(".data", 4, (builder.var("v", 1), 0, 4))
    builder.enum64("e64", {"C": 1 << 40})
    return builder.build(layout=[(0, 0)] * 22)


VALID = valid()
TARGET = Btf.decode(VALID)


def walk(btf: Btf) -> None:
    """Ask everything about the first types."""
    for number in range(min(len(btf), 40)):
        with contextlib.suppress(BtfError):
            found = btf.type(number)
            btf.describe(number)
            btf.ids(found.name)
            btf.flavours(found.name)
        with contextlib.suppress(BtfError):
            btf.strip(number)
            btf.size_of(number)
        with contextlib.suppress(BtfError):
            one = codec(btf, number)
            if one.size <= 4096:
                made = one.decode(bytes(one.size))
                repr(made)
                one.encode(made)
        code = struct.pack("<BBhi", 0xB7, 0, 0, 0)
        for kind in range(13):
            for access in ("0", "0:0", "0:1:0"):
                note = Note(0, number, access, kind)
                with contextlib.suppress(BtfError):
                    relocate(code, [note], btf, [btf], "little")
                with contextlib.suppress(BtfError):
                    relocate(code, [note], TARGET, [btf], "little")
    with contextlib.suppress(BtfError):
        sanitize(btf, BtfFeatures(func=False, datasec=False, float=False, enum64=False))
    with contextlib.suppress(BtfError):
        fix_elf_btf(btf, {".data": 8}, {".data": {"v": 4}}, hidden={"f"})


@given(st.binary(max_size=200))
def test_any_bytes_are_btf_or_an_error(data: bytes) -> None:
    """Nothing but `BtfError` comes out."""
    with contextlib.suppress(BtfError):
        walk(Btf.decode(data))


@given(st.binary(max_size=160), st.binary(max_size=40))
def test_any_types_behind_a_good_header_are_btf_or_an_error(types: bytes, names: bytes) -> None:
    """The header is the least of it."""
    types = types[: len(types) // 4 * 4]
    strings = b"\0" + names + b"\0"
    header = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    with contextlib.suppress(BtfError):
        walk(Btf.decode(header + types + strings))


WORDS = len(VALID) // 4


@given(
    st.lists(
        st.tuples(
            st.integers(2, WORDS - 1),
            st.integers(0, 30)
            | st.integers(0, (1 << 32) - 1)
            | st.sampled_from([1 << 24, 3 << 24]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_changed_words_of_good_btf_give_types_or_an_error(changes: list[tuple[int, int]]) -> None:
    """Types that refer to themselves and to nothing, wrong counts, wrong kinds."""
    data = bytearray(VALID)
    for word, value in changes:
        struct.pack_into("<I", data, word * 4, value)
    with contextlib.suppress(BtfError):
        walk(Btf.decode(data))


def split() -> bytes:
    builder = BtfBuilder(ids=len(TARGET), strings=TARGET.strings_length)
    builder.struct("of_module", 16, ("t", 4, 0), ("x", 1, 64), ("p", 3, 96))
    builder.typedef("m_t", builder.next_id - 1)
    builder.enum("of_module_e", {"M": 3})
    return builder.build()


MODULE = split()
OURS = BtfBuilder()
OURS.int("int", 4, 1)
OURS.struct("of_module", 8, ("x", 1, 0))
OURS.struct("task", 8, ("pid", 1, 0))
LOCAL = Btf.decode(OURS.build())


@given(
    st.lists(
        st.tuples(st.integers(0, len(MODULE) // 4 - 1), st.integers(0, (1 << 32) - 1)),
        min_size=1,
        max_size=4,
    )
    | st.lists(
        st.tuples(st.integers(6, len(MODULE) // 4 - 1), st.integers(0, 30)), min_size=1, max_size=4
    )
)
def test_a_broken_module_breaks_no_relocation(changes: list[tuple[int, int]]) -> None:
    """What only it has may be missing; what the kernel has is found."""
    data = bytearray(MODULE)
    for word, value in changes:
        struct.pack_into("<I", data, word * 4, value)
    try:
        module = Btf.decode(data, base=TARGET)
    except BtfError:
        return
    code = struct.pack("<BBhi", 0x61, 0x10, 0, 0) * 2
    notes = [Note(0, 2, "0:0", 0), Note(1, 3, "0:0", 0)]
    done = relocate(code, notes, LOCAL, [TARGET, module], "little")
    assert done.code[8:] == code[:8]


EXT = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, 0, 20, 20, 28, 48, 28)
EXT += struct.pack("<5I", 8, 1, 1, 0, 9) + struct.pack("<7I", 16, 1, 1, 0, 1, 1, 0)
EXT += struct.pack("<7I", 16, 1, 1, 0, 4, 1, 0)


@given(st.binary(max_size=120), st.booleans(), st.integers(0, len(EXT)))
def test_any_ext_is_tables_or_an_error(data: bytes, whole: bool, cut: int) -> None:
    """From nothing, and from a good one with a hole."""
    if not whole:
        data = EXT[:cut] + data[:4] + EXT[cut + 4 :]
    with contextlib.suppress(BtfError):
        decode_ext(data, TARGET)


def test_the_good_ones_are_good() -> None:
    """The mutated blobs start from valid ones."""
    assert len(TARGET) == 14
    assert len(decode_ext(EXT, TARGET).core_relocations) == 1
    walk(TARGET)
