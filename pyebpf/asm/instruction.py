"""One eBPF instruction as a value, and the way from bytes to instructions and back.

Bytes come in with their byte order, a tuple of `Instruction` goes out; `encode_all` is the inverse.
One slot is eight bytes, and a 64-bit immediate load takes two of them (byte order: the file's):

    0        1           2         4             8
    opcode u8 | registers u8 | offset s16 | immediate s32 |

    registers, little-endian:  src << 4 | dst         big-endian:  dst << 4 | src
    0x18 (64-bit load):        a second slot follows, all zero but for its immediate, which is the
                               upper half of the 64-bit value
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from pyebpf.asm.opcode import LOAD_IMMEDIATE_64, SLOT_SIZE
from pyebpf.errors import AsmError
from pyebpf.plain import plain
from pyebpf.typed import Literal

__all__ = ["Instruction", "decode_all", "encode_all"]

ByteOrder = Literal["little", "big"]
Buffer = bytes | bytearray | memoryview

_SLOT = {"little": struct.Struct("<BBhi"), "big": struct.Struct(">BBhi")}


@plain(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        opcode: The whole opcode byte.
        dst: Destination register, 0 to 15.
        src: Source register, or what a pseudo instruction's immediate stands for.
        offset: Signed 16-bit offset.
        immediate: Signed 32-bit immediate; of a 64-bit load, all 64 bits, signed.
        symbol: Name of what the instruction refers to, if known. It is not part of the encoding.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    immediate: int = 0
    symbol: str | None = None

    @property
    def slots(self) -> int:
        """How many 8-byte slots it takes: two for a 64-bit immediate load, otherwise one."""
        return 2 if self.opcode == LOAD_IMMEDIATE_64 else 1


def decode_all(
    code: Buffer, byteorder: ByteOrder, *, symbols: Mapping[int, str] | None = None
) -> tuple[Instruction, ...]:
    """Decode *code* into instructions.

    Args:
        code: Raw instructions, a multiple of 8 bytes.
        byteorder: Of the code.
        symbols: Names to put on instructions, by slot.

    Returns:
        The instructions in order, one per 64-bit load even though it takes two slots.

    Raises:
        AsmError: *code* is cut off, or the second slot of a 64-bit load holds more than its
            immediate.
    """
    if len(code) % SLOT_SIZE:
        raise AsmError(f"{len(code)} bytes are not whole instructions", where=_place(len(code)))
    names = symbols or {}
    instructions = []
    slots = enumerate(_SLOT[byteorder].iter_unpack(code))
    for slot, (opcode, registers, offset, immediate) in slots:
        dst, src = registers & 0xF, registers >> 4
        if byteorder == "big":
            dst, src = src, dst
        if opcode == LOAD_IMMEDIATE_64:
            _, upper = next(slots, (0, None))
            if upper is None:
                raise AsmError(
                    "64-bit load without its second half", where=_place(slot * SLOT_SIZE)
                )
            if any(upper[:3]):
                where = _place((slot + 1) * SLOT_SIZE)
                raise AsmError("second half of a 64-bit load is not empty", where=where)
            immediate = upper[3] << 32 | immediate & 0xFFFF_FFFF
        instructions.append(Instruction(opcode, dst, src, offset, immediate, names.get(slot)))
    return tuple(instructions)


def encode_all(instructions: Iterable[Instruction], byteorder: ByteOrder) -> bytes:
    """Encode *instructions*; the inverse of `decode_all`.

    Args:
        instructions: What to encode. Immediates may be given signed or unsigned.
        byteorder: Of the code to make.

    Returns:
        Raw instructions, 8 bytes a slot.

    Raises:
        AsmError: A field does not fit.
    """
    pack = _SLOT[byteorder].pack
    code = bytearray()
    for index, instruction in enumerate(instructions):
        _check(instruction, index)
        low, high = instruction.dst, instruction.src
        if byteorder == "big":
            low, high = high, low
        immediate = instruction.immediate
        code += pack(instruction.opcode, high << 4 | low, instruction.offset, _signed_32(immediate))
        if instruction.opcode == LOAD_IMMEDIATE_64:
            code += pack(0, 0, 0, _signed_32(immediate >> 32))
    return bytes(code)


def _check(instruction: Instruction, index: int) -> None:
    bits = 64 if instruction.opcode == LOAD_IMMEDIATE_64 else 32
    limits = (
        ("opcode", instruction.opcode, 0, 0xFF),
        ("dst", instruction.dst, 0, 0xF),
        ("src", instruction.src, 0, 0xF),
        ("offset", instruction.offset, -0x8000, 0x7FFF),
        ("immediate", instruction.immediate, -(1 << bits - 1), (1 << bits) - 1),
    )
    for name, value, lowest, highest in limits:
        if not lowest <= value <= highest:
            raise AsmError(
                f"{name} {value} is not within {lowest} to {highest}", where=f"instruction {index}"
            )


def _signed_32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def _place(offset: int) -> str:
    return f"code, offset {offset:#x}"
