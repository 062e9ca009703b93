"""Reads 100 000 events a second for long, as a daemon does: nothing is lost, nothing grows.

    python -m tests.soak [SECONDS]        root; 600 by default, once for each way of reading

    producer (a process of its own)                        consumer (this one)
      runs a program RATE / 1000 times each millisecond ──▶  batches: read_array, interval=10 ms
      64 B each: number, time                               events:  dispatch to a function

Each minute is printed, and the end: status 1 if the events received are not those produced less
those dropped, each once and in order, or if memory or descriptors have grown since the first
period. Latency is from the program's clock to the consumer's code. `steady.bpf.c` is the program.

Wants a machine that is not busy. The ring holds 0.58 s of events: a consumer that is kept from
running for longer loses some, and "waited for a CPU" tells that from one that is too slow. A
producer that was kept from running does not catch up beyond `BURST`; too few events are an error.
"""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import pyebpf
from pyebpf.readers.ring import RingReader
from tests.support.programs import ROOT, built

RATE = 100_000
PERIOD = 60.0
TICK = 0.001
BURST = RATE // 10  # a sixth of what the ring holds
LEAST = 0.95  # of RATE, or the machine was too busy to tell anything
PATIENCE = 0.1
GROWTH = 1 << 20  # one arena of Python's allocator
EVENT = np.dtype([("sequence", "u8"), ("time", "u8"), ("unused", "u8", 6)])
STATM, DESCRIPTORS = pathlib.Path("/proc/self/statm"), pathlib.Path("/proc/self/fd")
SCHEDSTAT = pathlib.Path("/proc/self/schedstat")  # ns that it ran, ns that it waited for a CPU
HEAD = struct.Struct("=QQ")
SLOWEST = 1_000_000  # us; latencies above count as this
NEAR = 1 << 15  # of a batch: counting is quicker than sorting


