"""BTF-typed hooks, their target chosen at load: tp_btf, fentry, fexit, fmod_ret, LSM, freplace."""

from __future__ import annotations

import contextlib
import errno

from pyebpf.btf_object import btf_by_id
from pyebpf.errors import (
    ENOTSUPP,
    AttachError,
    EbpfError,
    NotSupportedError,
    SyscallError,
    naming,
)
from pyebpf.link.base import Link, loaded_links
from pyebpf.link.interface import check_type, named_program
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import LinkCreateTracing, RawTracepointOpen
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.btf import BtfKind

__all__ = ["attach_freplace", "attach_tracing"]


def attach_tracing(program: Program, *, cookie: int | None = None) -> Link:
    """Attach *program* to the function or tracepoint it was loaded for.

    Args:
        program: Of type ``BPF_PROG_TYPE_TRACING``, ``BPF_PROG_TYPE_LSM`` or ``BPF_PROG_TYPE_EXT``
            (which replaces a function of another program); may be closed afterwards.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.19).

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type, or is one for a cgroup, an iterator, or many
            functions.
        NotSupportedError: The architecture has no trampolines (``ENOTSUPP``), or the kernel no
            cookies here.
        SyscallError: ``EBUSY``: it is attached already, or another one replaces that function;
            ``E2BIG``: too many programs on that function; …

    Since Linux 5.5 (``BPF_PROG_TYPE_EXT``: 5.6).
    """
    check_type(program, ProgType.TRACING, ProgType.LSM, ProgType.EXT)
    said = program.spec.attach_type if program.spec is not None else None
    if said in _ELSEWHERE:
        raise AttachError(program.name, f'program "{program.name}": {_ELSEWHERE[said]}')
    name = program.spec.attach_to if program.spec is not None else program.name
    with naming(f'attach program "{program.name}" to {name}'):
        try:
            if cookie:
                return _with_cookie(program, said, cookie, name)
            attr = RawTracepointOpen(prog_fd=program.fileno())
            return Link(bpf.raw_tracepoint_open(attr), target=name)
        except SyscallError as error:
            if error.errno == ENOTSUPP:
                raise NotSupportedError("programs at the entry of functions", None) from None
            # Kernels that keep no target for a second time say ENOENT.
            if error.errno in (errno.EBUSY, errno.ENOENT):
                error.detail = "it is attached already, or another program replaces that function"
            elif error.errno == errno.E2BIG:
                error.detail = "too many programs are attached to that function"
            raise


_ELSEWHERE = {
    AttachType.TRACE_ITER: "an iterator: link.attach_iter(program)",
    AttachType.LSM_CGROUP: "one of a cgroup: link.attach_cgroup(program, path)",
    **dict.fromkeys(
        (
            AttachType.TRACE_FENTRY_MULTI,
            AttachType.TRACE_FEXIT_MULTI,
            AttachType.TRACE_FSESSION_MULTI,
        ),
        "one of many functions: link.attach_tracing_multi(program, …)",
    ),
}


def attach_freplace(program: Program, target: Program, function: str) -> Link:
    """Let *program* take the place of a function of another program than it was loaded for.

    Args:
        program: Of type ``BPF_PROG_TYPE_EXT``; may be closed afterwards.
        target: A program with a function of the same arguments and result.
        function: That function's name.

    Returns:
        A link that gives the function back when closed.

    Raises:
        AttachError: *program* has another type, or *target* no such function.
        SyscallError: ``EINVAL``: the functions differ; ``EBUSY``: it is replaced already.

    Since Linux 5.10.
    """
    check_type(program, ProgType.EXT)
    name = f'{function} of program "{target.name}"'
    with naming(f'attach program "{program.name}" to {name}'):
        number = target.info().btf_id
        if not number:
            raise AttachError(target.name, f'program "{target.name}" was loaded without types')
        found = btf_by_id(number).ids(function, BtfKind.FUNC)
        if not found:
            raise AttachError(function, f'program "{target.name}" has no function {function}')
        attr = LinkCreateTracing(
            prog_fd=program.fileno(), target_fd=target.fileno(), target_btf_id=found[0]
        )
        try:
            return Link(bpf.link_create(attr), target=name)
        except SyscallError as error:
            if error.errno == errno.EBUSY:
                error.detail = f"{_replacement(target.id, found[0])} replaces that function"
            raise


def _replacement(target_id: int, btf_id: int) -> str:
    from pyebpf.link.kinds import TracingDetails

    with contextlib.suppress(EbpfError):
        for each in loaded_links():
            with each:
                told = each.info()
            if isinstance(told, TracingDetails) and (
                (told.target_object_id, told.target_btf_id) == (target_id, btf_id)
            ):
                return named_program(told.program_id)
    return "another program"


def _with_cookie(program: Program, said: AttachType | None, cookie: int, name: str) -> Link:
    attr = LinkCreateTracing(prog_fd=program.fileno(), attach_type=said or 0, cookie=cookie)
    try:
        return Link(bpf.link_create(attr), target=name)
    except SyscallError as error:
        # Kernels before 5.19 make no such links of tracing programs, or do not know the field.
        if error.errno in (errno.EINVAL, errno.E2BIG):
            raise NotSupportedError("cookies of tracing programs", "5.19") from None
        raise
