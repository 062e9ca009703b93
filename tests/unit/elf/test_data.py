"""Data sections and variables."""

from __future__ import annotations

import pytest

from pyebpf.elf import data, load_spec
from pyebpf.errors import ElfError
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.elf import R_BPF_64_ABS64, SHN_ABS, STB_LOCAL, STV_HIDDEN
from tests.support import programs
from tests.support.elf_builder import EXIT, ElfBuilder, load_64


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        (".data", False),
        (".data.mine", False),
        (".bss", False),
        (".bss.mine", False),
        (".rodata", True),
        (".rodata.mine", True),
    ],
)
def test_a_data_section_is_an_array_with_one_value(name, frozen):
    """Constants are frozen, zeros are written out."""
    builder = ElfBuilder()
    zeros = name.startswith(".bss")
    section = builder.zeros(name, 12) if zeros else builder.section(name, b"abcdefghijkl")
    builder.object("x", section, 4, 8)
    spec = load_spec(builder.build())
    (found,) = spec.maps.values()
    assert (found.name, found.type, found.section) == (name, MapType.ARRAY, name)
    assert (found.key_size, found.value_size, found.max_entries) == (4, 12, 1)
    assert found.contents == (bytes(12) if zeros else b"abcdefghijkl")
    assert found.frozen is frozen
    assert found.flags == (MapFlag.RDONLY_PROG if frozen else 0)
    assert (found.key_type_id, found.value_type_id) == (0, 0)
    variable = spec.variables["x"]
    assert (variable.map, variable.offset, variable.size, variable.type_id) == (found, 4, 8, 0)
    assert variable.raw == (bytes(8) if zeros else b"efghijkl")


def test_sections_nobody_names_are_no_maps():
    """Strings of other sections, static data that no code uses, empty sections."""
    builder = ElfBuilder()
    code = builder.code("xdp", [load_64(), EXIT])
    builder.symbol("main", code, 0, 24)
    builder.object("private", builder.section(".data.unused", bytes(4)), 0, 4, binding=STB_LOCAL)
    builder.section(".rodata.str1.1", b"unused\0")
    builder.section(".data.empty")
    builder.section(".debug_str", b"x")
    used = builder.section(".rodata.cst16", bytes(16))
    builder.relocate(code, 0, builder.section_symbol(used))
    assert list(load_spec(builder.build()).maps) == [".rodata.cst16"]


def test_private_variables_are_not_exposed():
    """Static ones and hidden ones are the object's own."""
    builder = ElfBuilder()
    section = builder.section(".data", bytes(16))
    builder.object("open", section, 0, 4)
    builder.object("static", section, 4, 4, binding=STB_LOCAL)
    builder.object("hidden", section, 8, 4, visibility=STV_HIDDEN)
    builder.object("weak", section, 12, 4, binding=2)
    assert list(load_spec(builder.build()).variables) == ["open", "weak"]


def test_pointers_in_data_are_recorded():
    """The kernel cannot relocate data: a loader must see that zeros stand for something."""
    builder = ElfBuilder()
    section = builder.section(".data", bytes(16))
    text = builder.section(".rodata.str1.1", b"text\0")
    builder.object("table", section, 0, 16)
    builder.relocate(section, 8, builder.section_symbol(text), R_BPF_64_ABS64)
    builder.relocate(section, 0, builder.symbol("main"), R_BPF_64_ABS64)
    spec = load_spec(builder.build())
    assert spec.maps[".data"].entries == ((0, "main"), (8, ".rodata.str1.1"))
    builder.relocate(section, 4, builder.symbol("", SHN_ABS), R_BPF_64_ABS64)
    with pytest.raises(
        ElfError, match=r"section .data: relocation against a symbol without a name"
    ):
        load_spec(builder.build())


def test_zeros_have_a_limit(monkeypatch):
    """An object of hundred bytes could ask for any amount of memory."""
    monkeypatch.setattr(data, "_CONTENTS_LIMIT", 1000)
    builder = ElfBuilder()
    builder.object("x", builder.zeros(".bss", 600), 0, 4)
    load_spec(builder.build())
    builder.object("y", builder.zeros(".bss.more", 600), 0, 4)
    with pytest.raises(ElfError, match=r"section .bss.more: data sections take more than"):
        load_spec(builder.build())


def test_names_are_unique():
    """Two sections, or two variables, of one name could not be told apart."""
    builder = ElfBuilder()
    builder.object("x", builder.section(".data", bytes(4)), 0, 4)
    builder.object("x", builder.section(".data.b", bytes(8)), 4, 4)
    with pytest.raises(ElfError, match=r'section .data.b, offset 0x4: a second variable "x"'):
        load_spec(builder.build())
    builder = ElfBuilder()
    builder.object("x", builder.section(".data", bytes(4)), 0, 4)
    builder.object("y", builder.section(".data", bytes(8)), 4, 4)
    with pytest.raises(ElfError, match=r"section .data: a second data section of this name"):
        load_spec(builder.build())


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("clang", programs.clang_versions() or [19])
def test_types_tags_and_places_come_from_btf(compile_c, clang, byteorder):
    """Sizes and offsets that the compiler left open are filled in, in order of their place."""
    source = """
        static int first_static = 1;
        long long second __attribute__((btf_decl_tag("tagged"))) = 2;
        char third[3] = "ab";
        __attribute__((visibility("hidden"))) int hidden = 4;
        SEC(".data.own") _Bool own = 1;
        SEC("socket") int run(void *ctx) { return first_static++ + hidden++ + third[0]; }
    """
    spec = compile_c(source, byteorder=byteorder, clang=clang)
    assert sorted(spec.variables) == ["own", "second", "third"]
    assert spec.variables["second"].tags == ("tagged",)
    assert spec.variables["own"].value is True
    assert spec.variables["third"].value == "ab"
    for name in (".data", ".data.own"):
        datasec = spec.btf.type(spec.maps[name].value_type_id)
        assert datasec.size == spec.maps[name].value_size
        ends = 0
        for entry in datasec.variables:
            assert entry.offset >= ends
            ends = entry.offset + entry.size
            exposed = spec.variables.get(spec.btf.type(entry.type).name)
            assert exposed is None or exposed.offset == entry.offset
    static = next(iter(spec.btf.ids("first_static")))
    places = {
        entry.type: entry.offset
        for entry in spec.btf.type(spec.maps[".data"].value_type_id).variables
    }
    start = places[static]
    assert int.from_bytes(spec.maps[".data"].contents[start : start + 4], byteorder) == 1