class Books:
    """What was received so far: how many events, what was missing, and how late they came.

    Memory of one size, all of it touched at the start: a counter for each microsecond.
    """

    def __init__(self) -> None:
        self.received = 0
        self.last = 0
        self.missing = 0
        self.disordered = 0
        # Zeros would be pages of nothing until something is late: growth that is not the reader's.
        self.late = np.full(SLOWEST + 1, 0, np.int64)
        self._sums = self.late.copy()
        self._cells = self.late.data  # numpy's own indexing takes three times as long

    def batch(self, events: Any) -> None:
        """Enter an array of events."""
        if not len(events):
            return
        now = time.monotonic_ns()
        numbers = events["sequence"].astype(np.int64)
        last, self.last = self.last, int(numbers[-1])
        self.received += len(events)
        # All is well nearly always, and what the books cost counts as the daemon's.
        if numbers[0] != last + 1 or (numbers[1:] - numbers[:-1] != 1).any():
            steps = np.diff(numbers, prepend=last)
            self.disordered += int((steps <= 0).sum())
            self.missing += int(steps.sum()) - len(steps)
        late = (now - events["time"].astype(np.int64)) // 1000
        low, high = late.min(), late.max()
        if low >= 0 and high <= SLOWEST and high - low < NEAR:
            counts = np.bincount(late - low)
            self.late[low : low + len(counts)] += counts
        else:
            found, counts = np.unique(late.clip(0, SLOWEST), return_counts=True)
            self.late[found] += counts

    def event(self, record: bytes) -> None:
        """Enter one event."""
        number, made = HEAD.unpack_from(record)
        step = number - self.last
        if step != 1:
            self.disordered += step <= 0
            self.missing += step - 1
        self.last = number
        self.received += 1
        self._cells[min((time.monotonic_ns() - made) // 1000, SLOWEST)] += 1

    def percentiles(self, *which: float) -> list[int]:
        """Return latencies in us."""
        sums = np.cumsum(self.late, out=self._sums)
        # With floats to look for, it would make floats of all.
        return [int(np.searchsorted(sums, int(sums[-1] * each / 100))) for each in which]


class Look(NamedTuple):
    """The consumer at one moment."""

    time: float
    cpu: float
    waited: float
    received: int
    memory: int
    descriptors: int


def look(books: Books) -> Look:
    memory = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    descriptors = sum(1 for _ in DESCRIPTORS.iterdir()) - 1  # but for the one that looks
    waited = int(SCHEDSTAT.read_text().split()[1]) / 1e9
    return Look(time.monotonic(), time.process_time(), waited, books.received, memory, descriptors)


def produce(program: pyebpf.Program, seconds: float, rate: int) -> None:
    """Run *program* *rate* times a second, catching up a little after a scheduler's pause."""
    started, done = time.monotonic(), 0
    while (passed := time.monotonic() - started) < seconds:
        due = int(passed * rate) - done
        if due > 0:
            program.run(bytes(64), repeat=min(due, BURST))
            done += due
        time.sleep(TICK)


def start_producer(program: pyebpf.Program, seconds: float) -> subprocess.Popen[bytes]:
    fd = program.fileno()
    numbers = [str(fd), str(seconds), str(RATE)]
    command = [sys.executable, "-m", "tests.soak", "--produce", *numbers]
    return subprocess.Popen(command, cwd=ROOT, pass_fds=[fd])


def running(producer: subprocess.Popen[bytes]) -> bool:
    status = producer.poll()
    if status:
        raise ChildProcessError(f"the producer failed: {status}")
    return status is None


def report(before: Look, now: Look, books: Books, lost: int) -> None:
    passed = now.time - before.time
    late = books.percentiles(50, 99, 100)
    print(
        f"  {(now.received - before.received) / passed:9.0f} events/s"
        f"  received {now.received}  lost {lost}"
        f"  CPU {100 * (now.cpu - before.cpu) / passed:5.2f} %"
        f"  waited for a CPU {now.waited - before.waited:.2f} s"
        f"  memory {now.memory >> 10} KiB  fds {now.descriptors}"
        f"  latency p50 {late[0]} p99 {late[1]} max {late[2]} us",
        flush=True,
    )


def run(mode: str, seconds: float) -> list[str]:
    """Read for so long; return what was wrong."""
    books = Books()
    period = min(PERIOD, seconds / 5)
    with pyebpf.load(built("steady")) as bpf:
        interval = 0.01 if mode == "batch" else None
        dropped = bpf.variables["dropped"]
        with RingReader(bpf.maps["events"], drops=dropped, interval=interval) as reader:
            take = taker(mode, reader, books)
            with start_producer(bpf.programs["produce"], seconds) as producer:
                while not books.received and running(producer):
                    take(PATIENCE)  # it takes a moment to start
                looks = [look(books)]
                while running(producer):
                    take(PATIENCE)
                    if time.monotonic() - looks[-1].time >= period:
                        looks.append(look(books))
                        report(looks[-2], looks[-1], books, reader.stats().lost)
            while take(0):
                pass
            lost = reader.stats().lost
            looks.append(look(books))
        produced = bpf.variables["produced"].value
        wrong = verdict(books, looks, produced, int(dropped.value), lost)
        if produced < LEAST * RATE * seconds:
            wrong.append(f"only {produced / seconds:.0f} events/s produced: a busy machine")
        return wrong


def taker(mode: str, reader: RingReader[bytes], books: Books) -> Callable[[float], int]:
    out = bytearray(1 << 18)

    def batch(timeout: float) -> int:
        events = reader.read_array(timeout, dtype=EVENT, out=out)
        books.batch(events)
        return len(events)

    def each(timeout: float) -> int:
        return reader.dispatch(books.event, timeout=timeout)

    return batch if mode == "batch" else each


def verdict(
    books: Books, looks: list[Look], produced: int, dropped: int, lost: int | None
) -> list[str]:
    last, wrong = looks[-1], []
    # A late batch is a large one, for a moment: what is always there counts. The first look is
    # from before everything was imported and allocated.
    half = (len(looks) + 1) // 2
    grown = min(each.memory for each in looks[half:]) - min(each.memory for each in looks[1:half])
    leaked = last.descriptors - looks[1].descriptors
    if books.received != produced - dropped or books.disordered:
        wrong.append(
            f"{produced} produced, {dropped} dropped, {books.received} received,"
            f" {books.disordered} out of order"
        )
    # Those dropped behind the last that came leave no gap.
    if dropped or lost or books.missing:
        wrong.append(
            f"{dropped} dropped, {lost} said to be lost, {books.missing} missing;"
            f" waited for a CPU {last.waited - looks[0].waited:.2f} s"
        )
    if grown > GROWTH:
        wrong.append(f"memory grew by {grown} bytes")
    if leaked:
        wrong.append(f"{leaked} more descriptors")
    passed, whole = last.time - looks[0].time, last.cpu - looks[0].cpu
    late = books.percentiles(50, 99, 99.9, 100)
    print(
        f"  {produced} produced = {books.received} received + {dropped} dropped;"
        f" {produced / passed:.0f} a second; CPU {100 * whole / passed:.2f} % of a core;"
        f" memory {grown:+} B, descriptors {leaked:+};"
        f" latency p50 {late[0]}, p99 {late[1]}, p99.9 {late[2]}, max {late[3]} us"
    )
    return wrong


def main(seconds: float) -> int:
    status = 0
    for mode in ("batch", "events"):
        print(f"{mode}: {RATE} events/s of {EVENT.itemsize} B for {seconds:g} s", flush=True)
        for line in run(mode, seconds):
            print(f"  WRONG: {line}")
            status = 1
    return status


if __name__ == "__main__":
    if sys.argv[1:2] == ["--produce"]:
        with pyebpf.Program.from_fd(int(sys.argv[2])) as made:
            produce(made, float(sys.argv[3]), int(sys.argv[4]))
        sys.exit()
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0))
