"""The code of loaded programs, beside bpftool."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

import pyebpf
from pyebpf.asm.cfg import graph_of
from pyebpf.programs.xlated import xlated
from tests.support import kernel
from tests.support.bpftool import bpftool
from tests.support.programs import only

PROGRAMS = [
    ("subprogs", "first"),
    ("constants", "count"),
    ("globals", "add_up"),
    ("callbacks", "each"),
    ("count", "to_ring"),
    ("xdp_drop", "xdp_drop"),
]


@pytest.fixture(params=PROGRAMS, ids="-".join)
def loaded(request, real_kernel):
    kernel.needs({"callbacks": "5.13", "count": "5.8"}.get(request.param[0], "5.0"), "what it does")
    with pyebpf.load(only(*request.param)) as bpf:
        yield bpf.programs[request.param[1]]


def dumped(program, *options):
    return bpftool("prog", "dump", "xlated", "id", str(program.id), *options)


def test_the_code_is_that_of_bpftool(loaded):
    """The same bytes, but for distances of calls; the same lines of source and names of helpers."""
    theirs = dumped(loaded, "opcodes")
    ours = loaded.disassemble(sources=True, raw_bytes=True)
    raw = re.findall(r"^ {7}((?:[0-9a-f]{2} ?){8,16})$", theirs, re.MULTILINE)
    shown = re.findall(r"^ *\d+:\t([0-9a-f ]+)\t", ours, re.MULTILINE)
    assert [each for each in shown if not each.startswith("85 1")] == [
        each.strip() for each in raw if not each.startswith("85 1")
    ]
    sources = [" ".join(each.split()) for each in re.findall(r"^; (.*)$", theirs, re.MULTILINE)]
    found = [" ".join(each.split()) for each in re.findall(r"^; (.*)$", ours, re.MULTILINE)]
    # bpftool repeats a line where it is that of several instructions in a row.
    assert set(found) == set(sources)
    helpers = [
        name for name in re.findall(r"call (\w+)#-?\d+", theirs) if not name.startswith("bpf_prog_")
    ]
    assert [each for each in helpers if f"call {each}\n" in ours] == helpers
    maps = re.findall(r"map\[id:(\d+)\]", theirs)
    assert len(re.findall(r"map\[[^]]+\](?:\[0\])?", ours)) == len(maps)
    assert [name for name, _ in re.findall(r"^[0-9a-f]{16} <(\w+)>(:)", ours, re.MULTILINE)] == (
        re.findall(r"^(?:\w+ )+\**(\w+)\(.*\):$", theirs, re.MULTILINE)
    )


def test_the_graph_is_that_of_bpftool(loaded):
    """The same blocks, and the same ways between them."""
    code = xlated(loaded.fileno())
    graph = graph_of(code.instructions, functions=code.functions)
    if len(graph.functions) > 1:
        return  # bpftool 7.1 does not find the functions of compiled programs
    theirs = dumped(loaded, "visual")
    # Lines of C, which newer ones show, are in front of the first instruction.
    blocks = re.findall(r"\t(fn_\d+_bb_\d+) \[shape=record[^\"]*\"\{(.*?)\}\"\]", theirs, re.DOTALL)
    starts = {name: int(re.search(r"(\d+): \(", text)[1]) for name, text in blocks}
    edges = defaultdict(set)
    for source, target, style in re.findall(r"(\w+):s -> (\w+):n \[style=\"(\w+)", theirs):
        if style != "invis" and source in starts and target in starts:
            edges[starts[source]].add(starts[target])
    # It lets control run on behind an exit.
    for start, block in graph.blocks.items():
        if block.instructions[-1][1].opcode == 0x95:
            edges.pop(start, None)
    assert set(graph.blocks) == set(starts.values())
    assert {
        start: {edge.target for edge in block.edges}
        for start, block in graph.blocks.items()
        if block.edges
    } == edges


def test_a_program_of_which_nothing_is_known_has_numbers(real_kernel):
    """No types, no names of functions; without names everything is as LLVM prints it."""
    program = pyebpf.ProgramSpec.assemble(
        "plain",
        "call bpf_ktime_get_ns; call f; exit; f: r0 = 0; exit",
        section="socket",
        license="GPL",
    )
    program.func_info = program.line_info = b""
    with pyebpf.load(pyebpf.CollectionSpec(programs={"plain": program})) as bpf:
        text = bpf.programs["plain"].disassemble()
        assert text.splitlines()[0] == "       0:\tcall bpf_ktime_get_ns"
        assert text.splitlines()[1] == "       1:\tcall 0x1"
        plain = bpf.programs["plain"].disassemble(names=False)
        assert re.match(r" {7}0:\tcall -?0x[0-9a-f]+$", plain.splitlines()[0])
