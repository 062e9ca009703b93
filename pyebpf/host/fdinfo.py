"""What ``/proc/PID/fdinfo/FD`` tells about an open file.

    pos:	0
    flags:	02000002
    map_type:	1
    map_flags:	0x0
    memlock:	4096

In: process and descriptor. Out: the lines whose value is a number, as a dict.
"""

from __future__ import annotations

import os

from pyebpf.errors import SyscallError
from pyebpf.sys import kernel
from pyebpf.sys.failures import failure

__all__ = ["fdinfo", "parse"]


def fdinfo(pid: str, fd: int, root: str | None = None) -> dict[str, int]:
    """Return the numbers in the description of a descriptor.

    Args:
        pid: A process's number, or ``"self"``.
        fd: The descriptor.
        root: The directory that stands for ``/``.

    Returns:
        Numbers by name; nothing for a descriptor of this process if there is no ``/proc``.

    Raises:
        SyscallError: No such process or descriptor, or somebody else's.
    """
    if pid == "self" and root is None:
        try:
            return parse(kernel.current().file_info(fd))
        except SyscallError:
            return {}
    path = os.path.join(root or kernel.current().root, "proc", pid, "fdinfo", str(fd))
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse(file.read())
    except OSError as error:
        if pid == "self":
            return {}
        raise failure("open", error.errno, path) from None


def parse(text: str) -> dict[str, int]:
    """Return the numbers in a description, by name; lines of another form are left out."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        digits = value.strip()
        try:
            # Octal numbers (flags) start with 0 as hexadecimal ones do with 0x.
            octal = digits.startswith("0") and digits.isdigit()
            found[name] = int(digits, 8 if octal else 0)
        except ValueError:
            continue
    return found
