"""Static contents: what the slots of maps of maps and of program arrays hold from the start.

Specs and what was loaded come in; the slots are filled in the kernel. Maps go into maps before any
program is loaded, since the verifier may look at them; programs go into program arrays when all of
them are there.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Collection, Mapping

from pyebpf.errors import LoadError, naming
from pyebpf.maps.map import Map
from pyebpf.spec import MapSpec
from pyebpf.typed import Any, Protocol
from pyebpf.uapi.bpf import MapType

__all__ = ["check", "fill"]

_OF_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
_KEY = struct.Struct("=I")


class HasFileno(Protocol):
    """A map or a program."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


def check(spec: MapSpec, *, maps: Collection[str], programs: Collection[str]) -> None:
    """Refuse contents that cannot be put in place, before anything is loaded.

    Args:
        spec: The map.
        maps: Names of those that will be loaded.
        programs: Likewise.

    Raises:
        LoadError: A slot holds what is not part of the load, or the map has no such slots.
    """
    if not spec.entries:
        return
    if spec.type in _OF_MAPS:
        kind, available = "map", maps
    elif spec.type == MapType.PROG_ARRAY:
        kind, available = "program", programs
    elif spec.contents is not None:
        _warn_of_pointers(spec)
        return
    else:
        raise LoadError(spec.name, f'map "{spec.name}": {spec.type} has no static contents')
    if spec.key_size != _KEY.size:
        raise LoadError(
            spec.name,
            f'map "{spec.name}": static contents have keys of 4 bytes, not {spec.key_size}',
        )
    for slot, name in spec.entries:
        if name not in available:
            raise LoadError(
                name, f'map "{spec.name}", slot {slot}: {kind} "{name}" is not part of the load'
            )


# The compiler leaves addresses in data to the loader, but there is nobody who knows them: data of
# the kernel and of programs has no addresses that programs could use.
def _warn_of_pointers(spec: MapSpec) -> None:
    offset, name = spec.entries[0]
    others = f" and {len(spec.entries) - 1} more" if len(spec.entries) > 1 else ""
    warnings.warn(
        f'section "{spec.name}" holds the address of "{name}" at offset {offset:#x}{others};'
        " programs will find numbers without meaning there",
        RuntimeWarning,
        stacklevel=5,
    )


def fill(filled: Map[Any, Any], spec: MapSpec, available: Mapping[str, HasFileno]) -> None:
    """Put maps or programs into the slots of a map.

    Args:
        filled: The map.
        spec: Whose entries say what goes where, as `check` passed it.
        available: Loaded maps or programs, by name.

    Raises:
        MapFullError: More slots than the map has.
        SyscallError: The kernel refused: a map unlike those the outer one was made for, a program
            of another type than those that are there.
    """
    with filled.raw as raw:
        for slot, name in spec.entries:
            with naming(f'put "{name}" into slot {slot}'):
                raw.update(_KEY.pack(slot), _KEY.pack(available[name].fileno()))
