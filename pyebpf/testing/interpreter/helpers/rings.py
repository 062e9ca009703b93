"""Helpers that send data to user space: perf buffers and BPF ring buffers."""

from __future__ import annotations

import errno

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter import dynptrs
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.helper_flags import PerfEventFlag, RingbufFlag
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

# Numbers: the complement of a flag knows no bits that have no name.
WAKEUPS = int(RingbufFlag.NO_WAKEUP | RingbufFlag.FORCE_WAKEUP)
INDEX_MASK = int(PerfEventFlag.INDEX_MASK)
CONTEXT_LENGTH = int(PerfEventFlag.CTXLEN_MASK)
LARGEST_RECORD = 0x3FFF_FFFF  # RINGBUF_MAX_RECORD_SZ


def perf_event_output(
    run: Run, context: int, pointer: int, flags: int, data: int, size: int
) -> int:
    """Write an event, with as much of the packet as the flags ask for."""
    wanted = (flags & CONTEXT_LENGTH) >> 32
    packet = run.context.packet_bytes()
    known = INDEX_MASK | (CONTEXT_LENGTH if packet is not None else 0)
    if flags & ~known:
        return -errno.EINVAL
    if packet is not None and wanted > len(packet):
        return -errno.EFAULT
    event = run.memory.read(data, size) + (packet or b"")[:wanted]
    cpu = flags & INDEX_MASK
    if cpu == PerfEventFlag.CURRENT_CPU:
        cpu = run.world.cpu
    return run.map_at(pointer).perf_output(event, cpu)


def ringbuf_output(run: Run, pointer: int, data: int, size: int, flags: int) -> int:
    """Write a whole record."""
    if flags & ~WAKEUPS:
        return -errno.EINVAL
    return run.map_at(pointer).ring_output(run.memory.read(data, size), flags)


def ringbuf_reserve(run: Run, pointer: int, size: int, flags: int) -> int:
    """Reserve a record and return its address, or 0."""
    record = None if flags else _reserve(run, pointer, size)
    return 0 if record is None else record.base


def ringbuf_submit(run: Run, record: int, flags: int) -> int:
    """Hand a reserved record over."""
    return _commit(run, record, flags, discard=False)


def ringbuf_discard(run: Run, record: int, flags: int) -> int:
    """Give a reserved record up."""
    return _commit(run, record, flags, discard=True)


def ringbuf_query(run: Run, pointer: int, what: int) -> int:
    """Tell sizes and positions."""
    return run.map_at(pointer).ring_query(what)


def ringbuf_reserve_dynptr(run: Run, pointer: int, size: int, flags: int, dynptr: int) -> int:
    """Reserve a record behind a dynptr, which is null if there is no room."""
    size &= 0xFFFF_FFFF
    dynptrs.make(run, dynptr, 0, 0)
    if flags:
        return -errno.EINVAL
    if size > dynptrs.LARGEST:
        return -errno.E2BIG
    record = _reserve(run, pointer, size)
    if record is None:
        return -errno.EINVAL
    dynptrs.make(run, dynptr, record.base, size)
    return 0


def ringbuf_submit_dynptr(run: Run, dynptr: int, flags: int) -> int:
    """Hand the record over, if there is one."""
    return _commit_dynptr(run, dynptr, flags, discard=False)


def ringbuf_discard_dynptr(run: Run, dynptr: int, flags: int) -> int:
    """Give the record up, if there is one."""
    return _commit_dynptr(run, dynptr, flags, discard=True)


def _reserved(run: Run) -> dict[int, tuple[Map, Region]]:
    found: dict[int, tuple[Map, Region]] = run.scratch.setdefault("ring records", {})
    return found


def _reserve(run: Run, pointer: int, size: int) -> Region | None:
    ring = run.map_at(pointer)
    record = ring.ring_reserve(size) if size <= LARGEST_RECORD else None
    if record is not None:
        run.memory.place(record)
        _reserved(run)[record.base] = (ring, record)
    return record


def _commit(run: Run, address: int, flags: int, *, discard: bool) -> int:
    found = _reserved(run).pop(address, None)
    if found is None:
        raise ExecutionError(f"{address:#x} is not the address of a reserved record")
    ring, record = found
    ring.ring_commit(record, flags, discard=discard)
    run.memory.remove(record)
    return 0


def _commit_dynptr(run: Run, dynptr: int, flags: int, *, discard: bool) -> int:
    address, _, _ = dynptrs.look(run, dynptr)
    if address:
        _commit(run, address, flags, discard=discard)
    dynptrs.make(run, dynptr, 0, 0)
    return 0


HELPERS: dict[int, Function] = {
    FuncId.perf_event_output: perf_event_output,
    FuncId.ringbuf_output: ringbuf_output,
    FuncId.ringbuf_reserve: ringbuf_reserve,
    FuncId.ringbuf_submit: ringbuf_submit,
    FuncId.ringbuf_discard: ringbuf_discard,
    FuncId.ringbuf_query: ringbuf_query,
    FuncId.ringbuf_reserve_dynptr: ringbuf_reserve_dynptr,
    FuncId.ringbuf_submit_dynptr: ringbuf_submit_dynptr,
    FuncId.ringbuf_discard_dynptr: ringbuf_discard_dynptr,
}
