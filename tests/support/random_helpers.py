"""Helper calls of random programs; see `tests.support.random_programs`.

Each function takes the generator and returns a fragment: arguments from numbers and from the stack,
the call, and numbers in all registers again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyebpf.asm.instruction import Instruction
from pyebpf.uapi import insn
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support.code import Code, add, call, load, map_pointer, mov, skip_if, slots, small, store

if TYPE_CHECKING:
    from tests.support.random_programs import Generator

# Format strings and texts, each at a multiple of 32 in a read-only map.
TEXTS = (
    b"%d %u", b"%llx|%lx", b"%5d,%08x", b"%i %c%c", b"%-8d|", b"100%% %lld", b"%X %d %d %d %d",
    b"%s.", b"%pi4 %pI4", b"%pI6", b"%-5x|%+d", b"%#x", b"%px %d", b"%3c", b"", b"abc", b"%x %",
)  # fmt: skip
FORMATS = 15  # so many of them are valid
TEXT_ROOM = 32
EXIT = Instruction(insn.JMP | insn.EXIT)


def choices(g: Generator) -> list[Callable[[], Code]]:
    """Return the fragments that the generator's type of program may use."""
    # Queues and tail calls are not for programs that may sleep.
    found = [*ANY] if g.type is ProgType.SYSCALL else [*ANY, queue, tail_call]
    if g.type is ProgType.XDP:
        found += XDP + XDP
    elif g.type is ProgType.SCHED_CLS:
        found += TC + TC
    return [lambda each=each: each(g) for each in found]


def stack(g: Generator, dst: int, size: int = 8) -> Code:
    """Put the address of a place on the stack into a register."""
    return [mov(dst, 10), add(dst, g.place(size))]


def masked(g: Generator, dst: int, mask: int) -> Code:
    """Put a small unknown number into a register."""
    return [mov(dst, g.rng.choice((7, 8, 9))), Instruction(insn.ALU64 | insn.AND, dst, 0, 0, mask)]


def finish(g: Generator, *code: Instruction) -> Code:
    return [*code, *g.refresh()]


# --- for all types ------------------------------------------------------------------------------


def snprintf(g: Generator) -> Code:
    code = [mov(1, 10), add(1, -72), small(2, g.rng.choice((0, 1, 8, 24)))]
    index = g.rng.randrange(FORMATS)
    code += text(g, 3, index)
    count = TEXTS[index].replace(b"%%", b"").count(b"%") + g.rng.randrange(2)
    code += [mov(4, 10), add(4, -128), small(5, 8 * count)]
    return finish(g, *code, call(FuncId.snprintf))


def text(g: Generator, dst: int, index: int) -> Code:
    at = TEXT_ROOM * index
    opcode = insn.LD | insn.IMM | insn.DW
    return [Instruction(opcode, dst, insn.PSEUDO_MAP_VALUE, 0, at << 32 | g.maps.texts)]


def strncmp(g: Generator) -> Code:
    index = g.rng.randrange(len(TEXTS))
    letters = g.rng.choice((b"abc\0", b"abd\0", b"ab\0\0", b"%d %", b"abcd"))
    word = int.from_bytes(letters, "little")
    code = [Instruction(insn.ST | insn.MEM | insn.W, 10, 0, -128, (word ^ 1 << 31) - (1 << 31))]
    code += [mov(1, 10), add(1, -128), small(2, g.rng.randrange(1, 5)), *text(g, 3, index)]
    return finish(g, *code, call(FuncId.strncmp))


def probe_read(g: Generator) -> Code:
    size = g.rng.randrange(1, 9)
    code = [mov(1, 10), add(1, -128), small(2, size), *stack(g, 3)]
    if g.rng.random() < 0.3:
        code[-2:] = [small(3, g.rng.randrange(4096))]
    return finish(g, *code, call(FuncId.probe_read_kernel))


def queue(g: Generator) -> Code:
    code = [map_pointer(1, g.maps.queue), *stack(g, 2)]
    helper = g.rng.choice((FuncId.map_push_elem, FuncId.map_pop_elem, FuncId.map_peek_elem))
    if helper is FuncId.map_push_elem:
        code.append(small(3, g.rng.choice((0, 2, 1))))
    return finish(g, *code, call(helper))


def ring_output(g: Generator) -> Code:
    size = g.rng.randrange(0, 65)
    code = [map_pointer(1, g.maps.ring), mov(2, 10), add(2, -128), small(3, size)]
    return finish(g, *code, small(4, g.rng.choice((0, 1, 4))), call(FuncId.ringbuf_output))


def ring_reserve(g: Generator) -> Code:
    size = 8 * g.rng.randrange(1, 9)
    helper = g.rng.choice((FuncId.ringbuf_submit, FuncId.ringbuf_discard))
    use = [store(8, 0, g.rng.choice((7, 8, 9)), at) for at in range(0, size, 8)]
    use += [mov(1, 0), small(2, 1), call(helper)]
    code = [map_pointer(1, g.maps.ring), small(2, size), small(3, 0), call(FuncId.ringbuf_reserve)]
    return finish(g, *code, *skip_if(insn.JEQ, 0, 0, use), small(0, 3))


