"""PROG_TEST_RUN: the attr's own rules; the run itself is the interpreter's."""

from __future__ import annotations

import errno
import time

from pyebpf.errors import SyscallError
from pyebpf.testing import buffers, hooks
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.interpreter.prog_test_run import LARGEST_XDP, Outcome, prog_test_run
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import ProgTestRun
from pyebpf.uapi.bpf import AttachType, ProgType, TestRunFlag

__all__ = ["test_run"]

# They take a context only, and run once.
_CONTEXT_ONLY = frozenset(
    {ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE, ProgType.SYSCALL}
)
_ELSEWHERE = frozenset({AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP})
# Kinds that the kernel itself runs this way, and this one does not.
_UNMODELLED = frozenset(
    {
        ProgType.SK_LOOKUP,
        ProgType.FLOW_DISSECTOR,
        ProgType.STRUCT_OPS,
        ProgType.NETFILTER,
        ProgType.TRACING,
        ProgType.LWT_SEG6LOCAL,
    }
)


def test_run(system: System, attr: ProgTestRun) -> int:
    """Run a program on made-up input: bpf_prog_test_run."""
    program = program_of(system, attr.prog_fd)
    for size, pointer in ((attr.ctx_size_in, attr.ctx_in), (attr.ctx_size_out, attr.ctx_out)):
        if bool(size) != (pointer not in (None, 0)):
            raise Refused(errno.EINVAL)
    if program.type in _UNMODELLED:
        raise NotImplementedError(f"BPF_PROG_TEST_RUN of {program.type}")
    if program.type in _CONTEXT_ONLY:
        return _run_context(system, attr, program)
    return _run_packet(system, attr, program)


def _run_packet(system: System, attr: ProgTestRun, program: ProgramObject) -> int:
    _check_flags(system, attr, program)
    data = buffers.read(attr.data_in, attr.data_size_in) if attr.data_size_in else b""
    ctx = buffers.read(attr.ctx_in, attr.ctx_size_in) if attr.ctx_size_in else b""
    if program.type == ProgType.XDP and len(data) > LARGEST_XDP and not system.age.reached("5.18"):
        raise Refused(errno.EINVAL)
    times = attr.repeat or 1
    start = time.perf_counter_ns()
    outcome = _run(system, program, data, ctx, times)
    attr.retval = outcome.retval
    attr.duration = min((time.perf_counter_ns() - start) // times, 0xFFFFFFFF)
    # bpf_test_finish and bpf_ctx_finish
    short = False
    if attr.ctx_size_in or attr.ctx_size_out:
        room, attr.ctx_size_out = attr.ctx_size_out, len(outcome.ctx)
        if attr.ctx_out not in (None, 0):
            buffers.write(attr.ctx_out, outcome.ctx[:room])
            short = room < len(outcome.ctx)
    room, attr.data_size_out = attr.data_size_out, len(outcome.data)
    if attr.data_out not in (None, 0):
        buffers.write(attr.data_out, outcome.data[:room] if room else outcome.data)
    if short or (room and room < len(outcome.data)):
        raise Refused(errno.ENOSPC)
    return 0


def _check_flags(system: System, attr: ProgTestRun, program: ProgramObject) -> None:
    xdp = program.type == ProgType.XDP
    if xdp and not system.age.reached(TestRunFlag.XDP_LIVE_FRAMES.since):
        return
    allowed = TestRunFlag.XDP_LIVE_FRAMES if xdp else TestRunFlag.SKB_CHECKSUM_COMPLETE
    if attr.flags & ~int(allowed) or (attr.cpu and not xdp):
        raise Refused(errno.EINVAL)
    if attr.flags:
        raise NotImplementedError(f"BPF_PROG_TEST_RUN with {TestRunFlag(attr.flags)}")
    if attr.batch_size or (xdp and program.expected_attach_type in _ELSEWHERE):
        raise Refused(errno.EINVAL)


def _run_context(system: System, attr: ProgTestRun, program: ProgramObject) -> int:
    traced = program.type != ProgType.SYSCALL
    given = attr.data_in, attr.data_out, attr.data_size_in, attr.data_size_out, attr.ctx_out
    allowed = TestRunFlag.RUN_ON_CPU if traced else TestRunFlag(0)
    if any(each not in (None, 0) for each in given) or attr.flags & ~int(allowed):
        raise Refused(errno.EINVAL)
    if attr.duration or attr.repeat or attr.batch_size or (attr.cpu and not attr.flags):
        raise Refused(errno.EINVAL)
    if attr.cpu >= system.cpus:
        raise Refused(errno.ENXIO)
    ctx = buffers.read(attr.ctx_in, attr.ctx_size_in) if attr.ctx_size_in else b""
    world = system.machine.world
    before = world.cpu
    if attr.flags:
        world.cpu = attr.cpu
    try:
        outcome = _run(system, program, b"", ctx, 1)
    finally:
        world.cpu = before
    attr.retval = outcome.retval
    if not traced and ctx:
        buffers.write(attr.ctx_in, outcome.ctx)
    return 0


def _run(system: System, program: ProgramObject, data: bytes, ctx: bytes, times: int) -> Outcome:
    with hooks.running(system, program, times=times):
        try:
            return prog_test_run(system.machine, program.executable, data, ctx, repeat=times)
        except SyscallError as error:
            raise Refused(error.errno or errno.EINVAL) from None
