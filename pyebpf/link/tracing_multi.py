"""The entry and return of many functions by one link: ``SEC("fentry.multi/tcp_*")`` and the like.

    names or a pattern ──▶ functions that can be traced ──▶ their ids in the kernel's BTF ──▶ link

A pattern takes those functions whose arguments and result a trampoline can pass on: at most twelve
arguments of at most 16 bytes, none of them ``...``, and a result that is no struct.
"""

from __future__ import annotations

import array
import errno
from collections.abc import Sequence

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Func, FuncProto, Struct, Union
from pyebpf.errors import AttachError, BtfError, NotSupportedError, SyscallError, naming
from pyebpf.features.links import attach_type as known
from pyebpf.host import traceable
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.target import section_target
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import LinkCreateTracingMulti
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.btf import BtfKind

__all__ = ["attach_tracing_multi", "by_section"]

_KINDS = frozenset(
    {
        AttachType.TRACE_FENTRY_MULTI,
        AttachType.TRACE_FEXIT_MULTI,
        AttachType.TRACE_FSESSION_MULTI,
    }
)
# MAX_BPF_FUNC_ARGS and btf_distill_func_proto() in the kernel.
_MOST_ARGUMENTS, _LARGEST_ARGUMENT = 12, 16


def attach_tracing_multi(
    program: Program,
    *,
    pattern: str = "",
    functions: Sequence[str] = (),
    cookies: Sequence[int] = (),
) -> Link:
    """Attach *program* to many functions of the kernel; say which in one of two ways.

    Args:
        program: Of type ``BPF_PROG_TYPE_TRACING``, loaded with one of the attach types
            ``TRACE_FENTRY_MULTI``, ``TRACE_FEXIT_MULTI`` and ``TRACE_FSESSION_MULTI``; may be
            closed afterwards.
        pattern: With ``*``, ``?`` and ``[...]``: functions whose name matches, as far as they can
            be traced.
        functions: Names.
        cookies: What ``bpf_get_attach_cookie()`` returns, one for each function.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* is of another kind, or nothing matches.
        ValueError: Both or neither; cookies with a pattern, or not as many.
        NotSupportedError: The kernel has no such links.
        SyscallError: One of the functions cannot be traced.

    Since Linux 7.2.
    """
    check_type(program, ProgType.TRACING)
    if bool(pattern) == bool(functions):
        raise ValueError("pattern or functions says where")
    if cookies and len(cookies) != len(functions):
        raise ValueError(f"{len(cookies)} cookies for {len(functions)} functions")
    kind = program.spec.attach_type if program.spec is not None else None
    if kind not in _KINDS:
        raise AttachError(
            program.name, f'program "{program.name}": not of SEC("fentry.multi/…") or the like'
        )
    target = f"{kind} of {pattern or f'{len(functions)} functions'}"
    with naming(f'attach program "{program.name}" to {target}'):
        ids = _matching(pattern) if pattern else [_id(name) for name in functions]
        attr = LinkCreateTracingMulti(
            prog_fd=program.fileno(), attach_type=kind, ids=array.array("I", ids), cnt=len(ids)
        )
        if cookies:
            attr.cookies = array.array("Q", cookies)
        try:
            return Link(bpf.link_create(attr), target=target)
        except SyscallError as error:
            if error.errno in (errno.EINVAL, errno.E2BIG):
                unsupported = known(kind).unsupported()
                if unsupported is not None:
                    raise NotSupportedError(str(kind), kind.since) from None
            raise


def _id(name: str) -> int:
    found = kernel_btf().ids(name, BtfKind.FUNC)
    if not found:
        near = traceable.nearest(name)
        raise AttachError(name, f"the kernel's types have no function {name}{near}")
    return found[0]


def _matching(pattern: str) -> list[int]:
    types = kernel_btf()
    found = []
    for name in traceable.functions(pattern):
        ids = types.ids(name, BtfKind.FUNC)
        # Of several functions of a name nobody knows which is meant.
        if len(ids) == 1 and _passes(types, ids[0]):
            found.append(ids[0])
    if not found:
        raise AttachError(
            pattern, f"no function of the kernel that can be traced matches {pattern}"
        )
    return found


def _passes(types: Btf, function_id: int) -> bool:
    function = types.type(function_id)
    prototype = types.type(function.type) if isinstance(function, Func) else None
    if not isinstance(prototype, FuncProto) or len(prototype.params) > _MOST_ARGUMENTS:
        return False
    if isinstance(types.type(types.strip(prototype.return_type)), Struct | Union):
        return False
    try:
        sizes = [types.size_of(each.type) for each in prototype.params]
    except BtfError:
        return False  # ``...`` has no size
    return all(0 < size <= _LARGEST_ARGUMENT for size in sizes)


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    return attach_tracing_multi(program, pattern=section_target(program))
