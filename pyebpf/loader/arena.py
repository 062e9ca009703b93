"""Globals of an arena: the object's bytes put into its memory, and variables that look at them.

arena    | ... pages of programs and processes ... | globals |      where the kernel can
         | globals | ... ... ... ... ... ... ... ... ... ... |      before Linux 7.0
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping

from pyebpf import features
from pyebpf.errors import LoadError
from pyebpf.maps.arena import Arena
from pyebpf.maps.map import Map
from pyebpf.spec import CollectionSpec, MapSpec
from pyebpf.typed import Any
from pyebpf.uapi.bpf import MapFlag

__all__ = ["ArenaGlobals", "check", "globals_start", "place_globals", "starts"]


def check(spec: MapSpec) -> None:
    """Refuse globals that cannot be put into their arena.

    Raises:
        LoadError: They are larger than it, or touching its memory would kill this process.
    """
    if spec.contents is None:
        return
    size, room = len(spec.contents), spec.max_entries * mmap.PAGESIZE
    if size > room:
        raise LoadError(
            spec.name,
            f'map "{spec.name}": {size} bytes of globals in an arena of {room}; raise max_entries',
        )
    if spec.flags & MapFlag.SEGV_ON_FAULT:
        raise LoadError(
            spec.name,
            f'map "{spec.name}": globals in an arena with BPF_F_SEGV_ON_FAULT, whose pages no'
            " process can make",
        )


def globals_start(arena: Arena, size: int) -> int:
    """Return where the object's globals start, in bytes from the arena's start.

    Args:
        arena: The arena.
        size: Bytes of globals.
    """
    # At the end they leave address 0 to nobody, which programs take for a null pointer. But it
    # takes a kernel that lets programs name addresses that far behind the start of a map.
    if features.far_map_values.available():
        return arena.size - -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    return 0


def starts(spec: CollectionSpec, loaded: Mapping[str, Map[Any, Any]]) -> dict[str, int]:
    """Return where the globals of each arena start in it, by its name.

    Args:
        spec: The collection.
        loaded: Its maps by name.
    """
    found = {}
    for name, each in loaded.items():
        size = len(spec.maps[name].contents or b"")
        if isinstance(each, Arena) and size:
            found[name] = globals_start(each, size)
    return found


def place_globals(arena: Arena, contents: bytes | bytearray) -> None:
    """Map an arena and copy the object's globals into it, before any program that uses it loads.

    Args:
        arena: The arena.
        contents: The globals; zeros are written, too, so that their pages are taken.

    Raises:
        SyscallError: The arena cannot be mapped at its address.
    """
    start = globals_start(arena, len(contents))
    with arena.memory() as memory:
        memory[start : start + len(contents)] = contents


class ArenaGlobals:
    """The bytes of an arena's globals, shared with the running programs.

    Args:
        arena: The arena.
        start: Where they start in it.
    """

    frozen = False

    def __init__(self, arena: Arena, start: int) -> None:
        self.name = arena.name
        self._memory = arena.memory()
        self._start = start

    def read(self, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*."""
        return bytes(self._memory[self._start + offset : self._start + offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*."""
        self._memory[self._start + offset : self._start + offset + len(data)] = data

    def close(self) -> None:
        """Let go of the memory; closing twice is fine."""
        self._memory.release()
