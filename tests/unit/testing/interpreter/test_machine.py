"""Running programs: results, limits, and what ends them."""

from __future__ import annotations

import time

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import (
    AsmError,
    ExecutionError,
    InstructionLimitError,
    MemoryAccessError,
    NotModelledError,
)
from pyebpf.testing.interpreter import BytesContext, Machine, Program, ValuesContext, World
from pyebpf.testing.interpreter.map_kinds import ArrayMap, ProgramArray
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId
from tests.support.code import add, call, load, map_pointer, mov, number, small, store

EXIT = Instruction(insn.JMP | insn.EXIT)
CALL = insn.JMP | insn.CALL


def made(*code: Instruction, **more) -> Program:
    more.setdefault("byteorder", "little")
    return Program(encode_all(code, more["byteorder"]), **more)


def result(*code: Instruction, **more) -> int:
    return Machine().run(made(*code, **more), ValuesContext(1, 2)).r0


def own(distance: int) -> Instruction:
    return Instruction(CALL, 0, insn.PSEUDO_CALL, 0, distance)


def function(dst: int, distance: int) -> Instruction:
    return Instruction(insn.LD | insn.IMM | insn.DW, dst, insn.PSEUDO_FUNC, 0, distance)


# --- what a program may not do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "slot", "register", "message"),
    [
        (
            [number(2, 5), load(4, 0, 2, 8), EXIT],
            2, "r2", r"instruction 2 \(r2 \+8\): 4-byte read at 0xd",
        ),
        ([small(0, 0), store(8, 10, 0, 0), EXIT], 1, "r10", "8-byte write .* of stack"),
        ([load(8, 0, 10, -520), EXIT], 0, "r10", r"\(r10 -520\): 8-byte read"),
        (
            [mov(3, 10), Instruction(insn.ST | insn.MEM | insn.W, 3, 0, -514, 1), EXIT],
            1, "r3", "4-byte write",
        ),
        (
            [small(1, 0), small(2, 64), mov(3, 10), add(3, -8), call(FuncId.probe_read), EXIT],
            4, "r1", r"instruction 4 \(r1\): 64-byte write at 0x0: a null pointer",
        ),
        (
            [small(0, 0), Instruction(insn.STX | insn.ATOMIC | insn.DW, 4, 0, 0, insn.ADD), EXIT],
            1, "", "r4 is read before it is written",
        ),
    ],
)  # fmt: skip
def test_a_bad_access_ends_the_program(code, slot, register, message) -> None:
    """The error names the program, the instruction and the register."""
    with pytest.raises(ExecutionError, match=message) as caught:
        result(*code, name="bad")
    assert (caught.value.slot, caught.value.program) == (slot, "bad")
    assert str(caught.value).startswith('program "bad": instruction ')
    if register:
        assert isinstance(caught.value, MemoryAccessError)
        assert caught.value.register == register


@pytest.mark.parametrize(
    "code",
    [
        [EXIT],
        [mov(0, 7), EXIT],
        [mov(0, 3), EXIT],  # the caller gave two values
        [small(3, 1), call(FuncId.ktime_get_ns), mov(0, 3), EXIT],  # a call destroys r1 to r5
        [small(0, 0), Instruction(insn.JMP | insn.JEQ | insn.X, 0, 8, 0), EXIT],
        [own(1), EXIT, mov(0, 6), EXIT],  # r6 of a function is not its caller's
    ],
)
def test_a_register_that_was_not_set_is_not_read(code) -> None:
    """On the way that is taken, and with its number."""
    with pytest.raises(ExecutionError, match=r"r\d+ is read before it is written"):
        result(*code)


def test_only_the_way_that_is_taken_counts() -> None:
    """What another path would read does not matter."""
    jump = Instruction(insn.JMP | insn.JEQ, 1, 0, 1, 1)
    assert result(small(0, 3), jump, mov(0, 9), EXIT) == 3


def test_registers_that_no_conversion_uses_need_not_be_set() -> None:
    """trace_printk with two arguments; a function passes on what it was given."""
    texts = ArrayMap("texts", value_size=8, max_entries=1, contents=b"%d %d\0\0\0", writable=False)
    fetch = Instruction(insn.LD | insn.IMM | insn.DW, 1, insn.PSEUDO_MAP_VALUE, 0, 5)
    machine = Machine()
    body = [fetch, small(2, 6), small(3, 7), own(1), EXIT, call(FuncId.trace_printk), EXIT]
    assert machine.run(made(*body, maps={5: texts}), ValuesContext()).r0 == 3
    assert list(machine.world.printed) == ["7 0"]


