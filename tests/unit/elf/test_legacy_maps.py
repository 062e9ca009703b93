"""Maps as structs, in the layouts of several loaders."""

from __future__ import annotations

import struct

import pytest

from pyebpf.elf import load_spec
from pyebpf.errors import ElfError
from pyebpf.spec import Pinning
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.elf import R_BPF_64_ABS64, STB_LOCAL
from tests.support.elf_builder import ElfBuilder

HASH = (1, 4, 8, 100, 0)
OUTER = (12, 4, 4, 10, 0)
BYTE_ORDERS = ["little", "big"]


def _object(definitions, byteorder="little", section="maps", **options):
    """An object with one definition per row of 32-bit numbers, named a, b, c."""
    builder = ElfBuilder(byteorder)
    order = "<" if byteorder == "little" else ">"
    rows = [struct.pack(f"{order}{len(row)}I", *row) for row in definitions]
    number = builder.section(section, b"".join(rows))
    for index, row in enumerate(rows):
        builder.object("abcdef"[index], number, index * len(row), len(row))
    return load_spec(builder.build(), **options).maps


def _fields(spec):
    return (spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags)


@pytest.mark.parametrize("byteorder", BYTE_ORDERS)
@pytest.mark.parametrize("section", ["maps", "maps/events"])
def test_a_definition_is_five_numbers(byteorder, section):
    """Type, sizes, entries and flags, in both byte orders; the section may be named on."""
    maps = _object([HASH, (2, 4, 16, 3, 1)], byteorder, section)
    assert {name: _fields(spec) for name, spec in maps.items()} == {
        "a": HASH,
        "b": (2, 4, 16, 3, 1),
    }
    assert maps["a"].type is MapType.HASH
    assert maps["a"].section == section
    assert maps["a"].extra == b""


def test_flags_may_be_missing():
    """The oldest struct had four numbers."""
    assert _fields(_object([(1, 4, 8, 100)])["a"]) == HASH


def test_surplus_bytes_are_kept_if_they_say_something():
    """Zeros are padding; anything else must be cleared before a load."""
    maps = _object([(*HASH, 0, 0, 0), (*HASH, 1, 2, 3)])
    assert maps["a"].extra == b""
    assert maps["b"].extra == struct.pack("<3I", 1, 2, 3)


def test_an_inner_map_is_a_number_of_the_section():
    """The sixth number of a map-in-map, as the kernel's samples and early Go loaders have it."""
    maps = _object([(*HASH, 0), (*OUTER, 0), (1, 4, 4, 9, 0, 7)])
    assert _fields(maps["b"].inner) == HASH
    assert maps["b"].extra == b""
    assert maps["c"].extra == struct.pack("<I", 7)
    with pytest.raises(ElfError, match=r'section maps, offset 0x18: map "b" holds map 2 of 2'):
        _object([(*HASH, 0), (*OUTER, 2)])
    with pytest.raises(ElfError, match='"a" holds maps and is held by a map'):
        _object([(*OUTER, 0), (*OUTER, 0)])


def test_a_node_is_taken_only_if_a_flag_says_so():
    """The seventh number of the 28-byte struct."""
    flagged = (1, 4, 8, 100, int(MapFlag.NUMA_NODE), 0, 1)
    maps = _object([flagged, (*HASH, 0, 1)])
    assert (maps["a"].numa_node, maps["a"].extra) == (1, b"")
    assert (maps["b"].numa_node, maps["b"].extra) == (None, bytes(4) + struct.pack("<I", 1))


NONE = 0xFFFF_FFFF


@pytest.mark.parametrize("byteorder", BYTE_ORDERS)
def test_iproute2_links_maps_by_id(byteorder):
    """The outer map names an id; every map of that id with a slot is put there."""
    rows = [(*HASH, 42, 0, 0, 0), (*HASH, 42, 2, 0, 5), (*HASH, 42, 0, 0, NONE)]
    maps = _object([*rows, (*OUTER, 0, 1, 42, 0)], byteorder)
    assert maps["d"].entries == ((0, "a"), (5, "b"))
    assert _fields(maps["d"].inner) == HASH
    pinned = [name for name, spec in maps.items() if spec.pinning is Pinning.BY_NAME]
    assert pinned == ["b", "d"]
    assert all(spec.extra == b"" for spec in maps.values())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((*OUTER, 0, 0, 7, 0), 'map "a" holds no map of id 7'),
        ((*HASH, 0, 3, 0, 0), 'map "a" has unknown pinning 3'),
    ],
)
def test_iproute2_definitions_that_make_no_sense_are_errors(row, message):
    """Each error names section and offset."""
    with pytest.raises(ElfError, match=f"section maps, offset 0x0: {message}"):
        _object([row])


