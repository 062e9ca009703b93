"""Network namespaces by their inode number, which is how the kernel tells them apart.

In: the number, from ``stat /proc/PID/ns/net`` or a netns link's info. Out: a path that `setns`
takes: of a process in it, or a name that ``ip netns`` gave it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pyebpf.host import mounts

__all__ = ["netns_path"]


def netns_path(inode: int, root: str | None = None) -> str | None:
    """Return a path of the network namespace, or ``None`` if no process and no name is left of it.

    Args:
        inode: The namespace's.
        root: The directory that stands for ``/``; by default it is that, with every kernel: one
            that is made up for tests knows this machine's namespaces.
    """
    for path in _candidates(Path(root or "/")):
        try:
            if os.stat(path).st_ino == inode:
                return str(path)
        except OSError:
            continue
    return None


def _candidates(top: Path) -> Iterator[Path]:
    yield top / "proc/thread-self/ns/net"
    for mount in mounts.mounts(str(top)):
        if mount.type == "nsfs":
            yield top / mount.point.lstrip("/")
    for process in (top / "proc").iterdir():
        if process.name.isdecimal():
            yield process / "ns/net"
