"""Implementations of kernel interfaces: sections ``.struct_ops`` and ``.struct_ops.link``.

The file and its BTF come in, a `MapSpec` of type ``STRUCT_OPS`` for each variable goes out. Its
contents are the struct as the object declares it, its entries name the program of each function
pointer by the pointer's offset; fitting it to the kernel's own struct is up to a load.

    struct tcp_congestion_ops mine SEC(".struct_ops.link") = {
        .ssthresh = (void *)on_ssthresh,          entry (offset of ssthresh, "on_ssthresh")
    };
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from pyebpf.btf.btf import Btf
from pyebpf.elf.datasec import variables_of
from pyebpf.elf.functions import CodeSections
from pyebpf.elf.reader import Elf, Section
from pyebpf.spec import MapSpec
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.elf import SHT_PROGBITS, STT_OBJECT, STT_SECTION

__all__ = ["struct_ops_maps", "struct_ops_sections"]

_NAMES = (".struct_ops", ".struct_ops.link")


def struct_ops_sections(elf: Elf) -> dict[int, Section]:
    """Return the sections that hold implementations, by number."""
    return {
        section.index: section
        for section in elf.sections
        if section.name.removeprefix("?") in _NAMES
        and section.type == SHT_PROGBITS
        and section.size > 0
    }


def struct_ops_maps(
    elf: Elf,
    section: Section,
    btf: Btf | None,
    code: CodeSections,
    tags: Mapping[int, tuple[str, ...]],
) -> dict[int, MapSpec]:
    """Read the implementations of one section, by offset.

    Args:
        elf: The file.
        section: The section; a name that starts with ``?`` is not created by default.
        btf: The object's BTF.
        code: The functions.
        tags: ``btf_decl_tag`` texts by type id.

    Raises:
        ElfError: No BTF, or a pointer to something other than a program.
    """
    if btf is None:
        raise section.error("implementations are declared in BTF, and the object has none")
    types = variables_of(btf, section.name)
    contents = section.data()
    found: dict[int, MapSpec] = {}
    for symbol in elf.symbols_in(section):
        if symbol.type != STT_OBJECT:
            continue
        type_id, variable = types.get(symbol.name, (0, None))
        if variable is None:
            raise section.error(f'"{symbol.name}" has no type in BTF', symbol.value)
        if symbol.value in found:
            raise section.error(f'a second implementation "{symbol.name}"', symbol.value)
        found[symbol.value] = MapSpec(
            name=symbol.name,
            type=MapType.STRUCT_OPS,
            key_size=4,
            value_size=symbol.size,
            max_entries=1,
            flags=MapFlag.LINK if section.name.endswith(".link") else MapFlag(0),
            value_type_id=btf.strip(variable.type),
            btf=btf,
            contents=bytearray(contents[symbol.value : symbol.value + symbol.size]),
            tags=tags.get(type_id, ()),
            autocreate=not section.name.startswith("?"),
            section=section.name.removeprefix("?"),
        )
    _fill_functions(elf, section, found, code)
    return found


def _fill_functions(
    elf: Elf, section: Section, maps: Mapping[int, MapSpec], code: CodeSections
) -> None:
    starts = sorted(maps)
    contents = section.data()
    found: dict[int, list[tuple[int, str]]] = {}
    for relocation in elf.relocations_of(section):
        at = relocation.offset
        start = starts[bisect_right(starts, at) - 1] if starts and starts[0] <= at else None
        if start is None or at + 8 > start + maps[start].value_size:
            raise section.error("relocation outside every implementation", at)
        symbol = elf.symbol(relocation.symbol)
        place = symbol.target(int.from_bytes(contents[at : at + 8], elf.byteorder))
        home = code.by_index.get(symbol.section)
        function = home.starting_at(place) if home is not None else None
        if function is None:
            raise section.error(f'"{symbol.name}" is not a program', at)
        name = function.name if symbol.type == STT_SECTION else symbol.name
        found.setdefault(start, []).append((at - start, name))
        filled = maps[start].contents
        assert filled is not None
        filled[at - start : at - start + 8] = bytes(8)  # says where in its section a static one is
    for start, entries in found.items():
        maps[start].entries = tuple(entries)
