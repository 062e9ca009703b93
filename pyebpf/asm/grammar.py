"""One instruction of assembler text: the statement without its label.

An `Operands` comes in, an `Instruction` goes out. What may stand where:

    statement  := register "=" value | register "+=" source | "*" type place "=" source
                | "lock" "*" type place "+=" register | "if" register "==" source "goto" target
                | "goto" target | "call" function | "exit" | …
    type       := "(" "u32" "*" ")"        place  := "(" register "+" number ")"
    source     := register | number        target := label | "+" number | number

Names of references are the instruction's ``symbol``. A 32-bit register and a 64-bit one mean the
same where a size in memory decides, as in text of compilers that know no 32-bit ones.
"""

from __future__ import annotations

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import (
    ADDR_PERCPU,
    ARITHMETIC,
    CALL,
    COMPARISONS,
    FETCHING,
    LOAD_IMMEDIATE_64,
    SIZES,
)
from pyebpf.asm.operand import signed_32
from pyebpf.asm.operand_text import SIGNED, Operands, Register, at, limits, looks_like_register
from pyebpf.asm.tokens import Token
from pyebpf.uapi import insn

__all__ = ["instruction_of"]

_ASSIGNMENTS = {f"{operator}=": (operation, 0) for operator, operation in ARITHMETIC.items()}
_ASSIGNMENTS |= {"s/=": (insn.DIV, 1), "s%=": (insn.MOD, 1)}
_LOCKED = {f"{operator}=": operation for operator, operation in FETCHING.items()}
_SWAPS = {
    f"{name}{bits}": (opcode | insn.END, bits)
    for name, opcode in (
        ("le", insn.ALU | insn.TO_LE),
        ("be", insn.ALU | insn.TO_BE),
        ("bswap", insn.ALU64),
    )
    for bits in (16, 32, 64)
}
_FETCHES = {
    "atomic_fetch_add": insn.ADD | insn.FETCH,
    "atomic_fetch_or": insn.OR | insn.FETCH,
    "atomic_fetch_and": insn.AND | insn.FETCH,
    "atomic_fetch_xor": insn.XOR | insn.FETCH,
}
_EXCHANGES = {
    "xchg_64": (insn.XCHG, 64),
    "xchg32_32": (insn.XCHG, 32),
    "cmpxchg_64": (insn.CMPXCHG, 64),
    "cmpxchg32_32": (insn.CMPXCHG, 32),
}


def instruction_of(operands: Operands) -> Instruction:
    """Read one instruction.

    Raises:
        AsmError: Something else is expected somewhere.
    """
    token = operands.next
    if operands.at_register():
        return _assignment(operands)
    if operands.skip("*"):
        return _store(operands)
    form = _FORMS.get(token.text) if token.kind == "name" else None
    if form is None:
        operands.fail("an instruction")
    operands.statement.take()
    return form(operands)


# ---- into registers ---------------------------------------------------------------------------


def _assignment(operands: Operands) -> Instruction:
    dst = operands.register()
    token = operands.next
    if operands.skip("="):
        return _assigned(operands, dst)
    if token.kind != "operator" or token.text not in _ASSIGNMENTS:
        operands.fail("an assignment")
    operands.statement.take()
    operation, offset = _ASSIGNMENTS[token.text]
    opcode = dst.of_class | operation
    if operands.at_register():
        src = operands.register(dst.bits)
        return Instruction(opcode | insn.X, dst.number, src.number, offset)
    return Instruction(opcode, dst.number, 0, offset, operands.immediate(dst.bits))


