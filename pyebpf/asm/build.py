"""Instructions written in Python: one function each, named and ordered as the instruction set.

    from pyebpf.asm.build import R0, R1, R2, R10, W0, call, exit_, jeq, label, load, mov, store, u32

    [
        store(u32(R10 - 4), 0),           # *(u32 *)(r10 - 4) = 0
        mov(R2, R10),                     # r2 = r10
        add(R2, -4),                      # r2 += -4
        load_map(R1, "counts"),           # r1 = the map, filled in when it is loaded
        call("map_lookup_elem"),          # a helper by its name
        jeq(R0, 0, "missing"),            # if r0 == 0 goto missing
        load(R0, u32(R0)),                # r0 = *(u32 *)(r0 + 0)
        label("missing"),
        exit_(),
    ]

``R0`` to ``R10`` are the registers; ``W0`` to ``W10`` their lower halves: arithmetic and
comparisons of those have 32 bits, and a result clears the upper half. `pyebpf.asm.assemble` turns
such a list into code; the names follow RFC 9669. Every mistake that can be seen in one instruction
is an `AsmError` of the call that makes it.
"""

from __future__ import annotations

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import ADDR_PERCPU, CALL, FETCHING, LOAD_IMMEDIATE_64, SIZES
from pyebpf.plain import replace

# isort: off
from pyebpf.asm.operand import (  # these names are part of this module
    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, W0, W1, W2, W3, W4, W5, W6, W7, W8, W9, W10,
    Label, Place, Register, Source, Target, function, label, s8, s16, s32, u8, u16, u32, u64,
    bits_of, check_widths, immediate_of, register_of, signed_32, unsigned_bits_of, whole,
)  # fmt: skip

# isort: on
from pyebpf.errors import AsmError
from pyebpf.uapi import insn
from pyebpf.uapi.helpers import FuncId

__all__ = [
    "Label",
    "Place",
    "Register",
    "Target",
    "R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10",
    "W0", "W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10",
    "u8", "u16", "u32", "u64", "s8", "s16", "s32",
    "label", "function",
    "mov", "add", "sub", "mul", "div", "sdiv", "mod", "smod",
    "or_", "and_", "xor", "lsh", "rsh", "arsh", "neg", "movsx",
    "to_le", "to_be", "bswap", "addr_space_cast", "mov_percpu",
    "load", "store", "load_packet",
    "load_64", "load_map", "load_map_value", "load_function", "load_symbol", "load_ksym",
    "atomic", "atomic_fetch", "xchg", "cmpxchg", "load_acquire", "store_release",
    "jump", "jump_long", "jump_to", "may_goto",
    "jeq", "jne", "jgt", "jge", "jlt", "jle", "jset", "jsgt", "jsge", "jslt", "jsle",
    "call", "call_function", "call_kfunc", "call_register", "exit_",
]  # fmt: skip


# ---- arithmetic -------------------------------------------------------------------------------


def mov(dst: Register, src: Source) -> Instruction:
    """``dst = src``; into half a register, the other half becomes 0."""
    return _arithmetic(insn.MOV, dst, src)


def add(dst: Register, src: Source) -> Instruction:
    """``dst += src``."""
    return _arithmetic(insn.ADD, dst, src)


def sub(dst: Register, src: Source) -> Instruction:
    """``dst -= src``."""
    return _arithmetic(insn.SUB, dst, src)


def mul(dst: Register, src: Source) -> Instruction:
    """``dst *= src``."""
    return _arithmetic(insn.MUL, dst, src)


def div(dst: Register, src: Source) -> Instruction:
    """``dst /= src``, unsigned; by 0 it gives 0."""
    return _arithmetic(insn.DIV, dst, src)


def sdiv(dst: Register, src: Source) -> Instruction:
    """``dst s/= src``: signed, rounding towards 0. Since Linux 6.6."""
    return _arithmetic(insn.DIV, dst, src, offset=1)


def mod(dst: Register, src: Source) -> Instruction:
    """``dst %= src``, unsigned; by 0 it leaves *dst*."""
    return _arithmetic(insn.MOD, dst, src)


