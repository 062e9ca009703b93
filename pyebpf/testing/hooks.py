"""What is attached where, and how it is run.

links, events with a program, sockets ──attached(hook)──▶ programs ──run()──▶ `Outcome`
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from pyebpf.testing.interpreter import Context
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.structs import current_task
from pyebpf.testing.system import System

__all__ = ["Attached", "attached", "run"]


class Attached(NamedTuple):
    """A program on a hook, and the cookie of its attachment."""

    program: ProgramObject
    cookie: int


def attached(system: System, hook: str) -> list[Attached]:
    """Return the programs on a hook: links in the order they were made, then bare events."""
    system.sweep()
    found = [Attached(link.program, link.cookie) for link in system.links if link.hook == hook]
    found += [
        Attached(event.program, event.cookie)
        for event in system.events
        if event.hook == hook and event.program is not None
    ]
    return found


def run(
    system: System,
    program: ProgramObject,
    context: Context,
    *,
    cookie: int = 0,
    ppid: int | None = None,
) -> int:
    """Run a program once and return its value, 32 bits unsigned.

    Args:
        system: The kernel.
        program: What to run.
        context: What it is given.
        cookie: Of its attachment.
        ppid: The process that started the current one; by default this process's.

    Raises:
        ExecutionError: It did what the verifier would have refused, or what is not modelled.
    """
    context.cookie = cookie
    with running(system, program, ppid=ppid):
        return system.machine.run(program.executable, context).retval


@contextlib.contextmanager
def running(
    system: System, program: ProgramObject, *, ppid: int | None = None, times: int = 1
) -> Iterator[None]:
    """Count runs, and let programs find the current task, inside the ``with`` block."""
    if system.statistics is not None and system.files.holders(system.statistics):
        program.run_count += times
    with current_task(system.machine, system.types, ppid):
        yield