def _assigned(operands: Operands, dst: Register) -> Instruction:
    token, following = operands.statement.peek(2)
    if operands.at_register():
        src = operands.register(dst.bits)
        return Instruction(dst.of_class | insn.MOV | insn.X, dst.number, src.number)
    if token.text == "-" and looks_like_register(following):
        operands.need("-")
        operands.same(dst)
        return Instruction(dst.of_class | insn.NEG, dst.number)
    if token.kind == "operator" and token.text in _BY_MARK:
        operands.statement.take()
        return _BY_MARK[token.text](operands, dst)
    if token.kind == "name" and not operands.at_number():
        if following.text in ("(", "["):
            form = _BY_FUNCTION.get(token.text)
            if form is None:
                operands.fail("an operation")
            return form(operands, dst)
        return _swap(operands, dst) if token.text in _SWAPS else _wide_symbol(operands, dst)
    return _constant(operands, dst)


def _constant(operands: Operands, dst: Register) -> Instruction:
    token = operands.next
    value = operands.number(-(1 << 63), (1 << 64) - 1)
    if operands.skip("ll"):
        _whole(dst)
        value = value - (1 << 64) if value >> 63 == 1 else value
        return Instruction(LOAD_IMMEDIATE_64, dst.number, immediate=value)
    highest = (1 << (31 if dst.bits == 64 else 32)) - 1
    if not -(1 << 31) <= value <= highest:
        fitting = limits(-(1 << 31), highest)
        raise at(token, f'{value:#x} does not fit {fitting}; with "ll" it may have 64 bits')
    return Instruction(dst.of_class | insn.MOV, dst.number, immediate=signed_32(value))


def _wide_symbol(operands: Operands, dst: Register) -> Instruction:
    name = operands.name("a symbol")
    offset = operands.immediate(64) if operands.at_number() else 0
    if not operands.skip("ll"):
        operands.fail('"ll" behind a symbol')
    _whole(dst)
    return Instruction(LOAD_IMMEDIATE_64, dst.number, immediate=offset, symbol=name)


# map[name] ll, map[name][0]+8 ll, ksym[name] ll
def _reference(operands: Operands, dst: Register) -> Instruction:
    kind = operands.statement.take().text
    operands.need("[")
    name = operands.name("a name")
    operands.need("]")
    pseudo, value = insn.PSEUDO_MAP_FD if kind == "map" else insn.PSEUDO_BTF_ID, 0
    if kind == "map" and operands.skip("[", "0", "]"):
        pseudo = insn.PSEUDO_MAP_VALUE
        value = operands.number(0, (1 << 32) - 1) if operands.at_number() else 0
    operands.need("ll")
    _whole(dst)
    value = (value << 32) - (1 << 64) if value >> 31 else value << 32
    return Instruction(LOAD_IMMEDIATE_64, dst.number, pseudo, 0, value, name)


def _load(operands: Operands, dst: Register) -> Instruction:
    token = operands.statement.peek(2)[1]
    bits, signed = operands.size(signed=True)
    if operands.skip("skb"):
        return _load_packet(operands, dst, bits, token)
    if signed or bits == 64:
        _whole(dst)
    base, offset = operands.place()
    mode = insn.MEMSX if signed else insn.MEM
    return Instruction(insn.LDX | mode | SIZES[bits], dst.number, base, offset)


def _load_packet(operands: Operands, dst: Register, bits: int, token: Token) -> Instruction:
    if token.text not in ("u8", "u16", "u32"):
        raise at(token, f"expected u8, u16 or u32 of a packet, not {token}")
    if dst.number:
        raise at(dst.token, f"expected r0, which takes what is in a packet, not {dst.token}")
    operands.need("[")
    if operands.at_register():
        register = operands.register(64).number
        found = Instruction(insn.LD | insn.IND | SIZES[bits], 0, register)
    else:
        opcode = insn.LD | insn.ABS | SIZES[bits]
        found = Instruction(opcode, immediate=operands.immediate(32))
    operands.need("]")
    return found


# (s8)r2
def _extended(operands: Operands, dst: Register) -> Instruction:
    token = operands.next
    bits = SIGNED[operands.keyword(*SIGNED)]
    if bits == dst.bits:
        raise at(token, f"{token} does not extend into {dst.token}")
    operands.need(")")
    src = operands.register(dst.bits)
    return Instruction(dst.of_class | insn.MOV | insn.X, dst.number, src.number, bits)


