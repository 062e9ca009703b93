"""Probes of instructions: sets of them, and what programs may look like."""

from __future__ import annotations

import errno
import struct
import sys

from pyebpf.features.feature import Feature
from pyebpf.features.programs import refused, request, takes, tried
from pyebpf.sys import bpf
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import MapType, ProgType

__all__ = ["INSTRUCTIONS", "LIMITS"]


# Opcode, destination, source, offset, immediate.
def _i(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


_ZERO = _i(insn.ALU64 | insn.MOV)
_EXIT = _i(insn.JMP | insn.EXIT)
_ON_STACK = _i(insn.ST | insn.MEM | insn.DW, insn.REG_10, 0, -8)
_STORE = insn.STX | insn.ATOMIC | insn.DW


def _of(name: str, since: str, *code: bytes) -> Feature:
    def attempt() -> bool:
        return takes(ProgType.SOCKET_FILTER, b"".join(code) + _ZERO + _EXIT) or refused()

    return Feature(name, since, attempt)


# Only kernels that know such loads look at the map.
def _try_map_values() -> bool:
    shape = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=32, max_entries=1)
    with bpf.map_create(shape) as array:
        load = _i(insn.LD | insn.IMM | insn.DW, 1, insn.PSEUDO_MAP_VALUE, 0, array.fileno())
        code = load + _i(0, 0, 0, 0, 16) + _ZERO + _EXIT
        return takes(ProgType.SOCKET_FILTER, code) or refused()


# E2BIG before the limit of 4096 instructions was raised to a million, EINVAL for any other reason.
def _try_large() -> bool:
    number, _ = tried(request(ProgType.SOCKET_FILTER, _ZERO * 4096 + _EXIT))
    return number not in (errno.E2BIG, errno.EINVAL) or refused()


#: By what they are called; "instruction set" as in ``clang -mcpu``.
INSTRUCTIONS = {
    each.name: each
    for each in (
        _of("instruction set v2", "4.14", _ZERO, _i(insn.JMP | insn.JLT, 0, 0, 0, 1)),
        _of("instruction set v3", "5.1", _ZERO, _i(insn.JMP32 | insn.JEQ, 0, 0, 0, 1)),
        _of(
            "instruction set v4",
            "6.6",
            # Long jumps alone are in 6.1's stable releases too.
            _ON_STACK,
            _i(insn.LDX | insn.MEMSX | insn.B, 0, insn.REG_10, -8),
            _i(insn.ALU64 | insn.X | insn.MOV, 0, 0, 8),
            _i(insn.JMP32 | insn.JA),
        ),
        _of("function calls", "4.16", _i(insn.JMP | insn.CALL, 0, 1, 0, 1), _EXIT),
        Feature("addresses of map values", "5.2", _try_map_values),
        _of("atomic fetch", "5.12", _ON_STACK, _ZERO, _i(_STORE, 10, 0, -8, insn.FETCH)),
        # Over an instruction: to the next one is allowed since 6.14 alone.
        _of("may_goto", "6.9", _ZERO, _i(insn.JMP | insn.JCOND, 0, 0, 1)),
        _of("acquiring loads", "6.15", _ON_STACK, _i(_STORE, 0, 10, -8, insn.LOAD_ACQ)),
    )
}
#: What programs may be.
LIMITS = {
    each.name: each
    for each in (
        Feature("more than 4096 instructions", "5.2", _try_large),
        _of(
            "loops with an end",
            "5.3",
            _i(insn.ALU64 | insn.MOV, 0, 0, 0, 10),
            _i(insn.ALU64 | insn.SUB, 0, 0, 0, 1),
            _i(insn.JMP | insn.JNE, 0, 0, -2, 0),
        ),
    )
}
