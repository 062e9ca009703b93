"""Which file a name means, in made root directories."""

from __future__ import annotations

import os
import pathlib
import shutil
import struct
import subprocess
import sys

import pytest

from pyebpf.errors import LoadError
from pyebpf.host import libraries
from pyebpf.host.symbols import find_file

# What the linker looks at: class, byte order and machine, here our own.
ELF = pathlib.Path(sys.executable).read_bytes()[:20]
FOREIGN = ELF[:18] + b"\xff\xff"


def cache(*entries: tuple[str, str]) -> bytes:
    """An ld.so.cache: header, entries, strings."""
    strings, table = b"", b""
    start = 48 + 24 * len(entries)
    for name, path in entries:
        places = []
        for text in (name, path):
            places.append(start + len(strings))
            strings += text.encode() + b"\0"
        table += struct.pack("=iIIIQ", 0x303, *places, 0, 0)
    header = b"glibc-ld.so.cache1.1" + struct.pack("=II", len(entries), len(strings))
    return header.ljust(48, b"\0") + table + strings


def put(root: pathlib.Path, path: str, content: bytes = ELF) -> pathlib.Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(0o755)
    return target


def link(root: pathlib.Path, path: str, target: str) -> None:
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.symlink_to(target)


def found(root: pathlib.Path, name: str, pid: int | None = None) -> str | None:
    path = libraries.find(name, pid=pid, root=str(root))
    if path is None:
        return None
    inside = pathlib.Path(path)
    base = root if pid is None else root / "proc" / str(pid) / "root"
    return "/" + str(inside.relative_to(base))


