"""Code put into programs and taken out of them, with all that points into it."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.asm.build import R0, R9, exit_, function, label, load_64, may_goto, mov
from pyebpf.editor import Editor
from pyebpf.elf import load_spec
from pyebpf.errors import AsmError, UnreferencedSymbolError
from pyebpf.program_text import lines_of
from pyebpf.spec import ProgramSpec, Reference, ReferenceKind
from tests.support.programs import DATA, built


@functools.cache
def _objects():
    programs = []
    for path in sorted(DATA.glob("*.o")):
        programs += load_spec(path).programs.values()
    return programs


def starts(program):
    """The slots of instructions."""
    slot, found = 0, []
    for instruction in program.instructions:
        found.append(slot)
        slot += instruction.slots
    return found


def line_at(program, slot):
    """The line of source that an instruction belongs to."""
    lines = lines_of(program.line_info, program.btf, program.byteorder)
    return lines.get(max((each for each in lines if each <= slot), default=None))


NEW = [mov(R9, 1), load_64(R9, 1 << 40), may_goto("next"), label("next"), mov(R9, 2)]


@given(st.data())
def test_what_is_put_in_can_be_taken_out_again(data):
    """Whatever the program and the place: every table is as before, and points to the same."""
    original = data.draw(st.sampled_from(_objects()))
    program = original.copy()
    slot = data.draw(st.sampled_from(starts(program)))
    editor = Editor(program)
    editor.insert(slot, NEW)
    assert len(program.code) == len(original.code) + 40

    def moved(old):
        return old + 5 if old >= slot else old

    assert program.references == {moved(at): each for at, each in original.references.items()}
    assert [each.slot for each in program.relocations] == [
        moved(each.slot) for each in original.relocations
    ]
    for old in starts(original):
        assert line_at(program, moved(old)) == line_at(original, old)
    before, after = original.graph(), program.graph()
    assert [each.name for each in after.functions] == [each.name for each in before.functions]
    assert [len(each.blocks) for each in before.functions] <= [
        len(each.blocks) for each in after.functions
    ]
    editor.delete(slot, slot + 5)
    assert program == original


@given(st.data())
def test_every_jump_goes_where_it_went(data):
    """To the same instruction; what went to the place goes to what was put there."""
    original = data.draw(st.sampled_from(_objects()))
    program = original.copy()
    slot = data.draw(st.sampled_from(starts(program)))
    Editor(program).insert(slot, "r9 = 1; r9 = 2")

    def moved(old):
        return old + 2 if old > slot else old

    def edges(graph):
        return {
            (block.instructions[-1][0], edge.target)
            for block in graph.blocks.values()
            for edge in block.edges
            if edge.taken
        }

    def placed(old):
        return old + 2 if old >= slot else old

    expected = {(placed(at), moved(target)) for at, target in edges(original.graph())}
    assert edges(program.graph()) == expected


TEXT = """
    r1 = 5
    if r1 == 0 goto out
    r2 = counts ll
    call local
    r0 = 1
out:
    exit
local:
    r0 = 2
    exit
