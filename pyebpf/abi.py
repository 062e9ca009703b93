"""What a caller expects of maps and programs, held against specs or what is loaded.

    MapAbi(key_size=4).check(spec.maps["counts"])      before a load
    MapAbi(key_size=4).check(bpf.maps["counts"])       after it
    CollectionAbi(maps={...}, programs={...}).check(bpf)

What is left out, or 0, may be anything. An error names the object and every difference.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.errors import IncompatibleError, MapIncompatibleError, naming
from pyebpf.plain import field, plain
from pyebpf.spec import MapSpec, ProgramSpec
from pyebpf.typed import Protocol
from pyebpf.uapi.bpf import AttachType, MapFlag, MapType, ProgType

__all__ = [
    "CollectionAbi",
    "LoadedMap",
    "LoadedProgram",
    "MapAbi",
    "ProgramAbi",
    "check_map",
    "check_program",
]

# Of a descriptor rather than of the map: the kernel forgets them.
_ACCESS = MapFlag.RDONLY | MapFlag.WRONLY
_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})


class LoadedMap(Protocol):
    """A map in the kernel."""

    @property
    def spec(self) -> MapSpec:
        """What it is."""
        ...


class LoadedProgram(Protocol):
    """A program in the kernel."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def type(self) -> ProgType:
        """``enum bpf_prog_type``."""
        ...

    @property
    def spec(self) -> ProgramSpec | None:
        """What it was loaded from, or ``None``."""
        ...


