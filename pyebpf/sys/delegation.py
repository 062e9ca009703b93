"""The BPF token in force in a thread: `pyebpf.sys.bpf` sends it with whatever takes one.

    with in_force(token):           MAP_CREATE, PROG_LOAD, BTF_LOAD, BTF_GET_FD_BY_ID of this
        bpf.prog_load(attr)         thread go by the token's rights, and so do probes

One place instead of a parameter through every layer: whatever a load needs on its way, such as
probes and the types of the kernel, needs the token, too.
"""

from __future__ import annotations

import contextlib
from _thread import _local as local  # threading.local, which takes 1 ms
from collections.abc import Iterator

from pyebpf.typed import Protocol

__all__ = ["Delegation", "current", "in_force"]


class Delegation(Protocol):
    """A token: something with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


_here = local()


def current() -> Delegation | None:
    """Return the token in force in this thread."""
    found: Delegation | None = getattr(_here, "token", None)
    return found


@contextlib.contextmanager
def in_force(token: Delegation | None) -> Iterator[None]:
    """Let a token, or none, be in force in this thread for a ``with`` block."""
    before = current()
    _here.token = token
    try:
        yield
    finally:
        _here.token = before
