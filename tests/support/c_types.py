"""C types seen by compilers: offsets and values as gcc has them, BTF as clang writes it.

Without a compiler the tests that need one are skipped with its name.
"""

from __future__ import annotations

import functools
import pathlib
import shutil
import struct
import subprocess
import tempfile
from typing import NamedTuple

import pytest

from tests.support import programs

TARGETS = {"little": "bpfel", "big": "bpfeb"}


class Object(NamedTuple):
    """Sections of a compiled object, by name, as far as they have bytes."""

    sections: dict[str, bytes]

    @property
    def btf(self) -> bytes:
        return self.sections[".BTF"]


def clang() -> str:
    """Return the newest clang, or skip."""
    versions = programs.clang_versions()
    if not versions:
        pytest.skip("clang 14 or newer")
    return f"clang-{versions[-1]}"


def gcc() -> str:
    """Return a C compiler for this machine, or skip."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("gcc")
    return found


@functools.cache
def compile_bpf(source: str, byteorder: str = "little", compiler: str | None = None) -> Object:
    """Compile C to a BPF object with BTF, and return its sections."""
    with tempfile.TemporaryDirectory() as directory:
        output, path = pathlib.Path(directory, "x.o"), pathlib.Path(directory, "x.c")
        path.write_text(source)
        command = [compiler or clang(), "-target", TARGETS[byteorder], "-g", "-O2", "-c"]
        command += ["-mcpu=v3", str(path), "-o", str(output)]
        subprocess.run(command, check=True)
        return Object(_sections(output.read_bytes(), "<" if byteorder == "little" else ">"))


def run_native(source: str) -> bytes:
    """Compile C for this machine, run it, and return what it wrote."""
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory, "x")
        command = [gcc(), "-w", "-x", "c", "-", "-o", str(output)]
        subprocess.run(command, input=source, text=True, check=True)
        return subprocess.run([output], check=True, capture_output=True).stdout


def _sections(elf: bytes, order: str) -> dict[str, bytes]:
    (table,) = struct.unpack_from(order + "Q", elf, 40)
    size, count, names = struct.unpack_from(order + "3H", elf, 58)
    headers = [
        struct.unpack_from(order + "2I4Q", elf, table + number * size) for number in range(count)
    ]
    base = headers[names][4]
    found = {}
    for name, kind, _, _, offset, length in headers:
        text = elf[base + name : elf.index(b"\0", base + name)].decode()
        found[text] = b"" if kind == 8 else elf[offset : offset + length]
    return found
