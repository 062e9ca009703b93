"""Letting things happen: from a hook's name and what comes with it to programs that ran."""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pyebpf.testing import hooks
from pyebpf.testing.attachments import Attachment
from pyebpf.testing.interpreter import BytesContext, Context, Task
from pyebpf.testing.interpreter.skb import SkbContext
from pyebpf.testing.interpreter.xdp import XdpContext
from pyebpf.testing.kernel_types import pt_regs
from pyebpf.testing.system import System
from pyebpf.testing.tracepoints import Tracepoint
from pyebpf.uapi.net import TcxAction

__all__ = ["Outcome", "Who", "fire", "tracepoint"]


class Who(NamedTuple):
    """On whose behalf; what is ``None`` is as the world has it."""

    pid: int | None = None
    tgid: int | None = None
    uid: int | None = None
    comm: str | None = None
    ppid: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one program did.

    Attributes:
        program: Its name.
        retval: What it returned, 32 bits unsigned.
        data: The packet afterwards, ``b""`` for hooks without one.
    """

    program: str
    retval: int
    data: bytes = b""


_PACKETS = (XdpContext, SkbContext)
# By what hooks are called, as far as section names have several words for one.
_ALIASES = {"tp": "tracepoint", "raw_tracepoint": "raw_tp", "raw_tp.w": "raw_tp", "tc": "tcx"}
_NEXT = TcxAction.NEXT & 0xFFFFFFFF
_PREFIX = re.compile(r"(?P<kind>[a-z_.]+)/(?P<place>.+)")


def fire(
    system: System, hook: str, data: bytes | Sequence[int], *, cpu: int, who: Who
) -> list[Outcome]:
    """Run what is attached to a hook; arguments as for `FakeKernel.fire`."""
    match = _PREFIX.fullmatch(hook)
    if match is None:
        raise ValueError(f"no hook is called {hook!r}")
    if not 0 <= cpu < system.cpus:
        raise ValueError(f"there are {system.cpus} CPUs, and no number {cpu}")
    kind, place = _ALIASES.get(match["kind"], match["kind"]), match["place"]
    make = _KINDS.get(kind)
    if make is None:
        raise ValueError(f"no hook is called {hook!r}; there are {', '.join(sorted(_KINDS))}")
    name, context = make(system, place, data)
    return _run(system, hooks.attached(system, f"{kind}/{name}"), context, cpu, who)


def tracepoint(system: System, name: str) -> Tracepoint:
    """Return a tracepoint by ``category/name``.

    Raises:
        ValueError: There is none.
    """
    for each in system.tracepoints.values():
        if f"{each.category}/{each.name}" == name:
            return each
    raise ValueError(f"this kernel has no tracepoint {name!r}")


def _run(
    system: System,
    programs: list[Attachment],
    context: Callable[[], Context],
    cpu: int,
    who: Who,
) -> list[Outcome]:
    world = system.machine.world
    before = world.cpu, world.task
    outcomes = []
    try:
        world.cpu = cpu
        world.task = _task(system, who)
        for attached in programs:
            given = context()
            retval = hooks.run(
                system, attached.program, given, cookie=attached.cookie, ppid=who.ppid
            )
            outcomes.append(
                Outcome(
                    program=attached.program.name.decode(errors="replace"),
                    retval=retval,
                    data=bytes(given.packet) if isinstance(given, _PACKETS) else b"",
                )
            )
            if isinstance(given, SkbContext) and retval != _NEXT:
                break
    finally:
        world.cpu, world.task = before
    return outcomes


def _task(system: System, who: Who) -> Task:
    task = system.machine.world.task
    pid = task.pid if who.pid is None else who.pid
    tgid = who.tgid if who.tgid is not None else task.tgid if who.pid is None else pid
    changes: dict[str, object] = {"pid": pid, "tgid": tgid}
    if who.uid is not None:
        changes["uid"] = who.uid
    if who.comm is not None:
        changes["comm"] = who.comm.encode()
    return dataclasses.replace(task, **changes)  # type: ignore[arg-type]  # by name


# --- by kind: the hook's full name, and what makes a context for each program

Made = tuple[str, Callable[[], Context]]


def _tracepoint(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    tracepoint(system, place)
    record = _bytes(data)
    return place, lambda: BytesContext(record)


def _raw(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    if not any(each.name == place for each in system.tracepoints.values()):
        raise ValueError(f"this kernel has no tracepoint {place!r}")
    return _arguments(system, place, data)


def _function(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    if place not in system.types.functions and f"bpf_lsm_{place}" not in system.types.functions:
        raise ValueError(f"this kernel has no function {place!r}")
    return _arguments(system, place, data)


def _arguments(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    if isinstance(data, (bytes, bytearray)):
        words = bytes(data)
    else:
        words = struct.pack(f"={len(data)}Q", *(each & (1 << 64) - 1 for each in data))
    return place, lambda: BytesContext(words)


def _probe(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    if isinstance(data, (bytes, bytearray)):
        registers = bytes(data) or pt_regs(())
    else:
        registers = pt_regs(tuple(data))
    return place, lambda: BytesContext(registers)


def _return_probe(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    if isinstance(data, (bytes, bytearray)):
        return _probe(system, place, data)
    if len(data) > 1:
        raise ValueError("a return probe is given the one value that is returned")
    registers = pt_regs((), data[0] if data else 0)
    return place, lambda: BytesContext(registers)


def _xdp(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    index = system.interfaces.get(place)
    if index is None:
        raise ValueError(f"this kernel has no interface {place!r}")
    packet = _bytes(data)
    return str(index), lambda: XdpContext(packet, ingress_ifindex=index)


# The programs of a direction see the packet one after the other, until one decides.
def _tcx(system: System, place: str, data: bytes | Sequence[int]) -> Made:
    interface, _, direction = place.partition("/")
    index = system.interfaces.get(interface)
    if index is None or direction not in ("ingress", "egress"):
        raise ValueError(f"this kernel has no hook tcx/{place}: INTERFACE/ingress or /egress")
    context = SkbContext(_bytes(data), ifindex=index)
    return f"{index}/{direction}", lambda: context


def _bytes(data: bytes | Sequence[int]) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"this hook takes bytes, not {type(data).__name__}")


_KINDS: dict[str, Callable[[System, str, bytes | Sequence[int]], Made]] = {
    "tracepoint": _tracepoint,
    "raw_tp": _raw,
    "tp_btf": _raw,
    "fentry": _function,
    "fexit": _function,
    "fmod_ret": _function,
    "lsm": _function,
    "kprobe": _probe,
    "kretprobe": _return_probe,
    "uprobe": _probe,
    "uretprobe": _return_probe,
    "perf_event": _probe,
    "xdp": _xdp,
    "tcx": _tcx,
}
