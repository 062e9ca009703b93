"""Iterators: a program walks objects of the kernel, and what it prints is read.

    target ──objects()──▶ (object, …) each ──▶ WalkContext ──▶ program ──seq_printf──▶ output

A walk is made as a whole when it is begun (a kernel makes it bit by bit as it is read). After the
last object the program runs once more, without one.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Mapping

from pyebpf.testing import hooks
from pyebpf.testing.attachments import Link
from pyebpf.testing.interpreter import Region
from pyebpf.testing.objects import Map, ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.seq_files import Output, WalkContext
from pyebpf.testing.structs import struct_region, task_regions
from pyebpf.testing.system import System
from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import MapType

__all__ = ["TARGETS", "WALKABLE", "Walked", "walk"]

_PER_CPU = frozenset({MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY})

WALKABLE = _PER_CPU | {MapType.HASH, MapType.LRU_HASH, MapType.ARRAY}
"""Maps that ``iter/bpf_map_elem`` walks."""

_sessions = itertools.count(1)


class Walked(NamedTuple):
    """What a link says besides its target.

    Attributes:
        map: The map, for those that walk one.
        pid: The only process, or 0.
        tid: The only thread, or 0.
    """

    map: Map | None = None
    pid: int = 0
    tid: int = 0


# The memory that each pointer of the context leads to (None: null), and more that hangs on it.
Shown = tuple[list[Region | None], list[Region]]


def walk(system: System, link: Link, walked: Walked) -> bytes:
    """Walk once; return what the program printed.

    Raises:
        Refused: ``EAGAIN``: the program returned something else than 0.
        ExecutionError: It did what the verifier would have refused.
    """
    target = link.program.attach_name.removeprefix("bpf_iter_")
    output, session = Output(), next(_sessions)
    count, objects = TARGETS[target]
    number = 0
    for number, (pointers, more) in enumerate(objects(system, walked), 1):
        _show(system, link.program, output, (session, number - 1), pointers, more)
    # The map is there at the end, too.
    end, more = _map_at_end(system, walked)
    last = [*end, *[None] * (count - len(end))]
    _show(system, link.program, output, (session, max(number - 1, 0)), last, more)
    return bytes(output.text)


def _show(
    system: System,
    program: ProgramObject,
    output: Output,
    numbers: tuple[int, int],
    pointers: list[Region | None],
    more: list[Region],
) -> None:
    session, sequence = numbers
    meta = struct_region(
        system.types,
        "bpf_iter_meta",
        {"seq": output.file.base, "session_id": session, "seq_num": sequence},
    )
    context = WalkContext([meta, *pointers], more, output)
    if hooks.run(system, program, context):
        raise Refused(errno.EAGAIN)


# --- what is walked


def _maps(system: System, walked: Walked) -> Iterator[Shown]:
    for each in system.maps:
        yield [_map(system, each)], []


def _programs(system: System, walked: Walked) -> Iterator[Shown]:
    for each in system.programs:
        shown, more = _program(system, each)
        yield [shown], more


def _links(system: System, walked: Walked) -> Iterator[Shown]:
    for each in system.links:
        shown, more = _program(system, each.program)
        members = {"id": each.id, "type": each.type, "prog": shown.base}
        yield [struct_region(system.types, "bpf_link", members)], [shown, *more]


def _tasks(system: System, walked: Walked) -> Iterator[Shown]:
    for task in (system.machine.world.task, *system.tasks):
        if walked.pid not in (0, task.tgid) or walked.tid not in (0, task.pid):
            continue
        own, *more = task_regions(task, system.types, 1)
        yield [own], more


def _elements(system: System, walked: Walked) -> Iterator[Shown]:
    assert walked.map is not None
    found = walked.map
    shown = _map(system, found)
    for key in list(found.for_programs.keys()):
        if found.definition.type in _PER_CPU:
            value: object = Region(bytearray(found.contents.lookup(key)), "values of all CPUs")
        else:
            value = found.for_programs.lookup(key, 0)
        if isinstance(value, Region):
            yield [shown, Region(key, "key", writable=False), value], []


def _map_at_end(system: System, walked: Walked) -> tuple[list[Region | None], list[Region]]:
    return ([_map(system, walked.map)] if walked.map is not None else []), []


TARGETS: Mapping[str, tuple[int, Callable[[System, Walked], Iterator[Shown]]]] = {
    "bpf_map": (1, _maps),
    "bpf_prog": (1, _programs),
    "bpf_link": (1, _links),
    "bpf_map_elem": (3, _elements),
    "task": (1, _tasks),
}
"""By name: how many pointers there are besides the one to ``bpf_iter_meta``, and the objects."""


def _map(system: System, what: Map) -> Region:
    definition = what.definition
    members: dict[str, int | bytes | str] = {
        "map_type": definition.type,
        "key_size": definition.key_size,
        "value_size": definition.value_size,
        "max_entries": definition.max_entries,
        "map_extra": definition.map_extra,
        "map_flags": int(definition.flags),
        "id": what.id,
        "name": definition.name,
    }
    return struct_region(system.types, "bpf_map", members)


def _program(system: System, what: ProgramObject) -> tuple[Region, list[Region]]:
    members: dict[str, int | bytes | str] = {"id": what.id, "name": what.name}
    aux = struct_region(system.types, "bpf_prog_aux", members)
    shown = struct_region(
        system.types,
        "bpf_prog",
        {"type": what.type, "len": len(what.code) // 8, "tag": what.tag, "aux": aux.base},
    )
    return shown, [aux]
