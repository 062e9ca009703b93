"""Instructions written in Python."""

from __future__ import annotations

import pytest

from pyebpf.asm import build
from pyebpf.asm.assemble import assemble
from pyebpf.asm.build import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R10,
    W1,
    W2,
    Place,
    Register,
    add,
    addr_space_cast,
    atomic,
    bswap,
    call,
    call_function,
    call_kfunc,
    exit_,
    function,
    jeq,
    jump,
    jump_long,
    label,
    load,
    load_64,
    load_acquire,
    load_function,
    load_map,
    load_map_value,
    load_packet,
    load_symbol,
    may_goto,
    mov,
    movsx,
    neg,
    s8,
    store,
    to_be,
    u8,
    u16,
    u32,
    u64,
)  # fmt: skip
from pyebpf.asm.instruction import Instruction
from pyebpf.errors import AsmError


def test_labels_become_distances():
    """Forwards, backwards, over 64-bit loads that take two slots, and to the next instruction."""
    made = assemble(
        [
            label("again"),
            load_64(R1, 1 << 40),
            jeq(R1, 0, "out"),
            jump("next"),
            label("next"),
            may_goto("out"),
            jump_long("again"),
            label("out"),
            exit_(),
        ],
        "little",
    )
    assert [each.offset for each in made.instructions] == [0, 3, 0, 1, 0, 0]
    assert made.instructions[4].immediate == -6
    assert made.labels == {"again": 0, "next": 4, "out": 6}
    assert made.symbols == {}


def test_functions_are_called_and_taken_by_name():
    """Calls, addresses, and names of which it is left open what they are."""
    made = assemble(
        [
            function("entry"),
            call_function("callee"),
            load_function(R2, "callee"),
            load_symbol(R3, "callee"),
            exit_(),
            function("callee"),
            exit_(),
        ],
        "big",
    )
    assert made.functions == ((0, "entry"), (6, "callee"))
    assert [(each.src, each.immediate) for each in made.instructions[:3]] == [
        (1, 5),
        (4, 4),
        (4, 2),
    ]
    assert made.symbols == {}


def test_what_lies_outside_stays_a_symbol():
    """Maps, constants, functions of the kernel, functions to be linked in."""
    made = assemble(
        [
            load_map(R1, "counts"),
            load_map_value(R1, ".data", 8),
            load_symbol(R1, "LIMIT", 4),
            call_kfunc("bpf_task_acquire"),
            call_function("elsewhere"),
            exit_(),
        ],
        "little",
    )
    names = ["counts", ".data", "LIMIT", "bpf_task_acquire", "elsewhere"]
    assert list(made.symbols.values()) == names
    assert list(made.symbols) == [0, 2, 4, 6, 7]
    assert [each.src for each in made.instructions] == [1, 2, 0, 2, 1, 0]
    assert made.instructions[1].immediate == 8 << 32


def test_helpers_go_by_their_names():
    """With or without the prefix, or by number; unknown names are an error, numbers are not."""
    assert call("map_lookup_elem") == call("bpf_map_lookup_elem") == call(1)
    assert call(9999).immediate == 9999
    with pytest.raises(AsmError, match='no helper is called "bpf_nothing"'):
        call("bpf_nothing")


