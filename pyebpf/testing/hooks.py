"""From a hook to programs that run: ``attached(hook)`` ──▶ attachments ──▶ ``run()``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyebpf.testing.attachments import Attachment
from pyebpf.testing.interpreter import Context
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.structs import current_task
from pyebpf.testing.system import System

__all__ = ["attached", "run", "running"]


def attached(system: System, name: str) -> list[Attachment]:
    """Return what is attached to a hook, in the order it runs."""
    system.sweep()
    return list(system.hook(name).attachments)


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
