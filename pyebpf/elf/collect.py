"""`load_spec`: an object file becomes a `CollectionSpec`.

The order of work: container, BTF, functions, maps, references, data, programs. Nothing here asks
the running system, so the same bytes and the same section names give the same spec everywhere;
trouble is an `ElfError` or `BtfError` that names the section and the offset.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

from pyebpf.btf.btf import Btf
from pyebpf.btf.ext import Ext, decode_ext
from pyebpf.btf.sections import fix_elf_btf
from pyebpf.elf.arena import arena_of, arena_section
from pyebpf.elf.data import data_maps, data_sections, variables
from pyebpf.elf.datasec import tags_of
from pyebpf.elf.debug_info import DebugInfo
from pyebpf.elf.externs import Externs, config_map
from pyebpf.elf.flatten import Linked, Linker
from pyebpf.elf.functions import CodeSections
from pyebpf.elf.maps import SECTION as MAPS_SECTION
from pyebpf.elf.maps import declared_maps, fill_contents
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.elf.relocs import Resolver
from pyebpf.elf.struct_ops import struct_ops_maps, struct_ops_sections
from pyebpf.errors import BtfError, ElfError, naming
from pyebpf.sections import Section as SectionName
from pyebpf.sections import SectionMatch, match, registered_sections
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec
from pyebpf.typed import TYPE_CHECKING, BinaryIO
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.elf import SHT_PROGBITS, STB_LOCAL

if TYPE_CHECKING:
    from pyebpf.elf.legacy_maps import LegacyFormat

__all__ = ["load_spec"]

# How early Go loaders spelt "whatever runs"; a load takes the running kernel's if none is given.
_RUNNING_KERNEL = 0xFFFF_FFFE


def load_spec(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
    *,
    legacy_maps: LegacyFormat = "auto",
    sections: Iterable[SectionName] | None = None,
) -> CollectionSpec:
    """Read an object file made by ``clang -target bpf``.

    Args:
        source: A path, the file's bytes, or a file opened for reading bytes.
        legacy_maps: The struct that sections ``maps`` hold, if its size would mislead.
        sections: What section names besides libbpf's mean; what `register_section` said in this
            process if not given. With it, the spec depends on nothing but the arguments.

    Returns:
        What the file defines, as plain data; needs no root and no kernel.

    Raises:
        ElfError: Not an eBPF object, or a malformed one.
        BtfError: Its BTF is malformed, and maps or implementations are declared by it. Otherwise
            that is a `RuntimeWarning`.
        OSError: The file cannot be read.
    """
    data, name = _read(source)
    own = registered_sections() if sections is None else tuple(sections)
    with naming(f'object "{name}"') if name else contextlib.nullcontext():
        try:
            return _Collector(data, legacy_maps, own).collect(name)
        except BtfError as error:
            if _declares_by_types(Elf(data)):
                raise
            what = f'object "{name}"' if name else "an object"
            warnings.warn(
                f"{what} is read without types, and without the CO-RE relocations that"
                f" come with them: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            return _Collector(data, legacy_maps, own, types=False).collect(name)


def _read(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
) -> tuple[bytes, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), ""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read(), _stem(os.path.basename(os.fspath(source)))
    data: object = source.read() if hasattr(source, "read") else None
    if not isinstance(data, bytes):
        kind = "a text file" if isinstance(data, str) else type(source).__name__
        raise TypeError(f"an object is a path, bytes or a file opened for bytes, not {kind}")
    name = getattr(source, "name", "")
    return data, _stem(os.path.basename(name)) if isinstance(name, str) else ""


# Whether anything but CO-RE depends on types. As libbpf has it, malformed ones are no obstacle to
# loading objects of before there were types, which linkers and strippers may have damaged.
def _declares_by_types(elf: Elf) -> bool:
    maps = elf.section(MAPS_SECTION)
    return (maps is not None and maps.size > 0) or bool(struct_ops_sections(elf))


# "trace_exec" of "trace_exec.bpf.o"; a leading dot belongs to the name.
def _stem(name: str) -> str:
    return name[:1] + name[1:].partition(".")[0]


class _Collector:
    def __init__(
        self, data: bytes, form: LegacyFormat, own: Sequence[SectionName], *, types: bool = True
    ) -> None:
        self._elf = Elf(data)
        self._form: LegacyFormat = form
        self._own = own
        self._btf = self._read_btf() if types else None
        self._tags = tags_of(self._btf) if self._btf is not None else {}
        self._code = CodeSections(self._elf)
        self._places: dict[int, dict[int, MapSpec]] = {}
        self._arena: dict[int, MapSpec] = {}

    def collect(self, name: str) -> CollectionSpec:
        spec = CollectionSpec(
            btf=self._btf,
            license=self._license(),
            kernel_version=self._kernel_version(),
            byteorder=self._elf.byteorder,
            name=name,
        )
        self._read_maps()
        used = self._resolve()
        data = data_maps(self._elf, data_sections(self._elf).values(), used, self._btf)
        spec.maps = self._named([*self._places.values(), data])
        config = config_map(self._btf)
        if config is not None:
            spec.maps.setdefault(config.name, config)
        spec.variables = variables(self._elf, data | self._arena, self._btf, self._tags)
        spec.programs = self._programs(spec)
        return spec

    def _read_btf(self) -> Btf | None:
        section = self._elf.section(".BTF")
        if section is None:
            return None
        with naming(f"section {section.name}"):
            btf = Btf.decode(bytes(section.data()))
        if btf.byteorder != self._elf.byteorder:
            raise section.error(
                f"{btf.byteorder}-endian types in a {self._elf.byteorder}-endian file"
            )
        with naming(f"section {section.name}"):
            return fix_elf_btf(btf, *self._places_of_symbols(btf))

    # What the compiler leaves open in BTF: sizes of sections, places of symbols in them, and names
    # of the functions that are hidden.
    def _places_of_symbols(
        self, btf: Btf
    ) -> tuple[dict[str, int], dict[str, dict[str, int]], set[str]]:
        sizes: dict[str, int] = {}
        offsets: dict[str, dict[str, int]] = {}
        hidden: set[str] = set()
        for section in self._elf.sections[1:]:
            symbols = self._elf.symbols_in(section)
            if section.executable:
                hidden.update(symbol.name for symbol in symbols if symbol.hidden)
            elif section.name not in sizes and btf.ids(section.name, BtfKind.DATASEC):
                if section.size >> 32:
                    raise section.error(f"{section.size} bytes are more than BTF can express")
                sizes[section.name] = section.size
                offsets[section.name] = _offsets(symbols)
        return sizes, offsets, hidden

    def _license(self) -> str:
        section = self._special("license")
        if section is None:
            return ""
        # No licence that the kernel knows has other characters.
        return bytes(section.data()).split(b"\0", 1)[0].decode(errors="replace")

    def _kernel_version(self) -> int:
        section = self._special("version")
        if section is None:
            return 0
        data = section.data()
        if len(data) < 4:
            raise section.error(f"a version takes 4 bytes, not {len(data)}", 0)
        version = int.from_bytes(data[:4], self._elf.byteorder)
        return 0 if version == _RUNNING_KERNEL else version

    def _special(self, prefix: str) -> Section | None:
        for section in self._elf.sections:
            if section.name.startswith(prefix) and _holds_data(section):
                return section
        return None

    def _read_maps(self) -> None:
        for section in self._elf.sections:
            if not _holds_data(section):
                continue
            if section.name == MAPS_SECTION:
                declared = declared_maps(self._elf, section, self._btf, self._tags)
                fill_contents(self._elf, section, declared, self._code)
                self._places[section.index] = {
                    offset: entry.spec for offset, entry in declared.items()
                }
            elif section.name.startswith("maps"):
                from pyebpf.elf.legacy_maps import legacy_maps

                self._places[section.index] = legacy_maps(self._elf, section, self._form)
        for index, section in struct_ops_sections(self._elf).items():
            self._places[index] = struct_ops_maps(
                self._elf, section, self._btf, self._code, self._tags
            )
        globals_ = arena_section(self._elf)
        if globals_ is not None:
            specs = [spec for maps in self._places.values() for spec in maps.values()]
            self._arena[globals_.index] = arena_of(globals_, specs)

    def _resolve(self) -> set[int]:
        names = {
            index: {offset: spec.name for offset, spec in maps.items()}
            for index, maps in self._places.items()
        }
        data = {index: section.name for index, section in data_sections(self._elf).items()}
        data |= {index: arena.name for index, arena in self._arena.items()}
        resolver = Resolver(
            self._elf, self._code, maps=names, data=data, externs=Externs(self._btf)
        )
        resolver.run()
        return resolver.used

    def _named(self, groups: list[dict[int, MapSpec]]) -> dict[str, MapSpec]:
        found: dict[str, MapSpec] = {}
        for group in groups:
            for spec in group.values():
                if spec.name in found:
                    raise ElfError(f'a second map "{spec.name}"', where=f"section {spec.section}")
                found[spec.name] = spec
        return found

    def _programs(self, spec: CollectionSpec) -> dict[str, ProgramSpec]:
        linker = Linker(self._elf.byteorder)
        info = DebugInfo(self._read_ext(), self._code, self._elf.byteorder)
        thrown_to = {}
        if self._tags:
            from pyebpf.elf.exceptions import callbacks

            thrown_to = callbacks(self._btf, self._tags, self._code)
        programs = {}
        for name, function in self._code.entries().items():
            linked = linker.link(function, callback=thrown_to.get(name))
            found = match(function.home.section.name, self._own)
            programs[name] = _program(name, linked, found, spec, info)
        return programs

    def _read_ext(self) -> Ext | None:
        section = self._elf.section(".BTF.ext")
        if section is None or self._btf is None:
            return None
        return decode_ext(bytes(section.data()), self._btf, on_fault=_warn_of_lost_table)


# libbpf goes on without all tables then. Code runs without names and lines; without its CO-RE
# relocations it may read the wrong fields, which the warning says.
def _warn_of_lost_table(table: str, fault: BtfError) -> None:
    lost = (
        "CO-RE relocations: programs that need any read fields where they were when compiled"
        if table == "core_relocations"
        else table
    )
    warnings.warn(
        f"section .BTF.ext is read without its {lost}: {fault}", RuntimeWarning, stacklevel=2
    )


def _holds_data(section: Section) -> bool:
    return section.type == SHT_PROGBITS and section.size > 0 and not section.executable


def _program(
    name: str, linked: Linked, found: SectionMatch, spec: CollectionSpec, info: DebugInfo
) -> ProgramSpec:
    section = linked.layout[0][1].home.section.name
    func_info = info.func_info(linked.layout)
    return ProgramSpec(
        name=name,
        type=found.type,
        code=linked.code,
        attach_type=found.attach_type,
        attach_type_optional=found.attach_type_optional,
        attach_to=found.attach_to,
        section=section.removeprefix("?"),
        flags=found.flags,
        license=spec.license,
        kernel_version=spec.kernel_version,
        byteorder=spec.byteorder,
        autoload=found.autoload,
        references=linked.references,
        jump_tables=linked.jump_tables,
        relocations=info.relocations(linked.layout),
        functions=tuple((start, part.name) for start, part in linked.layout),
        func_info=func_info,
        # The kernel ties lines to functions, so they go together.
        line_info=info.line_info(linked.layout) if func_info else b"",
        btf=spec.btf,
    )


# Static variables of different functions may share a name; then the compiler's offset has to do.
def _offsets(symbols: list[Symbol]) -> dict[str, int]:
    names = Counter(symbol.name for symbol in symbols)
    return {
        symbol.name: symbol.value
        for symbol in symbols
        if symbol.binding != STB_LOCAL or names[symbol.name] == 1
    }
