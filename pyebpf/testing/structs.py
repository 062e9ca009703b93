"""Structs of the made-up kernel in memory that programs can read, and the task that runs now.

task_struct ──real_parent──▶ task_struct ◀── what get_current_task() returns reads like a kernel's
     └──────cred──▶ cred
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

from pyebpf.testing.c_types import Types
from pyebpf.testing.interpreter import Machine, Region, Task

__all__ = ["current_task", "struct_region", "task_regions"]


def struct_region(types: Types, name: str, members: Mapping[str, int | bytes | str]) -> Region:
    """Return a struct in memory, zero but for what is given.

    Args:
        types: Where it is declared.
        name: Without ``struct``.
        members: Numbers, addresses, or bytes, by name.

    Raises:
        ValueError: No such struct or member, or what does not fit.
    """
    layout = types.layouts.get(name)
    if layout is None:
        raise ValueError(f"this kernel has no struct {name}")
    size = max((each.offset + each.size for each in layout.values()), default=0)
    data = bytearray(-(-size // 8) * 8)
    for member, value in members.items():
        place = layout.get(member)
        if place is None:
            raise ValueError(f"struct {name} has no member {member}")
        if isinstance(value, int):
            value = (value & (1 << 8 * place.size) - 1).to_bytes(place.size, sys.byteorder)
        content = value.encode() if isinstance(value, str) else bytes(value)
        if len(content) > place.size:
            raise ValueError(f"{name}.{member} takes {place.size} bytes, not {len(content)}")
        data[place.offset : place.offset + len(content)] = content
    return Region(data, f"struct {name}", writable=False)


@contextlib.contextmanager
def current_task(machine: Machine, types: Types, ppid: int | None) -> Iterator[None]:
    """Let programs find the current task in memory, inside the ``with`` block.

    Args:
        machine: Whose world says which task it is; one with an address is there already.
        types: The kernel's.
        ppid: The process that started it; by default this process's.
    """
    task = machine.world.task
    if task.address:
        yield
        return
    regions = task_regions(task, types, os.getppid() if ppid is None else ppid)
    for region in regions:
        machine.memory.place(region)
    task.address = regions[0].base
    try:
        yield
    finally:
        task.address = 0
        for region in regions:
            machine.memory.remove(region)


def task_regions(task: Task, types: Types, ppid: int) -> list[Region]:
    """Return a task's ``task_struct`` and what it leads to, to be placed."""
    ids = {"uid": task.uid, "gid": task.gid, "euid": task.uid, "egid": task.gid}
    cred = struct_region(types, "cred", ids)
    parent = struct_region(types, "task_struct", {"pid": ppid, "tgid": ppid, "cred": cred.base})
    own = struct_region(
        types,
        "task_struct",
        {
            "pid": task.pid,
            "tgid": task.tgid,
            "comm": task.comm[:15],
            "prio": 120,
            "static_prio": 120,
            "real_parent": parent.base,
            "parent": parent.base,
            "cred": cred.base,
            "real_cred": cred.base,
        },
    )
    return [own, parent, cred]
