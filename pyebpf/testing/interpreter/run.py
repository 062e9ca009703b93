"""One run of a program: what compiled code and helpers need to know.

Helpers get the `Run` first and then the values of their argument registers, unsigned 64-bit:

    def bpf_my_helper(run: Run, address: int, size: int) -> int:
        data = run.memory.read(address, size)      a bad pointer ends the program with its place
        return -errno.EINVAL                       negative numbers are fine

A helper that calls back into the program is a generator function; see
`pyebpf.testing.interpreter.calls`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Sequence

from pyebpf.errors import ExecutionError, InstructionLimitError, NotModelledError
from pyebpf.testing.interpreter.binding import Binding
from pyebpf.testing.interpreter.calls import Generated
from pyebpf.testing.interpreter.contexts import Context
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import ByteOrder, Memory, Region
from pyebpf.testing.interpreter.program import Program
from pyebpf.testing.interpreter.world import World
from pyebpf.typed import Any
from pyebpf.uapi.helpers import FuncId

__all__ = ["TOOLS", "Run"]

STACK_SIZE = 512  # MAX_BPF_STACK
MOST_FRAMES = 8  # MAX_CALL_FRAMES
MOST_TAIL_CALLS = 33  # MAX_TAIL_CALL_CNT
ZEROS = bytes(STACK_SIZE)
MASK = (1 << 64) - 1


class Run:
    """A program that is running.

    Attributes:
        world: Clock, task, CPU and the like.
        memory: What the program can reach.
        context: What it was started with.
        binding: The program that is running now, made ready.
        started: The one that the run began with.
        executed: Instructions so far, brought up to date at calls and at the end.
        depth: Nested calls.
        floor: Where those of the program begin that is running now; each may have eight.
        scratch: For helpers that remember something until the run ends, by a name of theirs.
    """

    def __init__(
        self,
        world: World,
        memory: Memory,
        context: Context,
        binding: Binding,
        bind: Callable[[Program], Binding],
    ) -> None:
        self.world = world
        self.memory = memory
        self.context = context
        self.binding = binding
        self.executed = 0
        self.limit = world.instruction_limit
        self.may_goto_limit = world.may_goto_limit
        self.depth = 0
        self.floor = 0
        self.scratch: dict[str, Any] = {}
        self.started = binding
        self._bind = bind
        self._bindings = [binding]
        self._tail_calls = 0
        self._stacks: list[Region] = []
        self._maps: dict[int, Map] = dict(binding.maps)

    @property
    def program(self) -> Program:
        """The program that is running now; tail calls change it."""
        return self.binding.program

    @property
    def byteorder(self) -> ByteOrder:
        """Of the program, and so of all numbers in memory."""
        return self.binding.program.byteorder

    def load(self, address: int, size: int) -> int:
        """Return the unsigned number of *size* bytes at *address*."""
        return self.memory.load(address, size, self.byteorder)

    def store(self, address: int, size: int, value: int) -> None:
        """Write the low *size* bytes of *value* at *address*."""
        self.memory.store(address, size, value, self.byteorder)

    def map_at(self, address: int) -> Map:
        """Return the map whose pointer a program passed.

        Raises:
            ExecutionError: It is no map's.
        """
        found = self._maps.get(address)
        if found is None:
            raise ExecutionError(f"{address:#x} is not the address of a map")
        return found

    def give_map(self, found: Map) -> int:
        """Return the pointer that programs use for a map, such as one looked up in another."""
        self._maps[found.handle.base] = found
        return self.memory.place(found.handle)

    # --- what compiled functions call ----------------------------------------------------------

    def enter(self) -> tuple[bytearray | bytes | memoryview, int]:
        """Begin a function: a stack frame of zeros, and the address past its end."""
        depth = self.depth
        if depth - self.floor >= MOST_FRAMES:
            raise ExecutionError(f"more than {MOST_FRAMES} nested calls")
        if depth == len(self._stacks):
            self._stacks.append(self.memory.allocate(STACK_SIZE, f"stack of call depth {depth}"))
        self.depth = depth + 1
        region = self._stacks[depth]
        region.data[:] = ZEROS  # type: ignore[index] # a stack is a bytearray
        return region.data, region.base + STACK_SIZE

    def exceeded(self, executed: int) -> None:
        """End a program that ran too long."""
        self.executed = executed
        raise InstructionLimitError(f"more than {self.limit} instructions executed")

    def bad_jump(self, address: int) -> None:
        """End a program that jumps where no table leads."""
        raise ExecutionError(f"jump to {address:#x}, which is in none of its jump tables")

    def missing_helper(self, number: int) -> None:
        """End a program that calls an unknown helper."""
        raise NotModelledError(f"helper {FuncId(number).name} ({number})")

    def missing_kfunc(self, name: str) -> None:
        """End a program that calls an unknown kernel function."""
        raise NotModelledError(f"kernel function {name}")

    def cast_to_kernel(self, address: int) -> int:
        """Turn an arena pointer of user space into the kernel's."""
        return self._arena().to_kernel(address)

    def cast_to_user(self, address: int) -> int:
        """Turn an arena pointer of the kernel into user space's."""
        return self._arena().to_user(address)

    def _arena(self) -> Map:
        if self.binding.arena is None:
            raise ExecutionError("a cast between address spaces, and no arena")
        return self.binding.arena

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        """Load as ``BPF_LD | BPF_ABS`` does: big-endian; ``None`` if it is not in the packet."""
        return self.context.load_packet(skb, offset & 0xFFFF_FFFF, size)

    def switch(self, programs: int, index: int) -> bool:
        """Make the program of a tail call the running one, if there is one and the limit allows."""
        target = self.map_at(programs).program(index & 0xFFFF_FFFF)
        if not isinstance(target, Program) or self._tail_calls >= MOST_TAIL_CALLS:
            return False
        self._tail_calls += 1
        self.depth -= 1
        self.floor = self.depth
        self.binding = self._bind(target)
        self.binding.place(self.memory)
        self._maps |= self.binding.maps
        self._bindings.append(self.binding)
        return True

    # --- calls from outside --------------------------------------------------------------------

    def call(self, address: int, arguments: Sequence[int]) -> int:
        """Call the function at *address* and return its r0."""
        binding, entry = self._function(address)
        return binding.call(self, entry, [each & MASK for each in arguments])

    def call_steps(self, address: int, arguments: Sequence[int]) -> Generator[Any, None, int]:
        """Call it step by step."""
        binding, entry = self._function(address)
        return binding.steps(self, entry, [each & MASK for each in arguments])

    def _function(self, address: int) -> tuple[Binding, int]:
        for binding in reversed(self._bindings):
            entry = binding.entry_of(address)
            if entry is not None:
                return binding, entry
        raise ExecutionError(f"{address:#x} is not the address of a function")


