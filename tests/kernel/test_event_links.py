"""Events by exact counts: their cookies, what info tells of them, places by offset, other roots."""

from __future__ import annotations

import ctypes
import os
import pathlib
import platform
import shutil

import pytest

import pyebpf
from pyebpf import link
from pyebpf.btf.types import Struct
from pyebpf.host import symbols
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.spec import CollectionSpec
from pyebpf.uapi.bpf import CgroupIterOrder
from pyebpf.uapi.perf import BreakpointType, PerfEventAttr, PerfSw, PerfType
from tests.kernel.test_rarer_hooks import hits, load
from tests.support import kernel
from tests.support.children import fork
from tests.support.programs import only

LIBC = ctypes.CDLL(None)
COOKIE = 1000
# Adds its cookie to what it counts.
ADD_COOKIE = """
    r1 = r6
    call bpf_get_attach_cookie
    r1 = map[hits][0] ll
    lock *(u64 *)(r1 + 0) += r0
    r0 = 0
    exit
"""
X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="it names a function of x86-64")


def fork_once() -> None:
    child = fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def breakpoint_at_getuid() -> PerfEventAttr:
    address = ctypes.cast(LIBC.getuid, ctypes.c_void_p).value
    return PerfEventAttr(
        type=PerfType.BREAKPOINT, bp_type=BreakpointType.X, bp_addr=address, bp_len=8
    )


def getpgid() -> None:
    os.getpgid(0)


