"""What loads and calls refer to, and how the linked code says it."""

from __future__ import annotations

import pytest

from pyebpf.asm.instruction import Instruction
from pyebpf.elf import load_spec
from pyebpf.errors import ElfError
from pyebpf.spec import Reference, ReferenceKind
from pyebpf.uapi.elf import (
    R_BPF_64_32,
    SHN_ABS,
    SHN_COMMON,
    STB_LOCAL,
    STB_WEAK,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
)
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder, call, load_64

BYTE_ORDERS = ["little", "big"]


@pytest.fixture(params=BYTE_ORDERS)
def builder(request):
    return ElfBuilder(request.param)


def _program(builder, *instructions, name="main"):
    """Code of one program in section xdp, closed by an exit."""
    code = builder.code("xdp", [*instructions, EXIT])
    size = sum(each.slots for each in instructions) * 8 + 8
    builder.symbol(name, code, 0, size)
    return code


def _main(builder):
    return load_spec(builder.build()).programs["main"]


def test_a_map_is_referred_to_by_name(builder):
    """The loader finds source register 1 and zeros in both halves."""
    code = _program(builder, load_64(), load_64(dst=2))
    maps = builder.section("maps", bytes(40))
    builder.object("first", maps, 0, 20)
    second = builder.object("second", maps, 20, 20)
    builder.relocate(code, 16, second)
    main = _main(builder)
    assert main.references == {2: Reference(ReferenceKind.MAP, "second")}
    assert main.instructions[:2] == (load_64(), Instruction(0x18, 2, 1, 0, 0, "second"))


def test_what_stands_behind_a_map_is_kept(builder):
    """A damaged second half stays: with 0 there it would be sound, and another program."""
    code = _program(builder, load_64(4 << 32))
    maps = builder.section("maps", bytes(20))
    builder.relocate(code, 0, builder.object("first", maps, 0, 20))
    main = _main(builder)
    assert main.references == {0: Reference(ReferenceKind.MAP, "first", 4)}
    assert main.instructions[0] == Instruction(0x18, 1, 1, 0, 4 << 32, "first")


@pytest.mark.parametrize(
    ("symbol", "addend"),
    [
        ({"value": 12, "size": 4, "type": STT_OBJECT}, 0),
        ({"value": 8, "type": STT_NOTYPE, "binding": STB_LOCAL}, 4),
        (None, 12),
        ({"value": 16, "type": STT_OBJECT, "binding": STB_LOCAL}, -4),
    ],
    ids=["global", "label", "section", "negative"],
)
def test_a_place_in_data_is_symbol_plus_immediate(builder, symbol, addend):
    """However the compiler says it, the reference is section and offset."""
    code = _program(builder, load_64(addend & 0xFFFFFFFF))
    data = builder.section(".data", bytes(20))
    number = builder.section_symbol(data) if symbol is None else builder.symbol("x", data, **symbol)
    builder.relocate(code, 0, number)
    spec = load_spec(builder.build())
    main = spec.programs["main"]
    assert main.references == {0: Reference(ReferenceKind.MAP_VALUE, ".data", 12)}
    assert main.instructions[0] == Instruction(0x18, 1, 2, 0, 12 << 32, ".data")
    assert list(spec.maps) == [".data"]


def test_an_absolute_symbol_is_its_value(builder):
    """It needs no loader."""
    code = _program(builder, load_64(5))
    builder.relocate(code, 0, builder.symbol("ANSWER", SHN_ABS, 0x1_0000_0025))
    main = _main(builder)
    assert main.references == {}
    assert main.instructions[0] == load_64(0x1_0000_002A)


@pytest.mark.parametrize(("binding", "weak"), [(1, False), (STB_WEAK, True)])
def test_an_undefined_symbol_is_kept_as_a_reference(builder, binding, weak):
    """A load or a call of something nothing defines can never become a program by accident."""
    code = _program(builder, load_64(3), call())
    constant = builder.symbol("constant", type=STT_NOTYPE, binding=binding)
    function = builder.symbol("elsewhere", type=STT_NOTYPE, binding=binding)
    builder.relocate(code, 0, constant)
    builder.relocate(code, 16, function, R_BPF_64_32)
    assert _main(builder).references == {
        0: Reference(ReferenceKind.UNDEFINED, "constant", 3, weak),
        2: Reference(ReferenceKind.UNDEFINED, "elsewhere", 0, weak),
    }


