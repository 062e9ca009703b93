"""Runs programs: whole, or one instruction at a time.

Program, Context ──Machine.run()────▶ Result
                 ──Machine.steps()──▶ Step, Step, … Result
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import CALL
from pyebpf.asm.text import instruction_text
from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.binding import Binding, describe
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.contexts import Context
from pyebpf.testing.interpreter.helpers import HELPERS
from pyebpf.testing.interpreter.kfuncs import KFUNCS, Thrown
from pyebpf.testing.interpreter.memory import Memory
from pyebpf.testing.interpreter.program import Program
from pyebpf.testing.interpreter.run import TOOLS, Run
from pyebpf.testing.interpreter.world import World
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId

__all__ = ["Machine", "Result", "Step", "Steps"]


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended.

    Attributes:
        r0: Its return value, all 64 bits, unsigned.
        instructions: How many were executed, in callbacks and after tail calls too.
    """

    r0: int
    instructions: int

    @property
    def retval(self) -> int:
        """The return value as the kernel's test run reports it: 32 bits, unsigned."""
        return self.r0 & 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction that is executed next.

    Attributes:
        program: The program it is in.
        slot: Where.
        depth: How many functions deep, from 1.
        registers: Values of r0 to r10 before it; ``None`` if never set.
    """

    program: Program = field(repr=False)
    slot: int
    depth: int
    registers: tuple[int | None, ...]

    @property
    def instruction(self) -> Instruction:
        """The instruction."""
        return self.program.instructions[self.slot]

    def __str__(self) -> str:
        known = [f"r{n}={v:#x}" for n, v in enumerate(self.registers[:10]) if v is not None]
        return f"{self.slot:5}: {self._text():36} {' '.join(known)}"

    def _text(self) -> str:
        each, name = self.instruction, None
        if each.opcode == CALL and each.src == 0:
            name = f"bpf_{FuncId(each.immediate).name}"
        elif each.opcode == CALL and each.src == insn.PSEUDO_KFUNC_CALL:
            name = self.program.kfunc(self.slot)
        return instruction_text(each, name) or f"opcode {each.opcode:#04x}"


class Machine:
    """Runs programs; each as if alone, except for maps and what the world remembers.

    Not for several threads at once.

    Args:
        world: Clock, task, limits.
        helpers: Helpers of your own by number, instead of or besides the usual ones.
        kfuncs: Kernel functions of your own by name, likewise.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        helpers: Mapping[int, Function] | None = None,
        kfuncs: Mapping[str, Function] | None = None,
    ) -> None:
        self.world = world or World()
        self.memory = Memory()
        self._helpers = {**HELPERS, **(helpers or {})}
        self._kfuncs = {**KFUNCS, **(kfuncs or {})}
        self._bindings: weakref.WeakKeyDictionary[Program, Binding] = weakref.WeakKeyDictionary()

    def bind(self, program: Program) -> Binding:
        """Compile *program* for this machine, or return what was compiled before.

        Raises:
            AsmError: It runs past its end or refers to something unknown.
        """
        found = self._bindings.get(program)
        if found is None:
            found = Binding(program, self.memory, self._helpers, self._kfuncs, TOOLS)
            self._bindings[program] = found
        return found

    def forget(self, program: Program) -> None:
        """Let go of what was compiled for a program, and of the maps and memory it refers to."""
        found = self._bindings.pop(program, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Let go of everything; the machine can be used again."""
        for program in list(self._bindings):
            self.forget(program)

    def run(self, program: Program, context: Context) -> Result:
        """Run *program* once.

        Args:
            program: What to run.
            context: What it is given; afterwards it has what the program changed.

        Raises:
            ExecutionError: The program did what the verifier would have refused, or something that
                is not modelled; the message names the instruction.
            AsmError: It runs past its end or refers to something unknown.
        """
        with self._running(program, context) as (run, arguments):
            try:
                r0 = run.binding.call(run, 0, arguments)
            except Thrown as thrown:
                r0 = thrown.value(run)
            return Result(r0, run.executed)

    def steps(self, program: Program, context: Context) -> Steps:
        """Run *program* one instruction at a time: iterate over what is returned.

        Raises:
            ExecutionError: As `run`, from the iteration.
        """
        return Steps(self, program, context)

    @contextlib.contextmanager
    def _running(self, program: Program, context: Context) -> Iterator[tuple[Run, tuple[int, ...]]]:
        with self.memory.temporary():
            binding = self.bind(program)
            binding.place(self.memory)
            run = Run(self.world, self.memory, context, binding, self.bind)
            arguments = context.enter(self.memory, program.byteorder)
            try:
                yield run, arguments
            except (ExecutionError, NameError, RecursionError) as error:
                described = describe(error)
                if described is None or described is error:
                    raise
                raise described from None


class Steps:
    """A run that stops before every instruction.

    Memory stays as it is between steps: ``machine.memory.read(step.registers[10] - 8, 8)``.

    Attributes:
        result: How it ended, ``None`` until then.
    """

    def __init__(self, machine: Machine, program: Program, context: Context) -> None:
        self.result: Result | None = None
        self._steps = self._iterate(machine, program, context)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        return next(self._steps)

    def close(self) -> None:
        """End the run early."""
        self._steps.close()

    def _iterate(
        self, machine: Machine, program: Program, context: Context
    ) -> Generator[Step, None, None]:
        with machine._running(program, context) as (run, arguments):
            steps = run.binding.steps(run, 0, arguments)
            try:
                while True:
                    where, slot, values, _ = next(steps)
                    registers = tuple(values.get(f"r{number}") for number in range(11))
                    yield Step(where, slot, run.depth, registers)
            except StopIteration as stop:
                self.result = Result(stop.value, run.executed)
            except Thrown as thrown:
                self.result = Result(thrown.value(run), run.executed)