def ring_query(g: Generator) -> Code:
    code = [map_pointer(1, g.maps.ring), small(2, g.rng.choice((0, 1, 5)))]
    return finish(g, *code, call(FuncId.ringbuf_query))


def dynptr(g: Generator) -> Code:
    place, size = -240, g.rng.randrange(1, 65)
    code = [small(1, 1), store(4, 10, 1, -136), mov(2, 10), add(2, -136)]
    code += [map_pointer(1, g.maps.input), call(FuncId.map_lookup_elem)]
    use = [mov(1, 0), small(2, size), small(3, 0), mov(4, 10), add(4, place)]
    use += [call(FuncId.dynptr_from_mem)]
    length = g.rng.randrange(1, 9)
    if g.rng.random() < 0.5:
        use += [*stack(g, 1), small(2, length), mov(3, 10), add(3, place), *masked(g, 4, 63)]
        use += [small(5, g.rng.choice((0, 0, 1))), call(FuncId.dynptr_read)]
    else:
        use += [mov(1, 10), add(1, place), *masked(g, 2, 63), *stack(g, 3), small(4, length)]
        use += [small(5, g.rng.choice((0, 0, 1))), call(FuncId.dynptr_write)]
    return finish(g, *code, *skip_if(insn.JEQ, 0, 0, use))


def for_each(g: Generator) -> Code:
    """Add up the elements of a map: the order of a hash table is nobody's business."""
    if len(g.functions) >= 3:
        return g.arithmetic()
    index = len(g.functions)
    code = [load(8, 5, 4, 0), load(8, 3, 3, 0), Instruction(insn.ALU64 | insn.ADD | insn.X, 5, 3)]
    code += [store(8, 4, 5, 0), small(0, 0), EXIT]
    g.functions.append(code)
    maps = (g.maps.hash, g.maps.input, g.maps.per_cpu)
    opcode = insn.LD | insn.IMM | insn.DW
    start = [map_pointer(1, g.rng.choice(maps))]
    start += [Instruction(opcode, 2, insn.PSEUDO_FUNC, 0, 0, str(index)), *stack(g, 3)]
    return finish(g, *start, small(4, g.rng.choice((0, 0, 1))), call(FuncId.for_each_map_elem))


def tail_call(g: Generator) -> Code:
    if g.depth > 2:
        return g.arithmetic()
    code = [mov(3, g.rng.choice((7, 8, 9))), Instruction(insn.ALU64 | insn.AND, 3, 0, 0, 15)]
    code += [mov(1, 6), map_pointer(2, g.maps.programs[g.type]), call(FuncId.tail_call)]
    return finish(g, *code, small(0, 9))


def may_goto(g: Generator) -> Code:
    """A loop that ends by its counter, long before the kernel ends it."""
    if g.depth > 1:
        return g.arithmetic()
    place = -248
    body = g.arithmetic() + g.stack_access()
    step = [load(8, 0, 10, place), add(0, -1), store(8, 10, 0, place)]
    leave = Instruction(insn.JMP | insn.JEQ, 0, 0, 1, 0)
    inside = [*body, *step, leave]
    start = [Instruction(insn.ST | insn.MEM | insn.DW, 10, 0, place, g.rng.randrange(1, 5))]
    head = Instruction(insn.JMP | insn.JCOND, 0, 0, slots(inside) + 1)
    back = Instruction(insn.JMP | insn.JA, 0, 0, -(slots(inside) + 2))
    return [*start, head, *inside, back]


ANY = [
    snprintf, strncmp, probe_read, ring_output, ring_reserve, ring_query, dynptr, for_each,
    may_goto,
]  # fmt: skip

# --- XDP ----------------------------------------------------------------------------------------


def adjust(g: Generator) -> Code:
    helper = g.rng.choice((FuncId.xdp_adjust_head, FuncId.xdp_adjust_tail, FuncId.xdp_adjust_meta))
    delta = g.rng.choice((0, 4, -4, 8, -8, 14, -32, 1, 100, -300, 3000, g.rng.randrange(-64, 64)))
    return finish(g, mov(1, 6), small(2, delta), call(helper))


def xdp_bytes(g: Generator) -> Code:
    helper = g.rng.choice((FuncId.xdp_load_bytes, FuncId.xdp_store_bytes))
    code = [mov(1, 6), *masked(g, 2, g.rng.choice((15, 127))), *stack(g, 3)]
    return finish(g, *code, small(4, g.rng.randrange(1, 9)), call(helper))


def xdp_length(g: Generator) -> Code:
    return finish(g, mov(1, 6), call(FuncId.xdp_get_buff_len))


