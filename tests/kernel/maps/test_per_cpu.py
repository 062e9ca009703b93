"""Per-CPU maps: a value for each possible CPU, together or one by one."""

from __future__ import annotations

import os

import pytest

import pyebpf
from pyebpf import Map, MapType, features
from pyebpf.host import cpus
from pyebpf.sys import kernel
from pyebpf.sys.kernel import LinuxKernel
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import Cmd, UpdateFlag
from tests.support.producers import on_cpu
from tests.support.programs import built

COUNT = cpus.possible()
KINDS = [MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH]


class OneCpuKernel(LinuxKernel):
    """The real kernel, with the flags of Linux 6.19 on top: they are taken apart here."""

    __slots__ = ()

    def bpf(self, cmd, attr, *, common=None):
        if not isinstance(attr, MapElem) or not attr.flags & (UpdateFlag.CPU | UpdateFlag.ALL_CPUS):
            return super().bpf(cmd, attr, common=common)
        stride, cpu, one = 8, attr.flags >> 32, attr.value
        values = bytearray(stride * COUNT)
        whole = MapElem(map_fd=attr.map_fd, key=attr.key, value=values)
        if cmd == Cmd.MAP_LOOKUP_ELEM:
            result = super().bpf(cmd, whole)
            one[:] = values[cpu * stride :][: len(one)]
            return result
        if attr.flags & UpdateFlag.ALL_CPUS:
            values[:] = bytes(one) * COUNT
        else:
            super().bpf(Cmd.MAP_LOOKUP_ELEM, whole)
            values[cpu * stride : cpu * stride + stride] = one
        return super().bpf(cmd, whole)


@pytest.fixture(params=["this kernel", "with the flags"])
def flags(request):
    """The kernel as it is, and one with the flags for single CPUs."""
    if request.param == "this kernel":
        yield features.one_cpu_values.available()
        return
    with kernel.use(OneCpuKernel()):
        assert features.one_cpu_values.available()
        yield True


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_cpus_value_is_an_item_of_the_list(flags, kind):
    """Read alone it is what the list has there; set alone it changes nothing else."""
    with Map.create(type=kind, key="I", key_size=4, value="I", max_entries=2, name="p") as m:
        values = [100 + cpu for cpu in range(COUNT)]
        m[1] = values
        assert [m.lookup_on(1, cpu) for cpu in range(COUNT)] == values
        assert (m.sum(1), m.max(1)) == (sum(values), values[-1])
        m.update_on(1, 7)
        assert m[1] == [7] * COUNT
        if flags:
            m.update_on(1, 9, cpu=COUNT - 1)
            assert m[1] == [7] * (COUNT - 1) + [9]
        else:
            with pytest.raises(pyebpf.NotSupportedError, match=r"one CPU.*6\.19"):
                m.update_on(1, 9, cpu=0)
        with pytest.raises(ValueError, match=f"no CPU {COUNT}; possible are 0"):
            m.lookup_on(1, COUNT)
        if kind != MapType.PERCPU_ARRAY:
            for look in (lambda: m.lookup_on(0, 0), lambda: m.sum(0), lambda: m.max(0)):
                with pytest.raises(pyebpf.KeyNotFoundError, match='no key 0 in map "p"'):
                    look()


def test_the_kernel_puts_each_cpus_value_in_its_place():
    """A program counts on the CPU it runs on."""
    with pyebpf.load(built("count_syscalls")) as bpf:
        bpf.attach()
        for cpu in range(COUNT):
            with on_cpu(cpu):
                for _ in range(100):
                    os.getppid()
        totals = [sum(column) for column in zip(*bpf.maps["counts"].values(), strict=True)]
        assert len(totals) == COUNT
        assert min(totals) >= 100


def test_other_maps_have_one_value():
    """Their kind is named in the error."""
    with Map.create(type=MapType.ARRAY, value="I", max_entries=1, name="a") as m:
        for look in (lambda: m.sum(0), lambda: m.lookup_on(0, 0), lambda: m.update_on(0, 1)):
            with pytest.raises(TypeError, match='map "a" has one value for all CPUs'):
                look()
