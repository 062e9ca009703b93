"""Named constants and maps of parsed programs, set to something else before a load."""

from __future__ import annotations

import pytest

from pyebpf.elf import load_spec
from pyebpf.errors import LoadError, UnreferencedSymbolError
from pyebpf.spec import ReferenceKind
from tests.support.elf_builder import EXIT, ElfBuilder, call, load_64
from tests.support.programs import built


@pytest.fixture(params=["little", "big"])
def spec(request):
    return load_spec(built("constants", request.param))


def loads(program, symbol):
    """The values the program loads for a symbol."""
    return [each.immediate for each in program.instructions if each.symbol == symbol]


@pytest.mark.parametrize("value", [0, 5, -1, 1 << 32, (1 << 64) - 1, -(1 << 63), True])
def test_a_constant_is_loaded_by_every_use(spec, value):
    """All 64 bits, in either byte order; functions that the program calls included."""
    program = spec.programs["add_up"]
    program.rewrite_constant("SUMMAND", value)
    program.rewrite_constant("SCALE", 3)
    signed = value - (1 << 64) if value >> 63 == 1 else int(value)
    assert loads(program, "SUMMAND") == [signed]
    assert loads(program, "SCALE") == [3]
    assert {each.kind for each in program.references.values()} == {ReferenceKind.CONSTANT}


def test_an_offset_is_added(spec):
    """As the assembler would: ``SUMMAND + 4`` lies four behind; beyond 64 bits it starts anew."""
    program = spec.programs["behind"]
    assert loads(program, "SUMMAND") == [4]
    for value, expected in ((0xFFFF_FFFE, 0x1_0000_0002), (-4, 0), ((1 << 64) - 1, 3)):
        program.rewrite_constant("SUMMAND", value)
        assert loads(program, "SUMMAND") == [expected]


def test_nothing_else_changes(spec):
    """Only immediates; lines of C, tables and other programs stay."""
    before = spec.copy()
    program = spec.programs["add_up"]
    program.rewrite_constant("SUMMAND", -1)
    old = before.programs["add_up"]
    changed = [
        at // 8 for at in range(0, len(old.code), 8) if old.code[at:][:8] != program.code[at:][:8]
    ]
    (slot,) = [at for at, each in old.references.items() if each.symbol == "SUMMAND"]
    assert changed == [slot, slot + 1]
    assert program.line_info == old.line_info != b""
    assert (program.func_info, program.functions) == (old.func_info, old.functions)
    assert all(spec.programs[name] == before.programs[name] for name in ("behind", "pick", "count"))


def test_a_collection_sets_a_constant_wherever_it_is_used(spec):
    """A second time, too."""
    for value in (7, 8):
        spec.rewrite_constant("SUMMAND", value)
        assert loads(spec.programs["add_up"], "SUMMAND") == [value]
        assert loads(spec.programs["behind"], "SUMMAND") == [value + 4]


def test_a_map_can_be_exchanged(spec):
    """In one program, or in all; the map itself stays."""
    program = spec.programs["count"]
    program.rewrite_map("first", "second")
    assert [each.symbol for each in program.references.values()] == ["second"]
    spec.rewrite_map("second", "elsewhere")
    assert [each.symbol for each in program.references.values()] == ["elsewhere"]
    assert set(spec.maps) >= {"first", "second"}


def test_variables_of_a_section_can_be_exchanged_too():
    """Offsets into the section stay."""
    program = load_spec(built("globals")).programs["add_up"]
    before = {slot: each for slot, each in program.references.items() if each.symbol == ".rodata"}
    program.rewrite_map(".rodata", "text")
    after = {slot: each for slot, each in program.references.items() if each.symbol == "text"}
    assert after.keys() == before.keys() != set()
    assert [each.offset for each in after.values()] == [each.offset for each in before.values()]


def test_a_name_that_nothing_uses_is_an_error(spec):
    """It says which; a typo must not pass."""
    program = spec.programs["count"]
    cases = (
        (lambda: program.rewrite_constant("SUMMAND", 1), 'program "count" does not use "SUMMAND"'),
        (lambda: program.rewrite_map("second", "first"), 'program "count" does not use "second"'),
        (lambda: spec.rewrite_constant("NOTHING", 1), 'no program uses "NOTHING"'),
        (lambda: spec.rewrite_map("nothing", "first"), 'no program uses "nothing"'),
    )
    before = spec.copy()
    for rewrite, message in cases:
        with pytest.raises(UnreferencedSymbolError, match=message) as caught:
            rewrite()
        assert f'"{caught.value.name}"' in message
    assert spec == before


def test_a_name_of_something_else_is_an_error():
    """A map is no constant, a constant no map, and a called function neither."""
    spec = load_spec(built("constants"))
    with pytest.raises(
        LoadError, match=r'"count" uses "first" as map, not a constant \(slot \d+\)'
    ):
        spec.programs["count"].rewrite_constant("first", 1)
    with pytest.raises(LoadError, match='"pick" uses "INDEX" as undefined, not a map'):
        spec.programs["pick"].rewrite_map("INDEX", "first")


def test_a_value_of_more_than_64_bits_is_an_error(spec):
    """Nothing is cut off."""
    before = spec.copy()
    for value in (1 << 64, -(1 << 63) - 1):
        with pytest.raises(ValueError, match=r'constant "INDEX" cannot be .*: it has 64 bits'):
            spec.programs["pick"].rewrite_constant("INDEX", value)
    assert spec == before


def test_a_symbol_that_is_called_is_no_constant():
    """All or nothing: its loads, and other programs, stay as they were."""
    builder = ElfBuilder()
    symbol = builder.symbol("x")
    for name, code in (("socket", [load_64(), EXIT]), ("xdp", [load_64(), call(), EXIT])):
        section = builder.code(name, code)
        builder.symbol(f"in_{name}", section, size=8 * (len(code) + 1))
        builder.relocate(section, 0, symbol)
    builder.relocate(section, 16, symbol)
    spec = load_spec(builder.build())
    before = spec.copy()
    message = r'program "in_xdp" uses "x" as a function \(slot 2\)'
    with pytest.raises(LoadError, match=message):
        spec.programs["in_xdp"].rewrite_constant("x", 1)
    with pytest.raises(LoadError, match=message):
        spec.rewrite_constant("x", 1)
    assert spec == before
    spec.programs["in_socket"].rewrite_constant("x", 1)
    assert loads(spec.programs["in_socket"], "x") == [1]