_REFUSED = {
    "register": (lambda: Register(11), "register 11 does not exist"),
    "width": (lambda: mov(R1, W2), "r1 and w2 differ in width"),
    "no register": (lambda: mov(1, R2), "1 is not a register"),
    "no number": (lambda: mov(R1, "x"), "'x' is neither a register nor a number"),
    "sign": (lambda: mov(R1, 0xFFFFFFFF), "immediate 0xffffffff does not fit 32 bits with a sign"),
    "32 bits": (lambda: mov(W1, 1 << 32), "immediate 0x100000000 does not fit 32 bits"),
    "negative": (lambda: add(R1, -(1 << 31) - 1), "does not fit 32 bits"),
    "byte": (lambda: store(u8(R10 - 1), 256), "immediate 0x100 does not fit 8 bits"),
    "offset": (lambda: load(R0, u8(R1 + 0x8000)), "offset 32768 does not fit 16 bits"),
    "address": (lambda: load(R0, u8(W1)), "w1 holds no address"),
    "size": (lambda: load(R0, Place(R1)), "is no place with a size"),
    "signed load": (lambda: load(W1, s8(R1)), "a sign is extended into a whole register"),
    "signed store": (lambda: store(s8(R1), R2), "only loads extend a sign"),
    "signed move": (lambda: movsx(W1, W2, 32), "32 bits cannot be extended into w1"),
    "swap": (lambda: bswap(R1, 8), "16, 32 or 64 bits can be swapped, not 8"),
    "swap half": (lambda: to_be(W1, 16), "w1 is half a register"),
    "jump": (lambda: jump(0x8000), "a jump of 32768 slots does not fit 16 bits"),
    "load 64": (lambda: load_64(R1, 1 << 64), "does not fit 64 bits"),
    "value": (lambda: load_map_value(R1, "m", -1), "does not fit 32 bits"),
    "packet": (lambda: load_packet(64, 0), "a packet is read by 8, 16 or 32 bits"),
    "atomic size": (lambda: atomic(u16(R1), "+", R2), "atomic operations have 32 or 64 bits"),
    "atomic operator": (lambda: atomic(u64(R1), "-", R2), '"-" is no atomic operation'),
    "space": (lambda: addr_space_cast(R1, R2, 1 << 16, of=0), "do not fit 16 bits"),
    "register call": (lambda: build.call_register(W1), "w1 is half a register"),
    "acquire": (lambda: load_acquire(R1, s8(R2)), "only loads extend a sign"),
    "bits": (lambda: Register(1, 16), "register of 16 bits"),
    "negated": (lambda: neg(5), "5 is not a register"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), _REFUSED.values(), ids=_REFUSED)
def test_a_wrong_operand_is_an_error_of_its_call(make, message):
    """Nothing is cut off, and no register invented."""
    with pytest.raises(AsmError) as caught:
        make()
    assert message in str(caught.value)


_EXIT = exit_()
_MISTAKES = {
    "unknown label": ([jump("nowhere")], 'slot 0: unknown label "nowhere"'),
    "label twice": ([label("a"), _EXIT, label("a")], 'slot 1: a second label "a"'),
    "too far": (
        [jump("out"), *[mov(R0, 0)] * 0x8000, label("out"), _EXIT],
        'slot 0: label "out" is 32768 slots away, which do not fit 16 bits',
    ),
    "middle": ([jump(1), load_64(R6, 5), _EXIT], "slot 0: goes into the middle of a 64-bit load"),
    "behind": ([jump(1), _EXIT], "slot 0: goes to slot 2, outside of the code"),
    "before": ([_EXIT, jeq(R0, 0, -3)], "slot 1: goes to slot -1, outside of the code"),
    "call behind": ([call_function(5), _EXIT], "slot 0: goes to slot 6, outside of the code"),
    "label at the end": ([jump("end"), label("end")], "slot 0: goes to slot 1, outside"),
    "register": ([Instruction(0xB7, 16)], "instruction 0: dst 16 is not within 0 to 15"),
}


@pytest.mark.parametrize(("items", "message"), _MISTAKES.values(), ids=_MISTAKES)
def test_a_mistake_of_the_whole_is_an_error_with_its_slot(items, message):
    """Labels, distances and targets are checked when the code is made."""
    with pytest.raises(AsmError) as caught:
        assemble(items, "little")
    assert message in str(caught.value)


def test_the_farthest_jump_of_16_bits_fits():
    """32767 slots forwards and 32768 backwards; a long jump goes farther."""
    filler = [mov(R0, 0)] * 0x7FFF
    made = assemble([jump("out"), *filler, label("out"), _EXIT], "little")
    assert made.instructions[0].offset == 0x7FFF
    made = assemble([label("top"), *filler, jeq(R0, 0, "top"), _EXIT], "little")
    assert made.instructions[-2].offset == -0x8000
    made = assemble([jump_long("out"), *filler, *filler, label("out"), _EXIT], "little")
    assert made.instructions[0].immediate == 2 * 0x7FFF


def test_what_the_verifier_makes_can_be_made():
    """The move that adds the base of this CPU's variables."""
    assert build.mov_percpu(R1, R2) == Instruction(0xBF, 1, 2, -1)


def test_registers_and_places_show_themselves():
    """As they are written in assembler text."""
    assert (str(R10), str(W1)) == ("r10", "w1")
    assert u32(R1 + 8) == Place(R1, 8, 32)
    assert u32(R1) == Place(R1, 0, 32)
    assert Place(R10, -4) == R10 - 4
