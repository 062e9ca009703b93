"""PerfReader over CPUs that come and go, on a made-up kernel: what is opened, kept and said."""

from __future__ import annotations

import errno
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyebpf.errors import ReaderTimeout, SyscallError
from pyebpf.maps.map import Map
from pyebpf.readers import perf_rings
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.perf_history import PerfHistory
from pyebpf.sys import kernel
from pyebpf.testing import FakeKernel
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.perf import PerfIoctl


class Machine:
    """A made-up kernel whose CPUs can be switched."""

    def __init__(self, fake: FakeKernel, root: Path) -> None:
        self.fake = fake
        self.root = str(root)
        self.dead: set[int] = set()  # descriptors
        self.opened: list[int] = []  # CPUs
        self.redirected: list[tuple[int, int]] = []
        self.paused: list[tuple[int, int]] = []
        self.refusal = 0
        self._cpus = root / "sys/devices/system/cpu"
        self._announcements = root / "sys/kernel/uevent_seqnum"
        self._fds: dict[int, int] = {}
        self._online: list[int] = []
        for directory in (self._cpus, self._announcements.parent):
            directory.mkdir(parents=True)
        (self._cpus / "possible").write_text("0-3\n")

    def switch(self, *online: int) -> None:
        """Let these be online; those that were not before lose their events."""
        self.dead |= {fd for fd, cpu in self._fds.items() if cpu not in online}
        self._online = list(online)
        (self._cpus / "online").write_text(",".join(map(str, online)) + "\n")

    def announce(self, number: int) -> None:
        self._announcements.write_text(f"{number}\n")

    def perf_event_open(self, attr, pid, cpu, group_fd, flags) -> int:
        if cpu not in self._online:
            raise SyscallError("perf_event_open", errno.ENODEV)
        if self.refusal:
            raise SyscallError("perf_event_open", self.refusal)
        fd = self.fake.perf_event_open(attr, pid, cpu, group_fd, flags)
        self.opened.append(cpu)
        self._fds[fd] = cpu
        self.dead.discard(fd)
        return fd

    def read(self, fd: int, size: int) -> bytes:
        if fd in self.dead:
            return struct.pack("=QQQ", 0, 1, 7)  # it stands still, with seven lost
        return self.fake.read(fd, size)

    def mmap(self, fd, length, *, writable, offset=0) -> mmap.mmap:
        if not writable:  # the fake has no ring that overwrites
            return mmap.mmap(-1, length)
        return self.fake.mmap(fd, length, writable=writable, offset=offset)

    def ioctl(self, fd, request, argument=0) -> int:
        if request == PerfIoctl.SET_OUTPUT:
            self.redirected.append((self._fds[fd], self._fds[argument]))
            return 0
        if request == PerfIoctl.PAUSE_OUTPUT:
            self.paused.append((self._fds[fd], argument))
        return self.fake.ioctl(fd, request, argument)

    def __getattr__(self, name: str):
        return getattr(self.fake, name)


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Iterator[Machine]:
    """CPU 0 is online; whether others came is looked at before each look at the rings."""
    monkeypatch.setattr(perf_rings, "_RENEWAL", 0.0)
    with FakeKernel(cpus=4) as fake:
        made = Machine(fake, tmp_path)
        made.switch(0)
        made.announce(1)
        with kernel.use(made):
            yield made


@pytest.fixture
def array(machine) -> Iterator[Map]:
    with Map.create(
        type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=4, name="events"
    ) as made:
        yield made


def cpus_of(reader: PerfReader) -> list[int]:
    return [each.cpu for each in reader.stats().per_cpu]


