"""Changing one instruction as a CO-RE relocation asks.

    struct bpf_insn   u8 code | u8 registers | s16 off | s32 imm      one slot of 8 bytes

    loads and stores  off = byte offset of the field, and the size in code if the field's changed
    arithmetic        imm = the value
    64-bit load       imm of two slots = the value, low half first
    to nothing        call #0x0bad2310

A call to a helper that does not exist is what libbpf leaves where the target has no such field: a
program that never gets there loads all the same, as the verifier skips code it proves dead.
"""

from __future__ import annotations

import struct

from pyebpf.btf.decode import ByteOrder
from pyebpf.errors import BtfError
from pyebpf.typed import NamedTuple
from pyebpf.uapi import insn

__all__ = ["POISON", "Change", "Patcher"]

#: Immediate of the call that stands where nothing could be relocated to.
POISON = 0x0BAD2310

_SLOT = 8
_LOAD_64 = insn.LD | insn.IMM | insn.DW
_CLASS, _SIZE, _SOURCE = 0x07, 0x18, 0x08
_WIDTHS = {1: insn.B, 2: insn.H, 4: insn.W, 8: insn.DW}


class Change(NamedTuple):
    """What an instruction holds and shall hold.

    Attributes:
        before: The value of the local type.
        after: The value of the target's type.
        exact: Whether the instruction must hold *before*; compilers may differ about bit-fields.
        width_before: Bytes of the local field, 0 if it does not matter for loads and stores.
        width_after: Bytes of the target's field.
        resizable: Whether a load or store of another width reads the same number.
        signless: Whether *after* has 32 bits that may or may not be meant to have a sign.
    """

    before: int
    after: int
    exact: bool = True
    width_before: int = 0
    width_after: int = 0
    resizable: bool = True
    signless: bool = False


class Patcher:
    """A program's code, changed in place.

    Attributes:
        code: The bytes.
    """

    def __init__(self, code: bytes, byteorder: ByteOrder) -> None:
        if len(code) % _SLOT:
            raise BtfError(f"{len(code)} bytes of code are not whole instructions")
        order = "<" if byteorder == "little" else ">"
        self.code = bytearray(code)
        self._insn = struct.Struct(order + "BBhi")
        # The source register is the high half of its byte on little-endian machines.
        self._source_shift = 4 if byteorder == "little" else 0

    def poison(self, slot: int) -> None:
        """Put the call to nothing there, over both slots of a 64-bit load.

        Raises:
            BtfError: No such slot.
        """
        slots = 2 if self._read(slot)[0] == _LOAD_64 else 1
        for number in range(slot, slot + slots):
            self._read(number)
            self._write(number, insn.JMP | insn.CALL, 0, 0, POISON)

    def apply(self, slot: int, change: Change) -> str | None:
        """Change an instruction.

        Returns:
            Why it cannot read the target's field as that is, if so; then nothing is changed.

        Raises:
            BtfError: It is of a kind that has nothing to relocate, or does not hold what the
                local type says, or the value does not fit.
        """
        code = self._read(slot)[0]
        group = code & _CLASS
        if group in {insn.LDX, insn.ST, insn.STX}:
            return self._memory(slot, change)
        if group in {insn.ALU, insn.ALU64} and not code & _SOURCE:
            return self._immediate(slot, change)
        if code == _LOAD_64:
            self._load_64(slot, change)
        else:
            raise BtfError(f"opcode 0x{code:02x} has nothing to relocate", f"slot {slot}")
        return None

    def _memory(self, slot: int, change: Change) -> str | None:
        code, registers, offset, immediate = self._read(slot)
        self._expect(slot, change, offset)
        if change.after > 0x7FFF:
            # What an instruction holds. Only broken BTF says so, and a module's may break no load.
            return f"at offset {change.after}"
        unreadable = f"of {change.width_before} bytes (it has {change.width_after})"
        if change.width_before != change.width_after:
            if not change.resizable:
                return unreadable
            if _WIDTHS.get(change.width_before) != code & _SIZE:
                message = f"instruction is not {change.width_before} bytes wide, as the field was"
                raise BtfError(message, f"slot {slot}")
            width = _WIDTHS.get(change.width_after)
            if width is None:
                return unreadable
            code = code & ~_SIZE | width
        self._write(slot, code, registers, change.after, immediate)
        return None

    def _immediate(self, slot: int, change: Change) -> str | None:
        code, registers, offset, immediate = self._read(slot)
        self._expect(slot, change, immediate)
        if not -(1 << 31) <= change.after < 1 << 32:
            return f"as {change.after}, which does not fit 32 bits"
        self._write(slot, code, registers, offset, _signed(change.after))
        return None

    def _load_64(self, slot: int, change: Change) -> None:
        code, registers, offset, low = self._read(slot)
        second, second_registers, second_offset, high = self._read(slot + 1)
        if registers >> self._source_shift & 0xF or offset:
            raise BtfError("64-bit load is not of a number", f"slot {slot}")
        if second or second_registers or second_offset:
            raise BtfError("64-bit load without its second half", f"slot {slot}")
        self._expect(slot, change, (high & 0xFFFFFFFF) << 32 | low & 0xFFFFFFFF)
        after = change.after
        # Only since pahole 1.24 does a kernel's BTF say which enumerations have a sign. The code
        # around this load treats them as its compiler did, who is seen by the upper half.
        if change.signless and high == -1 and change.before >> 32 in {0, -1}:
            after = _signed(after)
        self._write(slot, code, registers, 0, _signed(after))
        self._write(slot + 1, 0, 0, 0, _signed(after >> 32))

    def _expect(self, slot: int, change: Change, held: int) -> None:
        # Enumerators of 32 bits are loaded with or without their sign, as the compiler liked.
        bits = 32 if change.before >> 32 in {0, -1} else 64
        if change.exact and (held ^ change.before) & ((1 << bits) - 1):
            message = f"instruction holds {held}, the local type says {change.before}"
            raise BtfError(message, f"slot {slot}")

    def _read(self, slot: int) -> tuple[int, int, int, int]:
        if not 0 <= slot < len(self.code) // _SLOT:
            raise BtfError(f"no slot {slot}, the code has {len(self.code) // _SLOT}")
        found: tuple[int, int, int, int] = self._insn.unpack_from(self.code, slot * _SLOT)
        return found

    def _write(self, slot: int, *fields: int) -> None:
        self._insn.pack_into(self.code, slot * _SLOT, *fields)


def _signed(value: int) -> int:
    # The low 32 bits as a signed number.
    return ((value & 0xFFFFFFFF) ^ (1 << 31)) - (1 << 31)
