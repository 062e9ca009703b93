"""``BPF_PROG_TEST_RUN``: packets and contexts made up as in net/bpf/test_run.c.

data, ctx ──prog_test_run()──▶ Outcome(retval, data, ctx)
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from pyebpf.errors import ENOTSUPP, SyscallError
from pyebpf.testing.interpreter.contexts import BytesContext
from pyebpf.testing.interpreter.machine import Machine
from pyebpf.testing.interpreter.program import Program
from pyebpf.testing.interpreter.skb import CB, ETHERNET, FIELDS, SkbContext, protocol_of
from pyebpf.testing.interpreter.skb import SIZE as SKB_SIZE
from pyebpf.testing.interpreter.xdp import (
    DATA,
    DATA_END,
    DATA_META,
    EGRESS_IFINDEX,
    FRAME_SIZE,
    HEADROOM,
    INGRESS_IFINDEX,
    RX_QUEUE_INDEX,
    TAILROOM,
    XdpContext,
)
from pyebpf.testing.interpreter.xdp import SIZE as XDP_SIZE
from pyebpf.uapi.bpf import ProgType

__all__ = ["LARGEST_XDP", "Outcome", "prog_test_run"]

LOOPBACK = 1  # its index in every network namespace
NETWORK_HEADERS = {0x0800: 20, 0x86DD: 40}  # bytes of an IPv4 and of an IPv6 header
HOST, MULTICAST, OTHER_HOST = 0, 2, 3  # PACKET_*
MOST_TRACEPOINT_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS
LONGEST_SYSCALL_CONTEXT = 0xFFFF
# What does not fit a frame is in further pages, of which there may be so many.
LARGEST_XDP = FRAME_SIZE - HEADROOM - TAILROOM
MOST_FRAGMENTS = 17  # MAX_SKB_FRAGS

# What of __sk_buff a caller may give, and what comes back.
GIVEN = ("mark", "priority", "ingress_ifindex", "ifindex", "tstamp", "wire_len", "gso_segs",
         "gso_size", "hwtstamp")  # fmt: skip
RETURNED = ("mark", "priority", "ingress_ifindex", "ifindex", "tstamp", "wire_len", "gso_segs",
            "hwtstamp")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test run reports.

    Attributes:
        retval: The return value, 32 bits, unsigned.
        data: The packet afterwards; of XDP with its metadata.
        ctx: The context afterwards, ``b""`` if none was given.
        instructions: How many were executed.
    """

    retval: int
    data: bytes
    ctx: bytes
    instructions: int


def prog_test_run(
    machine: Machine,
    program: Program,
    data: bytes = b"",
    ctx: bytes = b"",
    *,
    repeat: int = 1,
) -> Outcome:
    """Run *program* on made-up input as the kernel would.

    Args:
        machine: What runs it.
        program: A program with a type.
        data: The packet, for network types.
        ctx: The context structure, where the type takes one.
        repeat: How often; the packet is as the run before left it.

    Raises:
        SyscallError: ``EINVAL`` and the like as the kernel's, 524 if it cannot run this type.
        ExecutionError: The program did what no verified program does.
    """
    run = _KINDS.get(program.type) if program.type is not None else None
    if run is None:
        raise _refused(ENOTSUPP)
    return run(machine, program, data, ctx, max(repeat, 1))


def _refused(number: int) -> SyscallError:
    return SyscallError("BPF_PROG_TEST_RUN", number)


def _run_xdp(machine: Machine, program: Program, data: bytes, ctx: bytes, repeat: int) -> Outcome:
    order = program.byteorder
    fields = {offset: _field(ctx, offset, program) for offset in range(0, XDP_SIZE, 4)}
    metadata = 0
    if ctx:
        ctx = _exactly(ctx, XDP_SIZE)
        metadata = fields[DATA]
        wrong = fields[DATA_META] or fields[EGRESS_IFINDEX] or metadata > fields[DATA_END]
        if wrong or fields[DATA_END] > len(data) or metadata % 4 or metadata > 252:
            raise _refused(errno.EINVAL)
        if fields[RX_QUEUE_INDEX] and not fields[INGRESS_IFINDEX]:
            raise _refused(errno.EINVAL)
    if len(data) < ETHERNET:
        raise _refused(errno.EINVAL)
    frame = LARGEST_XDP + metadata
    if len(data) > frame + MOST_FRAGMENTS * FRAME_SIZE:
        raise _refused(errno.ENOMEM)
    context = XdpContext(
        data[metadata:frame],
        fragments=data[frame:],
        metadata=data[:metadata],
        ingress_ifindex=fields[INGRESS_IFINDEX] or LOOPBACK,
        rx_queue_index=fields[RX_QUEUE_INDEX],
    )
    for _ in range(repeat):
        result = machine.run(program, context)
    if ctx:
        changed = bytearray(ctx)
        for offset, value in (
            (DATA, context.data - context.data_meta),
            (DATA_END, context.data_end - context.data_meta),
        ):
            changed[offset : offset + 4] = value.to_bytes(4, order)
        ctx = bytes(changed)
    return Outcome(result.retval, context.metadata + context.packet, ctx, result.instructions)


