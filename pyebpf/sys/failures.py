"""What an errno of a system call becomes, and what is said beside it; bpf(2)'s are in `kernel`."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyebpf.errors import PrivilegeError, SyscallError, errno_text

__all__ = ["failure", "told"]


def failure(call: str, number: int | None, about: str) -> SyscallError:
    """Return the error for a call that failed.

    Args:
        call: As in ``open``.
        number: Its errno.
        about: What it was tried on.

    Returns:
        A `PrivilegeError` for ``EPERM`` and ``EACCES``, else a `SyscallError`.
    """
    number = number or 0
    kind = PrivilegeError if number in (errno.EPERM, errno.EACCES) else SyscallError
    return kind(call, number, f"{errno_text(number)} ({about})")


def told(say: Callable[[], str]) -> str:
    """Return what *say* says, or nothing if the module it asks cannot be imported any more.

    What explains an errno is imported when there is one. A process that has changed its root or may
    not read our files gets the error all the same, of the class that it is (see
    `pyebpf.import_all`).
    """
    try:
        return say()
    except ImportError:
        return ""
