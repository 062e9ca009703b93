"""Static tracepoints: ``SEC("tracepoint/category/name")``."""

from __future__ import annotations

import errno

from pyebpf.errors import LoadError, SyscallError, naming
from pyebpf.host import tracefs
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.perf_event import attach_event
from pyebpf.link.target import section_target
from pyebpf.programs.program import Program
from pyebpf.sys import perf_event
from pyebpf.uapi.bpf import ProgType

__all__ = ["attach_tracepoint", "by_section"]


def attach_tracepoint(
    program: Program, category: str, name: str, *, cookie: int | None = None
) -> Link:
    """Attach *program* to a tracepoint; it runs on every CPU and for every process.

    Args:
        program: Of type ``BPF_PROG_TYPE_TRACEPOINT``; may be closed afterwards.
        category: A directory of tracefs' ``events``, such as ``"sched"``.
        name: One of its tracepoints, such as ``"sched_process_exec"``.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.15).

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type.
        LoadError: No such tracepoint.
        SyscallError: ``EEXIST`` if the program is attached there already, …

    Since Linux 4.7.
    """
    check_type(program, ProgType.TRACEPOINT)
    target = f"tracepoint {category}/{name}"
    with naming(f'attach program "{program.name}" to {target}'):
        # One event on one CPU is enough: the program hangs on the tracepoint itself.
        event = perf_event.open_tracepoint(tracefs.tracepoint_id(category, name))
        try:
            return attach_event(program, event, target=target, cookie=cookie)
        except SyscallError as error:
            if error.errno == errno.EEXIST:
                error.detail = "this program is attached there already"
            elif error.errno == errno.EACCES:
                error.detail = "the program reads beyond what this tracepoint records"
            raise


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    category, slash, name = section_target(program).partition("/")
    if not slash:
        raise LoadError(program.name, f'SEC("tracepoint/{category}") names no category/name')
    return attach_tracepoint(program, category, name)
