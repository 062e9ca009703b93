"""Hostile programs: a result or a typed error, in bounded time, whatever the bytes."""

from __future__ import annotations

import time
from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import EbpfError
from pyebpf.testing.interpreter import (
    BytesContext,
    Context,
    Machine,
    Program,
    SkbContext,
    World,
    XdpContext,
)
from pyebpf.testing.interpreter.arena import ArenaMap
from pyebpf.testing.interpreter.check import jump_target, problem_of
from pyebpf.testing.interpreter.helpers import HELPERS
from pyebpf.testing.interpreter.kfuncs import KFUNCS
from pyebpf.testing.interpreter.map_kinds import (
    ArrayMap,
    HashMap,
    LocalStorageMap,
    PerfEventArray,
    ProgramArray,
    QueueMap,
    RingBuffer,
    StackTraceMap,
)
from pyebpf.uapi import insn
from pyebpf.uapi.bpf import MapType

LIMIT = 3000
OPCODES = sorted(
    {kind | operation | source
     for kind in (insn.ALU, insn.ALU64)
     for operation in range(0, 0xE0, 0x10)
     for source in (0, 8)}
    | {kind | operation | source
       for kind in (insn.JMP, insn.JMP32)
       for operation in range(0, 0xF0, 0x10)
       for source in (0, 8)}
    | {kind | mode | size
       for kind in (insn.LD, insn.LDX, insn.ST, insn.STX)
       for mode in (insn.IMM, insn.ABS, insn.IND, insn.MEM, insn.MEMSX, insn.ATOMIC)
       for size in (insn.B, insn.H, insn.W, insn.DW)
       if kind | mode | size != insn.LD | insn.IMM | insn.DW}
)  # fmt: skip
IMMEDIATES = st.one_of(
    st.integers(-9, 260),
    st.sampled_from([16, 32, 64, 0xE1, 0xF1, 0x100, 0x110, 1 << 16, -(1 << 31), (1 << 31) - 1]),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
OFFSETS = st.one_of(st.integers(-12, 12), st.sampled_from([-512, -8, 8, 16, 32, 32767, -32768]))
CALLS = st.builds(
    Instruction,
    st.just(insn.JMP | insn.CALL),
    st.just(0),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.just(0),
    st.one_of(st.sampled_from(sorted(HELPERS)), st.integers(-5, 220)),
)
LOADS = st.builds(
    Instruction,
    st.just(insn.LD | insn.IMM | insn.DW),
    st.integers(0, 9),
    st.integers(0, 6),
    st.just(0),
    st.one_of(st.integers(0, 9), st.integers(-(1 << 63), (1 << 63) - 1)),
)
ANY = st.builds(
    Instruction,
    st.sampled_from(OPCODES),
    st.integers(0, 10),
    st.integers(0, 10),
    OFFSETS,
    IMMEDIATES,
)
# What verified programs begin with, so that the rest gets somewhere.
SETTLED = [
    Instruction(insn.ALU64 | insn.MOV | insn.X, 6, 1),
    *(Instruction(insn.ALU64 | insn.MOV | insn.X, each, 10) for each in (2, 3, 7)),
    *(Instruction(insn.ALU64 | insn.ADD, each, 0, 0, -64) for each in (2, 3, 7)),
    *(Instruction(insn.ALU64 | insn.MOV, each, 0, 0, each) for each in (0, 4, 5, 8, 9)),
]
EXIT = [Instruction(insn.JMP | insn.EXIT)]
CONTEXTS = st.sampled_from(["bytes", "xdp", "xdp in pages", "skb"])


def context(kind: str) -> Context:
    if kind == "xdp":
        return XdpContext(bytes(range(64)))
    if kind == "xdp in pages":
        return XdpContext(bytes(range(64)), fragments=bytes(range(40)))
    if kind == "skb":
        return SkbContext(bytes(range(64)))
    return BytesContext(bytes(range(64)), writable=True)


def program(code: bytes, **more) -> Program:
    maps = {
        0: ArrayMap("array", value_size=16, max_entries=4),
        1: HashMap("hash", key_size=4, value_size=16, max_entries=2),
        2: RingBuffer("ring", max_entries=4096),
        3: PerfEventArray("perf", max_entries=1, room=1 << 16),
        4: ProgramArray("programs", max_entries=4),
        5: QueueMap("queue", value_size=8, max_entries=2),
        6: StackTraceMap("stacks", value_size=16, max_entries=2),
        7: LocalStorageMap("storage", MapType.TASK_STORAGE, value_size=16),
        8: ArenaMap("arena", max_entries=2),
    }
    kfuncs = dict(enumerate(sorted(KFUNCS)))
    made = Program(code, maps=maps, fd_array=maps, kfuncs=kfuncs, byteorder="little", **more)
    maps[4].programs[1] = made
    return made


def outcome(run) -> object:
    """The result, or the error's type and text; anything else fails the test."""
    try:
        return run()
    except EbpfError as error:
        event(type(error).__name__)
        return type(error), str(error)


def nearly_valid(instructions: list[Instruction]) -> list[Instruction]:
    """The same with fewer fields where they may not be, and jumps that lead somewhere."""
    kept = []
    for each in instructions:
        for fields in (
            {},
            {"offset": 0},
            {"immediate": 0},
            {"src": 0},
            {"offset": 0, "immediate": 0},
            {"offset": 0, "src": 0},
            {"offset": 0, "immediate": 16, "src": 0},
            {"immediate": 0, "src": 0},
            {"offset": 0, "immediate": 0, "src": 0, "dst": 0},
        ):
            tried = replace(each, **fields)
            if problem_of(tried) is None:
                kept.append(tried)
                break
    starts, slot = {}, 0
    for index, each in enumerate(kept):
        starts[slot] = index
        slot += each.slots
    for slot, index in starts.items():
        target = jump_target(slot, kept[index])
        if target is not None and target not in starts:
            far = "offset" if kept[index].offset else "immediate"
            kept[index] = replace(kept[index], **{far: 0})
    return kept


def both_ways(code: bytes, kind: str) -> None:
    begin = time.monotonic()

    def whole():
        return Machine(limits()).run(program(code), context(kind)).r0

    def stepped():
        steps = Machine(limits()).steps(program(code), context(kind))
        for _ in steps:
            pass
        return steps.result.r0

    first, second = outcome(whole), outcome(stepped)
    if isinstance(first, int):
        event("result")
    assert type(first) is type(second)
    if isinstance(first, tuple):
        assert first[0] is second[0]
    assert time.monotonic() - begin < 20


def limits() -> World:
    return World(
        instruction_limit=LIMIT, may_goto_limit=100, clock=lambda: 5, stacks={"user": [1, 2, 3]}
    )


@given(st.binary(max_size=240), CONTEXTS)
def test_any_bytes(code: bytes, kind: str) -> None:
    """Most are no program, and say so."""
    both_ways(code, kind)


@given(st.lists(st.one_of(ANY, ANY, CALLS, LOADS), max_size=30), CONTEXTS)
def test_any_instructions(instructions: list[Instruction], kind: str) -> None:
    """Instructions of all kinds with any fields, whole and in steps."""
    code = [*SETTLED, *nearly_valid(instructions), *EXIT]
    both_ways(encode_all(code, "little"), kind)


@given(st.lists(st.one_of(ANY, CALLS), max_size=12), CONTEXTS)
def test_calls_of_helpers(instructions: list[Instruction], kind: str) -> None:
    """Helpers get addresses, maps and numbers where they want something else."""
    code = [*SETTLED]
    for at, each in enumerate(nearly_valid(instructions)):
        fd = (each.immediate + at) % 9
        code.append(Instruction(insn.LD | insn.IMM | insn.DW, 1, 1, 0, fd))
        code += [each, *SETTLED[1:7], *SETTLED[-5:-2]]
    both_ways(encode_all([*code, *EXIT], "little"), kind)