class Parts(Protocol):
    """A collection, loaded or not."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def maps(self) -> Mapping[str, MapSpec | LoadedMap]:
        """Its maps by name."""
        ...

    @property
    def programs(self) -> Mapping[str, ProgramSpec | LoadedProgram]:
        """Its programs by name."""
        ...


@plain(frozen=True, kw_only=True)
class MapAbi:
    """What is expected of a map.

    Attributes:
        type: ``enum bpf_map_type``, or ``None`` for any.
        key_size: Bytes of a key, 0 for any.
        value_size: Bytes of a value (of one CPU's, for per-CPU kinds), 0 for any.
        max_entries: Capacity, 0 for any.
        flags: ``BPF_F_*`` creation flags, ``None`` for any.
        inner: What is expected of the maps it holds. The kernel does not tell, so only of specs and
            of maps that were loaded from one.
    """

    type: MapType | None = None
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int | None = None
    inner: MapAbi | None = None

    def check(self, found: MapSpec | LoadedMap) -> None:
        """Raise `MapIncompatibleError` unless a map or the spec of one is as expected."""
        spec = found if isinstance(found, MapSpec) else found.spec
        with naming(f'map "{spec.name}"'):
            check_map(self, spec)


@plain(frozen=True, kw_only=True)
class ProgramAbi:
    """What is expected of a program.

    Attributes:
        type: ``enum bpf_prog_type``, or ``None`` for any.
        attach_type: ``expected_attach_type``, or ``None`` for any. The kernel does not tell, so
            only of specs and of programs that were loaded from one.
    """

    type: ProgType | None = None
    attach_type: AttachType | None = None

    def check(self, found: ProgramSpec | LoadedProgram) -> None:
        """Raise `IncompatibleError` unless a program or the spec of one is as expected."""
        with naming(f'program "{found.name}"'):
            check_program(self, found)


@plain(frozen=True, kw_only=True)
class CollectionAbi:
    """What is expected of a collection; it may have more.

    Attributes:
        maps: Of its maps, by name.
        programs: Of its programs, by name.
    """

    maps: Mapping[str, MapAbi] = field(default_factory=dict)
    programs: Mapping[str, ProgramAbi] = field(default_factory=dict)

    def check(self, found: Parts) -> None:
        """Raise `IncompatibleError` unless a collection or the spec of one is as expected.

        The error lists every map and program that is missing or different.
        """
        wrong: list[str] = []
        for name, map_abi in self.maps.items():
            each = found.maps.get(name)
            if each is None:
                wrong.append(f'map "{name}" is missing')
                continue
            differences = _map_differences(map_abi, _spec_of(each))
            wrong += [f'map "{name}": {text}' for text in differences]
        for name, program_abi in self.programs.items():
            program = found.programs.get(name)
            if program is None:
                wrong.append(f'program "{name}" is missing')
                continue
            differences = _program_differences(program_abi, program)
            wrong += [f'program "{name}": {text}' for text in differences]
        if wrong:
            raise IncompatibleError(found.name, "; ".join(wrong))


def check_map(wanted: MapSpec | MapAbi, found: MapSpec) -> None:
    """Raise `MapIncompatibleError` unless a map is as expected.

    Args:
        wanted: Of a spec, everything counts; types do not, nor whether a data section can be
            memory-mapped.
        found: What it is.
    """
    differences = _map_differences(wanted, found)
    if differences:
        name = wanted.name if isinstance(wanted, MapSpec) else found.name
        raise MapIncompatibleError(name, "; ".join(differences))


def check_program(wanted: ProgramSpec | ProgramAbi, found: ProgramSpec | LoadedProgram) -> None:
    """Raise `IncompatibleError` unless a program is as expected.

    Args:
        wanted: Of a spec, the types count.
        found: What it is.
    """
    differences = _program_differences(wanted, found)
    if differences:
        raise IncompatibleError(found.name, "; ".join(differences))


def _spec_of(found: MapSpec | LoadedMap) -> MapSpec:
    return found if isinstance(found, MapSpec) else found.spec


def _map_differences(wanted: MapSpec | MapAbi, found: MapSpec) -> list[str]:
    exact = isinstance(wanted, MapSpec)
    ignored = _ignored_flags(wanted)
    numbers: list[tuple[str, int | None, int]] = [
        ("type", wanted.type, found.type),
        ("key size", wanted.key_size, found.key_size),
        ("value size", wanted.value_size, found.value_size),
        ("max_entries", wanted.max_entries, found.max_entries),
    ]
    compared = [each for each in numbers if exact or each[1]]
    if wanted.flags is not None:
        flags = MapFlag(wanted.flags & ~ignored), MapFlag(found.flags & ~ignored)
        compared.append(("flags", *flags))
    if isinstance(wanted, MapSpec):
        compared.append(("map_extra", wanted.map_extra, found.map_extra))
    different = [f"{what} is {is_!s}, not {not_!s}" for what, not_, is_ in compared if not_ != is_]
    if isinstance(wanted, MapAbi) and wanted.inner is not None:
        if found.type not in _OF_MAPS:
            different.append("it holds no maps")
        elif found.inner is not None:
            inner = _map_differences(wanted.inner, found.inner)
            different += [f"inner map: {text}" for text in inner]
    return different


def _ignored_flags(wanted: MapSpec | MapAbi) -> int:
    ignored = _ACCESS
    if wanted.type in (MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.INSN_ARRAY):
        # The kernel adds it by itself: dev_map_init_map(), insn_array_alloc().
        ignored |= MapFlag.RDONLY_PROG
    if isinstance(wanted, MapSpec) and wanted.type == MapType.ARRAY and wanted.contents is not None:
        ignored |= MapFlag.MMAPABLE
    return ignored


def _program_differences(
    wanted: ProgramSpec | ProgramAbi, found: ProgramSpec | LoadedProgram
) -> list[str]:
    different = []
    if wanted.type and wanted.type != found.type:
        different.append(f"type is {found.type}, not {wanted.type}")
    spec = found if isinstance(found, ProgramSpec) else found.spec
    if wanted.attach_type is not None and spec is not None:
        attach_type = spec.attach_type
        if attach_type != wanted.attach_type:
            has = "none" if attach_type is None else str(attach_type)
            different.append(f"attach type is {has}, not {wanted.attach_type}")
    return different
