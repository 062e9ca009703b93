"""Many functions of the kernel at once: ``SEC("kprobe.multi/tcp_*")``, ``SEC("kprobe.session/…")``.

One link holds them all. A session program runs at the entry and, if it returns 0 there, at the
return of the same call.
"""

from __future__ import annotations

import array
import contextlib
import errno
from collections.abc import Sequence

from pyebpf.errors import AttachError, EbpfError, NotSupportedError, SyscallError, naming
from pyebpf.host import kallsyms, traceable
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.target import section_head, section_target
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import LinkCreateKprobeMulti
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.per_hook import KprobeMultiFlag

__all__ = ["attach_kprobe_multi", "by_section"]


def attach_kprobe_multi(
    program: Program,
    *,
    pattern: str = "",
    functions: Sequence[str] = (),
    addresses: Sequence[int] = (),
    retprobe: bool = False,
    session: bool | None = None,
    cookies: Sequence[int] = (),
) -> Link:
    """Attach *program* to many functions; say which in one of three ways.

    Args:
        program: Of type ``BPF_PROG_TYPE_KPROBE``, loaded with one of the attach types
            ``TRACE_KPROBE_MULTI`` and ``TRACE_KPROBE_SESSION``; may be closed afterwards.
        pattern: With ``*``, ``?`` and ``[...]``: functions whose name matches; those whose name is
            not unique are left out. ``"module:pattern"`` for those of a module alone.
        functions: Names.
        addresses: From /proc/kallsyms.
        retprobe: Run when the functions return.
        session: Run at both; by default if the program's section says so.
        cookies: What ``bpf_get_attach_cookie()`` returns, one for each function or address.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type, or nothing matches.
        ValueError: Not exactly one of the three; cookies with a pattern, or not as many.
        NotSupportedError: The kernel has no such links (``CONFIG_FPROBE``).
        SyscallError: ``ESRCH``: no function of one of the names, or one that cannot be traced;
            ``EINVAL``: the program was not loaded for it.

    Since Linux 5.18 (sessions: 6.10).
    """
    check_type(program, ProgType.KPROBE)
    if sum(map(bool, (pattern, functions, addresses))) != 1:
        raise ValueError("one of pattern, functions and addresses says where")
    given = len(functions) or len(addresses)
    if cookies and len(cookies) != given:
        raise ValueError(f"{len(cookies)} cookies for {given} functions")
    said = program.spec.attach_type if program.spec is not None else None
    if session is None:
        session = said == AttachType.TRACE_KPROBE_SESSION
    target = f"kprobe.multi {pattern or f'{given} functions'}"
    with naming(f'attach program "{program.name}" to {target}'):
        module, _, glob = pattern.rpartition(":")
        names = traceable.functions(glob, module=module) if pattern else list(functions)
        if pattern and not names:
            raise AttachError(pattern, f"no function of the kernel matches {pattern}")
        attr = LinkCreateKprobeMulti(
            prog_fd=program.fileno(),
            attach_type=(
                AttachType.TRACE_KPROBE_SESSION if session else AttachType.TRACE_KPROBE_MULTI
            ),
            kprobe_multi_flags=KprobeMultiFlag.RETURN if retprobe else 0,
            cnt=len(names) or len(addresses),
        )
        if names:
            attr.syms = [name.encode() + b"\0" for name in names]
        else:
            attr.addrs = array.array("Q", addresses)
        if cookies:
            attr.cookies = array.array("Q", cookies)
        return _create(program, attr, said, target, names)


def _create(
    program: Program,
    attr: LinkCreateKprobeMulti,
    said: AttachType | None,
    target: str,
    names: list[str],
) -> Link:
    kind = AttachType(attr.attach_type)
    try:
        return Link(bpf.link_create(attr), target=target)
    except SyscallError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise NotSupportedError("kprobe.multi", "5.18", "CONFIG_FPROBE is not set") from None
        if error.errno in (errno.EINVAL, errno.E2BIG):
            if said != kind:
                error.detail = f"it was loaded for {said}, not {kind}"
            elif not _known(program, kind):
                session = kind == AttachType.TRACE_KPROBE_SESSION
                name, since = ("session", "6.10") if session else ("multi", "5.18")
                raise NotSupportedError(f"kprobe.{name}", since) from None
        if error.errno == errno.ESRCH:
            error.detail = _untraceable(names)
        raise


def _untraceable(names: list[str]) -> str:
    with contextlib.suppress(EbpfError):
        known = kallsyms.find(names).by_name
        for name in names:
            if name not in known:
                return f"the kernel has no function {name}{traceable.nearest(name)}"
    return "one of the functions cannot be traced"


# A kernel that has such links looks for the function, which is not there.
def _known(program: Program, kind: AttachType) -> bool:
    attr = LinkCreateKprobeMulti(
        prog_fd=program.fileno(), attach_type=kind, cnt=1, syms=[b"no such function\0"]
    )
    try:
        bpf.link_create(attr).close()
    except SyscallError as error:
        return error.errno not in (errno.EINVAL, errno.E2BIG)
    return True


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    retprobe = section_head(program).startswith("kretprobe")
    return attach_kprobe_multi(program, pattern=section_target(program), retprobe=retprobe)