def _goebpf(byteorder="little"):
    builder = ElfBuilder(byteorder)
    order = "<" if byteorder == "little" else ">"
    rows = [(*HASH, 0, 0, 0, 0, 0), (*OUTER, 0, 0, 0, 0, 0)]
    maps = builder.section("maps", struct.pack(f"{order}20I", *rows[0], *rows[1]))
    text = builder.section(".rodata.str1.1", b"no\0/sys/fs/bpf/a\0")
    inner = builder.object("a", maps, 0, 40)
    builder.object("b", maps, 40, 40)
    builder.relocate(maps, 64, inner, R_BPF_64_ABS64)
    path = builder.object(".str", text, 3, 14, binding=STB_LOCAL)
    builder.relocate(maps, 32, path, R_BPF_64_ABS64)
    return builder, maps, text


@pytest.mark.parametrize("byteorder", BYTE_ORDERS)
def test_goebpfs_pointers_are_an_inner_map_and_a_path(byteorder):
    """Both come as relocations."""
    maps = load_spec(_goebpf(byteorder)[0].build()).maps
    assert maps["a"].pin_path == "/sys/fs/bpf/a"
    assert (maps["a"].inner, maps["b"].pin_path) == (None, "")
    assert _fields(maps["b"].inner) == HASH
    assert maps["b"].inner.pin_path == ""
    # The path's section is no map: only the loader reads it.
    assert list(maps) == ["a", "b"]


def test_goebpfs_pointers_to_something_else_are_errors():
    """A path must be text that ends, an inner map a map, and numbers are no pointers."""
    for offset, number, message in (
        (24, 3, '".str" is not a map of this section'),
        (8, 1, 'map "a" has a pointer in a number'),
    ):
        builder, maps, _ = _goebpf()
        builder.relocate(maps, offset, number, R_BPF_64_ABS64)
        with pytest.raises(ElfError, match=f"section maps, offset {offset:#x}: {message}"):
            load_spec(builder.build())


@pytest.mark.parametrize(
    ("place", "data", "message"),
    [
        ("text", b"/sys", "section path, offset 0x0: path does not end"),
        ("text", b"/\xff\0", "section path, offset 0x0: path is not UTF-8"),
        ("zeros", b"", 'section maps, offset 0x48: path "p" is not text'),
        ("nowhere", b"", 'section maps, offset 0x48: path "p" is not in the file'),
    ],
)
def test_a_path_must_be_text(place, data, message):
    """It ends with a zero, inside its section."""
    builder, maps, _ = _goebpf()
    home = 0
    if place == "text":
        home = builder.section("path", data)
    elif place == "zeros":
        home = builder.zeros("zeros", 8)
    builder.relocate(maps, 72, builder.object("p", home), R_BPF_64_ABS64)
    with pytest.raises(ElfError) as caught:
        load_spec(builder.build())
    assert str(caught.value) == message


def test_the_caller_may_say_which_struct_it_is():
    """A size that misleads does not decide alone."""
    row = (*HASH, 1, 0, 0, 0)
    assert _object([row], legacy_maps="bpf_map_def")["a"].extra == struct.pack("<4I", 1, 0, 0, 0)
    with pytest.raises(ElfError, match="section maps: definitions of goebpf take 40 bytes"):
        _object([row], legacy_maps="goebpf")
    with pytest.raises(ElfError, match="section maps: definitions of iproute2 take 36 bytes"):
        _object([HASH], legacy_maps="iproute2")


def test_sizes_that_the_kind_fixes_may_be_left_out():
    """Keys of arrays, values that are descriptors, the flag every LPM trie needs."""
    maps = _object([(4, 0, 0, 8, 0), (2, 0, 8, 1, 0), (12, 0, 0, 1, 0), (11, 8, 4, 5, 0)])
    assert [_fields(spec) for spec in maps.values()] == [
        (4, 4, 4, 8, 0),
        (2, 4, 8, 1, 0),
        (12, 4, 4, 1, 0),
        (11, 8, 4, 5, 1),
    ]


def test_sections_that_cannot_be_divided_are_errors():
    """No symbols, an odd size, symbols at odd places, local symbols."""
    builder = ElfBuilder()
    builder.section("maps", bytes(40))
    with pytest.raises(ElfError, match="section maps: no symbol names a map in it"):
        load_spec(builder.build())
    builder = ElfBuilder()
    maps = builder.section("maps", bytes(41))
    builder.object("a", maps, 0, 20)
    builder.object("b", maps, 20, 20)
    with pytest.raises(ElfError, match="section maps: 41 bytes do not divide into 2"):
        load_spec(builder.build())
    builder = ElfBuilder()
    maps = builder.section("maps", bytes(40))
    builder.object("a", maps, 0, 20)
    builder.object("b", maps, 24, 16)
    with pytest.raises(ElfError, match='section maps, offset 0x18: map "b" is not where'):
        load_spec(builder.build())
    builder = ElfBuilder()
    maps = builder.section("maps", bytes(20))
    builder.object("a", maps, 0, 20, binding=STB_LOCAL)
    with pytest.raises(ElfError, match='section maps, offset 0x0: map "a" is static'):
        load_spec(builder.build())
