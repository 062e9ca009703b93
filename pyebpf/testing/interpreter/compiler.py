"""One function of a program becomes the text of one Python function.

Registers are local variables, and reading one that was never written is Python's own error. Each
instruction is one line, so a traceback tells which one failed. Blocks that only one other leads to
stand inside it; the others are numbered, and a loop around a tree of comparisons finds the next:

    def function_0(run, r1=UNSET):
        stack, r10 = run.enter()
        n = run.executed                          n counts executed instructions
        b = 0                                     b is the number of the next block
        while True:
            if n > limit: run.exceeded(n)
            if b < 1:
                n += 2
                r0 = 0x0
                ...

Single-stepping compiles the same text with a ``yield`` in front of every instruction, and ``yield
from`` where something else is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pyebpf.testing.interpreter.calls import Calls
from pyebpf.testing.interpreter.check import GOTOX
from pyebpf.testing.interpreter.flow import Block, Liveness
from pyebpf.testing.interpreter.program import Program
from pyebpf.testing.interpreter.statements import Statements
from pyebpf.uapi import insn

__all__ = ["Source", "function_name", "write_function"]

# CPython refuses a hundred levels of indentation; the tree of comparisons takes up to twenty.
DEEPEST = 40
NO_SLOT = -1


@dataclass(slots=True)
class Source:
    """Text of a function.

    Attributes:
        lines: Its lines.
        slots: The slot that each line is about, or -1.
        parameters: The registers it is called with, in order.
    """

    lines: list[str] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    parameters: tuple[int, ...] = ()

    def add(self, depth: int, text: str, slot: int = NO_SLOT) -> None:
        """Add a line, indented by *depth*."""
        self.lines.append(" " * depth + text)
        self.slots.append(slot)


def function_name(entry: int) -> str:
    """Return the Python name of the function that begins at slot *entry*."""
    return f"function_{entry}"


def write_function(
    program: Program,
    entry: int,
    flow: dict[int, Block],
    liveness: Liveness,
    calls: Calls,
    address: Callable[[int], int],
    *,
    stepping: bool,
) -> Source:
    """Write one function.

    Args:
        program: What it is part of.
        entry: Its first slot.
        flow: Its blocks.
        liveness: Of the same.
        calls: Writes the calls in it.
        address: Returns what the 64-bit load at a slot gives.
        stepping: Whether to stop before each instruction.
    """
    return _Writer(program, entry, flow, liveness, calls, address, stepping=stepping).write()


# Lines of one numbered block, indented from 0.
Body = list[tuple[int, str, int]]


class _Writer:
    def __init__(
        self,
        program: Program,
        entry: int,
        flow: dict[int, Block],
        liveness: Liveness,
        calls: Calls,
        address: Callable[[int], int],
        *,
        stepping: bool,
    ) -> None:
        self.program = program
        self.entry = entry
        self.flow = flow
        self.liveness = liveness
        self.stepping = stepping
        self.statements = Statements(program, calls, address, liveness.lost(), stepping=stepping)
        self.numbers: dict[int, int] = {entry: 0}
        self.waiting = [entry]
        self.body: Body = []
        self.calls = calls

    def write(self) -> Source:
        parameters = self.calls.parameters[self.entry]
        source = Source(parameters=parameters)
        bodies = self._bodies()
        given = "".join(f", r{each}=UNSET" for each in parameters)
        source.add(0, f"def {function_name(self.entry)}(run{given}):", self.entry)
        source.add(1, "stack, r10 = run.enter(); limit = run.limit", self.entry)
        # What a caller leaves out is as unset as any other register.
        from_outside = self.entry == 0 or self.entry in self.program.callbacks
        for each in parameters:
            if from_outside or each not in self.calls.required[self.entry]:
                source.add(1, f"if r{each} is UNSET: del r{each}")
        if any(self._is_may_goto(each) for block in self.flow.values() for each in block.slots):
            source.add(1, "iterations = run.may_goto_limit")
        source.add(1, "n = run.executed; b = 0")
        source.add(1, "while True:")
        source.add(2, "if n > limit: run.exceeded(n)")
        self._choose(source, bodies, 0, len(bodies), 2)
        if self.stepping:
            source.add(1, "yield")  # never reached: it makes even an empty function a generator
        return source

    # The blocks that have numbers; writing one may number others.
    def _bodies(self) -> list[Body]:
        found: list[Body] = []
        for start in self.waiting:
            self.body = []
            self._block(start, 0)
            found.append(self.body)
        return found

    def _choose(self, source: Source, bodies: list[Body], low: int, high: int, depth: int) -> None:
        if high - low == 1:
            for indent, text, slot in bodies[low]:
                source.add(depth + indent, text, slot)
            return
        middle = (low + high) // 2
        source.add(depth, f"if b < {middle}:")
        self._choose(source, bodies, low, middle, depth + 1)
        self._choose(
            source, bodies, middle, high, depth
        )  # the lower half never falls out of its if

    def _add(self, depth: int, text: str, slot: int = NO_SLOT) -> None:
        self.body.append((depth, text, slot))

    # A block and, in a row, those that only it leads to.
    def _block(self, start: int, depth: int) -> None:
        while True:
            block = self.flow[start]
            self._add(depth, f"n += {len(block.slots)}")
            for slot in block.slots:
                self._instruction(slot, depth)
            if block.jump is not None and block.next is not None:
                self._conditional(block, depth)
                following = block.next
            elif block.jump is not None:
                following = block.jump
            elif block.next is not None:
                following = block.next
            else:
                if self.program.instructions[block.slots[-1]].opcode == GOTOX:
                    self._through_table(block, depth)
                return
            if not self._inside(following, depth):
                self._leave(following, depth)
                return
            start = following

    def _through_table(self, block: Block, depth: int) -> None:
        slot = block.slots[-1]
        text = self.program.text.base
        numbers = ", ".join(
            f"{text + 8 * target:#x}: {self._number(target)}" for target in block.table
        )
        register = f"r{self.program.instructions[slot].dst}"
        self._add(depth, f"b = {{{numbers}}}.get({register})", slot)
        self._add(depth, f"if b is None: run.bad_jump({register})", slot)
        self._add(depth, "continue")

    def _inside(self, start: int, depth: int) -> bool:
        alone = self.flow[start].entered_from == 1 and start != self.entry
        return alone and depth < DEEPEST

    def _leave(self, start: int, depth: int) -> None:
        self._add(depth, f"b = {self._number(start)}; continue")

    def _number(self, start: int) -> int:
        if start not in self.numbers:
            self.numbers[start] = len(self.numbers)
            self.waiting.append(start)
        return self.numbers[start]

    def _conditional(self, block: Block, depth: int) -> None:
        slot = block.slots[-1]
        assert block.jump is not None
        self._add(depth, f"if {self.statements.condition(slot)}:", slot)
        if self._inside(block.jump, depth + 1):
            self._block(block.jump, depth + 1)
        else:
            self._leave(block.jump, depth + 1)
        if self._is_may_goto(slot):
            self._add(depth, "iterations -= 1", slot)

    def _instruction(self, slot: int, depth: int) -> None:
        if self.stepping:
            self._add(depth, f"yield PROGRAM, {slot}, locals(), run", slot)
        for text in self.statements.lines(slot):
            self._add(depth, text, slot)

    def _is_may_goto(self, slot: int) -> bool:
        return self.program.instructions[slot].opcode == insn.JMP | insn.JCOND
