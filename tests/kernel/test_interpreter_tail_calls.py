"""Tail calls: how many there may be, where they return to, and what happens where none is."""

from __future__ import annotations

import struct
import sys

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.maps.map import Map as KernelMap
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.testing.interpreter import Machine, Program
from pyebpf.testing.interpreter.map_kinds import ArrayMap, ProgramArray
from pyebpf.testing.interpreter.prog_test_run import prog_test_run
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import MapType, ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support.code import Code, add, call, map_pointer, mov, number, small
from tests.support.differential import function_type

EXIT = Instruction(insn.JMP | insn.EXIT)
PACKET = bytes(64)
PROGRAMS, COUNTS = 0, 1  # as the code below calls the maps, until they have descriptors


def tail_call(index: int) -> Code:
    code = [mov(1, 6), map_pointer(2, PROGRAMS), number(3, index), call(FuncId.tail_call)]
    return [*code, small(0, 9)]


COUNT = [
    Instruction(insn.LD | insn.IMM | insn.DW, 7, insn.PSEUDO_MAP_VALUE, 0, COUNTS),
    small(1, 1),
    Instruction(insn.STX | insn.ATOMIC | insn.DW, 7, 1, 0, insn.ADD),
]
CALL_NEXT = Instruction(insn.JMP | insn.CALL, 0, insn.PSEUDO_CALL, 0, 2)
# The program, and the index at which the array has it; index 1 has one that returns 42.
CASES: dict[str, Code] = {
    "until the limit": [mov(6, 1), *COUNT, *tail_call(0), EXIT],
    "beyond the array": [mov(6, 1), *COUNT, *tail_call(4), EXIT],
    "an index of 32 bits": [mov(6, 1), *COUNT, *tail_call(1 << 32 | 1), EXIT],
    "nothing there": [mov(6, 1), *COUNT, *tail_call(2), *tail_call(1), EXIT],
    "in a function": [CALL_NEXT, add(0, 4), EXIT, mov(6, 1), *COUNT, *tail_call(1), EXIT],
    "in a function, until the limit": [
        CALL_NEXT, add(0, 1), EXIT, mov(6, 1), *COUNT, *tail_call(0), EXIT,
    ],
}  # fmt: skip
OTHER = [small(0, 42), EXIT]


@pytest.mark.parametrize("name", CASES)
def test_tail_calls_are_the_kernel_s(name) -> None:
    """Return value, and how many programs ran."""
    with (
        KernelMap.create(
            type=MapType.PROG_ARRAY, key_size=4, value_size=4, max_entries=4
        ) as programs,
        KernelMap.create(type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1) as counts,
    ):
        fds = {PROGRAMS: programs.fileno(), COUNTS: counts.fileno()}
        code = encode_all([linked(each, fds) for each in CASES[name]], sys.byteorder)
        real = in_kernel(code, programs)
        real_count = counts[bytes(4)]
        array = ProgramArray("programs", max_entries=4)
        counted = ArrayMap("counts", value_size=8, max_entries=1)
        maps = {fds[PROGRAMS]: array, fds[COUNTS]: counted}
        program = Program(code, type=ProgType.SOCKET_FILTER, maps=maps)
        other = Program(encode_all(OTHER, sys.byteorder), type=ProgType.SOCKET_FILTER)
        array.programs.update({0: program, 1: other})
        ours = prog_test_run(Machine(), program, PACKET).retval
        assert (real, real_count) == (ours, bytes(counted.lookup(bytes(4), 0).data))


def linked(each: Instruction, fds: dict[int, int]) -> Instruction:
    if each.opcode == insn.LD | insn.IMM | insn.DW and each.src:
        return Instruction(each.opcode, each.dst, each.src, 0, fds[each.immediate])
    return each


def in_kernel(code: bytes, programs: KernelMap) -> int:
    with load(code) as program, load(encode_all(OTHER, sys.byteorder)) as other:
        programs[bytes(4)], programs[b"\1" + bytes(3)] = program.fileno(), other.fileno()
        run = ProgTestRun(prog_fd=program.fileno(), data_in=PACKET, data_size_in=len(PACKET))
        bpf.prog_test_run(run)
        programs.clear()
        return run.retval


def load(code: bytes) -> FD:
    """Load a program; the kernel wants types where functions make tail calls."""
    attr = ProgLoad(prog_type=int(ProgType.SOCKET_FILTER), insn_cnt=len(code) // 8)
    attr.insns, attr.license = code, b"GPL\0"
    if code[0] != insn.JMP | insn.CALL:
        return bpf.prog_load(attr)
    types, function = function_type()
    with types:
        attr.prog_btf_fd, attr.func_info_rec_size, attr.func_info_cnt = types.fileno(), 8, 2
        attr.func_info = struct.pack("=4I", 0, function, 3, function)
        return bpf.prog_load(attr)