def test_an_endless_program_ends() -> None:
    """By jumps, by calls of itself, by callbacks and by tail calls."""
    world = World(instruction_limit=1000)
    back = Instruction(insn.JMP | insn.JA, 0, 0, -1)
    with pytest.raises(InstructionLimitError, match="more than 1000 instructions") as caught:
        Machine(world).run(made(small(0, 0), back), ValuesContext())
    assert caught.value.slot in (0, 1)
    with pytest.raises(ExecutionError, match="more than 8 nested calls"):
        Machine(world).run(made(own(-1), EXIT), ValuesContext())
    loop = [small(1, 1 << 20), function(2, 5), small(3, 0), small(4, 0), call(FuncId.loop)]
    with pytest.raises(InstructionLimitError):
        Machine(world).run(made(*loop, EXIT, small(0, 0), EXIT), ValuesContext())


def test_what_is_not_modelled_is_named() -> None:
    """Never a quiet 0; the error is a NotImplementedError, too."""
    with pytest.raises(NotModelledError, match=r"instruction 0: helper timer_init \(169\)"):
        result(Instruction(CALL, 0, 0, 0, FuncId.timer_init), EXIT)
    with pytest.raises(NotImplementedError, match="kernel function bpf_unheard_of"):
        result(Instruction(CALL, 0, 2, 0, 77), EXIT, kfuncs={77: "bpf_unheard_of"})
    with pytest.raises(NotModelledError, match="UNKNOWN_9999"):
        result(Instruction(CALL, 0, 0, 0, 9999), EXIT)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ([], "0 instructions"),
        ([small(0, 0)], "runs past its end"),
        (
            [Instruction(insn.JMP | insn.JA, 0, 0, 5), EXIT],
            "jump to 6, where no instruction begins",
        ),
        ([number(0, 1), Instruction(insn.JMP | insn.JA, 0, 0, -2), EXIT], "jump to 1, where"),
        ([Instruction(insn.ALU64 | insn.MOV, 11), EXIT], "no such register: r11"),
        ([mov(10, 1), EXIT], "frame pointer r10 is read-only"),
        ([Instruction(0xFF), EXIT], "unknown instruction, opcode 0xff"),
        ([Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 1, 0, 1), EXIT], "unknown instruction"),
        ([map_pointer(1, 3), EXIT], "no map has descriptor 3"),
    ],
)
def test_malformed_code_is_refused(code, message) -> None:
    """When the program is made or first run."""
    with pytest.raises(AsmError, match=message):
        result(*code)


# --- functions, callbacks, tail calls -------------------------------------------------------------


def test_functions_have_their_own_stack_and_registers() -> None:
    """A callee sees zeros where its caller wrote, and the caller its registers again."""
    code = [
        small(6, 5), small(1, 7), store(8, 10, 1, -8), mov(2, 10),
        own(4), load(8, 1, 10, -8), add(0, 0), Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 6),
        EXIT,
        load(8, 0, 10, -8), load(8, 3, 2, -8), Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 3),
        EXIT,
    ]  # fmt: skip
    assert result(*code) == 7 + 5


def test_arguments_reach_through_functions_that_only_pass_them_on() -> None:
    """What the innermost reads, all that lead to it are given; what nobody reads may be missing."""
    chain = [own(1), EXIT] * 6
    assert result(small(4, 7), *chain, mov(0, 4), add(0, 1), EXIT) == 8
    with pytest.raises(ExecutionError, match="r4 is read before it is written"):
        result(*chain, mov(0, 4), EXIT)
    assert result(*chain, small(0, 5), EXIT) == 5


def test_there_are_not_too_many_functions() -> None:
    """256, as in the kernel."""
    with pytest.raises(AsmError, match="257 functions; 256 may be"):
        result(*[own(1), EXIT] * 256, small(0, 1), EXIT)


