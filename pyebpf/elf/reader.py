"""The container: an ELF file's sections, symbols and relocations, bounds-checked.

Bytes come in, an `Elf` goes out, which hands out sections by index and never reads past the file.
Only what eBPF compilers write is read: 64-bit relocatable files of either byte order.

    ELF header     64 bytes: magic, class, byte order, machine; where the section headers are
    section header 64 bytes: name u32 | type u32 | flags u64 | address u64 | offset u64 | size u64 |
                             link u32 | info u32 | alignment u64 | entry size u64
    symbol         24 bytes: name u32 | info u8 (binding << 4 | type) | other u8 | section u16 |
                             value u64 | size u64
    relocation     16 bytes: offset u64 | info u64 (symbol << 32 | type)

``struct`` does it in a tenth of a millisecond for a file with debug information; a general ELF
library takes twenty times as long.
"""

from __future__ import annotations

import struct
from functools import cached_property

from pyebpf.errors import ElfError
from pyebpf.typed import Literal, NamedTuple
from pyebpf.uapi.elf import (
    ELFCLASS64,
    ELFDATA2LSB,
    ELFDATA2MSB,
    EM_BPF,
    ET_REL,
    R_BPF_64_ABS32,
    R_BPF_64_NODYLD32,
    R_BPF_NONE,
    SHF_COMPRESSED,
    SHF_EXECINSTR,
    SHN_ABS,
    SHN_COMMON,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHN_XINDEX,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    STT_FILE,
    STT_FUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
    STV_HIDDEN,
    STV_INTERNAL,
)

__all__ = [
    "Elf",
    "Relocation",
    "Section",
    "Symbol",
    "where",
]

ByteOrder = Literal["little", "big"]

_MACHINE_NONE = 0  # what clang wrote before EM_BPF had a number

# The kernel cuts names at 128 bytes (BTF) and 512 (kallsyms); this keeps a name table without
# terminators from costing its size for every name.
_NAME_LIMIT = 4096

# What libbpf knows by name before it looks at flags.
_NO_CODE = frozenset({"license", "version", "maps", ".maps", ".BTF", ".BTF.ext"})

# How struct Elf64_Chdr begins: zlib or zstd, in either byte order, and four reserved bytes.
_COMPRESSED = frozenset(
    kind.to_bytes(4, order) + bytes(4) for kind in (1, 2) for order in ("little", "big")
)

_FOUR_BYTES = (R_BPF_64_ABS32, R_BPF_64_NODYLD32)


class Symbol(NamedTuple):
    """An entry of the symbol table.

    Attributes:
        name: ``""`` for a section's own symbol.
        binding: ``STB_*``.
        type: ``STT_*``.
        hidden: Its visibility is hidden or internal.
        section: Index of its section, or ``SHN_UNDEF``, ``SHN_ABS``, ``SHN_COMMON``.
        value: Offset in its section.
        size: Bytes, 0 if not known.
    """

    name: str
    binding: int
    type: int
    hidden: bool
    section: int
    value: int
    size: int

    def target(self, addend: int) -> int:
        """Return the offset of the map or function that a pointer to this symbol means.

        Args:
            addend: What stands in the pointer's place: the offset of what has no symbol of its
                own. Of what has one, GNU as writes the symbol's value there, which means nothing.
        """
        return self.value + addend if self.type == STT_SECTION else self.value


class Relocation(NamedTuple):
    """An entry of a relocation section: *offset* in the target section refers to *symbol*."""

    offset: int
    type: int
    symbol: int


def where(section: str, offset: int) -> str:
    """Return a place for an error: ``"section .maps, offset 0x18"``."""
    return f"section {section}, offset {offset:#x}"


class Section:
    """One section.

    Attributes:
        index: Its number in the file.
        name: Its name.
        type: ``SHT_*``.
        flags: ``SHF_*``.
        size: Bytes; ``SHT_NOBITS`` has them in memory only.
        link: Index of a related section.
        info: The target section of relocations.
    """

    __slots__ = ("_file", "_offset", "flags", "index", "info", "link", "name", "size", "type")

    def __init__(self, file: memoryview, index: int, name: str, header: tuple[int, ...]) -> None:
        self._file = file
        self.index = index
        self.name = name
        _, self.type, self.flags, _, self._offset, self.size, self.link, self.info, _, _ = header

    @property
    def executable(self) -> bool:
        """Whether it holds instructions: flags say so, unless the name says something else."""
        return (
            self.type == SHT_PROGBITS
            and bool(self.flags & SHF_EXECINSTR)
            and self.size > 0
            and self.name not in _NO_CODE
            and not self.name.startswith(".debug_")
        )

    def data(self) -> memoryview:
        """Return its bytes in the file.

        Raises:
            ElfError: It lies outside the file, or is compressed.
        """
        if self.type == SHT_NOBITS:
            return memoryview(b"")
        end = self._offset + self.size
        if end > len(self._file):
            raise self.error(f"{self.size} bytes end outside the file", 0)
        data = self._file[self._offset : end]
        # No tool compresses what eBPF needs; a flag alone is damage, which libbpf overlooks.
        if self.flags & SHF_COMPRESSED and bytes(data[:8]) in _COMPRESSED:
            raise self.error("compressed sections are not supported")
        return data

    def error(self, message: str, offset: int | None = None) -> ElfError:
        """Make an error about a place in this section."""
        place = f"section {self.name}" if offset is None else where(self.name, offset)
        return ElfError(message, where=place)


