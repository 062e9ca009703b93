"""Assembler text read, beside llvm-mc."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pyebpf.asm import build
from pyebpf.asm.assemble import assemble
from pyebpf.asm.build import (
    R0,
    R1,
    R2,
    R3,
    R10,
    W1,
    call,
    call_function,
    call_kfunc,
    exit_,
    jeq,
    jump,
    label,
    load,
    load_64,
    load_ksym,
    load_map,
    load_map_value,
    load_packet,
    load_symbol,
    mov,
    store,
    u32,
    u64,
)  # fmt: skip
from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.asm.operand import Label, Register
from pyebpf.asm.parse import parse
from pyebpf.asm.text import disassemble, instruction_text
from pyebpf.elf.reader import Elf
from pyebpf.errors import AsmError
from pyebpf.uapi.helpers import FuncId
from tests.corpus.disassembly import NEWEST

ORDERS = ("little", "big")


def items(text, **options):
    return list(parse(text, "little", **options).items)


# Every form of the instruction set, and spellings of numbers, as clang's assembler takes them.
FORMS = """
    r1 = 5
    r1 = -5
    r1 = 0x7fffffff
    r1 = 010
    r1 = 0b101
    w1 = 0xffffffff
    r1 = r2
    w1 = w2
    r1 += 5
    w3 -= w4
    r1 *= r2
    r1 /= 7
    w1 %= 7
    r1 s/= r2
    w1 s%= -3
    r1 |= 0x10
    r1 &= r2
    w1 ^= w2
    r1 <<= 3
    r1 >>= r2
    w1 s>>= 3
    r1 = -r1
    w9 = -w9
    r1 = be16 r1
    r1 = be32 r1
    r1 = be64 r1
    r1 = le16 r1
    r1 = le32 r1
    r1 = le64 r1
    r1 = bswap16 r1
    r1 = bswap32 r1
    r1 = bswap64 r1
    r1 = (s8)r2
    r1 = (s16)r2
    r1 = (s32)r2
    w1 = (s8)w2
    w1 = (s16)w2
    r1 = addr_space_cast(r2, 0, 1)
    r1 = addr_space_cast(r2, 1, 0)
    r1 = addr_space_cast(r2, 0xffff, 0xfffe)
    r1 = 0x123456789abcdef0 ll
    r1 = -1 ll
    ld_pseudo r1, 1, 5
    r0 = *(u8 *)skb[5]
    r0 = *(u16 *)skb[0x10]
    r0 = *(u32 *)skb[r3]
    w1 = *(u8 *)(r2 + 8)
    w1 = *(u16 *)(r2 - 8)
    w1 = *(u32 *)(r2 + 0x7fff)
    r1 = *(u64 *)(r10 - 0x8000)
    r1 = *(s8 *)(r2 + 0)
    r1 = *(s16 *)(r2 + 0)
    r1 = *(s32 *)(r2 + 0)
    *(u8 *)(r1 + 1) = w2
    *(u16 *)(r1 + 1) = w2
    *(u32 *)(r1 + 1) = w2
    *(u64 *)(r1 + 1) = r2
    *(u8 *)(r1 + 1) = 255
    *(u16 *)(r1 + 1) = -1
    *(u32 *)(r1 + 1) = 0x12345678
    *(u64 *)(r1 + 1) = -5
    lock *(u32 *)(r1 + 8) += w2
    lock *(u32 *)(r1 + 8) &= w2
    lock *(u64 *)(r1 + 8) += r2
    lock *(u64 *)(r1 + 8) |= r2
    lock *(u64 *)(r1 + 8) &= r2
    lock *(u64 *)(r1 - 8) ^= r2
    w2 = atomic_fetch_add((u32 *)(r1 + 8), w2)
    r2 = atomic_fetch_add((u64 *)(r1 + 8), r2)
    r2 = atomic_fetch_and((u64 *)(r1 + 8), r2)
    r2 = atomic_fetch_or((u64 *)(r1 + 8), r2)
    r2 = atomic_fetch_xor((u64 *)(r1 + 8), r2)
    w2 = xchg32_32(r1 + 8, w2)
    r2 = xchg_64(r1 - 8, r2)
    w0 = cmpxchg32_32(r1 + 8, w0, w2)
    r0 = cmpxchg_64(r1 + 8, r0, r2)
    w2 = load_acquire((u8 *)(r1 + 8))
    w2 = load_acquire((u16 *)(r1 + 8))
    w2 = load_acquire((u32 *)(r1 + 8))
    r2 = load_acquire((u64 *)(r1 - 8))
    store_release((u8 *)(r1 + 8), w2)
    store_release((u16 *)(r1 + 8), w2)
    store_release((u32 *)(r1 + 8), w2)
    store_release((u64 *)(r1 - 8), r2)