def test_callbacks_get_what_the_helper_gives() -> None:
    """bpf_loop adds up its indexes through a pointer, and stops when told."""
    code = [
        Instruction(insn.ST | insn.MEM | insn.DW, 10, 0, -8, 0),
        small(1, 10), function(2, 7), mov(3, 10), add(3, -8), small(4, 0), call(FuncId.loop),
        load(8, 1, 10, -8), Instruction(insn.ALU64 | insn.MUL, 1, 0, 0, 100),
        Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 1), EXIT,
        load(8, 3, 2, 0), Instruction(insn.ALU64 | insn.ADD | insn.X, 3, 1), store(8, 2, 3, 0),
        small(0, 0), Instruction(insn.JMP | insn.JNE, 1, 0, 1, 4), small(0, 1), EXIT,
    ]  # fmt: skip
    code[2] = function(2, 9)
    assert result(*code) == 5 + 100 * (0 + 1 + 2 + 3 + 4)


def test_helpers_and_kfuncs_of_ones_own() -> None:
    """Plain functions and generators, by number and by name, before those that are there."""

    def twice(run, callback, value):
        first = yield callback, (value,)
        second = yield callback, (first,)
        return second

    machine = Machine(
        helpers={5: lambda run: -3, 900: twice},
        kfuncs={"bpf_double": lambda run, value: 2 * value},
    )
    clock = machine.run(made(call(FuncId.ktime_get_ns), EXIT), ValuesContext())
    assert (clock.r0, clock.retval) == ((1 << 64) - 3, (1 << 32) - 3)
    kfunc = made(Instruction(CALL, 0, 2, 0, 12), EXIT, kfuncs={12: "bpf_double"})
    assert machine.run(kfunc, ValuesContext(21)).r0 == 42
    code = [small(2, 5), function(1, 3), Instruction(CALL, 0, 0, 0, 900), EXIT]
    again = made(*code, mov(0, 1), add(0, 10), EXIT)
    assert machine.run(again, ValuesContext()).r0 == 25


def test_tail_calls_stop_at_the_limit() -> None:
    """33 of them, and the one too many goes on behind itself."""
    programs = ProgramArray("programs", max_entries=2)
    counts = ArrayMap("counts", value_size=8, max_entries=1)
    fetch = Instruction(insn.LD | insn.IMM | insn.DW, 7, insn.PSEUDO_MAP_VALUE, 0, 2)
    count = [mov(6, 1), fetch, small(1, 1), Instruction(insn.STX | insn.ATOMIC | insn.DW, 7, 1)]
    jump = [mov(1, 6), map_pointer(2, 1), small(3, 0), call(FuncId.tail_call), small(0, 9), EXIT]
    program = made(*count, *jump, maps={1: programs, 2: counts})
    programs.programs[0] = program
    assert Machine().run(program, BytesContext(b"")).r0 == 9
    assert int.from_bytes(counts.lookup(bytes(4), 0).data, "little") == 1 + 33


def test_a_tail_call_in_a_function_returns_to_its_caller() -> None:
    """What the other program returns is what the function returns."""
    programs = ProgramArray("programs", max_entries=2)
    programs.programs[1] = made(small(0, 30), EXIT)
    code = [own(2), add(0, 4), EXIT, map_pointer(2, 1), small(3, 1), call(FuncId.tail_call), EXIT]
    assert Machine().run(made(*code, maps={1: programs}), BytesContext(b"")).r0 == 34


def test_a_jump_through_no_table_ends_the_program() -> None:
    """To a number, or where there is no table at all."""
    jump = Instruction(insn.JMP | insn.JA | insn.X, 1)
    table = [number(1, 0), load(8, 1, 1, 0), jump, EXIT, small(0, 6), EXIT]
    assert result(*table, jump_tables={0: ((5,), 0)}) == 6
    assert result(*table, jump_tables={0: ((4, 5), 8)}) == 6
    table[1] = add(1, 1)
    with pytest.raises(ExecutionError, match=r"instruction 3: jump to 0x.*none of its jump tables"):
        result(*table, jump_tables={0: ((5,), 0)})
    with pytest.raises(ExecutionError, match="instruction 0: jump to 0x1, which is in none"):
        result(jump, EXIT)


