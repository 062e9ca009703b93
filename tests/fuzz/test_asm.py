"""Hostile code and text: an answer or an AsmError, in bounded time."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from pyebpf.asm.assemble import assemble
from pyebpf.asm.cfg import graph_of
from pyebpf.asm.instruction import decode_all
from pyebpf.asm.parse import parse
from pyebpf.asm.text import disassemble
from pyebpf.editor import Editor
from pyebpf.elf import load_spec
from pyebpf.elf.listing import listing
from pyebpf.errors import AsmError, BtfError, ElfError
from pyebpf.spec import ProgramSpec
from tests.corpus.disassembly import reread
from tests.support.programs import DATA

ORDERS = st.sampled_from(["little", "big"])


@functools.cache
def _objects():
    return [path.read_bytes() for path in sorted(DATA.glob("*.o"))]


@functools.cache
def _texts():
    return [
        program.disassemble(sources=True)
        for data in _objects()
        for program in load_spec(data).programs.values()
    ]


@st.composite
def _spoilt(draw, originals, alphabet):
    """One of some originals, with a few pieces replaced."""
    found = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        end = at + draw(st.integers(0, 9))
        found = found[:at] + draw(alphabet) + found[end:]
    return found


@given(st.binary(max_size=400), ORDERS)
def test_any_code_is_printed_and_read_back_or_refused(data, byteorder):
    """The text means the same code."""
    try:
        disassemble(data, byteorder)
    except AsmError:
        return
    assert reread(data, byteorder, lossless=True) == data


@given(st.binary(max_size=400), ORDERS)
def test_any_code_has_a_graph_or_is_refused(data, byteorder):
    """Control stays inside."""
    try:
        graph_of(decode_all(data, byteorder)).dot()
    except AsmError:
        return


@given(st.deferred(lambda: _spoilt(_texts(), st.text(max_size=6))))
def test_spoilt_text_is_read_or_refused_with_its_place(text):
    """Line and column, always."""
    wrong = None
    try:
        parsed = parse(text, "little")
        assemble(parsed.items, "little", places=parsed.places)
    except AsmError as error:
        wrong = error
    assert wrong is None or wrong.where.startswith("line ")


@given(st.deferred(lambda: _spoilt(_objects(), st.binary(max_size=6))))
def test_spoilt_objects_are_listed_or_refused(data):
    """By an error that says where."""
    try:
        listing(data, sources=True, files=True)
    except (AsmError, BtfError, ElfError):
        return


@given(
    st.binary(max_size=160),
    st.integers(-2, 22),
    st.integers(-2, 22),
    st.text("r0=1;exit go+2\n:"),
)
def test_any_code_is_edited_or_refused_whole(data, start, end, text):
    """After an error nothing is changed."""
    program = ProgramSpec(name="p", type=0, code=data)
    before = program.copy()
    try:
        Editor(program).replace(start, end, text)
    except AsmError:
        assert program == before
