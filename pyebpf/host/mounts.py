"""What is mounted where: ``/proc/self/mountinfo``, decoded.

In: one line per mount,

    36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    id parent dev root POINT options optional... - TYPE source super-options

Out: `Mount` tuples, and the mount points of one file system type.
"""

from __future__ import annotations

import os

from pyebpf.errors import SyscallError
from pyebpf.sys import kernel
from pyebpf.typed import NamedTuple

__all__ = ["Mount", "mounts", "of_type", "parse"]


class Mount(NamedTuple):
    """One mount.

    Attributes:
        point: Where.
        type: Of the file system: ``"bpf"``, ``"tracefs"``, ``"cgroup2"``.
        root: Which directory of the file system is seen there.
        options: The file system's own options.
    """

    point: str
    type: str
    root: str
    options: str


def mounts(root: str | None = None) -> list[Mount]:
    """Return all mounts this process sees, the latest last; it may hide earlier ones.

    Raises:
        SyscallError: ``/proc`` is not there.
    """
    path = os.path.join(root or kernel.current().root, "proc/self/mountinfo")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return parse(file.read())
    except OSError as error:
        raise SyscallError("open", error.errno or 0, path) from None


def of_type(kind: str, root: str | None = None) -> list[str]:
    """Return the mount points of one type of file system, the first mounted first."""
    return [mount.point for mount in mounts(root) if mount.type == kind]


def parse(text: str) -> list[Mount]:
    """Return the mounts in a mountinfo text; lines that make no sense are left out."""
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if dash and len(fields) >= 6 and len(rest) >= 2:
            options = rest[2] if len(rest) > 2 else ""
            found.append(Mount(_plain(fields[4]), rest[0], _plain(fields[3]), options))
    return found


# Blanks, tabs, newlines and backslashes come as \040 and so on: bytes, not characters.
def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    import re

    raw = text.encode("utf-8", errors="surrogateescape")
    raw = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 0xFF]), raw)
    return raw.decode("utf-8", errors="surrogateescape")
