"""Helpers and kernel functions with particular arguments: the kernel and the interpreter agree.

What random programs do not draw: kinds of maps beyond the common ones, kernel functions, events.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from dataclasses import dataclass

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import SyscallError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.maps.map import Map as KernelMap
from pyebpf.spec import MapSpec
from pyebpf.sys import bpf
from pyebpf.testing.interpreter import Machine, Program, make_map
from pyebpf.testing.interpreter.prog_test_run import prog_test_run
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import MapType, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.helpers import FuncId
from tests.support import kernel
from tests.support.code import (
    Code,
    add,
    call,
    load,
    map_pointer,
    mov,
    number,
    skip_if,
    slots,
    small,
    store,
)
from tests.support.differential import function_type

EXIT = Instruction(insn.JMP | insn.EXIT)
PACKET = bytes(12) + b"\x08\x00" + bytes(range(100))
TC, XDP, SOCKET = ProgType.SCHED_CLS, ProgType.XDP, ProgType.SOCKET_FILTER


@dataclass
class Case:
    """A program and the maps it uses, by the number its code has for them."""

    code: Code
    type: ProgType = TC
    maps: tuple[MapSpec, ...] = ()
    since: str = "5.15"
    function: int = 0  # where a second function begins, for programs with callbacks


def kfunc(name: str) -> Instruction:
    return Instruction(insn.JMP | insn.CALL, 0, insn.PSEUDO_KFUNC_CALL, 0, 0, name)


def key(place: int, value: int) -> Code:
    """Put a key on the stack and its address into r2."""
    return [number(1, value), store(8, 10, 1, place), mov(2, 10), add(2, place)]


def value(place: int, number_: int) -> Code:
    """Put a value on the stack and its address into r3."""
    return [number(1, number_), store(8, 10, 1, place), mov(3, 10), add(3, place)]


def update(which: int, at: int, number_: int, flags: int = 0) -> Code:
    code = [*key(-8, at), *value(-16, number_), map_pointer(1, which), small(4, flags)]
    return [*code, call(FuncId.map_update_elem)]


def looked_up(which: int, at: int) -> Code:
    """Add what a map has to r7, or 1000 if it has nothing."""
    code = [*key(-8, at), map_pointer(1, which), call(FuncId.map_lookup_elem)]
    found = [load(8, 1, 0, 0), Instruction(insn.ALU64 | insn.ADD | insn.X, 7, 1)]
    code += skip_if(insn.JNE, 0, 0, [add(7, 1000)])
    return [*code, *skip_if(insn.JEQ, 0, 0, found), small(0, 0)]


def spec(kind: MapType, key_size: int = 8, value_size: int = 8, entries: int = 2) -> MapSpec:
    return MapSpec(
        name=str(kind)[13:].lower()[:15],
        type=kind,
        key_size=key_size,
        value_size=value_size,
        max_entries=entries,
        flags=1 if kind is MapType.LPM_TRIE else 0,
    )


def counting(*steps: Code) -> Code:
    """Collect results: r7 = 7 * r7 + r0 after each step that leaves one in r0."""
    code: Code = [mov(6, 1), small(7, 0)]
    for step in steps:
        code += [*step, Instruction(insn.ALU64 | insn.MUL, 7, 0, 0, 7)]
        code += [Instruction(insn.ALU64 | insn.ADD | insn.X, 7, 0)]
    return [*code, mov(0, 7), EXIT]


def queue(helper: FuncId, flags: int = 0) -> Code:
    code = [number(1, 0x55), store(8, 10, 1, -8), mov(2, 10), add(2, -8), map_pointer(1, 0)]
    return [*code, *([small(3, flags)] if helper is FuncId.map_push_elem else []), call(helper)]


def pushed(number_: int) -> Code:
    code = [small(1, number_), store(8, 10, 1, -8), mov(2, 10), add(2, -8), map_pointer(1, 0)]
    return [*code, small(3, 0), call(FuncId.map_push_elem)]


def asked(number_: int) -> Code:
    code = [small(1, number_), store(8, 10, 1, -8), mov(2, 10), add(2, -8), map_pointer(1, 0)]
    return [*code, call(FuncId.map_peek_elem)]


def prefix(length: int, *parts: int) -> int:
    return int.from_bytes(length.to_bytes(4, "little") + bytes(parts), "little")


def iterated(start: int, end: int) -> Code:
    """Add up the numbers of an iterator in r7."""
    iterator = [mov(1, 10), add(1, -8)]
    code = [*iterator, small(2, start), small(3, end), kfunc("bpf_iter_num_new"), mov(7, 0)]
    turn = [*iterator, kfunc("bpf_iter_num_next")]
    body = [load(4, 1, 0, 0), Instruction(insn.ALU64 | insn.ADD | insn.X, 7, 1)]
    leave = Instruction(insn.JMP | insn.JEQ, 0, 0, len(body) + 1, 0)
    back = Instruction(insn.JMP | insn.JA, 0, 0, -(len(turn) + len(body) + 2))
    return [*code, *turn, leave, *body, back, *iterator, kfunc("bpf_iter_num_destroy"), mov(0, 7)]


def dynptr(make: str, *then: Code) -> Code:
    """Make a dynptr to the packet at fp-16 and go on."""
    code = [mov(6, 1), small(2, 0), mov(3, 10), add(3, -16), kfunc(make), mov(7, 0)]
    return [*code, *(each for step in then for each in step), mov(0, 7), EXIT]


def to_dynptr(name: str, *arguments: int) -> Code:
    """Call a kernel function on it, and add the result to r7 times 7."""
    code = [mov(1, 10), add(1, -16)]
    code += [small(2 + at, argument) for at, argument in enumerate(arguments)]
    code += [kfunc(name), Instruction(insn.ALU64 | insn.MUL, 7, 0, 0, 7)]
    return [*code, Instruction(insn.ALU64 | insn.ADD | insn.X, 7, 0)]


def sliced(offset: int, size: int, name: str = "bpf_dynptr_slice") -> Code:
    code = [mov(1, 10), add(1, -16), small(2, offset), mov(3, 10), add(3, -48), small(4, size)]
    code += [store(8, 10, 7, -48 + at) for at in range(0, 32, 8)]
    found = [load(1, 1, 0, 0), Instruction(insn.ALU64 | insn.ADD | insn.X, 7, 1)]
    return [*code, kfunc(name), *skip_if(insn.JEQ, 0, 0, found), add(7, 5)]


def printed(*numbers: int) -> Code:
    """Print with up to three numbers; the length is the result."""
    form = int.from_bytes(b"%d %x\n\0\0", "little")
    code = [number(1, form), store(8, 10, 1, -8), mov(1, 10), add(1, -8), small(2, 7)]
    return [
        *code,
        *(small(3 + at, each) for at, each in enumerate(numbers)),
        call(FuncId.trace_printk),
    ]


def looped(count: int, flags: int, *body: Instruction) -> Case:
    """Call a callback that many times; what the helper returns is the result."""
    start = [mov(6, 1), small(1, count), callback(2, 8), mov(3, 10), add(3, -8)]
    start += [small(4, flags), call(FuncId.loop), EXIT]
    begin = slots(start)
    start[2] = callback(2, begin - 3)
    return Case([*start, *body, EXIT], since="6.7", function=begin)


def callback(dst: int, distance: int) -> Instruction:
    return Instruction(insn.LD | insn.IMM | insn.DW, dst, insn.PSEUDO_FUNC, 0, distance)


def classic(*places: tuple[int, int]) -> Code:
    """Load as classic BPF does, by size and offset, and collect."""
    return counting(*([Instruction(insn.LD | insn.ABS | size, 0, 0, 0, at)] for size, at in places))


def on_packet(helper: FuncId, *arguments: int) -> Code:
    code = [mov(1, 6), *(small(2 + at, each) for at, each in enumerate(arguments))]
    return [*code, call(helper)]


def summed(old: int, new: int, seed: int) -> Code:
    """Sum up some bytes of the stack less some others."""
    code = [number(1, 0x1122_3344_5566_7788), store(8, 10, 1, -8), store(8, 10, 1, -16)]
    code += [mov(1, 10), add(1, -8), small(2, old), mov(3, 10), add(3, -15), small(4, new)]
    return [*code, number(5, seed), call(FuncId.csum_diff)]


NETWORK, LINK = -0x100000, -0x200000
HEADERS = ((insn.B, NETWORK), (insn.H, NETWORK + 3), (insn.B, LINK + 12), (insn.W, LINK + 11))
HASH, LPM = spec(MapType.HASH), spec(MapType.LPM_TRIE, entries=3)
CASES = {
    "hash is full": Case(
        counting(
            update(0, 1, 5), update(0, 2, 6), update(0, 3, 7), update(0, 2, 8, 1),
            update(0, 2, 9, 2), update(0, 7, 1, 2), update(0, 1, 1, 3), looked_up(0, 1),
            looked_up(0, 3),
        ),
        maps=(HASH,),
    ),
    "per-CPU hash": Case(
        counting(
            update(0, 1, 5), looked_up(0, 1), update(0, 1, 6, 1), update(0, 1, 8), looked_up(0, 1)
        ),
        maps=(spec(MapType.PERCPU_HASH),),
    ),
    "longest prefix": Case(
        counting(
            update(0, prefix(8, 10, 1, 1, 1), 5), update(0, prefix(24, 10, 2, 3, 4), 6),
            update(0, prefix(33, 1, 1, 1, 1), 7), update(0, prefix(0, 1), 8),
            update(0, prefix(16, 1, 1), 9), update(0, prefix(8, 10), 50, 2),
            looked_up(0, prefix(32, 10, 2, 3, 99)), looked_up(0, prefix(32, 10, 9, 9, 9)),
            looked_up(0, prefix(32, 9, 9, 9, 9)), looked_up(0, prefix(16, 10, 2, 3, 4)),
        ),
        maps=(LPM,),
    ),
    "queue": Case(
        counting(
            queue(FuncId.map_pop_elem), queue(FuncId.map_push_elem), queue(FuncId.map_push_elem),
            queue(FuncId.map_push_elem), queue(FuncId.map_push_elem, 2),
            queue(FuncId.map_push_elem, 1), queue(FuncId.map_peek_elem),
            queue(FuncId.map_pop_elem), queue(FuncId.map_pop_elem), queue(FuncId.map_peek_elem),
        ),
        maps=(spec(MapType.QUEUE, 0),),
    ),
    "stack": Case(
        counting(
            pushed(3), pushed(4), queue(FuncId.map_push_elem, 2), queue(FuncId.map_pop_elem),
            [load(8, 0, 10, -8)], queue(FuncId.map_pop_elem), [load(8, 0, 10, -8)],
        ),
        maps=(spec(MapType.STACK, 0),),
    ),
    "Bloom filter": Case(
        counting(
            pushed(3), pushed(4), asked(3), asked(4), asked(5), queue(FuncId.map_push_elem, 1)
        ),
        maps=(spec(MapType.BLOOM_FILTER, 0, entries=1000),),
        since="5.16",
    ),
    "redirect to a device": Case(
        counting(
            *(
                [map_pointer(1, 0), small(2, at), number(3, flags), call(FuncId.redirect_map)]
                for at, flags in ((0, 0), (1, 2), (1, 1), (7, 3), (1, 4), (1, 16))
            )
        ),
        type=XDP,
        maps=(spec(MapType.DEVMAP, 4, 4),),
    ),
    "events": Case(
        counting(
            *(
                [
                    small(1, 7), store(8, 10, 1, -8), mov(1, 6), map_pointer(2, 0),
                    number(3, flags), mov(4, 10), add(4, -8), small(5, 8),
                    call(FuncId.perf_event_output),
                ]
                for flags in (2, 3, 1 << 60, 500 << 32 | 2)
            )
        ),
        maps=(spec(MapType.PERF_EVENT_ARRAY, 4, 4),),
    ),
    "classic loads in tc": Case(classic(*HEADERS, (insn.W, 14), (insn.B, 113))),
    "classic loads in a filter": Case(classic(*HEADERS, (insn.W, 1), (insn.B, 99)), type=SOCKET),
    "classic load outside": Case(classic((insn.W, 14), (insn.W, 111), (insn.B, 0))),
    "classic load of what there is not": Case(classic((insn.B, 5), (insn.B, -5), (insn.B, 0))),
    "sums": Case(
        counting(*(summed(old, new, 0xFFFF_0001) for old in range(8) for new in range(8))),
        since="6.13",
    ),
    "headers that move": Case(
        counting(
            on_packet(FuncId.skb_adjust_room, 20, 1, 10),
            on_packet(FuncId.skb_adjust_room, 8, 1, 0),
            on_packet(FuncId.skb_change_tail, 36, 0), on_packet(FuncId.skb_change_tail, 44, 0),
            on_packet(FuncId.skb_change_head, 6, 0), on_packet(FuncId.skb_change_tail, 44, 0),
            on_packet(FuncId.skb_change_tail, 49, 0), on_packet(FuncId.skb_adjust_room, -8, 1, 0),
            on_packet(FuncId.skb_change_tail, 41, 0), on_packet(FuncId.skb_change_tail, 38, 0),
        )
    ),
    "printing": Case(counting(printed(5, 255), printed(-1, 16, 3))),
    "loop": looped(5, 0, small(0, 0)),
    "loop that stops": looped(5, 0, small(0, 1)),
    "loop of none": looped(0, 0, small(0, 0)),
    "loop with flags": looped(5, 1, small(0, 0)),
    "loop too long": looped((8 << 20) + 1, 0, small(0, 0)),
    "iterator": Case([mov(6, 1), *iterated(-3, 10), EXIT], since="6.4"),
    "empty iterator": Case([mov(6, 1), *iterated(4, 4), EXIT], since="6.4"),
    "iterator backwards": Case([mov(6, 1), *iterated(5, 4), EXIT], since="6.4"),
    "iterator too long": Case([mov(6, 1), *iterated(0, (8 << 20) + 1), EXIT], since="6.4"),
    "dynptr of a socket buffer": Case(
        dynptr(
            "bpf_dynptr_from_skb", to_dynptr("bpf_dynptr_size"), to_dynptr("bpf_dynptr_is_null"),
            to_dynptr("bpf_dynptr_is_rdonly"), sliced(14, 8), sliced(110, 8), sliced(5000, 1),
            to_dynptr("bpf_dynptr_adjust", 10, 60), to_dynptr("bpf_dynptr_size"), sliced(20, 8),
            to_dynptr("bpf_dynptr_adjust", 40, 61), to_dynptr("bpf_dynptr_adjust", 9, 8),
            sliced(46, 4), sliced(47, 4),
        ),
        since="6.5",
    ),
    "dynptr of a socket filter": Case(
        dynptr("bpf_dynptr_from_skb", to_dynptr("bpf_dynptr_is_rdonly"), sliced(0, 8)),
        type=SOCKET,
        since="6.5",
    ),
    "dynptr of an XDP packet": Case(
        dynptr(
            "bpf_dynptr_from_xdp", to_dynptr("bpf_dynptr_size"),
            sliced(20, 4, "bpf_dynptr_slice_rdwr"), sliced(112, 4),
        ),
        type=XDP,
        since="6.5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_call_answers_the_same(name) -> None:
    """The return value collects what each call returned; the packet is compared, too."""
    case = CASES[name]
    if kernel.version() < kernel.parse_version(case.since):
        pytest.skip(f"{name}: since Linux {case.since}")
    types = kernel_btf()
    names = {
        types.find(each.symbol, BtfKind.FUNC): each.symbol
        for each in case.code
        if each.symbol is not None
    }
    numbers = {symbol: number_ for number_, symbol in names.items()}
    kernel_maps = [KernelMap.from_spec(each) for each in case.maps]
    try:
        code = [linked(each, kernel_maps, numbers) for each in case.code]
        raw = encode_all(code, sys.byteorder)
        maps = {
            each.fileno(): make_map(described, sys.byteorder)
            for each, described in zip(kernel_maps, case.maps, strict=True)
        }
        program = Program(raw, type=case.type, maps=maps, kfuncs=names)
        ours = prog_test_run(Machine(), program, PACKET)
        assert in_kernel(raw, case) == (ours.retval, ours.data)
    finally:
        for each in kernel_maps:
            each.close()


def linked(each: Instruction, maps: list[KernelMap], numbers: dict[str, int]) -> Instruction:
    """Put in what this kernel has for maps and kernel functions."""
    if each.symbol is not None:
        fields = each.opcode, each.dst, each.src, each.offset, numbers[each.symbol]
        return Instruction(*fields)
    if each.opcode == insn.LD | insn.IMM | insn.DW and each.src == insn.PSEUDO_MAP_FD:
        return map_pointer(each.dst, maps[each.immediate].fileno())
    return each


def in_kernel(code: bytes, case: Case) -> tuple[int, bytes]:
    log = bytearray(1 << 16)
    attr = ProgLoad(prog_type=int(case.type), insn_cnt=len(code) // 8)
    attr.insns, attr.license = code, b"GPL\0"
    attr.log_level, attr.log_size, attr.log_buf = 1, len(log), log
    with contextlib.ExitStack() as stack:
        if case.function:  # callbacks have to be described
            types, function = function_type()
            stack.enter_context(types)
            attr.prog_btf_fd, attr.func_info_rec_size, attr.func_info_cnt = types.fileno(), 8, 2
            attr.func_info = struct.pack("=4I", 0, function, case.function, function)
        try:
            program = stack.enter_context(bpf.prog_load(attr))
        except SyscallError:
            print(log.partition(b"\0")[0].decode())
            raise
        out = bytearray(4096)
        run = ProgTestRun(prog_fd=program.fileno(), data_in=PACKET, data_size_in=len(PACKET))
        run.data_out, run.data_size_out = out, len(out)
        bpf.prog_test_run(run)
        return run.retval, bytes(out[: run.data_size_out])
