"""A process in a user namespace of its own, with a bpffs that delegates some rights to it.

child   unshare(user, mount, net); fsopen("bpf") ──descriptor──▶ parent, which is root
parent  fsconfig: delegate_cmds=…, create ──▶ child: fsmount, move_mount, the action
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import socket
from collections.abc import Callable, Mapping

from tests.support import kernel
from tests.support.children import fork

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
# The same on every architecture.
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_SET_STRING, _CREATE = 1, 6
_FROM_EMPTY_PATH = 4
_HERE = -100

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def with_delegation(
    directory: pathlib.Path, rights: Mapping[str, str], action: Callable[[], object]
) -> str:
    """Return what *action* returns in such a process, as text, or ``"Class: message"``.

    Args:
        directory: An empty one; in the child the bpffs is mounted there.
        rights: Mount options: ``{"delegate_cmds": "prog_load"}``.
        action: Runs in the child, which has all capabilities in its own user namespace only.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = fork()
        if child == 0:
            try:
                text = _in_child(theirs, directory, action)
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            theirs.send(text.encode())
            os._exit(0)
        try:
            theirs.close()
            _as_parent(ours, child, rights)
            return ours.recv(65536).decode()
        finally:
            os.waitpid(child, 0)


def _in_child(theirs: socket.socket, directory: pathlib.Path, action: Callable[[], object]) -> str:
    kernel.unshare(CLONE_NEWUSER | CLONE_NEWNS | kernel.CLONE_NEWNET)
    theirs.send(b"m")
    theirs.recv(1)
    context = _call(_FSOPEN, b"bpf", 0)
    socket.send_fds(theirs, [b"f"], [context])
    if theirs.recv(1) != b"c":
        return "the bpffs was not made"
    mount = _call(_FSMOUNT, context, 0, 0)
    _call(_MOVE_MOUNT, mount, b"", _HERE, os.fsencode(directory), _FROM_EMPTY_PATH)
    return str(action())


def _as_parent(ours: socket.socket, child: int, rights: Mapping[str, str]) -> None:
    if ours.recv(1) != b"m":
        return
    process = pathlib.Path(f"/proc/{child}")
    (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text("0 0 1")
    (process / "gid_map").write_text("0 0 1")
    ours.send(b"u")
    _, (context, *_), _, _ = socket.recv_fds(ours, 1, 1)
    try:
        for name, value in rights.items():
            _call(_FSCONFIG, context, _SET_STRING, name.encode(), value.encode(), 0)
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
    except OSError:
        ours.send(b"x")
        raise
    finally:
        os.close(context)
    ours.send(b"c")


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result
