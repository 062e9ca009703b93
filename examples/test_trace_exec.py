"""A unit test of a daemon's parts, without a kernel; the same file tests them on a real one.

Shows:  FakeKernel through pytest's fixtures: events fed to the real reader, a program run by its
        hook, a failure on demand; and the same test on the kernel, which as root is there as well.
Needs:  pytest and nothing else; root for the half that asks the kernel, which is skipped otherwise.
Run:    pytest examples/test_trace_exec.py

Expected output (without root):

    ..s.                                                                     [100%]
    3 passed, 1 skipped in 0.41s
"""

from __future__ import annotations

import errno
import pathlib
import subprocess
import sys
from typing import Any

import pytest

import pyebpf
from pyebpf.testing import FakeKernel
from pyebpf.uapi.bpf import Cmd

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"trace_exec.{ENDIAN}.o"
HOOK = "tracepoint/sched/sched_process_exec"


# What is tested: it stands for the code of a daemon.
def next_exec(reader: Any, filename: str) -> Any:
    """Return the next event of a program of this name."""
    while True:
        event = reader.read(timeout=10)
        if event.filename.endswith(filename):
            return event


def test_events_are_read(fake_kernel: FakeKernel) -> None:
    """Records that the program never put out: straight into the reader's ring."""
    with pyebpf.load(OBJECT) as bpf, bpf.reader("events", record="exec_event") as reader:
        fake_kernel.emit(bpf.maps["events"], bytes(28) + b"/bin/other".ljust(256, b"\0"))
        fake_kernel.emit(bpf.maps["events"], bytes(28) + b"/bin/true".ljust(256, b"\0"))
        assert next_exec(reader, "/true").pid == 0
        assert reader.stats().received == 2


def test_a_started_program_is_seen(any_kernel: FakeKernel | None) -> None:
    """On both kernels: the one starts nothing, but says so to the attached program."""
    with pyebpf.load(OBJECT) as bpf, bpf.reader("events", record="exec_event") as reader:
        bpf.attach()
        if any_kernel is None:
            subprocess.run(["true"], check=True)
        else:
            record = any_kernel.record("sched/sched_process_exec", filename="/usr/bin/true")
            any_kernel.fire(HOOK, record, pid=4711, comm="true")
        assert next_exec(reader, "/true").comm == "true"


def test_a_full_machine_is_told(fake_kernel: FakeKernel) -> None:
    """What a kernel does once a year can be tested every day."""
    fake_kernel.fail(Cmd.MAP_CREATE, errno.ENOMEM, after=1)
    with pytest.raises(pyebpf.SyscallError, match="ENOMEM"):
        pyebpf.load(OBJECT)
