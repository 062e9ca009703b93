"""`PerfReader`: records of a perf event array (``BPF_MAP_TYPE_PERF_EVENT_ARRAY``).

One perf event with a ring of its own per CPU: see `pyebpf.readers.perf_events`, and for losses
`pyebpf.readers.perf_rings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyebpf.errors import naming
from pyebpf.maps.map import Map
from pyebpf.readers.pace import Losses, Pace
from pyebpf.readers.perf_events import cpus_of
from pyebpf.readers.perf_rings import PerfEvents
from pyebpf.readers.reader import Reader
from pyebpf.readers.record import decoder
from pyebpf.readers.rings import Rings
from pyebpf.typed import Any, TypeVar, overload

__all__ = ["PerfReader"]

T = TypeVar("T")


class PerfReader(Reader[T]):
    """Reads the records of a perf event array, CPU by CPU.

    Records of one CPU come in order, those of different CPUs in any order. As bytes they may end in
    up to 7 bytes of garbage: the kernel pads records and counts the padding as payload. One record
    holds at most 65516 bytes; programs that put out more damage the ring.

    CPUs that come online are read too, and those that come back, where libbpf and bcc stay with the
    CPUs of the beginning. A call that reads or sleeps notices within a second, or `interval` if
    that is longer; somebody else's event loop, which sleeps on `fileno`, at the next call. What
    programs put out there before is refused to them (``ENOENT``, ``EOPNOTSUPP``), and the kernel
    does not count it: only the program can. What waits in the ring of a CPU that goes offline is
    still read. If a ring cannot be opened (privileges were dropped, say), one call raises that.

    Args:
        map: The perf event array. The reader holds its own descriptor, so the map may be closed. A
            second reader of the same map takes over what programs put out.
        pages: Memory pages of each CPU's ring, a power of two.
        watermark: Bytes that must wait in a ring before a sleeping reader is woken, below half of
            the ring; 1 wakes it for every record. When a timeout ends, whatever is there is read.
        cpus: Numbers of the CPUs to read; by default all that are online. Events on other CPUs are
            refused to the program (``ENOENT``). CPU numbers beyond the map's ``max_entries`` are
            refused by the kernel (``E2BIG``).
        record: What a record is: ``None`` for bytes, or as told in `pyebpf.readers.record`.
        interval: Look at the rings once in so many seconds, instead of at each wake-up: fewer and
            larger batches for less of a CPU, at the price of that much delay.
        on_lost: Called with the number of records lost, when a reading call sees that more are,
            before that returns what it has read: so each batch has its count. An exception it
            raises comes out of that call; nothing is lost by it. Losses at the very end show in
            `stats` only.

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
        wanted = cpus_of(map, cpus)
        pace = Pace(interval)
        with naming(f'read map "{map.name}"'):
            decode = decoder(record, btf=map.btf, name=map.name)
            self._events = PerfEvents(map, wanted, pages, watermark, must=cpus is not None)
            super().__init__(
                Rings(self._events), [decode], name=map.name, pace=pace, losses=Losses(on_lost)
            )

    def pause(self) -> None:
        """Let the kernel take no records until `resume`: what programs put out counts as lost.

        Raises:
            ClosedError: The reader is closed.

        Since Linux 4.7.
        """
        self._pause(paused=True)

    def resume(self) -> None:
        """Undo `pause`.

        Raises:
            ClosedError: The reader is closed.

        Since Linux 4.7.
        """
        self._pause(paused=False)

    def _pause(self, *, paused: bool) -> None:
        with self._lifetime:
            if self._closing:
                raise self._closed_error()
            self._events.pause(paused=paused)
