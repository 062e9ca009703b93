"""A program that produces records and a reader of them, of both kinds and of one or many sizes."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

from pyebpf.maps.map import Map
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.reader import Reader
from pyebpf.readers.ring import RingReader
from pyebpf.uapi.bpf import MapType
from tests.support.producers import Producer

__all__ = ["CPU", "MANY", "Pair", "pair", "sequence"]

CPU = min(os.sched_getaffinity(0))
MANY = 5000  # more than one chunk holds


def sequence(record: bytes) -> int:
    (number,) = struct.unpack_from("=Q", record)
    return number


class Pair:
    """A program that produces and a reader of what it produces."""

    def __init__(self, producer: Producer, reader: Reader) -> None:
        self.producer = producer
        self.reader = reader

    def produce(self, times: int) -> None:
        """Make records."""
        self.producer.run(times, cpu=CPU)


@contextlib.contextmanager
def pair(kind: str, mask: int, **options: object) -> Iterator[Pair]:
    """Make a map, a program and a reader of this kind."""
    if kind == "perf":
        made = Map.create(type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=64)
    else:
        made = Map.create(type=MapType.RINGBUF, max_entries=1 << 21)
    with made, Producer(kind, made.fileno(), base=16, mask=mask) as producer:
        if kind == "perf":
            opened: Reader = PerfReader(made, pages=512, cpus=[CPU], **options)
        else:
            opened = RingReader(made, **options)
        with opened:
            yield Pair(producer, opened)
