"""Perf events: tracepoints and probes that count what really happens, software clocks, ioctls."""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import struct

import pytest

from pyebpf.errors import SyscallError
from pyebpf.host import mounts, pmu
from pyebpf.host import tracefs as host_tracefs
from pyebpf.host.symbols import file_offset, find_file
from pyebpf.sys import bpf, perf_event
from pyebpf.sys.fd import FD
from pyebpf.sys.mount import unmount
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.perf import PerfEventAttr, PerfIoctl, PerfSw, PerfType
from tests.support.children import fork, outcome_as_nobody

RETURN_0 = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
TIMES = 25


def count(event: FD) -> int:
    return int(struct.unpack("=Q", os.read(event.fileno(), 8))[0])


def ask_for_parent() -> None:
    getppid = ctypes.CDLL(None).getppid
    for _ in range(TIMES):
        getppid()


@pytest.mark.parametrize("retprobe", [False, True], ids=["entry", "return"])
def test_a_uprobe_counts_calls_of_a_library_function(retprobe: bool) -> None:
    """The place found by name is the right one: as many hits as calls, by this process only."""
    library = find_file("c", pid=os.getpid())
    source = pmu.probe("uprobe", retprobe=retprobe)
    offset = file_offset(library, "getppid")
    with perf_event.open_probe(source, library, offset, pid=os.getpid()) as event:
        perf_event.enable(event.fileno())
        ask_for_parent()
        perf_event.disable(event.fileno())
        ask_for_parent()
        assert count(event) == TIMES


def test_a_probe_that_is_nowhere_is_refused() -> None:
    """A file that is not there."""
    with pytest.raises(SyscallError, match="perf_event_open: ENOENT"):
        perf_event.open_probe(pmu.probe("uprobe"), "/nonexistent", 0)


def test_a_tracepoint_counts(tracefs: pathlib.Path) -> None:
    """A fork of this thread is one hit of its own event."""
    number = int((tracefs / "events/sched/sched_process_fork/id").read_text())
    with perf_event.open_tracepoint(number, pid=0) as event:
        perf_event.enable(event.fileno())
        child = fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        perf_event.disable(event.fileno())
        assert count(event) == 1


def test_a_tracepoint_is_found_by_name() -> None:
    """Also where the machine has not mounted tracefs: then that is done, and undone here."""
    mounted_before = mounts.of_type("tracefs")
    directory = host_tracefs.directory()
    try:
        number = host_tracefs.tracepoint_id("sched", "sched_switch")
        with perf_event.open_tracepoint(number) as event:
            assert perf_event.event_id(event.fileno()) > 0
        assert (directory / "events/sched/sched_switch/id").read_text() == f"{number}\n"
    finally:
        if not mounted_before and directory.as_posix() in mounts.of_type("tracefs"):
            unmount(directory, lazily=True)


def test_an_event_tells_its_programs(tracefs: pathlib.Path) -> None:
    """set_bpf attaches, programs() lists; the same one twice is EEXIST."""
    number = int((tracefs / "events/sched/sched_process_exit/id").read_text())
    attr = ProgLoad(prog_type=ProgType.TRACEPOINT, insn_cnt=2, insns=RETURN_0, license=b"GPL\0")
    with bpf.prog_load(attr) as program, perf_event.open_tracepoint(number) as event:
        assert perf_event.programs(event.fileno()) == []
        perf_event.set_bpf(event.fileno(), program.fileno())
        assert len(perf_event.programs(event.fileno())) == 1
        with pytest.raises(SyscallError) as caught:
            perf_event.set_bpf(event.fileno(), program.fileno())
        assert caught.value.errno == errno.EEXIST


def test_a_clock_ticks_only_when_switched_on() -> None:
    """open_software makes the event disabled."""
    with perf_event.open_software(PerfSw.TASK_CLOCK, cpu=-1, pid=0, period=1_000_000) as event:
        assert count(event) == 0
        perf_event.enable(event.fileno())
        sum(range(100_000))
        perf_event.disable(event.fileno())
        assert count(event) > 0
    with perf_event.open_software(PerfSw.CPU_CLOCK, cpu=0, frequency=99) as event:
        assert count(event) == 0


def test_output_is_paused_only_of_rings() -> None:
    """An event without a mapped ring has nothing to pause."""
    attr = PerfEventAttr(type=PerfType.SOFTWARE, config=PerfSw.BPF_OUTPUT)
    with perf_event.open_event(attr, pid=-1, cpu=0) as event:
        with pytest.raises(SyscallError, match="ioctl: EINVAL"):
            perf_event.pause(event.fileno(), paused=True)
        with pytest.raises(SyscallError, match=f"{int(PerfIoctl.SET_BPF):#x}"):
            perf_event.set_bpf(event.fileno(), event.fileno())


def test_events_that_cannot_be_are_refused() -> None:
    """A CPU that is not there, an event nobody knows."""
    with pytest.raises(SyscallError) as caught:
        perf_event.open_software(PerfSw.CPU_CLOCK, cpu=100_000)
    assert caught.value.errno in (errno.ENODEV, errno.EINVAL)
    with pytest.raises(SyscallError):
        perf_event.open_event(PerfEventAttr(type=PerfType.SOFTWARE, config=999), pid=0, cpu=-1)


def test_perf_says_what_is_missing() -> None:
    """User nobody opens a system-wide event: the message names CAP_PERFMON."""
    text = outcome_as_nobody(lambda: perf_event.open_software(PerfSw.CPU_CLOCK, cpu=0))
    assert text.startswith("PrivilegeError: ")
    assert "CAP_PERFMON" in text
