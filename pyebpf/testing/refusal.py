"""`Refused`: an errno on its way out of the made-up kernel, before it becomes a typed error."""

from __future__ import annotations

import errno

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.sys import privileges
from pyebpf.uapi.bpf import Cmd

__all__ = ["Refused", "typed"]


class Refused(Exception):
    """A call fails.

    Args:
        number: The errno.
        detail: What it is about, if a message should say so.
    """

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number, detail)
        self.number = number
        self.detail = detail


def typed(refused: Refused, call: Cmd | str, root: str) -> SyscallError:
    """Return the error that the seam promises for a refusal.

    Args:
        refused: What happened.
        call: The command of bpf(2), or another call's name.
        root: The directory that stands for ``/``.
    """
    number, detail = refused.number, refused.detail
    if not isinstance(call, Cmd):
        kind = PrivilegeError if number in (errno.EPERM, errno.EACCES) else SyscallError
        return kind(call, number, detail)
    if number == errno.EPERM or (number == errno.EACCES and call is not Cmd.PROG_LOAD):
        return PrivilegeError(call.c_name, number, detail or privileges.explain(call, root=root))
    return SyscallError(call.c_name, number, detail)