@pytest.mark.parametrize("how", ["symbol", "section", "direct"])
def test_a_call_finds_its_function_however_it_is_written(builder, how):
    """By symbol, by place in a section, or resolved by the compiler already."""
    instructions = [call(), EXIT, MOV_0, EXIT]
    if how == "direct":
        instructions[0] = call(2 - 0 - 1)
    elif how == "section":
        instructions[0] = call(2 - 1)
    code = builder.code("xdp", instructions)
    builder.symbol("main", code, 0, 16)
    static = builder.symbol("static", code, 16, 16, binding=STB_LOCAL)
    if how == "symbol":
        builder.relocate(code, 0, static, R_BPF_64_32)
    elif how == "section":
        builder.relocate(code, 0, builder.section_symbol(code), R_BPF_64_32)
    spec = load_spec(builder.build())
    assert list(spec.programs) == ["main"]
    main = spec.programs["main"]
    assert main.functions == ((0, "main"), (2, "static"))
    assert main.instructions == (call(1), EXIT, MOV_0, EXIT)


@pytest.mark.parametrize("how", ["symbol", "section", "direct"])
def test_a_function_pointer_is_a_distance(builder, how):
    """Source register 4, and the slots from the next one on to the function."""
    source, immediate = {"symbol": (0, 0), "section": (0, 24), "direct": (4, 2)}[how]
    code = builder.code("xdp", [load_64(immediate, src=source), EXIT, MOV_0, EXIT])
    builder.symbol("main", code, 0, 24)
    function = builder.symbol("callback", code, 24, 16, binding=STB_LOCAL)
    if how == "symbol":
        builder.relocate(code, 0, function)
    elif how == "section":
        builder.relocate(code, 0, builder.section_symbol(code))
    main = _main(builder)
    assert main.functions == ((0, "main"), (3, "callback"))
    assert main.instructions[0] == load_64(3 - 0 - 1, src=4)


def test_a_weak_symbol_means_the_global_definition(builder):
    """Where both exist, the weak function is never called."""
    code = _program(builder, call())
    text = builder.code(".text", [EXIT, MOV_0, EXIT])
    weak = builder.symbol("f", text, 0, 8, binding=STB_WEAK)
    builder.symbol("f", text, 8, 16)
    builder.relocate(code, 0, weak, R_BPF_64_32)
    assert _main(builder).instructions == (call(1), EXIT, MOV_0, EXIT)


def test_relocations_in_dead_code_are_ignored(builder):
    """What no program contains needs no sense."""
    code = builder.code("xdp", [EXIT, MOV_0, call(100)])
    builder.symbol("main", code, 0, 8)
    builder.relocate(code, 8, builder.symbol("x"))
    assert len(_main(builder).code) == 8


def _failing(*instructions, section=None, offset=0, number=None, **symbol):
    builder = ElfBuilder()
    code = _program(builder, *instructions)
    if section is not None:
        symbol["section"] = builder.section(section, bytes(40))
        if section == "maps":
            builder.object("one", symbol["section"], 0, 20)
            builder.object("two", symbol["section"], 20, 20)
    found = builder.symbol("x", **{"type": STT_OBJECT, **symbol})
    builder.relocate(code, offset, found if number is None else number)
    return builder


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (_failing(load_64(), offset=4), "0x4: relocation inside an instruction"),
        (_failing(MOV_0), '0x0: "x" relocates an instruction that is neither'),
        (_failing(load_64(), offset=8), '0x8: "x" relocates an instruction that is neither'),
        (_failing(call(1, src=0)), '0x0: call of "x" is not a call of a function'),
        (_failing(call(), section=".data"), '0x0: call of "x", which stands in section .data'),
        (
            _failing(load_64(), section="maps", value=4, type=STT_FUNC),
            '0x0: "x" is inside a map\'s definition',
        ),
        (
            _failing(load_64(), section="maps", value=20, binding=STB_LOCAL, type=STT_NOTYPE),
            '0x0: map "two" is referred to as a local symbol: is its definition wrongly static?',
        ),
        (
            _failing(load_64(), section=".init_array"),
            '0x0: load of "x", which stands in section .init_array',
        ),
    ],
)
def test_a_reference_that_makes_no_sense_is_an_error(builder, message):
    """Each error names section and offset of the instruction."""
    with pytest.raises(ElfError) as caught:
        load_spec(builder.build())
    assert str(caught.value).startswith(f"section xdp, offset {message}")