def _drive(run: Run, helper: Generated) -> int:
    try:
        address, arguments = next(helper)
        while True:
            address, arguments = helper.send(run.call(address, arguments))
    except StopIteration as stop:
        value: int = stop.value
        return value


def _drive_steps(run: Run, helper: Generated) -> Generator[Any, None, int]:
    try:
        address, arguments = next(helper)
        while True:
            returned = yield from run.call_steps(address, arguments)
            address, arguments = helper.send(returned)
    except StopIteration as stop:
        value: int = stop.value
        return value


# A tail call replaces the function that makes it: its frame is given back, and its caller gets what
# the other program returns.
def _tail_call(run: Run, context: int, programs: int, index: int) -> int | None:
    before = run.binding, run.floor
    if not run.switch(programs, index):
        return None
    value = run.binding.call(run, 0, (context,))
    run.binding, run.floor = before
    return value


def _tail_call_steps(
    run: Run, context: int, programs: int, index: int
) -> Generator[Any, None, int | None]:
    before = run.binding, run.floor
    if not run.switch(programs, index):
        return None
    value = yield from run.binding.steps(run, 0, (context,))
    run.binding, run.floor = before
    return value


# What compiled text calls by name.
TOOLS: dict[str, object] = {
    "drive": _drive,
    "drive_steps": _drive_steps,
    "tail_call": _tail_call,
    "tail_call_steps": _tail_call_steps,
    "NO_PROGRAM": -errno.ENOENT & MASK,
}
