"""Function, line and CO-RE tables move along with the code."""

from __future__ import annotations

import pathlib
import struct
from array import array

import pytest

from pyebpf.btf.ext import CoreRelocationInfo, Ext, FuncInfo, LineTable
from pyebpf.elf.debug_info import DebugInfo
from pyebpf.elf.flatten import Linker
from pyebpf.elf.functions import CodeSections
from pyebpf.elf.reader import Elf
from pyebpf.errors import ElfError
from pyebpf.spec import CoreRelocation
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder


def _two_functions():
    """A program in xdp at slot 1, which calls one in .text at slot 2; a gap before each."""
    builder = ElfBuilder()
    xdp = builder.code("xdp", [MOV_0, MOV_0, EXIT])
    text = builder.code(".text", [MOV_0, MOV_0, MOV_0, EXIT])
    builder.symbol("main", xdp, 8, 16)
    builder.symbol("f", text, 16, 16)
    code = CodeSections(Elf(builder.build()))
    main, callee = (section.functions[0] for section in code)
    main.calls[0] = callee
    return code, Linker("little").link(main).layout


def _ext(functions=(), lines=(), relocations=(), section="xdp"):
    return Ext(
        {section: [FuncInfo(*row) for row in functions]},
        {section: LineTable(array("I", [number for row in lines for number in row]))},
        {section: [CoreRelocationInfo(*row) for row in relocations]},
    )


def _merged(*parts):
    merged = Ext({}, {}, {})
    for part in parts:
        for table, more in zip(merged, part, strict=True):
            table.update(more)
    return merged


WHOLE = _merged(
    _ext([(8, 5)], [(0, 1, 1, 1), (8, 1, 2, 2), (16, 1, 3, 3)], [(16, 9, "0:1", 0)]),
    _ext([(16, 6)], [(16, 1, 4, 4), (24, 1, 5, 5)], [(24, 8, "0", 1), (8, 7, "0", 1)], ".text"),
)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_tables_are_counted_in_slots_of_the_linked_code(byteorder):
    """What stood at byte 24 of .text stands at slot 3 of the program; dead code's is left out."""
    code, layout = _two_functions()
    order = "<" if byteorder == "little" else ">"
    info = DebugInfo(WHOLE, code, byteorder)
    assert info.func_info(layout) == struct.pack(f"{order}4I", 0, 5, 2, 6)
    rows = [(0, 1, 2, 2), (1, 1, 3, 3), (2, 1, 4, 4), (3, 1, 5, 5)]
    assert info.line_info(layout) == b"".join(struct.pack(f"{order}4I", *row) for row in rows)
    assert info.relocations(layout) == (
        CoreRelocation(1, 9, "0:1", 0),
        CoreRelocation(3, 8, "0", 1),
    )


def test_one_function_without_entries_leaves_the_program_without():
    """The kernel refuses a partial table, and lines that start in the middle of a function."""
    code, layout = _two_functions()
    info = DebugInfo(_ext([(8, 5)], [(8, 1, 2, 2)]), code, "little")
    assert (info.func_info(layout), info.line_info(layout)) == (b"", b"")
    late = _merged(WHOLE, Ext({}, {".text": LineTable(array("I", [24, 1, 5, 5]))}, {}))
    assert DebugInfo(late, code, "little").line_info(layout) == b""
    nothing = DebugInfo(None, code, "little")
    assert (nothing.func_info(layout), nothing.line_info(layout)) == (b"", b"")
    assert nothing.relocations(layout) == ()


def test_lines_are_put_in_order():
    """The kernel wants each instruction once, ascending; the last word on one counts."""
    code, layout = _two_functions()
    rows = [(16, 1, 1, 1), (8, 1, 2, 2), (16, 1, 3, 3)]
    tail = {".text": WHOLE.line_info[".text"]}
    mixed = Ext({}, {**_ext(lines=rows).line_info, **tail}, {})
    found = DebugInfo(mixed, code, "little").line_info(layout)
    assert [row[0] for row in struct.iter_unpack("<4I", found)] == [0, 1, 2, 3]
    assert struct.unpack_from("<4I", found, 16) == (1, 1, 3, 3)


def test_a_relocation_of_no_instruction_is_one_that_cannot_be_made():
    """The spec has it, with nothing to look for; one beyond the code is about no program."""
    code, layout = _two_functions()
    ext = _ext(relocations=[(12, 1, "0", 0), (16, 2, "0", 0), (1 << 31, 3, "0", 0)])
    with pytest.warns(RuntimeWarning, match="section xdp has a CO-RE relocation of no instruction"):
        info = DebugInfo(ext, code, "little")
    assert info.relocations(layout) == (CoreRelocation(0, 1, "", 0), CoreRelocation(1, 2, "0", 0))


@pytest.mark.parametrize(
    ("ext", "left_out"),
    [
        (_ext([(24, 5)]), "func_info"),
        (_ext([(4, 5)]), "func_info"),
        (_ext([(8, 5)], lines=[(8, 1, 1, 1), (4, 1, 1, 1)]), "line_info"),
        (_ext([(8, 5)], lines=[(32, 1, 1, 1)]), "line_info"),
    ],
)
def test_names_and_lines_about_no_instruction_are_left_out(ext, left_out):
    """They describe the code, which runs without them."""
    code, layout = _two_functions()
    entry = layout[:1]
    with pytest.warns(RuntimeWarning, match=f"section xdp is read without {left_out}"):
        info = DebugInfo(ext, code, "little")
    assert bool(info.func_info(entry)) == (left_out != "func_info")
    assert info.line_info(entry) == b""


def test_sections_of_one_name_cannot_be_described():
    """The tables name sections, so two of one name would mix up."""
    builder = ElfBuilder()
    for name in ("one", "two"):
        builder.symbol(name, builder.code("xdp", [MOV_0, EXIT]), 0, 16)
    code = CodeSections(Elf(builder.build()))
    DebugInfo(Ext({}, {}, {}), code, "little")
    with pytest.raises(ElfError, match="section xdp: a second section of this name"):
        DebugInfo(_ext([(0, 1)]), code, "little")


def test_lines_name_the_source_of_their_instruction(compile_c, tmp_path: pathlib.Path):
    """Every line record's text is the line of the file it names."""
    spec = compile_c("""
        static __noinline int third(int x) {
            return x * 3; // marker three
        }
        __noinline int second(int x) {
            return third(x) + 2; // marker two
        }
        SEC("socket") int first(void *ctx) {
            return second(1); // marker one
        }
    """)
    first = spec.programs["first"]
    starts = dict(first.functions)
    lines = (tmp_path / "test.bpf.c").read_text("utf-8").splitlines()
    seen = {}
    for slot, _, text, column in struct.iter_unpack("<4I", first.line_info):
        assert spec.btf.string(text) == lines[(column >> 10) - 1]
        owner = starts[max(start for start in starts if start <= slot)]
        seen.setdefault(owner, set()).add(spec.btf.string(text).rpartition("marker ")[2])
    assert {"one"} <= seen["first"]
    assert {"two"} <= seen["second"]
    assert {"three"} <= seen["third"]
    names = [
        spec.btf.type(type_id).name for _, type_id in struct.iter_unpack("<2I", first.func_info)
    ]
    assert names == ["first", "second", "third"]
