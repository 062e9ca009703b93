"""What opcodes are made of, for code that moves, writes, prints or reads instructions.

An opcode byte is ``class | size << 3 | mode << 5`` for loads and stores, ``class | source << 3 |
operation << 4`` for arithmetic and jumps. Only two instructions carry references to something
outside the code: the 64-bit immediate load and the call. Operators are written as the kernel's
verifier and clang write them.
"""

from __future__ import annotations

from pyebpf.uapi import insn

__all__ = [
    "ADDR_PERCPU",
    "ARITHMETIC",
    "CALL",
    "COMPARISONS",
    "FETCHING",
    "LOAD_IMMEDIATE_64",
    "SIZES",
    "SLOT_SIZE",
    "carries_jump",
    "is_long_jump",
]

SLOT_SIZE = 8
LOAD_IMMEDIATE_64 = insn.LD | insn.IMM | insn.DW
CALL = insn.JMP | insn.CALL

#: Offset of a MOV that adds the base of this CPU's variables. The verifier makes it, programs must
#: not: include/linux/filter.h.
ADDR_PERCPU = -1

#: Operations of ALU and ALU64 with two operands, by operator; signed division has its own mark.
ARITHMETIC = {
    "+": insn.ADD,
    "-": insn.SUB,
    "*": insn.MUL,
    "/": insn.DIV,
    "|": insn.OR,
    "&": insn.AND,
    "<<": insn.LSH,
    ">>": insn.RSH,
    "%": insn.MOD,
    "^": insn.XOR,
    "s>>": insn.ARSH,
}

#: Operations of conditional jumps by operator.
COMPARISONS = {
    "==": insn.JEQ,
    ">": insn.JGT,
    ">=": insn.JGE,
    "&": insn.JSET,
    "!=": insn.JNE,
    "s>": insn.JSGT,
    "s>=": insn.JSGE,
    "<": insn.JLT,
    "<=": insn.JLE,
    "s<": insn.JSLT,
    "s<=": insn.JSLE,
}

#: Operations of ATOMIC that exist with and without FETCH, by operator and name.
FETCHING = {"+": insn.ADD, "|": insn.OR, "&": insn.AND, "^": insn.XOR}

#: Size bits of loads and stores by bits of memory.
SIZES = {8: insn.B, 16: insn.H, 32: insn.W, 64: insn.DW}

_CONDITIONAL = frozenset(COMPARISONS.values())


def is_long_jump(opcode: int) -> bool:
    """Whether it is ``gotol``: its distance is the immediate, not the offset. Since Linux 6.6."""
    return opcode == insn.JMP32 | insn.JA


def carries_jump(opcode: int) -> bool:
    """Whether it jumps by a distance that stands in it: conditional, ``goto``, ``may_goto``."""
    kind, operation = opcode & 0x07, opcode & 0xF0
    if kind not in (insn.JMP, insn.JMP32):
        return False
    if operation in _CONDITIONAL:
        return True
    return opcode in (insn.JMP | insn.JA, insn.JMP32 | insn.JA, insn.JMP | insn.JCOND)
