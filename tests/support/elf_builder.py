"""Writes ELF objects without a compiler: whole ones for tests, broken ones for the parser.

builder = ElfBuilder("big")
text = builder.code("xdp", [Instruction(0x95)])
builder.symbol("main", text, size=8)
load_spec(builder.build())
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.uapi.elf import (
    EM_BPF,
    ET_REL,
    R_BPF_64_64,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_REL,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_GLOBAL,
    STB_LOCAL,
    STT_FUNC,
    STT_OBJECT,
    STT_SECTION,
    STV_DEFAULT,
)

EXIT = Instruction(0x95)
MOV_0 = Instruction(0xB7)  # r0 = 0


def load_64(immediate: int = 0, *, dst: int = 1, src: int = 0) -> Instruction:
    """A 64-bit immediate load, as relocations of maps and data expect it."""
    return Instruction(0x18, dst, src, 0, immediate)


def call(immediate: int = -1, *, src: int = 1) -> Instruction:
    """A call of a function, as relocations expect it; ``src=0`` calls a helper."""
    return Instruction(0x85, 0, src, 0, immediate)


@dataclass
class _Section:
    name: str
    type: int
    flags: int
    data: bytes
    size: int
    relocations: list[tuple[int, int, int]] = field(default_factory=list)


class ElfBuilder:
    """Collects sections, symbols and relocations; `build` lays them out."""

    def __init__(
        self, byteorder: Literal["little", "big"] = "little", *, machine: int = EM_BPF
    ) -> None:
        self.byteorder: Literal["little", "big"] = byteorder
        self.machine = machine
        self.type = ET_REL
        self._order = "<" if byteorder == "little" else ">"
        self._sections = [_Section("", 0, 0, b"", 0)]
        self._symbols: list[tuple[str, int, int, int, int, int]] = []

    def section(
        self,
        name: str,
        data: bytes = b"",
        *,
        type: int = SHT_PROGBITS,  # noqa: A002
        flags: int = SHF_ALLOC | SHF_WRITE,
        size: int | None = None,
    ) -> int:
        """Add a section and return its number; *size* may lie about the data's."""
        size = len(data) if size is None else size
        self._sections.append(_Section(name, type, flags, data, size))
        return len(self._sections) - 1

    def code(self, name: str, instructions: Sequence[Instruction]) -> int:
        """Add a section of instructions."""
        data = encode_all(instructions, self.byteorder)
        return self.section(name, data, flags=SHF_ALLOC | SHF_EXECINSTR)

    def zeros(self, name: str, size: int) -> int:
        """Add a section that takes no room in the file."""
        return self.section(name, type=SHT_NOBITS, size=size)

    def license(self, text: str = "GPL") -> int:
        """Add the licence."""
        return self.section("license", text.encode() + b"\0")

    def symbol(
        self,
        name: str,
        section: int = 0,
        value: int = 0,
        size: int = 0,
        *,
        type: int = STT_FUNC,  # noqa: A002
        binding: int = STB_GLOBAL,
        visibility: int = STV_DEFAULT,
    ) -> int:
        """Add a symbol and return its number; section 0 leaves it undefined."""
        self._symbols.append((name, binding << 4 | type, visibility, section, value, size))
        return len(self._symbols)

    def object(self, name: str, section: int, value: int = 0, size: int = 0, **kind: int) -> int:
        """Add a symbol of a variable or map."""
        return self.symbol(name, section, value, size, type=STT_OBJECT, **kind)

    def section_symbol(self, section: int) -> int:
        """Add the nameless symbol of a whole section."""
        return self.symbol("", section, type=STT_SECTION, binding=STB_LOCAL)

    def relocate(self, section: int, offset: int, symbol: int, type: int = R_BPF_64_64) -> None:  # noqa: A002
        """Make *offset* in *section* refer to *symbol*."""
        self._sections[section].relocations.append((offset, type, symbol))

    def build(self) -> bytes:
        """Return the file."""
        sections = list(self._sections)
        strings = _Strings()
        symbols = self._pack_symbols(strings)
        table = len(sections)
        sections.append(_Section(".symtab", SHT_SYMTAB, 0, symbols, len(symbols)))
        links = {table: table + 1}
        infos = {}
        sections.append(_Section(".strtab", SHT_STRTAB, 0, b"", 0))
        for index, section in enumerate(self._sections):
            if section.relocations:
                data = b"".join(
                    struct.pack(f"{self._order}QQ", offset, symbol << 32 | kind)
                    for offset, kind, symbol in section.relocations
                )
                links[len(sections)], infos[len(sections)] = table, index
                sections.append(_Section(f".rel{section.name}", SHT_REL, 0, data, len(data)))
        names = [strings.add(section.name) for section in sections]
        sections[table + 1].data = bytes(strings.data)
        sections[table + 1].size = len(strings.data)
        return self._lay_out(sections, names, links, infos, table + 1)

    def _pack_symbols(self, strings: _Strings) -> bytes:
        packed = bytes(24)
        for name, info, other, section, value, size in self._symbols:
            packed += struct.pack(
                f"{self._order}IBBHQQ", strings.add(name), info, other, section, value, size
            )
        return packed

    def _lay_out(
        self,
        sections: list[_Section],
        names: list[int],
        links: dict[int, int],
        infos: dict[int, int],
        names_index: int,
    ) -> bytes:
        body = bytearray()
        headers = b""
        for index, section in enumerate(sections):
            body += bytes(-len(body) % 8)
            headers += struct.pack(
                f"{self._order}IIQQQQIIQQ",
                names[index], section.type, section.flags, 0, 64 + len(body), section.size,
                links.get(index, 0), infos.get(index, 0), 1, 0,
            )  # fmt: skip
            body += section.data
        body += bytes(-len(body) % 8)
        order = 1 if self.byteorder == "little" else 2
        identity = b"\x7fELF" + bytes([2, order, 1]) + bytes(9)
        header = identity + struct.pack(
            f"{self._order}HHIQQQIHHHHHH",
            self.type, self.machine, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64,
            min(len(sections), SHN_LORESERVE), names_index,
        )  # fmt: skip
        return header + bytes(body) + headers


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def add(self, text: str) -> int:
        if not text:
            return 0
        place = len(self.data)
        self.data += text.encode("utf-8", "surrogateescape") + b"\0"
        return place
