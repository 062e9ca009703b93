"""Control groups: directories below ``/sys/fs/cgroup``, which the test makes and removes.

    /sys/fs/cgroup/a/b ──open──▶ descriptor ──inode──▶ its hooks, and those of a and of the root

Which programs run is decided from a group upwards: those of a group, and of the groups above those
that let others be attached beside them (``BPF_F_ALLOW_MULTI``), or of the first above that has any.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from pyebpf.testing.attachments import Attachment, Hook
from pyebpf.testing.mounts import Mount
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import AttachFlag, AttachType

__all__ = ["Cgroup", "Cgroups", "effective", "hook_name"]

_REMOVED = " (deleted)"


class Cgroup:
    """A group that programs were attached to; it holds its directory, so its inode stays its own.

    Args:
        inode: The directory's: the kernel's number for the group.
        fd: The directory, owned from now on.
    """

    def __init__(self, inode: int, fd: int) -> None:
        self.inode = inode
        self._fd = fd

    @property
    def removed(self) -> bool:
        """Whether the directory has been removed."""
        return os.readlink(f"/proc/self/fd/{self._fd}").endswith(_REMOVED)

    def __del__(self) -> None:
        os.close(self._fd)


class Cgroups:
    """All groups of one kernel."""

    def __init__(self) -> None:
        self.mount = Mount("/sys/fs/cgroup", "cgroup")
        self.used: dict[int, Cgroup] = {}

    def at(self, path: str) -> list[int]:
        """Return the inodes of a group by path, and of all above it up to the root.

        Raises:
            ValueError: There is none.
        """
        try:
            fd = os.open(f"{self.mount.directory}/{path.strip('/')}", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            raise ValueError(f"this kernel has no control group {path!r}") from None
        try:
            return self.lineage(fd)
        finally:
            os.close(fd)

    def lineage(self, fd: int) -> list[int]:
        """Return the inodes of the group behind a descriptor, and of all above it up to the root.

        Raises:
            Refused: ``EBADF``: closed, or no group; ``ENOENT``: it has been removed.
        """
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
            inode = os.fstat(fd).st_ino
        except OSError:
            raise Refused(errno.EBADF) from None
        top = os.path.realpath(self.mount.directory)
        if path != top and not path.startswith(f"{top}/"):
            raise Refused(errno.EBADF)
        if path.endswith(_REMOVED):
            raise Refused(errno.ENOENT)
        if not os.path.isdir(path):
            raise Refused(errno.EBADF)
        found = [inode]
        while path != top:
            path = os.path.dirname(path)
            found.append(os.stat(path).st_ino)
        return found

    def use(self, fd: int) -> int:
        """Remember the group behind a descriptor as long as it is there; return its inode."""
        inode = self.lineage(fd)[0]
        if inode not in self.used:
            held = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
            self.used[inode] = Cgroup(inode, held)
        return inode

    def sweep(self) -> list[int]:
        """Forget groups that have been removed; return their inodes."""
        gone = [each.inode for each in self.used.values() if each.removed]
        for inode in gone:
            del self.used[inode]
        return gone

    def close(self) -> None:
        """Remove everything."""
        self.used.clear()
        self.mount.remove()


def hook_name(attach_type: AttachType, inode: int, function: str = "") -> str:
    """Return the name of a group's hook; those of ``lsm_cgroup`` programs are by function."""
    name = f"{attach_type.name}/{function}" if function else attach_type.name
    return f"cgroup/{inode}/{name}"


def effective(hooks: list[Hook]) -> Iterator[Attachment]:
    """Yield what runs in a group, in order: compute_effective_progs.

    Args:
        hooks: Of the group, and of all above it up to the root.
    """
    first: list[list[Attachment]] = []
    then: list[Attachment] = []
    for hook in hooks:
        if (first or then) and not hook.flags & AttachFlag.ALLOW_MULTI:
            continue
        early = [each for each in hook.attachments if each.flags & AttachFlag.PREORDER]
        if early:
            first.append(early)
        then += [each for each in hook.attachments if each not in early]
    # Of those that run first, the groups above do so before those below.
    for each in reversed(first):
        yield from each
    yield from then
