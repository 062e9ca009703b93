"""Where in a binary a function starts, for uprobes.

In: an ELF file and a function's name, perhaps with its version ("memcpy@GLIBC_2.14"). Out: the
function's offset in the file, which is what the kernel wants. A symbol's value is a virtual
address; a PT_LOAD segment says where in the file that is:

    file     |offset ......|p_offset ....  code  .... |
    memory             |p_vaddr .....  value  ....|          offset = value - p_vaddr + p_offset

which holds alike for libraries, position-independent programs and static ones.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from pyebpf.errors import ElfError, LoadError, SyscallError
from pyebpf.host import libraries
from pyebpf.typed import IO, NamedTuple

__all__ = ["file_offset", "find_file", "matching_offsets"]

_STT_FUNC, _STT_IFUNC = 2, 10
_FUNCTIONS = (_STT_FUNC, _STT_IFUNC)
_STB_LOCAL, _STB_WEAK = 0, 2
_PF_X = 1
_VERSION_HIDDEN, _VERSION_INDEX = 0x8000, 0x7FFF

# A symbol table, or its strings, beyond this is not read; 2 GB programs stay below.
_MAX_SECTION = 1 << 29
# What fits e_shnum; real files have a few dozen.
_MAX_HEADERS = 0xFFFF
# Names an unknown one is compared with; more would take seconds.
_MAX_NAMES = 20_000


def find_file(
    path: str | os.PathLike[str], *, pid: int | None = None, root: str | None = None
) -> str:
    """Return the file that *path* means.

    Args:
        path: A path, or a name without ``/``: with ``.so`` in it a library, looked up as the
            dynamic linker would; else a program on ``PATH``, else a library (``"c"`` is
            ``libc.so.6``).
        pid: Look where this process looks: in its root directory and mount namespace.
        root: The directory that stands for ``/``.

    Raises:
        LoadError: No such file.
    """
    text = os.fspath(path)
    found = libraries.find(text, pid=pid, root=root)
    if found is None:
        where = f" for process {pid}" if pid is not None else ""
        raise LoadError(text, f'no program or library "{text}"{where}')
    return found


def file_offset(path: str | os.PathLike[str], symbol: str) -> int:
    """Return where in the file the function *symbol* starts.

    Looks into ``.dynsym``, then into ``.symtab``, which stripped programs lack.

    Args:
        path: An ELF program or library.
        symbol: The function; ``name@VERSION`` for another than its default version.

    Raises:
        LoadError: No such function (near names are given), several of that name at different
            places, or an indirect one.
        ElfError: Not an ELF file, or a malformed one.
        SyscallError: The file cannot be read.
    """
    text = os.fspath(path)
    try:
        with Path(text).open("rb") as file:
            image = _Image(file, text)
            return image.offset(_value(image, symbol))
    except OSError as error:
        raise SyscallError("open", error.errno or 0, text) from None


def matching_offsets(path: str | os.PathLike[str], pattern: str) -> list[int]:
    """Return where in the file the functions start whose names match, in order, each once.

    Args:
        path: An ELF program or library.
        pattern: With ``*``, ``?`` and ``[...]`` as the shell has them.

    Raises:
        ElfError: Not an ELF file, or a malformed one.
        SyscallError: The file cannot be read.
    """
    text = os.fspath(path)
    fits = re.compile(fnmatch.translate(pattern))
    try:
        with Path(text).open("rb") as file:
            image = _Image(file, text)
            tables = (image.table(kind) for kind in ("SHT_DYNSYM", "SHT_SYMTAB"))
            values = {
                each.value
                for table in tables
                if table is not None
                for each in image.symbols(table, None)
                if each.kind == _STT_FUNC and each.defined and fits.match(each.name)
            }
            return sorted(map(image.offset, values))
    except OSError as error:
        raise SyscallError("open", error.errno or 0, text) from None


class _Symbol(NamedTuple):
    name: str
    version: str
    default: bool  # of several versions the one a plain name means
    value: int
    kind: int
    binding: int
    defined: bool


class _Table(NamedTuple):
    entries: bytes
    strings: bytes
    versions: bytes  # u16 per symbol, or nothing
    version_names: dict[int, str]


# The tables of an ELF file. pyelftools reads the headers; the loops over the symbols are ours, as
# some programs have a million.
class _Image:
    def __init__(self, file: IO[bytes], path: str) -> None:
        from elftools.elf.elffile import ELFFile

        self._file = file
        self.path = path
        try:
            elf = ELFFile(file)
            if max(elf.num_sections(), elf.num_segments()) > _MAX_HEADERS:
                raise ValueError("too many headers")
            self._order = "<" if elf.little_endian else ">"
            self._wide = elf.elfclass == 64
            self._arm = elf.header["e_machine"] == "EM_ARM"
            self._sections = [dict(each.header) for each in elf.iter_sections()]
            self._loads = [
                {key: int(each[key]) for key in ("p_vaddr", "p_filesz", "p_offset", "p_flags")}
                for each in elf.iter_segments("PT_LOAD")
            ]
        except Exception as error:  # pyelftools lets anything out of a broken file
            raise ElfError(f"not a readable ELF file: {error}", path) from None

    # Name in pyelftools' words ("SHT_DYNSYM").
    def table(self, kind: str) -> _Table | None:
        for section in self._sections:
            if section["sh_type"] == kind:
                break
        else:
            return None
        versions, version_names = b"", {}
        if kind == "SHT_DYNSYM":
            versions = self._data(self._first("SHT_GNU_versym"))
            version_names = self._version_names(self._first("SHT_GNU_verdef"))
        return _Table(
            self._data(section), self._data(self._linked(section)), versions, version_names
        )

    # Symbols whose name, without a version, is *name*; all if it is None.
    def symbols(self, table: _Table, name: str | None) -> Iterator[_Symbol]:
        layout = struct.Struct(self._order + ("IBBHQQ" if self._wide else "IIIBBH"))
        whole = len(table.entries) // layout.size * layout.size
        wanted = None if name is None else _places(table.strings, name.encode())
        entries = layout.iter_unpack(memoryview(table.entries)[:whole])
        for index, entry in enumerate(entries):
            if wanted is not None and entry[0] not in wanted:
                continue
            if self._wide:
                start, info, _, section, value, _ = entry
            else:
                start, value, _, info, _, section = entry
            yield self._symbol(table, index, start, info, section, value)

    def offset(self, value: int) -> int:
        """Return the place in the file of a virtual address."""
        if self._arm:
            value &= ~1  # set for Thumb code
        for load in self._loads:
            start = load["p_vaddr"]
            if load["p_flags"] & _PF_X and start <= value < start + load["p_filesz"]:
                return value - start + load["p_offset"]
        raise ElfError(f"address {value:#x} is in no executable segment", self.path)

    def _symbol(
        self, table: _Table, index: int, start: int, info: int, section: int, value: int
    ) -> _Symbol:
        end = table.strings.find(b"\0", start)
        text = table.strings[start : end if end >= 0 else None].decode(errors="replace")
        name, at, version = text.partition("@")
        default = not at or version.startswith("@")
        version = version.lstrip("@")
        if table.versions and len(table.versions) >= index * 2 + 2:
            (number,) = struct.unpack_from(self._order + "H", table.versions, index * 2)
            default = not number & _VERSION_HIDDEN
            version = table.version_names.get(number & _VERSION_INDEX, "")
        return _Symbol(name, version, default, value, info & 15, info >> 4, section != 0)

    def _first(self, kind: str) -> dict[str, object] | None:
        return next((each for each in self._sections if each["sh_type"] == kind), None)

    def _linked(self, section: dict[str, object]) -> dict[str, object] | None:
        number = section["sh_link"]
        if isinstance(number, int) and number < len(self._sections):
            return self._sections[number]
        raise ElfError(f"symbol table links to section {number}", self.path)

    def _data(self, section: dict[str, object] | None) -> bytes:
        if section is None:
            return b""
        offset, size = section["sh_offset"], section["sh_size"]
        if not isinstance(offset, int) or not isinstance(size, int) or size > _MAX_SECTION:
            raise ElfError(f"section of {size} bytes", self.path)
        try:
            self._file.seek(offset)
        except (OSError, OverflowError, ValueError):
            raise ElfError(f"section at {offset:#x}", self.path) from None
        data = self._file.read(size)
        if len(data) != size:
            raise ElfError(f"section at {offset:#x} reaches beyond the file's end", self.path)
        return data

    # Verdef: version, flags, ndx, cnt u16; hash, aux, next u32. Its aux: name, next u32.
    def _version_names(self, section: dict[str, object] | None) -> dict[int, str]:
        names: dict[int, str] = {}
        if section is None:
            return names
        data, strings = self._data(section), self._data(self._linked(section))
        definition, auxiliary = struct.Struct(self._order + "HHHHIII"), self._order + "I"
        place = 0
        while place + definition.size <= len(data) and len(names) <= _VERSION_INDEX:
            _, _, number, _, _, aux, following = definition.unpack_from(data, place)
            if place + aux + 4 > len(data):
                break
            (start,) = struct.unpack_from(auxiliary, data, place + aux)
            names[number & _VERSION_INDEX] = (
                strings[start:].split(b"\0", 1)[0].decode(errors="replace")
            )
            if not following:
                break
            place += following
        return names


# Every offset at which a string may start that is *name*, alone or with a version: linkers let
# names share their ends, so not only those after a NUL.
def _places(strings: bytes, name: bytes) -> set[int]:
    places = set()
    found = strings.find(name)
    while name and found >= 0:
        if strings[found + len(name) : found + len(name) + 1] in (b"\0", b"@"):
            places.add(found)
        found = strings.find(name, found + 1)
    return places


def _value(image: _Image, symbol: str) -> int:
    name, _, version = symbol.partition("@")
    version = version.lstrip("@")
    seen: list[_Symbol] = []
    for kind in ("SHT_DYNSYM", "SHT_SYMTAB"):
        table = image.table(kind)
        if table is None:
            continue
        named = [
            each
            for each in image.symbols(table, name)
            if each.name == name and (not version or each.version == version)
        ]
        seen += named
        functions = [each for each in named if each.defined and each.kind in _FUNCTIONS]
        if functions:
            return _only(image, symbol, functions)
    raise LoadError(symbol, f"no function {symbol} in {image.path}{_why(image, name, seen)}")


# The best of several: the default version before older ones, global before weak before local.
def _only(image: _Image, symbol: str, functions: list[_Symbol]) -> int:
    ranks = {_STB_WEAK: 1, _STB_LOCAL: 2}

    def rank(each: _Symbol) -> tuple[bool, int]:
        return not each.default, ranks.get(each.binding, 0)

    best = min(map(rank, functions))
    chosen = [each for each in functions if rank(each) == best]
    if any(each.kind == _STT_IFUNC for each in chosen):
        raise LoadError(
            symbol,
            f"function {symbol} in {image.path} is indirect: probe one of those it chooses from",
        )
    values = sorted({each.value for each in chosen})
    if len(values) > 1:
        places = ", ".join(f"{image.offset(value):#x}" for value in values[:5])
        raise LoadError(
            symbol, f"{len(values)} functions {symbol} in {image.path}: use an offset ({places})"
        )
    return values[0]


def _why(image: _Image, name: str, seen: list[_Symbol]) -> str:
    if any(not each.defined for each in seen):
        return " (it is imported: probe the library that defines it)"
    names: set[str] = set()
    for kind in ("SHT_DYNSYM", "SHT_SYMTAB"):
        table = image.table(kind)
        if table is None:
            continue
        for each in image.symbols(table, None):
            if each.kind == _STT_FUNC and each.defined:
                names.add(each.name)
            if len(names) >= _MAX_NAMES:
                break
    if not names:
        return " (it has no symbols at all: give the function's offset in the file)"

    import difflib

    near = difflib.get_close_matches(name, names)
    return f" (near: {', '.join(near)})" if near else ""
