"""Every arithmetic operation and every jump on every pair of edge cases, as the kernel computes it.

One program does all operations on two numbers of an array's value, and leaves the results behind
them; so the verifier knows none of the numbers.
"""

from __future__ import annotations

import itertools
import random
import struct
import sys

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.maps.map import Map as KernelMap
from pyebpf.sys import bpf
from pyebpf.testing.interpreter import BytesContext, Machine, Program
from pyebpf.testing.interpreter.map_kinds import ArrayMap
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import MapType, ProgType
from tests.support import kernel
from tests.support.code import Code, load, mov, small, store

EXIT = Instruction(insn.JMP | insn.EXIT)
EDGES = [
    0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 1 << 31,
    (1 << 31) - 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 63) - 1, (1 << 64) - 1,
    (1 << 64) - 2, (1 << 64) - 7, (1 << 63) + 1, 0xFFFF_FFFF_8000_0000, 0x0123_4567_89AB_CDEF,
]  # fmt: skip
IMMEDIATES = [0, 1, -1, 7, -7, 31, 255, -128, (1 << 31) - 1, -(1 << 31)]

BINARY = (
    insn.ADD, insn.SUB, insn.MUL, insn.DIV, insn.OR, insn.AND, insn.LSH, insn.RSH, insn.MOD,
    insn.XOR, insn.MOV, insn.ARSH,
)  # fmt: skip
JUMPS = (
    insn.JEQ, insn.JGT, insn.JGE, insn.JSET, insn.JNE, insn.JSGT, insn.JSGE, insn.JLT, insn.JLE,
    insn.JSLT, insn.JSLE,
)  # fmt: skip
SHIFTS = (insn.LSH, insn.RSH, insn.ARSH)
DIVISIONS = (insn.DIV, insn.MOD)


def operations() -> list[Instruction]:
    """All on r1, with r2 or an immediate."""
    found = []
    for kind in (insn.ALU, insn.ALU64):
        for operation in BINARY:
            offsets = (0, 1) if operation in DIVISIONS else (0,)
            for offset in offsets:
                found.append(Instruction(kind | operation | insn.X, 1, 2, offset))
                found += [
                    Instruction(kind | operation, 1, 0, offset, number)
                    for number in IMMEDIATES
                    if not (operation in DIVISIONS and number == 0)
                    and not (operation in SHIFTS and not 0 <= number < 32)
                ]
        found.append(Instruction(kind | insn.NEG, 1))
    for width in (8, 16, 32):
        found.append(Instruction(insn.ALU64 | insn.MOV | insn.X, 1, 2, width))
    for width in (8, 16):
        found.append(Instruction(insn.ALU | insn.MOV | insn.X, 1, 2, width))
    for opcode in (insn.ALU | insn.TO_LE, insn.ALU | insn.TO_BE, insn.ALU64):
        found += [Instruction(opcode | insn.END, 1, 0, 0, width) for width in (16, 32, 64)]
    return found


def jumps() -> list[Instruction]:
    return [
        Instruction(kind | operation | source, 1, 2 if source else 0, 1, number)
        for kind in (insn.JMP, insn.JMP32)
        for operation in JUMPS
        for source, number in ((insn.X, 0), *((0, each) for each in IMMEDIATES))
    ]


def atomics() -> list[Instruction]:
    """All on the place of the result, which has r1 before, with r2; r0 is r1 or r2."""
    return [
        Instruction(insn.STX | insn.ATOMIC | size, 3, 2, 0, operation | fetch)
        for size in (insn.W, insn.DW)
        for operation in (insn.ADD, insn.OR, insn.AND, insn.XOR)
        for fetch in (0, insn.FETCH)
    ] + [
        Instruction(insn.STX | insn.ATOMIC | size, 3, 2, 0, operation)
        for size in (insn.W, insn.DW)
        for operation in (insn.XCHG, insn.CMPXCHG)
    ]