class Elf:
    """An open ELF file.

    Attributes:
        byteorder: ``"little"`` or ``"big"``.
        sections: All sections by index; the first is the empty one.
    """

    def __init__(self, data: bytes) -> None:
        self._file = memoryview(data)
        self.byteorder: ByteOrder = _check_identity(data)
        self._order = "<" if self.byteorder == "little" else ">"
        self.sections = self._read_sections()
        self._symbols: dict[int, Symbol] = {}

    def section(self, name: str) -> Section | None:
        """Return the first section of that name, or ``None``."""
        return next((section for section in self.sections if section.name == name), None)

    def symbol(self, index: int) -> Symbol:
        """Return a symbol by its number in the table.

        Raises:
            ElfError: There is no such symbol, or it points nowhere.
        """
        found = self._symbols.get(index)
        if found is None:
            table = self._symbol_table
            if table is None or not 0 < index < table.size // 24:
                name = table.name if table is not None else ".symtab"
                raise ElfError(f"no symbol {index}", where=where(name, index * 24))
            raw = self._symbol_format.unpack_from(table.data(), index * 24)
            found = self._symbols[index] = self._symbol(index, raw)
        return found

    def symbols_in(self, section: Section) -> list[Symbol]:
        """Return the named symbols in a section, without local labels, by their offset.

        Raises:
            ElfError: A symbol points outside its section.
        """
        return self._symbols_by_section.get(section.index, [])

    def labels_in(self, section: Section) -> list[Symbol]:
        """Return all named symbols in a section by their offset, labels of blocks too.

        Raises:
            ElfError: A symbol points outside its section.
        """
        table = self._symbol_table
        if table is None:
            return []
        data = table.data()
        found = [
            self.symbol(index)
            for index, raw in enumerate(
                self._symbol_format.iter_unpack(data[: len(data) - len(data) % 24])
            )
            if raw[0] and raw[3] == section.index and raw[1] & 0xF not in (STT_SECTION, STT_FILE)
        ]
        found.sort(key=lambda symbol: symbol.value)
        return found

    def relocations_of(self, section: Section) -> list[Relocation]:
        """Return the relocations whose target is a section, by their offset.

        Raises:
            ElfError: One lies outside the section, or has a form eBPF compilers do not write.
        """
        found: list[Relocation] = []
        for table in self._relocation_tables.get(section.index, ()):
            found += self._read_relocations(table, section)
        found.sort()
        return found

    def _read_sections(self) -> tuple[Section, ...]:
        if len(self._file) < 64:
            raise ElfError(f"ELF header cut off at {len(self._file)} bytes", where="ELF header")
        (start,) = struct.unpack_from(self._order + "Q", self._file, 40)
        count, names_index = struct.unpack_from(self._order + "HH", self._file, 60)
        if start == 0:
            return ()
        # Their size is no question: like libelf, nothing here reads e_shentsize.
        header = struct.Struct(self._order + "IIQQQQIIQQ")
        if start + header.size > len(self._file):
            raise ElfError(f"section headers at {start:#x} lie outside the file", "ELF header")
        first = header.unpack_from(self._file, start)
        # Files with very many sections keep the true numbers in the first, empty header.
        count = count or first[5]
        names_index = first[6] if names_index == SHN_XINDEX else names_index
        end = start + count * header.size
        if end > len(self._file):
            raise ElfError(
                f"{count} section headers at {start:#x} end outside the file", "ELF header"
            )
        headers = list(header.iter_unpack(self._file[start:end]))
        if names_index >= len(headers):
            raise ElfError(f"section names in section {names_index} of {count}", "ELF header")
        names = Section(self._file, names_index, ".shstrtab", headers[names_index])
        strings = bytes(names.data())
        return tuple(
            Section(self._file, index, _name(strings, names, raw[0], f"section {index}"), raw)
            for index, raw in enumerate(headers)
        )

    @property
    def has_symbols(self) -> bool:
        """Whether there is a symbol table."""
        return self._symbol_table is not None

    @cached_property
    def _symbol_format(self) -> struct.Struct:
        return struct.Struct(self._order + "IBBHQQ")

    @cached_property
    def _symbol_table(self) -> Section | None:
        tables = (section for section in self.sections if section.type == SHT_SYMTAB)
        return next(tables, None)

    @cached_property
    def _symbol_names(self) -> tuple[bytes, Section]:
        table = self._symbol_table
        assert table is not None
        if table.link >= len(self.sections):
            raise table.error(f"names in section {table.link}, which does not exist")
        section = self.sections[table.link]
        return bytes(section.data()), section

    @cached_property
    def _symbols_by_section(self) -> dict[int, list[Symbol]]:
        found: dict[int, list[Symbol]] = {}
        table = self._symbol_table
        if table is None:
            return found
        data = table.data()
        usable = (STT_NOTYPE, STT_OBJECT, STT_FUNC)
        whole = len(data) - len(data) % 24
        for index, raw in enumerate(self._symbol_format.iter_unpack(data[:whole])):
            name, info, _, section, _, _ = raw
            # Local without a type (info 0) are labels: old clang writes one per basic block.
            if not name or not info or info & 0xF not in usable or section == SHN_UNDEF:
                continue
            found.setdefault(section, []).append(self.symbol(index))
        for symbols in found.values():
            symbols.sort(key=lambda symbol: symbol.value)
        return found

    def _symbol(self, index: int, raw: tuple[int, ...]) -> Symbol:
        name, info, other, section, value, size = raw
        table = self._symbol_table
        assert table is not None
        strings, names = self._symbol_names
        text = _name(strings, names, name, f"symbol {index}") if name else ""
        if section != SHN_UNDEF and section < SHN_LORESERVE:
            if section >= len(self.sections):
                raise table.error(
                    f'symbol "{text}" is in section {section}, which does not exist', index * 24
                )
            target = self.sections[section]
            if value + size > target.size:
                # Of data, types say the size; libbpf looks at that of functions only.
                if value > target.size or info & 0xF == STT_FUNC:
                    raise target.error(f'symbol "{text}" ends outside the section', value)
                size = target.size - value
        elif section not in (SHN_UNDEF, SHN_ABS, SHN_COMMON):
            raise table.error(f'symbol "{text}" has section index {section:#x}', index * 24)
        hidden = other & 3 in (STV_HIDDEN, STV_INTERNAL)
        return Symbol(text, info >> 4, info & 0xF, hidden, section, value, size)

    @cached_property
    def _relocation_tables(self) -> dict[int, list[Section]]:
        found: dict[int, list[Section]] = {}
        for section in self.sections:
            if section.type in (SHT_REL, SHT_RELA):
                found.setdefault(section.info, []).append(section)
        return found

    def _read_relocations(self, table: Section, target: Section) -> list[Relocation]:
        if table.type == SHT_RELA:
            raise table.error("relocations with addends (SHT_RELA) are not used by eBPF")
        data = table.data()
        if len(data) % 16:
            raise table.error(f"{len(data)} bytes are not whole relocations")
        found = []
        for index, (offset, info) in enumerate(struct.iter_unpack(self._order + "QQ", data)):
            width = 4 if info & 0xFFFF_FFFF in _FOUR_BYTES else 8
            if offset + width > target.size:
                raise table.error(
                    f"relocation at {offset:#x} lies outside section {target.name}"
                    f" of {target.size} bytes",
                    index * 16,
                )
            if info & 0xFFFF_FFFF != R_BPF_NONE:
                found.append(Relocation(offset, info & 0xFFFF_FFFF, info >> 32))
        return found


