"""USDT probes of a library made for the purpose: places, semaphores and arguments of every kind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import platform
import shutil
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, features, link
from pyebpf.host.usdt import usdt_notes
from tests.support.programs import only

SOURCE = r"""
#define PROBE(name, semaphore, arguments, ...) \
    __asm__ volatile("990: nop\n" \
             ".pushsection .note.stapsdt,\"\",\"note\"\n" \
             ".balign 4\n" \
             ".4byte 992f-991f, 994f-993f, 3\n" \
             "991: .asciz \"stapsdt\"\n" \
             "992: .balign 4\n" \
             "993: .8byte 990b\n" \
             ".8byte 0\n" \
             ".8byte " semaphore "\n" \
             ".asciz \"pyebpf\"\n" \
             ".asciz \"" name "\"\n" \
             ".asciz \"" arguments "\"\n" \
             "994: .balign 4\n" \
             ".popsection" ::__VA_ARGS__)

__attribute__((visibility("hidden"), section(".probes"))) unsigned short counter;

unsigned short semaphore(void)
{
    return *(volatile unsigned short *)&counter;
}

/* A register, a negative number in memory, a constant. */
void work(long first, int second)
{
    volatile int there = second;
    register long here __asm__("rbx") = first;

    PROBE("work", "counter", "8@%%rbx -4@%1 -4@$-7", "r"(here), "m"(there));
}

/* The same probe once more, without arguments that differ in place. */
void again(long first)
{
    register long here __asm__("rbx") = first;

    PROBE("work", "counter", "8@%%rbx", "r"(here));
}

void plain(void)
{
    PROBE("plain", "0", "", "i"(0));
}
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> pathlib.Path:
    """The library, compiled."""
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("needs gcc on x86-64")
    directory = tmp_path_factory.mktemp("usdt")
    (directory / "probes.c").write_text(SOURCE)
    path = directory / "libprobes.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(path), str(directory / "probes.c")]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(params=["many", "each"])
def bpf(request):
    """The program, for one link to all places where the kernel has such, and for one to each."""
    spec = only("hooks_usdt", "on_usdt")
    if request.param == "each":
        spec.programs["on_usdt"].attach_type = AttachType(0)
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as loaded:
        yield loaded


def test_arguments_are_read_where_they_are(bpf, library, request):
    """In a register, in memory with their sign, in the code."""
    loaded = ctypes.CDLL(str(library))
    program = bpf.programs["on_usdt"]
    assert len([each for each in usdt_notes(library) if each.name == "work"]) == 2
    with link.attach_usdt(program, library, "pyebpf", "work", cookie=0x1_0000_0001) as attached:
        many = (
            features.uprobe_multi_process.available()
            and request.node.callspec.params["bpf"] == "many"
        )
        assert isinstance(attached.info(), link.UprobeMultiDetails) == many
        loaded.work(ctypes.c_long(1 << 40), ctypes.c_int(-5))
        assert bpf.variables["usdt_hits"].value == 1
        assert bpf.variables["usdt_cookies"].value == 0x1_0000_0001
        assert bpf.variables["argument_count"].value == 3
        assert list(bpf.variables["arguments"].value)[:3] == [1 << 40, -5, -7]
        loaded.again(ctypes.c_long(42))
        assert bpf.variables["argument_count"].value == 1
        assert next(iter(bpf.variables["arguments"].value)) == 42
    loaded.work(ctypes.c_long(0), ctypes.c_int(0))
    assert bpf.variables["usdt_hits"].value == 2
    assert bpf.variables["errors"].value == 0


def test_a_semaphore_is_up_while_somebody_looks(bpf, library):
    """Once for each place of the probe."""
    loaded = ctypes.CDLL(str(library))
    assert loaded.semaphore() == 0
    with link.attach_usdt(bpf.programs["on_usdt"], library, "pyebpf", "work", pid=os.getpid()):
        assert loaded.semaphore() == 2
    assert loaded.semaphore() == 0


def test_a_probe_without_arguments_or_semaphore(bpf, library):
    """A single place is a single link, and its spec's number is used again."""
    loaded = ctypes.CDLL(str(library))
    for count in range(1, 4):
        with link.attach_usdt(bpf.programs["on_usdt"], library, "pyebpf", "plain") as attached:
            loaded.plain()
            assert bpf.variables["usdt_hits"].value == count
            assert bpf.variables["argument_count"].value == 0
            assert attached.info().program_id == bpf.programs["on_usdt"].id


def test_a_section_name_says_it_all(library):
    """As in SEC("usdt/path:provider:name")."""
    spec = only("hooks_usdt", "on_usdt")
    spec.variables["target_pid"].value = os.getpid()
    spec.programs["on_usdt"].section = f"usdt/{library}:pyebpf:plain"
    spec.programs["on_usdt"].attach_to = f"{library}:pyebpf:plain"
    with pyebpf.load(spec) as bpf:
        assert set(bpf.attach()) == {"on_usdt"}
        ctypes.CDLL(str(library)).plain()
        assert bpf.variables["usdt_hits"].value == 1


def test_probes_that_are_not_there_are_named(bpf, library):
    """With near ones; and a program that cannot read arguments is refused."""
    program = bpf.programs["on_usdt"]
    with pytest.raises(pyebpf.AttachError, match=r"no probe pyebpf:wrok \(near: pyebpf:work"):
        link.attach_usdt(program, library, "pyebpf", "wrok")
    with pytest.raises(pyebpf.AttachError, match="none at all"):
        link.attach_usdt(program, "libc.so.6", "libc", "malloc")
    with (
        pyebpf.load(only("probes", "on_uprobe")) as other,
        pytest.raises(pyebpf.LoadError, match=r"does not use usdt\.bpf\.h"),
    ):
        link.attach_usdt(other.programs["on_uprobe"], library, "pyebpf", "work")


def test_the_interpreters_own_probes_are_seen():
    """Debian's Python has them, with semaphores: two for each collection."""
    python = pathlib.Path("/usr/bin/python3")
    notes = usdt_notes(python) if python.exists() else []
    if not any((each.provider, each.name) == ("python", "gc__start") for each in notes):
        pytest.skip("/usr/bin/python3 has no USDT probes")
    code = "input(); import gc; gc.disable(); gc.collect(); gc.collect()"
    with subprocess.Popen([python, "-I", "-c", code], stdin=subprocess.PIPE) as child:
        spec = only("hooks_usdt", "on_usdt")
        spec.variables["target_pid"].value = child.pid
        with pyebpf.load(spec) as bpf, contextlib.ExitStack() as stack:
            stack.callback(child.kill)
            for name in ("gc__start", "gc__done"):
                probe = link.attach_usdt(
                    bpf.programs["on_usdt"], python, "python", name, pid=child.pid
                )
                stack.enter_context(probe)
            child.communicate(b"\n")
            assert bpf.variables["usdt_hits"].value >= 4
            assert bpf.variables["errors"].value == 0
