"""The place of a program among others on one hook: first, last, before or after another.

What tcx, netkit and, since Linux 6.17, cgroups understand (the kernel's "mprog"). An anchor names
another program or link; ``revision`` makes the kernel refuse (``ESTALE``) if anything was attached
or detached since that revision was read with `pyebpf.query`.
"""

from __future__ import annotations

from pyebpf.link.base import Link
from pyebpf.programs.program import Program
from pyebpf.typed import Literal, NamedTuple, TypeAlias
from pyebpf.uapi.per_hook import AttachFlag

__all__ = ["Anchor", "Anchored", "place"]


class Anchored(NamedTuple):
    """An anchor as the kernel takes it: flags, and a descriptor or id beside which to go."""

    flags: int
    descriptor: int
    id: int


# What the new one goes before or after: a program or its id, a link, or all that are there.
Anchor: TypeAlias = Program | Link | int | Literal["all"]


def place(*, before: Anchor | None = None, after: Anchor | None = None) -> Anchored:
    """Return flags and anchor for a place.

    Args:
        before: Run before this one.
        after: Run after this one; not together with *before*.

    Raises:
        ValueError: Both are given.
    """
    if before is not None and after is not None:
        raise ValueError("a program goes before another or after one, not both")
    if before is not None:
        return _beside(before, AttachFlag.BEFORE)
    if after is not None:
        return _beside(after, AttachFlag.AFTER)
    return Anchored(0, 0, 0)


def _beside(anchor: Anchor, side: AttachFlag) -> Anchored:
    if anchor == "all":
        return Anchored(int(side), 0, 0)
    if isinstance(anchor, Program):
        return Anchored(int(side), anchor.fileno(), 0)
    if isinstance(anchor, Link):
        return Anchored(int(side | AttachFlag.LINK), anchor.fileno(), 0)
    return Anchored(int(side | AttachFlag.ID), 0, anchor)