def smod(dst: Register, src: Source) -> Instruction:
    """``dst s%= src``: signed, with the sign of *dst*. Since Linux 6.6."""
    return _arithmetic(insn.MOD, dst, src, offset=1)


def or_(dst: Register, src: Source) -> Instruction:
    """``dst |= src``."""
    return _arithmetic(insn.OR, dst, src)


def and_(dst: Register, src: Source) -> Instruction:
    """``dst &= src``."""
    return _arithmetic(insn.AND, dst, src)


def xor(dst: Register, src: Source) -> Instruction:
    """``dst ^= src``."""
    return _arithmetic(insn.XOR, dst, src)


def lsh(dst: Register, src: Source) -> Instruction:
    """``dst <<= src``."""
    return _arithmetic(insn.LSH, dst, src)


def rsh(dst: Register, src: Source) -> Instruction:
    """``dst >>= src``, filling with zeros."""
    return _arithmetic(insn.RSH, dst, src)


def arsh(dst: Register, src: Source) -> Instruction:
    """``dst s>>= src``, filling with the sign."""
    return _arithmetic(insn.ARSH, dst, src)


def neg(dst: Register) -> Instruction:
    """``dst = -dst``."""
    return Instruction(_class_of(dst) | insn.NEG, dst.number)


def movsx(dst: Register, src: Register, bits: int) -> Instruction:
    """``dst = (s8)src`` and the like: the lowest *bits* with their sign. Since Linux 6.6.

    Args:
        dst: Where to.
        src: Where from; the same width.
        bits: 8 or 16, or 32 into a whole register.
    """
    if bits not in (8, 16, 32) or bits == dst.bits:
        raise AsmError(f"{bits} bits cannot be extended into {dst}")
    return _arithmetic(insn.MOV, dst, src, offset=bits)


def to_le(dst: Register, bits: int) -> Instruction:
    """``dst = le16 dst`` and the like: 16, 32 or 64 bits, and zeros above."""
    return _swap(insn.ALU | insn.TO_LE, dst, bits)


def to_be(dst: Register, bits: int) -> Instruction:
    """``dst = be16 dst`` and the like: 16, 32 or 64 bits, and zeros above."""
    return _swap(insn.ALU | insn.TO_BE, dst, bits)


def bswap(dst: Register, bits: int) -> Instruction:
    """``dst = bswap16 dst`` and the like: whatever the machine's order. Since Linux 6.6."""
    return _swap(insn.ALU64, dst, bits)


def addr_space_cast(dst: Register, src: Register, to: int, *, of: int) -> Instruction:
    """Make a pointer of one address space one of another.

    In text it is ``dst = addr_space_cast(src, to, of)``. Space 0 is the kernel's, 1 that of the
    program's arena. Since Linux 6.9.

    Args:
        dst: Where to.
        src: The pointer.
        to: The space it is to be of, 16 bits.
        of: The space it is of, 16 bits.
    """
    if not (0 <= to <= 0xFFFF and 0 <= of <= 0xFFFF):
        raise AsmError(f"address spaces {to} and {of} do not fit 16 bits")
    made = _arithmetic(insn.MOV, whole(dst), whole(src), offset=insn.ADDR_SPACE_CAST)
    return replace(made, immediate=signed_32(to << 16 | of))


def mov_percpu(dst: Register, src: Register) -> Instruction:
    """``dst = &(void __percpu *)(src)``: this CPU's copy, given the offset of a per-CPU variable.

    The verifier makes it of some helper calls and refuses it in what is loaded. Since Linux 6.10.
    """
    return _arithmetic(insn.MOV, whole(dst), whole(src), offset=ADDR_PERCPU)


# ---- memory -----------------------------------------------------------------------------------


def load(dst: Register, src: Place) -> Instruction:
    """``dst = *(u32 *)(src + offset)`` and the like: ``load(R0, u32(R1 + 8))``.

    A signed place needs a whole register and at most 32 bits.
    """
    bits = bits_of(src)
    if src.signed and dst.bits == 32:
        raise AsmError(f"a sign is extended into a whole register, not {dst}")
    register_of(dst)
    mode = insn.MEMSX if src.signed else insn.MEM
    opcode = insn.LDX | mode | SIZES[bits]
    return Instruction(opcode, dst.number, src.base.number, src.offset)


