"""The container: sections, symbols and relocations, and files that are none."""

from __future__ import annotations

import struct

import pytest

from pyebpf.elf.reader import Elf
from pyebpf.errors import ElfError
from pyebpf.uapi.elf import (
    R_BPF_64_64,
    R_BPF_64_ABS32,
    R_BPF_NONE,
    SHF_COMPRESSED,
    SHN_ABS,
    SHN_XINDEX,
    SHT_RELA,
    STB_LOCAL,
    STT_NOTYPE,
    STT_OBJECT,
    STV_HIDDEN,
)
from tests.support.elf_builder import EXIT, ElfBuilder

BYTE_ORDERS = ["little", "big"]


@pytest.mark.parametrize("byteorder", BYTE_ORDERS)
def test_sections_and_symbols_read_back_as_built(byteorder):
    """Both byte orders give the same numbers."""
    builder = ElfBuilder(byteorder)
    code = builder.code("xdp", [EXIT, EXIT])
    data = builder.section(".data", b"abcdefgh")
    zeros = builder.zeros(".bss", 100)
    builder.symbol("main", code, 8, 8)
    builder.object("hidden", data, 4, 2, visibility=STV_HIDDEN)
    elf = Elf(builder.build())
    assert elf.byteorder == byteorder
    assert [(elf.sections[index].name, elf.sections[index].size) for index in (1, 2, 3)] == [
        ("xdp", 16),
        (".data", 8),
        (".bss", 100),
    ]
    assert bytes(elf.sections[data].data()) == b"abcdefgh"
    assert bytes(elf.sections[zeros].data()) == b""
    assert elf.sections[code].executable
    assert not elf.sections[data].executable
    (main,) = elf.symbols_in(elf.sections[code])
    assert (main.name, main.value, main.size, main.hidden) == ("main", 8, 8, False)
    (hidden,) = elf.symbols_in(elf.sections[data])
    assert (hidden.type, hidden.value, hidden.hidden) == (STT_OBJECT, 4, True)
    assert elf.section(".data") is elf.sections[data]
    assert elf.section("none") is None


def test_compilers_labels_are_no_symbols():
    """Local symbols without a type are left out; numbers still reach them."""
    builder = ElfBuilder()
    code = builder.code("xdp", [EXIT])
    label = builder.symbol("LBB0_1", code, type=STT_NOTYPE, binding=STB_LOCAL)
    elf = Elf(builder.build())
    assert elf.symbols_in(elf.sections[code]) == []
    assert elf.symbol(label).name == "LBB0_1"


@pytest.mark.parametrize("byteorder", BYTE_ORDERS)
def test_relocations_come_sorted_and_without_empty_ones(byteorder):
    """Several tables for one section are one; R_BPF_NONE asks for nothing."""
    builder = ElfBuilder(byteorder)
    code = builder.code("xdp", [EXIT, EXIT])
    symbol = builder.symbol("x")
    for offset, kind in ((8, R_BPF_64_64), (0, R_BPF_64_64), (0, R_BPF_NONE)):
        builder.relocate(code, offset, symbol, kind)
    elf = Elf(builder.build())
    found = elf.relocations_of(elf.sections[code])
    assert found == [(0, R_BPF_64_64, symbol), (8, R_BPF_64_64, symbol)]


def test_extended_section_numbers_are_read():
    """Files with very many sections keep the true count in the first header."""
    data = bytearray(ElfBuilder().build())
    (start,) = struct.unpack_from("<Q", data, 40)
    count, names = struct.unpack_from("<HH", data, 60)
    struct.pack_into("<HH", data, 60, 0, SHN_XINDEX)
    struct.pack_into("<Q", data, start + 32, count)
    struct.pack_into("<I", data, start + 40, names)
    assert len(Elf(bytes(data)).sections) == count


