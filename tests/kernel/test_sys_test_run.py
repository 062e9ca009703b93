"""A program that is run again and again."""

from __future__ import annotations

import errno
import sys

import pytest

from pyebpf.asm.assemble import assemble
from pyebpf.asm.build import R0, R1, R2, add, exit_, load, load_map_value, mov, store, u64
from pyebpf.asm.slots import Slots
from pyebpf.maps.map import Map
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.slots import quiet_call
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import MapFlag, MapType, ProgFlag, ProgType
from tests.support.kernel import needs


@pytest.fixture
def counter():
    with Map.create(type=MapType.ARRAY, max_entries=1, value="Q", flags=MapFlag.MMAPABLE) as made:
        yield made


def counting(counter: Map) -> FD:
    needs("5.14", "BPF_PROG_TYPE_SYSCALL")
    items = [load_map_value(R1, "counter"), load(R2, u64(R1 + 0)), add(R2, 1)]
    code = assemble([*items, store(u64(R1 + 0), R2), mov(R0, 0), exit_()], sys.byteorder)
    slots = Slots(bytearray(code.code), sys.byteorder)
    for slot in code.symbols:
        slots.set_immediate(slot, counter.fileno())
    return bpf.prog_load(
        ProgLoad(
            prog_type=ProgType.SYSCALL,
            prog_flags=ProgFlag.SLEEPABLE,
            insns=bytes(slots.code),
            insn_cnt=len(slots),
            license=b"GPL\0",
        )
    )


def test_each_call_is_one_run(counter: Map) -> None:
    """With and without the GIL."""
    with counting(counter) as program:
        run = kernel.LinuxKernel().test_run(program.fileno())
        for _ in range(10):
            assert run() == 0
        for _ in range(5):
            assert quiet_call(*run.arguments) == 0
    assert counter[0] == 15


def test_a_failure_is_its_errno(counter: Map) -> None:
    """A descriptor of nothing, one of a map."""
    made = kernel.LinuxKernel()
    assert made.test_run(1_000_000)() == errno.EBADF
    assert made.test_run(counter.fileno())() == errno.EINVAL