@pytest.mark.parametrize(
    ("section", "instruction", "message"),
    [
        (SHN_ABS, call(), 'call of "x", an absolute address'),
        (SHN_COMMON, load_64(), 'load of "x", a common symbol: initialise it, or compile with'),
    ],
)
def test_symbols_without_a_section_are_errors_where_they_make_no_sense(
    section, instruction, message
):
    """An absolute address cannot be called, a common symbol has no place."""
    builder = ElfBuilder()
    code = _program(builder, instruction)
    builder.relocate(code, 0, builder.symbol("x", section, type=STT_OBJECT))
    with pytest.raises(ElfError) as caught:
        load_spec(builder.build())
    assert str(caught.value).startswith(f"section xdp, offset 0x0: {message}")


def test_a_direct_call_into_a_function_is_left_to_the_load():
    """The compiler calls starts of functions only; who needs the rest of the file still gets it."""
    builder = ElfBuilder()
    code = builder.code("xdp", [call(2), EXIT, MOV_0, EXIT])
    builder.symbol("main", code, 0, 16)
    builder.symbol("other", code, 16, 16)
    programs = load_spec(builder.build()).programs
    nowhere = Reference(ReferenceKind.UNDEFINED, "xdp+0x18")
    assert programs["main"].references == {0: nowhere}
    assert programs["other"].references == {}


def test_a_call_into_a_function_is_left_to_the_load():
    """A relocated one, and the address of no function, name the place they lead to."""
    builder = ElfBuilder()
    code = _program(builder, call(0), load_64(24))
    builder.relocate(code, 0, builder.section_symbol(code), R_BPF_64_32)
    builder.relocate(code, 8, builder.section_symbol(code))
    assert _main(builder).references == {
        0: Reference(ReferenceKind.UNDEFINED, "xdp+0x8"),
        1: Reference(ReferenceKind.UNDEFINED, "xdp+0x18"),
    }


@pytest.mark.parametrize("addend", [-1, 8, 41])
def test_an_offset_outside_of_a_data_section_is_left_to_the_load(builder, addend):
    """As libbpf, which opens such files; the kernel has words for it."""
    code = _program(builder, load_64(addend & 0xFFFFFFFF))
    data = builder.section(".data", bytes(8))
    builder.relocate(code, 0, builder.object("x", data, 0, 8))
    main = _main(builder)
    assert main.references == {0: Reference(ReferenceKind.MAP_VALUE, ".data", addend)}
    assert main.instructions[0].immediate >> 32 == addend


@pytest.mark.parametrize("immediate", [20, 4])
def test_a_map_is_where_its_symbol_is(builder, immediate):
    """GNU as writes the symbol's value into the instruction too, and libbpf does not look there."""
    code = _program(builder, load_64(immediate))
    maps = builder.section("maps", bytes(40))
    builder.object("first", maps, 0, 20)
    builder.relocate(code, 0, builder.object("second", maps, 20, 20))
    main = _main(builder)
    assert main.references == {0: Reference(ReferenceKind.MAP, "second")}
    assert main.instructions[0].immediate == 0


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("instruction", [call(15), load_64(16)], ids=["call", "address"])
def test_functions_are_found_where_gnu_as_counts_them(builder, instruction, named):
    """It counts in bytes from the start of the section, less one for calls."""
    code = _program(builder, instruction)
    text = builder.code(".text", [MOV_0, EXIT, MOV_0, MOV_0, EXIT])
    builder.symbol("first", text, 0, 16)
    second = builder.symbol("second", text, 16, 24)
    builder.relocate(code, 0, second if named else builder.section_symbol(text))
    main = _main(builder)
    assert [name for _, name in main.functions] == ["main", "second"]
    assert main.references == {}


def test_clang_is_followed_where_both_would_find_a_function():
    """The symbol and what the immediate adds, before the immediate alone."""
    builder = ElfBuilder()
    code = _program(builder, load_64(8))
    text = builder.code(".text", [EXIT, EXIT, EXIT])
    builder.symbol("first", text, 0, 8)
    second = builder.symbol("second", text, 8, 8)
    builder.symbol("third", text, 16, 8)
    builder.relocate(code, 0, second)
    assert [name for _, name in _main(builder).functions] == ["main", "third"]
