"""Raw tracepoints: ``SEC("raw_tp/name")`` — the kernel's own arguments, no copying."""

from __future__ import annotations

import errno

from pyebpf.errors import SyscallError, naming
from pyebpf.host import tracefs
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.target import section_target
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import RawTracepointOpen
from pyebpf.uapi.bpf import ProgType

__all__ = ["attach_raw_tracepoint", "by_section"]


def attach_raw_tracepoint(program: Program, name: str, *, cookie: int | None = None) -> Link:
    """Attach *program* to a raw tracepoint.

    Args:
        program: Of type ``BPF_PROG_TYPE_RAW_TRACEPOINT`` or its writable kind; may be closed
            afterwards.
        name: The tracepoint without its category, such as ``"sched_switch"``.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 6.10).

    Returns:
        A link that detaches when closed (a ``bpf_link`` since Linux 5.8).

    Raises:
        AttachError: *program* has another type.
        SyscallError: ``ENOENT``: no such tracepoint, with near names.

    Since Linux 4.17.
    """
    check_type(program, ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE)
    with naming(f'attach program "{program.name}" to raw tracepoint {name}'):
        attr = RawTracepointOpen(prog_fd=program.fileno(), name=name.encode() + b"\0")
        if cookie:
            attr.cookie = cookie
        try:
            fd = bpf.raw_tracepoint_open(attr)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                import difflib

                near = difflib.get_close_matches(name, tracefs.tracepoint_names())
                hint = f" (near: {', '.join(near)})" if near else ""
                error.detail = f"the kernel has no tracepoint {name!r}{hint}"
            raise
        return Link(fd, target=f"raw tracepoint {name}")


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    return attach_raw_tracepoint(program, section_target(program))
