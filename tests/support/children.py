"""Child processes made by fork: the same code and objects, another user or another fate.

In: a function; out: what it returned, or the text of what it raised.
"""

from __future__ import annotations

import ctypes
import os
import struct
import warnings
from collections.abc import Callable

NOBODY = 65534
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 21, 38, 39
_PR_SET_KEEPCAPS = 8
_CAPABILITY_VERSION_3 = 0x20080522


def fork() -> int:
    """Fork, without Python 3.12's warning about threads: pytest's own watchdog is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def outcome_as_nobody(action: Callable[[], object]) -> str:
    """Return ``"Class: message"`` of what *action* raises for user nobody, or ``"allowed"``."""

    def as_nobody() -> str:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        action()
        return "allowed"

    return outcome(as_nobody)


def outcome_with(action: Callable[[], object], *capabilities: int) -> str:
    """Return what `outcome` does, for user nobody with these capabilities and no others."""

    def limited() -> object:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        mask = sum(1 << each for each in capabilities)
        low, high = mask & 0xFFFFFFFF, mask >> 32
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        assert libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)) == 0
        return action()

    return outcome(limited)


def outcome(action: Callable[[], object]) -> str:
    """Return what *action* returns in a child, as text, or what it raises: ``"Class: message"``."""
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        try:
            text = str(action())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    text = os.read(reader, 4096).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return text
