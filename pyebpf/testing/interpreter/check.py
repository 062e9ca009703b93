"""What is wrong with an instruction by itself: opcodes and fields that the kernel does not take.

Comes in: decoded instructions by slot. Goes out: nothing, or an `AsmError` naming the slot. Whether
a program is safe is not asked here; that is found out while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.errors import AsmError
from pyebpf.testing.interpreter import atomics, operations
from pyebpf.uapi import insn

__all__ = ["GOTOX", "SIZES", "check", "jump_target", "problem_of", "written"]

SIZES = {insn.B: 1, insn.H: 2, insn.W: 4, insn.DW: 8}
FRAME_POINTER = 10
GOTOX = insn.JMP | insn.JA | insn.X


def check(instructions: Mapping[int, Instruction], length: int) -> None:
    """Check every instruction, and where jumps and calls go.

    Args:
        instructions: By slot.
        length: Slots of the whole code.

    Raises:
        AsmError: The first that is wrong.
    """
    for slot, each in instructions.items():
        problem = problem_of(each)
        if problem is None:
            target = jump_target(slot, each)
            if target is not None and target not in instructions:
                problem = f"jump to {target}, where no instruction begins"
        if problem is not None:
            raise AsmError(problem, where=f"instruction {slot}")


def jump_target(slot: int, each: Instruction) -> int | None:
    """Return where a jump, a call of a function or a function's address leads."""
    kind = each.opcode & 0x07
    if each.opcode == LOAD_IMMEDIATE_64 and each.src == insn.PSEUDO_FUNC:
        return slot + 1 + ((each.immediate & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31))
    if each.opcode == CALL and each.src == insn.PSEUDO_CALL:
        return slot + 1 + each.immediate
    if kind not in (insn.JMP, insn.JMP32) or each.opcode & 0xF0 in (insn.CALL, insn.EXIT):
        return None
    if each.opcode == GOTOX:  # through a table
        return None
    if each.opcode == insn.JMP32 | insn.JA:
        return slot + 1 + each.immediate
    return slot + 1 + each.offset


def problem_of(each: Instruction) -> str | None:
    """Return what is wrong with an instruction by itself, or ``None``."""
    kind = each.opcode & 0x07
    if each.dst > FRAME_POINTER or (each.src > FRAME_POINTER and kind != insn.LD):
        return f"no such register: r{max(each.dst, each.src)}"
    if kind in (insn.ALU, insn.ALU64):
        known = _known_arithmetic(each)
    elif kind in (insn.JMP, insn.JMP32):
        known = _known_jump(each)
    elif kind == insn.LD:
        known = _known_load_of_old(each)
    else:
        known = _known_access(each)
    if not known:
        return f"unknown instruction, opcode {each.opcode:#04x}"
    if FRAME_POINTER in written(each):
        return "the frame pointer r10 is read-only"
    return None


def _known_arithmetic(each: Instruction) -> bool:
    operation, register = each.opcode & 0xF0, bool(each.opcode & insn.X)
    wide = each.opcode & 0x07 == insn.ALU64
    if operation == insn.END:
        known = each.immediate in (16, 32, 64) and not (wide and register)
        return known and each.src == 0 and each.offset == 0
    if operation == insn.NEG:
        return not (register or each.src or each.offset or each.immediate)
    if operation == insn.MOV and each.offset == insn.ADDR_SPACE_CAST and register and wide:
        return each.immediate in (1, 1 << 16)
    if (each.immediate if register else each.src) != 0:
        return False
    if operation == insn.MOV and each.offset and not register:
        return False
    return operations.arithmetic(operation, each.offset, "d", "s", wide=wide) is not None


def _known_jump(each: Instruction) -> bool:
    operation, register = each.opcode & 0xF0, bool(each.opcode & insn.X)
    wide = each.opcode & 0x07 == insn.JMP
    if operation == insn.CALL:
        return wide and not register and each.dst == 0 and each.src <= insn.PSEUDO_KFUNC_CALL
    if operation == insn.EXIT:
        fields = each.dst or each.src or each.offset or each.immediate
        return wide and not register and not fields
    if operation == insn.JA and register and wide:  # gotox, Linux 6.19
        return not (each.src or each.offset or each.immediate)
    if operation == insn.JA:
        unused = each.immediate if wide else each.offset
        return not (register or each.dst or each.src or unused)
    if operation == insn.JCOND:
        return wide and not register and not (each.dst or each.src or each.immediate)
    if (each.immediate if register else each.src) != 0:
        return False
    return operations.condition(operation, "d", "s", wide=wide) is not None


def _known_load_of_old(each: Instruction) -> bool:
    if each.opcode == LOAD_IMMEDIATE_64:
        return each.src <= insn.PSEUDO_MAP_IDX_VALUE and each.offset == 0
    mode, size = each.opcode & 0xE0, each.opcode & 0x18
    if mode not in (insn.ABS, insn.IND) or size == insn.DW:
        return False
    return each.dst == 0 and each.offset == 0 and (mode == insn.IND or each.src == 0)


def _known_access(each: Instruction) -> bool:
    kind, mode, size = each.opcode & 0x07, each.opcode & 0xE0, SIZES[each.opcode & 0x18]
    if mode == insn.ATOMIC and kind == insn.STX:
        if each.immediate in (insn.LOAD_ACQ, insn.STORE_REL):
            return True
        return atomics.name_of(each.immediate, size) is not None
    if mode == insn.MEMSX:
        return kind == insn.LDX and size < 8 and each.immediate == 0
    if mode != insn.MEM:
        return False
    return each.src == 0 if kind == insn.ST else each.immediate == 0


def written(each: Instruction) -> tuple[int, ...]:
    """Return the registers an instruction sets; those a call destroys are not meant."""
    kind = each.opcode & 0x07
    if kind in (insn.ALU, insn.ALU64, insn.LDX) or each.opcode == LOAD_IMMEDIATE_64:
        return (each.dst,)
    if kind == insn.LD or each.opcode == CALL:
        return (0,)
    if kind == insn.STX and each.opcode & 0xE0 == insn.ATOMIC:
        if each.immediate == insn.LOAD_ACQ:
            return (each.dst,)
        if each.immediate == insn.CMPXCHG:
            return (0,)
        if each.immediate in atomics.FETCHING:
            return (each.src,)
    return ()
