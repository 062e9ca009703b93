"""What two processes must not share: rings, whose position is kept by whoever reads or writes them.

A child of fork(2) has everything of its parent: descriptors, the memory of BPF rings, not that of
perf events (the first touch would be a SIGSEGV). So what `stays_here` is given up in the child at
once, before anything else can use it there; the parent's goes on.
"""

from __future__ import annotations

import os
import weakref

from pyebpf.typed import Protocol

__all__ = ["Forkable", "stays_here"]


class Forkable(Protocol):
    """What has to know that it is in a child."""

    def _forked(self) -> None:
        """Give everything back, without a trace that the parent would see; no lock is sound."""


_here: weakref.WeakSet[Forkable] = weakref.WeakSet()


def stays_here(what: Forkable) -> None:
    """Let *what* know when it is in a child."""
    _here.add(what)


def _forked() -> None:
    for each in list(_here):
        each._forked()


os.register_at_fork(after_in_child=_forked)
