"""A program made ready for one machine: its functions compiled, its memory known.

Program ──flow──▶ blocks ──compiler──▶ Python text ──compile()──▶ functions in one namespace
"""

from __future__ import annotations

import functools
import re
from collections.abc import Generator, Mapping
from types import TracebackType

from pyebpf.asm.opcode import CALL
from pyebpf.errors import AsmError, ExecutionError, MemoryAccessError
from pyebpf.testing.interpreter import atomics, operations
from pyebpf.testing.interpreter.calls import Calls, Function
from pyebpf.testing.interpreter.compiler import Source, function_name, write_function
from pyebpf.testing.interpreter.flow import Liveness, blocks
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import WINDOW, Memory, Region
from pyebpf.testing.interpreter.program import Program
from pyebpf.typed import Any, NamedTuple
from pyebpf.uapi import insn

__all__ = ["UNSET", "Binding", "describe"]

UNSET = object()  # an argument that was not given
MASK = (1 << 64) - 1


class Binding:
    """One program on one machine.

    Args:
        program: The program.
        memory: The machine's.
        helpers: Helpers by number.
        kfuncs: Kernel functions by name.
        tools: What compiled text calls besides: tail calls and callbacks.

    Raises:
        AsmError: The code runs past its end, or refers to something unknown.
    """

    def __init__(
        self,
        program: Program,
        memory: Memory,
        helpers: Mapping[int, Function],
        kfuncs: Mapping[str, Function],
        tools: Mapping[str, object],
    ) -> None:
        self.program = program
        self.regions: list[Region] = [program.text, *program.tables]
        self.maps: dict[int, Map] = {}  # by the address of their handle
        self.arena: Map | None = None
        self._calls = Calls(program, helpers, kfuncs)
        self._flows = {entry: blocks(program, entry) for entry in program.entries}
        self._callers = self._find_callers()
        self._liveness = self._solve()
        self._tools = dict(tools)
        self._tools |= operations.NAMESPACE
        self._tools |= atomics.namespace(memory, program.byteorder)
        for size, load in memory.loads(program.byteorder).items():
            self._tools[f"load_{size}"] = load
        for size, store in memory.stores(program.byteorder).items():
            self._tools[f"store_{size}"] = store
        self._addresses: dict[int, int] = {}
        self._namespaces: dict[bool, dict[str, Any]] = {}

    def call(self, run: object, entry: int, arguments: tuple[int, ...] | list[int]) -> int:
        """Run the function at slot *entry* and return its r0."""
        function = self._namespace(stepping=False)[function_name(entry)]
        value: int = function(run, *self._given(entry, arguments))
        return value

    def steps(
        self, run: object, entry: int, arguments: tuple[int, ...] | list[int]
    ) -> Generator[Any, None, int]:
        """Return an iterator that stops before every instruction of the same."""
        function = self._namespace(stepping=True)[function_name(entry)]
        steps: Generator[Any, None, int] = function(run, *self._given(entry, arguments))
        return steps

    def place(self, memory: Memory) -> None:
        """Make what the code refers to reachable."""
        self._namespace(stepping=False)
        for region in self.regions:
            memory.place(region)

    def close(self) -> None:
        """Let go of what was compiled, which refers to itself and so would wait for a collector."""
        for space in self._namespaces.values():
            space.clear()
        self._namespaces.clear()

    def text(self, *, stepping: bool = False) -> str:
        """Return the Python text of all functions: for the curious."""
        sources: dict[str, Source] = self._namespace(stepping=stepping)["SOURCES"]
        return "\n\n".join("\n".join(source.lines) for source in sources.values())

    def entry_of(self, address: int) -> int | None:
        """Return the slot of the function at *address*, ``None`` if none of this program's is."""
        slot, rest = divmod(address - self.program.text.base, 8)
        return slot if rest == 0 and slot in self._flows else None

    def _given(self, entry: int, arguments: tuple[int, ...] | list[int]) -> list[object]:
        given = [*arguments, UNSET, UNSET, UNSET, UNSET, UNSET]
        return [given[register - 1] for register in self._calls.parameters[entry]]

    # Fills in what functions read, then what they must; returns the liveness of the latter.
    def _solve(self) -> dict[int, Liveness]:
        found = self._settle(self._calls.parameters, required=False)
        if not self._calls.may_leave_out():
            self._calls.required = self._calls.parameters
            return found
        return self._settle(self._calls.required, required=True)

    # What one function reads depends on what those it calls read: when that changes, its callers
    # are looked at again.
    def _settle(self, table: dict[int, tuple[int, ...]], *, required: bool) -> dict[int, Liveness]:
        reads = functools.partial(self._calls.reads, required=required)
        found: dict[int, Liveness] = {}
        waiting = list(self._flows)
        while waiting:
            entry = waiting.pop()
            found[entry] = Liveness(self.program, self._flows[entry], reads)
            now = tuple(each for each in range(1, 6) if found[entry].at(entry) & 1 << each)
            if now != table.get(entry, ()):
                waiting += self._callers.get(entry, ())
            table[entry] = now
        return found

    # The functions that call a function, by their entries.
    def _find_callers(self) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for entry, flow in self._flows.items():
            for slot in (slot for block in flow.values() for slot in block.slots):
                each = self.program.instructions[slot]
                if each.opcode == CALL and each.src == insn.PSEUDO_CALL:
                    found.setdefault(slot + 1 + each.immediate, set()).add(entry)
        return found

    def _namespace(self, *, stepping: bool) -> dict[str, Any]:
        if stepping not in self._namespaces:
            sources = {
                function_name(entry): write_function(
                    self.program,
                    entry,
                    flow,
                    self._liveness[entry],
                    self._calls,
                    self._address,
                    stepping=stepping,
                )
                for entry, flow in self._flows.items()
            }
            space: dict[str, Any] = {
                **self._tools,
                **self._calls.used,
                "UNSET": UNSET,
                "PROGRAM": self.program,
                "SOURCES": sources,
            }
            for name, source in sources.items():
                text = "\n".join(source.lines)
                exec(compile(text, f"<ebpf {self.program.name} {name}>", "exec"), space)
            self._namespaces[stepping] = space
        return self._namespaces[stepping]

    def _address(self, slot: int) -> int:
        if slot not in self._addresses:
            self._addresses[slot] = self._resolve(slot)
        return self._addresses[slot]

    def _resolve(self, slot: int) -> int:
        operand = self.program.operand(slot)
        if isinstance(operand, int):
            return operand & MASK
        if isinstance(operand, Map):
            self.maps[operand.handle.base] = operand
            self._is_arena(operand)
            operand = operand.handle
        if isinstance(operand, Region):
            self.regions.append(operand)
            return operand.base
        source, offset = operand
        user_base = self._is_arena(source)
        if user_base is not None:
            return user_base + offset & MASK
        value = source.lookup(bytes(source.key_size), 0)
        if not isinstance(value, Region):
            raise AsmError(f"map {source.name} has no value", where=f"instruction {slot}")
        self.regions.append(value)
        return value.base + offset

    # Pointers into an arena are those of user space.
    def _is_arena(self, source: Map) -> int | None:
        found = source.arena_memory()
        if found is None:
            return None
        self.arena = source
        self.regions.append(found[0])
        return found[1]


