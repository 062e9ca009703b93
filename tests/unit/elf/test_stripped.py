"""Objects whose static functions have lost their names."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pyebpf.elf import load_spec
from pyebpf.elf.functions import CodeSections
from pyebpf.elf.reader import Elf
from pyebpf.uapi.elf import STB_LOCAL
from tests.support import programs
from tests.support.elf_builder import EXIT, ElfBuilder, call, load_64

STRIP = next(filter(None, map(shutil.which, ("llvm-strip-19", "llvm-strip"))), None)
FUNC = 4  # BPF_PSEUDO_FUNC


def functions(builder, name):
    """Where the functions of a section are, by name."""
    code = CodeSections(Elf(builder.build()))
    (section,) = (each for each in code if each.section.name == name)
    return {each.name: (each.start, each.end) for each in section.functions}


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("name", ["subprogs", "callbacks", "globals"])
def test_stripped_objects_give_the_same_programs(name, order, tmp_path):
    """Code and tables do not depend on names that nothing links to."""
    if STRIP is None:
        pytest.skip("llvm-strip is not installed")
    path = programs.built(name, order)
    stripped = tmp_path / path.name
    subprocess.run([STRIP, "--strip-unneeded", "-o", stripped, path], check=True)
    before, after = load_spec(path).programs, load_spec(stripped).programs
    assert after.keys() == before.keys()
    for name, each in before.items():
        other = after[name]
        assert (other.code, other.func_info, other.line_info) == (
            each.code,
            each.func_info,
            each.line_info,
        )
        assert [slot for slot, _ in other.functions] == [slot for slot, _ in each.functions]


def test_what_is_called_and_has_no_name_is_a_function():
    """Called by the section's symbol, by its address or without relocation; ends at the next."""
    builder = ElfBuilder()
    text = builder.code(".text", [EXIT, call(2), EXIT, EXIT, EXIT, EXIT, EXIT])
    builder.symbol("named", text, 0, 8)
    entry = builder.code("xdp", [call(4), load_64(40, src=FUNC), EXIT])
    builder.symbol("entry", entry, 0, 32)
    builder.symbol("other", entry, 0, 32, binding=STB_LOCAL)
    here = builder.section_symbol(text)
    builder.relocate(entry, 0, here)
    builder.relocate(entry, 8, here)
    assert functions(builder, ".text") == {
        "named": (0, 8),
        ".text+0x20": (32, 40),
        ".text+0x28": (40, 56),
    }


def test_places_that_no_function_can_start_at_are_none():
    """Outside, inside an instruction, inside a function that has a name."""
    builder = ElfBuilder()
    text = builder.code(".text", [EXIT, EXIT, EXIT])
    builder.symbol("named", text, 0, 16)
    entry = builder.code("xdp", [call(99), call(0), load_64(20, src=FUNC), EXIT])
    builder.symbol("entry", entry, 0, 40)
    here = builder.section_symbol(text)
    for offset in (0, 8, 16):
        builder.relocate(entry, offset, here)
    assert functions(builder, ".text") == {"named": (0, 16)}


def test_a_library_that_nobody_calls_needs_no_names():
    """It is in no program."""
    builder = ElfBuilder()
    builder.code(".text", [EXIT])
    entry = builder.code("xdp", [EXIT])
    builder.symbol("entry", entry, 0, 8)
    assert functions(builder, ".text") == {}
    assert list(load_spec(builder.build()).programs) == ["entry"]
