"""Code sections split into functions."""

from __future__ import annotations

import struct

import pytest

from pyebpf.elf.functions import CodeSections
from pyebpf.elf.reader import Elf
from pyebpf.errors import ElfError
from pyebpf.uapi.elf import (
    SHF_EXECINSTR,
    SHT_NULL,
    SHT_SYMTAB,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FUNC,
    STT_NOTYPE,
)
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder


def _split(*symbols, slots=4, name="xdp"):
    builder = ElfBuilder()
    code = builder.code(name, [EXIT] * slots)
    for label, value, size, *kind in symbols:
        binding, type_ = [*kind, *(STB_GLOBAL, STT_FUNC)[len(kind) :]]
        builder.symbol(label, code, value, size, binding=binding, type=type_)
    return CodeSections(Elf(builder.build()))


def _shape(code):
    (section,) = code
    return [(function.name, function.start, function.end) for function in section.functions]


def test_functions_are_what_symbols_say():
    """Start and size, in order of their place."""
    code = _split(("b", 16, 16), ("a", 0, 16))
    assert _shape(code) == [("a", 0, 16), ("b", 16, 32)]
    assert sorted(code.entries()) == ["a", "b"]


def test_a_function_without_a_size_ends_where_the_next_starts():
    """Assembly by hand often has no sizes, nor types."""
    assert _shape(_split(("a", 0, 0), ("b", 24, 0))) == [("a", 0, 24), ("b", 24, 32)]
    untyped = (STB_GLOBAL, STT_NOTYPE)
    assert _shape(_split(("a", 0, 0, *untyped), ("b", 8, 0, *untyped))) == [
        ("a", 0, 8),
        ("b", 8, 32),
    ]


def test_only_a_function_must_lie_in_its_section_whole():
    """What other symbols say of their size does not matter, as it does not to libbpf."""
    assert _shape(_split(("a", 0, 1 << 14, STB_GLOBAL, STT_NOTYPE))) == [("a", 0, 32)]
    with pytest.raises(ElfError, match='xdp, offset 0x0: symbol "a" ends outside the section'):
        _split(("a", 0, 40))


def test_a_label_inside_a_function_is_no_function():
    """Only where no function is, a global label starts one."""
    code = _split(("a", 0, 16), ("inner", 8, 0, STB_GLOBAL, STT_NOTYPE), ("end", 32, 0))
    assert _shape(code) == [("a", 0, 16)]


def test_dead_code_between_functions_is_left_out():
    """Linkers leave the code of overridden weak functions behind, without a symbol."""
    code = _split(("a", 8, 8), ("b", 24, 8))
    assert _shape(code) == [("a", 8, 16), ("b", 24, 32)]
    (section,) = code
    assert [section.at(offset) and section.at(offset).name for offset in (0, 8, 16, 24)] == [
        None,
        "a",
        None,
        "b",
    ]
    assert section.starting_at(8) is section.functions[0]
    assert section.starting_at(12) is None


def test_aliases_are_programs_of_one_code():
    """Every global name of a function is an entry; the global one names it."""
    code = _split(("weak", 0, 32, STB_WEAK), ("local", 0, 32, STB_LOCAL), ("strong", 0, 32))
    assert _shape(code) == [("strong", 0, 32)]
    entries = code.entries()
    assert sorted(entries) == ["strong", "weak"]
    assert entries["weak"] is entries["strong"]


def test_functions_of_the_library_section_are_no_programs():
    """``.text`` holds subprograms only."""
    assert _split(("helper", 0, 32), name=".text").entries() == {}


def test_a_local_function_is_a_program_only_if_nothing_calls_it():
    """Static functions beside an entry are its subprograms."""
    code = _split(("entry", 0, 16), ("static", 16, 16, STB_LOCAL))
    assert sorted(code.entries()) == ["entry", "static"]
    (section,) = code
    section.functions[0].calls[0] = section.functions[1]
    assert sorted(code.entries()) == ["entry"]


def test_a_global_definition_overrides_a_weak_one():
    """Whichever comes first."""
    for first, second in ((STB_WEAK, STB_GLOBAL), (STB_GLOBAL, STB_WEAK)):
        code = _split(("f", 0, 16, first), ("f", 16, 16, second))
        assert code.definition("f").start == (16 if first == STB_WEAK else 0)
        assert list(code.entries()) == ["f"]
    assert code.definition("g") is None


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ([("a", 0, 24), ("b", 16, 16)], 'section xdp, offset 0x0: function "a" overlaps the next'),
        ([("a", 4, 8)], 'section xdp, offset 0x4: function "a" of 8 bytes is not whole'),
        ([("a", 0, 12)], 'section xdp, offset 0x0: function "a" of 12 bytes is not whole'),
        (
            [("f", 0, 16), ("f", 16, 16)],
            'section xdp, offset 0x10: function "f" is defined a second',
        ),
    ],
    ids=["overlap", "start", "size", "twice"],
)
def test_functions_that_cannot_be_are_errors(symbols, message):
    """Each error names section and offset."""
    with pytest.raises(ElfError) as caught:
        _split(*symbols)
    assert str(caught.value).startswith(message)


def test_two_programs_of_one_name_are_an_error():
    """Static functions may share a name, programs may not."""
    code = _split(("f", 0, 16, STB_LOCAL), ("f", 16, 16, STB_LOCAL))
    with pytest.raises(ElfError, match=r'section xdp, offset 0x10: a second program "f"'):
        code.entries()


def test_code_that_no_symbol_names_is_left_out():
    """The other sections have their programs, as with libbpf."""
    builder = ElfBuilder()
    builder.code("tc", [MOV_0, EXIT])
    builder.symbol("f", builder.code("xdp", [MOV_0, EXIT]), 0, 16)
    with pytest.warns(RuntimeWarning, match="section tc is left out: no symbol names a function"):
        code = CodeSections(Elf(builder.build()))
    assert list(code.entries()) == ["f"]


def test_code_without_a_symbol_table_is_an_error():
    """Somebody stripped too much; nothing could be told from another."""
    builder = ElfBuilder()
    builder.code("xdp", [MOV_0, EXIT])
    data = bytearray(builder.build())
    for number in range(*_headers(data)):
        if data[number + 4] == SHT_SYMTAB:
            data[number + 4] = SHT_NULL
    message = "section xdp, offset 0x0: no symbol names the function at its start"
    with pytest.raises(ElfError, match=message):
        CodeSections(Elf(bytes(data)))


def _headers(data):
    (start,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    return start, start + 64 * count, 64


def test_what_is_left_of_an_instruction_is_no_code():
    """A section of code is a multiple of eight bytes; the rest belongs to no function."""
    builder = ElfBuilder()
    section = builder.section("xdp", bytes(12), flags=SHF_EXECINSTR)
    builder.symbol("f", section, 0, 0)
    (found,) = CodeSections(Elf(builder.build()))
    assert [(each.start, each.end) for each in found.functions] == [(0, 8)]