class Place(NamedTuple):
    """Where a program was when something went wrong."""

    program: Program
    slot: int
    values: Mapping[str, Any]


def describe(error: BaseException) -> ExecutionError | None:
    """Say at which instruction a program failed.

    Args:
        error: What left a compiled function.

    Returns:
        The error to raise: the same one with its place, or a new one for a register that was not
        set; ``None`` if it is not about the program.
    """
    place, innermost = _place(error.__traceback__)
    if place is None:
        return error if isinstance(error, ExecutionError) else None
    if isinstance(error, NameError) and innermost:
        match = re.search(r"'(r\d+)'", str(error))
        if match is None:
            return None
        found = ExecutionError(f"{match[1]} is read before it is written")
    elif isinstance(error, RecursionError):
        found = ExecutionError("calls are nested deeper than Python's own may be")
    elif isinstance(error, ExecutionError):
        found = error
    else:
        return None
    if found.slot >= 0:
        return found
    found.slot, found.program = place.slot, place.program.name
    where = f"instruction {place.slot}"
    if isinstance(found, MemoryAccessError):
        found.register, text = _register(place, found.address)
        where += text and f" ({text})"
    found.context.insert(0, where)
    if found.program:
        found.context.insert(0, f'program "{found.program}"')
    return found


def _place(trace: TracebackType | None) -> tuple[Place | None, bool]:
    place, innermost = None, False
    while trace is not None:
        frame = trace.tb_frame
        sources = (
            frame.f_globals.get("SOURCES") if frame.f_code.co_filename[:6] == "<ebpf " else None
        )
        innermost = sources is not None
        if sources is not None:
            values = frame.f_locals
            slot = sources[frame.f_code.co_name].slots[trace.tb_lineno - 1]
            if slot < 0:  # between instructions
                slot = values.get("slot", int(frame.f_code.co_name.rpartition("_")[2]))
            place = Place(frame.f_globals["PROGRAM"], slot, values)
        trace = trace.tb_next
    return place, innermost


# The register that held a bad address: an access names it, a call's argument is found by its value.
def _register(place: Place, address: int) -> tuple[str, str]:
    each = place.program.instructions[place.slot]
    if each.opcode != CALL:
        load = each.opcode & 0x07 == insn.LDX or (
            each.opcode & 0xE7 == insn.STX | insn.ATOMIC and each.immediate == insn.LOAD_ACQ
        )
        name = f"r{each.src if load else each.dst}"
        return name, f"{name} {each.offset:+}" if each.offset else name
    held = {f"r{number}": place.values.get(f"r{number}") for number in range(1, 6)}
    for name, value in held.items():
        if value == address:
            return name, name
    for name, value in held.items():
        if isinstance(value, int) and value >> WINDOW == address >> WINDOW and value:
            return name, name
    return "", ""