def store(dst: Place, src: Source) -> Instruction:
    """``*(u32 *)(dst + offset) = src`` and the like: ``store(u32(R1 + 8), R0)``."""
    size = SIZES[unsigned_bits_of(dst)]
    if isinstance(src, Register):
        opcode = insn.STX | insn.MEM | size
        return Instruction(opcode, dst.base.number, src.number, dst.offset)
    opcode, value = insn.ST | insn.MEM | size, immediate_of(src, dst.bits)
    return Instruction(opcode, dst.base.number, 0, dst.offset, value)


def load_packet(bits: int, at: int | Register, *, offset: int = 0) -> Instruction:
    """``r0 = *(u16 *)skb[at]``: network order made the machine's; ends the program beyond the end.

    The instruction of classic BPF. It needs the packet in R6 and spoils R1 to R5.

    Args:
        bits: 8, 16 or 32.
        at: Bytes from the start of the packet, or a register with them.
        offset: Bytes to add to the register's.
    """
    if bits not in (8, 16, 32):
        raise AsmError(f"a packet is read by 8, 16 or 32 bits, not {bits}")
    if isinstance(at, Register):
        opcode = insn.LD | insn.IND | SIZES[bits]
        return Instruction(opcode, 0, whole(at).number, immediate=immediate_of(offset, 64))
    opcode = insn.LD | insn.ABS | SIZES[bits]
    return Instruction(opcode, immediate=immediate_of(at + offset, 64))


def load_64(dst: Register, value: int) -> Instruction:
    """``dst = value ll``: a constant of 64 bits, signed or not. It takes two slots."""
    if not -(1 << 63) <= value < 1 << 64:
        raise AsmError(f"{value} does not fit 64 bits")
    return _wide(dst, 0, value, None)


def load_map(dst: Register, name: str) -> Instruction:
    """Load the address of a map, for helpers."""
    return _wide(dst, insn.PSEUDO_MAP_FD, 0, name)


def load_map_value(dst: Register, name: str, offset: int = 0) -> Instruction:
    """Load an address inside the only value of an array map. Since Linux 5.2.

    Args:
        dst: Where to.
        name: The map.
        offset: Bytes behind the start of the value.
    """
    if not 0 <= offset < 1 << 32:
        raise AsmError(f"offset {offset} into a map's value does not fit 32 bits")
    return _wide(dst, insn.PSEUDO_MAP_VALUE, offset << 32, name)


def load_function(dst: Register, name: str) -> Instruction:
    """Load the address of a function of the program, for helpers that call it. Since Linux 5.13."""
    return _wide(dst, insn.PSEUDO_FUNC, 0, name)


def load_symbol(dst: Register, name: str, offset: int = 0) -> Instruction:
    """``dst = name ll``: what *name* is, is decided later: a map, a function or a named constant.

    Args:
        dst: Where to.
        name: The symbol.
        offset: Added to the symbol's value.
    """
    return _wide(dst, 0, immediate_of(offset, 64), name)


def load_ksym(dst: Register, name: str) -> Instruction:
    """Load the address of a variable of the kernel that its BTF knows. Since Linux 5.10."""
    return _wide(dst, insn.PSEUDO_BTF_ID, 0, name)


# ---- atomic operations ------------------------------------------------------------------------


def atomic(dst: Place, operator: str, src: Register) -> Instruction:
    """``lock *(u64 *)(dst + offset) += src`` and the like.

    Args:
        dst: 32 or 64 bits of memory.
        operator: ``"+"``, or since Linux 5.12 ``"|"``, ``"&"`` or ``"^"``.
        src: The other operand.
    """
    return _atomic(dst, src, _fetching(operator))


def atomic_fetch(dst: Place, operator: str, src: Register) -> Instruction:
    """The same, and *src* is what was there before. Since Linux 5.12."""
    return _atomic(dst, src, _fetching(operator) | insn.FETCH)


