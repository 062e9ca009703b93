"""The kernel's own helpers and our reading of its clocks: the same numbers."""

from __future__ import annotations

import struct

import pytest

from pyebpf import ProgType
from pyebpf.host import clock
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import ProgLoad, ProgTestRun
from pyebpf.uapi.helpers import FuncId

SECOND = 1_000_000_000


def asked(helper):
    """Return the low 32 bits of what a helper without arguments returns."""
    code = struct.pack("=BBhi", 0x85, 0, 0, helper) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    attr = ProgLoad(prog_type=ProgType.SCHED_CLS, insns=code, insn_cnt=2, license=b"GPL\0")
    with bpf.prog_load(attr) as program:
        run = ProgTestRun(prog_fd=program.fileno(), data_in=bytes(64), data_size_in=64)
        bpf.prog_test_run(run)
        return run.retval


@pytest.mark.parametrize(
    ("helper", "ours", "tolerance"),
    [
        (FuncId.ktime_get_ns, clock.monotonic_ns, SECOND),
        (FuncId.ktime_get_boot_ns, clock.boot_ns, SECOND),
        (FuncId.jiffies64, clock.jiffies, 1000),
    ],
    ids=str,
)
def test_a_program_reads_the_same_clock(helper, ours, tolerance):
    """Between one reading of ours and the next, by the helper's low 32 bits."""
    before = ours()
    theirs = asked(helper)
    after = ours()
    assert after - before < tolerance
    assert (theirs - before & 0xFFFFFFFF) <= after - before + (1 if tolerance < SECOND else 0)
