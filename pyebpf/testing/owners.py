"""Whom local storage belongs to: told by a descriptor of this machine, or by a program's pointer.

Sockets, processes and inodes are this machine's own; the made-up kernel only knows them apart. A
program's pointer is to a struct that a test made, and what is alike in both is a task's number:
storage of a ``task_struct`` is found again by a pidfd of its ``pid``.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Hashable

from pyebpf.errors import MemoryAccessError
from pyebpf.testing.c_types import Types
from pyebpf.testing.cgroups import Cgroups
from pyebpf.testing.interpreter import Memory
from pyebpf.testing.refusal import Refused
from pyebpf.testing.sockets import socket_of
from pyebpf.uapi.bpf import MapType

__all__ = ["by_address", "by_descriptor"]


def by_descriptor(kind: MapType, cgroups: Cgroups) -> Callable[[int], Hashable]:
    """Return what tells whose a descriptor is, for maps of a kind.

    Args:
        kind: The kind.
        cgroups: The kernel's control groups.

    Raises:
        Refused: ``EBADF``, ``ENOTSOCK``, ``ENOENT``: from what is returned.
    """
    return {
        MapType.SK_STORAGE: _socket,
        MapType.TASK_STORAGE: _task,
        MapType.INODE_STORAGE: _inode,
        MapType.CGRP_STORAGE: lambda fd: cgroups.lineage(fd)[0],
    }[kind]


def by_address(kind: MapType, types: Types, memory: Memory) -> Callable[[int], Hashable]:
    """Return what tells whose a struct is that a program has a pointer to."""
    if kind != MapType.TASK_STORAGE:
        return lambda address: ("struct", address)
    pid = types.layouts["task_struct"]["pid"]

    def task(address: int) -> Hashable:
        try:
            data = memory.read(address + pid.offset, pid.size)
        except MemoryAccessError:
            return "struct", address
        return "task", int.from_bytes(data, sys.byteorder)

    return task


def _socket(fd: int) -> Hashable:
    return "socket", socket_of(fd).inode


def _inode(fd: int) -> Hashable:
    try:
        found = os.fstat(fd)
    except (OSError, OverflowError):
        raise Refused(errno.EBADF) from None
    return found.st_dev, found.st_ino


# pidfd_get_pid, pid_task
def _task(fd: int) -> Hashable:
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            found = re.search(r"^Pid:\t(-?\d+)$", file.read(), re.MULTILINE)
    except OSError:
        raise Refused(errno.EBADF) from None
    if found is None:
        raise Refused(errno.EBADF)
    if int(found[1]) <= 0:
        raise Refused(errno.ENOENT)
    return "task", int(found[1])
