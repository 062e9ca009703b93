"""Letting things happen: from a hook's name and what comes with it to programs that ran."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping, Sequence

from pyebpf.testing import hooks
from pyebpf.testing.attachments import Attachment
from pyebpf.testing.firing_network import (
    CGROUPS,
    NETWORK,
    Data,
    Fired,
    OptionContext,
    cgroup,
    network,
)
from pyebpf.testing.interpreter import BytesContext, Context, Task
from pyebpf.testing.interpreter.skb import SkbContext
from pyebpf.testing.interpreter.xdp import XdpContext
from pyebpf.testing.kernel_types import pt_regs
from pyebpf.testing.system import System
from pyebpf.testing.tracepoints import Tracepoint
from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import AttachType

__all__ = ["Outcome", "Who", "fire", "tracepoint"]


class Who(NamedTuple):
    """On whose behalf; what is ``None`` is as the world has it."""

    pid: int | None = None
    tgid: int | None = None
    uid: int | None = None
    comm: str | None = None
    ppid: int | None = None
    cgroup: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one program did.

    Attributes:
        program: Its name.
        retval: What it returned, 32 bits unsigned.
        data: The packet afterwards; of control groups and ``sk_lookup`` the struct that the program
            was given, of socket options the value; ``b""`` for other hooks.
    """

    program: str
    retval: int
    data: bytes = b""


# By what hooks are called, as far as section names have several words for one.
_ALIASES = {"tp": "tracepoint", "raw_tracepoint": "raw_tp", "raw_tp.w": "raw_tp", "tc": "tcx"}


def fire(system: System, hook: str, data: Data, *, cpu: int, who: Who) -> list[Outcome]:
    """Run what is attached to a hook; arguments as for `FakeKernel.fire`."""
    if not 0 <= cpu < system.cpus:
        raise ValueError(f"there are {system.cpus} CPUs, and no number {cpu}")
    kind, _, place = hook.partition("/")
    kind = _ALIASES.get(kind, kind)
    if hook in CGROUPS:
        fired = cgroup(system, CGROUPS[hook], who.cgroup or "/", data)
    elif kind == "lsm_cgroup":
        _, arguments = _function(system, place, _arguments_of(hook, data))
        found = cgroup(system, AttachType.LSM_CGROUP, who.cgroup or "/", data, f"bpf_lsm_{place}")
        fired = found._replace(context=arguments)
    elif kind in _KINDS and place:
        name, context = _KINDS[kind](system, place, _arguments_of(hook, data))
        fired = Fired(hooks.attached(system, f"{kind}/{name}"), context)
    else:
        known = network(system, kind, place, data)
        if known is None:
            raise ValueError(f"no hook is called {hook!r}; there are {_known()}")
        fired = known
    return _run(system, fired, cpu, who)


def _arguments_of(hook: str, data: Data) -> Arguments:
    if isinstance(data, Mapping):
        raise TypeError(f"{hook} takes bytes or numbers")
    return data


def _known() -> str:
    return ", ".join(sorted({*_KINDS, *NETWORK, *CGROUPS, "lsm_cgroup"}))


def tracepoint(system: System, name: str) -> Tracepoint:
    """Return a tracepoint by ``category/name``.

    Raises:
        ValueError: There is none.
    """
    for each in system.tracepoints.values():
        if f"{each.category}/{each.name}" == name:
            return each
    raise ValueError(f"this kernel has no tracepoint {name!r}")


def _run(system: System, fired: Fired, cpu: int, who: Who) -> list[Outcome]:
    world = system.machine.world
    before = world.cpu, world.task
    outcomes = []
    try:
        world.cpu = cpu
        world.task = _task(system, who)
        for attached in fired.attachments:
            if attached.started is not None and not _was_content(attached.started):
                continue
            given = fired.context()
            given.group = attached.group
            retval = hooks.run(
                system, attached.program, given, cookie=attached.cookie, ppid=who.ppid
            )
            attached.returned = retval
            outcomes.append(
                Outcome(
                    program=attached.program.name.decode(errors="replace"),
                    retval=retval,
                    data=_left(given),
                )
            )
            if fired.stops(attached, retval):
                break
    finally:
        world.cpu, world.task = before
    return outcomes


# Once for each call: the next one begins anew.
def _was_content(start: Attachment) -> bool:
    returned, start.returned = start.returned, None
    return returned == 0


# What a program may have changed.
def _left(context: Context) -> bytes:
    if isinstance(context, (XdpContext, SkbContext)):
        return bytes(context.packet)
    if isinstance(context, OptionContext):
        return bytes(context.value)
    if isinstance(context, BytesContext) and context.writable:
        return bytes(context.data)
    return b""


def _task(system: System, who: Who) -> Task:
    task = system.machine.world.task
    pid = task.pid if who.pid is None else who.pid
    tgid = who.tgid if who.tgid is not None else task.tgid if who.pid is None else pid
    changes: dict[str, object] = {"pid": pid, "tgid": tgid}
    if who.uid is not None:
        changes["uid"] = who.uid
    if who.comm is not None:
        changes["comm"] = who.comm.encode()
    if who.cgroup is not None:
        changes["cgroup_id"] = system.cgroups.at(who.cgroup)[0]
    return dataclasses.replace(task, **changes)  # type: ignore[arg-type]  # by name


# --- by kind: the hook's full name, and what makes a context for each program

Arguments = bytes | Sequence[int]
Made = tuple[str, Callable[[], Context]]


def _tracepoint(system: System, place: str, data: Arguments) -> Made:
    tracepoint(system, place)
    record = _bytes(data)
    return place, lambda: BytesContext(record)


def _raw(system: System, place: str, data: Arguments) -> Made:
    if not any(each.name == place for each in system.tracepoints.values()):
        raise ValueError(f"this kernel has no tracepoint {place!r}")
    return _arguments(system, place, data)


def _function(system: System, place: str, data: Arguments) -> Made:
    if place not in system.types.functions and f"bpf_lsm_{place}" not in system.types.functions:
        raise ValueError(f"this kernel has no function {place!r}")
    return _arguments(system, place, data)


def _arguments(system: System, place: str, data: Arguments) -> Made:
    if isinstance(data, (bytes, bytearray)):
        words = bytes(data)
    else:
        words = struct.pack(f"={len(data)}Q", *(each & (1 << 64) - 1 for each in data))
    return place, lambda: BytesContext(words)


def _probe(system: System, place: str, data: Arguments) -> Made:
    if isinstance(data, (bytes, bytearray)):
        registers = bytes(data) or pt_regs(())
    else:
        registers = pt_regs(tuple(data))
    return place, lambda: BytesContext(registers)


def _return_probe(system: System, place: str, data: Arguments) -> Made:
    if isinstance(data, (bytes, bytearray)):
        return _probe(system, place, data)
    if len(data) > 1:
        raise ValueError("a return probe is given the one value that is returned")
    registers = pt_regs((), data[0] if data else 0)
    return place, lambda: BytesContext(registers)


def _bytes(data: Arguments) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"this hook takes bytes, not {type(data).__name__}")


_KINDS: dict[str, Callable[[System, str, Arguments], Made]] = {
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
}
