"""File offsets of functions, compared with what binutils say; broken files."""

from __future__ import annotations

import contextlib
import pathlib
import random
import re
import shutil
import struct
import subprocess

import pytest

from pyebpf.errors import BtfError, ElfError, LoadError, SyscallError
from pyebpf.host.kernel_btf import read_btf
from pyebpf.host.symbols import file_offset, find_file

SOURCE = """
int value;
static int hidden(void) { return 1; }
__attribute__((noinline)) int target(int x) { value += x; return hidden(); }
__attribute__((weak)) int weak_one(void) { return 2; }
static int (*choose(void))(int) { return target; }
int indirect(int) __attribute__((ifunc("choose")));
int main(void) { return target(3); }
"""
VERSIONED = """
__asm__(".symver old_step,step@V1");
__asm__(".symver new_step,step@@V2");
int old_step(void) { return 1; }
int new_step(void) { return 2; }
"""
VERSIONS = "V1 { global: step; local: *; }; V2 { global: step; } V1;"

KINDS = {
    "pie": ["-pie", "-fPIE"],
    "no-pie": ["-no-pie"],
    "static": ["-static"],
    "static-pie": ["-static-pie", "-fPIE"],
    "shared": ["-shared", "-fPIC"],
    "far": ["-no-pie", "-Wl,-Ttext-segment=0x40000000"],
}


def compiled(directory: pathlib.Path, options: list[str], **sources: str) -> pathlib.Path:
    if shutil.which("cc") is None or shutil.which("objdump") is None:
        pytest.skip("no C compiler, or no objdump")
    paths = []
    for name, text in sources.items():
        path = directory / f"{name}.c"
        path.write_text(text)
        paths.append(str(path))
    out = directory / "binary"
    command = ["cc", "-O1", "-w", *options, "-o", str(out), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot link {' '.join(options)}: {done.stderr.splitlines()[-1][:80]}")
    return out


def objdumps_offset(path: pathlib.Path, symbol: str) -> int:
    command = ["objdump", "-d", "-F", f"--disassemble={symbol}", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(rf"<{symbol}> \(File Offset: (0x[0-9a-f]+)\):", text)
    assert match is not None
    return int(match[1], 16)


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_are_those_of_objdump(tmp_path: pathlib.Path, kind: str) -> None:
    """Global, weak and static functions, however the file is linked."""
    path = compiled(tmp_path, KINDS[kind], main=SOURCE)
    for symbol in ("target", "weak_one", "main"):
        assert file_offset(path, symbol) == objdumps_offset(path, symbol), symbol


def test_a_stripped_program_keeps_its_dynamic_symbols(tmp_path: pathlib.Path) -> None:
    """What was only in .symtab is gone, and the error says what is near."""
    path = compiled(tmp_path, ["-shared", "-fPIC"], main=SOURCE)
    offset = file_offset(path, "target")
    subprocess.run(["strip", str(path)], check=True)
    assert file_offset(path, "target") == offset
    with pytest.raises(LoadError, match=r"no function targt in .*near: target"):
        file_offset(path, "targt")
    with pytest.raises(LoadError, match="no function choose"):
        file_offset(path, "choose")


def test_a_program_without_symbols_says_so(tmp_path: pathlib.Path) -> None:
    """Static and stripped: nothing to look for."""
    path = compiled(tmp_path, ["-static"], main=SOURCE)
    subprocess.run(["strip", str(path)], check=True)
    with pytest.raises(LoadError, match="no symbols at all"):
        file_offset(path, "target")


def test_an_indirect_function_is_refused(tmp_path: pathlib.Path) -> None:
    """A probe on its resolver would be hit once, at start, if at all."""
    path = compiled(tmp_path, ["-shared", "-fPIC"], main=SOURCE)
    with pytest.raises(LoadError, match="indirect"):
        file_offset(path, "indirect")


def test_an_imported_function_is_elsewhere(tmp_path: pathlib.Path) -> None:
    """The program only has its name."""
    source = 'int puts(const char *); int main(void) { return puts("x"); }'
    path = compiled(tmp_path, [], main=source)
    with pytest.raises(LoadError, match="imported"):
        file_offset(path, "puts")


def test_a_version_chooses_its_function(tmp_path: pathlib.Path) -> None:
    """A plain name is the default version."""
    script = tmp_path / "versions"
    script.write_text(VERSIONS)
    options = ["-shared", "-fPIC", f"-Wl,--version-script={script}"]
    path = compiled(tmp_path, options, main=VERSIONED)
    old, new = file_offset(path, "step@V1"), file_offset(path, "step@V2")
    assert old != new
    assert file_offset(path, "step") == file_offset(path, "step@@V2") == new
    with pytest.raises(LoadError, match="no function step@V3"):
        file_offset(path, "step@V3")


def test_several_functions_of_a_name_are_ambiguous(tmp_path: pathlib.Path) -> None:
    """Static ones in two files: the error gives the offsets to choose from."""
    twin = "static int __attribute__((noinline)) twin(int x) { return x + %d; }"
    sources = {
        name: twin % number + f" int {name}(int x) {{ return twin(x) * 3; }}"
        for number, name in enumerate(("one", "two"))
    }
    path = compiled(tmp_path, [], main="int main(void) { return 0; }", **sources)
    with pytest.raises(LoadError, match=r"2 functions twin .*use an offset \(0x\w+, 0x\w+\)"):
        file_offset(path, "twin")


def test_an_object_file_has_no_addresses(tmp_path: pathlib.Path) -> None:
    """Relocatable: no segment holds anything."""
    path = compiled(tmp_path, ["-c"], main=SOURCE)
    with pytest.raises(ElfError, match="no executable segment"):
        file_offset(path, "target")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" * 50])
def test_what_is_no_elf_is_an_elf_error(tmp_path: pathlib.Path, content: bytes) -> None:
    """Which names the file; a missing one is a SyscallError."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ElfError, match="file"):
        file_offset(path, "main")
    with pytest.raises(SyscallError):
        file_offset(tmp_path / "missing", "main")


def test_damaged_files_give_library_errors_only(tmp_path: pathlib.Path) -> None:
    """Random damage to headers and tables: an offset, or one of our errors."""
    whole = compiled(tmp_path, ["-shared", "-fPIC"], main=SOURCE).read_bytes()
    path = tmp_path / "damaged"
    seed = 20240229
    chance = random.Random(seed)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            # The headers at both ends are where it hurts.
            place = chance.choice(
                [chance.randrange(64), chance.randrange(len(data)), -chance.randrange(1, 2000)]
            )
            data[place] = chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        for symbol in ("target", "absent"):
            with contextlib.suppress(ElfError, LoadError):
                file_offset(path, symbol)


def test_a_claim_of_endless_sections_is_refused(tmp_path: pathlib.Path) -> None:
    """Section headers of no size, as many as section 0 says: 2**60."""
    data = bytearray(compiled(tmp_path, ["-shared", "-fPIC"], main=SOURCE).read_bytes())
    if data[4] != 2:
        pytest.skip("not a 64-bit machine")
    (table,) = struct.unpack_from("=Q", data, 40)
    struct.pack_into("=HH", data, 58, 0, 0)  # e_shentsize, e_shnum
    struct.pack_into("=Q", data, table + 32, 1 << 60)  # sh_size
    path = tmp_path / "endless"
    path.write_bytes(data)
    with pytest.raises(ElfError):
        file_offset(path, "target")
    with pytest.raises(BtfError):
        read_btf(path)


def test_the_c_library_is_found_with_its_functions() -> None:
    """As everybody writes it."""
    assert file_offset(find_file("c"), "getpid") > 0
