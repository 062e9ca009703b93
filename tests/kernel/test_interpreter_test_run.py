"""Test runs: what input is taken, and what comes back, is the kernel's."""

from __future__ import annotations

import struct
import sys

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import SyscallError
from pyebpf.sys import bpf
from pyebpf.testing.interpreter import Machine, Program
from pyebpf.testing.interpreter.prog_test_run import prog_test_run
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support.code import Code, add, call, load, mov, small, store
from tests.support.kernel import needs

EXIT = Instruction(insn.JMP | insn.EXIT)
XDP, TC, FILTER = ProgType.XDP, ProgType.SCHED_CLS, ProgType.SOCKET_FILTER
IPV4 = bytes(range(12)) + b"\x08\x00" + bytes(range(60))
OTHER = bytes(12) + b"\x12\x34" + bytes(range(60))


def xdp_md(*numbers: int) -> bytes:
    return struct.pack("=6I", *numbers, *[0] * (6 - len(numbers)))


def sk_buff(**fields: int) -> bytes:
    places = {
        "len": 0, "pkt_type": 4, "mark": 8, "queue_mapping": 12, "protocol": 16, "vlan_tci": 24,
        "priority": 32, "ingress_ifindex": 36, "ifindex": 40, "tc_index": 44, "cb": 48, "hash": 68,
        "napi_id": 84, "tstamp": 152, "wire_len": 160, "gso_segs": 164, "gso_size": 176,
        "hwtstamp": 184,
    }  # fmt: skip
    data = bytearray(192)
    for name, value in fields.items():
        data[places[name] : places[name] + 4] = value.to_bytes(4, sys.byteorder)
    return bytes(data)


def returns(offset: int) -> Code:
    """Return a field of the context."""
    return [load(4, 0, 1, offset), EXIT]


# What an XDP program finds: the length of its packet and of the metadata.
MINUS = Instruction(insn.ALU64 | insn.SUB | insn.X, 0, 2)
PLUS = Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 1)
LENGTH = [load(4, 2, 1, 0), load(4, 0, 1, 4), MINUS, EXIT]
META = [load(4, 2, 1, 8), load(4, 0, 1, 0), MINUS, EXIT]
MARK = [small(2, 77), store(4, 1, 2, 8), store(4, 1, 2, 32), store(4, 1, 2, 52), small(0, 1), EXIT]

LENGTH_OF_ALL = call(FuncId.xdp_get_buff_len)


def tail(delta: int) -> Code:
    """Move the packet's end, and return what came of it beside its length."""
    return [
        small(2, delta), call(FuncId.xdp_adjust_tail), mov(7, 0), mov(1, 6), LENGTH_OF_ALL,
        Instruction(insn.ALU64 | insn.MUL | insn.K, 0, 0, 0, 1000), mov(1, 7), PLUS, EXIT,
    ]  # fmt: skip


def across(helper: FuncId, offset: int) -> Code:
    """Copy 16 bytes between the packet and the stack, and return what was written there."""
    zeros = [small(2, 0x1234), store(8, 10, 2, -8), store(8, 10, 2, -16)]
    arguments = [small(2, offset), mov(3, 10), add(3, -16), small(4, 16)]
    return [*zeros, *arguments, call(helper), load(8, 1, 10, -16), PLUS, EXIT]


FRAGMENTS: dict[str, Code] = {
    "frame": LENGTH,
    "length": [LENGTH_OF_ALL, EXIT],
    **{
        f"end moved by {delta}": tail(delta)
        for delta in (-1, -100, -9000, -80000, 0, 1, 3808, 3809)
    },
    **{
        f"{helper.name} at {offset}": across(helper, offset)
        for helper in (FuncId.xdp_load_bytes, FuncId.xdp_store_bytes)
        for offset in (0, 3505, 3510, 3520, 11990, 70000)
    },
}

