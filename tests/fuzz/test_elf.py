"""Any bytes into `load_spec`: a spec or an error of ours, nothing else, in bounded time."""

from __future__ import annotations

import contextlib
import struct
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyebpf.elf import load_spec
from pyebpf.errors import AsmError, FormatError
from pyebpf.spec import CollectionSpec
from tests.support import programs

NAMES = ["maps", "subprogs", "externs", "map_contents", "legacy_goebpf", "core", "callbacks"]
SEEDS = {
    (name, order): programs.built(name, order).read_bytes()
    for name in NAMES
    for order in ("little", "big")
}

# Numbers that sit at limits: of widths, of signs, of the file.
_EDGES = st.sampled_from([0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
_WIDTHS = st.sampled_from([1, 2, 4, 8])
_CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), _WIDTHS, _EDGES | st.integers(0, (1 << 64) - 1)),
    min_size=1,
    max_size=6,
)


def _load(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* is (read without|left out)", RuntimeWarning)
        try:
            spec = load_spec(data)
        except FormatError:
            return
    _look(spec)


def _look(spec: CollectionSpec) -> None:
    """Ask for what is computed on demand."""
    for program in spec.programs.values():
        assert len(program.code) % 8 == 0
        with contextlib.suppress(AsmError):
            assert len(program.instructions) <= len(program.code) // 8
        slots = len(program.code) // 8
        assert all(slot < slots for slot in program.references)
        assert all(each.slot < slots for each in program.relocations)
    for variable in spec.variables.values():
        assert len(variable.raw) == variable.size
        with contextlib.suppress(FormatError):
            repr(variable.value)
    assert spec.copy() == spec


@settings(max_examples=150, deadline=2000)
@given(st.sampled_from(sorted(SEEDS)), _CHANGES)
def test_a_changed_file_is_a_spec_or_an_error(seed, changes):
    """A few numbers anywhere, overwritten with others."""
    data = bytearray(SEEDS[seed])
    for place, width, value in changes:
        offset = int(place * (len(data) - width))
        data[offset : offset + width] = (value & (1 << 8 * width) - 1).to_bytes(width, seed[1])
    _load(bytes(data))


@settings(max_examples=150, deadline=2000)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_changed_headers_are_a_spec_or_an_error(seed, data):
    """The same where it hurts most: section headers, symbols and relocations."""
    raw = bytearray(SEEDS[seed])
    order = "<" if seed[1] == "little" else ">"
    (start,) = struct.unpack_from(f"{order}Q", raw, 40)
    (count,) = struct.unpack_from(f"{order}H", raw, 60)
    for _ in range(data.draw(st.integers(1, 3))):
        header = start + 64 * data.draw(st.integers(0, count - 1))
        offset, size = struct.unpack_from(f"{order}QQ", raw, header + 24)
        inside = data.draw(st.booleans()) and size >= 4 and offset + size <= len(raw)
        first, last = (offset, offset + size - 4) if inside else (header, header + 60)
        place = data.draw(st.integers(first, last))
        value = data.draw(_EDGES | st.integers(0, len(raw)))
        struct.pack_into(f"{order}I", raw, place, value)
    _load(bytes(raw))


@settings(max_examples=100, deadline=2000)
@given(st.sampled_from(sorted(SEEDS)), st.floats(0, 1), st.binary(max_size=64))
def test_a_cut_file_is_an_error_or_a_spec(seed, place, tail):
    """Cut anywhere, with anything behind."""
    data = SEEDS[seed]
    _load(data[: int(place * len(data))] + tail)


@settings(max_examples=100, deadline=2000)
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_magic_number_are_a_spec_or_an_error(data):
    """Nothing in the file is trusted."""
    for identity in (b"\x7fELF\x02\x01\x01", b"\x7fELF\x02\x02\x01"):
        order = "little" if identity[5] == 1 else "big"
        kind = (1).to_bytes(2, order) + (247).to_bytes(2, order)
        _load(identity + bytes(9) + kind + data)
    with pytest.raises(FormatError):
        load_spec(data)