top:
    if r1 == 5 goto top
    if r1 != r2 goto top
    if r1 > 5 goto out
    if r1 >= r2 goto +3
    if r1 < -5 goto -3
    if r1 <= r2 goto out
    if r1 & 5 goto out
    if r1 & r2 goto out
    if r1 s> 5 goto out
    if r1 s>= r2 goto out
    if w1 s< 5 goto out
    if w1 s<= w2 goto out
    if w1 == 0xffffffff goto out
    if w1 & w2 goto top
    goto out
    goto +0x2
    gotol top
    gotol out
    may_goto out
    gotox r3
    callx r3
    call 14
    call 0x7fffffff
1:  r0 += 1 ; if r0 < 10 goto 1b ; goto 1f # two statements, and a comment
1:  r0 = 0 // another
    /* and
       one more */ r0 = 1
out:
    exit
"""


@pytest.fixture(scope="module")
def assembled(tmp_path_factory):
    """The bytes that llvm-mc makes of text."""
    if shutil.which(f"llvm-mc-{NEWEST}") is None:
        pytest.skip(f"llvm-mc-{NEWEST} (Debian: llvm-{NEWEST}) is not installed")

    path = tmp_path_factory.mktemp("mc") / "x.o"

    def run(text, byteorder):
        triple = "bpfel" if byteorder == "little" else "bpfeb"
        command = [f"llvm-mc-{NEWEST}", f"-triple={triple}", "-mcpu=v4", "-filetype=obj"]
        command += ["-o", str(path)]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)
        section = Elf(path.read_bytes()).section(".text")
        assert section is not None
        return bytes(section.data())

    return run


@pytest.mark.parametrize("byteorder", ORDERS)
def test_every_form_means_the_bytes_that_clang_makes_of_it(assembled, byteorder):
    """Both byte orders."""
    parsed = parse(FORMS, byteorder)
    made = assemble(parsed.items, byteorder, places=parsed.places)
    assert made.code.hex(" ", 8) == assembled(FORMS, byteorder).hex(" ", 8)


REGISTERS = st.builds(Register, st.integers(0, 10))
HALVES = st.builds(Register, st.integers(0, 10), st.just(32))
OFFSETS = st.integers(-0x8000, 0x7FFF)
SIGNED_32 = st.integers(-(1 << 31), (1 << 31) - 1)
IN_BOTH = st.one_of(st.tuples(REGISTERS, REGISTERS), st.tuples(HALVES, HALVES))
WITH_NUMBER = st.tuples(st.one_of(REGISTERS, HALVES), SIGNED_32)
SOURCES = st.one_of(IN_BOTH, WITH_NUMBER)


def places(*sizes):
    return st.builds(
        lambda base, offset, size: size(base + offset), REGISTERS, OFFSETS, st.sampled_from(sizes)
    )


def pairs(names, arguments):
    """Calls of constructors by name."""
    makers = st.sampled_from([getattr(build, name) for name in names.split()])
    return st.builds(lambda make, given: make(*given), makers, arguments)


WORDS = places(build.u32, build.u64)
ANY_SIZE = places(build.u8, build.u16, build.u32, build.u64)
OPERATORS = st.sampled_from("+|&^")
INSTRUCTIONS = st.one_of(
    pairs("mov add sub mul div sdiv mod smod or_ and_ xor lsh rsh arsh", SOURCES),
    pairs("neg", st.tuples(st.one_of(REGISTERS, HALVES))),
    pairs("to_le to_be bswap", st.tuples(REGISTERS, st.sampled_from([16, 32, 64]))),
    pairs("movsx", st.tuples(HALVES, HALVES, st.sampled_from([8, 16]))),
    pairs("movsx", st.tuples(REGISTERS, REGISTERS, st.sampled_from([8, 16, 32]))),
    st.builds(
        build.addr_space_cast, REGISTERS, REGISTERS, st.integers(0, 9), of=st.integers(0, 0xFFFF)
    ),
    pairs("load", st.tuples(REGISTERS, ANY_SIZE)),
    pairs("load", st.tuples(REGISTERS, places(build.s8, build.s16, build.s32))),
    pairs("store", st.tuples(ANY_SIZE, REGISTERS)),
    pairs("store", st.tuples(ANY_SIZE, st.integers(-128, 127))),
    pairs("load_packet", st.tuples(st.sampled_from([8, 16, 32]), SIGNED_32)),
    pairs("load_packet", st.tuples(st.sampled_from([8, 16, 32]), REGISTERS)),
    pairs("load_64", st.tuples(REGISTERS, st.integers(-(1 << 63), (1 << 64) - 1))),
    pairs("atomic atomic_fetch", st.tuples(WORDS, OPERATORS, REGISTERS)),
    pairs("xchg cmpxchg", st.tuples(WORDS, REGISTERS)),
    pairs("load_acquire", st.tuples(REGISTERS, ANY_SIZE)),
    pairs("store_release", st.tuples(ANY_SIZE, REGISTERS)),
    pairs(
        "jeq jne jgt jge jlt jle jset jsgt jsge jslt jsle",
        st.builds(lambda given, offset: (*given, offset), SOURCES, OFFSETS),
    ),
    pairs("jump may_goto", st.tuples(OFFSETS)),
    pairs("jump_long call", st.tuples(SIGNED_32)),
    pairs("jump_to call_register", st.tuples(REGISTERS)),
    st.just(exit_()),
)


# Of a long jump LLVM takes labels, but numbers only as far as those of a short one.
def _clang_reads(instruction):
    return instruction.opcode != 0x06 or -0x8000 <= instruction.immediate <= 0x7FFF


@given(INSTRUCTIONS)
def test_text_of_any_instruction_means_that_instruction(instruction):
    """What LLVM prints of all that constructors make is exact."""
    assert items(instruction_text(instruction)) == [instruction]


@pytest.mark.parametrize("byteorder", ORDERS)
@settings(max_examples=20, phases=[Phase.generate])  # to find a smaller failure takes minutes
@given(st.lists(INSTRUCTIONS.filter(_clang_reads), min_size=50, max_size=150))
def test_text_of_any_instructions_means_the_same_to_clang(assembled, byteorder, instructions):
    """Many at a time, as a start of llvm-mc takes a while."""
    text = "\n".join(instruction_text(each) for each in instructions)
    code = encode_all(instructions, byteorder)
    assert assembled(text, byteorder) == code
    assert disassemble(code, byteorder, lossless=True).count(".byte") == 0


def test_names_of_what_lies_outside():
    """Maps, places in them, variables and functions of the kernel, helpers, constants."""
    text = """
        r1 = map[counts] ll
        r1 = map[.rodata.str1.1][0]+8 ll
        r1 = map[.data][0] ll
        r1 = ksym[runqueues] ll
        r1 = LIMIT ll
        r1 = LIMIT + 4 ll
        r1 = "odd name" ll
        call bpf_ktime_get_ns
        call bpf_task_acquire
    """
    assert items(text) == [
        load_map(R1, "counts"),
        load_map_value(R1, ".rodata.str1.1", 8),
        load_map_value(R1, ".data"),
        load_ksym(R1, "runqueues"),
        load_symbol(R1, "LIMIT"),
        load_symbol(R1, "LIMIT", 4),
        load_symbol(R1, "odd name"),
        call("ktime_get_ns"),
        call_kfunc("bpf_task_acquire"),
    ]


def test_a_function_of_the_text_comes_before_a_helper_of_that_name():
    """Whether it stands before or behind the call."""
    text = "call bpf_map_lookup_elem; exit; bpf_map_lookup_elem: exit"
    assert items(text)[0] == call_function("bpf_map_lookup_elem")
    made = assemble(items(text), "little")
    assert made.functions == ((2, "bpf_map_lookup_elem"),)


def test_constants_are_given_by_name():
    """As themselves or as inline assembler has them; with signs and sums."""
    constants = {"LIMIT": 100, "bpf_helper": FuncId.map_lookup_elem, "off": -8, "BIG": 1 << 40}
    text = """
        r1 = LIMIT
        r1 += -LIMIT + 1
        *(u64 *)(r10 + off) = %[LIMIT]
        call %[bpf_helper]
        r1 = BIG ll
        if r1 > LIMIT goto out
        r1 = %[counts] ll
        out: exit
    """
    assert items(text, constants=constants) == [
        mov(R1, 100),
        build.add(R1, -99),
        store(u64(R10 - 8), 100),
        call("map_lookup_elem"),
        load_64(R1, 1 << 40),
        build.jgt(R1, 100, "out"),
        load_symbol(R1, "counts"),
        label("out"),
        exit_(),
    ]


def test_labels():
    """Several at one place; numbers that may be used again; names with dots."""
    text = "a: b:\n.L1: r0 = 0\n1: goto 1b; 1: goto 1f; goto .L1\n1: if r0 == 0 goto a\n exit"
    made = assemble(items(text), "little")
    assert [each.offset for each in made.instructions] == [0, -1, 1, -4, -5, 0]
    assert {"a": 0, "b": 0, ".L1": 0}.items() <= made.labels.items()


def test_a_local_label_may_be_called():
    """It is a function then."""
    made = assemble(items("call 1f; exit; 1: exit"), "little")
    assert made.instructions[0] == call_function(1)
    assert [slot for slot, _ in made.functions] == [2]


def test_comments_may_have_many_lines():
    """Instructions may stand before and behind them."""
    assert items("r0 = 0 /* one\ntwo\nthree */ exit") == [mov(R0, 0), exit_()]
    assert items("r0 = 0 /**/ /* */; exit /* end */") == [mov(R0, 0), exit_()]


def test_what_compilers_write_around_functions():
    """Directives say what a function is, or nothing."""
    text = """
        .text
        .globl  count                  # -- Begin function count
        .p2align 3
        .type   count,@function
    count:
        r0 = 0
        exit
        .size   count, .Lfunc_end0-count
        .type   LICENSE,@object
        .byte   0x95, 0, 0, 0, 0, 0, 0, 0
    """
    found = items(text)
    assert found == [Label("count", function=True), mov(R0, 0), exit_(), exit_()]


def test_other_text_with_the_same_meaning():
    """Of the verifier's log, and of compilers without 32-bit registers."""
    text = """
        r1 = *(u32 *)(r2 +8)
        r1 = *(u32 *)(r2)
        *(u32*)(r1 - 4)=r3
        *(u8 *)(r1 +-4) = 3
        lock *(u32 *)(r1 +0) += r2
        r0=*(u16 *)skb[2]
        if r1 == 0 goto pc+3
        goto pc-2
        call pc+1
    """
    assert items(text) == [
        load(R1, u32(R2 + 8)),
        load(R1, u32(R2)),
        store(u32(R1 - 4), R3),
        store(build.u8(R1 - 4), 3),
        build.atomic(u32(R1), "+", R2),
        load_packet(16, 2),
        jeq(R1, 0, 3),
        jump(-2),
        call_function(1),
    ]
    assert items("goto pc; pc: exit")[0] == jump("pc")


