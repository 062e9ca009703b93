"""Each instruction as lines of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.testing.interpreter import atomics, operations
from pyebpf.testing.interpreter.calls import Calls
from pyebpf.testing.interpreter.check import SIZES
from pyebpf.testing.interpreter.program import Program
from pyebpf.uapi import insn

__all__ = ["Statements"]

MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
NO_LINES: list[str] = []


class Statements:
    """Writes the instructions of one function.

    Args:
        program: What it is part of.
        calls: Writes calls.
        address: Returns what the 64-bit load at a slot gives.
        lost: Registers that a call destroys though they are read afterwards, by slot.
        stepping: Whether what is called stops at its instructions, too.
    """

    def __init__(
        self,
        program: Program,
        calls: Calls,
        address: Callable[[int], int],
        lost: Mapping[int, int],
        *,
        stepping: bool,
    ) -> None:
        self._program = program
        self._calls = calls
        self._address_of = address
        self._lost = lost
        self._stepping = stepping

    def lines(self, slot: int) -> list[str]:
        """Return the lines of the instruction at *slot*; a conditional jump has none.

        Raises:
            AsmError: It refers to something unknown.
        """
        each = self._program.instructions[slot]
        kind = each.opcode & 0x07
        if kind in (insn.ALU, insn.ALU64):
            return [f"r{each.dst} = {self._arithmetic(each)}"]
        if kind in (insn.JMP, insn.JMP32):
            return self._jump(slot, each)
        if kind == insn.LD:
            return self._load_of_old(slot, each)
        if kind == insn.LDX:
            return [f"r{each.dst} = {_load(each, each.opcode & 0xE0 == insn.MEMSX)}"]
        if each.opcode & 0xE0 == insn.ATOMIC:
            return [_atomic(each)]
        value = _literal(each.immediate) if kind == insn.ST else f"r{each.src}"
        return [f"store_{_size(each)}({_address(each.dst, each.offset)}, {value})"]

    def condition(self, slot: int) -> str:
        """Return the expression that tells whether the jump at *slot* jumps."""
        each = self._program.instructions[slot]
        operation = each.opcode & 0xF0
        if operation == insn.JCOND:
            return "not iterations"
        wide = each.opcode & 0x07 == insn.JMP
        text = operations.condition(operation, f"r{each.dst}", _source(each), wide=wide)
        assert text is not None  # the program was checked
        return text

    def _arithmetic(self, each: Instruction) -> str:
        operation, d = each.opcode & 0xF0, f"r{each.dst}"
        wide = each.opcode & 0x07 == insn.ALU64
        if operation == insn.END:
            native = "big" if each.opcode & insn.TO_BE else "little"
            swap = wide or native != self._program.byteorder
            text = operations.byte_swap(each.immediate, d, swap=swap)
        elif operation == insn.MOV and wide and each.offset == insn.ADDR_SPACE_CAST:
            way = "kernel" if each.immediate == 1 else "user"
            text = f"run.cast_to_{way}(r{each.src})"
        else:
            text = operations.arithmetic(operation, each.offset, d, _source(each), wide=wide)
        assert text is not None
        return text

    def _jump(self, slot: int, each: Instruction) -> list[str]:
        if each.opcode == CALL:
            lines = self._calls.lines(slot, stepping=self._stepping)
            return lines + self._forget(slot)
        if each.opcode == insn.JMP | insn.EXIT:
            return ["run.executed = n; run.depth -= 1; return r0"]
        return NO_LINES

    # What a call left in its argument registers may not be read: then reading is Python's error.
    def _forget(self, slot: int) -> list[str]:
        lost = self._lost.get(slot, 0)
        return [f"r{each} = 0; del r{each}" for each in range(1, 6) if lost & 1 << each]

    def _load_of_old(self, slot: int, each: Instruction) -> list[str]:
        if each.opcode == LOAD_IMMEDIATE_64:
            return [f"r{each.dst} = {_literal(self._address_of(slot))}"]
        index = f" + r{each.src}" if each.opcode & 0xE0 == insn.IND else ""
        size = SIZES[each.opcode & 0x18]
        return [
            f"t = run.load_packet(r6, {each.immediate}{index}, {size})",
            "if t is None: run.executed = n; run.depth -= 1; return 0",
            "r0 = t",
            *self._forget(slot),
        ]


def _size(each: Instruction) -> int:
    return SIZES[each.opcode & 0x18]


def _literal(value: int) -> str:
    return hex(value & MASK_64)


def _source(each: Instruction) -> str:
    return f"r{each.src}" if each.opcode & insn.X else _literal(each.immediate)


# Not masked: what lies outside of 64 bits is no memory, and the slow path masks it.
def _address(register: int, offset: int) -> str:
    return f"r{register} {'-' if offset < 0 else '+'} {abs(offset)}" if offset else f"r{register}"


def _load(each: Instruction, signed: bool) -> str:
    size = _size(each)
    value = f"load_{size}({_address(each.src, each.offset)})"
    return operations.signed_load(size, value) if signed else value


def _atomic(each: Instruction) -> str:
    size = _size(each)
    if each.immediate == insn.LOAD_ACQ:
        return f"r{each.dst} = {_load(each, signed=False)}"
    address = _address(each.dst, each.offset)
    if each.immediate == insn.STORE_REL:
        return f"store_{size}({address}, r{each.src})"
    name = atomics.name_of(each.immediate, size)
    if each.immediate == insn.CMPXCHG:
        return f"r0 = {name}({address}, r0, r{each.src})"
    if each.immediate in atomics.FETCHING:
        return f"r{each.src} = {name}({address}, r{each.src})"
    return f"{name}({address}, r{each.src})"