# &(void __percpu *)(r2)
def _percpu(operands: Operands, dst: Register) -> Instruction:
    for text in ("(", "void", "__percpu", "*", ")", "("):
        operands.need(text)
    _whole(dst)
    src = operands.register(64)
    operands.need(")")
    return Instruction(insn.ALU64 | insn.MOV | insn.X, dst.number, src.number, ADDR_PERCPU)


def _swap(operands: Operands, dst: Register) -> Instruction:
    opcode, bits = _SWAPS[operands.statement.take().text]
    _whole(dst)
    operands.same(dst)
    return Instruction(opcode, dst.number, immediate=bits)


def _fetch(operands: Operands, dst: Register) -> Instruction:
    operation = _FETCHES[operands.statement.take().text]
    operands.need("(")
    bits = _atomic_bits(operands)
    base, offset = operands.place()
    operands.need(",")
    operands.same(dst)
    operands.need(")")
    return _atomic(bits, base, dst.number, offset, operation)


def _exchange(operands: Operands, dst: Register) -> Instruction:
    operation, bits = _EXCHANGES[operands.statement.take().text]
    operands.need("(")
    base, offset = operands.open_place()
    operands.need(",")
    src = dst
    if operation == insn.CMPXCHG:
        if dst.number:
            raise at(dst.token, f"expected {'r' if bits == 64 else 'w'}0, not {dst.token}")
        operands.same(dst)
        operands.need(",")
        src = operands.register_for(bits)
    else:
        operands.same(dst)
    if bits == 64:
        _whole(dst)
    operands.need(")")
    return _atomic(bits, base, src.number, offset, operation)


def _load_acquire(operands: Operands, dst: Register) -> Instruction:
    operands.need("load_acquire")
    operands.need("(")
    bits, _ = operands.size()
    if bits == 64:
        _whole(dst)
    base, offset = operands.place()
    operands.need(")")
    return _atomic(bits, dst.number, base, offset, insn.LOAD_ACQ)


# addr_space_cast(r2, 0x0, 0x1)
def _cast(operands: Operands, dst: Register) -> Instruction:
    operands.need("addr_space_cast")
    operands.need("(")
    _whole(dst)
    src = operands.register(64)
    operands.need(",")
    to = operands.number(0, 0xFFFF)
    operands.need(",")
    of = operands.number(0, 0xFFFF)
    operands.need(")")
    opcode, spaces = insn.ALU64 | insn.MOV | insn.X, signed_32(to << 16 | of)
    return Instruction(opcode, dst.number, src.number, insn.ADDR_SPACE_CAST, spaces)


_BY_MARK = {"*": _load, "(": _extended, "&": _percpu}
_BY_FUNCTION = {
    **dict.fromkeys(_FETCHES, _fetch),
    **dict.fromkeys(_EXCHANGES, _exchange),
    "load_acquire": _load_acquire,
    "addr_space_cast": _cast,
    "map": _reference,
    "ksym": _reference,
}


# ---- into memory ------------------------------------------------------------------------------


def _store(operands: Operands) -> Instruction:
    bits, _ = operands.size()
    base, offset = operands.place()
    operands.need("=")
    if operands.at_register():
        src = operands.register_for(bits)
        return Instruction(insn.STX | insn.MEM | SIZES[bits], base, src.number, offset)
    value = operands.immediate(bits)
    return Instruction(insn.ST | insn.MEM | SIZES[bits], base, 0, offset, value)


def _lock(operands: Operands) -> Instruction:
    operands.need("*")
    bits = _atomic_bits(operands)
    base, offset = operands.place()
    token = operands.next
    if token.text not in _LOCKED:
        operands.fail(f"an operation: {', '.join(_LOCKED)}")
    operands.statement.take()
    src = operands.register_for(bits)
    return _atomic(bits, base, src.number, offset, _LOCKED[token.text])


