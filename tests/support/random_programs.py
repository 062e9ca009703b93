"""Random programs that the verifier accepts, nearly all of them.

Comes in: a seeded `random.Random` and a program type. Goes out: code for the maps of `Descriptors`.
Each program takes its numbers from the first value of an array, so that the verifier knows none of
them, works on them, on its stack, on maps and on its packet, and leaves registers and stack in
another array.

Registers: r6 holds the context, r10 the stack; the others are numbers at every seam between two
fragments. Pointers live within one fragment only, since their values differ from run to run.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.uapi import insn
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support import random_helpers
from tests.support.code import (
    SIZES,
    Code,
    add,
    call,
    load,
    map_pointer,
    mov,
    number,
    skip_if,
    slots,
    small,
    store,
)

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 9)
ARGUMENTS = (1, 2, 3, 4, 5)
KEPT = (7, 8, 9)
FRAME = 128  # bytes of the stack that programs use; behind them is room for keys and buffers
KEY, BUFFER = -FRAME - 8, -FRAME - 72
INPUT_SIZE, OUTPUT_SIZE = 256, FRAME + 72
HASH_KEYS = 4
CONTEXT_SIZE = 96
LETTERS = (
    b"123", b"-17xyz", b" 0x1fG", b"077", b"99999999999999999999", b"-", b"0x",
    b"18446744073709551615", b"\t42\n", b"-9223372036854775808", b"-9223372036854775809", b"08",
    b"0", b"0X1F", b" -0x8000000000000000", b"+1",
)  # fmt: skip

PACKET_TYPES = (ProgType.XDP, ProgType.SCHED_CLS)
CONTEXT_TYPES = (ProgType.RAW_TRACEPOINT, ProgType.SYSCALL)
SKB_TYPES = (ProgType.SCHED_CLS, ProgType.SOCKET_FILTER)
# struct xdp_md and struct __sk_buff: data, data_end.
PACKET_FIELDS = {ProgType.XDP: (0, 4), ProgType.SCHED_CLS: (76, 80)}
SKB_FIELDS = {
    ProgType.SCHED_CLS: (0, 4, 8, 12, 72, 16, 20, 24, 32, 36, 40, 44, 48, 52, 64),
    ProgType.SOCKET_FILTER: (0, 4, 8, 16, 20, 24, 32, 36, 40, 48, 52, 64),
}


@dataclass(frozen=True)
class Descriptors:
    """The maps that programs use: numbers to put into code."""

    input: int
    output: int
    hash: int
    per_cpu: int
    queue: int
    ring: int
    texts: int
    programs: dict[ProgType, int]


class Generator:
    """Makes programs.

    Args:
        rng: Where all decisions come from.
        type: The kind of program.
        maps: What it may use.
    """

    def __init__(self, rng: random.Random, type: ProgType, maps: Descriptors) -> None:  # noqa: A002
        self.rng = rng
        self.type = type
        self.maps = maps
        self.functions: list[Code] = []
        self.callable: list[int] = []  # which of them are no callbacks
        self.in_function = False
        self.depth = 0
        self.grown = 0

    def program(self, length: int) -> bytes:
        """Return the code of a program of about *length* fragments; `starts` are its functions."""
        body = self.prologue()
        for _ in range(length):
            body += self.fragment()
        body += self.epilogue()
        return encode_all(self.link(body), "little")

    # Calls of functions carry their number until all lengths are known.
    def link(self, main: Code) -> Code:
        starts: list[int] = []
        at = slots(main)
        for function in self.functions:
            starts.append(at)
            at += slots(function)
        self.starts = [0, *starts]
        linked: Code = []
        at = 0
        for each in [*main, *(each for function in self.functions for each in function)]:
            if each.symbol is not None:
                target = starts[int(each.symbol)] - at - 1
                each = replace(each, immediate=target, symbol=None)
            linked.append(each)
            at += each.slots
        return linked

    def prologue(self) -> Code:
        code = [mov(6, 1), small(1, 0), store(8, 10, 1, KEY), mov(2, 10), add(2, KEY)]
        code += [map_pointer(1, self.maps.input), call(FuncId.map_lookup_elem)]
        leave = [small(0, 0), Instruction(insn.JMP | insn.EXIT)]
        code += skip_if(insn.JNE, 0, 0, leave)
        code.append(mov(1, 0))
        for at in range(0, FRAME, 8):
            code += [load(8, 2, 1, at), store(8, 10, 2, -FRAME + at)]
        for at in range(0, 64, 8):
            code.append(store(8, 10, 2, BUFFER + at))
        code += [load(8, each, 1, FRAME + 8 * each) for each in NUMBERS if each != 1]
        code.append(load(8, 1, 1, FRAME + 8))
        return code

    # Registers behind the frame, then all of it into the output.
    def epilogue(self) -> Code:
        code = [store(8, 10, each, BUFFER + 8 * at) for at, each in enumerate((0, 2, 3, 4, 5))]
        code += [store(8, 10, each, BUFFER + 40 + 8 * at) for at, each in enumerate(KEPT)]
        code += [mov(7, 0), mov(8, 1)]
        code += [small(1, 0), store(8, 10, 1, KEY)]
        code += [mov(2, 10), add(2, KEY), mov(3, 10), add(3, BUFFER)]
        code += [map_pointer(1, self.maps.output), small(4, 0), call(FuncId.map_update_elem)]
        code += [mov(0, 7), Instruction(insn.ALU64 | insn.XOR | insn.X, 0, 8)]
        code += [mov(1, 0), Instruction(insn.ALU64 | insn.RSH, 1, 0, 0, 32)]
        code += [Instruction(insn.ALU64 | insn.XOR | insn.X, 0, 1)]
        return [*code, Instruction(insn.JMP | insn.EXIT)]

    def fragment(self) -> Code:
        """Return a few instructions that leave numbers in all registers."""
        self.depth += 1
        try:
            return self.rng.choice(self.choices())()
        finally:
            self.depth -= 1

    def choices(self) -> list[Callable[[], Code]]:
        found = 8 * [self.arithmetic] + 3 * [self.stack_access] + [self.swap, self.extend]
        found += 2 * [self.atomic] + [self.spill]
        if self.depth < 4:
            found += 4 * [self.branch] + [self.loop]
        if self.in_function:
            return found
        if self.depth < 3:
            found += [
                self.function_call,
                self.array_element,
                self.hash_element,
                self.per_cpu_element,
            ]
            found += [self.text, self.callback]
            found += random_helpers.choices(self)
        if self.type in PACKET_TYPES and self.depth < 3:
            found += [self.csum_diff]
        if self.type in PACKET_TYPES and self.depth < 3:
            found += 3 * [self.packet_access]
        if self.type in CONTEXT_TYPES:
            found += 2 * [self.context_access]
        if self.type in SKB_TYPES:
            found += [self.skb_field]
            if self.depth < 3:
                found += [self.load_bytes, self.old_load]
        return found

    # --- on registers ---------------------------------------------------------------------------

    def any_number(self) -> int:
        return self.rng.choice(NUMBERS)

    def constant(self) -> int:
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.rng.choice((0, 1, -1, 2, 0x7FFF_FFFF, -0x8000_0000, 255, 65535))
        if kind == 1:
            return self.rng.randrange(-128, 128)
        return self.rng.randrange(-(1 << 31), 1 << 31)

    def arithmetic(self) -> Code:
        kind = self.rng.choice((insn.ALU, insn.ALU64))
        operation = self.rng.choice(
            (insn.ADD, insn.SUB, insn.MUL, insn.DIV, insn.OR, insn.AND, insn.LSH, insn.RSH,
             insn.NEG, insn.MOD, insn.XOR, insn.MOV, insn.ARSH)
        )  # fmt: skip
        dst = self.any_number()
        if operation == insn.NEG:
            return [Instruction(kind | operation, dst)]
        divides = operation in (insn.DIV, insn.MOD)
        offset = self.rng.choice((0, 1)) if divides else 0
        if self.rng.random() < 0.6:
            return [Instruction(kind | operation | insn.X, dst, self.any_number(), offset)]
        value = self.constant()
        if operation in (insn.LSH, insn.RSH, insn.ARSH):
            value = self.rng.randrange(64 if kind == insn.ALU64 else 32)
        elif divides and value == 0:
            value = 1
        return [Instruction(kind | operation, dst, 0, offset, value)]

    def swap(self) -> Code:
        opcode = self.rng.choice((insn.ALU | insn.TO_LE, insn.ALU | insn.TO_BE, insn.ALU64))
        width = self.rng.choice((16, 32, 64))
        return [Instruction(opcode | insn.END, self.any_number(), 0, 0, width)]

    def extend(self) -> Code:
        kind, width = self.rng.choice(
            [(insn.ALU64, 8), (insn.ALU64, 16), (insn.ALU64, 32), (insn.ALU, 8), (insn.ALU, 16)]
        )
        opcode = kind | insn.MOV | insn.X
        return [Instruction(opcode, self.any_number(), self.any_number(), width)]

    def condition(self, distance: int) -> Instruction:
        kind = self.rng.choice((insn.JMP, insn.JMP32))
        operation = self.rng.choice(
            (insn.JEQ, insn.JGT, insn.JGE, insn.JSET, insn.JNE, insn.JSGT, insn.JSGE, insn.JLT,
             insn.JLE, insn.JSLT, insn.JSLE)
        )  # fmt: skip
        if self.rng.random() < 0.5:
            opcode = kind | operation | insn.X
            return Instruction(opcode, self.any_number(), self.any_number(), distance)
        return Instruction(kind | operation, self.any_number(), 0, distance, self.constant())

    def block(self) -> Code:
        return [each for _ in range(self.rng.randrange(1, 4)) for each in self.fragment()]

    def branch(self) -> Code:
        then = self.block()
        if self.rng.random() < 0.5:
            return [self.condition(slots(then)), *then]
        other = self.block()
        over = (
            Instruction(insn.JMP | insn.JA, 0, 0, slots(other))
            if self.rng.random() < 0.7
            else Instruction(insn.JMP32 | insn.JA, 0, 0, 0, slots(other))
        )
        return [self.condition(slots(then) + 1), *then, over, *other]

    # The counter is on the stack, where nothing else writes: below the buffer.
    def loop(self) -> Code:
        if self.depth > 2:
            return self.arithmetic()
        place = BUFFER - 8 * self.depth
        body = self.block()
        start = [Instruction(insn.ST | insn.MEM | insn.DW, 10, 0, place, self.rng.randrange(1, 4))]
        step = [
            load(8, 0, 10, place),
            add(0, -1),
            store(8, 10, 0, place),
        ]
        back = Instruction(insn.JMP | insn.JNE, 0, 0, -(slots(body) + len(step) + 1), 0)
        return [*start, *body, *step, back]

    # --- on the stack ---------------------------------------------------------------------------

    def place(self, size: int) -> int:
        return -FRAME + size * self.rng.randrange(FRAME // size)

    def stack_access(self) -> Code:
        size = self.rng.choice((1, 2, 4, 8))
        kind = self.rng.randrange(4)
        if kind == 0:
            return [store(size, 10, self.any_number(), self.place(size))]
        if kind == 1:
            opcode = insn.ST | insn.MEM | SIZES[size]
            return [Instruction(opcode, 10, 0, self.place(size), self.constant())]
        if kind == 2 and size < 8:
            opcode = insn.LDX | insn.MEMSX | SIZES[size]
            return [Instruction(opcode, self.any_number(), 10, self.place(size))]
        return [load(size, self.any_number(), 10, self.place(size))]

    def spill(self) -> Code:
        place = self.place(8)
        return [store(8, 10, self.any_number(), place), load(4, self.any_number(), 10, place)]

    def atomic(self) -> Code:
        place = self.place(8)
        code = self.atomic_at(10, place)
        if code[0].immediate == insn.CMPXCHG and self.rng.random() < 0.6:
            return [load(8, 0, 10, place), *code]  # so that it exchanges
        return code

    def atomic_at(self, base: int, offset: int) -> Code:
        size = self.rng.choice((insn.W, insn.DW))
        operation = self.rng.choice(
            (insn.ADD, insn.OR, insn.AND, insn.XOR, insn.ADD | insn.FETCH, insn.OR | insn.FETCH,
             insn.AND | insn.FETCH, insn.XOR | insn.FETCH, insn.XCHG, insn.CMPXCHG,
             insn.LOAD_ACQ, insn.STORE_REL)
        )  # fmt: skip
        if operation == insn.LOAD_ACQ:
            dst = self.any_number() if base == 10 else self.rng.choice(KEPT)
            size = self.rng.choice((insn.B, insn.H, insn.W, insn.DW))
            return [Instruction(insn.STX | insn.ATOMIC | size, dst, base, offset, operation)]
        src = self.any_number() if base == 10 else self.rng.choice(KEPT)
        code = [Instruction(insn.STX | insn.ATOMIC | size, base, src, offset, operation)]
        if operation == insn.CMPXCHG and size == insn.W and self.in_function:
            # If it exchanged and a function returns r0, Linux 6.18 on x86 sometimes leaves
            # its upper half as it was, though the instruction is said to clear it: cleared here.
            code.append(Instruction(insn.ALU | insn.MOV | insn.X, 0, 0))
        return code

    # --- calls ----------------------------------------------------------------------------------

    def refresh(self, registers: tuple[int, ...] = ARGUMENTS) -> Code:
        """Set registers that a call destroyed to numbers from the stack."""
        return [load(8, each, 10, self.place(8)) for each in registers]

    def function_call(self) -> Code:
        if len(self.functions) < 3 and (not self.callable or self.rng.random() < 0.5):
            which = len(self.functions)
            self.functions.append(self.function())
            self.callable.append(which)
        elif self.callable:
            which = self.rng.choice(self.callable)
        else:
            return self.arithmetic()
        opcode = insn.JMP | insn.CALL
        return [Instruction(opcode, 0, insn.PSEUDO_CALL, 0, 0, str(which)), *self.refresh()]

    def function(self) -> Code:
        was, self.in_function = self.in_function, True
        code = [store(8, 10, 1 + at % 5, -FRAME + 8 * at) for at in range(FRAME // 8)]
        code += [mov(0, 1), *(mov(each, 2) for each in KEPT)]
        for _ in range(self.rng.randrange(1, 6)):
            code += self.fragment()
        self.in_function = was
        return [*code, Instruction(insn.JMP | insn.EXIT)]

    def callback(self) -> Code:
        """``bpf_loop`` over a function that works on a number of the caller's stack."""
        index = len(self.functions)
        if index >= 3:
            return self.arithmetic()
        self.functions.append([])
        code = [mov(3, 2), load(8, 4, 3, 0)]
        operation = self.rng.choice((insn.ADD, insn.XOR, insn.MUL, insn.SUB))
        code += [Instruction(insn.ALU64 | operation | insn.X, 4, 1), store(8, 3, 4, 0)]
        code += [small(0, 0)]
        stop = self.rng.randrange(1, 12)
        code += skip_if(insn.JNE, 1, stop, [small(0, 1)])
        self.functions[index] = [*code, Instruction(insn.JMP | insn.EXIT)]
        opcode = insn.LD | insn.IMM | insn.DW
        return [
            small(1, self.rng.randrange(0, 9)),
            Instruction(opcode, 2, insn.PSEUDO_FUNC, 0, 0, str(index)),
            mov(3, 10),
            add(3, self.place(8)),
            small(4, 0),
            call(FuncId.loop),
            *self.refresh(),
        ]

    def element(self, fd: int, key_size: int, key: Code, use: Code) -> Code:
        """Look up, use the value in r0 if there is one, and make numbers of everything."""
        code = [*key, store(key_size, 10, 1, KEY), mov(2, 10), add(2, KEY), map_pointer(1, fd)]
        code += [call(FuncId.map_lookup_elem), *skip_if(insn.JEQ, 0, 0, use)]
        return [*code, small(0, self.constant()), *self.refresh()]

    def use_value(self, size: int) -> Code:
        """Work on the memory at r0 with numbers in r7 to r9."""
        code: Code = []
        for _ in range(self.rng.randrange(1, 4)):
            width = self.rng.choice((1, 2, 4, 8))
            offset = width * self.rng.randrange(size // width)
            kind = self.rng.randrange(4)
            if kind == 0:
                code.append(load(width, self.rng.choice(KEPT), 0, offset))
            elif kind == 1:
                code.append(store(width, 0, self.rng.choice(KEPT), offset))
            elif kind == 2:
                code += [mov(1, 0), *self.no_compare(1, offset & ~7)]
            else:
                mask = Instruction(insn.ALU64 | insn.AND, 2, 0, 0, size - 1 & ~(width - 1))
                code += [mov(2, self.rng.choice(KEPT)), mask, mov(1, 0)]
                code += [Instruction(insn.ALU64 | insn.ADD | insn.X, 1, 2)]
                code += [load(width, self.rng.choice(KEPT), 1, 0)]
        return code

    def outdated_value(self) -> Code:
        """Read what a pointer shows once its key has another value: in a hash, what was there."""
        code = [mov(7, 0), mov(2, 10), add(2, KEY), map_pointer(1, self.maps.hash), mov(3, 10)]
        code += [add(3, -FRAME + 8 * self.rng.randrange(FRAME // 8 - 1)), small(4, 0)]
        return [*code, call(FuncId.map_update_elem), load(8, 7, 7, 0)]

    # cmpxchg needs r0, which is the pointer here.
    def no_compare(self, base: int, offset: int) -> Code:
        while True:
            code = self.atomic_at(base, offset)
            if code[0].immediate != insn.CMPXCHG:
                return code

    def array_element(self) -> Code:
        return self.element(self.maps.input, 4, [small(1, 1)], self.use_value(INPUT_SIZE))

    def per_cpu_element(self) -> Code:
        return self.element(self.maps.per_cpu, 4, [small(1, 0)], self.use_value(64))

    def hash_element(self) -> Code:
        key = [
            mov(1, self.any_number()),
            Instruction(insn.ALU64 | insn.AND, 1, 0, 0, 2 * HASH_KEYS - 1),
        ]
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.element(self.maps.hash, 8, key, self.use_value(16))
        if kind == 3:
            return self.element(self.maps.hash, 8, key, self.outdated_value())
        code = [*key, store(8, 10, 1, KEY), mov(2, 10), add(2, KEY), map_pointer(1, self.maps.hash)]
        if kind == 1:
            return [*code, call(FuncId.map_delete_elem), *self.refresh()]
        code += [mov(3, 10), add(3, -FRAME + 8 * self.rng.randrange(FRAME // 8 - 1))]
        code += [small(4, self.rng.choice((0, 0, 0, 1, 2))), call(FuncId.map_update_elem)]
        return [*code, *self.refresh()]

    def csum_diff(self) -> Code:
        sizes = [4 * self.rng.randrange(0, 9) for _ in range(2)]
        if self.rng.random() < 0.2:
            sizes[self.rng.randrange(2)] = self.rng.randrange(1, 36)
        code = [mov(5, self.any_number()), mov(1, 10), add(1, -FRAME), small(2, sizes[0])]
        code += [mov(3, 10), add(3, -FRAME + 64), small(4, sizes[1])]
        if sizes[0] == 0:
            code[1:3] = [small(1, 0)]
        return [*code, call(FuncId.csum_diff), *self.refresh()]

    def text(self) -> Code:
        """A number out of a string on the stack."""
        letters = self.rng.choice(LETTERS).ljust(24, b"\0")
        words = [int.from_bytes(letters[at : at + 8], "little") for at in range(0, 24, 8)]
        code: Code = []
        for at, word in enumerate(words):
            signed = word - (1 << 64) if word >> 63 else word
            code += [number(1, signed), store(8, 10, 1, BUFFER + 8 * at)]
        helper = self.rng.choice((FuncId.strtol, FuncId.strtoul))
        place = BUFFER + 32
        code += [small(1, self.rng.randrange(-99, 99)), store(8, 10, 1, place)]
        code += [mov(1, 10), add(1, BUFFER), small(2, self.rng.randrange(1, 25))]
        code += [small(3, self.rng.choice((0, 0, 8, 10, 16, 7))), mov(4, 10), add(4, place)]
        return [*code, call(helper), *self.refresh(), load(8, self.any_number(), 10, place)]

    # --- packets --------------------------------------------------------------------------------

    def packet_access(self) -> Code:
        """Check the bounds, then read and write the packet, at fixed and at computed offsets."""
        data, end = PACKET_FIELDS[self.type]
        length = self.rng.choice((1, 2, 4, 8, 14, 20, 34, 64))
        code = [load(4, 1, 6, data), load(4, 2, 6, end), mov(3, 1), add(3, length)]
        use: Code = []
        for _ in range(self.rng.randrange(1, 4)):
            width = self.rng.choice([each for each in (1, 2, 4, 8) if each <= length])
            offset = self.rng.randrange(length - width + 1)
            kind = self.rng.randrange(3)
            if kind == 0:
                use.append(load(width, self.rng.choice(KEPT), 1, offset))
            elif kind == 1:
                use.append(store(width, 1, self.rng.choice(KEPT), offset))
            elif length >= 16:
                use += [mov(4, self.rng.choice(KEPT))]
                use += [Instruction(insn.ALU64 | insn.AND, 4, 0, 0, 7), mov(5, 1)]
                use += [Instruction(insn.ALU64 | insn.ADD | insn.X, 5, 4)]
                # The verifier wants a check of the computed pointer itself.
                use += [mov(3, 5), add(3, 8)]
                inner = [load(self.rng.choice((1, 2, 4, 8)), self.rng.choice(KEPT), 5, 0)]
                use += [Instruction(insn.JMP | insn.JGT | insn.X, 3, 2, slots(inner)), *inner]
        code += [Instruction(insn.JMP | insn.JGT | insn.X, 3, 2, slots(use)), *use]
        return [*code, *self.refresh()]

    def skb_field(self) -> Code:
        return [load(4, self.any_number(), 6, self.rng.choice(SKB_FIELDS[self.type]))]

    def context_access(self) -> Code:
        """Contexts of bytes: arguments of a tracepoint, what a syscall program was given."""
        if self.type is ProgType.RAW_TRACEPOINT:
            return [load(8, self.any_number(), 6, 8 * self.rng.randrange(12))]
        size = self.rng.choice((1, 2, 4, 8))
        offset = size * self.rng.randrange(CONTEXT_SIZE // size)
        if self.rng.random() < 0.5:
            return [load(size, self.any_number(), 6, offset)]
        return [store(size, 6, self.any_number(), offset)]

    def load_bytes(self) -> Code:
        code = [mov(2, self.any_number()), mov(1, 6)]
        if self.rng.random() < 0.8:
            code.append(Instruction(insn.ALU64 | insn.AND, 2, 0, 0, 127))
        length = self.rng.randrange(1, 9)
        code += [mov(3, 10), add(3, self.place(8)), small(4, length)]
        return [*code, call(FuncId.skb_load_bytes), *self.refresh()]

    def old_load(self) -> Code:
        """Classic BPF's loads, which end the program outside of the packet."""
        size = self.rng.choice((insn.B, insn.H, insn.W))
        start = self.rng.choice((0, 0, -0x100000, -0x200000))  # packet, network, link layer
        offset = start + self.rng.choice((0, 1, 6, 12, 13, 30, 59, 63))
        if self.rng.random() < 0.5:
            return [Instruction(insn.LD | insn.ABS | size, 0, 0, 0, offset), *self.refresh()]
        index = self.rng.choice(KEPT)
        code = [Instruction(insn.ALU64 | insn.AND, index, 0, 0, 15)]
        code += [Instruction(insn.LD | insn.IND | size, 0, index, 0, max(offset, 0))]
        return [*code, *self.refresh()]