def _patched(offset, replacement):
    data = bytearray(ElfBuilder().build())
    data[offset : offset + len(replacement)] = replacement
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "offset 0x0: not an ELF file"),
        (b"#!/bin/sh\n", "offset 0x0: not an ELF file"),
        (b"\x7fELF\x02\x01", "ELF header: ELF header cut off at 6 bytes"),
        (_patched(0, b"")[:63], "ELF header: ELF header cut off at 63 bytes"),
        (_patched(4, b"\1"), "ELF header, offset 0x4: not a 64-bit ELF file"),
        (_patched(5, b"\3"), "ELF header, offset 0x5: unknown byte order 3"),
        (
            _patched(16, b"\2"),
            "ELF header, offset 0x10: not a relocatable file (type 2);"
            " eBPF objects come from clang -target bpf -c",
        ),
        (
            _patched(18, b"\x3e\0"),
            "ELF header, offset 0x12: made for machine 62, not for eBPF (247)",
        ),
        (_patched(62, b"\xfe\xff"), "ELF header: section names in section 65534 of 3"),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else "",
)
def test_what_is_no_object_is_an_error(data, message):
    """An error names the place in the header."""
    with pytest.raises(ElfError) as caught:
        Elf(data)
    assert str(caught.value) == message


def test_the_size_of_section_headers_is_not_read():
    """As in libelf it is the class's own, whatever the header says: such files are opened."""
    assert [each.name for each in Elf(_patched(58, b"\x28")).sections] == [
        each.name for each in Elf(_patched(58, b"\x40")).sections
    ]


def test_old_clangs_machine_number_is_accepted():
    """Before EM_BPF had a number clang wrote none."""
    assert Elf(ElfBuilder(machine=0).build()).sections


def test_section_headers_outside_the_file_are_an_error():
    """Neither a far start nor a large count reads past the end."""
    data = bytearray(ElfBuilder().build())
    far = bytes(data[:40]) + struct.pack("<Q", 1 << 60) + bytes(data[48:])
    with pytest.raises(ElfError, match="lie outside the file"):
        Elf(far)
    struct.pack_into("<H", data, 60, 60000)
    with pytest.raises(ElfError, match=r"60000 section headers at .* end outside the file"):
        Elf(bytes(data))


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ({"section": 9}, 'section .symtab, offset 0x18: symbol "x" is in section 9'),
        ({"section": 1, "value": 9}, 'section .data, offset 0x9: symbol "x" ends outside'),
        ({"section": SHN_XINDEX}, 'section .symtab, offset 0x18: symbol "x" has section index'),
    ],
)
def test_a_symbol_pointing_nowhere_is_an_error(symbol, message):
    """The error names section and offset."""
    builder = ElfBuilder()
    data = builder.section(".data", bytes(8))
    builder.code("xdp", [EXIT, EXIT])
    number = builder.object("x", **symbol)
    elf = Elf(builder.build())
    with pytest.raises(ElfError) as caught:
        elf.symbol(number)
    assert str(caught.value).startswith(message)
    with pytest.raises(ElfError):
        elf.symbols_in(elf.sections[data])


@pytest.mark.parametrize("number", [0, 3, 1 << 31])
def test_a_symbol_that_is_not_in_the_table_is_an_error(number):
    """Number 0 stands for no symbol, and the table has an end."""
    builder = ElfBuilder()
    builder.symbol("a", SHN_ABS)
    builder.symbol("b", SHN_ABS)
    with pytest.raises(ElfError, match=rf"section .symtab, offset .*: no symbol {number}"):
        Elf(builder.build()).symbol(number)


@pytest.mark.parametrize(("offset", "kind"), [(9, R_BPF_64_64), (13, R_BPF_64_ABS32), (1 << 40, 1)])
def test_a_relocation_outside_its_section_is_an_error(offset, kind):
    """Fields of four bytes may end where those of eight would not."""
    builder = ElfBuilder()
    data = builder.section(".data", bytes(16))
    builder.relocate(data, 12, builder.symbol("x"), R_BPF_64_ABS32)
    builder.relocate(data, offset, builder.symbol("x"), kind)
    elf = Elf(builder.build())
    with pytest.raises(ElfError) as caught:
        elf.relocations_of(elf.sections[data])
    assert str(caught.value) == (
        f"section .rel.data, offset 0x10: relocation at {offset:#x} lies outside section .data"
        " of 16 bytes"
    )


