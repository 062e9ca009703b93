"""Globals in an arena: section ``.addr_space.1``.

The file and its declared maps come in; the one arena among them leaves with the section's bytes as
its contents. A load puts them into the arena's memory, where programs and processes share them.

    int __arena counter = 5;        .addr_space.1   | counter | next ... |
                                                       copied into the memory of map "arena"
"""

from __future__ import annotations

from collections.abc import Iterable

from pyebpf.elf.reader import Elf, Section
from pyebpf.spec import MapSpec
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.elf import SHT_NOBITS, SHT_PROGBITS

__all__ = ["arena_of", "arena_section"]

_NAME = ".addr_space.1"

# An arena has at most 4 GiB, and a file of a hundred bytes can ask for that much; no real object
# declares more than a few pages of globals.
_LIMIT = 1 << 28


def arena_section(elf: Elf) -> Section | None:
    """Return the section of variables that live in an arena, or ``None``."""
    for section in elf.sections:
        if section.name == _NAME and section.type in (SHT_PROGBITS, SHT_NOBITS) and section.size:
            return section
    return None


def arena_of(section: Section, maps: Iterable[MapSpec]) -> MapSpec:
    """Give the object's arena the section's bytes, and return it.

    Args:
        section: As `arena_section` found it.
        maps: The object's maps.

    Raises:
        ElfError: There is no arena, or more than one, or the section is absurdly large.
    """
    arenas = [spec for spec in maps if spec.type == MapType.ARENA]
    if len(arenas) != 1:
        found = ", ".join(f'"{spec.name}"' for spec in arenas) or "none"
        raise section.error(
            f'its variables need one map of type BPF_MAP_TYPE_ARENA in SEC(".maps"); found {found}'
        )
    if section.size > _LIMIT:
        raise section.error(f"takes more than {_LIMIT >> 20} MiB")
    zeros = section.type == SHT_NOBITS
    arenas[0].contents = bytearray(section.size) if zeros else bytearray(section.data())
    return arenas[0]
