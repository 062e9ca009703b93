"""`PerfReader`: records of a perf event array (``BPF_MAP_TYPE_PERF_EVENT_ARRAY``).

One perf event with a ring of its own per CPU, stored in the map under the CPU's number, which is
where ``bpf_perf_event_output(..., BPF_F_CURRENT_CPU, ...)`` looks.

*Losses.* When a ring is full the kernel counts the record in two places: in the ring, to be told in
a ``PERF_RECORD_LOST`` in front of the next record that fits, and since Linux 6.0 in the event
(``PERF_FORMAT_LOST``). Both count the same losses (tried), but the first stays silent until
something fits again. So the event's count is the truth where there is one, and LOST records where
there is not; they are never added up.

*Ownership of entries.* The kernel takes an event out of the array when the open file closes through
which it was put in. So the reader opens the map anew, by its id, and its events leave the array
with it, whatever the user does with the map, and without touching those another reader has put
there since. Without the privilege to open by id (``CAP_SYS_ADMIN``) it duplicates the map's
descriptor: the entries then stay until the map closes, and programs see ``ENOSPC`` after `close`.
"""

from __future__ import annotations

import errno
import mmap
import struct
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar, final, overload

from pyebpf.errors import FormatError, PrivilegeError, SyscallError, naming
from pyebpf.host import cpus as host_cpus
from pyebpf.maps.map import Map
from pyebpf.readers.block import Alike, Block, Cursor, Room, alike
from pyebpf.readers.pace import Losses, Pace
from pyebpf.readers.perf_format import LONGEST, Parsed, parse
from pyebpf.readers.reader import Reader
from pyebpf.readers.record import decoder
from pyebpf.readers.source import CHUNK, LENT
from pyebpf.readers.stats import CpuStats, ReaderStats
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.sys.perf_event import open_event
from pyebpf.sys.poller import Poller
from pyebpf.sys.rings import PerfRing, read_lost
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.info import MapInfo
from pyebpf.uapi.perf import (
    PerfEventAttr,
    PerfSw,
    PerfType,
    ReadFormat,
    SampleType,
)

__all__ = ["PerfReader"]

T = TypeVar("T")

_U32 = struct.Struct("=I")
# A copy must hold a whole record, or reading would stop.
_COPY = max(CHUNK, LONGEST)


