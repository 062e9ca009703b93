"""What arithmetic and jumps do, as Python expressions: the one source of their semantics.

Running and single-stepping both execute these texts, compiled. ``{d}`` and ``{s}`` are the values
of the destination and of the source: names of registers or literals, always unsigned 64-bit.
Masks: ``{M}`` is 64 bits, ``{W}`` 32 bits; signed comparison flips the sign bit, ``{S}`` of 64 bits
and ``{T}`` of 32, which keeps the order.

Facts from Documentation/bpf/standardization/instruction-set.rst (RFC 9669): division by zero gives
0, remainder by zero leaves the dividend, shifts use the low bits of the count, signed division
truncates and wraps at the one overflow, and 32-bit operations clear the upper half.
"""

from __future__ import annotations

from pyebpf.uapi import insn

__all__ = [
    "NAMESPACE",
    "arithmetic",
    "byte_swap",
    "condition",
    "signed_load",
]

MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
MASK_32 = 0xFFFF_FFFF
_NUMBERS = {"M": f"{MASK_64:#x}", "W": f"{MASK_32:#x}", "S": f"{1 << 63:#x}", "T": f"{1 << 31:#x}"}

_ARITHMETIC_64 = {
    insn.ADD: "{d} + {s} & {M}",
    insn.SUB: "{d} - {s} & {M}",
    insn.MUL: "{d} * {s} & {M}",
    insn.DIV: "{d} // {s} if {s} else 0",
    insn.OR: "{d} | {s}",
    insn.AND: "{d} & {s}",
    insn.LSH: "{d} << ({s} & 63) & {M}",
    insn.RSH: "{d} >> ({s} & 63)",
    insn.NEG: "-{d} & {M}",
    insn.MOD: "{d} % {s} if {s} else {d}",
    insn.XOR: "{d} ^ {s}",
    insn.MOV: "{s}",
    insn.ARSH: "({d} ^ {S}) - {S} >> ({s} & 63) & {M}",
}
_ARITHMETIC_32 = {
    insn.ADD: "{d} + {s} & {W}",
    insn.SUB: "{d} - {s} & {W}",
    insn.MUL: "{d} * {s} & {W}",
    insn.DIV: "({d} & {W}) // ({s} & {W}) if {s} & {W} else 0",
    insn.OR: "({d} | {s}) & {W}",
    insn.AND: "{d} & {s} & {W}",
    insn.LSH: "{d} << ({s} & 31) & {W}",
    insn.RSH: "({d} & {W}) >> ({s} & 31)",
    insn.NEG: "-{d} & {W}",
    insn.MOD: "({d} & {W}) % ({s} & {W}) if {s} & {W} else {d} & {W}",
    insn.XOR: "({d} ^ {s}) & {W}",
    insn.MOV: "{s} & {W}",
    insn.ARSH: "(({d} & {W}) ^ {T}) - {T} >> ({s} & 31) & {W}",
}

# Offset 1 makes DIV and MOD signed; on MOV it is the width that is sign-extended.
_SIGNED_64 = {insn.DIV: "divide_64({d}, {s})", insn.MOD: "remainder_64({d}, {s})"}
_SIGNED_32 = {insn.DIV: "divide_32({d}, {s})", insn.MOD: "remainder_32({d}, {s})"}
_EXTENDED = "({s} & {low} ^ {sign}) - {sign} & {mask}"

_COMPARISONS = {
    insn.JEQ: "{d} == {s}",
    insn.JNE: "{d} != {s}",
    insn.JGT: "{d} > {s}",
    insn.JGE: "{d} >= {s}",
    insn.JLT: "{d} < {s}",
    insn.JLE: "{d} <= {s}",
    insn.JSET: "{d} & {s}",
    insn.JSGT: "({d} ^ {sign}) > ({s} ^ {sign})",
    insn.JSGE: "({d} ^ {sign}) >= ({s} ^ {sign})",
    insn.JSLT: "({d} ^ {sign}) < ({s} ^ {sign})",
    insn.JSLE: "({d} ^ {sign}) <= ({s} ^ {sign})",
}


def arithmetic(operation: int, offset: int, d: str, s: str, *, wide: bool) -> str | None:
    """Return the new value of the destination.

    Args:
        operation: The upper four bits of the opcode.
        offset: The instruction's, which chooses the signed forms.
        d: The destination's value.
        s: The source's.
        wide: 64 bits rather than 32.

    Returns:
        An expression, or ``None`` if there is no such operation.
    """
    if offset == 0:
        template = (_ARITHMETIC_64 if wide else _ARITHMETIC_32).get(operation)
    elif operation == insn.MOV:
        return _sign_extended(offset, s, wide=wide)
    elif offset == 1:
        template = (_SIGNED_64 if wide else _SIGNED_32).get(operation)
    else:
        template = None
    return None if template is None else template.format(d=d, s=s, **_NUMBERS)


def _sign_extended(bits: int, value: str, *, wide: bool) -> str | None:
    if bits not in ((8, 16, 32) if wide else (8, 16)):
        return None
    low, sign = hex((1 << bits) - 1), hex(1 << bits - 1)
    return _EXTENDED.format(s=value, low=low, sign=sign, mask=_NUMBERS["M" if wide else "W"])


def signed_load(size: int, value: str) -> str:
    """Return the value that a sign-extending load of *size* bytes puts into its register."""
    sign = hex(1 << 8 * size - 1)
    return f"({value} ^ {sign}) - {sign} & {MASK_64:#x}"


def byte_swap(bits: int, d: str, *, swap: bool) -> str | None:
    """Return the low *bits* of a value, swapped or not: the byte order conversions."""
    if bits not in (16, 32, 64):
        return None
    return f"swap_{bits}({d})" if swap else f"{d} & {(1 << bits) - 1:#x}"


def condition(operation: int, d: str, s: str, *, wide: bool) -> str | None:
    """Return the expression that is true if a conditional jump jumps."""
    template = _COMPARISONS.get(operation)
    if template is None:
        return None
    if not wide:
        d, s = f"({d} & {MASK_32:#x})", f"({s} & {MASK_32:#x})"
    return template.format(d=d, s=s, sign=_NUMBERS["S" if wide else "T"])


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _divide(dividend: int, divisor: int, bits: int) -> int:
    a, b = _signed(dividend, bits), _signed(divisor, bits)
    if b == 0:
        return 0
    quotient = abs(a) // abs(b)
    return (quotient if (a < 0) == (b < 0) else -quotient) & (1 << bits) - 1


def _remainder(dividend: int, divisor: int, bits: int) -> int:
    a, b = _signed(dividend, bits), _signed(divisor, bits)
    rest = abs(a) % abs(b) if b else abs(a)
    return (-rest if a < 0 else rest) & (1 << bits) - 1


def _swap(value: int, bits: int) -> int:
    size = bits // 8
    return int.from_bytes((value & (1 << bits) - 1).to_bytes(size, "little"), "big")


# What the expressions call.
NAMESPACE = {
    "divide_64": lambda a, b: _divide(a, b, 64),
    "divide_32": lambda a, b: _divide(a, b, 32),
    "remainder_64": lambda a, b: _remainder(a, b, 64),
    "remainder_32": lambda a, b: _remainder(a, b, 32),
    "swap_16": lambda value: _swap(value, 16),
    "swap_32": lambda value: _swap(value, 32),
    "swap_64": lambda value: _swap(value, 64),
}
