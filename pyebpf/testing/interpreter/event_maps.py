"""Maps through which programs send events to user space, kept in memory: perf and ring buffers."""

from __future__ import annotations

import errno
from collections import deque

from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Region
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.helper_flags import RingbufQuery

__all__ = ["PerfEventArray", "RingBuffer"]

EVENT_HEADER = 12  # of a PERF_RECORD_SAMPLE with raw data


class PerfEventArray(Map):
    """A perf buffer for each CPU; what is not taken out fills them.

    Args:
        name: For messages.
        max_entries: How many CPUs.
        room: Bytes of events that are kept, of all CPUs together.

    Attributes:
        events: What programs wrote: the CPU and the data, oldest first.
    """

    def __init__(self, name: str, *, max_entries: int, room: int = 16 << 20) -> None:
        super().__init__(
            name, MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=max_entries
        )
        self.room = room
        self.events: list[tuple[int, bytes]] = []

    def perf_output(self, data: bytes, cpu: int) -> int:
        """Keep an event."""
        if cpu >= self.max_entries:
            return -errno.E2BIG
        if len(data) + EVENT_HEADER > self.room:
            return -errno.ENOSPC
        self.room -= len(data) + EVENT_HEADER
        self.events.append((cpu, data))
        return 0


class RingBuffer(Map):
    """A BPF ring buffer.

    Args:
        name: For messages.
        max_entries: Its size in bytes.

    Attributes:
        records: What programs submitted, oldest first; `consume` makes room.
    """

    HEADER = 8  # BPF_RINGBUF_HDR_SZ

    def __init__(self, name: str, *, max_entries: int) -> None:
        super().__init__(name, MapType.RINGBUF, key_size=0, value_size=0, max_entries=max_entries)
        self.records: list[bytes] = []
        # In the order of reservation: None until it is decided.
        self._waiting: deque[tuple[Region, list[bytes | None]]] = deque()
        self._produced = 0
        self._consumed = 0

    def ring_reserve(self, size: int) -> Region | None:
        """Reserve a record."""
        length = self._length(size)
        if size > 0x3FFF_FFFF or self._produced + length - self._consumed > self.max_entries - 1:
            return None
        self._produced += length
        record = Region(bytearray(size), f"record of ring buffer {self.name}")
        self._waiting.append((record, []))
        return record

    def ring_commit(self, record: Region, flags: int, *, discard: bool) -> None:
        """Submit or discard; records become visible in the order of their reservation."""
        for waiting, decided in self._waiting:
            if waiting is record:
                decided.append(None if discard else bytes(record.data))
        while self._waiting and self._waiting[0][1]:
            data = self._waiting.popleft()[1][0]
            if data is not None:
                self.records.append(data)

    def ring_output(self, data: bytes, flags: int) -> int:
        """Take a whole record."""
        record = self.ring_reserve(len(data))
        if record is None:
            return -errno.EAGAIN
        record.view(0, len(data), write=True)[:] = data
        self.ring_commit(record, flags, discard=False)
        return 0

    def ring_query(self, what: int) -> int:
        """Answer ``bpf_ringbuf_query``."""
        answers: dict[int, int] = {
            RingbufQuery.AVAIL_DATA: self._produced - self._consumed,
            RingbufQuery.RING_SIZE: self.max_entries,
            RingbufQuery.CONS_POS: self._consumed,
            RingbufQuery.PROD_POS: self._produced,
        }
        return answers.get(what, 0)

    def consume(self) -> list[bytes]:
        """Return all records and make room."""
        records, self.records = self.records, []
        self._consumed = self._produced - sum(
            self._length(len(record.data)) for record, _ in self._waiting
        )
        return records

    def _length(self, size: int) -> int:
        return size + self.HEADER + 7 & ~7
