"""Programs from assembler text and as text again."""

from __future__ import annotations

import re
import struct
import subprocess

import pytest

from pyebpf.asm.build import R1, call_kfunc, exit_, load_map, load_map_value, load_symbol
from pyebpf.elf import load_spec
from pyebpf.errors import AsmError, SourceLine
from pyebpf.gather import gather_types
from pyebpf.program_text import lines_of
from pyebpf.resolve import resolve
from pyebpf.spec import (
    CollectionSpec,
    MapSpec,
    ProgramSpec,
    Reference,
    ReferenceKind,
    VariableSpec,
)
from pyebpf.uapi.bpf import AttachType, MapType, ProgType
from tests.corpus.disassembly import comparable, find_objdump
from tests.support.programs import DATA, built

TEXT = """
    r1 = counts ll
    r2 = numbers + 8 ll
    r3 = LIMIT ll
    call bpf_map_lookup_elem
    call bpf_task_acquire
    r4 = ksym[runqueues] ll
    call local
    exit
local:
    r1 = map[.rodata][0]+4 ll
    exit
"""


def kinds(program):
    return {each.symbol: each.kind for each in program.references.values()}


def test_a_section_says_what_a_program_is():
    """As in C: its type, what it attaches to, whether it is loaded."""
    program = ProgramSpec.assemble("p", "r0 = 0; exit", section="?fentry/tcp_connect")
    assert (program.type, program.attach_type) == (ProgType.TRACING, AttachType.TRACE_FENTRY)
    assert (program.attach_to, program.autoload) == ("tcp_connect", False)
    assert (program.section, program.functions) == ("fentry/tcp_connect", ((0, "p"),))
    assert ProgramSpec.assemble("p", "exit", type=ProgType.XDP).type == ProgType.XDP


def test_text_and_constructors_name_what_they_refer_to():
    """Maps, places in them, constants, functions of the kernel."""
    program = ProgramSpec.assemble("p", TEXT)
    assert kinds(program) == {
        "counts": ReferenceKind.UNDEFINED,
        "numbers": ReferenceKind.UNDEFINED,
        "LIMIT": ReferenceKind.UNDEFINED,
        "bpf_task_acquire": ReferenceKind.KFUNC,
        "runqueues": ReferenceKind.KSYM,
        ".rodata": ReferenceKind.MAP_VALUE,
    }
    assert [each.offset for each in program.references.values()] == [0, 8, 0, 0, 0, 4]
    assert program.functions == ((0, "p"), (12, "local"))
    items = [
        load_map(R1, "counts"),
        load_map_value(R1, ".data", 12),
        load_symbol(R1, "LIMIT", 1),
        call_kfunc("f"),
        exit_(),
    ]
    assert ProgramSpec.assemble("p", items).references == {
        0: Reference(ReferenceKind.MAP, "counts"),
        2: Reference(ReferenceKind.MAP_VALUE, ".data", 12),
        4: Reference(ReferenceKind.UNDEFINED, "LIMIT", 1),
        6: Reference(ReferenceKind.KFUNC, "f"),
    }


def test_mistakes_name_the_place_in_the_text():
    """Line and column."""
    with pytest.raises(AsmError, match='line 2, column 2: unknown label "x"'):
        ProgramSpec.assemble("p", "r0 = 0\n goto x\nexit")


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_what_is_printed_assembles_again(byteorder):
    """The same code and the same references."""
    program = ProgramSpec.assemble("p", TEXT, byteorder=byteorder)
    again = ProgramSpec.assemble("p", program.disassemble(), byteorder=byteorder)
    assert (again.code, again.references) == (program.code, program.references)
    assert (again.functions, again.func_info) == (program.functions, program.func_info)


