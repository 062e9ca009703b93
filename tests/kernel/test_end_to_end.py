"""The main job: load an object, attach it, read its events; not one is lost without being counted.

The producers keep their own books (bpf_src/count.bpf.c): produced, and refused by the helper. So
the law needs nobody's word but the kernel's: produced = received + lost.
"""

from __future__ import annotations

import os
import pathlib
import platform
import shutil
import subprocess
import sys

import pytest

import pyebpf
from tests.support.programs import built

GETPPID = {"x86_64": 110, "aarch64": 173, "s390x": 64}[platform.machine()]


def counting(program: str, *, burst: int = 1, size: int = 24) -> pyebpf.CollectionSpec:
    """The counting producers with only one loaded, run by this process's getppid()."""
    spec = pyebpf.load_spec(built("count"))
    for each in spec.programs.values():
        each.autoload = each.name == program
    settings = {
        "target_pid": os.getpid(),
        "target_syscall": GETPPID,
        "burst": burst,
        "size": size,
    }
    for name, value in settings.items():
        spec.variables[name].value = value
    return spec


def books(bpf: pyebpf.Collection) -> tuple[int, int]:
    produced, refused = bpf.variables["produced"].value, bpf.variables["refused"].value
    assert isinstance(produced, int)
    assert isinstance(refused, int)
    return produced, refused


def number_of(record: bytes) -> int:
    return int.from_bytes(record[:8], sys.byteorder)


RINGS = [("to_perf", "perf_events"), ("to_ring", "ring_events")]


@pytest.mark.parametrize("size", [24, 25, 31, 256])
@pytest.mark.parametrize(("program", "events"), RINGS)
def test_every_event_arrives_once_and_whole(program, events, size):
    """Drained often enough nothing is lost, also across many wraps of a small ring."""
    with pyebpf.load(counting(program, size=size)) as bpf, bpf.reader(events) as reader:
        bpf.attach()
        records = []
        for _ in range(1000):
            os.getppid()
            records += reader.drain()
        produced, refused = books(bpf)
        stats = reader.stats()
    assert (produced, refused) == (1000, 0)
    assert sorted(map(number_of, records)) == list(range(1000))
    # Perf pads records to 8 bytes; a ring buffer hands out what was put in.
    assert {len(record) for record in records} <= set(range(size, size + 8))
    assert all(int.from_bytes(record[20:24], sys.byteorder) == size for record in records)
    lost = 0 if program == "to_perf" else None
    assert (stats.received, stats.lost, stats.unknown) == (1000, lost, 0)


@pytest.mark.parametrize("bursts", [1, 5, 40])
def test_what_a_full_perf_ring_refuses_is_counted_as_lost(bursts):
    """Produced = received + lost, with the losses at the very end, behind the last record."""
    with (
        pyebpf.load(counting("to_perf", burst=64, size=256)) as bpf,
        bpf.reader("perf_events", pages=1) as reader,
    ):
        bpf.attach()
        received = 0
        for turn in range(bursts):
            os.getppid()
            if turn % 3 == 1:
                received += len(reader.drain())
        received += len(reader.drain())
        produced, refused = books(bpf)
        stats = reader.stats()
    assert produced == 64 * bursts
    assert refused > 0
    assert stats.received == received
    if stats.lost != refused:
        # Kernels before 6.0 have no count in the perf event: losses show with the next record only.
        raise pyebpf.NotSupportedError("PERF_FORMAT_LOST", "6.0")
    assert produced == received + stats.lost


@pytest.mark.parametrize("bursts", [1, 5, 40])
def test_a_full_ring_buffer_loses_what_the_helper_refused(bursts):
    """The kernel does not say how much was lost, so the reader does not either."""
    with (
        pyebpf.load(counting("to_ring", burst=64, size=256)) as bpf,
        bpf.reader("ring_events") as reader,
    ):
        bpf.attach()
        received = 0
        for turn in range(bursts):
            os.getppid()
            if turn % 3 == 1:
                received += len(reader.drain())
        received += len(reader.drain())
        produced, refused = books(bpf)
        stats = reader.stats()
    assert produced == 64 * bursts
    assert refused > 0
    assert (stats.received, stats.lost) == (received, None)
    assert produced == received + refused


def test_discarded_records_are_stepped_over():
    """What a program reserved and gave back is not an event."""
    with (
        pyebpf.load(counting("to_ring_discarding", burst=10)) as bpf,
        bpf.reader("ring_events") as reader,
    ):
        bpf.attach()
        records = []
        for _ in range(50):
            os.getppid()
            records += reader.drain()
        produced, refused = books(bpf)
    assert (produced, refused) == (250, 0)
    assert sorted(map(number_of, records)) == list(range(250))


@pytest.mark.parametrize(("program", "events"), RINGS)
def test_events_are_typed_by_the_objects_own_types(program, events):
    """record="sample" makes records with the members the C structure has."""
    with (
        pyebpf.load(counting(program, size=256)) as bpf,
        bpf.reader(events, record="sample") as reader,
    ):
        bpf.attach()
        os.getppid()
        event = reader.read(timeout=10)
        assert (event.number, event.size) == (0, 256)
        assert event.cpu in range(os.cpu_count() or 1)
        assert event._fields[:4] == ("number", "time", "cpu", "size")


def test_a_type_that_was_dropped_says_how_to_keep_it():
    """Clang emits only types that something refers to."""
    with (
        pyebpf.load(built("dropped_type")) as bpf,
        pytest.raises(pyebpf.BtfError, match=r"local_only.*unused"),
    ):
        bpf.reader("events", record="local_only")


@pytest.mark.parametrize("name", ["trace_exec", "trace_exec_ring"])
def test_every_started_process_is_seen(name, tracefs):
    """The demo's object: pid, parent, user, command and file of each exec of ours, none lost."""
    true = shutil.which("true")
    assert true is not None
    with pyebpf.load(built(name)) as bpf, bpf.reader("events", record="exec_event") as reader:
        bpf.attach()
        started = set()
        for _ in range(20):
            process = subprocess.Popen([true])
            process.wait()
            started.add(process.pid)
        seen = {}
        while started - seen.keys():
            event = reader.read(timeout=10)
            seen[event.pid] = event
        stats = reader.stats()
    assert stats.lost in (0, None)
    for pid in started:
        event = seen[pid]
        assert (event.ppid, event.uid, event.comm) == (os.getpid(), os.getuid(), "true")
        assert pathlib.Path(event.filename).name == "true"
