"""Tables of indirect jumps."""

from __future__ import annotations

import shutil
import struct

import pytest

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import LOAD_IMMEDIATE_64
from pyebpf.elf import load_spec
from pyebpf.errors import ElfError
from pyebpf.spec import ReferenceKind
from tests.support import programs
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder, load_64

BODY = [load_64(dst=3), Instruction(0x0D, 3), MOV_0, EXIT]


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_table_moves_with_the_function_that_jumps(byteorder):
    """Targets are slots of the linked program, wherever its functions stood in the file."""
    spec = load_spec(programs.built("jump_tables", byteorder))
    alone, both = spec.programs["alone"], spec.programs["both"]
    ((name, targets),) = alone.jump_tables.items()
    assert name == "BPF.JT.alone"
    assert _returned_at(alone, targets) == [10, 20, 30]
    ((name, targets),) = both.jump_tables.items()
    assert name == "BPF.JT.callee"
    assert _returned_at(both, targets) == [10, 20, 30]
    start = {function: slot for slot, function in both.functions}["callee"]
    assert min(targets) > start > 0


# The immediates of the instructions at the targets, each "r0 = ...".
def _returned_at(spec, targets):
    size = 8
    order = "<" if spec.byteorder == "little" else ">"
    return [struct.unpack_from(f"{order}BBhi", spec.code, slot * size)[3] for slot in targets]


def test_the_load_of_a_table_refers_to_it():
    """As with a map's value: by name, the offset in the second immediate."""
    spec = load_spec(programs.built("jump_tables")).programs["alone"]
    ((slot, reference),) = spec.references.items()
    assert (reference.kind, reference.symbol, reference.offset) == (
        ReferenceKind.JUMP_TABLE,
        "BPF.JT.alone",
        0,
    )
    assert spec.code[slot * 8] == LOAD_IMMEDIATE_64
    copied = spec.copy()
    copied.jump_tables.clear()
    assert spec.jump_tables


@pytest.mark.skipif(shutil.which("clang-23") is None, reason="clang-23 is not installed")
def test_the_tables_of_a_compiler_are_read_alike(compile_c):
    """What clang itself makes of a switch: every target starts a case."""
    cases = "".join(f"case {n}: y = skb->len * {n} + {n * 7}; break;" for n in range(17))
    spec = compile_c(
        f"""SEC("socket") int pick(struct __sk_buff *skb) {{
            volatile int y; switch (skb->mark) {{ {cases} default: y = 9; }} return y; }}""",
        "-mcpu=v4",
        clang=23,
    )
    program = spec.programs["pick"]
    ((_, targets),) = program.jump_tables.items()
    assert len(targets) == 17
    assert all(0 < slot < len(program.code) // 8 for slot in targets)


def _builder(table: bytes, *, size: int, value: int = 0, addend: int = 0) -> ElfBuilder:
    builder = ElfBuilder()
    code = builder.code("socket", [load_64(addend, dst=3), *BODY[1:], MOV_0, EXIT])
    builder.symbol("jump", code, size=40)
    builder.symbol("other", code, 40, size=16)
    section = builder.section(".jumptables", table)
    builder.relocate(code, 0, builder.object("table", section, value, size))
    return builder


def test_a_table_may_be_entered_anywhere():
    """Compilers may fold a constant into the address."""
    table = struct.pack("<2Q", 24, 32)
    spec = load_spec(_builder(table, size=16, addend=8).build())
    program = spec.programs["jump"]
    assert program.jump_tables == {"table": (3, 4)}
    assert [each.offset for each in program.references.values()] == [8]


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (_builder(struct.pack("<Q", 20), size=8), '0x0: jump table "table" leaves function "jump"'),
        (_builder(struct.pack("<Q", 40), size=8), '0x0: jump table "table" leaves function "jump"'),
        (
            _builder(struct.pack("<2Q", 0, 1 << 63), size=16),
            '0x8: jump table "table" leaves function "jump"',
        ),
        (_builder(bytes(8), size=4), '0x0: jump table "table" of 4 bytes is not whole entries'),
        (
            _builder(bytes(16), size=8, value=4),
            '0x4: jump table "table" of 8 bytes is not whole entries',
        ),
    ],
)
def test_a_table_that_leads_elsewhere_is_an_error(builder, message):
    """A jump stays in its function; the error names the entry."""
    with pytest.raises(ElfError) as caught:
        load_spec(builder.build())
    assert str(caught.value) == f"section .jumptables, offset {message}"


@pytest.mark.parametrize("addend", [8, -8])
def test_an_address_outside_the_table_is_an_error(addend):
    """Also a table without a size, which nobody could create a map for."""
    builder = _builder(bytes(8), size=8, addend=addend)
    with pytest.raises(
        ElfError, match=r'section socket, offset 0x0: .* outside jump table "table"'
    ):
        load_spec(builder.build())
    with pytest.raises(ElfError, match='outside jump table "table"'):
        load_spec(_builder(bytes(8), size=0).build())


def test_two_tables_of_one_name_are_an_error():
    """A program's tables are told apart by name."""
    builder = ElfBuilder()
    code = builder.code("socket", [load_64(dst=3), load_64(dst=4), MOV_0, EXIT])
    builder.symbol("jump", code, size=48)
    section = builder.section(".jumptables", struct.pack("<2Q", 32, 40))
    builder.relocate(code, 0, builder.object("table", section, 0, 8))
    builder.relocate(code, 16, builder.object("table", section, 8, 8))
    with pytest.raises(ElfError, match='offset 0x10: a second jump table "table"'):
        load_spec(builder.build())
