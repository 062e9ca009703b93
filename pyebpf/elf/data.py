"""Data sections: each becomes an array map with one value, and its named variables.

The file and its BTF come in, a `MapSpec` per section and a `VariableSpec` per variable go out:

    .rodata  | limit u32 | name char[8] |      contents are the section's bytes, frozen after load
    .bss     | counter u64 |                   contents are zeros

Variables are the global and weak symbols that are not hidden; what is ``static`` in C is private.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyebpf.btf.btf import Btf
from pyebpf.elf.datasec import variables_of
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.errors import ElfError
from pyebpf.spec import MapSpec, VariableSpec
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.elf import SHT_NOBITS, SHT_PROGBITS, STB_LOCAL

__all__ = ["data_maps", "data_sections", "variables"]

_READ_ONLY = ".rodata"

# An object of a hundred bytes can ask for any amount of zeros.
_CONTENTS_LIMIT = 1 << 28


def data_sections(elf: Elf) -> dict[int, Section]:
    """Return the sections that hold data, by number; empty ones are left out."""
    return {section.index: section for section in elf.sections if _is_data(section)}


def _is_data(section: Section) -> bool:
    name = section.name
    return (
        section.type in (SHT_PROGBITS, SHT_NOBITS)
        and section.size > 0
        and (name == ".bss" or name.startswith((".bss.", ".data", _READ_ONLY)))
    )


def data_maps(
    elf: Elf, sections: Iterable[Section], used: set[int], btf: Btf | None
) -> dict[int, MapSpec]:
    """Make the maps of data sections, by section number.

    A section that has no variable and that no code refers to is left out.

    Args:
        elf: The file.
        sections: The data sections.
        used: Numbers of those that code refers to.
        btf: The object's BTF, sizes and offsets of its data sections filled in.

    Raises:
        ElfError: Two have the same name, or they are too large.
    """
    found: dict[int, MapSpec] = {}
    names: set[str] = set()
    budget = _CONTENTS_LIMIT
    for section in sections:
        if section.index not in used and not any(map(_exposed, elf.symbols_in(section))):
            continue
        budget -= section.size
        if budget < 0:
            raise section.error(f"data sections take more than {_CONTENTS_LIMIT >> 20} MiB")
        if section.name in names:
            raise section.error("a second data section of this name")
        names.add(section.name)
        found[section.index] = _data_map(elf, section, btf)
    return found


def _data_map(elf: Elf, section: Section, btf: Btf | None) -> MapSpec:
    read_only = section.name.startswith(_READ_ONLY)
    zeros = section.type == SHT_NOBITS
    ids = btf.ids(section.name, BtfKind.DATASEC) if btf is not None else []
    return MapSpec(
        name=section.name,
        type=MapType.ARRAY,
        key_size=4,
        value_size=section.size,
        max_entries=1,
        flags=MapFlag.RDONLY_PROG if read_only else MapFlag(0),
        value_type_id=ids[0] if ids else 0,
        btf=btf,
        contents=bytearray(section.size) if zeros else bytearray(section.data()),
        frozen=read_only,
        entries=_pointers(elf, section),
        section=section.name,
    )


# The kernel cannot put an address into data, so the loader refuses a map that has any; recording
# them keeps a program from seeing zeros in their place.
def _pointers(elf: Elf, section: Section) -> tuple[tuple[int, str], ...]:
    found = []
    for relocation in elf.relocations_of(section):
        symbol = elf.symbol(relocation.symbol)
        found.append((relocation.offset, symbol.name or _section_name(elf, section, symbol)))
    return tuple(found)


def _section_name(elf: Elf, section: Section, symbol: Symbol) -> str:
    if symbol.section >= len(elf.sections):
        raise section.error("relocation against a symbol without a name")
    return elf.sections[symbol.section].name


def _exposed(symbol: Symbol) -> bool:
    return symbol.binding != STB_LOCAL and not symbol.hidden


def variables(
    elf: Elf,
    maps: Mapping[int, MapSpec],
    btf: Btf | None,
    tags: Mapping[int, tuple[str, ...]],
) -> dict[str, VariableSpec]:
    """Make the variables of data sections, by name.

    Args:
        elf: The file.
        maps: The maps of data sections by section number.
        btf: The object's BTF.
        tags: ``btf_decl_tag`` texts by type id.

    Raises:
        ElfError: Two have the same name.
    """
    found: dict[str, VariableSpec] = {}
    for index, spec in maps.items():
        section = elf.sections[index]
        types = variables_of(btf, section.name) if btf is not None else {}
        for symbol in filter(_exposed, elf.symbols_in(section)):
            if symbol.name in found:
                raise _second(section, symbol)
            type_id, variable = types.get(symbol.name, (0, None))
            found[symbol.name] = VariableSpec(
                name=symbol.name,
                map=spec,
                offset=symbol.value,
                size=symbol.size,
                type_id=variable.type if variable is not None else 0,
                tags=tags.get(type_id, ()),
            )
    return found


def _second(section: Section, symbol: Symbol) -> ElfError:
    return section.error(f'a second variable "{symbol.name}"', symbol.value)
