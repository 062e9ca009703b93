"""Which function of an ELF file is at an offset: the way back from an address to a name.

In: a file. Out: `Functions`, sorted by address. Only what is needed is read, with `struct`: section
headers, the symbol tables of functions, the loaded segments, and the note with the build id.

    file offset ──PT_LOAD──▶ address ──bisect──▶ symbol whose [value, value + size) holds it

`pyebpf.host.symbols` goes the other way, and knows versions of symbols.
"""

from __future__ import annotations

import bisect
import io
import os
import struct
from pathlib import Path

from pyebpf.errors import ElfError, SyscallError
from pyebpf.typed import IO, NamedTuple

__all__ = ["Functions"]

_PT_LOAD, _PT_NOTE = 1, 4
_SHT_SYMTAB, _SHT_DYNSYM = 2, 11
_STT_FUNC, _STT_IFUNC = 2, 10
_SHN_UNDEF = 0
_NT_GNU_BUILD_ID = 3
# What a file may make us read: 2 GB programs stay below.
_MAX_TABLE, _MAX_HEADERS, _MAX_NOTE = 1 << 29, 0xFFFF, 1 << 16


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class _Section(NamedTuple):
    kind: int
    offset: int
    size: int
    link: int


# What differs between classes: places in the file's header, and layouts of the tables.
class _Layout(NamedTuple):
    header: str  # phoff, shoff, then: flags, ehsize, phentsize, phnum, shentsize, shnum
    segment: str  # fields in the order of the file
    section: str
    symbol: str


_WIDE = _Layout("QQIHHHHH", "IIQQQQQQ", "IIQQQQIIQQ", "IBBHQQ")
_NARROW = _Layout("IIIHHHHH", "IIIIIIII", "IIIIIIIIII", "IIIBBH")


class Functions:
    """The functions of one ELF file.

    Attributes:
        build_id: Of the file, ``b""`` without one.

    May be shared between threads.
    """

    def __init__(
        self,
        segments: list[tuple[int, int, int]],
        symbols: dict[int, tuple[int, bytes]],
        build_id: bytes,
    ) -> None:
        self.build_id = build_id
        self._segments = segments
        self._starts = sorted(symbols)
        self._symbols = symbols

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Functions:
        """Read a file.

        Raises:
            ElfError: Not an ELF file, or a malformed one.
            SyscallError: It cannot be read.
        """
        text = os.fspath(path)
        try:
            with Path(text).open("rb") as file:
                return _Reader(file, text).functions()
        except OSError as error:
            raise SyscallError("open", error.errno or 0, text) from None

    @classmethod
    def decode(cls, image: bytes, name: str) -> Functions:
        """Read a file that is in memory; *name* is for errors.

        Raises:
            ElfError: Not an ELF file, or a malformed one.
        """
        return _Reader(io.BytesIO(image), name).functions()

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, offset: int) -> tuple[str, int] | None:
        """Return the function at an offset in the file, and how far into it that is."""
        address = self.address(offset)
        return None if address is None else self.at_address(address)

    def address(self, offset: int) -> int | None:
        """Return the address, as the file has it, of an offset in it; ``None`` if not loaded."""
        for start, address, size in self._segments:
            if start <= offset < start + size:
                return offset - start + address
        return None

    def at_address(self, address: int) -> tuple[str, int] | None:
        """Return the function at an address as the file has it, and how far into it that is."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        start = self._starts[index]
        size, name = self._symbols[start]
        # Assembler code often has no sizes; then a function reaches to the next.
        if size and address >= start + size:
            return None
        return name.decode(errors="replace"), address - start


class _Reader:
    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file = file
        self._path = path
        ident = self._bytes(0, 16)
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise ElfError("not an ELF file", path)
        self._order = "<" if ident[5] == 1 else ">"
        self._layout = _WIDE if ident[4] == 2 else _NARROW
        self._is_wide = ident[4] == 2

    def functions(self) -> Functions:
        place = 32 if self._is_wide else 28
        header = struct.Struct(self._order + self._layout.header)
        segments_at, sections_at, _, _, _, segments, _, sections = header.unpack(
            self._bytes(place, header.size)
        )
        loaded, build_id = [], b""
        for segment in self._segments(segments_at, segments):
            if segment.kind == _PT_LOAD:
                loaded.append((segment.offset, segment.address, segment.size))
            elif segment.kind == _PT_NOTE and not build_id:
                build_id = self._build_id(segment)
        return Functions(loaded, self._symbols(self._sections(sections_at, sections)), build_id)

    def _segments(self, place: int, count: int) -> list[_Segment]:
        rows = self._rows(self._layout.segment, place, count)
        if self._is_wide:
            return [_Segment(row[0], row[2], row[3], row[5]) for row in rows]
        return [_Segment(row[0], row[1], row[2], row[4]) for row in rows]

    def _sections(self, place: int, count: int) -> list[_Section]:
        rows = self._rows(self._layout.section, place, count)
        return [_Section(row[1], row[4], row[5], row[6]) for row in rows]

    def _symbols(self, sections: list[_Section]) -> dict[int, tuple[int, bytes]]:
        found: dict[int, tuple[int, bytes]] = {}
        layout = struct.Struct(self._order + self._layout.symbol)
        # The full table first: its names are the functions' own, not those of exported aliases.
        for kind in (_SHT_SYMTAB, _SHT_DYNSYM):
            for section in sections:
                if section.kind != kind or section.link >= len(sections):
                    continue
                strings = self._table(sections[section.link])
                data = self._table(section)
                whole = len(data) // layout.size * layout.size
                for row in layout.iter_unpack(memoryview(data)[:whole]):
                    name, value, size, info, section_index = self._fields(row)
                    if info & 15 not in (_STT_FUNC, _STT_IFUNC) or not value or value in found:
                        continue
                    if section_index == _SHN_UNDEF:  # a stub of somebody else's function
                        continue
                    found[value] = (size, strings[name : strings.find(b"\0", name)])
        return found

    def _fields(self, row: tuple[int, ...]) -> tuple[int, int, int, int, int]:
        if self._is_wide:
            return row[0], row[4], row[5], row[1], row[3]
        return row[0], row[1], row[2], row[3], row[5]

    # Notes: sizes of name and description, type u32; both padded to 4 bytes.
    def _build_id(self, segment: _Segment) -> bytes:
        data = self._bytes(segment.offset, min(segment.size, _MAX_NOTE))
        place = 0
        while place + 12 <= len(data):
            name, size, kind = struct.unpack_from(self._order + "III", data, place)
            start = place + 12 + (name + 3 & ~3)
            if kind == _NT_GNU_BUILD_ID and data[place + 12 : place + 16] == b"GNU\0":
                return data[start : start + size]
            place = start + (size + 3 & ~3)
        return b""

    def _rows(self, fields: str, place: int, count: int) -> list[tuple[int, ...]]:
        if count > _MAX_HEADERS:
            raise ElfError(f"{count} headers", self._path)
        layout = struct.Struct(self._order + fields)
        return list(layout.iter_unpack(self._bytes(place, count * layout.size)))

    def _table(self, section: _Section) -> bytes:
        if section.size > _MAX_TABLE:
            raise ElfError(f"section of {section.size} bytes", self._path)
        return self._bytes(section.offset, section.size)

    def _bytes(self, place: int, size: int) -> bytes:
        try:
            self._file.seek(place)
        except (OSError, OverflowError, ValueError):
            raise ElfError(f"nothing at {place:#x}", self._path) from None
        data = self._file.read(size)
        if len(data) != size:
            raise ElfError(f"{size} bytes at {place:#x} reach beyond its end", self._path)
        return data