def _store_release(operands: Operands) -> Instruction:
    operands.need("(")
    bits, _ = operands.size()
    base, offset = operands.place()
    operands.need(",")
    src = operands.register_for(bits)
    operands.need(")")
    return _atomic(bits, base, src.number, offset, insn.STORE_REL)


def _atomic_bits(operands: Operands) -> int:
    token = operands.statement.peek(2)[1]
    bits, _ = operands.size()
    if bits < 32:
        raise at(token, f"expected u32 or u64 of an atomic operation, not {token}")
    return bits


def _atomic(bits: int, dst: int, src: int, offset: int, operation: int) -> Instruction:
    return Instruction(insn.STX | insn.ATOMIC | SIZES[bits], dst, src, offset, operation)


# ---- jumps and calls --------------------------------------------------------------------------


def _if(operands: Operands) -> Instruction:
    left = operands.register()
    token = operands.next
    if token.kind != "operator" or token.text not in COMPARISONS:
        operands.fail("a comparison")
    operands.statement.take()
    opcode = COMPARISONS[token.text] | (insn.JMP if left.bits == 64 else insn.JMP32)
    src, value = 0, 0
    if operands.at_register():
        opcode, src = opcode | insn.X, operands.register(left.bits).number
    else:
        value = operands.immediate(left.bits)
    operands.keyword("goto")
    distance, label = operands.target(16)
    return Instruction(opcode, left.number, src, distance, value, label)


def _goto(operands: Operands) -> Instruction:
    distance, label = operands.target(16)
    return Instruction(insn.JMP | insn.JA, offset=distance, symbol=label)


def _gotol(operands: Operands) -> Instruction:
    distance, label = operands.target(32)
    return Instruction(insn.JMP32 | insn.JA, immediate=distance, symbol=label)


def _may_goto(operands: Operands) -> Instruction:
    distance, label = operands.target(16)
    return Instruction(insn.JMP | insn.JCOND, offset=distance, symbol=label)


def _gotox(operands: Operands) -> Instruction:
    return Instruction(insn.JMP | insn.JA | insn.X, operands.register(64).number)


def _callx(operands: Operands) -> Instruction:
    return Instruction(insn.JMP | insn.CALL | insn.X, operands.register(64).number)


def _call(operands: Operands) -> Instruction:
    if operands.at_number():
        return Instruction(CALL, immediate=operands.immediate(32))
    if operands.next.kind == "local":
        return Instruction(CALL, 0, insn.PSEUDO_CALL, symbol=operands.target(32)[1])
    if operands.next.kind != "name":
        operands.fail("a function or its number")
    distance, name = operands.target(32)
    return Instruction(CALL, 0, insn.PSEUDO_CALL, immediate=distance, symbol=name)


def _exit(operands: Operands) -> Instruction:
    return Instruction(insn.JMP | insn.EXIT)


# ld_pseudo r1, 0x1, 0x5
def _ld_pseudo(operands: Operands) -> Instruction:
    dst = operands.register(64)
    operands.need(",")
    pseudo = operands.number(0, 15)
    operands.need(",")
    value = operands.number(0, (1 << 32) - 1)
    return Instruction(LOAD_IMMEDIATE_64, dst.number, pseudo, 0, value)


_FORMS = {
    "lock": _lock,
    "store_release": _store_release,
    "if": _if,
    "goto": _goto,
    "gotol": _gotol,
    "may_goto": _may_goto,
    "gotox": _gotox,
    "call": _call,
    "callx": _callx,
    "exit": _exit,
    "ld_pseudo": _ld_pseudo,
}


def _whole(register: Register) -> None:
    if register.bits != 64:
        raise at(register.token, f"expected a whole register, not {register.token}")