def each_result(tested: list[Instruction]) -> list[Code]:
    """Return the code of each, from numbers in r7 and r8 to a result in r1."""
    if tested[0].opcode & 0x07 in (insn.ALU, insn.ALU64):
        return [[mov(1, 7), mov(2, 8), each] for each in tested]
    if tested[0].opcode & 0x07 == insn.STX:
        return [
            [
                store(8, 10, 7, -8), mov(3, 10), Instruction(insn.ALU64 | insn.ADD, 3, 0, 0, -8),
                mov(2, 8), mov(0, source), each, load(8, 1, 10, -8),
                Instruction(insn.ALU64 | insn.MUL, 1, 0, 0, 3),
                Instruction(insn.ALU64 | insn.ADD | insn.X, 1, 2),
                Instruction(insn.ALU64 | insn.MUL, 1, 0, 0, 3),
                Instruction(insn.ALU64 | insn.ADD | insn.X, 1, 0),
            ]
            for each in tested
            for source in (7, 8)
        ]  # fmt: skip
    # Loaded anew: what the verifier learns from a jump would make states of r7 and r8 without end.
    both = [load(8, 1, 6, 0), load(8, 2, 6, 8)]
    return [[*both, small(3, 1), each, small(3, 0), mov(1, 3)] for each in tested]


def program(tested: list[Instruction], fd: int) -> tuple[bytes, int]:
    """Return a program that does all, and how many results it leaves."""
    code: Code = [Instruction(insn.LD | insn.IMM | insn.DW, 6, insn.PSEUDO_MAP_VALUE, 0, fd)]
    code += [load(8, 7, 6, 0), load(8, 8, 6, 8)]
    results = each_result(tested)
    for at, each in enumerate(results):
        code += [*each, store(8, 6, 1, 16 + 8 * at)]
    return encode_all([*code, small(0, 0), EXIT], sys.byteorder), len(results)


@pytest.mark.parametrize("what", [operations, jumps, atomics])
def test_edge_cases_are_computed_as_in_the_kernel(what) -> None:
    """All pairs of edges, and some of any numbers."""
    if kernel.version() < kernel.parse_version("6.6"):
        pytest.skip("signed division and extending moves: since Linux 6.6")
    tested, rng = what(), random.Random(1)
    pairs = list(itertools.product(EDGES, EDGES))
    pairs += [(rng.getrandbits(64), rng.getrandbits(64)) for _ in range(100)]
    size = program(tested, 0)[1] * 8 + 16
    with KernelMap.create(type=MapType.ARRAY, key_size=4, value_size=size, max_entries=1) as array:
        code, count = program(tested, array.fileno())
        ours = ArrayMap("numbers", value_size=size, max_entries=1)
        mine = Program(code, maps={array.fileno(): ours})
        machine = Machine()
        region = ours.lookup(bytes(4), 0)
        with loaded(code) as real:
            for pair in pairs:
                begin = struct.pack("=QQ", *pair)
                array[bytes(4)] = begin.ljust(size, b"\0")
                run = ProgTestRun(prog_fd=real.fileno(), data_in=bytes(64), data_size_in=64)
                bpf.prog_test_run(run)
                region.data[:] = begin.ljust(size, b"\0")
                machine.run(mine, BytesContext(b""))
                expected, found = array[bytes(4)], bytes(region.data)
                if expected != found:
                    pytest.fail(difference(tested, pair, expected, found, count))


def loaded(code: bytes):
    attr = ProgLoad(prog_type=int(ProgType.SOCKET_FILTER), insn_cnt=len(code) // 8)
    attr.insns, attr.license = code, b"GPL\0"
    return bpf.prog_load(attr)


def difference(tested, pair, expected: bytes, found: bytes, count: int) -> str:
    """Say which operation differs, on what."""
    for at in range(count):
        place = slice(16 + 8 * at, 24 + 8 * at)
        if expected[place] != found[place]:
            each = tested[at * len(tested) // count]
            return f"{each} on {pair}: kernel {expected[place].hex()}, not {found[place].hex()}"
    return f"the numbers of {pair} changed"