# Section, since when it has cookies, how it is attached, what makes it run once.
COOKIES = {
    "tracepoint": (
        "tracepoint", "5.15",
        lambda p: link.attach_tracepoint(p, "syscalls", "sys_enter_getppid", cookie=COOKIE),
        os.getppid,
    ),
    "raw tracepoint": (
        "raw_tp", "6.10",
        lambda p: link.attach_raw_tracepoint(p, "sched_process_fork", cookie=COOKIE),
        fork_once,
    ),
    "tp_btf": (
        "tp_btf/sched_process_fork", "6.10",
        lambda p: link.attach_tracing(p, cookie=COOKIE),
        fork_once,
    ),
    "perf event": (
        "perf_event", "5.15",
        lambda p: link.attach_perf_event(
            p, breakpoint_at_getuid(), period=1, pid=0, cookie=COOKIE
        ),
        LIBC.getuid,
    ),
    "uprobe": (
        "uprobe", "5.15",
        lambda p: link.attach_uprobe(p, "libc.so.6", "getuid", cookie=COOKIE),
        LIBC.getuid,
    ),
    "uretprobe": (
        "uretprobe", "5.15",
        lambda p: link.attach_uprobe(p, "libc.so.6", "getuid", retprobe=True, cookie=COOKIE),
        LIBC.getuid,
    ),
    "uprobe in tracefs": (
        "uprobe", "5.15",
        lambda p: link.attach_uprobe(
            p, "libc.so.6", "getuid", cookie=COOKIE, use_tracefs=True
        ),
        LIBC.getuid,
    ),
    "kprobe": (
        "kprobe", "5.15",
        lambda p: link.attach_kprobe(p, "sys_getpgid", cookie=COOKIE),
        getpgid,
    ),
    "kretprobe": (
        "kretprobe", "5.15",
        lambda p: link.attach_kprobe(p, "sys_getpgid", retprobe=True, cookie=COOKIE),
        getpgid,
    ),
    "ksyscall": (
        "kprobe", "5.15",
        lambda p: link.attach_ksyscall(p, "getpgid", cookie=COOKIE),
        getpgid,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", COOKIES)
def test_a_program_is_told_its_cookie(kind, tracefs):
    """Each run adds it, as long as the link is open."""
    section, since, attach, act = COOKIES[kind]
    kernel.needs(since, f"cookies of {kind}")
    with load(section, ADD_COOKIE) as bpf:
        with attach(bpf.programs["program"]):
            for _ in range(3):
                act()
        act()
        assert hits(bpf) == 3 * (1 + COOKIE)


def test_info_tells_which_event_it_is(tracefs):
    """Names, places, cookies (Linux 6.6; cookies 6.9)."""
    kernel.needs("6.9", "info about events")
    offset = symbols.file_offset(symbols.find_file("libc.so.6"), "getuid")
    with load("tracepoint", ADD_COOKIE) as point, load("uprobe", ADD_COOKIE) as probe:
        one, two = point.programs["program"], probe.programs["program"]
        with link.attach_tracepoint(one, "syscalls", "sys_enter_getppid", cookie=7) as attached:
            told = attached.info()
            assert isinstance(told, link.TracepointDetails)
            assert (told.name, told.cookie) == ("sys_enter_getppid", 7)
            assert told.program_id == one.id
        for retprobe in (False, True):
            with link.attach_uprobe(
                two, "libc.so.6", "getuid", retprobe=retprobe, cookie=8
            ) as attached:
                told = attached.info()
                assert isinstance(told, link.UprobeDetails)
                assert (told.offset, told.retprobe, told.cookie) == (offset, retprobe, 8)
                assert told.path.endswith("libc.so.6")
    with pyebpf.load(only("hooks_trace", "on_sample")) as counters:
        program = counters.programs["on_sample"]
        with link.attach_perf_event(
            program, PerfSw.PAGE_FAULTS, period=1000, pid=0, cookie=9
        ) as attached:
            told = attached.info()
            assert isinstance(told, link.EventDetails)
            assert (told.event_type, told.config, told.cookie) == (
                PerfType.SOFTWARE, PerfSw.PAGE_FAULTS, 9,
            )  # fmt: skip


def test_a_uprobe_is_at_an_offset():
    """Of the file, or behind a function's start: the same place by three names."""
    file = symbols.find_file("libc.so.6")
    getuid = symbols.file_offset(file, "getuid")
    other = symbols.file_offset(file, "getgid")
    with load("uprobe", "r0 = 0; exit") as bpf:
        program = bpf.programs["program"]
        for attach in (
            lambda: link.attach_uprobe(program, file, offset=getuid),
            lambda: link.attach_uprobe(program, file, "getgid", offset=getuid - other),
        ):
            with attach():
                LIBC.getuid()
                LIBC.getgid()
        assert hits(bpf) == 2
        with pytest.raises(pyebpf.LoadError, match="needs a symbol or a file offset"):
            link.attach_uprobe(program, file)


def test_a_file_is_looked_up_where_the_process_sees_it(tmp_path):
    """In a container, /lib/… is another file: that of /proc/PID/root."""
    (tmp_path / "lib").mkdir()
    copy = tmp_path / "lib" / "libcopy.so"
    shutil.copy(symbols.find_file("libm.so.6"), copy)
    ours, theirs = os.pipe(), os.pipe()
    child = fork()
    if not child:
        library = ctypes.CDLL(str(copy))
        os.chroot(tmp_path)
        os.write(theirs[1], b"there")
        os.read(ours[0], 1)
        for _ in range(3):
            library.cbrt(ctypes.c_double(8))
        os._exit(0)
    try:
        assert os.read(theirs[0], 5) == b"there"
        spec = only("probes", "on_uprobe")
        spec.variables["target_pid"].value = child
        with pyebpf.load(spec) as bpf:
            program = bpf.programs["on_uprobe"]
            with pytest.raises(pyebpf.LoadError, match="libcopy"):
                link.attach_uprobe(program, "/lib/libcopy.so", "cbrt")
            with link.attach_uprobe(program, "/lib/libcopy.so", "cbrt", pid=child):
                os.write(ours[1], b"x")
                os.waitpid(child, 0)
                child = 0
            assert bpf.variables["uprobe_hits"].value == 3
    finally:
        if child:
            os.kill(child, 9)
            os.waitpid(child, 0)
        for end in (*ours, *theirs):
            os.close(end)


# --- iterators ---------------------------------------------------------------------------------


def member(struct: str, name: str) -> int:
    """Where a member of a struct of the kernel is, in bytes."""
    types = kernel_btf()
    for number in types.ids(struct):
        found = types.type(number)
        if isinstance(found, Struct):
            return next(each.bit_offset // 8 for each in found.members if each.name == name)
    raise AssertionError(struct)


@pytest.fixture
def groups():
    """An iterator that writes the ids of the control groups it walks, 8 bytes each."""
    kernel.needs("6.1", "iterators over control groups")
    code = f"""
        r2 = *(u64 *)(r1 + 8)
        if r2 == 0 goto done
        r3 = *(u64 *)(r2 + {member("cgroup", "kn")})
        r3 = *(u64 *)(r3 + {member("kernfs_node", "id")})
        *(u64 *)(r10 - 8) = r3
        r1 = *(u64 *)(r1 + 0)
        r1 = *(u64 *)(r1 + 0)
        r2 = r10
        r2 += -8
        r3 = 8
        call bpf_seq_write
    done:
        r0 = 0
        exit
    """
    spec = pyebpf.ProgramSpec.assemble("groups", code, section="iter/cgroup", license="GPL")
    with pyebpf.load(CollectionSpec(programs={"groups": spec})) as bpf:
        yield bpf.programs["groups"]


def test_an_iterator_walks_control_groups_in_an_order(groups, cgroup):
    """One alone, those below before or after it, those above."""
    below = cgroup / "below"
    below.mkdir()
    try:
        here, there = cgroup.stat().st_ino, below.stat().st_ino
        root = cgroup.parent.stat().st_ino
        for order, start, expected in (
            (CgroupIterOrder.SELF_ONLY, cgroup, [here]),
            (CgroupIterOrder.DESCENDANTS_PRE, cgroup, [here, there]),
            (CgroupIterOrder.DESCENDANTS_POST, cgroup, [there, here]),
            (CgroupIterOrder.ANCESTORS_UP, below, [there, here, root]),
        ):
            with link.attach_iter(groups, cgroup=start, order=order) as walk:
                data = walk.read()
                told = walk.info()
                assert isinstance(told, link.IterDetails)
                assert (told.order, told.cgroup_id) == (order, start.stat().st_ino)
            words = [data[place : place + 8] for place in range(0, len(data), 8)]
            found = [int.from_bytes(each, "little") for each in words]
            assert found == expected
    finally:
        below.rmdir()


def test_an_iterator_is_told_its_process_by_descriptor():
    """pidfd= (Linux 6.1)."""
    kernel.needs("6.1", "iterators over one process")
    handle = os.pidfd_open(os.getpid())
    try:
        with (
            pyebpf.load(only("hooks_trace", "on_task")) as bpf,
            link.attach_iter(bpf.programs["on_task"], pidfd=handle) as walk,
        ):
            lines = walk.read().decode().splitlines()
        assert {line.split()[0] for line in lines} == {str(os.getpid())}
    finally:
        os.close(handle)


# --- functions of the kernel -------------------------------------------------------------------


@X86
def test_a_kprobe_is_inside_a_function(tracefs):
    """At the start of an instruction it counts each call; elsewhere the error says why not."""
    with load("kprobe", "r0 = 0; exit") as bpf:
        program = bpf.programs["program"]
        link.attach_kprobe(program, "__x64_sys_getpgid").close()
        runs, refusals = 0, []
        for offset in range(1, 24):
            before = hits(bpf)
            try:
                attached = link.attach_kprobe(program, "__x64_sys_getpgid", offset=offset)
            except pyebpf.SyscallError as error:
                refusals.append(str(error))
                continue
            with attached:
                os.getpgid(0)
                os.getpgid(0)
                told = attached.info()
                if isinstance(told, link.KprobeDetails):
                    assert told.offset == offset
            os.getpgid(0)
            assert hits(bpf) in (before, before + 2), "a branch may lead around it"
            runs += hits(bpf) - before
        assert runs >= 2
        assert any("not the start of an instruction" in each for each in refusals)


@X86
def test_many_functions_by_their_addresses():
    """At entry and return, with a cookie each."""
    from pyebpf.host import kallsyms

    names = ["__x64_sys_getpgid", "__x64_sys_getsid"]
    with load("kprobe.multi", ADD_COOKIE) as bpf:
        program = bpf.programs["program"]
        known = kallsyms.find(names).by_name
        addresses = [known[name][0].address for name in names]
        with link.attach_kprobe_multi(program, addresses=addresses, cookies=[100, 1000]):
            getpgid()
            os.getsid(0)
        assert hits(bpf) == 2 + 1100
        with link.attach_kprobe_multi(
            program, functions=names, retprobe=True, cookies=[10, 20]
        ) as attached:
            getpgid()
            assert attached.info().program_id == program.id
        getpgid()
        assert hits(bpf) == 2 + 1100 + 1 + 10


def test_sections_of_returns_attach_by_name():
    """Kretsyscall and kretprobe.multi."""
    for section in ("kretsyscall/getpgid", "kretprobe.multi/*_sys_getpgid"):
        with load(section, "r0 = 0; exit") as bpf:
            with pyebpf.attach(bpf.programs["program"]):
                getpgid()
                getpgid()
            getpgid()
            assert hits(bpf) in (2, 4), section  # also by a wrapper's name of 32-bit programs


def test_a_stripped_file_says_what_to_do(tmp_path):
    """No names at all: an offset will do."""
    binary = tmp_path / "binary"
    shutil.copy(os.path.realpath("/bin/true"), binary)
    strip = shutil.which("strip")
    if strip is None:
        pytest.skip("strip is not installed")
    import subprocess

    subprocess.run([strip, str(binary)], check=True)
    with load("uprobe", "r0 = 0; exit") as bpf:
        with pytest.raises(pyebpf.LoadError, match=r"give the function's offset in the file"):
            link.attach_uprobe(bpf.programs["program"], binary, "main")
        entry = int.from_bytes(pathlib.Path(binary).read_bytes()[24:32], "little")
        link.attach_uprobe(bpf.programs["program"], binary, offset=entry).close()
