"""The works of readers, done in Python: ``reader_subject.py PEER FDS``, in a process of its own.

PEER is pyebpf, bcc or pylibbpf; FDS says which descriptors are which rings and the programs that
fill them: ``ring64=3:4,…``. Says what it can do, then for each line that names a work how many
nanoseconds of CPU an event took. bcc's functions are called as its own Python calls them.

Where records come while they are read, a child puts them in, on CPU ``BENCH_PRODUCER_CPU``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import pathlib
import statistics
import struct
import sys
import time
from collections.abc import Callable

from map_subject import OBJECT, python  # type: ignore[import-not-found]  # beside this file

EVENTS = 100_000
PAGES = 4096  # of a perf ring: 16 MiB
COPIES = 256 << 10
MOST_COPIES = 1 << 20  # what comes in a look's time
FLOOD = 2_000_000
BURST = 10_000  # events at a time of those that come at a pace
PACE = 10e6  # a second
LOOK = 0.001  # seconds from one look into a ring to the next, while another CPU fills it
WAKES = 200
PAUSE = 0.0005  # so that whoever waits sleeps
STAMP = struct.Struct("=QQ")  # number, time

Answer = dict[str, object]
Work = Callable[[], Answer]
KEPT: list[object] = []  # callbacks that C has


def main() -> None:
    peer, text = sys.argv[1:]
    rings: dict[str, tuple[int, int]] = {}
    for item in text.split(","):
        name, _, fds = item.partition("=")
        ring, _, program = fds.partition(":")
        rings[name] = (int(ring), int(program))
    try:
        works = {"pyebpf": pyebpf, "bcc": bcc, "pylibbpf": pylibbpf}[peer](rings)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    print(json.dumps({"works": list(works), "python": python()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(works[line.strip()]()), flush=True)


class Event(ctypes.Structure):
    """What is taken for the records of 64 bytes."""

    _fields_ = tuple((f"field{number}", ctypes.c_uint64) for number in range(8))


# ---- who does it ------------------------------------------------------------------------------


def pyebpf(rings: dict[str, tuple[int, int]]) -> dict[str, Work]:
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    from pyebpf.maps.map import Map
    from pyebpf.readers.perf import PerfReader
    from pyebpf.readers.reader import Reader
    from pyebpf.readers.ring import RingReader

    cpu = min(os.sched_getaffinity(0))
    btf = types()

    def opened(name: str, record: object = None) -> Reader:
        with Map.from_fd(rings[name][0]) as ring:
            ring.spec.btf = btf
            if name.startswith("perf"):
                return PerfReader(ring, pages=PAGES, cpus=[cpu], record=record)
            return RingReader(ring, record=record)

    def work(name: str, consume: Callable[[Reader], int], record: object = None) -> Work:
        # A reader has looked where its ring stands when it is made: one at a time.
        def run() -> Answer:
            with opened(name, record) as reader:
                return measured(rings[name][1], lambda: consume(reader))

        return run

    def typed(event: object) -> None:
        event.field0  # noqa: B018 -- two fields are what one wants
        event.field1  # noqa: B018

    def iterate(reader: Reader) -> int:
        for count, event in enumerate(reader, 1):
            event.field0  # noqa: B018
            event.field1  # noqa: B018
            if count == EVENTS:
                return count
        return 0

    def flooded(consume: Callable[[Reader], int], pace: float = 0) -> Work:
        def run() -> Answer:
            fd, program = rings["ring64"]
            with Map.from_fd(fd) as ring, RingReader(ring, interval=LOOK) as reader:
                return sustained(program, lambda: consume(reader), pace=pace)

        return run

    def wake() -> Answer:
        fd, program = rings["wake"]
        with Map.from_fd(fd) as ring, RingReader(ring) as reader:
            return woken(program, lambda handler: reader.dispatch(handler, timeout=1))

    def call(reader: Reader) -> int:
        return reader.dispatch(nothing, timeout=LOOK)

    works = {
        "ring.callback64": work("ring64", lambda reader: reader.dispatch(nothing, timeout=0)),
        "ring.typed64": work("ring64", lambda reader: reader.dispatch(typed, timeout=0), "event"),
        "ring.iter64": work("ring64", iterate, "event"),
        "ring.callback_var": work("ringvar", lambda reader: reader.dispatch(nothing, timeout=0)),
        "perf.callback60": work("perf60", lambda reader: reader.dispatch(nothing, timeout=0)),
        "sustained.callback64": flooded(call),
        "paced.callback64": flooded(call, PACE),
        "paced.poll64": flooded(lambda reader: len(reader.poll(LOOK)), PACE),
        "wakeup": wake,
    }
    if importlib.util.find_spec("numpy") is not None:
        memory, most = bytearray(COPIES), bytearray(MOST_COPIES)

        def copy(reader: Reader) -> int:
            count = 0
            while number := len(reader.read_array(0, out=memory)):
                count += number
            return count

        def look(reader: Reader) -> int:
            count = 0
            while True:
                with reader.lease(0) as records:
                    if not len(records):
                        return count
                    count += len(records.array())

        def take(reader: Reader) -> int:
            return len(reader.read_array(LOOK, out=most))

        def lend(reader: Reader) -> int:
            with reader.lease(LOOK) as records:
                return len(records.array())

        works["ring.copy64"] = work("ring64", copy)
        works["ring.zerocopy64"] = work("ring64", look)
        works["perf.copy60"] = work("perf60", copy)
        works["sustained.copy64"] = flooded(take)
        works["paced.copy64"] = flooded(take, PACE)
        works["paced.zerocopy64"] = flooded(lend, PACE)
    return works


# Types as an object has them: eight fields of 8 bytes.
def types() -> object:
    from pyebpf.btf.btf import Btf
    from tests.support.btf_builder import BtfBuilder

    builder = BtfBuilder()
    number = builder.int("unsigned long long", 8)
    fields = [(f"field{place}", number, place * 64) for place in range(8)]
    builder.struct("event", 64, *fields)
    return Btf.decode(builder.build())


def bcc(rings: dict[str, tuple[int, int]]) -> dict[str, Work]:
    from bcc.libbcc import lib
    from bcc.table import _LOST_CB_TYPE, _RAW_CB_TYPE, _RINGBUF_CB_TYPE

    def manager(name: str, function: Callable) -> ctypes.c_void_p:
        def guarded(context: object, data: int, size: int) -> int:  # as in bcc.table
            try:
                found = function(context, data, size)
                found = int(found)
            except Exception:
                found = 0
            return found

        callback = _RINGBUF_CB_TYPE(guarded)
        KEPT.append(callback)
        return ctypes.c_void_p(lib.bpf_new_ringbuf(rings[name][0], callback, None))

    def ring(name: str, function: Callable) -> Work:
        made, program = manager(name, function), rings[name][1]
        return lambda: measured(program, lambda: (lib.bpf_consume_ringbuf(made), None)[1])

    def flooded() -> Answer:
        count = 0

        def counted(context: object, data: int, size: int) -> None:
            nonlocal count
            count += 1
            nothing(ctypes.string_at(data, size))

        made = manager("ring64", counted)

        def consume() -> int:
            before = count
            time.sleep(LOOK)
            lib.bpf_consume_ringbuf(made)
            return count - before

        found = sustained(rings["ring64"][1], consume)
        lib.bpf_free_ringbuf(made)
        return found

    def wake() -> Answer:
        def poll(handler: Callable[[bytes], None]) -> None:
            if not made:
                receive = lambda context, data, size: handler(ctypes.string_at(data, size))  # noqa: E731
                made.append(manager("wake", receive))
            lib.bpf_poll_ringbuf(made[0], 1000)

        made: list[ctypes.c_void_p] = []
        found = woken(rings["wake"][1], poll)
        lib.bpf_free_ringbuf(made[0])
        return found

    def string(context: object, data: int, size: int) -> None:
        nothing(ctypes.string_at(data, size))

    def event(context: object, data: int, size: int) -> None:
        found = ctypes.cast(data, ctypes.POINTER(Event)).contents
        found.field0  # noqa: B018
        found.field1  # noqa: B018

    # The three libbpf managers of one ring share its positions, as they read them each time.
    works = {
        "ring.callback64": ring("ring64", string),
        "ring.typed64": ring("ring64", event),
        "ring.iter64": ring("ring64", event),
        "ring.callback_var": ring("ringvar", string),
        "sustained.callback64": flooded,
        "wakeup": wake,
    }
    cpu = min(os.sched_getaffinity(0))

    def received(context: object, data: int, size: int) -> None:
        try:  # as in bcc.table
            string(cpu, data, size)
        except OSError as error:
            raise SystemExit from error

    raw = _RAW_CB_TYPE(received)
    lost = _LOST_CB_TYPE(lambda context, count: None)
    reader = ctypes.c_void_p(lib.bpf_open_perf_buffer(raw, lost, None, -1, cpu, PAGES))
    KEPT.extend((raw, lost))
    if reader.value:
        fd, program = rings["perf60"]
        key = ctypes.c_uint32(cpu)
        value = ctypes.c_uint32(lib.perf_reader_fd(reader))
        lib.bpf_update_elem(fd, ctypes.byref(key), ctypes.byref(value), 0)
        readers = (ctypes.c_void_p * 1)(reader.value)

        def consume() -> None:
            lib.perf_reader_consume(1, readers)

        works["perf.callback60"] = lambda: measured(program, consume)
    return works


def pylibbpf(rings: dict[str, tuple[int, int]]) -> dict[str, Work]:
    import pylibbpf

    if not OBJECT.exists():
        raise ImportError("it takes maps from objects, and no clang has made one")
    made = pylibbpf.BpfObject(str(OBJECT.with_name("events.bpf.o")))
    made.load()
    events = made["events"]
    fd, program = rings["perf60"]
    os.dup2(fd, events.get_fd())
    events.open_perf_buffer(lambda cpu, data, size: nothing(data), page_cnt=PAGES)
    KEPT.append(made)
    return {"perf.callback60": lambda: measured(program, lambda: (events.consume(), None)[1])}


# ---- what is done -----------------------------------------------------------------------------


def nothing(data: bytes) -> None:
    """Stand for what a user does with an event."""


def measured(program: int, consume: Callable[[], object]) -> Answer:
    """Return the nanoseconds an event takes, of as many as the program has put into the ring."""
    run_program(program, EVENTS)
    start = time.thread_time_ns()
    count = consume()
    spent = time.thread_time_ns() - start
    if count is not None and count != EVENTS:
        raise RuntimeError(f"{count} events, not {EVENTS}")
    return {"ns": spent / EVENTS}


def sustained(program: int, consume: Callable[[], int], *, pace: float = 0) -> Answer:
    """Return what an event takes of as many as come from another CPU, each look with *consume*.

    They come as fast as they can, or *pace* of them in a second, in bursts.
    """
    begun = time.monotonic()
    if pace:
        child = produce(program, BURST, times=FLOOD // BURST, pause=BURST / pace)
    else:
        child = produce(program, FLOOD)
    received, usage, due = 0, None, 0.0
    start = time.thread_time_ns()
    while True:
        count = consume()
        received += count
        if usage is not None and not count:
            break
        if usage is None and time.monotonic() >= due:  # as often as libbpf's, which asks each look
            due = time.monotonic() + LOOK
            ended, _, used = os.wait4(child, os.WNOHANG)
            if ended:
                usage, passed = used, time.monotonic() - begun
    spent = time.thread_time_ns() - start
    rate = FLOOD / (passed if pace else usage.ru_stime + usage.ru_utime) / 1e6
    note = f"{rate:.1f} M events/s came, {FLOOD - received} lost"
    return {"ns": spent / received, "note": note}


def woken(program: int, wait: Callable[[Callable[[bytes], None]], object]) -> Answer:
    """Return the median time from when a record is made to when *wait* calls its function."""
    late: list[int] = []

    def handler(data: bytes) -> None:
        late.append(time.monotonic_ns() - STAMP.unpack_from(data)[1])

    child = produce(program, 1, times=WAKES, pause=PAUSE)
    while len(late) < WAKES:
        wait(handler)
    os.waitpid(child, 0)
    return {"ns": statistics.median(late)}


def produce(program: int, repeat: int, *, times: int = 1, pause: float = 0) -> int:
    """Run the program in a child, so often and each time *repeat* times; return its process id.

    Every *pause* seconds: where one was late the next is not, but pauses that were missed are gone.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.sched_setaffinity(0, {int(os.environ["BENCH_PRODUCER_CPU"])})
        due = time.monotonic()
        for _ in range(times):
            now = time.monotonic()
            due = max(due + pause, now - pause)
            time.sleep(max(due - now, 0))
            run_program(program, repeat)
    finally:
        os._exit(0)


# BPF_PROG_TEST_RUN by hand, as peers have nothing for it.
def run_program(fd: int, repeat: int) -> None:
    data = ctypes.create_string_buffer(64)
    attr = struct.pack("=IIIIQQII", fd, 0, 64, 0, ctypes.addressof(data), 0, repeat, 0)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    if ctypes.CDLL(None, use_errno=True).syscall(321, 10, buffer, len(attr)) < 0:
        raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN")


if __name__ == "__main__":
    main()