def test_a_program_may_throw_from_anywhere() -> None:
    """Its value is what was thrown, or what its callback makes of it."""
    code = [small(1, 5), own(1), EXIT, Instruction(CALL, 0, 2, 0, 1), small(0, 0), EXIT]
    kfuncs = {1: "bpf_throw"}
    assert result(*code, kfuncs=kfuncs) == 5
    caught = [*code, mov(0, 1), add(0, 1), EXIT]
    assert result(*caught, kfuncs=kfuncs, exception_callback=6) == 6


def test_may_goto_ends_a_loop() -> None:
    """After as many turns as the world allows, in each function anew."""
    jump = Instruction(insn.JMP | insn.JCOND, 0, 0, 2)
    code = [small(0, 0), jump, add(0, 1), Instruction(insn.JMP | insn.JA, 0, 0, -3), EXIT]
    assert Machine(World(may_goto_limit=70)).run(made(*code), ValuesContext()).r0 == 70


# --- steps ---------------------------------------------------------------------------------------


def test_steps_show_registers_before_each_instruction() -> None:
    """In callees, too; memory can be looked at; the result is that of a whole run."""
    code = [small(1, 2), store(8, 10, 1, -8), own(2), add(0, 1), EXIT, mov(0, 1), EXIT]
    program, machine = made(*code, name="stepped"), Machine()
    steps = machine.steps(program, ValuesContext())
    seen = []
    for step in steps:
        seen.append((step.slot, step.depth, step.registers[0], step.registers[1]))
        if step.slot == 2:
            assert machine.memory.read(step.registers[10] - 8, 8) == b"\2" + bytes(7)
            assert "r1=0x2" in str(step)
    assert seen == [
        (0, 1, None, None),
        (1, 1, None, 2),
        (2, 1, None, 2),
        (5, 2, None, 2),
        (6, 2, 2, 2),
        (3, 1, 2, 2),
        (4, 1, 3, 2),
    ]
    assert steps.result == machine.run(program, ValuesContext())
    assert steps.result.instructions == len(seen)


def test_steps_read_like_a_listing() -> None:
    """The instruction in the assembler's words, calls by name, and what is known."""
    code = [number(3, 5), call(FuncId.ktime_get_ns), Instruction(CALL, 0, 2, 0, 7), EXIT]
    kfuncs = {7: "bpf_rcu_read_lock"}
    machine = Machine(World(clock=lambda: 255))
    steps = machine.steps(made(*code, kfuncs=kfuncs), ValuesContext())
    assert [" ".join(str(step).split()) for step in steps] == [
        "0: r3 = 0x5 ll",
        "2: call bpf_ktime_get_ns r3=0x5",
        "3: call bpf_rcu_read_lock r0=0xff r3=0x5",
        "4: exit r0=0x0 r3=0x5",
    ]


def test_steps_may_be_given_up() -> None:
    """What the run placed is gone; another may follow."""
    machine = Machine()
    steps = machine.steps(made(small(0, 1), EXIT), BytesContext(b"x"))
    next(steps)
    steps.close()
    assert steps.result is None
    assert machine.memory.regions == {}
    assert machine.run(made(small(0, 1), EXIT), BytesContext(b"x")).r0 == 1


def test_nothing_stays_placed_after_a_run() -> None:
    """Neither stacks nor contexts nor values, after errors neither."""
    machine = Machine()
    values = ArrayMap("values", value_size=8, max_entries=1)
    fetch = Instruction(insn.LD | insn.IMM | insn.DW, 1, insn.PSEUDO_MAP_VALUE, 0, 1)
    machine.run(made(fetch, load(8, 0, 1, 0), EXIT, maps={1: values}), BytesContext(b"x"))
    with pytest.raises(MemoryAccessError):
        machine.run(made(fetch, load(8, 0, 1, 8), EXIT, maps={1: values}), BytesContext(b"x"))
    assert machine.memory.regions == {}


# --- speed ---------------------------------------------------------------------------------------


def test_ten_thousand_instructions_take_less_than_fifty_milliseconds() -> None:
    """The best of some tries: this machine has other things to do, too."""
    loop = [load(1, 3, 1, 4), Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 3), add(2, -1)]
    back = Instruction(insn.JMP | insn.JNE, 2, 0, -4, 0)
    program = made(small(0, 0), small(2, 2500), *loop, back, EXIT)
    machine = Machine()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        found = machine.run(program, BytesContext(bytes(64)))
        times.append(time.perf_counter() - begin)
    assert found.instructions > 10_000
    assert min(times) < 0.05
