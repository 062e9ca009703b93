"""Where the arguments of a USDT probe are: ``"8@%rdi -4@-20(%rbp) 4@$7"``, as compilers write it.

Each is SIZE@PLACE; a negative size is a signed value. Places, by machine:

    x86-64    $7   %eax   (%rbx)   -20(%rbp)   8(%rax,%rbx,4)   x86 also without an index
    arm64     7    x3     [x19]    [sp, 16]
    riscv     7    a0     8(s0)

Out: what the eBPF side (libbpf's usdt.bpf.h) reads: the kind, a constant or offset, the offset of
registers in ``struct pt_regs``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pyebpf.errors import FormatError
from pyebpf.typed import NamedTuple

__all__ = ["CONSTANT", "INDEXED", "MEMORY", "REGISTER", "Argument", "arguments"]

# enum __bpf_usdt_arg_type
CONSTANT, REGISTER, MEMORY, INDEXED = 0, 1, 2, 3
_MOST = 12  # BPF_USDT_MAX_ARG_CNT
_SIZES = (1, 2, 4, 8)


class Argument(NamedTuple):
    """One argument.

    Attributes:
        kind: `CONSTANT`, `REGISTER`, `MEMORY` (at a register plus a number), `INDEXED` (and a
            second register, scaled).
        value: The constant, or the number.
        register: Offset of the register in ``struct pt_regs``.
        signed: It is a signed value.
        shift: How far to shift left and right again to be left with its bits: 64 - 8 * size.
        index_register: Offset of the second register.
        scale: How far to shift it left.
    """

    kind: int
    value: int
    register: int
    signed: bool
    shift: int
    index_register: int = 0
    scale: int = 0


def arguments(text: str, machine: str | None = None) -> list[Argument]:
    """Read a probe's arguments.

    Args:
        text: As in the note.
        machine: As ``uname -m`` says; this one's if not given.

    Raises:
        FormatError: Not understood, on this machine, or more than the 12 that programs can read.
    """
    machine = machine or os.uname().machine
    place = _PLACES.get(machine)
    if place is None and text.strip():
        raise FormatError(f"arguments of USDT probes are not known on {machine}")
    found = []
    # A blank separates arguments, but also follows the comma in "[sp, 16]".
    for part in re.split(r"(?<!,)\s+", text.strip()) if text.strip() else []:
        size, at, where = part.partition("@")
        if not at or not re.fullmatch(r"-?[0-9]+f?", size) or place is None:
            raise FormatError(f"USDT argument {part!r}")
        bytes_ = int(size.rstrip("f"))
        if abs(bytes_) not in _SIZES or size.endswith("f"):
            raise FormatError(f"USDT argument {part!r} of {size} bytes")
        found.append(place(where, part)._replace(signed=bytes_ < 0, shift=64 - 8 * abs(bytes_)))
    if len(found) > _MOST:
        raise FormatError(f"{len(found)} USDT arguments, programs can read {_MOST}")
    return found


# 64-bit names of x86's registers in the order of struct pt_regs (asm/ptrace.h).
_X86_ORDER = [
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    "orig_ax", "ip", "cs", "flags", "sp", "ss",
]  # fmt: skip


def _x86_registers() -> dict[str, int]:
    found = {}
    for index, name in enumerate(_X86_ORDER):
        if name.startswith("r"):
            names = [name, f"{name}d", f"{name}w", f"{name}b"]
        else:
            names = [name, f"r{name}", f"e{name}", f"{name}l"]
            if name in ("ax", "bx", "cx", "dx"):
                names.append(f"{name[0]}l")
        found.update(dict.fromkeys(names, index * 8))
    return found


_X86 = _x86_registers()
_X86_FORM = re.compile(
    r"\$(?P<constant>-?\w+)"
    r"|%(?P<register>\w+)"
    r"|(?P<offset>-?\w*)\(%(?P<base>\w+)(?:,\s*%(?P<index>\w+)(?:,\s*(?P<scale>[1248]))?)?\)"
)


def _x86(where: str, part: str) -> Argument:
    match = _X86_FORM.fullmatch(where)
    if match is None:
        raise FormatError(f"USDT argument {part!r}")
    if match["constant"] is not None:
        return Argument(CONSTANT, _number(match["constant"], part), 0, signed=False, shift=0)
    if match["register"] is not None:
        at = _register(_X86, match["register"], part)
        return Argument(REGISTER, 0, at, signed=False, shift=0)
    offset = _number(match["offset"] or "0", part)
    base = _register(_X86, match["base"], part)
    if match["index"] is None:
        return Argument(MEMORY, offset, base, signed=False, shift=0)
    scale = int(match["scale"] or "1").bit_length() - 1
    index = _register(_X86, match["index"], part)
    return Argument(INDEXED, offset, base, signed=False, shift=0, index_register=index, scale=scale)


# user_pt_regs: x0 to x30, sp, pc.
_ARM64 = {f"x{number}": number * 8 for number in range(31)} | {"sp": 248}
_ARM64 |= {f"w{number}": number * 8 for number in range(31)}
_ARM64_FORM = re.compile(
    r"\[(?P<base>\w+)(?:,\s*(?P<offset>-?\w+))?\]|(?P<register>[xw]\d+|sp)|(?P<constant>-?\w+)"
)


def _arm64(where: str, part: str) -> Argument:
    return _simple(_ARM64_FORM.fullmatch(where), _ARM64, part)


# struct user_regs_struct: pc, then x1 to x31 by their names.
_RISCV_ORDER = [
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5",
    "t6",
]  # fmt: skip
_RISCV = {name: index * 8 for index, name in enumerate(_RISCV_ORDER)}
_RISCV_FORM = re.compile(
    r"(?P<offset>-?\w+)\((?P<base>\w+)\)|(?P<register>[a-z]\w*)|(?P<constant>-?\w+)"
)


def _riscv(where: str, part: str) -> Argument:
    return _simple(_RISCV_FORM.fullmatch(where), _RISCV, part)


def _simple(match: re.Match[str] | None, registers: dict[str, int], part: str) -> Argument:
    if match is None:
        raise FormatError(f"USDT argument {part!r}")
    if match["base"] is not None:
        base = _register(registers, match["base"], part)
        return Argument(MEMORY, _number(match["offset"] or "0", part), base, signed=False, shift=0)
    if match["register"] is not None:
        at = _register(registers, match["register"], part)
        return Argument(REGISTER, 0, at, signed=False, shift=0)
    return Argument(CONSTANT, _number(match["constant"], part), 0, signed=False, shift=0)


def _number(text: str, part: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise FormatError(f"USDT argument {part!r}: {text!r} is no number") from None


def _register(registers: dict[str, int], name: str, part: str) -> int:
    if name not in registers:
        raise FormatError(f"USDT argument {part!r}: no register {name!r}")
    return registers[name]


_PLACES: dict[str, Callable[[str, str], Argument]] = {
    "x86_64": _x86,
    "aarch64": _arm64,
    "riscv64": _riscv,
}
