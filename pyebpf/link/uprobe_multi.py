"""Many places of one file at once: ``SEC("uprobe.multi/path:pattern")``, and sessions.

One link holds them all. A session program (``SEC("uprobe.session/…")``) runs at the entry and, if
it returns 0 there, at the return of the same call.
"""

from __future__ import annotations

import array
import errno
import os
from collections.abc import Sequence

from pyebpf import features
from pyebpf.errors import AttachError, LoadError, SyscallError, naming
from pyebpf.host import symbols
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.target import section_head, section_target
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import LinkCreateUprobeMulti
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.per_hook import UprobeMultiFlag

__all__ = ["attach_uprobe_multi", "by_section", "create_uprobe_multi"]


def attach_uprobe_multi(
    program: Program,
    path: str | os.PathLike[str],
    *,
    pattern: str = "",
    functions: Sequence[str] = (),
    offsets: Sequence[int] = (),
    retprobe: bool = False,
    session: bool | None = None,
    pid: int | None = None,
    cookies: Sequence[int] = (),
    reference_counters: Sequence[int] = (),
) -> Link:
    """Attach *program* to many places of a file; say which in one of three ways.

    Args:
        program: Of type ``BPF_PROG_TYPE_KPROBE``, loaded with one of the attach types
            ``TRACE_UPROBE_MULTI`` and ``TRACE_UPROBE_SESSION``; may be closed afterwards.
        path: As for `attach_uprobe`.
        pattern: With ``*``, ``?`` and ``[...]``: functions whose name matches.
        functions: Names of functions.
        offsets: Places in the file.
        retprobe: Run when the functions return.
        session: Run at both; by default if the program's section says so.
        pid: Only this process (*path* is looked up in its ``/proc/PID/root``).
        cookies: What ``bpf_get_attach_cookie()`` returns, one for each place.
        reference_counters: Where semaphores lie in the file, one for each place.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type, or nothing matches.
        LoadError: No such file or symbol.
        ValueError: Not exactly one of the three; cookies with a pattern, or not as many.
        NotSupportedError: The kernel has no such links.
        SyscallError: ``EINVAL``: the program was not loaded for it; ``ESRCH``: no such process; …

    Since Linux 6.6 (sessions: 6.13).
    """
    check_type(program, ProgType.KPROBE)
    if sum(map(bool, (pattern, functions, offsets))) != 1:
        raise ValueError("one of pattern, functions and offsets says where")
    given = len(functions) or len(offsets)
    for name, values in (("cookies", cookies), ("reference counters", reference_counters)):
        if values and len(values) != given:
            raise ValueError(f"{len(values)} {name} for {given} places")
    if session is None:
        said = program.spec.attach_type if program.spec is not None else None
        session = said == AttachType.TRACE_UPROBE_SESSION
    what = f"{os.fspath(path)}:{pattern or f'{given} places'}"
    with naming(f'attach program "{program.name}" to uprobe.multi {what}'):
        file = symbols.find_file(path, pid=pid)
        if pattern:
            places = symbols.matching_offsets(file, pattern)
            if not places:
                raise AttachError(pattern, f"no function of {file} matches {pattern}")
        else:
            places = [symbols.file_offset(file, each) for each in functions] or list(offsets)
        return create_uprobe_multi(
            program, file, places, session=session, retprobe=retprobe, pid=pid, cookies=cookies,
            reference_counters=reference_counters, target=f"uprobe.multi {what}",
        )  # fmt: skip


def create_uprobe_multi(
    program: Program,
    file: str,
    offsets: Sequence[int],
    *,
    session: bool,
    retprobe: bool,
    pid: int | None,
    cookies: Sequence[int],
    reference_counters: Sequence[int],
    target: str,
) -> Link:
    """Make the link; arguments as for `attach_uprobe_multi`."""
    attr = LinkCreateUprobeMulti(
        prog_fd=program.fileno(),
        attach_type=AttachType.TRACE_UPROBE_SESSION if session else AttachType.TRACE_UPROBE_MULTI,
        path=os.fsencode(file) + b"\0",
        offsets=array.array("Q", offsets),
        cnt=len(offsets),
        uprobe_multi_flags=UprobeMultiFlag.RETURN if retprobe else 0,
        pid=pid or 0,
    )
    if cookies:
        attr.cookies = array.array("Q", cookies)
    if any(reference_counters):
        attr.ref_ctr_offsets = array.array("Q", reference_counters)
    try:
        return Link(bpf.link_create(attr), target=target)
    except SyscallError as error:
        if error.errno == errno.ESRCH:
            error.detail = f"no process {pid}"
        elif error.errno == errno.EBADF:
            error.detail = f"{file} is no file that can be probed"
        elif error.errno in (errno.EINVAL, errno.E2BIG):
            (features.uprobe_session if session else features.uprobe_multi).require()
            said = program.spec.attach_type if program.spec is not None else None
            if said != attr.attach_type:
                error.detail = f'it was loaded for {said}: see SEC("uprobe.multi")'
        raise


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    path, _, pattern = section_target(program).rpartition(":")
    if not path or not pattern:
        text = f'"{section_target(program)}" is not of the form path:pattern'
        raise LoadError(program.name, text)
    retprobe = section_head(program).startswith("uretprobe")
    return attach_uprobe_multi(program, path, pattern=pattern, retprobe=retprobe)
