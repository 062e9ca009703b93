"""Calls in a program's Python text: of its own functions, of helpers, of kernel functions.

Helpers and kfuncs are Python functions of the run and as many arguments as they take, so their
signatures say which registers a call reads; a parameter with a default may be a register that was
never set. One that calls back into the program is a generator
function: it yields ``(address, arguments)`` and is sent what the callback returned.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Generator, Mapping, Sequence

from pyebpf.asm.opcode import CALL
from pyebpf.testing.interpreter.program import Program
from pyebpf.uapi import insn

__all__ = ["Calls", "Function", "Generated"]

# What a callback helper is: it yields calls and returns its own value.
Generated = Generator[tuple[int, Sequence[int]], int, int]
Function = Callable[..., "int | Generated"]

TAIL_CALL = 12
MASK = "0xffffffffffffffff"


class Calls:
    """Writes the calls of one program.

    Args:
        program: The program.
        helpers: Helpers by number.
        kfuncs: Kernel functions by name.

    Attributes:
        parameters: The registers that the program's own functions read, by entry; filled in from
            their liveness.
        required: Those of them that must be set.
        used: What the text refers to, by Python name.
    """

    def __init__(
        self, program: Program, helpers: Mapping[int, Function], kfuncs: Mapping[str, Function]
    ) -> None:
        self.program = program
        self.helpers = helpers
        self.kfuncs = kfuncs
        self.parameters: dict[int, tuple[int, ...]] = {}
        self.required: dict[int, tuple[int, ...]] = {}
        self.used: dict[str, Function] = {}

    def reads(self, slot: int, *, required: bool) -> int:
        """Return the registers that the call at *slot* reads, or must read; bit n for rn."""
        each = self.program.instructions[slot]
        if each.src == insn.PSEUDO_CALL:
            table = self.required if required else self.parameters
            registers: Sequence[int] = table.get(slot + 1 + each.immediate, ())
        elif each.src == 0 and each.immediate == TAIL_CALL:
            registers = (1, 2, 3)
        else:
            function = self._function(slot)
            count = 0 if function is None else arity(function)[0 if required else 1]
            registers = range(1, 1 + count)
        return sum(1 << register for register in registers)

    def may_leave_out(self) -> bool:
        """Whether the program calls a helper with registers that need not be set."""
        for slot, each in self.program.instructions.items():
            if each.opcode == CALL and each.src != insn.PSEUDO_CALL:
                function = self._function(slot)
                if function is not None and arity(function)[0] != arity(function)[1]:
                    return True
        return False

    def lines(self, slot: int, *, stepping: bool) -> list[str]:
        """Return the statements for the call at *slot*, each a line."""
        each = self.program.instructions[slot]
        if each.src == insn.PSEUDO_CALL:
            return [self._own(slot + 1 + each.immediate, stepping=stepping)]
        if each.src == 0 and each.immediate == TAIL_CALL:
            way = "yield from tail_call_steps" if stepping else "tail_call"
            return [
                f"run.executed = n; t = {way}(run, r1, r2, r3)",
                "if t is not None: return t",
                "n = run.executed; r0 = NO_PROGRAM",
            ]
        function = self._function(slot)
        if function is None:
            if each.src == 0:
                return [f"run.missing_helper({each.immediate})"]
            return [f"run.missing_kfunc({self.program.kfunc(slot)!r})"]
        return [self._foreign(slot, function, stepping=stepping)]

    def _own(self, entry: int, *, stepping: bool) -> str:
        given = "".join(
            f", r{each}" if each in self.required[entry] else f', locals().get("r{each}", UNSET)'
            for each in self.parameters[entry]
        )
        way = "yield from " if stepping else ""
        return f"run.executed = n; r0 = {way}function_{entry}(run{given}); n = run.executed"

    def _foreign(self, slot: int, function: Function, *, stepping: bool) -> str:
        name = self._name(slot)
        self.used[name] = function
        required, most = arity(function)
        given = "".join(
            f", r{each}" if each <= required else f', locals().get("r{each}", 0)'
            for each in range(1, 1 + most)
        )
        value = f"{name}(run{given})"
        if not inspect.isgeneratorfunction(function):
            return f"r0 = {value} & {MASK}"
        value = f"(yield from drive_steps(run, {value}))" if stepping else f"drive(run, {value})"
        return f"run.executed = n; r0 = {value} & {MASK}; n = run.executed"

    def _function(self, slot: int) -> Function | None:
        each = self.program.instructions[slot]
        if each.src == 0:
            return self.helpers.get(each.immediate)
        return self.kfuncs.get(self.program.kfunc(slot))

    def _name(self, slot: int) -> str:
        each = self.program.instructions[slot]
        if each.src == 0:
            return f"helper_{each.immediate}"
        return "kfunc_" + re.sub(r"\W", "_", self.program.kfunc(slot))


@functools.cache
def arity(function: Function) -> tuple[int, int]:
    """Return how many arguments a helper must have and may have, besides the run."""
    parameters = inspect.signature(function).parameters.values()
    required = sum(1 for each in parameters if each.default is inspect.Parameter.empty)
    return required - 1, len(parameters) - 1
