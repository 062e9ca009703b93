"""Constructors of the instructions that tests write most."""

from __future__ import annotations

from pyebpf.asm.instruction import Instruction
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId

Code = list[Instruction]
SIZES = {1: insn.B, 2: insn.H, 4: insn.W, 8: insn.DW}


def slots(code: Code) -> int:
    """Return how long *code* is."""
    return sum(each.slots for each in code)


def mov(dst: int, src: int) -> Instruction:
    return Instruction(insn.ALU64 | insn.MOV | insn.X, dst, src)


def number(dst: int, value: int) -> Instruction:
    return Instruction(insn.LD | insn.IMM | insn.DW, dst, 0, 0, value)


def small(dst: int, value: int) -> Instruction:
    return Instruction(insn.ALU64 | insn.MOV, dst, 0, 0, value)


def add(dst: int, value: int) -> Instruction:
    return Instruction(insn.ALU64 | insn.ADD, dst, 0, 0, value)


def load(size: int, dst: int, src: int, offset: int) -> Instruction:
    return Instruction(insn.LDX | insn.MEM | SIZES[size], dst, src, offset)


def store(size: int, dst: int, src: int, offset: int) -> Instruction:
    return Instruction(insn.STX | insn.MEM | SIZES[size], dst, src, offset)


def call(helper: FuncId) -> Instruction:
    return Instruction(insn.JMP | insn.CALL, 0, 0, 0, int(helper))


def map_pointer(dst: int, fd: int) -> Instruction:
    return Instruction(insn.LD | insn.IMM | insn.DW, dst, insn.PSEUDO_MAP_FD, 0, fd)


def skip_if(operation: int, dst: int, value: int, code: Code) -> Code:
    """Jump over *code* on a condition."""
    return [Instruction(insn.JMP | operation, dst, 0, slots(code), value), *code]
