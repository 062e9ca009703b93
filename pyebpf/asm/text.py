"""Instructions as text: what ``llvm-objdump -d --no-show-raw-insn --mcpu=v4`` of LLVM 22 prints.

Code comes in, text goes out; `pyebpf.asm.parse` reads it back.

    0000000000000000 <count>:                  a name of `labels`: functions, places of jumps
    ; return *value;                           a line of source, of `lines`
           0:   r1 = 0x0 ll                    slot and instruction
           2:   if r0 == 0x0 goto +0x1 <count+0x20>

What looks like no instruction of ISA v4 is ``<unknown>``. LLVM does not look at fields that an
instruction does not use, and neither does this, with one exception: of atomic operations it guesses
those that do not exist, here they are unknown. With *lossless* only what means the very bytes is
printed as an instruction, the rest as ``.byte``.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping

from pyebpf.asm.assemble import target_of
from pyebpf.asm.grammar import instruction_of
from pyebpf.asm.instruction import Buffer, ByteOrder, Instruction, decode_all, encode_all
from pyebpf.asm.opcode import (
    ADDR_PERCPU,
    ARITHMETIC,
    CALL,
    COMPARISONS,
    FETCHING,
    LOAD_IMMEDIATE_64,
    SIZES,
    SLOT_SIZE,
    carries_jump,
)
from pyebpf.asm.operand_text import Operands
from pyebpf.asm.tokens import statements
from pyebpf.errors import AsmError, SourceLine
from pyebpf.plain import replace
from pyebpf.uapi import insn

__all__ = ["disassemble", "instruction_text"]

_UNKNOWN = "<unknown>"
_REGISTERS = 12  # r11 is the kernel's own, and LLVM prints it
_OPERATORS = {operation: operator for operator, operation in ARITHMETIC.items()}
_COMPARISONS = {operation: operator for operator, operation in COMPARISONS.items()}
_BITS = {size: bits for bits, size in SIZES.items()}
_FETCHING = {operation: operator for operator, operation in FETCHING.items()}
_FETCHED = {insn.ADD: "add", insn.OR: "or", insn.AND: "and", insn.XOR: "xor"}


def disassemble(
    code: Buffer,
    byteorder: ByteOrder,
    *,
    labels: Mapping[int, str] | None = None,
    names: Mapping[int, str] | None = None,
    lines: Mapping[int, SourceLine] | None = None,
    files: bool = False,
    addresses: bool = True,
    raw_bytes: bool = False,
    lossless: bool = False,
) -> str:
    r"""Print code as assembler text.

    Args:
        code: Raw instructions.
        byteorder: Of the code.
        labels: Names by slot: functions and places of jumps. Each begins a paragraph.
        names: What instructions refer to, by slot, printed in the place of the value.
        lines: Lines of source by slot, printed as comments, as LLVM does with ``-S``.
        files: Print the file and number of each of those lines too, as it does with ``-l``.
        addresses: Print the slot of each instruction.
        raw_bytes: Print the bytes too.
        lossless: Print the bytes of what has no text that means exactly the same, and print no
            runs of zeros as ``...``: then parsing gives back the code, whatever it is.

    Returns:
        The text; it ends with a newline, if there is any.

    Raises:
        AsmError: The code is cut off, or the second slot of a 64-bit load holds more than its
            immediate.
    """
    listing = _Listing(byteorder, labels or {}, names or {}, addresses, raw_bytes, lossless)
    output: list[str] = []
    source: SourceLine | None = None
    in_zeros = False
    for slot, raw, text in listing.rows(code):
        name = listing.labels.get(slot)
        if name is not None:
            output += [""] if output else []
            output.append(listing.heading(slot, name))
        found = (lines or {}).get(slot)
        if found is not None and found.line and (source is None or found[:2] != source[:2]):
            output += [f"; {found}"] if files else []
            output += [f"; {found.text}"] if found.text else []
        source = found
        if text is not None or any(raw):
            output.append(listing.line(slot, raw, text or _UNKNOWN))
            in_zeros = False
        else:
            output += [] if in_zeros and name is None else ["\t\t..."]
            in_zeros = True
    return "".join(f"{line}\n" for line in output)


class _Listing:
    # How instructions are set out.

    def __init__(
        self,
        byteorder: ByteOrder,
        labels: Mapping[int, str],
        names: Mapping[int, str],
        addresses: bool,
        raw_bytes: bool,
        lossless: bool,
    ) -> None:
        self.labels = labels
        self._byteorder = byteorder
        self._names = names
        self._addresses = addresses
        self._raw_bytes = raw_bytes
        self._lossless = lossless
        self._places = sorted(labels)

    def heading(self, slot: int, name: str) -> str:
        address = f"{slot * SLOT_SIZE:016x} " if self._addresses else ""
        return f"{address}<{name}>:"

    # Slot, bytes and text of what is one line; what LLVM does not know has no text.
    def rows(self, code: Buffer) -> Iterator[tuple[int, bytes, str | None]]:
        slot = 0
        for instruction in decode_all(code, self._byteorder):
            raw = encode_all([instruction], self._byteorder)
            text = self._text(slot, instruction)
            if text is None and self._lossless:
                text = ".byte " + ", ".join(f"{byte:#04x}" for byte in raw)
            # What is no 64-bit load takes one slot, even if its opcode is that of one.
            size = len(raw) if text is not None else SLOT_SIZE
            for start in range(0, len(raw), size):
                yield slot + start // SLOT_SIZE, raw[start : start + size], text
            slot += instruction.slots

    def line(self, slot: int, raw: bytes, text: str) -> str:
        address = f"{slot:8}:" if self._addresses else ""
        shown = f"\t{raw.hex(' ')}" if self._raw_bytes else ""
        return f"{address}{shown}\t{text}"

    def _text(self, slot: int, instruction: Instruction) -> str | None:
        name = self._names.get(slot)
        text = instruction_text(instruction, name)
        if self._lossless and name is None:
            text = _exact_text(instruction, text)
        if text is None or not carries_jump(instruction.opcode):
            return text
        target = target_of(slot, instruction)
        assert target is not None
        return text + self._place(target)

    # The last name before a place, and how far behind it the place is. Addresses have no sign, so
    # what lies before the code is far behind its end.
    def _place(self, slot: int) -> str:
        index = bisect.bisect_right(self._places, slot) if slot >= 0 else len(self._places)
        if not index:
            return ""
        start = self._places[index - 1]
        behind = (slot - start) * SLOT_SIZE & 0xFFFF_FFFF_FFFF_FFFF
        return f" <{self.labels[start]}{f'+{behind:#x}' if behind else ''}>"


def instruction_text(instruction: Instruction, name: str | None = None) -> str | None:
    """Return the text of one instruction as LLVM prints it.

    Args:
        instruction: What to print.
        name: What it refers to, in the place of its immediate.

    Returns:
        The text, or ``None`` for what LLVM does not know.
    """
    try:
        return _BY_CLASS[instruction.opcode & 0x07](instruction, name)
    except _UnknownError:
        return None


class _UnknownError(Exception):
    # LLVM does not know the instruction.
    pass


# Text that means the very instruction: LLVM's, or the kernel's for what LLVM has no words.
def _exact_text(instruction: Instruction, text: str | None) -> str | None:
    for candidate in (text, _kernel_text(instruction)):
        if candidate is None:
            continue
        (statement,) = statements(candidate)
        try:
            if instruction_of(Operands(statement, {}, str)) == replace(instruction, symbol=None):
                return candidate
        except AsmError:
            continue  # a register that is the kernel's own
    return None


def _kernel_text(instruction: Instruction) -> str | None:
    if instruction.opcode == CALL and instruction.src == insn.PSEUDO_CALL:
        return f"call pc{instruction.immediate:+#x}"
    if instruction.opcode == insn.ALU64 | insn.MOV | insn.X and instruction.offset == ADDR_PERCPU:
        return f"r{instruction.dst} = &(void __percpu *)(r{instruction.src})"
    return None


# ---- one function for each class --------------------------------------------------------------


def _load_immediate(instruction: Instruction, name: str | None) -> str:
    mode, size = instruction.opcode & 0xE0, instruction.opcode & 0x18
    if instruction.opcode == LOAD_IMMEDIATE_64 and not instruction.offset:
        dst = _register(64, instruction.dst)
        if name is not None:
            return f"{dst} = {name} ll"
        if not instruction.src:
            return f"{dst} = {instruction.immediate:#x} ll"
        return f"ld_pseudo\t{dst}, {instruction.src:#x}, {instruction.immediate & 0xFFFF_FFFF:#x}"
    if mode == insn.ABS and size != insn.DW:
        return f"r0 = *(u{_BITS[size]} *)skb[{instruction.immediate:#x}]"
    if mode == insn.IND and size != insn.DW:
        return f"r0 = *(u{_BITS[size]} *)skb[{_register(64, instruction.src)}]"
    raise _UnknownError


def _load(instruction: Instruction, name: str | None) -> str:
    mode, bits = instruction.opcode & 0xE0, _BITS[instruction.opcode & 0x18]
    place = _place(instruction.src, instruction.offset)
    if mode == insn.MEM:
        return f"{_register(bits, instruction.dst)} = *(u{bits} *)({place})"
    if mode == insn.MEMSX and bits != 64:
        return f"{_register(64, instruction.dst)} = *(s{bits} *)({place})"
    raise _UnknownError


def _store_immediate(instruction: Instruction, name: str | None) -> str:
    if instruction.opcode & 0xE0 != insn.MEM:
        raise _UnknownError
    bits = _BITS[instruction.opcode & 0x18]
    place = _place(instruction.dst, instruction.offset)
    return f"*(u{bits} *)({place}) = {instruction.immediate:#x}"


def _store(instruction: Instruction, name: str | None) -> str:
    mode, bits = instruction.opcode & 0xE0, _BITS[instruction.opcode & 0x18]
    if mode == insn.ATOMIC:
        return _atomic(instruction, bits)
    if mode != insn.MEM:
        raise _UnknownError
    place = _place(instruction.dst, instruction.offset)
    return f"*(u{bits} *)({place}) = {_register(bits, instruction.src)}"


def _atomic(instruction: Instruction, bits: int) -> str:
    operation = instruction.immediate
    src = _register(bits, instruction.src)
    if operation == insn.LOAD_ACQ:
        place = _place(instruction.src, instruction.offset)
        return f"{_register(bits, instruction.dst)} = load_acquire((u{bits} *)({place}))"
    place = _place(instruction.dst, instruction.offset)
    if operation == insn.STORE_REL:
        return f"store_release((u{bits} *)({place}), {src})"
    if bits < 32:
        raise _UnknownError
    if operation in _FETCHING:
        return f"lock *(u{bits} *)({place}) {_FETCHING[operation]}= {src}"
    if operation & insn.FETCH and operation & ~insn.FETCH in _FETCHED:
        verb = _FETCHED[operation & ~insn.FETCH]
        return f"{src} = atomic_fetch_{verb}((u{bits} *)({place}), {src})"
    width = "32_32" if bits == 32 else "_64"
    if operation == insn.XCHG:
        return f"{src} = xchg{width}({place}, {src})"
    if operation == insn.CMPXCHG:
        expected = _register(bits, 0)
        return f"{expected} = cmpxchg{width}({place}, {expected}, {src})"
    raise _UnknownError


def _arithmetic(instruction: Instruction, name: str | None) -> str:
    opcode, offset = instruction.opcode, instruction.offset
    bits = 64 if opcode & 0x07 == insn.ALU64 else 32
    operation, from_register = opcode & 0xF0, bool(opcode & insn.X)
    if operation == insn.END:
        return _swap(instruction)
    dst = _register(bits, instruction.dst)
    if operation == insn.NEG and not from_register:
        return f"{dst} = -{dst}"
    src = _register(bits, instruction.src) if from_register else f"{instruction.immediate:#x}"
    if operation == insn.MOV:
        return f"{dst} = {_moved(instruction, bits, src) if offset else src}"
    operator = _OPERATORS.get(operation)
    if operator in ("/", "%") and offset == 1:
        return f"{dst} s{operator}= {src}"
    if operator is None or offset:
        raise _UnknownError
    return f"{dst} {operator}= {src}"


def _swap(instruction: Instruction) -> str:
    bits, dst = instruction.immediate, _register(64, instruction.dst)
    if bits not in (16, 32, 64):
        raise _UnknownError
    if instruction.opcode & 0x07 == insn.ALU:
        order = "be" if instruction.opcode & insn.TO_BE else "le"
        return f"{dst} = {order}{bits} {dst}"
    if instruction.opcode & insn.X:
        raise _UnknownError
    return f"{dst} = bswap{bits} {dst}"


# What a move does on the way.
def _moved(instruction: Instruction, bits: int, src: str) -> str:
    if instruction.opcode & insn.X:
        if instruction.offset in (8, 16) or (instruction.offset == 32 and bits == 64):
            return f"(s{instruction.offset}){src}"
        if instruction.offset == insn.ADDR_SPACE_CAST and bits == 64:
            spaces = instruction.immediate & 0xFFFF_FFFF
            return f"addr_space_cast({src}, {spaces >> 16:#x}, {spaces & 0xFFFF:#x})"
    raise _UnknownError


def _jump(instruction: Instruction, name: str | None) -> str:
    opcode, offset = instruction.opcode, instruction.offset
    operation, bits = opcode & 0xF0, 64 if opcode & 0x07 == insn.JMP else 32
    if operation in _COMPARISONS:
        left, right = _register(bits, instruction.dst), f"{instruction.immediate:#x}"
        if opcode & insn.X:
            right = _register(bits, instruction.src)
        return f"if {left} {_COMPARISONS[operation]} {right} goto {offset:+#x}"
    if opcode == CALL:
        return f"call {name or f'{instruction.immediate:#x}'}"
    if opcode == insn.JMP | insn.JA:
        return f"goto {offset:+#x}"
    if opcode == insn.JMP32 | insn.JA:
        return f"gotol {instruction.immediate:+#x}"
    if opcode == insn.JMP | insn.JCOND:
        return f"may_goto {offset:+#x}"
    if opcode == insn.JMP | insn.EXIT and not instruction.immediate:
        return "exit"
    if opcode in (insn.JMP | insn.JA | insn.X, insn.JMP | insn.CALL | insn.X):
        verb = "callx" if operation == insn.CALL else "gotox"
        return f"{verb} {_register(64, instruction.dst)}"
    raise _UnknownError


_BY_CLASS = (
    _load_immediate,
    _load,
    _store_immediate,
    _store,
    _arithmetic,
    _jump,
    _jump,
    _arithmetic,
)


# ---- operands ---------------------------------------------------------------------------------


# The name of a register that holds so much: half a one where that is enough.
def _register(bits: int, number: int) -> str:
    if number >= _REGISTERS:
        raise _UnknownError
    return f"{'r' if bits == 64 else 'w'}{number}"


def _place(register: int, offset: int) -> str:
    return f"{_register(64, register)} {'-' if offset < 0 else '+'} {abs(offset):#x}"
