"""How fast the interpreter is: ``python -m tests.bench.interpreter``.

Instructions a second of loops over arithmetic, over the stack, over a packet and over calls; the
best of some runs, since other programs run, too. Then what it costs to make a program ready.
"""

from __future__ import annotations

import platform
import time

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.elf import load_spec
from pyebpf.testing.interpreter import (
    Context,
    Machine,
    Program,
    ValuesContext,
    XdpContext,
    make_map,
)
from pyebpf.testing.interpreter.prog_test_run import prog_test_run
from pyebpf.uapi import insn
from tests.support.code import Code, add, load, mov, slots, small, store
from tests.support.programs import built

EXIT = Instruction(insn.JMP | insn.EXIT)
TURNS = 20_000
RUNS = 7


def looped(body: Code, *functions: Instruction) -> bytes:
    """Make a program that runs *body* many times."""
    start = [
        mov(6, 1),
        small(0, 0),
        small(9, TURNS),
        load(4, 7, 6, 0) if packet(body) else mov(7, 1),
    ]
    back = Instruction(insn.JMP | insn.JNE, 9, 0, -(slots(body) + 2), 0)
    return encode_all([*start, *body, add(9, -1), back, EXIT, *functions], "little")


def packet(body: Code) -> bool:
    return any(each.opcode & 0x07 == insn.LDX and each.src == 7 for each in body)


def alu(operation: int, dst: int, src: int) -> Instruction:
    return Instruction(insn.ALU64 | operation | insn.X, dst, src)


ARITHMETIC = [alu(insn.ADD, 0, 9), alu(insn.XOR, 0, 7), add(0, 3), alu(insn.MOV, 3, 0)] * 2
STACK = [store(8, 10, 9, -8), load(8, 3, 10, -8), alu(insn.ADD, 0, 3), store(4, 10, 0, -16)]
PACKET = [load(1, 3, 7, 4), load(2, 4, 7, 12), alu(insn.ADD, 0, 3), alu(insn.XOR, 0, 4)]
CALLS = [mov(1, 9), Instruction(insn.JMP | insn.CALL, 0, insn.PSEUDO_CALL, 0, 3)]
FUNCTION = [mov(0, 1), add(0, 1), EXIT]


def speed(code: bytes, context: Context) -> float:
    """Return instructions a second."""
    machine, program = Machine(), Program(code, byteorder="little")
    machine.run(program, context)
    best = 0.0
    for _ in range(RUNS):
        begin = time.perf_counter()
        result = machine.run(program, context)
        best = max(best, result.instructions / (time.perf_counter() - begin))
    return best


def readiness() -> tuple[float, float]:
    """Return the seconds of a first and of a later run of the example that drops packets."""
    spec = load_spec(built("xdp_drop", "little"))
    maps = {name: make_map(each, "little") for name, each in spec.maps.items()}
    data = bytes(12) + b"\x08\x00" + bytes(64)
    first, later = [], []
    for _ in range(RUNS):
        machine, program = Machine(), Program.from_spec(spec.programs["xdp_drop"], maps)
        for times in (first, later):
            begin = time.perf_counter()
            prog_test_run(machine, program, data)
            times.append(time.perf_counter() - begin)
    return min(first), min(later)


def main() -> None:
    """Print one line each."""
    print(f"Python {platform.python_version()}")
    for name, code, context in (
        ("arithmetic", looped(ARITHMETIC), ValuesContext(7)),
        ("stack", looped(STACK), ValuesContext(7)),
        ("packet", looped(PACKET), XdpContext(bytes(64))),
        ("calls", looped(CALLS, *FUNCTION), ValuesContext(7)),
    ):
        print(f"{name:12} {speed(code, context) / 1e6:6.1f} million instructions a second")
    first, later = readiness()
    print(f"xdp_drop     {first * 1e6:6.0f} µs for the first run, {later * 1e6:.0f} µs for others")


if __name__ == "__main__":
    main()
