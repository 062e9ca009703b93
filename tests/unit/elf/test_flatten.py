"""Entries and their callees become programs."""

from __future__ import annotations

import pytest

from pyebpf.asm.instruction import Instruction
from pyebpf.elf import flatten, load_spec
from pyebpf.errors import ElfError
from pyebpf.spec import Reference, ReferenceKind
from pyebpf.uapi.elf import R_BPF_64_32
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder, call, load_64


@pytest.fixture(params=["little", "big"])
def builder(request):
    return ElfBuilder(request.param)


def test_callees_follow_breadth_first_and_once(builder):
    """Main calls a and b, a calls c and b, c calls a: main a b c, each call at its distance."""
    xdp = builder.code("xdp", [call(), call(), EXIT])
    text = builder.code(".text", [call(), call(), EXIT, MOV_0, EXIT, call(), EXIT])
    builder.symbol("main", xdp, 0, 24)
    a = builder.symbol("a", text, 0, 24)
    b = builder.symbol("b", text, 24, 16)
    c = builder.symbol("c", text, 40, 16)
    for section, offset, symbol in ((xdp, 0, a), (xdp, 8, b), (text, 0, c), (text, 8, b)):
        builder.relocate(section, offset, symbol, R_BPF_64_32)
    builder.relocate(text, 40, a, R_BPF_64_32)
    main = load_spec(builder.build()).programs["main"]
    assert main.functions == ((0, "main"), (3, "a"), (6, "b"), (8, "c"))
    expected = [call(2), call(4), EXIT, call(4), call(1), EXIT, MOV_0, EXIT, call(-6), EXIT]
    assert main.instructions == tuple(expected)


def test_every_program_has_its_own_copy(builder):
    """The same callee lands at different places in different programs."""
    code = builder.code("xdp", [call(), EXIT, MOV_0, call(), EXIT, MOV_0, EXIT])
    builder.symbol("one", code, 0, 16)
    builder.symbol("two", code, 16, 24)
    shared = builder.symbol("shared", code, 40, 16, binding=0)
    for offset in (0, 24):
        builder.relocate(code, offset, shared, R_BPF_64_32)
    programs = load_spec(builder.build()).programs
    assert programs["one"].instructions == (call(1), EXIT, MOV_0, EXIT)
    assert programs["two"].instructions == (MOV_0, call(1), EXIT, MOV_0, EXIT)


def test_recursion_is_left_to_the_verifier(builder):
    """A function that calls itself is linked once; the kernel refuses it."""
    code = builder.code("xdp", [call(-1), EXIT])
    builder.symbol("main", code, 0, 16)
    assert load_spec(builder.build()).programs["main"].instructions == (call(-1), EXIT)


def test_references_move_with_their_function(builder):
    """Slots count from the start of the linked code, 64-bit loads as two."""
    code = builder.code("xdp", [load_64(), call(), EXIT])
    text = builder.code(".text", [MOV_0, load_64(), EXIT])
    data = builder.section(".data", bytes(8))
    builder.symbol("main", code, 0, 32)
    function = builder.symbol("f", text, 0, 32)
    variable = builder.object("x", data, 4, 4)
    builder.relocate(code, 0, variable)
    builder.relocate(code, 16, function, R_BPF_64_32)
    builder.relocate(text, 8, variable)
    main = load_spec(builder.build()).programs["main"]
    value = Reference(ReferenceKind.MAP_VALUE, ".data", 4)
    assert main.references == {0: value, 5: value}
    assert main.instructions[4] == Instruction(0x18, 1, 2, 0, 4 << 32, ".data")


def test_a_small_file_cannot_ask_for_any_amount_of_code(monkeypatch):
    """Many names of one large function multiply; the sum has a limit."""
    monkeypatch.setattr(flatten, "_LINKED_LIMIT", 1000)
    builder = ElfBuilder()
    code = builder.code("xdp", [MOV_0] * 50)
    for number in range(3):
        builder.symbol(f"alias{number}", code, 0, 400)
    with pytest.raises(ElfError, match="section xdp: linked programs take more than"):
        load_spec(builder.build())
