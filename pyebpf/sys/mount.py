"""Mounts and what file system a path is on: mount(2), umount2(2), statfs(2).

In: paths; out: the magic number of a file system, or a mount made or removed.
"""

from __future__ import annotations

import os
import struct
import sys

from pyebpf.errors import SyscallError
from pyebpf.sys.failures import failure
from pyebpf.sys.libc import address_of, error_number, libc

__all__ = [
    "BPF_FS_MAGIC",
    "CGROUP2_MAGIC",
    "is_bpffs",
    "magic",
    "mount",
    "unmount",
]

# linux/magic.h
BPF_FS_MAGIC = 0xCAFE4A11
CGROUP2_MAGIC = 0x63677270

# Larger than any architecture's struct statfs.
_STATFS_SIZE = 256
MNT_DETACH = 2


def magic(path: str | os.PathLike[str]) -> int:
    """Return the magic number of the file system that *path* is on.

    Raises:
        SyscallError: ``ENOENT``, …
        PrivilegeError: ``EACCES``: a directory above it may not be searched.
    """
    buffer = bytearray(_STATFS_SIZE)
    text = os.fsencode(path)
    if libc.statfs(text, address_of(buffer)[0]):
        raise failure("statfs", error_number(), os.fsdecode(text))
    # f_type comes first everywhere: a long, but an int on s390, so the low half of the first word
    # is taken by its place.
    wide = os.uname().machine != "s390x" and sys.maxsize > 1 << 32
    return int(struct.unpack_from("=Q" if wide else "=I", buffer)[0]) & 0xFFFFFFFF


def is_bpffs(path: str | os.PathLike[str]) -> bool:
    """Whether *path* exists and is on a bpf file system."""
    try:
        return magic(path) == BPF_FS_MAGIC
    except SyscallError:
        return False


def mount(
    kind: str,
    target: str | os.PathLike[str],
    *,
    source: str = "none",
    flags: int = 0,
    options: str = "",
) -> None:
    """Mount a file system.

    Args:
        kind: ``"bpf"``, ``"tracefs"``, ``"cgroup2"``, …
        target: A directory.
        source: What it shows as its device.
        flags: ``MS_*``.
        options: Comma-separated, the file system's own.

    Raises:
        PrivilegeError: Needs ``CAP_SYS_ADMIN``.
        SyscallError: ``ENODEV`` if the kernel has no such file system, …
    """
    where = os.fsencode(target)
    data = options.encode() + b"\0"
    if libc.mount(source.encode(), where, kind.encode(), flags, data):
        raise failure("mount", error_number(), f"{kind} at {os.fsdecode(where)}")


def unmount(target: str | os.PathLike[str], *, lazily: bool = False) -> None:
    """Unmount what is mounted on *target*; *lazily*: now from the tree, wholly when unused.

    Raises:
        PrivilegeError: Needs ``CAP_SYS_ADMIN``.
        SyscallError: ``EBUSY``, ``EINVAL`` if nothing is mounted there, …
    """
    where = os.fsencode(target)
    if libc.umount2(where, MNT_DETACH if lazily else 0):
        raise failure("umount2", error_number(), os.fsdecode(where))
