"""Names of frames from a made /proc: every kind of line, and what is missing."""

from __future__ import annotations

import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.host.stacks import Frame, KernelSymbols, ProcessSymbols
from tests.support import properties as properties

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000100 t helper.llvm.4242
ffffffff81000200 W weak_function
ffffffff81000300 D some_data
ffffffff81000400 T _etext
ffffffffa0000000 t nf_ct_get\t[nf_conntrack]
ffffffffc0000000 t bpf_prog_6deef7357e7b4530_count\t[bpf]
nonsense
"""


@pytest.fixture
def proc(tmp_path):
    """A root directory with /proc/kallsyms."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "kallsyms").write_text(KALLSYMS)
    return tmp_path


def test_kernel_addresses_have_the_symbol_before_them(proc):
    """Of text only, without the compiler's suffixes, with the module's name."""
    symbols = KernelSymbols(str(proc))
    names = {
        0xFFFFFFFF81000000: ("_stext", 0, "kernel"),
        0xFFFFFFFF81000180: ("helper", 0x80, "kernel"),
        0xFFFFFFFF81000301: ("weak_function", 0x101, "kernel"),
        0xFFFFFFFF81000400: ("", 0, ""),
        0xFFFFFFFF9FFFFFFF: ("", 0, ""),
        0xFFFFFFFFA0000010: ("nf_ct_get", 0x10, "nf_conntrack"),
        0xFFFFFFFFC0000002: ("bpf_prog_6deef7357e7b4530_count", 2, "bpf"),
        5: ("", 0, ""),
    }
    frames = symbols.frames(names)
    assert [frame[1:] for frame in frames] == list(names.values())
    assert str(frames[1]) == "helper+0x80 (kernel)"
    assert str(frames[3]) == "0xffffffff81000400"


def test_hidden_and_missing_symbols_are_different_errors(proc):
    """The setting is named; a kernel without kallsyms is not."""
    path = proc / "proc" / "kallsyms"
    path.write_text("0000000000000000 T _stext\n0000000000000000 t x\n")
    with pytest.raises(PrivilegeError, match="kptr_restrict"):
        KernelSymbols(str(proc))
    path.unlink()
    with pytest.raises(SyscallError, match="open: ENOENT"):
        KernelSymbols(str(proc))


def process(root, maps, *, nspid="77\t5", uid=None):
    """Make /proc/77; return the directory that is its root."""
    directory = root / "proc" / "77"
    inside = directory / "root"
    (inside / "tmp").mkdir(parents=True, exist_ok=True)
    (directory / "maps").write_text(maps)
    owner = os.getuid() if uid is None else uid
    (directory / "status").write_text(f"Name:\tx\nUid:\t{owner}\t0\t0\t0\nNSpid:\t{nspid}\n")
    return inside


MAPS = """\
00400000-00401000 r-xp 00000000 08:01 12 /bin/thing
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7f0000002000-7f0000003000 r-xp 00001000 00:01 9 /memfd:code (deleted)
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0 [vdso]
"""


def test_code_of_a_jit_is_found_by_the_number_in_its_own_namespace(proc):
    """In its own /tmp; the last line for an address wins; what is elsewhere has no name."""
    inside = process(proc, MAPS)
    (inside / "tmp" / "perf-5.map").write_text(
        "7f0000000000 10 old\n7f0000000000 20 LazyCompile:~f x.js:1\nzz\n7f0000002010 8 in_memfd\n"
    )
    symbols = ProcessSymbols(77, str(proc))
    assert symbols.frame(0x7F0000000012) == Frame(
        0x7F0000000012, "LazyCompile:~f x.js:1", 0x12, "jit"
    )
    assert symbols.frame(0x7F0000002011)[1:] == ("in_memfd", 1, "jit")
    assert symbols.frame(0x7F0000000030)[1:] == ("", 0, "")
    assert symbols.frame(0x7FFC00000010)[1:] == ("", 0x10, "[vdso]")
    assert symbols.frame(0x400010)[1:] == ("", 0x10, "/bin/thing")
    assert symbols.frame(0x999)[1:] == ("", 0, "")
    assert str(symbols.frame(0x400010)) == "0x400010 (/bin/thing)"


def test_a_jits_map_of_somebody_else_does_not_count(proc):
    """Anybody may write into /tmp."""
    inside = process(proc, MAPS, uid=os.getuid() + 1)
    path = inside / "tmp" / "perf-5.map"
    path.write_text("7f0000000000 10 forged\n")
    expected = "forged" if os.getuid() == 0 else ""  # root may name anybody's code
    assert ProcessSymbols(77, str(proc)).frame(0x7F0000000001).name == expected


def test_a_frame_without_a_build_id_is_an_address(proc):
    """As the kernel gives it for code that is in no file."""
    process(proc, MAPS)
    symbols = ProcessSymbols(77, str(proc))
    assert symbols.frame((b"", 0x400010)) == symbols.frame(0x400010)
    assert symbols.frame((b"\1" * 20, 5)) == Frame(5, "", 5, "01" * 20)


def test_a_process_that_is_not_there_is_an_error(proc):
    """Named by its file."""
    with pytest.raises(SyscallError, match=r"open: ENOENT.*78/maps"):
        ProcessSymbols(78, str(proc))


@given(st.text(), st.integers(0, 2**64 - 1))
def test_any_maps_and_any_address_give_a_frame(tmp_path_factory, text, address):
    """No error comes out, whatever /proc holds."""
    root = pathlib.Path(tmp_path_factory.getbasetemp(), "any")
    process(root, text.encode("utf-8", "replace").decode())
    (root / "proc" / "kallsyms").write_text(KALLSYMS + text, encoding="utf-8", errors="replace")
    assert ProcessSymbols(77, str(root)).frame(address).address == address
    assert KernelSymbols(str(root)).frame(address).address == address
