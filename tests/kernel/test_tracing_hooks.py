"""Perf events, iterators, many uprobes at once: by exact counts and by what is read."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import subprocess
import threading

import pytest

import pyebpf
from pyebpf import link
from pyebpf.host import probe_events
from pyebpf.uapi.bpf import CgroupIterOrder
from pyebpf.uapi.perf import BreakpointType, PerfEventAttr, PerfHw, PerfSw, PerfType
from tests.support.bpftool import bpftool_json
from tests.support.cgroups import joined
from tests.support.children import fork
from tests.support.kernel import needs
from tests.support.killed import killed
from tests.support.programs import only

LIBC = ctypes.CDLL(None)


def load(*names: str) -> pyebpf.Collection:
    spec = only("hooks_trace", *names)
    spec.variables["target_pid"].value = os.getpid()
    return pyebpf.load(spec)


def hits(bpf: pyebpf.Collection, name: str) -> int:
    value = bpf.variables[f"{name}_hits"].value
    assert isinstance(value, int)
    return value


# --- perf events -------------------------------------------------------------------------------


def touch_pages(count: int) -> None:
    """Fault in so many fresh pages, one by one."""
    with mmap.mmap(-1, count * mmap.PAGESIZE) as memory:
        for page in range(count):
            memory[page * mmap.PAGESIZE] = 1


@pytest.mark.parametrize("where", ["thread", "cpus"])
def test_a_software_counter_runs_a_program_at_each_event(where):
    """Page faults, one run each: at least those that were made on purpose."""
    with load("on_sample") as bpf:
        pid = 0 if where == "thread" else None
        with link.attach_perf_event(
            bpf.programs["on_sample"], PerfSw.PAGE_FAULTS, period=1, pid=pid
        ) as attached:
            touch_pages(100)
            count = hits(bpf, "sample")
            assert 100 <= count < 400
            assert isinstance(attached, link.LinkGroup) == (where == "cpus" and os.cpu_count() != 1)
            assert attached.info().program_id == bpf.programs["on_sample"].id
        after = hits(bpf, "sample")
        touch_pages(100)
        assert hits(bpf, "sample") == after


def test_a_clock_samples_cpus_in_a_frequency():
    """A busy loop on one CPU is seen there alone."""
    cpu = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        with (
            load("on_sample") as bpf,
            link.attach_perf_event(
                bpf.programs["on_sample"], PerfSw.CPU_CLOCK, frequency=1000, cpu=cpu
            ),
        ):
            while hits(bpf, "sample") < 5:
                sum(range(1000))
            assert bpf.variables["sample_cpus"].value == 1 << cpu
    finally:
        os.sched_setaffinity(0, before)


def test_only_a_cgroups_processes_are_counted(cgroup):
    """The kernel counts this process only while it is in the group."""
    with load("on_sample") as bpf, contextlib.ExitStack() as stack:
        try:
            attached = link.attach_perf_event(
                bpf.programs["on_sample"], PerfSw.PAGE_FAULTS, period=1, cgroup=cgroup
            )
        except pyebpf.SyscallError as error:
            if error.errno != errno.ENOENT:
                raise
            pytest.skip("the perf_event controller is not in the cgroup2 hierarchy")
        stack.enter_context(attached)
        touch_pages(50)
        assert hits(bpf, "sample") == 0
        with joined(cgroup):
            touch_pages(50)
        assert hits(bpf, "sample") >= 50


def test_a_breakpoint_is_a_whole_attr():
    """Executing one function of libc, counted exactly."""
    address = ctypes.cast(LIBC.getuid, ctypes.c_void_p).value
    attr = PerfEventAttr(
        type=PerfType.BREAKPOINT, bp_type=BreakpointType.X, bp_addr=address, bp_len=8
    )
    with load("on_sample") as bpf:
        with link.attach_perf_event(bpf.programs["on_sample"], attr, period=1, pid=0):
            for _ in range(3):
                LIBC.getuid()
        LIBC.getuid()
        assert hits(bpf, "sample") == 3


def test_missing_counters_and_wrong_arguments_are_named():
    """No processor counters in a virtual machine; two ways of sampling at once; another program."""
    with load("on_sample", "on_kprobe") as bpf:
        program = bpf.programs["on_sample"]
        with pytest.raises(ValueError, match="either a period or a frequency"):
            link.attach_perf_event(program, PerfSw.CPU_CLOCK)
        with pytest.raises(pyebpf.AttachError, match="not PERF_EVENT"):
            link.attach_perf_event(bpf.programs["on_kprobe"], PerfSw.CPU_CLOCK, period=1)
        with pytest.raises(pyebpf.AttachError, match="no control group /nothing"):
            link.attach_perf_event(program, PerfSw.CPU_CLOCK, period=1, cgroup="/nothing")

        with contextlib.suppress(pyebpf.NotSupportedError):  # named: skipped as any other
            link.attach_perf_event(program, PerfHw.CPU_CYCLES, period=1_000_000, pid=0).close()
        absent = PerfEventAttr(type=0x7FFFFFFF, config=1)
        with pytest.raises(pyebpf.NotSupportedError, match="event 0x1"):
            link.attach_perf_event(program, absent, period=1, pid=0)


# --- iterators ---------------------------------------------------------------------------------


def test_an_iterator_over_tasks_is_read_like_a_file():
    """It finds this process and all its threads; each open is a walk of its own."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with load("on_task") as bpf, link.attach_iter(bpf.programs["on_task"]) as walk:
            pairs = {tuple(map(int, line.split())) for line in walk.read().splitlines()}
            assert {(os.getpid(), os.getpid()), (os.getpid(), thread.native_id)} <= pairs
            with walk.open() as file:
                assert pairs & {tuple(map(int, line.split())) for line in file}
            assert walk.info().target == "task"
    finally:
        done.set()
        thread.join()


