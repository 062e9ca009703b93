"""The calls on perf events: perf_event_open, ioctl."""

from __future__ import annotations

import errno
import struct
import sys
import weakref

from pyebpf.testing import buffers
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.perf_events import PerfEvent, Source
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.testing.tree import PMUS
from pyebpf.uapi.bpf import PerfEventType as EventKind
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.perf import PerfEventAttr, PerfIoctl, PerfOpenFlag, PerfSw, PerfType, ReadFormat

__all__ = ["ioctl", "open_event"]

# config:0 and config:32-63 of the probes' sources
_RETURN = 1
_REFERENCE_COUNTER = 32
_SWITCHES = frozenset({PerfIoctl.ENABLE, PerfIoctl.DISABLE})


def open_event(
    system: System, attr: PerfEventAttr, pid: int, cpu: int, group_fd: int, flags: int
) -> int:
    """perf_event_open(2)."""
    if flags & ~sum(map(int, PerfOpenFlag)) or (pid == -1 and cpu == -1):
        raise Refused(errno.EINVAL)
    if group_fd != -1:
        raise NotImplementedError("perf_event_open with groups of events")
    if flags & PerfOpenFlag.PID_CGROUP:
        if cpu == -1:
            raise Refused(errno.EINVAL)
        system.cgroups.lineage(pid)
    known = sum(each for each in ReadFormat if system.age.reached(each.since))
    if attr.read_format & ~known or (cpu < 0 and cpu != -1):
        raise Refused(errno.EINVAL)
    # With a task any number will do; without one the CPU must be there.
    if cpu >= system.cpus:
        raise Refused(errno.EINVAL)
    source = _source(system, attr)
    owner: list[weakref.ref[PerfEvent]] = []

    def wake() -> None:
        found = owner[0]()
        if found is not None:
            system.files.signal(found)

    event = PerfEvent(attr, cpu=cpu, id=system.next_event_id(), source=source, wake=wake)
    owner.append(weakref.ref(event))
    system.add_event(event)
    return system.files.open(event)


def _source(system: System, attr: PerfEventAttr) -> Source:
    kind = attr.type
    if kind == PerfType.TRACEPOINT:
        found = system.tracepoints.get(attr.config)
        if found is None:
            raise Refused(errno.EINVAL)
        hook = system.hook(f"tracepoint/{found.category}/{found.name}")
        return Source(hook, ProgType.TRACEPOINT, EventKind.TRACEPOINT, found.name)
    if kind in (PMUS["kprobe"], PMUS["uprobe"]):
        return _probe(system, attr, "kprobe" if kind == PMUS["kprobe"] else "uprobe")
    if kind == PerfType.SOFTWARE and attr.config == PerfSw.BPF_OUTPUT:
        return Source()
    if kind == PerfType.SOFTWARE:
        hook = system.hook(f"perf_event/{PerfSw(attr.config).name.lower()}")
        return Source(hook, ProgType.PERF_EVENT, EventKind.EVENT)
    if kind in (PerfType.HARDWARE, PerfType.HW_CACHE, PerfType.RAW):
        raise Refused(errno.ENOENT)  # a machine without counters
    raise Refused(errno.EINVAL)


def _probe(system: System, attr: PerfEventAttr, source: str) -> Source:
    returns = bool(attr.config & _RETURN)
    name = source.replace("probe", "retprobe") if returns else source
    if source == "kprobe":
        function, offset, address = _place(system, attr)
        where = f"{function}+{offset:#x}" if offset else function
        kind = EventKind.KRETPROBE if returns else EventKind.KPROBE
        return Source(
            system.hook(f"{name}/{where}"), ProgType.KPROBE, kind, function, offset, address
        )
    if attr.uprobe_path in (None, 0):
        raise Refused(errno.EINVAL)
    place = buffers.read_string(attr.uprobe_path).decode("utf-8", "surrogateescape")
    kind = EventKind.URETPROBE if returns else EventKind.UPROBE
    where, address = f"{place}:{attr.probe_offset:#x}", 0
    return Source(
        system.hook(f"{name}/{where}"), ProgType.KPROBE, kind, place, attr.probe_offset, address,
        attr.config >> _REFERENCE_COUNTER,
    )  # fmt: skip


def ioctl(system: System, event: PerfEvent, request: int, argument: int | bytearray) -> int:
    """Let an event do what a request says; arguments as for ``FakeKernel.ioctl``."""
    if request in _SWITCHES:
        event.enabled = request == PerfIoctl.ENABLE
    elif request == PerfIoctl.SET_BPF:
        event.attach(program_of(system, int(_number(argument))))
    elif request == PerfIoctl.PAUSE_OUTPUT:
        event.paused = bool(_number(argument))
    elif request == PerfIoctl.ID:
        _answer(argument, event.id.to_bytes(8, sys.byteorder))
    elif request == PerfIoctl.QUERY_BPF:
        _query(system, event, argument)
    else:
        raise NotImplementedError(f"ioctl {PerfIoctl(request)}")
    return 0


# A function and an offset in it, or an address.
def _place(system: System, attr: PerfEventAttr) -> tuple[str, int, int]:
    if attr.uprobe_path not in (None, 0):
        name = buffers.read_string(attr.uprobe_path).decode(errors="replace")
        if not system.tree.has_function(name):
            raise Refused(errno.ENOENT)
        return name, attr.probe_offset, system.tree.address(name) + attr.probe_offset
    found = system.tree.function_at(attr.probe_offset)
    if found is None:
        raise Refused(errno.EINVAL)
    return *found, attr.probe_offset


# perf_event_query_prog_array
def _query(system: System, event: PerfEvent, argument: int | bytearray) -> None:
    hook = event.source.hook
    if hook is None or event.source.takes not in (ProgType.TRACEPOINT, ProgType.KPROBE):
        raise Refused(errno.EINVAL)
    if not isinstance(argument, bytearray):
        raise Refused(errno.EFAULT)
    (room,) = struct.unpack_from("=I", argument)
    found = [each.program.id for each in hook.attachments]
    struct.pack_into("=I", argument, 4, len(found))
    struct.pack_into(f"={min(room, len(found))}I", argument, 8, *found[:room])
    if room and room < len(found):
        raise Refused(errno.ENOSPC)


def _number(argument: int | bytearray) -> int:
    if isinstance(argument, int):
        return argument
    raise Refused(errno.EINVAL)


def _answer(argument: int | bytearray, data: bytes) -> None:
    if isinstance(argument, int):
        raise Refused(errno.EFAULT)
    argument[: len(data)] = data
