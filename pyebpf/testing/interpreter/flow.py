"""The shape of one function: its basic blocks, and which registers are needed where.

    Program, slot of a function ──blocks()──▶ {slot: Block}
    {slot: Block}               ──Liveness──▶ registers that a call destroys though they are read

A set of registers is an ``int`` with bit n for rn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.errors import AsmError
from pyebpf.testing.interpreter.check import GOTOX, jump_target, written
from pyebpf.testing.interpreter.program import Program
from pyebpf.uapi import insn

__all__ = ["ARGUMENTS", "Block", "Liveness", "blocks"]

ALL = (1 << 11) - 1
ARGUMENTS = 0b11_1110  # r1 to r5: arguments, and lost by a call
EXIT = insn.JMP | insn.EXIT
ALWAYS = (insn.JMP | insn.JA, insn.JMP32 | insn.JA)


@dataclass(slots=True)
class Block:
    """Instructions that run one after another.

    Attributes:
        slots: Where they are.
        jump: The slot the last one jumps to, or ``None``.
        next: The slot that follows otherwise, or ``None`` after an exit or a plain jump.
        table: The slots that an indirect jump may lead to.
        entered_from: How many ways lead here; the function's entry counts as one.
    """

    slots: list[int]
    jump: int | None = None
    next: int | None = None
    table: tuple[int, ...] = ()
    entered_from: int = 0

    @property
    def successors(self) -> list[int]:
        """Where it may go on."""
        return [*(each for each in (self.jump, self.next) if each is not None), *self.table]


def blocks(program: Program, entry: int) -> dict[int, Block]:
    """Return the blocks that can be reached from *entry*, by their first slot, in order.

    Raises:
        AsmError: Code runs past its end.
    """
    reached, targets = _walk(program, entry)
    targets.add(entry)
    found: dict[int, Block] = {}
    current: Block | None = None
    for slot in sorted(reached):
        if current is None or slot in targets:
            if current is not None:
                current.next = slot
            current = found[slot] = Block([])
        current.slots.append(slot)
        current.table = _table(program, slot)
        jump, following = _ways(program, slot)
        if jump is not None or following is None:
            current.jump, current.next = jump, following
            current = None
    found[entry].entered_from = 1
    for each in found.values():
        for successor in each.successors:
            # What a table leads to needs a number of its own, as if there were two ways to it.
            found[successor].entered_from += 2 if each.table else 1
    return found


def _walk(program: Program, entry: int) -> tuple[set[int], set[int]]:
    reached: set[int] = set()
    targets: set[int] = set()
    waiting = [entry]
    while waiting:
        slot: int | None = waiting.pop()
        while slot is not None and slot not in reached:
            reached.add(slot)
            table = _table(program, slot)
            targets.update(table)
            waiting += table
            jump, slot = _ways(program, slot)
            if jump is not None:
                targets.add(jump)
                waiting.append(jump)
                if slot is not None:
                    targets.add(slot)
    return reached, targets


def _table(program: Program, slot: int) -> tuple[int, ...]:
    return program.targets(slot) if program.instructions[slot].opcode == GOTOX else ()


# Where the instruction at a slot jumps, and what follows it if it does not.
def _ways(program: Program, slot: int) -> tuple[int | None, int | None]:
    each = program.instructions[slot]
    if each.opcode in (EXIT, GOTOX):
        return None, None
    target = None
    if each.opcode not in (CALL, LOAD_IMMEDIATE_64):
        target = jump_target(slot, each)
    if each.opcode in ALWAYS:
        return target, None
    following = slot + each.slots
    if following not in program.instructions:
        raise AsmError("the program runs past its end", where=f"instruction {slot}")
    return target, following


class Liveness:
    """Which registers are read before they are written, from any place on.

    Args:
        program: The code.
        function: The blocks of one function.
        call_reads: What a call at a slot reads.
    """

    def __init__(
        self, program: Program, function: dict[int, Block], call_reads: Callable[[int], int]
    ) -> None:
        self._instructions = program.instructions
        self._blocks = function
        self._call_reads = call_reads
        self._at_start = dict.fromkeys(function, 0)
        # Of each instruction: what it sets or destroys, and what it reads.
        self._touched = {
            slot: self._touch(slot) for block in function.values() for slot in block.slots
        }
        # Of each block: what it needs whatever follows, and what it lets through.
        self._effects = {start: self._effect(block) for start, block in function.items()}
        self._solve()

    def at(self, slot: int) -> int:
        """Return the registers needed at the first slot of a block."""
        return self._at_start[slot]

    def lost(self) -> dict[int, int]:
        """Return the registers of r1 to r5 that are read though a call, by slot, destroyed them."""
        found = {}
        for block in self._blocks.values():
            live = self._after(block)
            for slot in reversed(block.slots):
                if self._destroys(self._instructions[slot]) and live & ARGUMENTS:
                    found[slot] = live & ARGUMENTS
                changed, read = self._touched[slot]
                live = live & ~changed | read
        return found

    # Backwards until nothing changes: a block is looked at again when one that it leads to changed.
    def _solve(self) -> None:
        before: dict[int, list[int]] = {start: [] for start in self._blocks}
        for start, block in self._blocks.items():
            for successor in block.successors:
                before[successor].append(start)
        waiting = list(self._blocks)
        while waiting:
            start = waiting.pop()
            needs, passes = self._effects[start]
            live = needs | (self._after(self._blocks[start]) & passes)
            if live != self._at_start[start]:
                self._at_start[start] = live
                waiting += before[start]

    def _effect(self, block: Block) -> tuple[int, int]:
        needs, passes = 0, ALL
        for slot in reversed(block.slots):
            changed, read = self._touched[slot]
            needs = needs & ~changed | read
            passes &= ~changed
        return needs, passes

    def _after(self, block: Block) -> int:
        live = 0
        for successor in block.successors:
            live |= self._at_start[successor]
        return live

    def _touch(self, slot: int) -> tuple[int, int]:
        each = self._instructions[slot]
        changed = ARGUMENTS if self._destroys(each) else 0
        for register in written(each):
            changed |= 1 << register
        return changed, self._reads(slot, each)

    @staticmethod
    def _destroys(each: Instruction) -> bool:
        old_load = each.opcode & 0x07 == insn.LD and each.opcode != LOAD_IMMEDIATE_64
        return each.opcode == CALL or old_load

    def _reads(self, slot: int, each: Instruction) -> int:
        kind, dst, src = each.opcode & 0x07, 1 << each.dst, 1 << each.src
        if each.opcode == CALL:
            return self._call_reads(slot)
        if each.opcode == EXIT:
            return 1
        if kind == insn.LD:
            if each.opcode == LOAD_IMMEDIATE_64:
                return 0
            return 1 << 6 | (src if each.opcode & 0xE0 == insn.IND else 0)
        if kind == insn.LDX:
            return src
        if kind == insn.ST:
            return dst
        if kind == insn.STX:
            return _stored(each, dst, src)
        return _computed(each, dst, src)


def _stored(each: Instruction, dst: int, src: int) -> int:
    if each.opcode & 0xE0 != insn.ATOMIC:
        return dst | src
    if each.immediate == insn.LOAD_ACQ:
        return src
    return dst | src | (1 if each.immediate == insn.CMPXCHG else 0)


def _computed(each: Instruction, dst: int, src: int) -> int:
    operation, register = each.opcode & 0xF0, each.opcode & insn.X
    if each.opcode == GOTOX:
        return dst
    if each.opcode & 0x07 in (insn.ALU, insn.ALU64):
        if operation == insn.MOV:
            return src if register else 0
        return dst | (src if register and operation != insn.END else 0)
    if operation in (insn.JA, insn.JCOND):
        return 0
    return dst | (src if register else 0)
