"""Which file a program's or library's name means, as the shell and the dynamic linker see it.

In: a path, "bash", "libssl.so.3" or just "c"; perhaps a process, whose root directory then counts
(containers) and whose mapped files are looked at first. Out: a path this process can open, or None.

The linker's cache, /etc/ld.so.cache (an older form may stand before it; offsets count from H):

    H "glibc-ld.so.cache1.1" 20: count u32, size of strings u32, flags u8 ... 48: entries
    entry  flags s32, name u32, path u32, osversion u32, hwcap u64
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cached", "find", "resolve"]

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER_SIZE = 48
_ENTRY = struct.Struct("=iIIIQ")
_MAX_LINKS = 40  # as the kernel
_PROGRAM_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARY_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
_MULTIARCH = re.compile(r"[a-z0-9_]+-linux-(gnu|musl)\w*")


def find(name: str, *, pid: int | None = None, root: str | None = None) -> str | None:
    """Return the path of the file *name* means, or ``None``.

    Args:
        name: A path (has a ``/``), a library (has ``.so``), or a program, else a library.
        pid: Look where this process looks.
        root: The directory that stands for ``/``; by default it is that, with every kernel: one
            that is made up for tests probes files of this machine, too.
    """
    top = Path(root or "/")
    base = top
    if pid is not None:
        base = top / "proc" / str(pid) / "root"
    if "/" in name:
        return _existing(base, name if name.startswith("/") else _from_here(name, pid, top))
    if not name or "\0" in name:
        return None
    if pid is not None:
        for path in _mapped(top, pid, name):
            if found := _existing(base, path):
                return found
    if ".so" not in name:
        search = _PROGRAM_DIRECTORIES if pid is not None else os.environ.get("PATH", os.defpath)
        for directory in search.split(":"):
            found = _existing(base, f"{directory or '.'}/{name}")
            if found and os.access(found, os.X_OK):
                return found
    return _library(base, name)


def cached(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and path of every library in the dynamic linker's cache; nothing if it is odd.

    Args:
        data: The file's content.
    """
    start = data.find(_MAGIC)
    if start < 0 or len(data) < start + _HEADER_SIZE:
        return
    data = data[start:]
    (count,) = struct.unpack_from("=I", data, len(_MAGIC))
    count = min(count, (len(data) - _HEADER_SIZE) // _ENTRY.size)
    for place in range(_HEADER_SIZE, _HEADER_SIZE + count * _ENTRY.size, _ENTRY.size):
        _, name, path, _, _ = _ENTRY.unpack_from(data, place)
        yield _string(data, name), _string(data, path)


def resolve(base: Path, path: str) -> Path | None:
    """Return the file that *path* names for a process whose root directory is *base*.

    Symbolic links with absolute targets would lead out of *base* if the kernel followed them for
    us, so they are followed here.

    Returns:
        A path without links below *base*, or ``None`` if there is no such file.
    """
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    here: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del here[-1:]
            continue
        try:
            target = os.readlink(base.joinpath(*here, part))
        except OSError:
            here.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            return None
        if target.startswith("/"):
            here = []
        waiting += [each for each in reversed(target.split("/")) if each not in ("", ".")]
    found = base.joinpath(*here)
    return found if found.is_file() else None


def _existing(base: Path, path: str) -> str | None:
    try:
        found = resolve(base, path)
    except (OSError, ValueError):
        return None
    return str(found) if found is not None else None


# A relative path counts from the directory that we, or the process, are in.
def _from_here(name: str, pid: int | None, top: Path) -> str:
    if pid is None:
        return str(Path(name).absolute())
    try:
        return f"{os.readlink(top / 'proc' / str(pid) / 'cwd')}/{name}"
    except OSError:
        return f"/{name}"


# What the process has mapped is what it runs, whatever a search would find now.
def _mapped(top: Path, pid: int, name: str) -> Iterator[str]:
    fits = _pattern(name)
    seen = set()
    try:
        text = (top / "proc" / str(pid) / "maps").read_text(errors="surrogateescape")
    except OSError:
        return
    for line in text.splitlines():
        # address perms offset dev inode path; the path may have blanks.
        path = line.split(maxsplit=5)[5:]
        if path and path[0].startswith("/") and path[0] not in seen:
            seen.add(path[0])
            if fits.fullmatch(path[0].rpartition("/")[2]):
                yield path[0]


def _library(base: Path, name: str) -> str | None:
    fits = _pattern(name)
    own = _machine(sys.executable)
    others = []
    # The linker takes the first of a name; of several versions the highest one is meant.
    candidates = sorted(_libraries(base, fits), key=_version, reverse=True)
    for path in candidates:
        found = _existing(base, path)
        machine = _machine(found) if found else None
        if found and machine == own:
            return found
        if found and machine:
            others.append(found)
    return others[0] if others else None


def _libraries(base: Path, fits: re.Pattern[str]) -> list[str]:
    cache = resolve(base, "/etc/ld.so.cache")
    try:
        data = cache.read_bytes() if cache else b""
    except OSError:
        data = b""
    found = [path for name, path in cached(data) if fits.fullmatch(name)]
    for directory in _LIBRARY_DIRECTORIES:
        found += _matching(base, directory, fits)
        for each in _entries(base, directory):
            if _MULTIARCH.fullmatch(each):
                found += _matching(base, f"{directory}/{each}", fits)
    return list(dict.fromkeys(found))


def _matching(base: Path, directory: str, fits: re.Pattern[str]) -> list[str]:
    return [f"{directory}/{name}" for name in _entries(base, directory) if fits.fullmatch(name)]


def _entries(base: Path, directory: str) -> list[str]:
    try:
        return os.listdir(base / directory.lstrip("/"))
    except OSError:
        return []


# "libssl.so.3" is that file or one with more version numbers; "ssl" any version of libssl.so.
def _pattern(name: str) -> re.Pattern[str]:
    if ".so" in name:
        return re.compile(re.escape(name) + r"(\.\d+)*")
    return re.compile(rf"(lib)?{re.escape(name)}|lib{re.escape(name)}\.so(\.\d+)*")


# The exact name first ("libssl.so.3" before "libssl.so.3.0"), then the highest version.
def _version(path: str) -> tuple[int, ...]:
    _, _, numbers = path.rpartition("/")[2].partition(".so")
    return tuple(int(part) for part in numbers.split(".") if part.isdecimal())


# Class, byte order and machine of an ELF file; None for anything else (linker scripts).
def _machine(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            start = file.read(20)
    except OSError:
        return None
    return start[4:6] + start[18:20] if start[:4] == b"\x7fELF" and len(start) == 20 else None


def _string(data: bytes, place: int) -> str:
    end = data.find(b"\0", place)
    return data[place:end].decode(errors="surrogateescape") if 0 <= place <= end else ""