def test_an_iterator_over_one_process_sees_its_threads_alone():
    """By pid and by thread (Linux 6.1)."""
    with load("on_task") as bpf:
        with link.attach_iter(bpf.programs["on_task"], pid=os.getpid()) as walk:
            lines = walk.read().decode().splitlines()
            assert {line.split()[0] for line in lines} == {str(os.getpid())}
            assert walk.info().pid == os.getpid()
        with link.attach_iter(bpf.programs["on_task"], tid=os.getpid()) as walk:
            assert walk.read() == f"{os.getpid()} {os.getpid()}\n".encode()


def test_an_iterator_walks_the_elements_of_a_map():
    """And of that map alone; without one it says so."""
    with load("on_element") as bpf:
        program = bpf.programs["on_element"]
        for key in range(5):
            bpf.maps["numbers"][key] = key * 10
        with link.attach_iter(program, map=bpf.maps["numbers"]) as walk:
            found = dict(line.split("=") for line in walk.read().decode().split())
            assert found == {str(key): str(key * 10) for key in range(5)}
            assert walk.info().map_id == bpf.maps["numbers"].info().id
        with pytest.raises(pyebpf.AttachError, match="walks a map"):
            link.attach_iter(program)
        with (
            pytest.raises(pyebpf.AttachError, match='"on_sample" is no iterator'),
            load("on_sample") as other,
        ):
            link.attach_iter(other.programs["on_sample"])


def test_a_pinned_iterator_is_read_by_its_path(bpffs):
    """By any process: cat would do."""
    with load("on_task") as bpf, pyebpf.attach(bpf.programs["on_task"]) as walk:
        walk.pin(bpffs / "tasks")
        shown = subprocess.run(["cat", str(bpffs / "tasks")], capture_output=True, check=True)
        assert f"{os.getpid()} {os.getpid()}\n".encode() in shown.stdout
        (bpffs / "tasks").unlink()


def test_the_order_of_cgroups_is_told(cgroup):
    """Info says where a walk starts; a cgroup that is none is named."""
    assert CgroupIterOrder.SELF_ONLY == 1
    with load("on_task") as bpf, pytest.raises(pyebpf.AttachError, match="no cgroup /nothing"):
        link.attach_iter(bpf.programs["on_task"], cgroup="/nothing")


