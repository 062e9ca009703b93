"""Perf events as eBPF uses them: opened for a hook, switched on, given a program.

In: what to hook (a tracepoint's id, a place in a binary, a clock). Out: an `FD` of the event;
closing it takes the hook away unless a bpf_link holds the event. (The events behind a perf ring are
opened by `pyebpf.readers.perf`.)
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING, Protocol
from pyebpf.uapi.perf import (
    PerfEventAttr,
    PerfIoctl,
    PerfOpenFlag,
    PerfType,
    SampleType,
)

if TYPE_CHECKING:
    from pyebpf.uapi.perf_counters import PerfSw

__all__ = [
    "ProbeSource",
    "disable",
    "enable",
    "event_id",
    "open_event",
    "open_probe",
    "open_software",
    "open_tracepoint",
    "pause",
    "programs",
    "redirect",
    "set_bpf",
]

_EVERY = -1
_MAX_PROGRAMS = 64  # BPF_TRACE_MAX_PROGS


class ProbeSource(Protocol):
    """A dynamic PMU, as `pyebpf.host.pmu` finds it."""

    @property
    def type(self) -> int:
        """For ``perf_event_attr.type``."""

    @property
    def config(self) -> int:
        """For ``perf_event_attr.config``."""


def open_event(
    attr: PerfEventAttr, *, pid: int, cpu: int, group_fd: int = -1, flags: int = 0
) -> FD:
    """Open any perf event, close-on-exec.

    Args:
        attr: What to count or sample; ``size`` is filled in.
        pid: A thread, -1 for all, 0 for this one.
        cpu: A CPU, -1 for all.
        group_fd: A group leader, or -1.
        flags: ``PERF_FLAG_*`` besides close-on-exec; with ``PID_CGROUP`` *pid* is the descriptor
            of a control group.

    Raises:
        PrivilegeError: ``EPERM``, ``EACCES``: says which capability or sysctl.
        SyscallError: ``ENODEV`` for a CPU that is offline, ``ENOENT`` for an event that is not
            there, …

    Since Linux 2.6.31.
    """
    flags |= int(PerfOpenFlag.FD_CLOEXEC)
    return FD(kernel.current().perf_event_open(attr, pid, cpu, group_fd, flags))


def open_tracepoint(number: int, *, pid: int | None = None) -> FD:
    """Open the event of a tracepoint.

    One is enough for all CPUs: a program hangs on the tracepoint, not on the event's CPU.

    Args:
        number: Its id in tracefs.
        pid: Count for one thread only (a program attached to it runs for all nevertheless).
    """
    attr = PerfEventAttr(
        type=PerfType.TRACEPOINT, config=number, sample_period=1, sample_type=SampleType.RAW
    )
    return _open_hook(attr, pid)


def open_probe(
    source: ProbeSource,
    place: str | os.PathLike[str] | None,
    offset: int = 0,
    *,
    pid: int | None = None,
    reference_bits: int = 0,
) -> FD:
    """Open a uprobe or kprobe event.

    Args:
        source: The PMU, return probes already asked for.
        place: Path of the binary, or name of the kernel function; ``None``: *offset* is a kernel
            address.
        offset: Bytes into the file, or into the function.
        pid: Only this process (uprobes).
        reference_bits: Where a USDT semaphore lies in the file, at its place in ``config``.

    Raises:
        SyscallError: ``ENOENT``/``EINVAL``: no such function, not a place for a probe.

    Since Linux 4.17.
    """
    attr = PerfEventAttr(type=source.type, config=source.config | reference_bits)
    if place is not None:
        attr.uprobe_path = os.fsencode(place) + b"\0"
    attr.probe_offset = offset
    return _open_hook(attr, pid)


def open_software(
    counter: PerfSw, *, cpu: int, pid: int = _EVERY, period: int = 0, frequency: int = 0
) -> FD:
    """Open a software counter, switched off, that fires every *period* or *frequency* per second.

    Args:
        counter: ``PERF_COUNT_SW_CPU_CLOCK``, … (clocks count ns).
        cpu: A CPU, -1 for all if *pid* is given.
        pid: A thread, -1 for all, 0 for this one.
        period: Counts between two overflows.
        frequency: Overflows per second; not together with *period*.
    """
    attr = PerfEventAttr(type=PerfType.SOFTWARE, config=counter, disabled=1)
    if frequency:
        attr.freq, attr.sample_freq = 1, frequency
    else:
        attr.sample_period = period
    return open_event(attr, pid=pid, cpu=cpu)


def enable(fd: int) -> None:
    """Switch an event on.

    Raises:
        SyscallError: Not a perf event.
    """
    kernel.current().ioctl(fd, PerfIoctl.ENABLE)


def disable(fd: int) -> None:
    """Switch an event off.

    Raises:
        SyscallError: Not a perf event.
    """
    kernel.current().ioctl(fd, PerfIoctl.DISABLE)


def set_bpf(fd: int, program_fd: int) -> None:
    """Let a program run when the event happens; the event holds it until it is closed.

    Raises:
        SyscallError: ``EEXIST``: the program is attached there already; before Linux 4.15 any
            program is. ``EINVAL``: of a type that does not fit.

    Since Linux 4.1.
    """
    kernel.current().ioctl(fd, PerfIoctl.SET_BPF, program_fd)


def pause(fd: int, *, paused: bool) -> None:
    """Stop an event from writing into its ring, or let it write again.

    Since Linux 4.7.
    """
    kernel.current().ioctl(fd, PerfIoctl.PAUSE_OUTPUT, int(paused))


def redirect(fd: int, into: int) -> None:
    """Let an event write into the ring of another one of its CPU; whoever waits there is woken.

    The ring stays when the other event is closed.

    Raises:
        SyscallError: ``EINVAL``: of another CPU, or nobody has mapped the ring.

    Since Linux 2.6.35.
    """
    kernel.current().ioctl(fd, PerfIoctl.SET_OUTPUT, into)


def event_id(fd: int) -> int:
    """Return the id that records of this event carry.

    Since Linux 3.12.
    """
    answer = bytearray(8)
    kernel.current().ioctl(fd, PerfIoctl.ID, answer)
    return int.from_bytes(answer, sys.byteorder)


def programs(fd: int) -> list[int]:
    """Return the ids of the programs attached to a tracepoint or probe event.

    Raises:
        NotSupportedError: Before Linux 4.16.
        SyscallError: Not such an event.
    """
    answer = bytearray(8 + 4 * _MAX_PROGRAMS)
    struct.pack_into("=I", answer, 0, _MAX_PROGRAMS)
    try:
        kernel.current().ioctl(fd, PerfIoctl.QUERY_BPF, answer)
    except SyscallError as error:
        if error.errno == errno.ENOTTY:
            raise NotSupportedError("PERF_EVENT_IOC_QUERY_BPF", "4.16") from None
        raise
    count = min(struct.unpack_from("=I", answer, 4)[0], _MAX_PROGRAMS)
    return list(struct.unpack_from(f"={count}I", answer, 8))


# All CPUs, or one thread wherever it runs: the kernel wants one of the two named.
def _open_hook(attr: PerfEventAttr, pid: int | None) -> FD:
    if pid is None:
        return open_event(attr, pid=_EVERY, cpu=0)
    return open_event(attr, pid=pid, cpu=_EVERY)