@pytest.mark.parametrize("held", [False, True], ids=["alone", "fileno"])
def test_a_new_cpu_is_opened_and_read(machine, array, held):
    """Records of it come and wake the reader; the others' are not opened again."""
    with PerfReader(array) as reader:
        if held:
            reader.fileno()
        assert cpus_of(reader) == [0]
        machine.switch(0, 2)
        with pytest.raises(ValueError, match="nobody reads"):
            machine.emit(array, b"too early", cpu=2)
        assert reader.drain() == []
        assert machine.emit(array, b"12345678", cpu=2)
        assert reader.read(5)[:8] == b"12345678"
        assert cpus_of(reader) == [0, 2]
        machine.switch(0, 1, 2)
        assert reader.drain() == []
        assert cpus_of(reader) == [0, 1, 2]
        assert machine.opened == [0, 2, 1]


def test_a_cpu_that_was_away_for_a_moment_gets_another_event_into_its_ring(machine, array):
    """Those online are the same as before: the kernel's announcements tell. Losses add up."""
    machine.switch(0, 1)
    with PerfReader(array) as reader:
        machine.emit(array, b"kept....", cpu=1)
        machine.switch(0)
        machine.switch(0, 1)
        assert reader.drain()[0][:8] == b"kept...."
        machine.announce(2)
        reader.drain()
        assert machine.opened == [0, 1, 1]
        assert machine.redirected == [(1, 1)]
        assert {each.cpu: each.lost for each in reader.stats().per_cpu} == {0: 0, 1: 7}
        machine.announce(3)
        reader.drain()
        assert machine.opened == [0, 1, 1]


def test_a_subset_stays_a_subset(machine, array):
    """Others that come are left alone, those of the subset come back."""
    machine.switch(0, 1)
    with PerfReader(array, cpus=[1]) as reader:
        machine.switch(0)
        reader.drain()
        machine.switch(0, 1, 2, 3)
        reader.drain()
        assert machine.opened == [1, 1]
        assert cpus_of(reader) == [1]


def test_a_ring_that_cannot_be_opened_is_said_once(machine, array):
    """The call names map and CPU; other rings go on."""
    with PerfReader(array) as reader:
        machine.switch(0, 1)
        machine.refusal = errno.EMFILE
        with pytest.raises(SyscallError, match="CPU 1") as caught:
            reader.drain()
        assert caught.value.errno == errno.EMFILE
        machine.emit(array, b"12345678", cpu=0)
        assert len(reader.drain()) == 1
        machine.refusal = 0
        machine.announce(2)
        reader.drain()
        assert cpus_of(reader) == [0, 1]


def test_nothing_is_opened_while_nothing_changes(machine, array):
    """Nor where /sys shows no CPUs."""
    with PerfReader(array) as reader:
        machine.dead.update(machine._fds)  # nobody looks
        for _ in range(3):
            assert reader.drain() == []
        assert machine.opened == [0]
    machine.switch(0, 1)
    Path(machine.root, "sys/devices/system/cpu/online").unlink()
    with PerfReader(array, cpus=[0]) as reader:
        machine.announce(2)
        assert reader.drain() == []
        with pytest.raises(ReaderTimeout):
            reader.read(0.01)
    assert machine.opened == [0, 0]


def test_a_history_follows_cpus_too(machine, array):
    """Those that are new, paused if it is, and those that come back, with what was kept of them."""
    machine.switch(0, 1)
    with PerfHistory(array) as history:
        machine.switch(0)
        machine.switch(0, 1)
        machine.announce(2)
        assert sorted(history.snapshot()) == [0, 1]
        assert machine.opened == [0, 1, 1]
        assert machine.redirected == [(1, 1)]
        history.pause()
        before = len(machine.paused)
        machine.switch(0, 1, 3)
        history.pause()
        assert machine.opened == [0, 1, 1, 3]
        assert machine.paused[before] == (3, 1)
        assert sorted(history.snapshot()) == [0, 1, 3]
        machine.announce(3)
        history.resume()
        assert machine.opened == [0, 1, 1, 3]


def test_a_history_says_once_what_cannot_be_opened(machine, array):
    """And keeps the others."""
    with PerfHistory(array) as history:
        machine.switch(0, 1)
        machine.refusal = errno.EMFILE
        with pytest.raises(SyscallError, match="CPU 1"):
            history.snapshot()
        assert sorted(history.snapshot()) == [0]
