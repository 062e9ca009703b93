"""Where control goes."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.asm.assemble import assemble
from pyebpf.asm.cfg import graph_of
from pyebpf.asm.instruction import decode_all
from pyebpf.asm.parse import parse
from pyebpf.errors import AsmError

TEXT = """
entry:
    r1 = 5 ll
    if r1 == 0 goto out
    call callee
    may_goto out
    gotol entry
    r0 = 1
out:
    exit
callee:
    r2 = callback ll
    exit
callback:
    gotox r1
    r0 = 2
    exit
nobody:
    goto nobody
"""


def graph(text, **options):
    made = assemble(parse(text, "little").items, "little")
    functions = {made.labels[name]: name for name in ("entry", "callee", "callback", "nobody")}
    return graph_of(made.instructions, functions=functions, **options)


def test_blocks_end_at_jumps_and_where_jumps_land():
    """Functions at calls and addresses; each block knows where it goes on."""
    found = graph(TEXT, indirect=[12])
    edges = {
        function.name: [
            (block.start, block.end, [(edge.target, edge.taken) for edge in block.edges])
            for block in function.blocks
        ]
        for function in found.functions
    }
    assert edges == {
        "entry": [
            (0, 3, [(3, False), (7, True)]),
            (3, 5, [(5, False), (7, True)]),
            (5, 6, [(0, True)]),
            (6, 7, [(7, False)]),
            (7, 8, []),
        ],
        "callee": [(8, 11, [])],
        "callback": [(11, 12, [(12, True)]), (12, 14, [])],
        "nobody": [(14, 15, [(14, True)])],
    }
    calls = {block.start: block.calls for block in found.blocks.values() if block.calls}
    assert calls == {3: (8,), 8: (11,)}


def test_what_is_never_reached():
    """Code behind a jump, a function nobody calls; without tables an indirect jump goes nowhere."""
    assert [block.start for block in graph(TEXT, indirect=[12]).unreachable] == [6, 14]
    assert [block.start for block in graph(TEXT).unreachable] == [6, 12, 14]


def test_graphviz_reads_the_text(tmp_path):
    """A frame for each function, a box for each block."""
    text = graph(TEXT, indirect=[12]).dot()
    assert text.count("subgraph") == 4
    assert 'label="0: r1 = 0x5 ll\\l2: if r1 == 0x0 goto +0x4\\l"' in text
    assert "block_5 -> block_0;" in text
    assert "block_0 -> block_3 [style=dashed];" in text
    assert "block_3 -> block_8 [style=dotted, constraint=false];" in text
    assert "block_6 [" in text
    assert text.count("fontcolor=grey") == 2
    if shutil.which("dot") is None:
        pytest.skip("dot (Debian: graphviz) is not installed")
    subprocess.run(["dot", "-Tsvg"], input=text, text=True, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("b7 00 00 00 00 00 00 00", "slot 0: control runs out of the code"),
        ("05 00 01 00 00 00 00 00 95 00 00 00 00 00 00 00", "slot 0: goes to slot 2, outside"),
        (
            "05 00 01 00 00 00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
            " 95 00 00 00 00 00 00 00",
            "slot 0: goes into the middle of a 64-bit load",
        ),
    ],
)
def test_code_that_loses_control_is_an_error(code, message):
    """With its slot."""
    with pytest.raises(AsmError) as caught:
        graph_of(decode_all(bytes.fromhex(code), "little"))
    assert message in str(caught.value)


def test_no_code_has_no_functions():
    """And nothing to reach."""
    empty = graph_of(())
    assert (empty.functions, empty.reachable, empty.unreachable) == ((), frozenset(), ())


@given(
    st.binary(max_size=160).map(lambda data: data[: len(data) // 8 * 8] + bytes([0x95] + [0] * 7))
)
def test_blocks_of_any_code_are_all_its_slots(data):
    """Each once, in order; every way leads to a block."""
    try:
        instructions = decode_all(data, "little")
        found = graph_of(instructions)
    except AsmError:
        return
    blocks = list(found.blocks.values())
    assert [blocks[0].start, *(block.end for block in blocks)] == [
        *(block.start for block in blocks),
        len(data) // 8,
    ]
    assert [each for block in blocks for _, each in block.instructions] == list(instructions)
    assert all(edge.target in found.blocks for block in blocks for edge in block.edges)
