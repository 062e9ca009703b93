"""The files of the public conformance suite bpf_conformance: read, and assembled.

Nothing of the suite is in this repository. Its cases are text, in sections:

    -- asm       mov %r0, 1          -- mem       00 01 ff       what r1 points to; r2 is its size
                 exit                -- result    0x1            of r0
    -- raw       0x…                    what the assembly must become, a number for each slot
"""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass, field

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.uapi import insn

SIZES = {"b": insn.B, "h": insn.H, "w": insn.W, "dw": insn.DW}
ARITHMETIC = {
    "add": insn.ADD, "sub": insn.SUB, "mul": insn.MUL, "div": insn.DIV, "or": insn.OR,
    "and": insn.AND, "lsh": insn.LSH, "rsh": insn.RSH, "neg": insn.NEG, "mod": insn.MOD,
    "xor": insn.XOR, "mov": insn.MOV, "arsh": insn.ARSH, "sdiv": insn.DIV, "smod": insn.MOD,
}  # fmt: skip
JUMPS = {
    "ja": insn.JA, "jeq": insn.JEQ, "jgt": insn.JGT, "jge": insn.JGE, "jset": insn.JSET,
    "jne": insn.JNE, "jsgt": insn.JSGT, "jsge": insn.JSGE, "jlt": insn.JLT, "jle": insn.JLE,
    "jslt": insn.JSLT, "jsle": insn.JSLE,
}  # fmt: skip
ATOMICS = {
    "add": insn.ADD, "or": insn.OR, "and": insn.AND, "xor": insn.XOR, "xchg": insn.XCHG,
    "cmpxchg": insn.CMPXCHG,
}  # fmt: skip


@dataclass
class Case:
    """One file of the suite."""

    name: str
    code: bytes
    memory: bytes | None
    result: int
    raw: list[int] = field(default_factory=list)


def read(path: pathlib.Path) -> Case:
    """Read and assemble one file."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("-- "):
            lines = sections.setdefault(line[3:].strip(), [])
        elif line.split("#")[0].strip():
            lines.append(line.split("#")[0].strip())
    memory = bytes.fromhex("".join(sections["mem"])) if "mem" in sections else None
    return Case(
        path.stem,
        assemble(sections["asm"]),
        memory,
        int(sections["result"][0], 0),
        [int(line, 0) for line in sections.get("raw", [])],
    )


def assemble(lines: list[str]) -> bytes:
    """Assemble the suite's syntax, little-endian."""
    labels: dict[str, int] = {}
    slot = 0
    for line in lines:
        if line.endswith(":"):
            labels[line[:-1]] = slot
            continue
        if line == "exit":
            labels["exit"] = slot  # the name of the last one, unless it is a label
        slot += 2 if line.startswith("lddw") else 1
    code: list[Instruction] = []
    slot = 0
    for line in lines:
        if line.endswith(":"):
            continue
        each = _instruction(line, slot, labels)
        code.append(each)
        slot += each.slots
    return encode_all(code, "little")


def _instruction(line: str, slot: int, labels: dict[str, int]) -> Instruction:
    word, _, rest = line.partition(" ")
    operands = [each.strip() for each in rest.split(",")] if rest.strip() else []
    if word == "lock":
        return _atomic(rest)
    if word == "exit":
        return Instruction(insn.JMP | insn.EXIT)
    if word == "call":
        return _call(operands[0], slot, labels)
    if word == "lddw":
        return Instruction(
            insn.LD | insn.IMM | insn.DW, _register(operands[0]), 0, 0, _number(operands[1], 64)
        )
    if match := re.fullmatch(r"(be|le|bswap|swap)(16|32|64)", word):
        opcode = {"be": insn.ALU | insn.TO_BE, "le": insn.ALU | insn.TO_LE}.get(
            match[1], insn.ALU64
        )
        return Instruction(opcode | insn.END, _register(operands[0]), 0, 0, int(match[2]))
    if match := re.fullmatch(r"(ldxs?|stx?)(b|h|w|dw)", word):
        return _access(match[1], match[2], operands)
    if match := re.fullmatch(r"movsx(8|16|32)(32|64)", word):
        kind = insn.ALU64 if match[2] == "64" else insn.ALU
        dst, src = map(_register, operands)
        return Instruction(kind | insn.MOV | insn.X, dst, src, int(match[1]))
    base = word.removesuffix("32")
    if base in JUMPS:
        return _jump(base, word != base, operands, slot, labels)
    kind = insn.ALU if word.endswith("32") else insn.ALU64
    return _computed(ARITHMETIC[base], kind, operands, int(base in ("sdiv", "smod")))


def _computed(operation: int, kind: int, operands: list[str], offset: int) -> Instruction:
    dst = _register(operands[0])
    if len(operands) == 1:
        return Instruction(kind | operation, dst)
    if operands[1].startswith("%"):
        return Instruction(kind | operation | insn.X, dst, _register(operands[1]), offset)
    return Instruction(kind | operation, dst, 0, offset, _number(operands[1], 32))


def _jump(
    base: str, narrow: bool, operands: list[str], slot: int, labels: dict[str, int]
) -> Instruction:
    kind = insn.JMP32 if narrow else insn.JMP
    distance = labels[operands[-1]] - slot - 1 if operands[-1] in labels else int(operands[-1], 0)
    if base == "ja":
        return Instruction(
            kind | insn.JA, 0, 0, 0 if narrow else distance, distance if narrow else 0
        )
    dst = _register(operands[0])
    if operands[1].startswith("%"):
        return Instruction(kind | JUMPS[base] | insn.X, dst, _register(operands[1]), distance)
    return Instruction(kind | JUMPS[base], dst, 0, distance, _number(operands[1], 32))


def _call(operand: str, slot: int, labels: dict[str, int]) -> Instruction:
    if operand.startswith("local"):
        target = labels[operand.split()[1]]
        return Instruction(insn.JMP | insn.CALL, 0, insn.PSEUDO_CALL, 0, target - slot - 1)
    if operand.startswith("%"):
        return Instruction(insn.JMP | insn.CALL | insn.X, _register(operand))
    return Instruction(insn.JMP | insn.CALL, 0, 0, 0, int(operand, 0))


def _access(kind: str, size: str, operands: list[str]) -> Instruction:
    if kind.startswith("ldx"):
        register, offset = _place(operands[1])
        mode = insn.MEMSX if kind == "ldxs" else insn.MEM
        return Instruction(insn.LDX | mode | SIZES[size], _register(operands[0]), register, offset)
    register, offset = _place(operands[0])
    if kind == "stx":
        return Instruction(
            insn.STX | insn.MEM | SIZES[size], register, _register(operands[1]), offset
        )
    value = _number(operands[1], 32)
    return Instruction(insn.ST | insn.MEM | SIZES[size], register, 0, offset, value)


def _atomic(text: str) -> Instruction:
    match = re.fullmatch(r"(fetch )?(\w+?)(32)? (\[.*\]), (%r\d+)", text.strip())
    assert match is not None, text
    register, offset = _place(match[4])
    immediate = ATOMICS[match[2]] | (insn.FETCH if match[1] else 0)
    size = insn.W if match[3] else insn.DW
    return Instruction(
        insn.STX | insn.ATOMIC | size, register, _register(match[5]), offset, immediate
    )


def _register(text: str) -> int:
    return int(text.removeprefix("%r"))


def _place(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\[%r(\d+)([+-]\w+)?\]", text.replace(" ", ""))
    assert match is not None, text
    return int(match[1]), int(match[2] or "0", 0)


def _number(text: str, bits: int) -> int:
    value = int(text, 0) & (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value
