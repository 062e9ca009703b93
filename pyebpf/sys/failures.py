"""What an errno of an ordinary system call becomes: bpf(2) has its own rules, in `kernel`."""

from __future__ import annotations

import errno

from pyebpf.errors import PrivilegeError, SyscallError, errno_text

__all__ = ["failure"]


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