def test_relocations_of_another_form_are_an_error():
    """Nothing that would change code is skipped silently."""
    builder = ElfBuilder()
    data = builder.section(".data", bytes(16))
    builder.relocate(data, 0, builder.symbol("x"))
    table = builder.build()
    elf = Elf(table)
    (found,) = [section for section in elf.sections if section.name == ".rel.data"]
    found.type = SHT_RELA
    with pytest.raises(ElfError, match=r"section .rel.data: .*SHT_RELA"):
        elf.relocations_of(elf.sections[data])


def test_sections_that_cannot_be_read_are_errors():
    """Outside the file, compressed, names without end."""
    builder = ElfBuilder()
    long = builder.section("long", b"1234", size=1 << 40)
    packed = builder.section("packed", b"\1" + bytes(23), flags=SHF_COMPRESSED)
    flagged = builder.section("flagged", b"1234", flags=SHF_COMPRESSED)
    elf = Elf(builder.build())
    with pytest.raises(ElfError, match="section long, offset 0x0: 1099511627776 bytes end outside"):
        elf.sections[long].data()
    with pytest.raises(ElfError, match="section packed: compressed"):
        elf.sections[packed].data()
    assert bytes(elf.sections[flagged].data()) == b"1234"


def test_the_size_of_a_variable_is_cut_at_the_end_of_its_section():
    """Types say how large it is, and libbpf does not look at the symbol's size either."""
    builder = ElfBuilder()
    number = builder.object("x", builder.section(".data", bytes(8)), 4, 1 << 40)
    assert Elf(builder.build()).symbol(number).size == 4


def test_pointers_name_what_they_mean_or_say_where_it_is():
    """Only a section's own symbol leaves the place to the pointer."""
    builder = ElfBuilder()
    code = builder.code("xdp", [EXIT, EXIT])
    named, nameless = builder.symbol("f", code, 8, 8), builder.section_symbol(code)
    elf = Elf(builder.build())
    assert [elf.symbol(number).target(8) for number in (named, nameless)] == [8, 8]


def test_a_name_without_an_end_is_an_error():
    """It is longer than any tool makes."""
    builder = ElfBuilder()
    number = builder.symbol("x" * 5000, SHN_ABS)
    message = r"section .strtab, offset 0x1: the name of symbol 1 does not end in the section"
    with pytest.raises(ElfError, match=message):
        Elf(builder.build()).symbol(number)


def test_a_name_that_is_no_text_survives():
    """As in BTF, so that the two still know each other."""
    builder = ElfBuilder()
    number = builder.symbol("\udcff", SHN_ABS)
    assert Elf(builder.build()).symbol(number).name == "\udcff"


def test_a_file_without_sections_is_an_empty_one():
    """Legal, if useless."""
    data = bytearray(ElfBuilder().build())
    struct.pack_into("<Q", data, 40, 0)
    elf = Elf(bytes(data))
    assert elf.sections == ()
    with pytest.raises(ElfError, match=r"section .symtab, offset 0x18: no symbol 1"):
        elf.symbol(1)


def test_tables_that_do_not_fit_together_are_errors():
    """A symbol table without names, relocations cut off."""
    builder = ElfBuilder()
    data = builder.section(".data", bytes(16))
    builder.relocate(data, 0, builder.symbol("x"))
    elf = Elf(builder.build())
    elf.sections[data + 1].link = 99
    with pytest.raises(ElfError, match=r"section .symtab: names in section 99, which does not"):
        elf.symbol(1)
    raw = bytearray(builder.build())
    (start,) = struct.unpack_from("<Q", raw, 40)
    struct.pack_into("<Q", raw, start + 64 * 4 + 32, 15)
    elf = Elf(bytes(raw))
    with pytest.raises(ElfError, match=r"section .rel.data: 15 bytes are not whole relocations"):
        elf.relocations_of(elf.sections[data])


def test_a_file_without_symbols_has_none():
    """Sections can still be read."""
    builder = ElfBuilder()
    data = builder.section(".data", b"x")
    raw = bytearray(builder.build())
    (start,) = struct.unpack_from("<Q", raw, 40)
    struct.pack_into("<I", raw, start + 64 * 2 + 4, 0)
    elf = Elf(bytes(raw))
    assert elf.symbols_in(elf.sections[data]) == []
    assert bytes(elf.sections[data].data()) == b"x"
