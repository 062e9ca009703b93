"""Being in another network namespace for a while: setns(2) of the calling thread.

In: a namespace's file (``/run/netns/blue``, ``/proc/123/ns/net``); out: a ``with`` block that runs
in it. ``ip netns exec`` would not do: it also replaces /sys and thereby hides bpffs and tracefs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from pyebpf.sys.failures import failure
from pyebpf.sys.fd import FD
from pyebpf.sys.libc import error_number, libc

__all__ = ["inside_netns"]

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


@contextlib.contextmanager
def inside_netns(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let this thread, and no other, be in the network namespace of *path* inside the block.

    If it is the thread's own, nothing happens, which needs no privilege.

    What is opened there (sockets, links) stays there after the block.

    Raises:
        PrivilegeError: Needs ``CAP_SYS_ADMIN``.
        SyscallError: ``ENOENT``, or ``EINVAL`` if *path* is no network namespace.
    """
    with _opened(_OWN) as own, _opened(path) as other:
        if os.path.sameopenfile(own.fileno(), other.fileno()):
            yield
            return
        _enter(other, os.fspath(path))
        try:
            yield
        finally:
            _enter(own, _OWN)


def _opened(path: str | os.PathLike[str]) -> FD:
    try:
        return FD(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise failure("open", error.errno, os.fspath(path)) from None


def _enter(namespace: FD, path: str) -> None:
    if libc.setns(namespace.fileno(), _CLONE_NEWNET):
        raise failure("setns", error_number(), path)
