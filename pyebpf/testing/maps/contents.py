"""`Contents`: what every kind of map answers, to system calls and to programs.

System calls deal in bytes: copies, for per-CPU kinds of all CPUs' values. Programs get the memory
of one CPU's value itself (a `Region`), and may change it. What a kind does not override the kernel
refuses for it, too.
"""

from __future__ import annotations

import errno

from pyebpf.errors import ENOTSUPP
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import Cmd, MapFlag, UpdateFlag

__all__ = ["Contents", "check_flags", "region"]


class Contents:
    """The elements of one map.

    Args:
        definition: What it is made of.

    Attributes:
        batches: The batch commands the kind knows.
        pops: Whether it knows ``MAP_LOOKUP_AND_DELETE_ELEM``.
    """

    batches: frozenset[Cmd] = frozenset()
    pops = False

    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    # --- system calls

    def lookup(self, key: bytes) -> bytes:
        """Return the value of *key*.

        Raises:
            Refused: ``ENOENT``, ENOTSUPP.
        """
        raise Refused(ENOTSUPP)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        """Set the value of *key*; descriptors are looked up by then: see ``slots``."""
        raise Refused(ENOTSUPP)

    def delete(self, key: bytes) -> None:
        """Remove *key*."""
        raise Refused(ENOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        """Return the key after *key*.

        Raises:
            Refused: ``ENOENT`` after the last.
        """
        raise Refused(ENOTSUPP)

    def pop(self, key: bytes) -> bytes:
        """Remove *key* and return its value."""
        raise Refused(ENOTSUPP)

    # --- programs

    def at(self, key: bytes, cpu: int) -> Region | None:
        """Return the memory of the value of *key* on a CPU, the same as long as the key lives."""
        raise Refused(ENOTSUPP)

    def put(self, key: bytes, value: bytes, flags: int, cpu: int) -> None:
        """Set the value of *key* on a CPU."""
        self.update(key, value, flags)

    @property
    def direct_size(self) -> int | None:
        """How many bytes a program can address without a look-up, if the kind allows that."""
        return None

    # --- lifetime

    def close(self) -> None:
        """The kernel is gone: let go of descriptors."""

    def forget_users(self) -> None:
        """Nobody has the map open or pinned any more, though programs may still use it."""


def check_flags(flags: int, *, exists: bool) -> None:
    """Refuse an update as its flags want.

    Raises:
        Refused: ``EEXIST``, ``ENOENT``.
    """
    if exists and flags & UpdateFlag.NOEXIST:
        raise Refused(errno.EEXIST)
    if not exists and flags & UpdateFlag.EXIST:
        raise Refused(errno.ENOENT)


def region(definition: Definition, data: bytearray | memoryview) -> Region:
    """Return the memory of a value as programs see it."""
    name = f"value of map {definition.name.decode(errors='replace')}"
    return Region(data, name, writable=not definition.flags & MapFlag.RDONLY_PROG)