"""


@pytest.fixture
def program():
    return ProgramSpec.assemble("p", TEXT)


def body(program):
    """The text of the code without addresses and headings."""
    lines = program.disassemble(addresses=False).splitlines()
    return [line.strip() for line in lines if line.startswith("\t")]


def test_new_code_may_use_names_of_the_old_one(program):
    """Functions by name, places by labels; and it may name maps."""
    Editor(program).insert(
        4,
        "r3 = other ll; if r3 == 0 goto end; call local; call bpf_ktime_get_ns; r4 = LIMIT",
        labels={"end": 6},
        constants={"LIMIT": 7},
    )
    assert body(program) == [
        "r1 = 0x5",
        "if r1 == 0x0 goto +0xa <p+0x60>",
        "r2 = counts ll",
        "r3 = other ll",
        "if r3 == 0x0 goto +0x5 <p+0x60>",
        "call local",
        "call bpf_ktime_get_ns",
        "r4 = 0x7",
        "call local",
        "r0 = 0x1",
        "exit",
        "r0 = 0x2",
        "exit",
    ]
    assert program.references == {
        2: Reference(ReferenceKind.UNDEFINED, "counts"),
        4: Reference(ReferenceKind.UNDEFINED, "other"),
    }
    assert program.functions == ((0, "p"), (13, "local"))


def test_code_is_replaced_with_its_references(program):
    """Longer or shorter; jumps to the first instruction stay."""
    Editor(program).replace(2, 5, [mov(R0, 7)])
    assert body(program)[1:5] == [
        "if r1 == 0x0 goto +0x2 <p+0x20>",
        "r0 = 0x7",
        "r0 = 0x1",
        "exit",
    ]
    assert program.references == {}
    Editor(program).replace(0, 1, "r1 = 1 ll")
    assert program.functions == ((0, "p"), (6, "local"))


def test_a_function_may_be_appended_and_taken_out(program):
    """As long as nothing calls it."""
    editor = Editor(program)
    editor.insert(len(program.code) // 8, [function("unused"), mov(R0, 0), exit_()])
    assert program.functions == ((0, "p"), (7, "local"), (9, "unused"))
    with pytest.raises(AsmError, match="slot 7 is jumped to or called, and would be gone"):
        editor.delete(7, 9)
    editor.delete(4, 5)
    editor.delete(6, 8)
    assert program.functions == ((0, "p"), (6, "unused"))
    editor.delete(6, 8)
    assert program.functions == ((0, "p"),)
    assert body(program)[-1] == "exit"


def test_what_would_not_fit_is_an_error_and_changes_nothing(program):
    """Jumps into what is taken out, halves of loads, parts of two functions, far jumps."""
    cases = (
        (lambda each: each.delete(5, 7), "slot 6 is jumped to or called, and would be gone"),
        (lambda each: each.insert(3, "exit"), 'slot 3 of program "p" is in the middle of a 64-bit'),
        (lambda each: each.delete(3, 5), 'slot 3 of program "p" is in the middle of a 64-bit'),
        (lambda each: each.insert(50, "exit"), 'slot 50 of program "p" is outside'),
        (lambda each: each.delete(2, 1), "slots 2 to 1 are none"),
        (lambda each: each.delete(6, 8), "slots 6 to 8 are of several functions"),
        (lambda each: each.insert(4, "r1 ="), "line 1, column 5: expected a number"),
        (lambda each: each.insert(4, "goto x"), 'line 1, column 1: unknown label "x"'),
        (
            lambda each: each.insert(4, [mov(R0, 0)] * 0x8000),
            "the jump of slot 1 would go 32772 slots, more than 16 bits",
        ),
    )
    before = program.copy()
    for change, message in cases:
        with pytest.raises(AsmError) as caught:
            change(Editor(program))
        assert message in str(caught.value)
        assert program == before


def test_new_functions_get_types_and_lines_where_others_have_them():
    """The kernel takes the types of all functions or of none."""
    program = load_spec(built("subprogs")).programs["first"]
    size = len(program.code) // 8
    Editor(program).insert(size, "exit; f: r0 = 1; exit; call f")
    assert program.functions[-1] == (size + 1, "f")
    slot, type_id = struct.unpack("=II", program.func_info[-8:])
    assert (slot, program.btf.type(type_id).name) == (size + 1, "f")
    assert line_at(program, size + 1) == line_at(program, size)
    assert size + 1 in lines_of(program.line_info, program.btf, program.byteorder)


def test_new_functions_of_constructors_have_no_lines():
    """Where nothing has, none is made up."""
    program = ProgramSpec.assemble("p", [mov(R0, 0), exit_()])
    Editor(program).insert(2, [function("f"), exit_()])
    assert len(program.func_info) == 16
    assert program.line_info == b""
    program.func_info = b""
    Editor(program).insert(3, [function("g"), exit_()])
    assert program.func_info == b""


def test_an_editor_knows_what_the_program_uses():
    """Symbols by slot, maps, and a plain error for a name it does not use."""
    editor = Editor(load_spec(built("constants")).programs["count"])
    assert editor.maps == {"first"}
    ((slot,),) = editor.symbols.values()
    assert editor.uses("first") == (slot,)
    editor.rewrite_map("first", "second")
    assert editor.maps == {"second"}
    with pytest.raises(UnreferencedSymbolError, match='"count" does not use "first"') as caught:
        editor.uses("first")
    assert caught.value.name == "first"
    editor = Editor(load_spec(built("constants")).programs["pick"])
    editor.rewrite_constant("INDEX", 2)
    assert editor.program.references[editor.uses("INDEX")[0]].kind is ReferenceKind.CONSTANT
