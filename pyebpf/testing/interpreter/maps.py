"""Maps as programs see them: what a map must answer, and how.

`Map` says what the interpreter asks of a map; every operation a kind does not have answers as the
kernel does, with a negative errno. `pyebpf.testing.interpreter.map_kinds` has simple maps in
memory; a test kernel brings its own.

A value is a `Region`: the program gets its address, and what it writes there is the map's content
at once. The region of a key stays the same object as long as the element lives.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.memory import Region
from pyebpf.uapi.bpf import MapType

__all__ = ["Map"]


class Map:
    """One map. Subclasses answer what their kind can; here nothing can be done.

    Args:
        name: For messages.
        type: The kind.
        key_size: Bytes of a key.
        value_size: Bytes of a value, of one CPU's where each has its own.
        max_entries: As given when it was made.
    """

    def __init__(
        self,
        name: str,
        type: MapType,  # noqa: A002 - the kernel's word
        *,
        key_size: int,
        value_size: int,
        max_entries: int,
    ) -> None:
        self.name = name
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        # What a program's pointer to the map points to. No byte of it can be read.
        self.handle = Region(b"", f"map {name}", writable=False)

    def lookup(self, key: bytes, cpu: int) -> Region | Map | None:
        """Return the value of *key* (of that CPU), an inner map, or ``None`` if there is none."""
        return None

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """Set a value; *flags* are ``BPF_ANY``, ``BPF_NOEXIST``, ``BPF_EXIST``.

        Returns:
            0 or a negative errno.
        """
        return -errno.EINVAL

    def delete(self, key: bytes) -> int:
        """Remove a key; 0 or a negative errno."""
        return -errno.EINVAL

    def keys(self) -> Iterable[bytes]:
        """Return the keys in the kernel's order, for ``for_each_map_elem``; a snapshot."""
        return ()

    def push(self, value: bytes, flags: int) -> int:
        """Add a value without a key: queues, stacks, Bloom filters; 0 or a negative errno."""
        return -errno.EINVAL

    def pop(self) -> bytes | int:
        """Remove and return the next value, or a negative errno."""
        return -errno.EINVAL

    def peek(self, value: bytes) -> bytes | int:
        """Return the next value (of a Bloom filter: *value*, if it was pushed) or an errno."""
        return -errno.EINVAL

    def program(self, index: int) -> object | None:
        """Return the `Program` that a tail call to *index* runs."""
        return None

    def perf_output(self, data: bytes, cpu: int) -> int:
        """Take an event for a CPU's perf buffer: 0 or a negative errno."""
        return -errno.EINVAL

    def ring_output(self, data: bytes, flags: int) -> int:
        """Take a whole record into a ring buffer: 0 or a negative errno."""
        return -errno.EINVAL

    def ring_reserve(self, size: int) -> Region | None:
        """Reserve a record in a ring buffer; ``None`` if it is full."""
        return None

    def ring_commit(self, record: Region, flags: int, *, discard: bool) -> None:
        """Submit or discard a reserved record."""

    def ring_query(self, what: int) -> int:
        """Answer ``bpf_ringbuf_query``."""
        return 0

    # --- jump tables ----------------------------------------------------------------------------

    def instructions(self) -> tuple[int, ...] | None:
        """Return the slots that an instruction array leads to; ``None`` of others."""
        return None

    # --- local storage --------------------------------------------------------------------------

    def local_storage(self, owner: int, initial: bytes | None) -> Region | None:
        """Return the value of the struct at an address; *initial*: make it if there is none."""
        return None

    def remove_local_storage(self, owner: int) -> int:
        """Remove it: 0 or a negative errno."""
        return -errno.EINVAL

    def cgroup_storage(self, group: tuple[int, int], cpu: int) -> Region | None:
        """Return the value of a control group and attach type."""
        return None

    # --- arenas --------------------------------------------------------------------------------

    def arena_memory(self) -> tuple[Region, int] | None:
        """Return the memory of an arena and where user space sees it; ``None`` of others."""
        return None

    def to_kernel(self, address: int) -> int:
        """Cast a pointer of user space into the arena."""
        raise ExecutionError(f"map {self.name} is no arena")

    def to_user(self, address: int) -> int:
        """Cast a pointer of the kernel into the arena."""
        raise ExecutionError(f"map {self.name} is no arena")

    # --- stack traces ---------------------------------------------------------------------------

    def stack_id(self, addresses: bytes, flags: int) -> int:
        """Keep a stack trace and return its number, or a negative errno."""
        return -errno.EINVAL

    def __repr__(self) -> str:
        return f'<Map "{self.name}" {self.type}>'
