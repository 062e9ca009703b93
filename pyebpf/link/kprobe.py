"""Probes in the kernel's functions: ``SEC("kprobe/function+offset")``, ``SEC("kretprobe/…")``.

``SEC("ksyscall/name")`` is a probe of the function behind a system call, whatever it is called on
this machine: ``__x64_sys_name``, ``__arm64_sys_name``, ``__se_sys_name``.
"""

from __future__ import annotations

import errno
import re

from pyebpf.errors import ENOTSUPP, AttachError, EbpfError, NotSupportedError, SyscallError, naming
from pyebpf.host import kallsyms, syscalls, traceable
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.probe import attach_probe
from pyebpf.link.target import parsed, section_head, section_target
from pyebpf.programs.program import Program
from pyebpf.uapi.bpf import ProgType

__all__ = ["attach_kprobe", "attach_ksyscall", "by_section", "parse_function"]

_FUNCTION = re.compile(r"(?P<name>[^+]+?)(?:\+(?P<offset>\w+))?")
_SYSCALL = re.compile(r"(?:__se_)?(?P<call>sys_\w+)")


def parse_function(text: str) -> tuple[str, int]:
    """Split ``"function+offset"``.

    Raises:
        ValueError: It has another form.
    """
    match = _FUNCTION.fullmatch(text)
    try:
        if match is not None:
            return match["name"], int(match["offset"] or "0", 0)
    except ValueError:
        pass
    raise ValueError(f'"{text}" is not of the form function[+offset]')


def attach_kprobe(
    program: Program,
    function: str,
    *,
    offset: int = 0,
    retprobe: bool = False,
    cookie: int | None = None,
    maxactive: int = 0,
    use_tracefs: bool | None = None,
) -> Link:
    """Attach *program* to a function of the kernel or a module.

    Uses the kprobe PMU, and tracefs where there is none. A system call's plain name (``sys_open``)
    also finds its wrapper (``__x64_sys_open``).

    Args:
        program: Of type ``BPF_PROG_TYPE_KPROBE``; may be closed afterwards.
        function: Its name, as in /proc/kallsyms.
        offset: Bytes into it.
        retprobe: Run when the function returns.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.15).
        maxactive: Of a return probe: how many calls may be under way at once without one being
            missed; the kernel chooses by default. Implies tracefs.
        use_tracefs: True makes the probe there at once, False never.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type; or no such function, with near names.
        NotSupportedError: The kernel has no kprobes.
        SyscallError: ``EADDRNOTAVAIL``: several functions of that name; ``EINVAL``, ``EILSEQ``:
            no probe can be there; …

    Since Linux 4.17 (PMU), 4.1 (tracefs).
    """
    check_type(program, ProgType.KPROBE)
    if maxactive and not retprobe:
        raise ValueError("maxactive is for return probes")
    kind = "kretprobe" if retprobe else "kprobe"
    where = f"{function}+{offset:#x}" if offset else function
    with naming(f'attach program "{program.name}" to {kind} {where}'):
        for name in _names(function):
            try:
                return attach_probe(
                    program, "kprobe", name, offset, target=f"{kind} {where}", retprobe=retprobe,
                    cookie=cookie, maxactive=maxactive, use_tracefs=use_tracefs,
                )  # fmt: skip
            except SyscallError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise _explained(error, function) from None
                failure = error
        raise _explained(failure, function) from None


def attach_ksyscall(
    program: Program,
    name: str,
    *,
    retprobe: bool = False,
    cookie: int | None = None,
    use_tracefs: bool | None = None,
) -> Link:
    """Attach *program* to a system call's function.

    Args:
        program: As for `attach_kprobe`.
        name: The call, such as ``"openat"``.
        retprobe: Run when the call returns.
        cookie: As for `attach_kprobe`.
        use_tracefs: As for `attach_kprobe`.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: No such system call, …
        NotSupportedError: The kernel has no kprobes.
        SyscallError: The kernel refused.

    Since Linux 4.17.
    """
    prefix = syscalls.wrapper_prefix() if syscalls.has_wrappers() else "__se_"
    return attach_kprobe(
        program, f"{prefix}sys_{name}", retprobe=retprobe, cookie=cookie, use_tracefs=use_tracefs
    )


# The function itself first; the wrapper of a system call only if there is none of that name.
def _names(function: str) -> list[str]:
    match = _SYSCALL.fullmatch(function)
    if match is None:
        return [function]
    prefix = syscalls.wrapper_prefix()
    return [function, f"{prefix}{match['call']}"] if prefix else [function]


def _explained(error: SyscallError, function: str) -> EbpfError:
    if error.errno == ENOTSUPP:
        return NotSupportedError(f"a probe at this place of {function}", None)
    if error.errno == errno.EADDRNOTAVAIL:
        error.detail = f"several functions are called {function}"
    elif error.errno == errno.EILSEQ:
        error.detail = "not the start of an instruction"
    elif error.errno in (errno.ENOENT, errno.EINVAL):
        try:
            known = kallsyms.find([function]).by_name
        except EbpfError:
            return error
        if not known:
            near = traceable.nearest(function)
            return AttachError(function, f"the kernel has no function {function}{near}")
        if error.errno == errno.EINVAL:
            error.detail = f"no probe can be in {function}, or at this place of it"
    return error


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    head = section_head(program)
    if head in ("ksyscall", "kretsyscall"):
        retprobe = head == "kretsyscall"
        return attach_ksyscall(program, section_target(program), retprobe=retprobe)
    function, offset = parsed(program, parse_function)
    return attach_kprobe(program, function, offset=offset, retprobe=head == "kretprobe")
