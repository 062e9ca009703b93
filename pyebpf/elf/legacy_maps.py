"""Maps defined by structs: sections ``maps`` of objects older than BTF.

The file comes in, a `MapSpec` for each definition goes out. Several loaders had their own struct,
told apart by size; all start with five numbers of 32 bits:

    bytes  struct               type key_size value_size max_entries flags, then
    20     bpf_map_def          -
    24     bpf_map_def          number of the inner map in the section
    28     bpf_map_def          the same | NUMA node
    36     iproute2 bpf_elf_map id | pinning | id of the inner map | slot in the outer map, -1 none
    40     goebpf bpf_map_def   padding | pointer to the inner map (24) | pointer to a path (32)
    other  -                    kept in `MapSpec.extra`, must be zero to load
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.spec import MapSpec, Pinning
from pyebpf.typed import Literal, NamedTuple
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.elf import SHT_PROGBITS, STB_LOCAL, STT_NOTYPE, STT_OBJECT

__all__ = ["LegacyFormat", "legacy_maps"]

LegacyFormat = Literal["auto", "bpf_map_def", "iproute2", "goebpf"]

_IN_MAPS = (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS)
_SMALLEST = 16  # type, key, value, entries: flags came later
_BASE = 20
_IPROUTE2 = 36
_GOEBPF = 40
_GOEBPF_INNER = 24
_GOEBPF_PATH = 32


class _Definition(NamedTuple):
    # One definition: its place, its bytes and what the base fields gave.
    symbol: Symbol
    raw: bytes
    spec: MapSpec


def legacy_maps(elf: Elf, section: Section, form: LegacyFormat = "auto") -> dict[int, MapSpec]:
    """Read the map definitions of one section.

    Args:
        elf: The file.
        section: A section whose name starts with ``maps``.
        form: Which struct it holds, if its size would mislead.

    Returns:
        The maps by their offset in the section.

    Raises:
        ElfError: The section cannot be divided into definitions, or one makes no sense.
    """
    symbols = [
        symbol for symbol in elf.symbols_in(section) if symbol.type in (STT_OBJECT, STT_NOTYPE)
    ]
    places: dict[int, Symbol] = {}
    for symbol in symbols:
        places.setdefault(symbol.value, symbol)
    if not places:
        raise section.error("no symbol names a map in it")
    size, rest = divmod(section.size, len(places))
    if rest or size < _SMALLEST:
        raise section.error(
            f"{section.size} bytes do not divide into {len(places)} definitions of one size"
        )
    data = bytes(section.data())
    definitions = []
    for offset, symbol in sorted(places.items()):
        if offset % size:
            raise section.error(f'map "{symbol.name}" is not where a definition starts', offset)
        raw = data[offset : offset + size]
        definitions.append(_Definition(symbol, raw, _base(elf, section, symbol, raw)))
    finish = _FORMS[_form(form, size)]
    finish(elf, section, definitions)
    for definition in definitions:
        _fill_defaults(definition.spec)
    return {definition.symbol.value: definition.spec for definition in definitions}


def _form(form: LegacyFormat, size: int) -> str:
    if form != "auto":
        return form
    return {_IPROUTE2: "iproute2", _GOEBPF: "goebpf"}.get(size, "bpf_map_def")


def _base(elf: Elf, section: Section, symbol: Symbol, raw: bytes) -> MapSpec:
    if symbol.binding == STB_LOCAL:
        raise section.error(f'map "{symbol.name}" is static: maps must be global', symbol.value)
    kind, key, value, entries, flags = _numbers(elf, raw.ljust(_BASE, b"\0"), 0, 5)
    return MapSpec(
        name=symbol.name,
        type=MapType(kind),
        key_size=key,
        value_size=value,
        max_entries=entries,
        flags=flags,
        section=section.name,
    )


def _numbers(elf: Elf, raw: bytes, offset: int, count: int) -> tuple[int, ...]:
    order = "<" if elf.byteorder == "little" else ">"
    return struct.unpack_from(f"{order}{count}I", raw, offset)


# struct bpf_map_def of the kernel's samples and its many copies.
def _finish_plain(elf: Elf, section: Section, definitions: list[_Definition]) -> None:
    for index, (symbol, raw, spec) in enumerate(definitions):
        behind = _BASE
        if len(raw) >= 24 and spec.type in _IN_MAPS:
            (inner,) = _numbers(elf, raw, 20, 1)
            if inner >= len(definitions):
                raise section.error(
                    f'map "{spec.name}" holds map {inner} of {len(definitions)}', symbol.value
                )
            if inner != index:
                spec.inner = _template(section, symbol, definitions[inner].spec)
            behind = 24
        if len(raw) == 28 and spec.flags & MapFlag.NUMA_NODE and not any(raw[behind:24]):
            (spec.numa_node,) = _numbers(elf, raw, 24, 1)
            behind = 28
        extra = raw[behind:]
        spec.extra = extra if any(extra) else b""


# struct bpf_elf_map of iproute2 (tc and ip link).
def _finish_iproute2(elf: Elf, section: Section, definitions: list[_Definition]) -> None:
    if any(len(raw) != _IPROUTE2 for _, raw, _ in definitions):
        raise section.error(f"definitions of iproute2 take {_IPROUTE2} bytes")
    tails = [_numbers(elf, raw, _BASE, 4) for _, raw, _ in definitions]
    by_id: dict[int, list[tuple[MapSpec, int]]] = {}
    for (_, _, spec), (own_id, _, _, slot) in zip(definitions, tails, strict=True):
        if own_id:
            by_id.setdefault(own_id, []).append((spec, slot))
    for (symbol, _, spec), (_, pinning, inner_id, _) in zip(definitions, tails, strict=True):
        if pinning > 2:
            raise section.error(f'map "{spec.name}" has unknown pinning {pinning}', symbol.value)
        spec.pinning = Pinning.BY_NAME if pinning else Pinning.NONE
        if not inner_id or spec.type not in _IN_MAPS:
            continue
        held = by_id.get(inner_id)
        if held is None:
            raise section.error(f'map "{spec.name}" holds no map of id {inner_id}', symbol.value)
        spec.inner = _template(section, symbol, held[0][0])
        spec.entries = tuple((slot, inner.name) for inner, slot in held if slot != 0xFFFF_FFFF)


# struct bpf_map_def of goebpf: two pointers, filled in by relocations.
def _finish_goebpf(elf: Elf, section: Section, definitions: list[_Definition]) -> None:
    if any(len(raw) != _GOEBPF for _, raw, _ in definitions):
        raise section.error(f"definitions of goebpf take {_GOEBPF} bytes")
    by_offset = {definition.symbol.value: definition.spec for definition in definitions}
    for relocation in elf.relocations_of(section):
        at = relocation.offset
        spec = by_offset[at - at % _GOEBPF]
        symbol = elf.symbol(relocation.symbol)
        addend = int.from_bytes(section.data()[at : at + 8], elf.byteorder)
        place = symbol.value + addend
        if at % _GOEBPF == _GOEBPF_INNER:
            inner = by_offset.get(place) if symbol.section == section.index else None
            if inner is None:
                raise section.error(f'"{symbol.name}" is not a map of this section', at)
            spec.inner = _template(section, symbol, inner)
        elif at % _GOEBPF == _GOEBPF_PATH:
            spec.pin_path = _text(elf, section, symbol, place, at)
        else:
            raise section.error(f'map "{spec.name}" has a pointer in a number', at)


def _text(elf: Elf, section: Section, symbol: Symbol, place: int, at: int) -> str:
    if not 0 < symbol.section < len(elf.sections):
        raise section.error(f'path "{symbol.name}" is not in the file', at)
    home = elf.sections[symbol.section]
    if home.type != SHT_PROGBITS:
        raise section.error(f'path "{symbol.name}" is not text', at)
    text = bytes(home.data()[place : place + 4096])
    end = text.find(b"\0")
    if end < 0:
        raise home.error("path does not end", place)
    try:
        return text[:end].decode()
    except UnicodeDecodeError:
        raise home.error("path is not UTF-8", place) from None


def _template(section: Section, symbol: Symbol, spec: MapSpec) -> MapSpec:
    if spec.type in _IN_MAPS:
        raise section.error(f'"{spec.name}" holds maps and is held by a map', symbol.value)
    inner = spec.copy()
    inner.pinning = Pinning.NONE
    inner.pin_path = ""
    return inner


# Sizes that were left 0 because the kind allows only one.
def _fill_defaults(spec: MapSpec) -> None:
    one_size = (
        *_IN_MAPS, MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY,
    )  # fmt: skip
    arrays = (MapType.ARRAY, MapType.PERCPU_ARRAY, *one_size)
    if spec.type in one_size and not spec.value_size:
        spec.value_size = 4
    if spec.type in arrays and spec.type != MapType.HASH_OF_MAPS and not spec.key_size:
        spec.key_size = 4
    if spec.type == MapType.LPM_TRIE:
        spec.flags |= MapFlag.NO_PREALLOC  # the only way the kernel makes one
    if spec.inner is not None:
        _fill_defaults(spec.inner)


_FORMS: dict[str, Callable[[Elf, Section, list[_Definition]], None]] = {
    "bpf_map_def": _finish_plain,
    "iproute2": _finish_iproute2,
    "goebpf": _finish_goebpf,
}
