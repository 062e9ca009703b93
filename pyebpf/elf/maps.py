"""Maps declared in BTF: section ``.maps``.

The file and its BTF come in, a `MapSpec` for each variable of the section goes out. The section's
bytes say nothing; the definition is the variable's type, whose members carry numbers and types:

    struct {
        __uint(type, BPF_MAP_TYPE_HASH);     int (*type)[1]                   number = array length
        __ulong(map_extra, 1ull << 40);      enum { v = 1ull << 40 } map_extra   or a pointer to it
        __type(key, u32);                    u32 *key                         type   = pointee
        __array(values, struct inner);       struct inner *values[]           what the slots hold
    } flows SEC(".maps");

Static contents of ``values`` are relocations in the section: slot i holds a map or a program. Other
contents of the section, where a definition is initialised by mistake, mean nothing, as in libbpf.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import (
    Array,
    Enumeration,
    FuncProto,
    Member,
    Ptr,
    Struct,
    Var,
)
from pyebpf.elf.datasec import variables_of
from pyebpf.elf.functions import CodeSections
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.errors import ElfError, naming
from pyebpf.spec import MapSpec, Pinning
from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.elf import STB_LOCAL, STT_OBJECT, STT_SECTION

__all__ = ["SECTION", "Declared", "declared_maps", "fill_contents"]

SECTION = ".maps"

_GLOBAL = 1  # BTF_VAR_GLOBAL_ALLOCATED
_SLOT = 8  # a pointer in the contents of values
_U32 = 0xFFFF_FFFF


def declared_maps(
    elf: Elf, section: Section, btf: Btf | None, tags: Mapping[int, tuple[str, ...]]
) -> dict[int, Declared]:
    """Read the map definitions of section ``.maps``.

    Args:
        elf: The file.
        section: The section.
        btf: The object's BTF.
        tags: ``btf_decl_tag`` texts by type id.

    Returns:
        The maps by their offset in the section, contents not filled in.

    Raises:
        ElfError: A definition makes no sense.
        BtfError: The BTF is malformed.
    """
    if btf is None:
        raise section.error("maps are declared in BTF, and the object has none (clang -g)")
    placed = _places(elf, section)
    found: dict[int, Declared] = {}
    for name, (type_id, variable) in variables_of(btf, SECTION).items():
        offset = placed.get(name)
        if offset is None:
            raise section.error(f'no symbol for map "{name}"')
        if offset in found:
            raise section.error(f'a second map "{name}"', offset)
        with naming(f'map "{name}"'):
            reader = _Definition(btf, section, offset)
            spec = reader.read(variable, tags.get(type_id, ()))
        found[offset] = Declared(spec, reader.values_at)
    for name, offset in placed.items():
        if offset not in found:
            raise section.error(f'map "{name}" has no definition in BTF', offset)
    return found


def _places(elf: Elf, section: Section) -> dict[str, int]:
    return {
        symbol.name: symbol.value
        for symbol in elf.symbols_in(section)
        if symbol.type == STT_OBJECT or symbol.binding != STB_LOCAL
    }


class Declared(NamedTuple):
    """A declared map.

    Attributes:
        spec: The map.
        values_at: Bytes from the start of the definition to its ``values``, or ``None``.
    """

    spec: MapSpec
    values_at: int | None


class _Definition:
    # Reads one definition: the members of a struct, and those of its values.

    def __init__(self, btf: Btf, section: Section, offset: int) -> None:
        self._btf = btf
        self._section = section
        self._offset = offset
        self.values_at: int | None = None

    def read(self, variable: Var, tags: tuple[str, ...]) -> MapSpec:
        if variable.linkage != _GLOBAL:
            raise self._error("is static: maps must be global")
        found = self._btf.type(self._btf.strip(variable.type))
        if found.kind != BtfKind.STRUCT or not isinstance(found, Struct):
            raise self._error(f"is {self._btf.describe(variable.type)}, not a struct")
        return self._map(found, variable.name, tags, nested=False)

    def _map(
        self, definition: Struct, name: str, tags: tuple[str, ...], *, nested: bool
    ) -> MapSpec:
        spec = MapSpec(name=name, type=MapType.UNSPEC, btf=self._btf, tags=tags, section=SECTION)
        seen: set[str] = set()
        for index, member in enumerate(definition.members):
            if member.name in seen:
                raise self._error(f'has two members "{member.name}"')
            seen.add(member.name)
            if member.name == "values":
                if nested:
                    raise self._error("has values inside the maps it holds")
                if index != len(definition.members) - 1:
                    raise self._error("must have values as its last member")
                self.values_at = member.bit_offset // 8
                self._values(spec, member)
            elif member.name == "pinning" and nested:
                raise self._error("pins the maps it holds, which cannot be done by name")
            else:
                self._member(spec, member)
        if spec.type == MapType.UNSPEC:
            raise self._error("has no type")
        return spec

    def _member(self, spec: MapSpec, member: Member) -> None:
        name = member.name
        if name in ("key", "value"):
            self._typed(spec, member)
            return
        number = self._number(member)
        if name == "map_extra":
            spec.map_extra = number
            return
        if number > _U32:
            raise self._error(f"has {name} {number}, more than 32 bits")
        if name == "type":
            spec.type = MapType(number)
        elif name == "max_entries":
            spec.max_entries = number
        elif name == "map_flags":
            spec.flags = number
        elif name == "numa_node":
            spec.numa_node = number
        elif name == "key_size":
            spec.key_size = self._agreed(name, spec.key_size, number)
        elif name == "value_size":
            spec.value_size = self._agreed(name, spec.value_size, number)
        elif name == "pinning":
            spec.pinning = Pinning(number)
        else:
            raise self._error(f'has unknown member "{name}"')

    def _typed(self, spec: MapSpec, member: Member) -> None:
        pointee = self._pointee(member)
        size = self._btf.size_of(pointee)
        if member.name == "key":
            spec.key_size = self._agreed("key_size", spec.key_size, size)
            spec.key_type_id = pointee
        else:
            spec.value_size = self._agreed("value_size", spec.value_size, size)
            spec.value_type_id = pointee

    def _values(self, spec: MapSpec, member: Member) -> None:
        array = self._btf.type(self._btf.strip(member.type))
        if not isinstance(array, Array):
            raise self._error("has values that are not an array")
        pointer = self._btf.type(self._btf.strip(array.element))
        if not isinstance(pointer, Ptr):
            raise self._error("has values that are not pointers")
        target = self._btf.type(self._btf.strip(pointer.type))
        if target.kind == BtfKind.STRUCT and isinstance(target, Struct):
            spec.inner = self._map(target, f"{spec.name}.inner", (), nested=True)
        elif not isinstance(target, FuncProto):
            raise self._error(f"holds {self._btf.describe(pointer.type)}: not maps, nor functions")
        spec.value_size = self._agreed("value_size", spec.value_size, 4)

    # An array's length behind a pointer, or an enum's first value, with a pointer or without.
    def _number(self, member: Member) -> int:
        found = self._btf.type(self._btf.strip(member.type))
        if not isinstance(found, Enumeration):
            found = self._btf.type(self._btf.strip(self._pointee(member)))
        if isinstance(found, Array):
            return found.length
        if isinstance(found, Enumeration) and found.values:
            return found.values[0].value & (1 << 64) - 1
        raise self._error(
            f'has a member "{member.name}" that is no number: {self._btf.describe(member.type)}'
        )

    def _pointee(self, member: Member) -> int:
        pointer = self._btf.type(self._btf.strip(member.type))
        if not isinstance(pointer, Ptr):
            raise self._error(
                f'has a member "{member.name}" that is no pointer:'
                f" {self._btf.describe(member.type)}"
            )
        return pointer.type

    def _agreed(self, what: str, before: int, now: int) -> int:
        if before and before != now:
            raise self._error(f"has {what} {before} and {now}")
        return now

    def _error(self, message: str) -> ElfError:
        return self._section.error(message, self._offset)


def fill_contents(
    elf: Elf, section: Section, maps: Mapping[int, Declared], code: CodeSections
) -> None:
    """Record what the slots of ``values`` hold.

    Args:
        elf: The file.
        section: Section ``.maps``.
        maps: Its maps by offset, changed in place.
        code: The functions, for program arrays.

    Raises:
        ElfError: A slot refers to something of the wrong kind, or lies outside ``values``.
    """
    data = section.data()
    starts = sorted(maps)
    found: dict[int, list[tuple[int, str]]] = {}
    for relocation in elf.relocations_of(section):
        at = relocation.offset
        index = bisect_right(starts, at) - 1
        if index < 0:
            raise section.error("relocation outside every map", at)
        owner = maps[starts[index]]
        behind = at - starts[index] - (owner.values_at or 0)
        if owner.values_at is None or behind < 0 or behind % _SLOT:
            raise section.error(f'map "{owner.spec.name}" has contents outside its values', at)
        addend = int.from_bytes(data[at : at + _SLOT], elf.byteorder)
        symbol = elf.symbol(relocation.symbol)
        if owner.spec.inner is not None:
            name = _map_name(section, symbol, addend, maps)
        else:
            name = _program_name(symbol, addend, code)
        if name is None:
            kind = "program" if owner.spec.inner is None else "map"
            raise section.error(f'"{symbol.name}" in map "{owner.spec.name}" is not a {kind}', at)
        found.setdefault(starts[index], []).append((behind // _SLOT, name))
    for start, entries in found.items():
        maps[start].spec.entries = tuple(entries)


def _map_name(
    section: Section, symbol: Symbol, addend: int, maps: Mapping[int, Declared]
) -> str | None:
    target = maps.get(symbol.target(addend)) if symbol.section == section.index else None
    return target.spec.name if target is not None else None


def _program_name(symbol: Symbol, addend: int, code: CodeSections) -> str | None:
    home = code.by_index.get(symbol.section)
    function = home.starting_at(symbol.target(addend)) if home is not None else None
    if function is None:
        return None
    return function.name if symbol.type == STT_SECTION else symbol.name
