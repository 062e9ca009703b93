"""Perf event arrays: descriptors of events go in, programs read and write through them."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf.sys import perf_event
from pyebpf.uapi.perf import PerfSw
from tests.support.producers import on_cpu
from tests.support.programs import only_used


def test_a_program_reads_the_counter_of_its_cpu():
    """The event in the slot counts, and the program's result is its count."""
    with (
        pyebpf.load(only_used("map_kinds", "read_counter")) as bpf,
        perf_event.open_software(PerfSw.CPU_CLOCK, cpu=0) as event,
        on_cpu(0),
    ):
        counters, program = bpf.maps["counters"], bpf.programs["read_counter"]
        assert program.run().retval == -2 & 0xFFFFFFFF  # ENOENT: an empty slot
        counters[0] = event
        perf_event.enable(event.fileno())
        first, second = program.run().retval, program.run().retval
        assert 0 < first < second < 1 << 31
        del counters[0]
        assert program.run().retval == -2 & 0xFFFFFFFF


def test_a_slot_is_not_shown():
    """The kernel does not tell user space which event is there."""
    with (
        pyebpf.load(only_used("map_kinds", "read_counter")) as bpf,
        pytest.raises(pyebpf.SyscallError, match=r'lookup in map "counters".*ENOTSUPP'),
    ):
        bpf.maps["counters"][0]