# --- many uprobes ------------------------------------------------------------------------------


def test_one_link_holds_many_places_of_a_library():
    """By names with cookies, by pattern, by offsets; at entry and return."""
    with load("on_uprobe_multi") as bpf:
        program = bpf.programs["on_uprobe_multi"]
        with link.attach_uprobe_multi(
            program, "libc.so.6", functions=["getuid", "getgid"], cookies=[100, 3]
        ) as attached:
            LIBC.getuid()
            LIBC.getgid()
            LIBC.getgid()
            assert (hits(bpf, "uprobe_multi"), bpf.variables["cookies"].value) == (3, 106)
            details = attached.info()
            assert details.path.endswith("libc.so.6")
            assert details.cookies == (100, 3)
        with link.attach_uprobe_multi(program, "libc.so.6", offsets=details.offsets, retprobe=True):
            LIBC.getuid()
        assert hits(bpf, "uprobe_multi") == 4
        with link.attach_uprobe_multi(program, "libc.so.6", pattern="get[ug]id"):
            LIBC.getuid()
            LIBC.getgid()
        LIBC.getuid()
        assert hits(bpf, "uprobe_multi") == 6
        assert bpf.variables["cookies"].value == 106


def test_a_session_runs_at_entry_and_return():
    """Twice a call (Linux 6.13)."""
    with load("on_uprobe_session") as bpf:
        program = bpf.programs["on_uprobe_session"]
        with link.attach_uprobe_multi(program, "libc.so.6", functions=["getuid"]):
            LIBC.getuid()
            LIBC.getuid()
        assert hits(bpf, "uprobe_session") == 4


def test_many_uprobes_see_one_process_alone():
    """Another one's calls are not counted, and no process is an error."""
    with load("on_uprobe_multi") as bpf:
        program = bpf.programs["on_uprobe_multi"]
        with link.attach_uprobe_multi(program, "libc.so.6", functions=["getuid"], pid=os.getppid()):
            LIBC.getuid()
        assert hits(bpf, "uprobe_multi") == 0
        gone = fork()
        if not gone:
            os._exit(0)
        os.waitpid(gone, 0)
        with pytest.raises(pyebpf.EbpfError, match=str(gone)):
            link.attach_uprobe_multi(program, "libc.so.6", functions=["getuid"], pid=gone)


def test_what_cannot_be_meant_is_refused():
    """Two ways of saying where, none, cookies that do not fit, a pattern without a match."""
    with load("on_uprobe_multi") as bpf:
        program = bpf.programs["on_uprobe_multi"]
        with pytest.raises(ValueError, match="one of pattern"):
            link.attach_uprobe_multi(program, "libc.so.6")
        with pytest.raises(ValueError, match="2 cookies for 1"):
            link.attach_uprobe_multi(program, "libc.so.6", functions=["getuid"], cookies=[1, 2])
        with pytest.raises(pyebpf.AttachError, match=r"no function of .* matches nothing_"):
            link.attach_uprobe_multi(program, "libc.so.6", pattern="nothing_*")


# --- uprobes through tracefs -------------------------------------------------------------------


def uprobe_events() -> list[str]:
    return [each.place for each in probe_events.ours()]


@pytest.mark.parametrize("retprobe", [False, True])
def test_a_uprobe_in_tracefs_is_removed_with_its_link(retprobe, tracefs):
    """What kernels without a uprobe PMU do."""
    spec = only("probes", "on_uprobe")
    spec.variables["target_pid"].value = os.getpid()
    with pyebpf.load(spec) as bpf:
        with link.attach_uprobe(
            bpf.programs["on_uprobe"], "libc.so.6", "getuid", retprobe=retprobe, use_tracefs=True
        ):
            LIBC.getuid()
            assert len(uprobe_events()) == 1
            assert link.leftovers() == []
        LIBC.getuid()
        assert bpf.variables["uprobe_hits"].value == 1
        assert uprobe_events() == []