def test_text_is_its_own_source():
    """Each instruction knows its line and column; each function has a type of its name."""
    program = ProgramSpec.assemble("p", "r0 = 0; r0 += 1\n\n  call .f.1\nexit\n.f.1: exit")
    lines = lines_of(program.line_info, program.btf, program.byteorder)
    assert lines == {
        0: SourceLine("p.s", 1, 1, "r0 = 0; r0 += 1"),
        1: SourceLine("p.s", 1, 9, "r0 = 0; r0 += 1"),
        2: SourceLine("p.s", 3, 3, "  call .f.1"),
        3: SourceLine("p.s", 4, 1, "exit"),
        4: SourceLine("p.s", 5, 7, ".f.1: exit"),
    }
    records = struct.iter_unpack("=II", program.func_info)
    types = {slot: program.btf.type(type_id).name for slot, type_id in records}
    assert types == {0: "p", 4: "_f_1"}


def test_types_of_all_programs_are_gathered():
    """Those that come along behind the collection's own; a load takes one set of types."""
    spec = load_spec(built("subprogs"))
    other = load_spec(built("globals")).programs["add_up"]
    spec.programs = {
        "first": spec.programs["first"],
        "text": ProgramSpec.assemble("text", "r0 = 1; exit"),
        "add_up": other.copy(),
        "items": ProgramSpec.assemble("items", [exit_()]),
    }
    before = {name: shown(each) for name, each in spec.programs.items()}
    own, types = spec.btf, spec.programs["first"].func_info
    gather_types(spec)
    assert spec.programs["first"].func_info == types
    assert len(spec.btf) > len(own) + len(other.btf)
    assert {id(each.btf) for each in spec.programs.values()} == {id(spec.btf)}
    assert {name: shown(each) for name, each in spec.programs.items()} == before
    spec = CollectionSpec(programs={"p": ProgramSpec.assemble("p", "exit")})
    gather_types(spec)
    assert spec.btf is spec.programs["p"].btf


def shown(program):
    """What the types say about a program."""
    records = struct.iter_unpack("=II", program.func_info)
    return (
        [(slot, program.btf.describe(type_id)) for slot, type_id in records],
        lines_of(program.line_info, program.btf, program.byteorder),
        [program.btf.describe(each.type_id) for each in program.relocations],
    )


def test_lines_without_strings_are_left_out():
    """Hostile tables are no error of a listing."""
    program = ProgramSpec.assemble("p", "r0 = 0\nexit")
    program.line_info = struct.pack("=IIII", 0, 1 << 20, 5, 1 << 10) + program.line_info[16:]
    assert list(lines_of(program.line_info, program.btf, program.byteorder)) == [1]
    assert lines_of(program.line_info, None, program.byteorder) == {}


def test_names_that_text_cannot_hold_stand_in_quotes():
    """And are read back."""
    program = ProgramSpec.assemble("p", [load_symbol(R1, "odd name"), exit_()])
    assert 'r1 = "odd name" ll' in program.disassemble()
    assert ProgramSpec.assemble("p", program.disassemble()).references == program.references


@pytest.mark.parametrize("path", sorted(DATA.glob("*.el.o")), ids=lambda path: path.stem)
def test_programs_of_objects_are_printed_and_read_again(path):
    """Linked, with their names; the code is the same but for values that names stand for."""
    for program in load_spec(path).programs.values():
        text = program.disassemble(lossless=True)
        again = ProgramSpec.assemble(program.name, text, byteorder=program.byteorder)
        assert {slot: each.symbol for slot, each in again.references.items()} == {
            slot: each.symbol
            for slot, each in program.references.items()
            if each.kind is not ReferenceKind.CONSTANT
        }
        slots = [*program.references, *(slot + 1 for slot in program.references)]
        assert without(again.code, slots) == without(program.code, slots)
        called = {name for _, name in again.functions}
        assert called <= {name for _, name in program.functions}


def without(code, slots):
    """Code with some slots blank."""
    blank = bytearray(code)
    for slot in slots:
        if blank[8 * slot] in (0x18, 0x85, 0):
            blank[8 * slot + 1 : 8 * slot + 8] = bytes(7)
    return bytes(blank)