# Programs of tc see the link-layer header. Others begin behind it, and it comes back as zeros.
def _run_skb(machine: Machine, program: Program, data: bytes, ctx: bytes, repeat: int) -> Outcome:
    if len(data) < ETHERNET:
        raise _refused(errno.EINVAL)
    assert program.type is not None
    # As Linux 6.18 does; kernels before took packets whose network header is cut off.
    if len(data) - ETHERNET < NETWORK_HEADERS.get(protocol_of(data[12:]), 0):
        raise _refused(errno.EINVAL)
    order = program.byteorder
    from_link = program.type in (ProgType.SCHED_CLS, ProgType.SCHED_ACT)
    ctx = _exactly(ctx, SKB_SIZE) if ctx else b""
    fields, cb = _skb_fields(ctx, program)
    visible = data if from_link else data[ETHERNET:]
    wire_len = fields.pop("wire_len") or len(visible)
    if wire_len < len(visible):
        raise _refused(errno.EINVAL)
    fields["protocol"] = int.from_bytes(protocol_of(data[12:]).to_bytes(2, "big"), order)
    fields["pkt_type"] = _packet_type(data)
    fields["ifindex"] = fields["ifindex"] or LOOPBACK
    context = SkbContext(
        visible,
        program.type,
        link_header=b"" if from_link else data[:ETHERNET],
        cb=cb,
        wire_len=wire_len,
        **fields,
    )
    for _ in range(repeat):
        result = machine.run(program, context)
    after = bytes(context.packet)
    if ctx:
        changed = bytearray(ctx)
        for name in RETURNED:
            offset, size = FIELDS[name]
            changed[offset : offset + size] = context.get(name).to_bytes(size, order)
        changed[CB[0] : CB[1]] = context.cb
        ctx = bytes(changed)
    after = after if from_link else bytes(ETHERNET) + after
    return Outcome(result.retval, after, ctx, result.instructions)


def _skb_fields(ctx: bytes, program: Program) -> tuple[dict[str, int], bytes]:
    fields = dict.fromkeys(GIVEN, 0)
    if not ctx:
        return fields, b""
    rest = bytearray(ctx)
    for name in GIVEN:
        offset, size = FIELDS[name]
        fields[name] = int.from_bytes(ctx[offset : offset + size], program.byteorder)
        rest[offset : offset + size] = bytes(size)
    rest[CB[0] : CB[1]] = bytes(CB[1] - CB[0])
    if any(rest):
        raise _refused(errno.EINVAL)
    return fields, ctx[CB[0] : CB[1]]


def _run_raw_tracepoint(
    machine: Machine, program: Program, data: bytes, ctx: bytes, repeat: int
) -> Outcome:
    if data or repeat > 1 or len(ctx) > 8 * MOST_TRACEPOINT_ARGUMENTS:
        raise _refused(errno.EINVAL)
    result = machine.run(program, BytesContext(ctx))
    return Outcome(result.retval, b"", b"", result.instructions)


def _run_syscall(
    machine: Machine, program: Program, data: bytes, ctx: bytes, repeat: int
) -> Outcome:
    if data or repeat > 1 or len(ctx) > LONGEST_SYSCALL_CONTEXT:
        raise _refused(errno.EINVAL)
    context = BytesContext(ctx, writable=True)
    result = machine.run(program, context)
    return Outcome(result.retval, b"", bytes(context.data), result.instructions)


def _field(ctx: bytes, offset: int, program: Program) -> int:
    return int.from_bytes(ctx[offset : offset + 4], program.byteorder)


# A longer structure of a newer program is taken as long as what is new in it is zero.
def _exactly(ctx: bytes, size: int) -> bytes:
    if any(ctx[size:]):
        raise _refused(errno.E2BIG)
    return ctx[:size].ljust(size, b"\0")


def _packet_type(data: bytes) -> int:
    # The loopback interface's address is zeros, and so is what it takes for the broadcast address.
    if data[0] & 1:
        return MULTICAST
    return OTHER_HOST if any(data[:6]) else HOST


_Runner = Callable[[Machine, Program, bytes, bytes, int], Outcome]
_KINDS: dict[ProgType, _Runner] = {
    ProgType.XDP: _run_xdp,
    ProgType.SOCKET_FILTER: _run_skb,
    ProgType.SCHED_CLS: _run_skb,
    ProgType.SCHED_ACT: _run_skb,
    ProgType.CGROUP_SKB: _run_skb,
    ProgType.LWT_IN: _run_skb,
    ProgType.LWT_OUT: _run_skb,
    ProgType.LWT_XMIT: _run_skb,
    ProgType.RAW_TRACEPOINT: _run_raw_tracepoint,
    ProgType.SYSCALL: _run_syscall,
}
