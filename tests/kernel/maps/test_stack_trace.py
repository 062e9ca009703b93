"""Stack trace maps: frames of the kernel and of processes, with their names."""

from __future__ import annotations

import collections
import ctypes
import mmap
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

import pyebpf
from pyebpf import KernelSymbols, ProcessSymbols
from pyebpf.host.functions import Functions
from tests.support.programs import only_used


def stack_of(name):
    """Run a program that keeps the stack it is run on; return the map and the stack's number."""
    bpf = pyebpf.load(only_used("map_kinds", name))
    number = bpf.programs[name].run().retval
    assert number < 1 << 31
    return bpf, next(iter(bpf.maps.values())), number


def test_kernel_frames_have_the_names_of_kallsyms():
    """The innermost is the program; the system call that ran it is below."""
    early = KernelSymbols()
    bpf, stacks, number = stack_of("kernel_stack")
    with bpf:
        frames = KernelSymbols().frames(stacks[number])
        early.refresh()  # a program that is gone may have been where this one is
        assert early.frames(stacks[number]) == frames
        names = [frame.name for frame in frames]
        assert "bpf_prog_test_run_raw_tp" in names
        assert any("kernel_stack" in name for name in names)
        assert all(frame.offset < 1 << 20 for frame in frames)
        assert {frame.module for frame in frames} <= {"kernel", "bpf"}
        assert str(frames[-1]).startswith(f"{names[-1]}+0x")
        assert number in stacks
        assert list(stacks) == [number]
        del stacks[number]
        assert number not in stacks


def test_names_agree_with_the_kernels_own():
    """Every function's first byte has its own name, and so has the byte after it."""
    symbols = KernelSymbols()
    names = collections.defaultdict(set)
    for line in pathlib.Path("/proc/kallsyms").read_text("utf-8").splitlines():
        address, kind, name = line.split("\t")[0].split(" ")
        if kind in "tTwW":
            names[int(address, 16)].add(name)
    for address in sorted(names)[::97]:
        found = symbols.frame(address)
        assert found.name in names[address] or found.name == ""  # behind the end of the text
        if found.name and address + 1 not in names:
            assert symbols.frame(address + 1)[1:3] == (found.name, 1)
    assert symbols.frame(1).name == ""


def test_user_frames_have_the_names_of_their_files():
    """The process is this very Python: libc's syscall() is innermost."""
    bpf, stacks, number = stack_of("user_stack")
    with bpf:
        frames = ProcessSymbols(os.getpid()).frames(stacks[number])
        assert frames[0].name == "syscall"
        assert "libc" in frames[0].module
        assert 0 < frames[0].offset < 100
        # libc keeps no frame pointers, so what is above may or may not be found.
        assert all(frame.name or frame.offset == 0 or frame.module for frame in frames)


def test_build_ids_lead_to_the_same_functions():
    """As readelf tells the id, and the same name as by address."""
    bpf, stacks, number = stack_of("user_build_ids")
    with bpf:
        first = stacks[number][0]
        symbols = ProcessSymbols(os.getpid())
        frame = symbols.frame(first)
        assert frame.name == "syscall"
        shown = subprocess.run(
            ["readelf", "-n", frame.module], capture_output=True, text=True, check=True
        ).stdout
        assert first.build_id.hex().rstrip("0") in shown
        unknown = symbols.frame((bytes(19) + b"\1", 64))
        assert (unknown.name, unknown.module) == ("", (bytes(19) + b"\1").hex())