CASES: dict[str, tuple[ProgType, Code, bytes, bytes]] = {
    **{
        f"xdp, {size} bytes": (XDP, LENGTH, OTHER.ljust(size, b"x")[:size], b"")
        for size in (0, 1, 13, 14, 60, 3519, 3520)
    },
    **{
        f"xdp, {size} bytes, {name}": (XDP, code, (bytes(range(250)) * 300)[:size], b"")
        for size in (3521, 12000, 3520 + 17 * 4096, 3521 + 17 * 4096)
        for name, code in FRAGMENTS.items()
    },
    **{f"xdp, field {at}": (XDP, returns(at), OTHER, b"") for at in (12, 16)},
    "xdp, metadata": (XDP, META, OTHER, xdp_md(8, len(OTHER))),
    "xdp, metadata, length": (XDP, LENGTH, OTHER, xdp_md(8, len(OTHER))),
    "xdp, odd metadata": (XDP, META, OTHER, xdp_md(6, len(OTHER))),
    "xdp, metadata at another place": (XDP, META, OTHER, xdp_md(8, len(OTHER), 4)),
    "xdp, data ends too late": (XDP, META, OTHER, xdp_md(0, len(OTHER) + 1)),
    "xdp, data ends before it begins": (XDP, META, OTHER, xdp_md(12, 8)),
    "xdp, a queue and no interface": (XDP, META, OTHER, xdp_md(0, len(OTHER), 0, 0, 3)),
    "xdp, an interface to leave by": (XDP, META, OTHER, xdp_md(0, len(OTHER), 0, 0, 0, 1)),
    "xdp, a longer context": (XDP, META, OTHER, xdp_md(8, len(OTHER)) + bytes(8)),
    "xdp, a longer context with something": (XDP, META, OTHER, xdp_md(8, len(OTHER)) + b"12345678"),
    "xdp, a shorter context": (XDP, META, OTHER, xdp_md(8, len(OTHER))[:12]),
    **{
        f"{kind}, {size} bytes": (kind, returns(0), OTHER.ljust(size, b"x")[:size], b"")
        for kind in (TC, FILTER)
        for size in (0, 13, 14, 60, 1500)
    },
    **{
        f"{kind}, field {at}": (kind, returns(at), IPV4, sk_buff())
        for kind in (TC, FILTER)
        for at in (0, 4, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 68, 84, 160, 164)
        if kind is TC or at != 160
    },
    **{
        f"context with {name}": (TC, returns(8), IPV4, sk_buff(**{name: value}))
        for name, value in (
            ("mark", 5), ("priority", 6), ("ingress_ifindex", 7), ("ifindex", 1), ("cb", 8),
            ("tstamp", 9), ("wire_len", 74), ("wire_len", 20), ("wire_len", 1000), ("gso_segs", 2),
            ("gso_size", 3), ("hwtstamp", 4), ("len", 74), ("pkt_type", 1), ("protocol", 8),
            ("hash", 1), ("queue_mapping", 1), ("vlan_tci", 1), ("tc_index", 1), ("napi_id", 1),
        )
    },
    "context that changes": (TC, MARK, IPV4, sk_buff(mark=1, priority=2, cb=3)),
    "context that does not fit": (TC, MARK, IPV4, sk_buff(mark=1) + b"more"),
    "short context": (TC, MARK, IPV4, sk_buff(mark=1)[:40]),
    "a length instead of a type": (TC, returns(16), bytes(12) + b"\0\x20" + bytes(60), b""),
    "Novell's": (TC, returns(16), bytes(12) + b"\0\x20\xff\xff" + bytes(60), b""),
    "to many": (TC, returns(4), b"\x01" + bytes(11) + b"\x12\x34" + bytes(60), b""),
    "to another": (FILTER, returns(4), b"\x02" + bytes(11) + b"\x12\x34" + bytes(60), b""),
    "a cut network header": (TC, returns(0), IPV4[:30], b""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_test_run_is_the_kernel_s(name) -> None:
    """The errno, or return value, packet and context."""
    kind, code, data, context = CASES[name]
    needs("5.18", "test runs as the interpreter has them")  # 6.1 is the oldest that was compared
    raw = encode_all([mov(6, 1), *code], sys.byteorder)
    assert in_kernel(kind, raw, data, context) == interpreted(kind, raw, data, context)


def interpreted(kind: ProgType, code: bytes, data: bytes, context: bytes) -> object:
    try:
        found = prog_test_run(Machine(), Program(code, type=kind), data, context)
    except SyscallError as error:
        return error.errno
    return found.retval, found.data, found.ctx


def in_kernel(kind: ProgType, code: bytes, data: bytes, context: bytes) -> object:
    attr = ProgLoad(prog_type=int(kind), insn_cnt=len(code) // 8)
    attr.insns, attr.license = code, b"GPL\0"
    with bpf.prog_load(attr) as program:
        out, context_out = bytearray(1 << 17), bytearray(256)
        run = ProgTestRun(prog_fd=program.fileno(), data_size_in=len(data))
        run.data_in, run.data_out, run.data_size_out = data or bytes(1), out, len(out)
        if context:
            run.ctx_in, run.ctx_size_in = context, len(context)
            run.ctx_out, run.ctx_size_out = context_out, len(context_out)
        try:
            bpf.prog_test_run(run)
        except SyscallError as error:
            return error.errno
        size = run.ctx_size_out if context else 0
        return run.retval, bytes(out[: run.data_size_out]), bytes(context_out[:size])