def redirect(g: Generator) -> Code:
    return finish(g, small(1, 1), small(2, g.rng.choice((0, 0, 1, 2))), call(FuncId.redirect))


XDP = [adjust, xdp_bytes, xdp_length, redirect]

# --- tc -----------------------------------------------------------------------------------------


def store_bytes(g: Generator) -> Code:
    code = [mov(1, 6), *masked(g, 2, g.rng.choice((15, 127))), *stack(g, 3)]
    code += [small(4, g.rng.randrange(1, 9)), small(5, g.rng.choice((0, 0, 1, 2, 4)))]
    return finish(g, *code, call(FuncId.skb_store_bytes))


def replace_checksum(g: Generator) -> Code:
    helper = g.rng.choice((FuncId.l3_csum_replace, FuncId.l4_csum_replace))
    offset = g.rng.choice((14, 16, 24, 40, 13, 300))
    size = g.rng.choice((0, 2, 4, 3))
    flags = g.rng.choice((0, 0, 0x10, 0x20, 0x60)) if helper is FuncId.l4_csum_replace else 0
    code = [mov(1, 6), small(2, offset)]
    code += [small(3, 0)] if size == 0 else [mov(3, g.rng.choice((7, 8, 9)))]
    code += [mov(4, g.rng.choice((7, 8, 9))), small(5, size | flags)]
    return finish(g, *code, call(helper))


# Beyond the room in front of a test run's packet (some 65 bytes), the kernel moves the buffer and
# takes the transport header for known, wherever that is; then lengths are accepted by chance.
def may_grow(g: Generator) -> bool:
    """Whether the packet may still grow at its head: twice, and never in a loop."""
    g.grown += 1
    return g.depth == 1 and g.grown <= 2


def change(g: Generator) -> Code:
    # Not much shorter than headers: what the kernel makes of the rest is what lay in memory.
    helper, lengths = g.rng.choice(
        (
            (FuncId.skb_change_tail, (0, 13, 54, 60, 74, 100, 2000)),
            (FuncId.skb_change_head, (0, 4, 14, 20)),
            (FuncId.skb_pull_data, (0, 14, 34, 100, 2000)),
        )
    )
    if helper is FuncId.skb_change_head and not may_grow(g):
        return change_type(g)
    flags = [] if helper is FuncId.skb_pull_data else [small(3, g.rng.choice((0, 0, 0, 1)))]
    return finish(g, mov(1, 6), small(2, g.rng.choice(lengths)), *flags, call(helper))


def adjust_room(g: Generator) -> Code:
    if not may_grow(g):
        return change_type(g)
    delta = g.rng.choice((0, 4, 8, 20, -4, -8, -20, 5000))
    mode = g.rng.choice((0, 1, 0, 1, 2))
    flags = g.rng.choice((0, 0, 0, 1, 2, 4, 6, 8, 10, 32, 1 << 6, 128, 256))
    code = [mov(1, 6), small(2, delta), small(3, mode), small(4, flags)]
    return finish(g, *code, call(FuncId.skb_adjust_room))


def vlan(g: Generator) -> Code:
    if g.rng.random() < 0.5 or not may_grow(g):
        return finish(g, mov(1, 6), call(FuncId.skb_vlan_pop))
    protocol = g.rng.choice((0x0081, 0xA888, 0x0008))
    code = [mov(1, 6), small(2, protocol), small(3, g.rng.randrange(0x1000))]
    return finish(g, *code, call(FuncId.skb_vlan_push))


def change_protocol(g: Generator) -> Code:
    if not may_grow(g):
        return checksum_of_card(g)
    code = [mov(1, 6), small(2, g.rng.choice((0x0008, 0xDD86, 0x0081)))]
    return finish(g, *code, small(3, g.rng.choice((0, 0, 0, 1))), call(FuncId.skb_change_proto))


def checksum_of_card(g: Generator) -> Code:
    helper = g.rng.choice((FuncId.csum_update, FuncId.csum_level))
    return finish(g, mov(1, 6), small(2, g.rng.randrange(6)), call(helper))


def change_type(g: Generator) -> Code:
    return finish(g, mov(1, 6), small(2, g.rng.randrange(6)), call(FuncId.skb_change_type))


def load_relative(g: Generator) -> Code:
    code = [mov(1, 6), *masked(g, 2, 127), *stack(g, 3), small(4, g.rng.randrange(1, 9))]
    return finish(g, *code, small(5, g.rng.choice((0, 1, 2))), call(FuncId.skb_load_bytes_relative))


def write_field(g: Generator) -> Code:
    offset = g.rng.choice((8, 12, 32, 44, 48, 52, 64, 72))
    return [store(4, 6, g.any_number(), offset)]


TC = [
    store_bytes, replace_checksum, change, adjust_room, vlan, change_type, load_relative,
    write_field, redirect, change_protocol, checksum_of_card,
]  # fmt: skip
