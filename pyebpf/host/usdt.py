r"""USDT probes that a program or library holds: its notes, and where they point.

    section .note.stapsdt     |namesz 4|descsz 4|type 4 = 3|"stapsdt\\0"| desc, padded to 4 |
    desc                      |pc|base|semaphore|, a long each, provider\\0 name\\0 arguments\\0

``pc`` is the address of a nop that the probe goes to, ``semaphore`` that of a counter the program
looks at before it works out arguments (0: none). ``base`` is where section .stapsdt.base was when
that was written: a prelinked file has it elsewhere, and everything moves along.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from pyebpf.errors import ElfError, SyscallError
from pyebpf.typed import IO, NamedTuple

__all__ = ["UsdtNote", "usdt_notes"]

_TYPE = 3  # NT_STAPSDT
_OWNER = b"stapsdt\0"
_PF_X = 1
_MAX_SECTION = 1 << 27


class UsdtNote(NamedTuple):
    """One place of a probe; an inlined function has its probes in several.

    Attributes:
        provider: Such as ``"python"``.
        name: Such as ``"gc__start"``.
        arguments: Where they are: ``"8@%rdi -4@%esi"``.
        offset: The place in the file.
        semaphore: Of the counter in the file, 0 without.
        address: The place in the program's own addresses.
        relocatable: It is loaded anywhere (libraries, position-independent programs).
    """

    provider: str
    name: str
    arguments: str
    offset: int
    semaphore: int
    address: int
    relocatable: bool


def usdt_notes(path: str | os.PathLike[str]) -> list[UsdtNote]:
    """Return all USDT probes of a file, in order.

    Raises:
        ElfError: Not an ELF file, or a malformed one.
        SyscallError: It cannot be read.
    """
    text = os.fspath(path)
    try:
        with Path(text).open("rb") as file:
            return _read(file, text)
    except OSError as error:
        raise SyscallError("open", error.errno or 0, text) from None
    except (ElfError, MemoryError):
        raise
    except Exception as error:  # pyelftools lets anything out of a broken file
        raise ElfError(f"not a readable ELF file: {error}", text) from None


def _read(file: IO[bytes], path: str) -> list[UsdtNote]:
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(file)
    section = elf.get_section_by_name(".note.stapsdt")
    if section is None:
        return []
    if section["sh_size"] > _MAX_SECTION:
        raise ElfError(f"section .note.stapsdt of {section['sh_size']} bytes", path)
    base = elf.get_section_by_name(".stapsdt.base")
    loads = [
        (each["p_vaddr"], each["p_filesz"], each["p_offset"], bool(each["p_flags"] & _PF_X))
        for each in elf.iter_segments("PT_LOAD")
    ]
    order = "<" if elf.little_endian else ">"
    word = "Q" if elf.elfclass == 64 else "I"
    relocatable = elf.header["e_type"] == "ET_DYN"
    found = []
    for desc in _descriptions(section.data(), order, path):
        pc, said_base, semaphore, (provider, name, places) = _split(desc, order, word, path)
        # Prelinked: everything has moved as far as this section.
        moved = base["sh_addr"] - said_base if base is not None and said_base else 0
        pc, semaphore = pc + moved, semaphore + moved if semaphore else 0
        found.append(
            UsdtNote(
                provider,
                name,
                places,
                offset=_file_offset(pc, loads, path, code=True),
                semaphore=_file_offset(semaphore, loads, path, code=False) if semaphore else 0,
                address=pc,
                relocatable=relocatable,
            )
        )
    return found


def _descriptions(data: bytes, order: str, path: str) -> Iterator[bytes]:
    place = 0
    while place + 12 <= len(data):
        name_size, size, kind = struct.unpack_from(f"{order}III", data, place)
        name_at = place + 12
        at = name_at + name_size + -name_size % 4
        end = at + size
        if end > len(data):
            raise ElfError("a note reaches beyond its section", f"{path}: .note.stapsdt")
        if kind == _TYPE and data[name_at : name_at + name_size] == _OWNER:
            yield data[at:end]
        place = end + -size % 4


def _split(desc: bytes, order: str, word: str, path: str) -> tuple[int, int, int, list[str]]:
    layout = struct.Struct(f"{order}3{word}")
    texts = desc[layout.size :].split(b"\0")
    if len(desc) < layout.size or len(texts) < 4:
        raise ElfError("a probe's note is cut short", f"{path}: .note.stapsdt")
    pc, base, semaphore = layout.unpack_from(desc)
    return pc, base, semaphore, [text.decode(errors="replace") for text in texts[:3]]


def _file_offset(
    address: int, loads: list[tuple[int, int, int, bool]], path: str, *, code: bool
) -> int:
    for start, size, offset, executable in loads:
        if executable == code and start <= address < start + size:
            return address - start + offset
    kind = "executable" if code else "data"
    raise ElfError(f"address {address:#x} is in no {kind} segment", f"{path}: .note.stapsdt")