def _check_identity(data: bytes) -> ByteOrder:
    if data[:4] != b"\x7fELF":
        raise ElfError("not an ELF file", where="offset 0x0")
    if len(data) < 20:
        raise ElfError(f"ELF header cut off at {len(data)} bytes", where="ELF header")
    if data[4] != ELFCLASS64:
        raise ElfError("not a 64-bit ELF file", where="ELF header, offset 0x4")
    if data[5] not in (ELFDATA2LSB, ELFDATA2MSB):
        raise ElfError(f"unknown byte order {data[5]}", where="ELF header, offset 0x5")
    order: ByteOrder = "little" if data[5] == ELFDATA2LSB else "big"
    kind, machine = struct.unpack_from("<HH" if order == "little" else ">HH", data, 16)
    if kind != ET_REL:
        raise ElfError(
            f"not a relocatable file (type {kind}); eBPF objects come from clang -target bpf -c",
            where="ELF header, offset 0x10",
        )
    if machine not in (_MACHINE_NONE, EM_BPF):
        raise ElfError(
            f"made for machine {machine}, not for eBPF ({EM_BPF})",
            where="ELF header, offset 0x12",
        )
    return order


def _name(strings: bytes, section: Section, offset: int, owner: str) -> str:
    end = strings.find(b"\0", offset, offset + _NAME_LIMIT + 1)
    if offset >= len(strings) or end < 0:
        raise section.error(f"the name of {owner} does not end in the section", offset)
    # As in BTF, so that such names are still found there.
    return strings[offset:end].decode(errors="surrogateescape")
