"""The suite of readers: what an event takes that is in a ring already, or that comes.

    ring64     records of 64 bytes      ringvar   of 16 to 143      perf60    of 60, in a perf ring
    wake       of 64 bytes, which say when they were made

100000 records are put into the ring by a program, then the peer takes them out: what counts is the
consumer alone. Each peer has a ring and a program of its own, by descriptors it inherits.

What is done with an event is the same for all: ``copy`` keeps its bytes, ``zerocopy`` looks at them
in place, ``callback`` calls a Python function with them as ``bytes``, ``typed`` calls
one with an object and reads two fields, ``iter`` reads them in a loop.

Copies go to 256 KiB of memory, which is used again and again; where records come meanwhile, to
1 MiB.

In ``sustained`` works another CPU puts 2000000 records into the ring as fast as it can, and the
peer looks every millisecond. Beside the time an event takes it is told how many came in a second,
and how many were lost. In ``paced`` ones they come at 10 millions a second, 10000 each millisecond:
the ring holds 23 ms of that. What takes more than 100 ns an event cannot keep up. ``wakeup`` is
from the program's clock to a function that a sleeping peer calls: the median of 200 records that
come one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyebpf.loader.collection import load
from pyebpf.maps.map import Map
from pyebpf.uapi.bpf import MapType
from tests.bench.harness import BUILD, Command
from tests.support.producers import Producer
from tests.support.programs import built

__all__ = ["UNITS", "subjects"]

HERE = Path(__file__).parent
PEERS = ("libbpf", "bcc", "pylibbpf", "pyebpf")

UNITS = {
    "ring.copy64": "ns/event",
    "ring.zerocopy64": "ns/event",
    "ring.callback64": "ns/event",
    "ring.typed64": "ns/event",
    "ring.iter64": "ns/event",
    "ring.callback_var": "ns/event",
    "perf.copy60": "ns/event",
    "perf.callback60": "ns/event",
    "sustained.copy64": "ns/event",
    "sustained.callback64": "ns/event",
    "paced.copy64": "ns/event",
    "paced.zerocopy64": "ns/event",
    "paced.callback64": "ns/event",
    "paced.poll64": "ns/event",
    "wakeup": "us",
}
RING_SIZE = 16 << 20
# Kind of the map, and the records: shortest, and a mask for what is longer.
RINGS = {"ring64": ("ring", 64, 0), "ringvar": ("ring", 16, 127), "perf60": ("perf", 60, 0)}


@contextmanager
def subjects(python: str) -> Iterator[tuple[list[Command], list[int]]]:
    """Make rings and programs, and say how the peers are started on them."""
    with ExitStack() as stack:
        fds: list[int] = []
        commands = []
        for peer in PEERS:
            words = []
            for name, (kind, base, mask) in RINGS.items():
                made = stack.enter_context(_ring(kind, name))
                producer = stack.enter_context(Producer(kind, made.fileno(), base=base, mask=mask))
                fds += [made.fileno(), producer.fileno()]
                words.append(f"{name}={made.fileno()}:{producer.fileno()}")
            waking = stack.enter_context(load(built("steady")))
            pair = waking.maps["events"].fileno(), waking.programs["produce"].fileno()
            fds += pair
            words.append("wake={}:{}".format(*pair))
            text = ",".join(words)
            if peer == "libbpf":
                commands.append(Command(peer, [str(BUILD / "readers"), text]))
            else:
                commands.append(
                    Command(peer, [python, str(HERE / "reader_subject.py"), peer, text])
                )
        yield commands, fds


def _ring(kind: str, name: str) -> Map[bytes, bytes]:
    if kind == "ring":
        return Map.create(type=MapType.RINGBUF, max_entries=RING_SIZE, name=name)
    return Map.create(
        type=MapType.PERF_EVENT_ARRAY,
        key_size=4,
        value_size=4,
        max_entries=(os.cpu_count() or 1),
        name=name,
    )
