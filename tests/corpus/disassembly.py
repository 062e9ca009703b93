"""Disassembles other people's objects beside llvm-objdump, and reads the text back.

    python -m tests.corpus.disassembly DIR [--objdump llvm-objdump-22]

Each ``*.o`` below DIR is listed by both, with and without lines of source; the texts must be equal
but for white space. Then the text of each code section must parse back into its bytes: the text
that LLVM prints but for what a call is to, which it leaves out, and the lossless one altogether.
"""

from __future__ import annotations

import argparse
import difflib
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from pyebpf.asm.instruction import ByteOrder, Instruction, decode_all, encode_all
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.asm.parse import parse
from pyebpf.asm.text import disassemble
from pyebpf.elf.listing import listing
from pyebpf.elf.reader import Elf
from pyebpf.errors import EbpfError

NEWEST = 22  # whose text ours is


def find_objdump() -> str | None:
    """Return the llvm-objdump whose text ours is, or ``None``."""
    return shutil.which(f"llvm-objdump-{NEWEST}")


def listed(objdump: str, path: pathlib.Path, *options: str) -> list[str]:
    """Return the lines that llvm-objdump prints, without the name of the file."""
    command = [objdump, "-d", "--no-show-raw-insn", "--mcpu=v4", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return comparable(done.stdout.split("\n", 2)[2])


def comparable(text: str) -> list[str]:
    """Return lines without differences in white space; empty ones are left out."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line]


def differences(objdump: str, path: pathlib.Path) -> Iterator[str]:
    """Yield what is not as it should be about an object."""
    elf = Elf(path.read_bytes())
    # Where both know lines, LLVM prefers DWARF's.
    with_lines = elf.section(".BTF.ext") is not None and elf.section(".debug_line") is None
    for sources in (False, True) if with_lines else (False,):
        theirs = listed(objdump, path, *(["-S", "-l"] if sources else []))
        ours = comparable(listing(path, sources=sources, files=sources))
        if theirs != ours:
            shown = list(difflib.unified_diff(theirs, ours, "llvm", "pyebpf", lineterm="", n=0))
            yield "\n".join(shown[:20])
    for section in elf.sections:
        if not section.executable:
            continue
        code = bytes(section.data())
        if reread(code, elf.byteorder, lossless=True) != code:
            yield f"section {section.name}: lossless text means other bytes"
        read = reread(code, elf.byteorder, lossless=False)
        if meaning(read, elf.byteorder) != meaning(code, elf.byteorder):
            yield f"section {section.name}: text means other bytes"


def reread(code: bytes, byteorder: ByteOrder, *, lossless: bool) -> bytes:
    """Return the bytes of the text of code; distances are taken as they are."""
    read = parse(disassemble(code, byteorder, lossless=lossless), byteorder)
    return encode_all((each for each in read.items if isinstance(each, Instruction)), byteorder)


def meaning(code: bytes, byteorder: ByteOrder) -> list[tuple[int, ...]]:
    """Return what LLVM's text says: not whom a call is to, nor what the upper half of a load is."""
    return [
        (
            each.opcode,
            each.dst,
            0 if each.opcode == CALL else each.src,
            each.offset,
            each.immediate & 0xFFFF_FFFF
            if each.opcode == LOAD_IMMEDIATE_64 and each.src
            else each.immediate,
        )
        for each in decode_all(code, byteorder)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--objdump", default=find_objdump())
    options = parser.parse_args()
    if options.objdump is None:
        print(f"llvm-objdump-{NEWEST} (Debian: llvm-{NEWEST}) is not installed", file=sys.stderr)
        return 2
    paths = sorted(path for path in options.directory.rglob("*.o") if path.is_file())
    lines = bad = 0
    for path in paths:
        try:
            found = list(differences(options.objdump, path))
            lines += len(re.findall(r"^ *\d+:", listing(path), re.MULTILINE))
        except (EbpfError, subprocess.CalledProcessError) as error:
            found = [f"{type(error).__name__}: {error}"]
        bad += bool(found)
        for each in found:
            print(f"{path}: {each}")
    print(f"{len(paths)} objects, {lines} instructions, {bad} objects with differences")
    return 1 if bad or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