class PerfReader(Reader[T]):
    """Reads the records of a perf event array, CPU by CPU.

    Records of one CPU come in order, those of different CPUs in any order. As bytes they may end in
    up to 7 bytes of garbage: the kernel pads records and counts the padding as payload. One record
    holds at most 65516 bytes; programs that put out more damage the ring.

    Args:
        map: The perf event array. The reader holds its own descriptor, so the map may be closed. A
            second reader of the same map takes over what programs put out.
        pages: Memory pages of each CPU's ring, a power of two.
        watermark: Bytes that must wait in a ring before a sleeping reader is woken, below half of
            the ring; 1 wakes it for every record. When a timeout ends, whatever is there is read.
        cpus: Numbers of the CPUs to read; by default all that are online. Events on other CPUs are
            refused to the program (``ENOENT``), as on CPUs that come online later. CPU numbers
            beyond the map's ``max_entries`` are refused by the kernel (``E2BIG``).
        record: What a record is: ``None`` for bytes, or as told in `pyebpf.readers.record`.
        interval: Look at the rings once in so many seconds, instead of at each wake-up: fewer and
            larger batches for less of a CPU, at the price of that much delay.
        on_lost: Called with the number of records lost, when a reading call sees that more are. An
            exception it raises comes out of that call; nothing is lost by it. Losses at the very
            end show in `stats` only.

    Raises:
        ValueError: *map* is of another type, or *pages*, *watermark* or *cpus* are out of range.
        BtfError: *record* names a type the map's BTF does not have.
        PrivilegeError: Neither ``CAP_PERFMON`` nor ``CAP_SYS_ADMIN``.
        SyscallError: ``ENODEV`` for a CPU of *cpus* that is not online.

    Since Linux 4.4.
    """

    @overload
    def __init__(
        self: PerfReader[bytes],
        map: Map[Any, Any],
        *,
        pages: int = 64,
        watermark: int = 1,
        cpus: Iterable[int] | None = None,
        record: None = None,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        map: Map[Any, Any],
        *,
        pages: int = 64,
        watermark: int = 1,
        cpus: Iterable[int] | None = None,
        record: Callable[[bytes], T],
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: PerfReader[Any],
        map: Map[Any, Any],
        *,
        pages: int = 64,
        watermark: int = 1,
        cpus: Iterable[int] | None = None,
        record: object,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None: ...

    def __init__(
        self,
        map: Map[Any, Any],  # noqa: A002 - the kernel's word
        *,
        pages: int = 64,
        watermark: int = 1,
        cpus: Iterable[int] | None = None,
        record: object = None,
        interval: float | None = None,
        on_lost: Callable[[int], object] | None = None,
    ) -> None:
        if map.type != MapType.PERF_EVENT_ARRAY:
            raise ValueError(
                f'map "{map.name}" is a {map.type}, not a BPF_MAP_TYPE_PERF_EVENT_ARRAY'
            )
        wanted = None if cpus is None else _checked(cpus, map)
        pace = Pace(interval)
        with naming(f'read map "{map.name}"'):
            decode = decoder(record, btf=map.btf, name=map.name)
            source = _PerfSource(map, wanted, pages, watermark)
            super().__init__(source, [decode], name=map.name, pace=pace, losses=Losses(on_lost))


@final
class _PerfSource:
    def __init__(
        self,
        events: Map[Any, Any],
        cpus: list[int] | None,
        pages: int,
        watermark: int,
    ) -> None:
        self.stalled = False  # a perf ring shows finished records only
        self._channels: list[_Channel] = []
        self._lender: _Channel | None = None
        candidates = cpus
        if candidates is None:
            candidates = [cpu for cpu in host_cpus.possible_numbers() if cpu < events.max_entries]
        opener = _Opener(pages, watermark)
        with ExitStack() as stack:
            array = _own_file(events)
            stack.callback(array.close)
            self.poller = Poller()
            stack.callback(self.poller.close)
            for cpu in candidates:
                event = opener.open(cpu, must=cpus is not None)
                if event is None:
                    continue
                stack.callback(event.close)
                ring = PerfRing(event.fileno(), pages)
                stack.callback(ring.close)
                self.poller.add(event.fileno(), forgetful=True)
                self._channels.append(_Channel(cpu, event, ring, opener.counts_lost, events.name))
            # Last: from here on records come.
            for channel in self._channels:
                _store(array, channel)
            self._stack = stack.pop_all()

    @property
    def seen(self) -> int:
        return sum([channel.seen for channel in self._channels])

    def look(self) -> None:
        for channel in self._channels:
            channel.look()

    def fill(self, queue: deque[Block | Cursor], room: Room | None = None) -> list[FormatError]:
        faults = [channel.fill(queue, room) for channel in self._channels]
        return [fault for fault in faults if fault is not None]

    def lend(self, compare: Alike) -> Block | FormatError | None:
        for channel in self._channels:
            found = channel.lend(compare)
            if found is not None:
                self._lender = channel
                return found
        return None

    def give_back(self, block: Block) -> None:
        if self._lender is not None:
            self._lender.give_back(block)

    def lost(self) -> int:
        return sum(channel.told for channel in self._channels)

    def waiting(self) -> bool:
        return any(channel.ring.available() for channel in self._channels)

    def stats(self, wakeups: int) -> ReaderStats:
        per_cpu = tuple(channel.stats() for channel in self._channels)
        return ReaderStats(
            received=sum(cpu.received for cpu in per_cpu),
            lost=sum(cpu.lost for cpu in per_cpu),
            unknown=sum(cpu.unknown for cpu in per_cpu),
            bytes=sum(cpu.bytes for cpu in per_cpu),
            wakeups=wakeups,
            per_cpu=per_cpu,
        )

    def close(self) -> None:
        self._stack.close()


# One CPU's event and ring.
@final
class _Channel:
    def __init__(self, cpu: int, event: FD, ring: PerfRing, counts_lost: bool, name: str) -> None:
        self.cpu = cpu
        self.event = event
        self.ring = ring
        self._counts_lost = counts_lost
        self._name = name
        self._received = self._unknown = self._bytes = 0
        self.seen = 0  # bytes that wait, as far as we know
        self._lent: Parsed | None = None
        self.told = 0  # by LOST records
        self._lost = 0  # by the event

    def look(self) -> None:
        self.seen = self.ring.available()

    def fill(self, queue: deque[Block | Cursor], room: Room | None) -> FormatError | None:
        while self.seen:
            size = self.seen
            if size > self.ring.size:
                return self._overrun()
            size = min(size, _COPY)
            if room is None:
                data = self.ring.copy(size)
                block, fault = self._parsed(data, alike)
            else:
                size = min(size, room.left & ~7)
                data = self.ring.copy(size, room.take(size))
                before = self.seen
                block, fault = self._parsed(data, room.alike)
                # Records that are none leave no trace, as blocks lie one behind the other.
                room.untake(size if not block.number else size - len(block.data))
                if self.seen == before:
                    return fault  # the next one does not fit
            if block.number:
                queue.append(block)
            if fault is not None or block.number:
                return fault
        return None

    def lend(self, compare: Alike) -> Block | FormatError | None:
        while self.seen:
            if self.seen > self.ring.size:
                return self._overrun()
            data = self.ring.lend(min(self.seen, LENT))
            parsed = parse(data, complete=len(data) == self.seen, alike=compare)
            if not parsed.size and parsed.fault is None:
                # Around the end of the data: that one is copied.
                data = memoryview(self.ring.copy(min(self.seen, LONGEST)))
                parsed = parse(data, complete=len(data) == self.seen, alike=compare)
            block = Block(data[: parsed.size], parsed.shape)
            if block.number:
                self._lent = parsed
                return block
            fault = self._took(parsed)
            if fault is not None:
                return fault
        return None

    def give_back(self, block: Block) -> None:
        if self._lent is not None:
            lent, self._lent = self._lent, None
            self._took(lent._replace(fault=None))  # the next look finds it again

    def _parsed(self, data: bytes | memoryview, compare: Alike) -> tuple[Block, FormatError | None]:
        parsed = parse(data, complete=len(data) == self.seen, alike=compare)
        return Block(data[: parsed.size], parsed.shape), self._took(parsed)

    def _took(self, parsed: Parsed) -> FormatError | None:
        self._pass(parsed.size)
        self._received += Block(b"", parsed.shape).number
        self.told += parsed.lost
        self._unknown += parsed.unknown
        if parsed.fault is None:
            return None
        skip = self.seen if parsed.fault.skip is None else parsed.fault.skip
        return self._skip(skip, parsed.fault.text)

    def _overrun(self) -> FormatError:
        return self._skip(self.seen, f"{self.seen} bytes wait in a ring of {self.ring.size}")

    def _pass(self, size: int) -> None:
        self.ring.advance(size)
        self.seen -= size
        self._bytes += size

    # data_head is always the start of a record: reading can go on from there.
    def _skip(self, size: int, text: str) -> FormatError:
        self._pass(size)
        self._unknown += 1
        where = f'ring of map "{self._name}", CPU {self.cpu}'
        return FormatError(f"{text}; skipped {size} bytes", where=where)

    def stats(self) -> CpuStats:
        return CpuStats(
            cpu=self.cpu,
            received=self._received,
            lost=self._count_lost(),
            unknown=self._unknown,
            bytes=self._bytes,
        )

    def _count_lost(self) -> int:
        if not self._counts_lost:
            return self.told
        lost = read_lost(self.event.fileno())
        if lost is not None:
            self._lost = lost
        return self._lost


# Opens the events; learns from the first whether the kernel counts losses.
@final
class _Opener:
    def __init__(self, pages: int, watermark: int) -> None:
        if pages < 1 or pages & (pages - 1):
            raise ValueError(f"pages must be a power of two: {pages}")
        half = pages * mmap.PAGESIZE // 2
        if not 1 <= watermark < half:
            raise ValueError(f"watermark must be below half of {pages} pages: {watermark}")
        self._watermark = watermark
        self.counts_lost = True

    # Out: None for a CPU that is offline, unless it *must* be there.
    def open(self, cpu: int, *, must: bool) -> FD | None:
        try:
            return self._attempt(cpu)
        except SyscallError as error:
            if error.errno == errno.ENODEV and not must:
                return None
            # Linux 6.0 (commit 119a784c8127) added PERF_FORMAT_LOST; EINVAL before.
            if error.errno != errno.EINVAL or not self.counts_lost:
                error.context.insert(0, f"CPU {cpu}")
                raise
        self.counts_lost = False
        return self.open(cpu, must=must)

    def _attempt(self, cpu: int) -> FD:
        attr = PerfEventAttr(
            type=PerfType.SOFTWARE,
            config=PerfSw.BPF_OUTPUT,
            sample_type=SampleType.RAW,
            sample_period=1,
            read_format=ReadFormat.LOST if self.counts_lost else 0,
        )
        if self._watermark == 1:
            attr.wakeup_events = 1
        else:
            attr.watermark = 1
            attr.wakeup_watermark = self._watermark
        return open_event(attr, pid=-1, cpu=cpu)


def _checked(cpus: Iterable[int], events: Map[Any, Any]) -> list[int]:
    numbers = sorted(set(cpus))
    if not numbers:
        raise ValueError("cpus is empty: nothing to read")
    if numbers[0] < 0 or numbers[-1] >= events.max_entries:
        raise ValueError(
            f'cpus must be below the {events.max_entries} entries of map "{events.name}"'
        )
    return numbers


# A descriptor with an open file of its own; see the module's text.
def _own_file(events: Map[Any, Any]) -> FD | Map[Any, Any]:
    info = MapInfo()
    try:
        bpf.obj_get_info_by_fd(events.fileno(), info)
        return bpf.map_get_fd_by_id(info.id)
    except PrivilegeError:
        return events.clone()


def _store(array: FD | Map[Any, Any], channel: _Channel) -> None:
    bpf.map_update_elem(
        MapElem(
            map_fd=array.fileno(),
            key=_U32.pack(channel.cpu),
            value=_U32.pack(channel.event.fileno()),
        )
    )
