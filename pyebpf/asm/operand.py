"""What instructions work on: registers, places in memory, names of instructions.

    R1             a register             W1         its lower half
    u32(R1 + 8)    four bytes of memory   label("x") a name for the next instruction

Goes in from `pyebpf.asm.build`, which hands these names on, and from `pyebpf.asm.parse`. Mistakes
that can be seen in one operand are an `AsmError` where it is made.
"""

from __future__ import annotations

from pyebpf.errors import AsmError
from pyebpf.plain import plain, replace

__all__ = [
    "Label",
    "Place",
    "Register",
    "Source",
    "Target",
    "R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10",
    "W0", "W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10",
    "u8", "u16", "u32", "u64", "s8", "s16", "s32",
    "label", "function",
    "bits_of", "check_widths", "immediate_of", "register_of", "signed_32", "unsigned_bits_of",
    "whole",
]  # fmt: skip


@plain(frozen=True)
class Register:
    """A register, or its lower half.

    Attributes:
        number: 0 to 10.
        bits: 64 or 32.
    """

    number: int
    bits: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.number <= 10:
            raise AsmError(f"register {self.number} does not exist: r0 to r10 do")
        if self.bits not in (32, 64):
            raise AsmError(f"register of {self.bits} bits")

    def __add__(self, offset: int) -> Place:
        return Place(self, offset)

    def __sub__(self, offset: int) -> Place:
        return Place(self, -offset)

    def __str__(self) -> str:
        return f"{'r' if self.bits == 64 else 'w'}{self.number}"


@plain(frozen=True)
class Place:
    """A place in memory: bytes behind an address in a register, and how much is there.

    Attributes:
        base: The register with the address.
        offset: Bytes, signed 16 bits.
        bits: 8, 16, 32 or 64.
        signed: A load extends the sign (Linux 6.6).
    """

    base: Register
    offset: int = 0
    bits: int = 0
    signed: bool = False

    def __post_init__(self) -> None:
        if self.base.bits != 64:
            raise AsmError(f"{self.base} holds no address: it has 32 bits")
        if not -0x8000 <= self.offset <= 0x7FFF:
            raise AsmError(f"offset {self.offset} does not fit 16 bits")


@plain(frozen=True)
class Label:
    """A name for the next instruction.

    Attributes:
        name: What jumps and calls say.
        function: A function starts here: it has frames of its own and is entered by calls.
    """

    name: str
    function: bool = False


Source = Register | int
Target = str | int

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = (Register(number) for number in range(11))
W0, W1, W2, W3, W4, W5, W6, W7, W8, W9, W10 = (Register(number, 32) for number in range(11))


# ---- places and names -------------------------------------------------------------------------


def u8(place: Place | Register) -> Place:
    """A byte at *place*: ``u8(R1 + 4)``."""
    return _sized(place, 8)


def u16(place: Place | Register) -> Place:
    """Two bytes at *place*."""
    return _sized(place, 16)


def u32(place: Place | Register) -> Place:
    """Four bytes at *place*."""
    return _sized(place, 32)


def u64(place: Place | Register) -> Place:
    """Eight bytes at *place*."""
    return _sized(place, 64)


def s8(place: Place | Register) -> Place:
    """A signed byte at *place*. Since Linux 6.6."""
    return _sized(place, 8, signed=True)


def s16(place: Place | Register) -> Place:
    """Two bytes with a sign at *place*. Since Linux 6.6."""
    return _sized(place, 16, signed=True)


def s32(place: Place | Register) -> Place:
    """Four bytes with a sign at *place*. Since Linux 6.6."""
    return _sized(place, 32, signed=True)


def label(name: str) -> Label:
    """Name the next instruction, for jumps within the function."""
    return Label(name)


def function(name: str) -> Label:
    """Start a function, for calls; the first one is the program's entry."""
    return Label(name, function=True)


# ---- checks that instructions share ------------------------------------------------------------


def register_of(register: Register) -> Register:
    """Return it, if it is a register at all."""
    if not isinstance(register, Register):
        raise AsmError(f"{register!r} is not a register")
    return register


def whole(register: Register) -> Register:
    """Return it, if it is a whole register."""
    if register_of(register).bits != 64:
        raise AsmError(f"{register} is half a register, where a whole one belongs")
    return register


def immediate_of(value: int, bits: int) -> int:
    """Return an immediate as it is encoded.

    Into 64 bits it is extended with its sign, so ``0xffffffff`` would silently become -1.

    Args:
        value: Signed, or unsigned for 32 bits and less.
        bits: Of what it is an operand of.

    Raises:
        AsmError: It does not fit.
    """
    if not isinstance(value, int):
        raise AsmError(f"{value!r} is neither a register nor a number")
    width = min(bits, 32)
    highest = (1 << (31 if bits == 64 else width)) - 1
    if not -(1 << width - 1) <= value <= highest:
        why = " with a sign" if bits == 64 else ""
        raise AsmError(f"immediate {value:#x} does not fit {width} bits{why}")
    return signed_32(value)


def signed_32(value: int) -> int:
    """Give 32 bits the sign they have in the encoding."""
    return value - (1 << 32) if value >> 31 == 1 else value


def check_widths(left: Register, right: Register) -> None:
    """Refuse a whole register together with half a one."""
    if register_of(left).bits != right.bits:
        raise AsmError(f"{left} and {right} differ in width")


def bits_of(place: object) -> int:
    """Return the size of a place in memory, which it must have."""
    if not isinstance(place, Place) or not place.bits:
        raise AsmError(f"{place!r} is no place with a size, such as u32(R1 + 8)")
    return place.bits


def unsigned_bits_of(place: Place) -> int:
    """Return the size of a place where signs have no meaning."""
    bits = bits_of(place)
    if place.signed:
        raise AsmError(f"only loads extend a sign: s{bits} has no meaning here")
    return bits


def _sized(place: Place | Register, bits: int, *, signed: bool = False) -> Place:
    if isinstance(place, Register):
        place = Place(place)
    return replace(place, bits=bits, signed=signed)
