"""The few facts about opcodes that code needs which moves instructions around.

An opcode byte is ``class | size << 3 | mode << 5`` for loads and stores, ``class | source << 3 |
operation << 4`` for arithmetic and jumps. Only two instructions carry references to something
outside the code: the 64-bit immediate load and the call.
"""

from __future__ import annotations

from pyebpf.uapi import insn

__all__ = ["CALL", "LOAD_IMMEDIATE_64", "SLOT_SIZE"]

SLOT_SIZE = 8
LOAD_IMMEDIATE_64 = insn.LD | insn.IMM | insn.DW
CALL = insn.JMP | insn.CALL
