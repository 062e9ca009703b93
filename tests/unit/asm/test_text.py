"""Instructions as text, beside llvm-objdump."""

from __future__ import annotations

import random
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.asm.text import disassemble, instruction_text
from pyebpf.elf.listing import listing
from pyebpf.errors import AsmError, SourceLine
from pyebpf.uapi.elf import SHF_ALLOC, SHF_EXECINSTR
from tests.corpus.disassembly import comparable, differences, find_objdump, reread
from tests.support.elf_builder import ElfBuilder
from tests.support.programs import DATA, built

ATOMIC = {0xC3, 0xCB, 0xD3, 0xDB}
OPERATIONS = {0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110}


@pytest.fixture
def objdump():
    found = find_objdump()
    if found is None:
        pytest.skip("llvm-objdump-22 (Debian: llvm-22) is not installed")
    return found


def printed(objdump, path, code, byteorder):
    """What LLVM prints of raw code in a section x."""
    builder = ElfBuilder(byteorder)
    builder.section("x", code, flags=SHF_ALLOC | SHF_EXECINSTR)
    builder.license()
    path.write_bytes(builder.build())
    command = [objdump, "-d", "--no-show-raw-insn", "--mcpu=v4", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return comparable(done.stdout.partition("<x>:\n")[2])


def chosen(count, seed):
    """Instructions of every opcode, with fields that mean something to some of them, and others."""
    draw = random.Random(seed)
    registers = [0, 0, 1, 5, 10, 11, 12, 15]
    offsets = [0, 0, 0, 1, 8, 16, 32, -1, -0x8000, 0x7FFF, 24]
    for number in range(count):
        opcode = number % 256
        bits = 64 if opcode == 0x18 else 32
        highest = (1 << bits - 1) - 1
        immediates = [0, 1, 5, 16, 32, 64, -1, highest, -highest - 1, *OPERATIONS, 0x10000, 0x2FF]
        immediates.append(draw.randrange(-highest, highest))
        fields = (registers, registers, offsets, immediates)
        instruction = Instruction(opcode, *(draw.choice(choices) for choices in fields))
        # Of atomic operations that do not exist LLVM guesses one.
        if opcode not in ATOMIC or instruction.immediate in OPERATIONS:
            yield instruction


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_every_opcode_is_printed_as_llvm_prints_it(objdump, byteorder, tmp_path):
    """With whatever in its fields, those that it does not use included."""
    code = encode_all(chosen(20_000, byteorder), byteorder)
    ours = disassemble(code, byteorder, labels={0: "x"})
    assert comparable(ours)[1:] == printed(objdump, tmp_path / "x.o", code, byteorder)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.o")), ids=lambda path: path.stem)
def test_objects_are_listed_as_llvm_lists_them(objdump, path):
    """With and without lines of source; and the text means the same bytes again."""
    assert list(differences(objdump, path)) == []


@given(st.binary(max_size=160), st.sampled_from(["little", "big"]))
def test_lossless_text_of_any_bytes_means_those_bytes(data, byteorder):
    """What is no instruction is printed as bytes."""
    try:
        text = disassemble(data, byteorder, lossless=True)
    except AsmError:
        return
    assert "<unknown>" not in text
    assert reread(data, byteorder, lossless=True) == data


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_lossless_text_of_every_opcode_means_its_bytes(byteorder):
    """Most of what LLVM prints is exact already."""
    code = encode_all(chosen(10_000, 1), byteorder)
    assert reread(code, byteorder, lossless=True) == code


def test_atomic_operations_that_do_not_exist_are_unknown():
    """LLVM guesses; this does not."""
    for opcode in ATOMIC:
        for operation in range(-0x200, 0x200):
            text = instruction_text(Instruction(opcode, 1, 2, 8, operation))
            narrow = opcode in (0xCB, 0xD3) and operation < 0x100
            assert (text is None) == (operation not in OPERATIONS or narrow), hex(operation)


def test_the_kernels_own_instructions_have_text_if_nothing_may_be_lost():
    """LLVM has no words for them."""
    code = encode_all(
        [Instruction(0xBF, 1, 2, -1), Instruction(0x85, 0, 1, 0, 1), Instruction(0x95)], "little"
    )
    assert disassemble(code, "little", addresses=False, lossless=True).split("\n\t") == [
        "\tr1 = &(void __percpu *)(r2)",
        "call pc+0x1",
        "exit\n",
    ]
    assert disassemble(code, "little").split("\n") == [
        "       0:\t<unknown>",
        "       1:\tcall 0x1",
        "       2:\texit",
        "",
    ]


_PROGRAM = [Instruction(0x15, 1, 0, 1), Instruction(0x18, 2), Instruction(0x95), Instruction(0)]


def test_what_is_printed_can_be_chosen():
    """Names, bytes, lines of source, no addresses."""
    code = encode_all(_PROGRAM, "little")
    text = disassemble(
        code,
        "little",
        labels={0: "entry", 3: "out"},
        names={1: "map[counts]"},
        lines={1: SourceLine("a.c", 7, 3, "  x = y;"), 3: SourceLine("a.c", 8, 3, "")},
        files=True,
        raw_bytes=True,
        addresses=False,
    )
    assert text == (
        "<entry>:\n"
        "\t15 01 01 00 00 00 00 00\tif r1 == 0x0 goto +0x1 <entry+0x10>\n"
        "; a.c:7\n"
        ";   x = y;\n"
        "\t18 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00\tr2 = map[counts] ll\n"
        "\n"
        "<out>:\n"
        "; a.c:8\n"
        "\t95 00 00 00 00 00 00 00\texit\n"
        "\t\t...\n"
    )


def test_bytes_beside_the_text_are_as_llvm_prints_them(objdump, tmp_path):
    """Its own default."""
    path = built("isa_v4")
    command = [objdump, "-d", "--mcpu=v4", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n", 2)[2] == listing(path, raw_bytes=True)


def test_cut_code_is_an_error():
    """With its place."""
    with pytest.raises(AsmError, match="offset 0x9: 9 bytes are not whole instructions"):
        disassemble(bytes(9), "little")
