"""Walking over a map that others change meanwhile.

The kernel's only cursor is a key. Asked for the key after one that was deleted, a hash starts again
at its beginning, so a naive walk can loop for ever. This one is bounded, and takes the next key
before it hands out the current one, so that the caller may delete what it is given.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pyebpf.errors import IterationAborted, naming
from pyebpf.sys.elements import ElementCalls

__all__ = ["array_keys", "keys"]

# How many times its capacity a walk may visit before it gives up: deletes that restart it cost
# steps, and cilium's reliable dump found four times enough in practice.
BOUND = 4
# Kinds without a capacity of their own (storage of cgroups) give 0.
UNBOUNDED = 1 << 20


def array_keys(max_entries: int) -> Iterator[bytes]:
    """Yield every index of an array as a key: they always exist."""
    pack = struct.Struct("=I").pack
    for index in range(max_entries):
        yield pack(index)


def keys(elements: ElementCalls, max_entries: int, name: str) -> Iterator[bytes]:
    """Yield each key once.

    Args:
        elements: The map.
        max_entries: Its capacity, or 0.
        name: For the error.

    Raises:
        IterationAborted: After four times *max_entries* steps without reaching the end.
        SyscallError: A kind without keys to walk over, …
    """
    seen: set[bytes] = set()
    with naming(f'walk over map "{name}"'):
        current = elements.next_key(None)
        for _ in range(BOUND * (max_entries or UNBOUNDED) + 1):
            if current is None:
                return
            following = elements.next_key(current)
            if current not in seen:
                seen.add(current)
                yield current
            current = following
        raise IterationAborted("it changes faster than it can be walked")
