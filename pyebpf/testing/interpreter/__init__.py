"""Runs eBPF programs in pure Python, with the kernel's semantics: no root, no Linux.

    raw code, maps ──Program──▶ Machine.run(program, context) ──▶ Result(r0, instructions)
                                  │  Machine.steps(…)         ──▶ Step, Step, …
                                  ├── World     clock, CPU, task, limits: what a test sets
                                  ├── Memory    regions at addresses, every access within bounds
                                  ├── helpers   {number: function(run, r1, r2, …)}, extendable
                                  └── kfuncs    {name: function(run, r1, r2, …)}, extendable

    machine = Machine(World(clock=lambda: 1000))
    program = Program(code, name="count", type=ProgType.XDP, maps={fd: some_map})
    context = XdpContext(packet)
    result = machine.run(program, context)          # a Program is compiled once per Machine
    result.retval, context.packet                   # what the program made of the packet

    for step in machine.steps(program, XdpContext(packet)):
        print(step)                                 # the instruction and the registers before it

`Program` takes code as the kernel does, with descriptors in it (``maps={fd: map}``), or as object
files have it, with names (`Program.from_spec`). A map is a `Map`: subclass it (see
`pyebpf.testing.interpreter.maps`) or take one of `pyebpf.testing.interpreter.map_kinds`. A value is
a `Region`, shared by the map and the programs that looked it up.

What differs from a kernel, on purpose:

- There is no verifier. A program that does what the verifier refuses ends with an `ExecutionError`
  that names the instruction and the register, when it does so and not before: a `MemoryAccessError`
  for an access outside of its memory, or for a write to what is read-only; a register that was
  never written, or that a call destroyed, cannot be read.
- Stack bytes that were never written are 0; a kernel gives what happened to be there.
- An endless program ends with `InstructionLimitError` (`World.instruction_limit`).
- All clocks are one, pointers are printed as they are (``%p``), numbers of stack traces count up, a
  Bloom filter is never mistaken, and pages of an arena need not be allocated.
- ``may_goto`` ends a loop after `World.may_goto_limit` turns, not after a quarter of a second.
- Helpers and kernel functions that are not modelled end the program with `NotModelledError`, never
  with a made-up result.

Held to the kernel: random programs give the same return values, packets, contexts and maps in both
(``make differential``), and so do all compiled programs of the tests; to the public suite
bpf_conformance too (``BPF_CONFORMANCE=folder make test``). CPython 3.11 runs 10 to 50 million
instructions a second, once a program is compiled, which takes some 10 µs an instruction
(``python -m tests.bench.interpreter``).

Which modules do what: `program` `check` `flow` (code) · `compiler` `statements` `operations`
`atomics` `calls` `binding` (to Python) · `machine` `run` `world` `memory` `contexts` (running)
· `helpers` `kfuncs` `dynptrs` `arena` `maps` `map_kinds` `event_maps` (what they call and share)
· `xdp` `skb` `fields` `checksum` `prog_test_run` (packets).
"""

from __future__ import annotations

from pyebpf.testing.interpreter.contexts import (
    BytesContext,
    Context,
    RawTracepointContext,
    Redirect,
    ValuesContext,
)
from pyebpf.testing.interpreter.machine import Machine, Result, Step, Steps
from pyebpf.testing.interpreter.map_kinds import make_map
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Memory, Region
from pyebpf.testing.interpreter.program import Program
from pyebpf.testing.interpreter.run import Run
from pyebpf.testing.interpreter.skb import SkbContext
from pyebpf.testing.interpreter.world import Task, World
from pyebpf.testing.interpreter.xdp import XdpContext

__all__ = [
    "BytesContext",
    "Context",
    "Machine",
    "Map",
    "Memory",
    "Program",
    "RawTracepointContext",
    "Redirect",
    "Region",
    "Result",
    "Run",
    "SkbContext",
    "Step",
    "Steps",
    "Task",
    "ValuesContext",
    "World",
    "XdpContext",
    "make_map",
]
