"""Rings in shared memory that a test writes as the kernel would, and readers over them.

with bpf_ring() as (memory, reader):
memory.put(memory.record(b"data"))
assert reader.drain() == [b"data"]
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import time
from collections.abc import Iterator

from pyebpf.errors import SyscallError
from pyebpf.readers.perf import PerfReader
from pyebpf.readers.ring import RingReader
from pyebpf.sys import kernel, rings
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType
from pyebpf.uapi.perf import ReadFormat

__all__ = [
    "BUSY",
    "DISCARD",
    "LOST",
    "PAGE",
    "RINGS",
    "SAMPLE",
    "THROTTLE",
    "WORD",
    "BpfMemory",
    "FakeMap",
    "PerfMemory",
    "Several",
    "bpf_ring",
    "perf_ring",
]

PAGE = mmap.PAGESIZE
WORD = (1 << rings.WORD_BITS) - 1
BUSY, DISCARD = 1 << 31, 1 << 30
SAMPLE, LOST, THROTTLE = 9, 2, 5


class Memory:
    """A kernel whose rings are a memory file; the two kinds differ in how they are laid out."""

    root = "/"

    def __init__(self, size: int, position: int) -> None:
        self.size = size
        self.file = os.memfd_create("ring")
        os.truncate(self.file, 2 * PAGE + 2 * size)
        self.memory = mmap.mmap(self.file, 2 * PAGE + 2 * size)
        self.head = position
        self.opened: list[int] = []
        self.ready = os.eventfd(0, os.EFD_NONBLOCK)

    # What the library calls.

    def mmap(self, fd: int, length: int, *, writable: bool, offset: int = 0) -> mmap.mmap:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(self.file, length, mmap.MAP_SHARED, protection, offset=offset)

    def bpf(self, cmd: Cmd, attr: object, *, common: object = None) -> int:
        return os.dup(self.ready) if cmd == Cmd.MAP_GET_FD_BY_ID else 0

    def perf_event_open(self, attr, pid, cpu, group_fd, flags) -> int:
        if cpu != 0:
            raise SyscallError("perf_event_open", errno.ENODEV)
        if attr.read_format & ReadFormat.LOST:
            raise SyscallError("perf_event_open", errno.EINVAL)
        return os.dup(self.ready)

    def read(self, fd: int, size: int) -> bytes:
        return struct.pack("=QQ", 0, time.monotonic_ns())

    def settle(self, fds: object) -> None:
        """Readiness is the test's business."""

    # What the test does.

    def wake(self) -> None:
        os.eventfd_write(self.ready, 1)

    def close(self) -> None:
        self.memory.close()
        os.close(self.file)
        os.close(self.ready)


class BpfMemory(Memory):
    """Producer of a BPF ring."""

    def __init__(self, size: int, position: int) -> None:
        super().__init__(size, position)
        struct.pack_into("=Q", self.memory, 0, position)
        struct.pack_into("=Q", self.memory, PAGE, position)

    def put(self, data: bytes) -> None:
        """Append bytes, as the double mapping shows them, and move the position."""
        for place, byte in enumerate(data):
            where = 2 * PAGE + (self.head + place) % self.size
            self.memory[where] = self.memory[where + self.size] = byte
        self.head += len(data)
        struct.pack_into("=Q", self.memory, PAGE, self.head & WORD)

    def set_header(self, position: int, header: int) -> None:
        for copy in (0, self.size):
            where = 2 * PAGE + position % self.size + copy
            struct.pack_into("=I", self.memory, where, header)

    @property
    def tail(self) -> int:
        return struct.unpack_from("=Q", self.memory, 0)[0]

    def record(self, payload: bytes, flags: int = 0) -> bytes:
        size = 8 + len(payload)
        return struct.pack("=II", len(payload) | flags, 0) + payload + bytes(-size % 8)


class PerfMemory(Memory):
    """Producer of a perf ring of one CPU."""

    def __init__(self, size: int, position: int) -> None:
        super().__init__(size, position)
        struct.pack_into("=QQ", self.memory, 1024, position, position)

    def put(self, data: bytes) -> None:
        """Append bytes, around the end of the data, and move the position."""
        for place, byte in enumerate(data):
            self.memory[PAGE + (self.head + place) % self.size] = byte
        self.head += len(data)
        struct.pack_into("=Q", self.memory, 1024, self.head & WORD)

    @property
    def tail(self) -> int:
        return struct.unpack_from("=Q", self.memory, 1032)[0]

    def record(self, payload: bytes) -> bytes:
        payload += b"\xee" * (-(12 + len(payload)) % 8)
        return struct.pack("=IHHI", SAMPLE, 1, 12 + len(payload), len(payload)) + payload


class Several(Memory):
    """Some at once: each has its `FakeMap`, in order."""

    def __init__(self, memories: list[BpfMemory]) -> None:
        self.memories = memories
        self.mapped = 0

    def mmap(self, fd: int, length: int, *, writable: bool, offset: int = 0) -> mmap.mmap:
        self.mapped += 1  # two mappings each
        memory = self.memories[(self.mapped - 1) // 2]
        return memory.mmap(fd, length, writable=writable, offset=offset)


class FakeMap:
    """What a reader asks of a map."""

    key_size = value_size = 0
    name = "events"
    btf = None
    flags = MapFlag(0)

    def __init__(self, kind: MapType, size: int, fd: int) -> None:
        self.type = kind
        self.max_entries = size if kind == MapType.RINGBUF else 4
        self.fd = os.dup(fd)

    def fileno(self) -> int:
        return self.fd

    def clone(self) -> FakeMap:
        return FakeMap(self.type, self.max_entries, self.fd)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def bpf_ring(
    size: int = PAGE, position: int = 0, record: object = None
) -> Iterator[tuple[BpfMemory, RingReader]]:
    memory = BpfMemory(size, position)
    try:
        with (
            kernel.use(memory),
            FakeMap(MapType.RINGBUF, size, memory.ready) as made,
            RingReader(made, record=record) as reader,
        ):
            yield memory, reader
    finally:
        memory.close()


@contextlib.contextmanager
def perf_ring(pages: int = 1, position: int = 0) -> Iterator[tuple[PerfMemory, PerfReader]]:
    memory = PerfMemory(pages * PAGE, position)
    try:
        with (
            kernel.use(memory),
            FakeMap(MapType.PERF_EVENT_ARRAY, 0, memory.ready) as made,
            PerfReader(made, pages=pages) as reader,
        ):
            yield memory, reader
    finally:
        memory.close()


RINGS = {"bpf": bpf_ring, "perf": perf_ring}