def test_what_is_stripped_is_found_in_its_debug_file(tmp_path):
    """A program without symbols, whose names are in the file its build id leads to."""
    for tool in ("gcc", "objcopy", "strip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    program, debug = tmp_path / "program", tmp_path / "program.debug"
    source = b"""
        #include <unistd.h>
        static __attribute__((noinline)) int hidden(int x) { return x * 3; }
        int main(void) { char c = write(1, "", 1); return hidden(read(0, &c, 1)); }
    """
    command = ["gcc", "-g", "-O1", "-Wl,--build-id", "-x", "c", "-", "-o", program]
    subprocess.run(command, input=source, check=True)
    whole = Functions.read(program)
    start = next(at for at in whole._starts if whole.at_address(at)[0] == "hidden")
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    subprocess.run(["strip", program], check=True)
    child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.read(1)
        symbols = ProcessSymbols(child.pid)
        maps = pathlib.Path(f"/proc/{child.pid}/maps").read_text("utf-8").splitlines()
        base = min(int(line.split("-")[0], 16) for line in maps if str(program) in line)
        assert symbols.frame(base + start + 1).name != "hidden"
        identity = whole.build_id.hex()
        place = pathlib.Path("/usr/lib/debug/.build-id", identity[:2], f"{identity[2:]}.debug")
        made = [each for each in place.parents if not each.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(debug, place)
        try:
            again = ProcessSymbols(child.pid)
            assert again.frame(base + start + 1)[1:3] == ("hidden", 1)
        finally:
            place.unlink()
            for each in made:
                each.rmdir()
    finally:
        child.communicate(b"\n")


def test_a_file_that_was_replaced_is_still_read():
    """By the mapping of the process that goes on using it."""
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory, "cat")
        shutil.copy(shutil.which("cat"), program)
        whole = Functions.read(program)
        child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.read(1)
        program.unlink()
    try:
        symbols = ProcessSymbols(child.pid)
        frame = symbols.frame((whole.build_id.ljust(20, b"\0"), 64))
        assert frame.module.endswith("/cat (deleted)")
    finally:
        child.communicate()


def test_the_kernels_own_library_has_names(tmp_path):
    """The vDSO, as nm tells what is in it; of another process, too, until that has ended."""
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    start = getauxval(33)  # AT_SYSINFO_EHDR
    size = next(
        int(end, 16) - int(first, 16)
        for first, end in re.findall(
            r"^(\w+)-(\w+) .*\[vdso\]$", pathlib.Path("/proc/self/maps").read_text(), re.MULTILINE
        )
    )
    image = tmp_path / "vdso.so"
    image.write_bytes(ctypes.string_at(start, size))
    shown = subprocess.run(["nm", "-D", image], capture_output=True, text=True, check=True).stdout
    names: dict[int, set[str]] = {}
    for value, _, name in re.findall(r"^(\w+) ([TW]) (\w+)", shown, re.MULTILINE):
        names.setdefault(int(value, 16), set()).add(name)
    assert any("clock_gettime" in each for each in set().union(*names.values()))
    command = [sys.executable, "-c", "print(flush=True); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()  # Popen returns while the kernel still makes the new memory
        other = ProcessSymbols(child.pid)
        maps = pathlib.Path(f"/proc/{child.pid}/maps").read_text()
        there = int(re.search(r"^(\w+)-.*\[vdso\]$", maps, re.MULTILINE)[1], 16)
        for symbols, base in ((ProcessSymbols(os.getpid()), start), (other, there)):
            for value, known in names.items():
                frame = symbols.frame(base + value)
                assert frame.name in known
                assert frame[2:] == (0, "[vdso]")
    finally:
        child.communicate(b"\n")
    late = ProcessSymbols(os.getpid())
    late._directory = pathlib.Path(f"/proc/{child.pid}")
    assert late.frame(start + min(names))[1:] == ("", min(names), "[vdso]")


def test_code_made_at_run_time_is_named_by_the_jits_map():
    """Perf's file in /tmp names what no file holds; others' files do not count."""
    code = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    path = pathlib.Path(f"/tmp/perf-{os.getpid()}.map")
    symbols = ProcessSymbols(os.getpid())
    assert symbols.frame(address).name == ""
    path.write_text(f"{address:x} 40 first\n{address + 64:x} 40 a name with spaces\nnonsense\n")
    try:
        symbols.refresh()
        assert symbols.frame(address + 3)[1:] == ("first", 3, "jit")
        assert symbols.frame(address + 64).name == "a name with spaces"
        assert symbols.frame(address + 128).name == ""
        os.chown(path, 12345, 12345)
        symbols.refresh()
        assert symbols.frame(address + 3).name == ""
    finally:
        path.unlink()


def test_a_process_that_is_gone_is_an_error():
    """At the beginning; what was read before stays good."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    symbols = ProcessSymbols(child.pid)
    child.communicate(b"\n")
    with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
        symbols.refresh()
    with pytest.raises(pyebpf.SyscallError, match=r"open: ENOENT.*maps"):
        ProcessSymbols(child.pid)