def test_a_program_is_the_first_on_path(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executable files only."""
    put(tmp_path, "/a/tool").chmod(0o644)
    put(tmp_path, "/b/tool")
    put(tmp_path, "/c/tool")
    monkeypatch.setenv("PATH", "/a:/b:/c")
    if os.geteuid() == 0:
        # access(2) asks for any x bit when root asks, which 0644 has not.
        assert not os.access(tmp_path / "a/tool", os.X_OK)
    assert found(tmp_path, "tool") == "/b/tool"


def test_a_library_is_what_the_linker_takes(tmp_path: pathlib.Path) -> None:
    """By the cache; links are followed; a linker script is no library."""
    put(tmp_path, "/opt/lib/libx.so.3.1")
    link(tmp_path, "/opt/lib/libx.so.3", "libx.so.3.1")
    put(tmp_path, "/usr/lib/libx.so", b"GROUP ( /opt/lib/libx.so.3 )  ")
    put(tmp_path, "/etc/ld.so.cache", cache(("libx.so.3", "/opt/lib/libx.so.3")))
    assert found(tmp_path, "libx.so.3") == "/opt/lib/libx.so.3.1"
    assert found(tmp_path, "x") == "/opt/lib/libx.so.3.1"
    assert found(tmp_path, "libx.so.4") is None


def test_an_older_cache_before_the_new_one_is_skipped(tmp_path: pathlib.Path) -> None:
    """Glibc wrote both into one file for years; offsets count from the new one."""
    put(tmp_path, "/opt/liby.so.1")
    old = b"ld.so-1.7.0\0" + bytes(12)
    put(tmp_path, "/etc/ld.so.cache", old + cache(("liby.so.1", "/opt/liby.so.1")))
    assert found(tmp_path, "liby.so.1") == "/opt/liby.so.1"


def test_without_a_cache_the_usual_directories_serve(tmp_path: pathlib.Path) -> None:
    """Multiarch ones too; the highest version, of our own machine."""
    put(tmp_path, "/usr/lib/x86_64-linux-gnu/libz.so.1")
    put(tmp_path, "/usr/lib/x86_64-linux-gnu/libz.so.10")
    put(tmp_path, "/usr/lib/libz.so.11", FOREIGN)
    assert found(tmp_path, "z") == "/usr/lib/x86_64-linux-gnu/libz.so.10"
    assert found(tmp_path, "libz.so.1") == "/usr/lib/x86_64-linux-gnu/libz.so.1"
    assert found(tmp_path, "libz.so.11") == "/usr/lib/libz.so.11"


def test_a_path_is_itself(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links followed; relative to where we are."""
    put(tmp_path, "/opt/tool")
    link(tmp_path, "/bin/tool", "/opt/tool")
    assert found(tmp_path, "/bin/tool") == "/opt/tool"
    monkeypatch.chdir(tmp_path / "opt")
    real = libraries.find("./tool", root="/")
    assert real == str((tmp_path / "opt/tool").resolve())
    assert libraries.find("../none/tool", root="/") is None


def process(root: pathlib.Path, pid: int, maps: str = "", cwd: str = "/") -> pathlib.Path:
    directory = root / "proc" / str(pid)
    (directory / "root").mkdir(parents=True)
    (directory / "maps").write_text(maps)
    (directory / "cwd").symlink_to(cwd)
    return directory / "root"


def test_a_processs_own_root_counts(tmp_path: pathlib.Path) -> None:
    """Its links with absolute targets stay inside; PATH is not ours but the usual one."""
    inside = process(tmp_path, 7, cwd="/srv")
    put(tmp_path, "/opt/tool", b"ours")
    put(inside, "/opt/tool")
    put(inside, "/srv/local")
    link(inside, "/usr/bin/tool", "/opt/tool")
    assert found(tmp_path, "tool", 7) == "/opt/tool"
    assert found(tmp_path, "/usr/bin/tool", 7) == "/opt/tool"
    assert found(tmp_path, "./local", 7) == "/srv/local"
    assert found(tmp_path, "/../../opt/tool", 7) == "/opt/tool"
    assert found(tmp_path, "absent", 7) is None


def test_what_a_process_has_mapped_comes_first(tmp_path: pathlib.Path) -> None:
    """Whatever its linker would find now."""
    line = "7f0000000000-7f0000001000 r-xp 00000000 fe:00 123   {}\n"
    maps = line.format("/old dir/libc.so.6") + line.format("[vdso]")
    inside = process(tmp_path, 8, maps)
    put(inside, "/old dir/libc.so.6")
    put(inside, "/usr/lib/libc.so.6")
    assert found(tmp_path, "c", 8) == "/old dir/libc.so.6"
    assert found(tmp_path, "libc.so.6", 8) == "/old dir/libc.so.6"


def test_links_that_go_round_lead_nowhere(tmp_path: pathlib.Path) -> None:
    """After 40 of them."""
    link(tmp_path, "/bin/a", "b")
    link(tmp_path, "/bin/b", "a")
    assert found(tmp_path, "/bin/a") is None


@pytest.mark.parametrize("name", ["", "nul\0", "/nul\0", "x" * 5000, "/" + "x" * 5000, "a/b/c"])
def test_odd_names_lead_nowhere(tmp_path: pathlib.Path, name: str) -> None:
    """None, no exception; find_file makes it a LoadError."""
    assert libraries.find(name, root=str(tmp_path)) is None
    with pytest.raises(LoadError, match="no program or library"):
        find_file(name, root=str(tmp_path))


def test_a_broken_cache_is_no_cache() -> None:
    """Any prefix of one, and one whose counts and offsets lie, yields names or nothing."""
    whole = cache(("liba.so.1", "/lib/liba.so.1"), ("libb.so.1", "/lib/libb.so.1"))
    for end in range(len(whole)):
        assert len(list(libraries.cached(whole[:end]))) <= 2
    lying = bytearray(whole)
    struct.pack_into("=I", lying, 20, 0xFFFFFFFF)
    struct.pack_into("=I", lying, 52, 0xFFFFFFF0)
    assert len(list(libraries.cached(bytes(lying)))) < 10


def test_this_systems_cache_is_what_ldconfig_prints() -> None:
    """Oracle: ldconfig -p."""
    tool = shutil.which("ldconfig") or shutil.which("ldconfig", path="/sbin:/usr/sbin")
    file = pathlib.Path("/etc/ld.so.cache")
    if tool is None or not file.exists():
        pytest.skip("no ldconfig, or no cache")
    lines = subprocess.run([tool, "-p"], capture_output=True, text=True, check=True).stdout
    printed = [line.split() for line in lines.splitlines() if " => " in line]
    expected = [(words[0], words[-1]) for words in printed]
    assert expected == list(libraries.cached(file.read_bytes()))
