"""Programs that were changed and linked after compiling, run by the kernel."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf.editor import Editor
from pyebpf.linking import link_functions
from pyebpf.spec import CollectionSpec, ProgramSpec
from tests.support import kernel
from tests.support.programs import built, only

PACKET = bytes(64)
NOTHING = "r9 = 1; r9 = 2 ll; goto +0; r9 = 3"


def scattered(program):
    """Put instructions that do nothing before every one of its instructions."""
    editor, slot = Editor(program), 0
    for instruction in program.instructions:
        editor.insert(slot, NOTHING)
        slot += 5 + instruction.slots


@pytest.mark.usefixtures("real_kernel")
@pytest.mark.parametrize(
    ("name", "program"),
    [("subprogs", "first"), ("globals", "add_up"), ("callbacks", "loop"), ("constants", "count")],
)
def test_a_program_with_more_instructions_computes_the_same(name, program):
    """Between all of its own: calls, callbacks, data and types still fit."""
    if name == "callbacks":
        kernel.needs("5.17", "bpf_loop()")
    spec = only(name, program)
    with pyebpf.load(spec) as bpf:
        expected = bpf.programs[program].run(PACKET).retval
    before = len(spec.programs[program].instructions)
    scattered(spec.programs[program])
    assert len(spec.programs[program].instructions) == 5 * before
    with pyebpf.load(spec) as bpf:
        assert bpf.programs[program].run(PACKET).retval == expected


@pytest.mark.usefixtures("real_kernel")
def test_the_verifier_still_names_the_line_of_source():
    """Of the instruction it refuses, wherever that is now."""
    spec = only("refused", "unchecked_lookup")
    with pytest.raises(pyebpf.VerifierError) as first:
        pyebpf.load(spec)
    scattered(spec.programs["unchecked_lookup"])
    with pytest.raises(pyebpf.VerifierError) as second:
        pyebpf.load(spec)
    assert first.value.source == second.value.source is not None


@pytest.mark.usefixtures("real_kernel")
def test_a_new_beginning_changes_what_a_program_does():
    """Code before all others, with a way out of its own."""
    spec = only("subprogs", "first")
    program = spec.programs["first"]
    Editor(program).insert(
        0,
        """
            w0 = *(u32 *)(r1 + 0)          # the packet's length
            if w0 > LIMIT goto on
            w1 = 7
            call tens
            exit
        on:
        """,
        constants={"LIMIT": 100},
    )
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["first"].run(bytes(64)).retval == 70
        assert bpf.programs["first"].run(bytes(200)).retval == 4321


@pytest.mark.usefixtures("real_kernel")
def test_functions_of_another_object_run():
    """Called from text, and from a compiled program whose types theirs are put behind."""
    library = pyebpf.load_spec(built("subprogs"))
    program = ProgramSpec.assemble(
        "p", "w1 = 3; call hundreds; w6 = w0; w1 = 2; call tens; w0 += w6; exit", section="socket"
    )
    spec = CollectionSpec(programs={"p": program})
    link_functions(spec, library)
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["p"].run(PACKET).retval == 320
    spec = only("globals", "add_up")
    with pyebpf.load(spec) as bpf:
        expected = bpf.programs["add_up"].run(PACKET).retval
    program = spec.programs["add_up"]
    Editor(program).insert(0, "r6 = r1; w1 = 3; call hundreds; r1 = r6")
    link_functions(spec, library)
    assert program.func_info
    assert program.line_info
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["add_up"].run(PACKET).retval == expected


@pytest.mark.usefixtures("real_kernel")
def test_linked_functions_bring_their_data():
    """Maps with their contents, and variables by name."""
    library = pyebpf.load_spec(built("globals"))
    for each in library.programs.values():
        each.autoload = False
    spec = CollectionSpec(
        programs={"p": ProgramSpec.assemble("p", "call add_up; exit", section="socket")}
    )
    link_functions(spec, library)
    with pyebpf.load(spec) as bpf, pyebpf.load(only("globals", "add_up")) as own:
        assert bpf.programs["p"].run(PACKET).retval == own.programs["add_up"].run(PACKET).retval
