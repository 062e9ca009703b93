"""Functions of other objects linked in, and what nothing refers to."""

from __future__ import annotations

import pytest

from pyebpf.asm.build import R0, call_function, exit_, mov
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.join import join
from pyebpf.btf.types import Opaque, Ptr
from pyebpf.editor import Editor
from pyebpf.elf import load_spec
from pyebpf.errors import BtfError, LoadError
from pyebpf.linking import link_functions, unreferenced
from pyebpf.program_text import lines_of
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec, Reference, ReferenceKind
from pyebpf.uapi.bpf import MapType
from tests.support.programs import built


def collection(*programs, **rest):
    return CollectionSpec(programs={each.name: each for each in programs}, **rest)


def lines(program):
    """Lines of source by function, in order."""
    found = lines_of(program.line_info, program.btf, program.byteorder)
    ends = [slot for slot, _ in program.functions[1:]] + [len(program.code) // 8]
    return {
        name: [str(each) for slot, each in found.items() if start <= slot < end]
        for (start, name), end in zip(program.functions, ends, strict=True)
    }


def test_a_function_comes_with_all_it_calls():
    """Each once; calls and addresses go to it."""
    program = ProgramSpec.assemble("p", "call tens; call tens; r1 = units ll; call other; exit")
    spec = collection(program)
    link_functions(spec, load_spec(built("subprogs")))
    assert [name for _, name in program.functions] == ["p", "tens", "units"]
    assert [each.symbol for each in program.references.values()] == ["other"]
    assert program.disassemble().splitlines()[1:6] == [
        "       0:\tcall tens",
        "       1:\tcall tens",
        "       2:\tr1 = units ll",
        "       4:\tcall other",
        "       5:\texit",
    ]
    assert program.graph().unreachable == ()


def test_lines_and_types_come_along():
    """Of another object, whose types are put behind one's own."""
    spec = load_spec(built("globals"))
    library = load_spec(built("subprogs"))
    program = spec.programs["add_up"]
    before, types = lines(program), len(spec.btf)
    # Let it call a function that it does not have.
    Editor(program).insert(0, "r6 = r1; w1 = 3; call hundreds; r1 = r6")
    link_functions(spec, library)
    after = lines(program)
    assert after[program.name] == before[program.name]
    assert after["hundreds"] == lines(library.programs["first"])["hundreds"] != []
    assert len(spec.btf) == types + len(library.btf) - 1
    assert {each.btf for each in spec.programs.values()} == {spec.btf}
    # Each function's type is one of that name.
    records = [program.func_info[at : at + 8] for at in range(0, len(program.func_info), 8)]
    named = [spec.btf.type(int.from_bytes(each[4:], program.byteorder)).name for each in records]
    assert named == [name for _, name in program.functions]


def test_maps_and_variables_come_along():
    """Those that linked functions use, with their types."""
    spec = collection(ProgramSpec.assemble("p", "call count; exit"))
    library = load_spec(built("constants"))
    link_functions(spec, library)
    assert set(spec.maps) == {"first"}
    spec = collection(ProgramSpec.assemble("p", "call add_up; exit"))
    library = load_spec(built("globals"))
    link_functions(spec, library)
    assert set(spec.maps) == {
        each.symbol
        for each in library.programs["add_up"].references.values()
        if each.kind is ReferenceKind.MAP_VALUE
    }
    for name, variable in spec.variables.items():
        assert variable.map is spec.maps[variable.map.name]
        assert variable.value == library.variables[name].value
    assert len(spec.btf) > len(library.btf)


def test_maps_of_one_name_must_be_one():
    """Equal definitions are shared; others are an error, and nothing is changed."""
    library = load_spec(built("constants"))
    spec = collection(ProgramSpec.assemble("p", "call count; exit"))
    spec.maps["first"] = library.maps["first"].copy()
    link_functions(spec, library)
    assert spec.maps["first"] == library.maps["first"]
    spec = collection(ProgramSpec.assemble("p", "call count; exit"))
    spec.maps["first"] = MapSpec(name="first", type=MapType.HASH, key_size=4, value_size=4)
    before = spec.copy()
    with pytest.raises(LoadError, match='both collections have a map "first", and they differ'):
        link_functions(spec, library)
    assert spec == before


def test_what_is_not_there_stays_open():
    """Another library may have it; without anything to link nothing changes."""
    spec = collection(ProgramSpec.assemble("p", "call nowhere; exit"))
    before = spec.copy()
    link_functions(spec, load_spec(built("subprogs")))
    assert spec == before


def test_a_library_of_another_byte_order_is_refused():
    """Its bytes mean something else."""
    spec = collection(ProgramSpec.assemble("p", "exit", byteorder="little"), byteorder="little")
    with pytest.raises(LoadError, match="a big-endian object is linked in"):
        link_functions(spec, load_spec(built("subprogs", "big")))
    types = [load_spec(built("subprogs", order)).btf for order in ("little", "big")]
    with pytest.raises(BtfError, match="little-endian types joined with big-endian ones"):
        join(*types)


def test_joined_types_are_those_of_both():
    """With ids of the second moved."""
    first, second = (load_spec(built(name)).btf for name in ("subprogs", "core"))
    joined = join(first, second)
    assert len(joined.btf) == len(first) + len(second) - 1
    for type_id in range(1, len(first)):
        assert joined.btf.type(type_id) == first.type(type_id)
    for type_id in range(1, len(second)):
        assert joined.btf.describe(type_id + joined.ids) == second.describe(type_id)
    for offset in range(1, 50):
        assert joined.btf.string(offset + joined.strings) == second.string(offset)


def test_functions_without_lines_take_the_last_ones():
    """The kernel takes lines for the starts of all functions, or none."""
    library = collection(ProgramSpec.assemble("f", [mov(R0, 2), exit_()]))
    program = ProgramSpec.assemble("p", "call f\nexit")
    link_functions(collection(program), library)
    assert lines(program) == {"p": ["p.s:1", "p.s:2"], "f": ["p.s:2"]}
    library = collection(ProgramSpec.assemble("f", "r0 = 2; exit"))
    program = ProgramSpec.assemble("p", [call_function("f"), exit_()])
    program.references = {0: Reference(ReferenceKind.UNDEFINED, "f")}
    link_functions(collection(program), library)
    assert (program.line_info, len(program.func_info)) == (b"", 16)


def test_split_types_and_unknown_kinds_cannot_be_joined():
    """Their ids mean something else, or cannot be moved."""
    types = load_spec(built("subprogs")).btf
    split = Btf.decode(encode([Ptr(1)], base=types), base=types)
    with pytest.raises(BtfError, match="split BTF cannot be joined"):
        join(types, split)
    unknown = Btf.decode(encode([Opaque("", 31, 31 << 24, 0, ())], layout=[(0, 0)] * 32))
    with pytest.raises(BtfError, match="a type of a kind that is not known"):
        join(types, unknown)


def test_functions_of_a_library_may_name_each_other():
    """As text does; and one that has no types takes those of all away."""
    library = collection(
        ProgramSpec.assemble("one", "call two; r1 = two ll; r2 = things ll; exit"),
        ProgramSpec.assemble("two", "r0 = 2; exit"),
    )
    library.maps["things"] = MapSpec(name="things", type=MapType.HASH, key_size=4, value_size=4)
    program = ProgramSpec.assemble("p", "call one; exit")
    link_functions(collection(program), library)
    assert [name for _, name in program.functions] == ["p", "one", "two"]
    assert [each.symbol for each in program.references.values()] == ["things"]
    assert len(program.func_info) == 24
    library.programs["two"].func_info = b""
    program = ProgramSpec.assemble("p", "call one; exit")
    link_functions(collection(program), library)
    assert program.func_info == program.line_info == b""


def test_jump_tables_and_the_maps_that_maps_hold_come_along():
    """Targets are moved; inner maps are those of the library."""
    program = ProgramSpec.assemble("p", "call callee; exit")
    library = load_spec(built("jump_tables"))
    link_functions(collection(program), library)
    (targets,) = program.jump_tables.values()
    assert [name for _, name in program.functions] == ["p", "callee"]
    ((theirs, _),) = [
        (each.jump_tables, name)
        for name, each in library.programs.items()
        if "BPF.JT.callee" in each.jump_tables
    ]
    first = {name: at for at, name in library.programs["both"].functions}["callee"]
    assert targets == tuple(each - first + 2 for each in theirs["BPF.JT.callee"])
    library = load_spec(built("map_contents"))
    outer = {
        name: [held for _, held in each.entries if held in library.maps]
        for name, each in library.maps.items()
        if any(held in library.maps for _, held in each.entries)
    }
    assert outer
    name, held = next(iter(outer.items()))
    library.programs = {"f": ProgramSpec.assemble("f", f"r1 = map[{name}] ll; exit")}
    spec = collection(ProgramSpec.assemble("p", "call f; exit"))
    link_functions(spec, library)
    assert set(spec.maps) == {name, *held}


def test_what_nothing_uses():
    """Maps and variables; what another map holds is used."""
    assert unreferenced(load_spec(built("constants"))) == {"second"}
    assert unreferenced(load_spec(built("count_syscalls"))) == set()
    spec = load_spec(built("globals"))
    for each in spec.programs.values():
        each.references = {}
    assert unreferenced(spec) == spec.maps.keys() | spec.variables.keys()