def xchg(dst: Place, src: Register) -> Instruction:
    """Exchange *src* and what is in memory. Since Linux 5.12."""
    return _atomic(dst, src, insn.XCHG)


def cmpxchg(dst: Place, src: Register) -> Instruction:
    """Store *src* if R0 is what is in memory; R0 is what was there. Since Linux 5.12."""
    return _atomic(dst, src, insn.CMPXCHG)


def load_acquire(dst: Register, src: Place) -> Instruction:
    """Load before everything that follows, of any size. Since Linux 6.15."""
    opcode = insn.STX | insn.ATOMIC | SIZES[unsigned_bits_of(src)]
    number = register_of(dst).number
    return Instruction(opcode, number, src.base.number, src.offset, insn.LOAD_ACQ)


def store_release(dst: Place, src: Register) -> Instruction:
    """Store behind everything that precedes, of any size. Since Linux 6.15."""
    opcode = insn.STX | insn.ATOMIC | SIZES[unsigned_bits_of(dst)]
    number = register_of(src).number
    return Instruction(opcode, dst.base.number, number, dst.offset, insn.STORE_REL)


# ---- jumps ------------------------------------------------------------------------------------


def jump(target: Target) -> Instruction:
    """``goto target``: a label, or slots to skip behind this instruction, 16 bits."""
    return _jump(insn.JMP | insn.JA, target)


def jump_long(target: Target) -> Instruction:
    """``gotol target``: the same with 32 bits. Since Linux 6.6."""
    opcode = insn.JMP32 | insn.JA
    if isinstance(target, str):
        return Instruction(opcode, symbol=target)
    return Instruction(opcode, immediate=immediate_of(target, 64))


def jump_to(src: Register) -> Instruction:
    """``gotox src``: to an address out of a jump table. Since Linux 6.19."""
    return Instruction(insn.JMP | insn.JA | insn.X, whole(src).number)


def may_goto(target: Target) -> Instruction:
    """``may_goto target``: taken when the loop has had its turns. Since Linux 6.9."""
    return _jump(insn.JMP | insn.JCOND, target)


def jeq(left: Register, right: Source, target: Target) -> Instruction:
    """``if left == right goto target``."""
    return _compare(insn.JEQ, left, right, target)


def jne(left: Register, right: Source, target: Target) -> Instruction:
    """``if left != right goto target``."""
    return _compare(insn.JNE, left, right, target)


def jgt(left: Register, right: Source, target: Target) -> Instruction:
    """``if left > right goto target``, unsigned."""
    return _compare(insn.JGT, left, right, target)


def jge(left: Register, right: Source, target: Target) -> Instruction:
    """``if left >= right goto target``, unsigned."""
    return _compare(insn.JGE, left, right, target)


def jlt(left: Register, right: Source, target: Target) -> Instruction:
    """``if left < right goto target``, unsigned. Since Linux 4.14."""
    return _compare(insn.JLT, left, right, target)


def jle(left: Register, right: Source, target: Target) -> Instruction:
    """``if left <= right goto target``, unsigned. Since Linux 4.14."""
    return _compare(insn.JLE, left, right, target)


def jset(left: Register, right: Source, target: Target) -> Instruction:
    """``if left & right goto target``."""
    return _compare(insn.JSET, left, right, target)


def jsgt(left: Register, right: Source, target: Target) -> Instruction:
    """``if left s> right goto target``, signed."""
    return _compare(insn.JSGT, left, right, target)


def jsge(left: Register, right: Source, target: Target) -> Instruction:
    """``if left s>= right goto target``, signed."""
    return _compare(insn.JSGE, left, right, target)


def jslt(left: Register, right: Source, target: Target) -> Instruction:
    """``if left s< right goto target``, signed. Since Linux 4.14."""
    return _compare(insn.JSLT, left, right, target)


def jsle(left: Register, right: Source, target: Target) -> Instruction:
    """``if left s<= right goto target``, signed. Since Linux 4.14."""
    return _compare(insn.JSLE, left, right, target)