def test_a_listing_with_bytes_means_what_the_bytes_of_unknown_instructions_are():
    """Nothing is lost of what has no text."""
    unknown = Instruction(0x8F, 3, 4, 5, 6)
    code = encode_all([mov(R0, 0), unknown, exit_()], "big")
    text = disassemble(code, "big", labels={0: "a"}, raw_bytes=True)
    assert "<unknown>" in text
    assert list(parse(text, "big").items) == [label("a"), mov(R0, 0), unknown, exit_()]


# Text -> what the error says.
MISTAKES = {
    "": "",
    "r1 = ": "line 1, column 6: expected a number, not the end of the statement",
    "r1 = 5 5": 'line 1, column 8: expected the end of the statement, not "5"',
    "r0 = 0\n  r11 = 5": "line 2, column 3: register r11 does not exist: r0 to r10 do",
    "r1 = w2": "line 1, column 6: expected a whole register, such as r2",
    "w1 = r2": "line 1, column 6: expected half a register, such as w2",
    "if r1 == w2 goto +1": "line 1, column 10: expected a whole register, such as r2",
    "r1 ~ 5": "line 1, column 4: unexpected '~'",
    "r1 == 5": 'line 1, column 4: expected an assignment, not "=="',
    "if r1 = 5 goto +1": 'line 1, column 7: expected a comparison, not "="',
    "if r1 == 5": 'line 1, column 11: expected "goto", not the end of the statement',
    "if r1 == 5 goto": "line 1, column 16: expected a label or a distance, not the end",
    "goto [": 'line 1, column 6: expected a label or a distance, not "["',
    "goto +0x8000": "line 1, column 6: 0x8000 does not fit 16 bits with a sign",
    "gotol +0x80000000": "line 1, column 7: 0x80000000 does not fit 32 bits with a sign",
    "r1 = 0xffffffff": 'line 1, column 6: 0xffffffff does not fit 32 bits with a sign; with "ll"',
    "r1 += 0xffffffff": "line 1, column 7: 0xffffffff does not fit 32 bits with a sign",
    "w1 = 0x1ffffffff": "line 1, column 6: 0x1ffffffff does not fit 32 bits",
    "r1 = 0x1ffffffffffffffff ll": "line 1, column 6: 0x1ffffffffffffffff does not fit 64 bits",
    "w1 = 5 ll": 'line 1, column 1: expected a whole register, not "w1"',
    "r1 = name": 'line 1, column 10: expected "ll" behind a symbol, not the end',
    "r1 = name(5)": 'line 1, column 6: expected an operation, not "name"',
    "r1 = -r2": 'line 1, column 7: expected r1 again, not "r2"',
    "r1 = be16 r2": 'line 1, column 11: expected r1 again, not "r2"',
    "w1 = be16 w1": 'line 1, column 1: expected a whole register, not "w1"',
    "r1 = be24 r1": 'line 1, column 11: expected "ll" behind a symbol, not "r1"',
    "w1 = (s32)w2": 'line 1, column 7: "s32" does not extend into "w1"',
    "r1 = (u8)r2": 'line 1, column 7: expected "s8" or "s16" or "s32", not "u8"',
    "r1 = *(u24 *)(r2 + 0)": "line 1, column 8: expected a size: u8, u16, u32, u64, s8, s16, s32",
    "r1 = *(u32 *)(w2 + 0)": "line 1, column 15: expected a whole register, such as r2",
    "r1 = *(u32 *)(r2 + 0x8000)": "line 1, column 18: 0x8000 does not fit 16 bits with a sign",
    "w1 = *(u64 *)(r2 + 0)": 'line 1, column 1: expected a whole register, not "w1"',
    "w1 = *(s8 *)(r2 + 0)": 'line 1, column 1: expected a whole register, not "w1"',
    "r1 = *(u32 *)skb[0]": "line 1, column 1: expected r0, which takes what is in a packet",
    "r0 = *(u64 *)skb[0]": 'line 1, column 8: expected u8, u16 or u32 of a packet, not "u64"',
    "*(s8 *)(r1 + 0) = 5": 'line 1, column 3: expected a size: u8, u16, u32, u64, not "s8"',
    "*(u32 *)(r1 + 0) += r2": 'line 1, column 18: expected "=", not "+="',
    "*(u64 *)(r1 + 0) = w2": "line 1, column 20: expected a whole register, such as r2",
    "lock *(u8 *)(r1 + 0) += w2": "line 1, column 8: expected u32 or u64 of an atomic operation",
    "lock *(u64 *)(r1 + 0) -= r2": "line 1, column 23: expected an operation: +=, |=, &=, ^=",
    "r2 = atomic_fetch_add((u64 *)(r1 + 8), r3)": 'expected r2 again, not "r3"',
    "r1 = cmpxchg_64(r1 + 8, r1, r2)": 'line 1, column 1: expected r0, not "r1"',
    "w2 = xchg_64(r1 + 8, w2)": 'line 1, column 1: expected a whole register, not "w2"',
    "r1 = addr_space_cast(r2, 0x10000, 0)": "line 1, column 26: 0x10000 does not fit 16 bits",
    "call": "line 1, column 5: expected a function or its number, not the end",
    "call r": "",
    "callx 5": 'line 1, column 7: expected a register, not "5"',
    "jmp +5": 'line 1, column 1: expected an instruction, not "jmp"',
    "5": 'line 1, column 1: expected an instruction, not "5"',
    "r1 = 08": 'line 1, column 6: "08" is no octal number',
    "r1 = 5 /* never\nends": 'line 1, column 8: comment without "*/"',
    "goto 1f": 'line 1, column 6: unknown label "1f"',
    ".byte 1, 2": "line 1, column 1: code, offset 0x2: 2 bytes are not whole instructions",
    ".byte 256": "line 1, column 7: 0x100 does not fit 8 bits",
    ".word 5": 'line 1, column 1: unknown directive ".word"',
    "r1 = 5x": "line 1, column 6: unexpected '5'",
    "<unknown>": 'line 1, column 1: expected an instruction, not "unknown"',
    "r1 = map[x][1] ll": 'line 1, column 12: expected "ll", not "["',
    "r1 = map[x][0]-1 ll": "line 1, column 15: -0x1 does not fit 32 bits",
    "exit exit": 'line 1, column 6: expected the end of the statement, not "exit"',
    "r1 = " + "9" * 80: "line 1, column 6: a number of 80 digits",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_mistake_is_an_error_with_its_place_and_what_was_expected(text, message):
    """Lines and columns count from 1."""
    if not message:
        parse(text, "little")
        return
    with pytest.raises(AsmError) as caught:
        parse(text, "little")
    assert message in str(caught.value)


def test_mistakes_of_the_whole_have_places_too():
    """Of the jump, or of the label that is repeated."""
    for text, message in (
        ("r0 = 0\n  goto nowhere", 'line 2, column 3: unknown label "nowhere"'),
        ("a: r0 = 0\nb: a: exit", 'line 2, column 4: a second label "a"'),
        ("goto +1\nr1 = 5 ll\nexit", "line 1, column 1: goes into the middle of a 64-bit load"),
        ("r0 = 0; goto +5\nexit", "line 1, column 9: goes to slot 7, outside of the code"),
    ):
        parsed = parse(text, "little")
        with pytest.raises(AsmError) as caught:
            assemble(parsed.items, "little", places=parsed.places)
        assert str(caught.value) == message


ODD = ["/*", "*/", "<a+0x8>:", "%[x]", "map[", ".byte", "w11", "1b", "2f", *'"#;%\\-+([]é²']
PIECES = st.sampled_from([*FORMS.split(), *ODD, "\n", "\0", "0x", "9" * 100])


@given(st.one_of(st.lists(PIECES).map(" ".join), st.lists(PIECES).map("".join), st.text()))
def test_any_text_is_a_program_or_an_error(text):
    """Nothing but AsmError with a place, whatever is thrown at it."""
    wrong = None
    try:
        parsed = parse(text, "little")
        assemble(parsed.items, "little", places=parsed.places)
    except AsmError as error:
        wrong = error
    assert wrong is None or wrong.where.startswith("line ")


def test_width_of_constructors_and_text_agree():
    """A comparison of halves is one of 32 bits in both."""
    assert items("if w1 == 5 goto +1; goto x; x: exit") == [
        jeq(W1, 5, 1),
        jump("x"),
        label("x"),
        exit_(),
    ]