def test_a_probe_of_a_killed_process_is_found_and_removed(tracefs):
    """The program goes with its process, the probe stays until clean_up()."""
    with pyebpf.load(only("probes", "on_uprobe")) as bpf:
        program = bpf.programs["on_uprobe"]
        with killed(
            lambda: link.attach_uprobe(program, "libc.so.6", "getuid", use_tracefs=True)
        ) as child:
            (left,) = link.leftovers()
            assert (left.kind, left.pid) == ("probe", child)
            assert "libc" in left.target
            assert [each.pid for each in link.clean_up()] == [child]
    assert uprobe_events() == []


# --- info, as bpftool has it -------------------------------------------------------------------


# What bpftool calls it, and what it is here.
THEIR_WORDS = {
    "prog_id": "program_id",
    "target_name": "target",
    "tp_name": "name",
    "target_obj_id": "target_object_id",
    "target_btf_id": "target_btf_id",
    "cgroup_id": "cgroup_id",
    "netns_ino": "netns_inode",
    "map_id": "map_id",
    "ifindex": "ifindex",
    "pf": "family",
    "prio": "priority",
    "path": "path",
    "cookie": "cookie",
}


def agrees(each: link.Link, shown: dict[int, dict[str, object]]) -> None:
    """Hold a link's info against what this bpftool says of it; newer ones say more."""
    details = each.info()
    theirs = shown[details.id]
    kind = details.type.c_name.removeprefix("BPF_LINK_TYPE_").lower()
    assert theirs["type"] in (kind, int(details.type))
    ours = {name: getattr(details, THEIR_WORDS[name]) for name in theirs if name in THEIR_WORDS}
    assert ours == {name: theirs[name] for name in ours}
    assert "program_id" in {THEIR_WORDS[name] for name in ours}
    if "attach_type" in theirs:
        number = getattr(details, "attach_type", None)
        name = str(theirs["attach_type"]).upper()
        assert name in {f"{int(number)}", str(number), str(number).removeprefix("BPF_")}


def test_bpftool_tells_the_same_about_links(netns, bpffs):
    """Kind, program, and what belongs to the kind."""
    with (
        load("on_uprobe_multi", "on_task") as bpf,
        pyebpf.load(only("hooks_net", "on_lookup", "on_netfilter", "one", "xdp_one")) as net,
        link.attach_uprobe_multi(
            bpf.programs["on_uprobe_multi"], "libc.so.6", functions=["getuid"], cookies=[9]
        ) as uprobes,
        link.attach_iter(bpf.programs["on_task"]) as tasks,
        link.attach_netns(net.programs["on_lookup"]) as lookup,
        link.attach_netfilter(
            net.programs["on_netfilter"], link.NetfilterHook.LOCAL_IN, priority=7
        ) as netfilter,
        link.attach_tcx(net.programs["one"], "lo") as tcx,
        link.attach_xdp(net.programs["xdp_one"], "lo") as xdp,
    ):
        shown = {each["id"]: each for each in bpftool_json("link", "show")}
        for each in (uprobes, tasks, lookup, netfilter, tcx, xdp):
            agrees(each, shown)
        assert shown[tasks.id]["target_name"] == "task"
        assert "netns_ino" in shown[lookup.id]


def test_bpftool_tells_the_same_about_older_links(cgroup, tracefs):
    """Those that every kernel with links has: events, raw tracepoints, cgroups."""
    needs("5.15", "links of perf events")
    with (
        pyebpf.load(only("probes", "on_tracepoint", "on_raw_tracepoint")) as bpf,
        pyebpf.load(only("hooks_cgroup", "one")) as groups,
        pyebpf.attach(bpf.programs["on_tracepoint"]) as event,
        pyebpf.attach(bpf.programs["on_raw_tracepoint"]) as raw,
        link.attach_cgroup(groups.programs["one"], cgroup) as group,
    ):
        shown = {each["id"]: each for each in bpftool_json("link", "show")}
        for each in (event, raw, group):
            agrees(each, shown)
        assert shown[raw.id]["tp_name"] == "sched_process_fork"
        assert "cgroup_id" in shown[group.id]