# ---- calls ------------------------------------------------------------------------------------


def call(helper: str | int) -> Instruction:
    """Call a helper of the kernel.

    Args:
        helper: Its name as in C, with or without ``bpf_``, or its number.
    """
    if isinstance(helper, str):
        helper = _helper(helper)
    return Instruction(CALL, immediate=immediate_of(helper, 64))


def call_function(target: Target) -> Instruction:
    """Call a function of the program: by name, or slots to skip behind this one."""
    if isinstance(target, str):
        return Instruction(CALL, 0, insn.PSEUDO_CALL, symbol=target)
    return Instruction(CALL, 0, insn.PSEUDO_CALL, immediate=immediate_of(target, 64))


def call_kfunc(name: str) -> Instruction:
    """Call a function of the kernel that its BTF knows (kfunc). Since Linux 5.13."""
    return Instruction(CALL, 0, insn.PSEUDO_KFUNC_CALL, symbol=name)


def call_register(src: Register) -> Instruction:
    """``callx src``: a call that no kernel takes, but that compilers make."""
    return Instruction(insn.JMP | insn.CALL | insn.X, whole(src).number)


def exit_() -> Instruction:
    """``exit``: return R0."""
    return Instruction(insn.JMP | insn.EXIT)


# ---- how they are made ------------------------------------------------------------------------


def _class_of(dst: Register) -> int:
    return insn.ALU64 if register_of(dst).bits == 64 else insn.ALU


def _arithmetic(operation: int, dst: Register, src: Source, *, offset: int = 0) -> Instruction:
    opcode = _class_of(dst) | operation
    if isinstance(src, Register):
        check_widths(dst, src)
        return Instruction(opcode | insn.X, dst.number, src.number, offset)
    return Instruction(opcode | insn.K, dst.number, 0, offset, immediate_of(src, dst.bits))


def _swap(opcode: int, dst: Register, bits: int) -> Instruction:
    if bits not in (16, 32, 64):
        raise AsmError(f"16, 32 or 64 bits can be swapped, not {bits}")
    return Instruction(opcode | insn.END, whole(dst).number, immediate=bits)


def _wide(dst: Register, pseudo: int, value: int, symbol: str | None) -> Instruction:
    value = value - (1 << 64) if value >> 63 == 1 else value
    return Instruction(LOAD_IMMEDIATE_64, whole(dst).number, pseudo, 0, value, symbol)


def _fetching(operator: str) -> int:
    if operator not in FETCHING:
        raise AsmError(f'"{operator}" is no atomic operation: {" ".join(FETCHING)} are')
    return FETCHING[operator]


def _atomic(dst: Place, src: Register, operation: int) -> Instruction:
    bits = unsigned_bits_of(dst)
    if bits not in (32, 64):
        raise AsmError(f"atomic operations have 32 or 64 bits, not {bits}")
    opcode = insn.STX | insn.ATOMIC | SIZES[bits]
    return Instruction(opcode, dst.base.number, register_of(src).number, dst.offset, operation)


def _jump(opcode: int, target: Target) -> Instruction:
    if isinstance(target, str):
        return Instruction(opcode, symbol=target)
    if not -0x8000 <= target <= 0x7FFF:
        raise AsmError(f"a jump of {target} slots does not fit 16 bits; jump_long() has 32")
    return Instruction(opcode, offset=target)


def _compare(operation: int, left: Register, right: Source, target: Target) -> Instruction:
    opcode = operation | (insn.JMP if register_of(left).bits == 64 else insn.JMP32)
    jumping = _jump(opcode, target)
    if isinstance(right, Register):
        check_widths(left, right)
        return replace(jumping, opcode=opcode | insn.X, dst=left.number, src=right.number)
    return replace(jumping, dst=left.number, immediate=immediate_of(right, left.bits))


def _helper(name: str) -> int:
    number = FuncId.__members__.get(name.removeprefix("bpf_"))
    if number is None:
        raise AsmError(f'no helper is called "{name}"; functions of the kernel: call_kfunc()')
    return int(number)
