"""`PerfHistory`: the newest records of a perf event array, kept until somebody wants to see them.

A flight recorder. Rings overwrite their oldest records, so nothing is lost but the past, nobody has
to read, and programs never find a ring full. Written backwards, so that from the newest record one
finds the way to those before it, up to the one whose end is overwritten:

    | ...3 (end) | 7 | 6 | 5 | 4 | 3 (front part)         newest: 7; 3 is not whole any more
                  ^ data_head
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType

from pyebpf.errors import ClosedError, naming
from pyebpf.host import cpus as host_cpus
from pyebpf.maps.map import Map
from pyebpf.readers.block import Block
from pyebpf.readers.perf_events import Newcomers, Opener, cpus_of, is_alive, own_file, store
from pyebpf.readers.perf_format import parse
from pyebpf.readers.record import decoder
from pyebpf.sys import perf_event
from pyebpf.sys.fd import FD
from pyebpf.sys.forks import stays_here
from pyebpf.sys.rings import BackwardRing
from pyebpf.typed import Any, Generic, TypeVar, final, overload

__all__ = ["PerfHistory"]

T = TypeVar("T")


@final
class PerfHistory(Generic[T]):
    """Keeps the newest records of each CPU.

    May be shared between threads. In a child of ``fork`` it is closed.

    CPUs that come online, or come back, are noticed by the next call of any method: what programs
    put out there before is refused to them. What was kept of a CPU that was away stays.

    Args:
        map: The perf event array. A descriptor of its own is held, so the map may be closed. A
            second reader of the same map takes over what programs put out.
        pages: Memory pages of each CPU's ring, a power of two.
        cpus: Numbers of the CPUs; by default all that are online.
        record: What a record is: ``None`` for bytes, or as told in `pyebpf.readers.record`.

    Raises:
        ValueError: *map* is of another type, or *pages* or *cpus* are out of range.
        BtfError: *record* names a type the map's BTF does not have.
        PrivilegeError: Neither ``CAP_PERFMON`` nor ``CAP_SYS_ADMIN``.
        SyscallError: ``ENODEV`` for a CPU of *cpus* that is not online.

    Since Linux 4.7.
    """

    @overload
    def __init__(
        self: PerfHistory[bytes],
        map: Map[Any, Any],
        *,
        pages: int = 64,
        cpus: Iterable[int] | None = None,
        record: None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        map: Map[Any, Any],
        *,
        pages: int = 64,
        cpus: Iterable[int] | None = None,
        record: Callable[[bytes], T],
    ) -> None: ...

    @overload
    def __init__(
        self: PerfHistory[Any],
        map: Map[Any, Any],
        *,
        pages: int = 64,
        cpus: Iterable[int] | None = None,
        record: object,
    ) -> None: ...

    def __init__(
        self,
        map: Map[Any, Any],  # noqa: A002 - the kernel's word
        *,
        pages: int = 64,
        cpus: Iterable[int] | None = None,
        record: object = None,
    ) -> None:
        candidates = cpus_of(map, cpus)
        self._newcomers = Newcomers(candidates)
        self._opener = Opener(pages, 1, backward=True)
        self._pages = pages
        self._name = map.name
        self._lock = threading.RLock()
        self._paused = self._closed = False
        self._rings: dict[int, _Ring] = {}  # by CPU
        with ExitStack() as self._stack, naming(f'read map "{map.name}"'):
            self._decoder = decoder(record, btf=map.btf, name=map.name)
            self._array = own_file(map)
            self._stack.callback(self._array.close)
            for cpu in candidates:
                self._renew(cpu, must=cpus is not None)
            self._stack = self._stack.pop_all()
        stays_here(self)

    def snapshot(self) -> dict[int, list[T]]:
        """Return the records that are kept, by CPU, the oldest first.

        They stay where they are. Recording pauses for the moment it takes to copy them, and goes
        on unless it was paused before. Where this thread may not run on a CPU, the oldest record of
        that CPU is left out: a program may be writing over it.

        Raises:
            ClosedError: It is closed.
            FormatError: A record is not what ``record=`` says.
            SyscallError: The ring of a CPU that has come could not be opened.
        """
        with self._lock:
            self._check()
            copies: dict[int, tuple[bytes, bool]] = {}
            try:
                for cpu, ring in self._rings.items():
                    perf_event.pause(ring.fileno(), paused=True)
                    settled = host_cpus.pass_over(cpu)
                    copy = ring.memory.copy()
                    copies[cpu] = copy, settled or len(copy) < ring.memory.size
            finally:
                self._set(paused=self._paused)
        found = {}
        for cpu, (copy, whole) in copies.items():
            records = self._records(copy)
            # What a program was still writing lies over the oldest record, and may look like one.
            found[cpu] = records if whole else records[1:]
        return found

    def pause(self) -> None:
        """Record nothing until `resume`: what is there is kept.

        Raises:
            ClosedError: It is closed.
            SyscallError: As for `snapshot`; it goes on recording.
        """
        self._pause(paused=True)

    def resume(self) -> None:
        """Undo `pause`.

        Raises:
            ClosedError: It is closed.
            SyscallError: As for `snapshot`; it stays paused.
        """
        self._pause(paused=False)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Give everything back; the second time does nothing."""
        with self._lock:
            self._closed = True
            self._rings.clear()
            self._stack.close()

    def __enter__(self) -> PerfHistory[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'<PerfHistory of map "{self._name}", {"closed" if self._closed else "open"}>'

    def _records(self, copy: bytes) -> list[T]:
        records: list[T] = []
        while True:
            # The last one may be overwritten in part, whatever that looks like.
            parsed = parse(copy, complete=False)
            block = Block(copy[: parsed.size], parsed.shape)
            records.extend(self._decoder.cursor(block).records)
            copy = copy[parsed.size :]
            if not parsed.size or parsed.fault is not None:
                break
        records.reverse()
        return records

    def _pause(self, *, paused: bool) -> None:
        with self._lock:
            self._check()
            self._set(paused=paused)
            self._paused = paused

    def _set(self, *, paused: bool) -> None:
        for ring in self._rings.values():
            perf_event.pause(ring.fileno(), paused=paused)

    # Also finds the CPUs that have come, see `pyebpf.readers.perf_rings`.
    def _check(self) -> None:
        if self._closed:
            raise ClosedError(f'history of map "{self._name}" used after close')
        self._newcomers.meet(self._renew)

    # Sees to it that programs find an event of this CPU, with the ring that it has.
    def _renew(self, cpu: int, *, must: bool = False) -> None:
        ring = self._rings.get(cpu)
        if ring is not None and is_alive(ring.writer):
            return
        event = self._opener.open(cpu, must=must)
        if event is None:
            return
        with ExitStack() as stack:
            stack.callback(event.close)
            if ring is not None:
                perf_event.redirect(event.fileno(), ring.writer.fileno())
                store(self._array, cpu, event)
                stack.pop_all()
                ring.write_by(event)
                return
            ring = _Ring(event, self._pages)
            stack.callback(ring.close)
            if self._paused:
                perf_event.pause(event.fileno(), paused=True)
            store(self._array, cpu, event)
            self._stack.push(stack.pop_all())
        self._rings[cpu] = ring

    def _forked(self) -> None:
        self._lock, self._closed = threading.RLock(), True
        self._stack.close()


# One CPU's: the event that its memory was mapped from, and the one that writes to it.
class _Ring:
    __slots__ = ("_event", "memory", "writer")

    def __init__(self, event: FD, pages: int) -> None:
        self._event = self.writer = event
        self.memory = BackwardRing(event.fileno(), pages)

    def fileno(self) -> int:
        return self._event.fileno()

    def write_by(self, event: FD) -> None:
        if self.writer is not self._event:
            self.writer.close()
        self.writer = event

    def close(self) -> None:
        self.memory.close()
        self.writer.close()