def test_lines_of_source_are_printed_where_they_begin():
    """As llvm-objdump does for the object, where nothing was linked in."""
    objdump = find_objdump()
    if objdump is None:
        pytest.skip("llvm-objdump-22 (Debian: llvm-22) is not installed")
    path = built("trace_exec")
    command = [objdump, "-S", "-d", "--no-show-raw-insn", "--mcpu=v4", str(path)]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (program,) = load_spec(path).programs.values()
    ours = program.disassemble(names=False, sources=True)
    sources = [line for line in comparable(ours) if line.startswith(";")]
    assert sources == [line for line in comparable(theirs) if line.startswith(";")] != []


def test_the_graph_of_a_program_knows_its_functions_and_jump_tables():
    """By name; what only a table leads to is reached."""
    graph = load_spec(built("jump_tables")).programs["both"].graph()
    assert [(each.name, len(each.blocks)) for each in graph.functions] == [
        ("both", 1),
        ("callee", 6),
    ]
    assert graph.unreachable == ()


def collection(program):
    data = MapSpec(
        name=".data", type=MapType.ARRAY, key_size=4, value_size=16, contents=bytearray(16)
    )
    counts = MapSpec(name="counts", type=MapType.HASH, key_size=4, value_size=8, max_entries=9)
    return CollectionSpec(
        maps={"counts": counts, ".data": data},
        programs={"p": program},
        variables={"numbers": VariableSpec(name="numbers", map=data, offset=4, size=12)},
    )


def test_names_are_found_in_the_collection():
    """Maps, contents of sections, variables; the rest stays open."""
    spec = collection(ProgramSpec.assemble("p", TEXT + "r1 = .data + 2 ll; r1 = given ll; exit"))
    resolve(spec, maps={"given"})
    found = {
        (each.kind, each.symbol, each.offset) for each in spec.programs["p"].references.values()
    }
    assert found == {
        (ReferenceKind.MAP, "counts", 0),
        (ReferenceKind.MAP_VALUE, ".data", 12),
        (ReferenceKind.MAP_VALUE, ".data", 2),
        (ReferenceKind.MAP, "given", 0),
        (ReferenceKind.UNDEFINED, "LIMIT", 0),
        (ReferenceKind.KFUNC, "bpf_task_acquire", 0),
        (ReferenceKind.KSYM, "runqueues", 0),
        (ReferenceKind.MAP_VALUE, ".rodata", 4),
    }
    text = spec.programs["p"].disassemble(names=False)
    assert re.findall(r"ld_pseudo\s+(.*)", text) == [
        "r1, 0x1, 0x0",
        "r2, 0x2, 0x0",
        "r4, 0x3, 0x0",
        "r1, 0x2, 0x0",
        "r1, 0x2, 0x0",
        "r1, 0x1, 0x0",
    ]


def test_externs_of_the_configuration_are_printed_by_name():
    """As what a symbol is that nothing else says."""
    program = load_spec(built("externs")).programs
    texts = "".join(each.disassemble() for each in program.values())
    assert "CONFIG_HZ ll" in texts or "LINUX_KERNEL_VERSION ll" in texts


def test_a_place_behind_a_map_is_not_the_map():
    """Only values have places in them; and a call is of no map."""
    spec = collection(ProgramSpec.assemble("p", "r1 = counts + 4 ll; call counts; exit"))
    resolve(spec)
    found = [each.kind for each in spec.programs["p"].references.values()]
    assert found == [ReferenceKind.UNDEFINED, ReferenceKind.KFUNC]


def test_programs_without_types_are_left_alone():
    """Types that nothing refers to are not joined."""
    program = ProgramSpec.assemble("p", "exit")
    program.func_info = program.line_info = b""
    spec = collection(program)
    gather_types(spec)
    assert spec.btf is None
