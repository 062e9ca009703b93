"""The listing of an object file: what ``llvm-objdump -d --no-show-raw-insn --mcpu=v4`` prints.

A file comes in, the text of all its code sections goes out, before any linking: calls and loads
stand as they are in the file, with the values that relocations replace. `ProgramSpec.disassemble`
shows the same code linked, with names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pyebpf.asm.opcode import SLOT_SIZE
from pyebpf.asm.text import disassemble
from pyebpf.btf.btf import Btf
from pyebpf.btf.ext import LineInfo, decode_ext
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.errors import SourceLine, naming
from pyebpf.uapi.elf import STB_LOCAL, STT_FUNC

__all__ = ["listing"]

COLUMN_BITS = 10  # below the line: BPF_LINE_INFO_LINE_COL in linux/bpf.h


def listing(
    source: str | os.PathLike[str] | bytes,
    *,
    raw_bytes: bool = False,
    sources: bool = False,
    files: bool = False,
    lossless: bool = False,
) -> str:
    """List the code of an object file.

    Args:
        source: A path, or the file's bytes.
        raw_bytes: Print the bytes of instructions too.
        sources: Print the lines of source that BTF knows, as ``-S`` does.
        files: And where they stand, as ``-l`` does.
        lossless: Print only what means the very bytes, as `disassemble` has it.

    Returns:
        The text of each code section behind its heading.

    Raises:
        ElfError: Not an eBPF object, or a malformed one.
        BtfError: *sources* are asked for and its BTF is malformed.
        AsmError: Its code is malformed.
        OSError: The file cannot be read.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    elf = Elf(data)
    lines = _lines(elf) if sources or files else {}
    found = []
    for section in elf.sections:
        if not section.executable:
            continue
        with naming(f"section {section.name}"):
            text = disassemble(
                section.data(),
                elf.byteorder,
                labels=_labels(elf, section),
                lines=lines.get(section.name),
                files=files,
                raw_bytes=raw_bytes,
                lossless=lossless,
            )
        found.append(f"\nDisassembly of section {section.name}:\n\n{text}")
    return "".join(found)


# Names by slot. LLVM starts a section without a name at its start with the section's own.
def _labels(elf: Elf, section: Section) -> dict[int, str]:
    labels = {0: section.name}
    for symbol in sorted(elf.labels_in(section), key=_priority):
        if symbol.value % SLOT_SIZE == 0 and symbol.value < section.size:
            labels[symbol.value // SLOT_SIZE] = symbol.name
    return labels


# Of several names for one place the last one wins: a function before a label.
def _priority(symbol: Symbol) -> tuple[bool, bool, str]:
    return symbol.type == STT_FUNC, symbol.binding != STB_LOCAL, symbol.name


# Lines of source by section and slot.
def _lines(elf: Elf) -> dict[str, dict[int, SourceLine]]:
    types, ext = elf.section(".BTF"), elf.section(".BTF.ext")
    if types is None or ext is None:
        return {}
    btf = Btf.decode(bytes(types.data()))
    tables = decode_ext(bytes(ext.data()), btf).line_info
    return {name: _by_slot(btf, table) for name, table in tables.items()}


def _by_slot(btf: Btf, table: Iterable[LineInfo]) -> dict[int, SourceLine]:
    found = {}
    for each in table:
        line, column = divmod(each.column, 1 << COLUMN_BITS)
        source = SourceLine(btf.string(each.file), line, column, btf.string(each.line))
        found[each.offset // SLOT_SIZE] = source
    return found
