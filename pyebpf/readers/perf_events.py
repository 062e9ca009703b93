"""Perf events that take what programs put out, and their places in a perf event array.

One event per CPU, stored in the map under the CPU's number, which is where
``bpf_perf_event_output(..., BPF_F_CURRENT_CPU, ...)`` looks.

*Ownership of entries.* The kernel takes an event out of the array when the open file closes through
which it was put in. So a reader opens the map anew, by its id, and its events leave the array with
it, whatever the user does with the map, and without touching those another reader has put there
since. Without the privilege to open by id (``CAP_SYS_ADMIN``) it duplicates the map's descriptor:
the entries then stay until the map closes, and programs see ``ENOSPC`` after `close`.
"""

from __future__ import annotations

import errno
import mmap
import struct
from collections.abc import Callable, Iterable

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.host import cpus as host_cpus
from pyebpf.maps.map import Map
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.sys.perf_event import open_event
from pyebpf.sys.rings import read_counts
from pyebpf.typed import Any, final
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.info import MapInfo
from pyebpf.uapi.perf import PerfEventAttr, PerfSw, PerfType, ReadFormat, SampleType

__all__ = ["Newcomers", "Opener", "cpus_of", "is_alive", "own_file", "store"]

_U32 = struct.Struct("=I")


def cpus_of(events: Map[Any, Any], cpus: Iterable[int] | None) -> list[int]:
    """Return the CPUs whose events an array is to hold: those given, or all it has room for.

    Raises:
        ValueError: *events* is no perf event array; no CPU, or one it has no room for.
    """
    if events.type != MapType.PERF_EVENT_ARRAY:
        raise ValueError(
            f'map "{events.name}" is a {events.type}, not a BPF_MAP_TYPE_PERF_EVENT_ARRAY'
        )
    if cpus is None:
        return [cpu for cpu in host_cpus.possible_numbers() if cpu < events.max_entries]
    return _checked(cpus, events)


@final
class Opener:
    """Opens the events.

    Args:
        pages: Of each ring, a power of two.
        watermark: Bytes that wake a reader.
        backward: For a ring that overwrites its oldest records.

    Attributes:
        counts_lost: Whether the kernel counts losses in the event (Linux 6.0); known after the
            first.

    Raises:
        ValueError: *pages* or *watermark* is out of range.
    """

    def __init__(self, pages: int, watermark: int, *, backward: bool = False) -> None:
        if pages < 1 or pages & (pages - 1):
            raise ValueError(f"pages must be a power of two: {pages}")
        half = pages * mmap.PAGESIZE // 2
        if not 1 <= watermark < half:
            raise ValueError(f"watermark must be below half of {pages} pages: {watermark}")
        self._watermark = watermark
        self._backward = backward
        self.counts_lost = True

    def open(self, cpu: int, *, must: bool) -> FD | None:
        """Open the event of a CPU.

        Args:
            cpu: Its number.
            must: It has to be there.

        Returns:
            The event, or ``None`` for a CPU that is offline.

        Raises:
            SyscallError: What the kernel says; ``ENODEV`` for a CPU that is offline but must not.
        """
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
            read_format=ReadFormat.TOTAL_TIME_ENABLED
            | (ReadFormat.LOST if self.counts_lost else 0),
            write_backward=int(self._backward),
        )
        if self._watermark == 1:
            attr.wakeup_events = 1
        else:
            attr.watermark = 1
            attr.wakeup_watermark = self._watermark
        return open_event(attr, pid=-1, cpu=cpu)


@final
class Newcomers:
    """Notices CPUs that come online, and those that come back.

    Args:
        candidates: Those that matter.
    """

    def __init__(self, candidates: Iterable[int]) -> None:
        self._candidates = candidates
        self._stamp = host_cpus.stamp()

    def meet(self, welcome: Callable[[int], object]) -> None:
        """Call *welcome* with each candidate that is online, if any CPU has come or gone since.

        Raises:
            SyscallError: *welcome* did; but it was called with the others, and will not be again.
        """
        stamp = host_cpus.stamp()
        if stamp == self._stamp:
            return
        errors: list[SyscallError] = []
        online = set(host_cpus.online())
        for cpu in self._candidates:
            if cpu in online:
                try:
                    welcome(cpu)
                except SyscallError as error:
                    errors.append(error)
        self._stamp = stamp
        if errors:
            raise errors[0]


def _checked(cpus: Iterable[int], events: Map[Any, Any]) -> list[int]:
    numbers = sorted(set(cpus))
    if not numbers:
        raise ValueError("cpus is empty: nothing to read")
    if numbers[0] < 0 or numbers[-1] >= events.max_entries:
        raise ValueError(
            f'cpus must be below the {events.max_entries} entries of map "{events.name}"'
        )
    return numbers


def own_file(events: Map[Any, Any]) -> FD | Map[Any, Any]:
    """Return a descriptor with an open file of its own, if that can be; see the module's text."""
    info = MapInfo()
    try:
        bpf.obj_get_info_by_fd(events.fileno(), info)
        return bpf.map_get_fd_by_id(info.id)
    except PrivilegeError:
        return events.clone()


def is_alive(event: FD) -> bool:
    """Whether the CPU of an event was online all the time: its clock goes."""
    first, second = (read_counts(event.fileno()) for _ in range(2))
    return first is not None and second is not None and first[0] != second[0]


def store(array: FD | Map[Any, Any], cpu: int, event: FD) -> None:
    """Put the event of a CPU into the array: from here on programs find it."""
    bpf.map_update_elem(
        MapElem(
            map_fd=array.fileno(),
            key=_U32.pack(cpu),
            value=_U32.pack(event.fileno()),
        )
    )
