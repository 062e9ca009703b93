"""Probes of a made-up kernel: functions it has, files of this machine, sessions, old links."""

from __future__ import annotations

import os
import pathlib

import pytest

import pyebpf
from pyebpf import features, link
from pyebpf.errors import AttachError, SyscallError
from pyebpf.host import kallsyms, pmu
from pyebpf.host.symbols import file_offset, find_file
from pyebpf.sys import bpf, perf_event
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import LinkCreate, LinkCreateKprobeMulti, TaskFdQuery
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.perf import PerfSw
from tests.support.contract import load, outcome
from tests.support.programs import built

PID = 4711
FUNCTIONS = "".join(
    f"long __x64_sys_{name}(const struct pt_regs * regs);" for name in ("getpid", "getpgid")
)


@pytest.fixture
def kernel():
    with FakeKernel(declarations=FUNCTIONS) as made:
        yield made


@pytest.fixture
def trace(kernel):
    spec = pyebpf.load_spec(built("hooks_trace"))
    spec.variables["target_pid"].value = PID
    for each in spec.programs.values():
        each.autoload = each.section.startswith(("kprobe", "kretprobe", "uprobe", "perf_event"))
    with pyebpf.load(spec) as collection:
        yield collection


def address_of(name: str) -> int:
    (address,) = kallsyms.find([name]).addresses(name)
    return address


def fire(kernel, hook: str, *arguments: int) -> list[int]:
    return [each.retval for each in kernel.fire(hook, arguments, pid=PID)]


def test_functions_are_probed_at_their_start_and_end(kernel, trace):
    """The link tells where they are."""
    name, address = "vfs_read", address_of("vfs_read")
    with (
        link.attach_kprobe(trace.programs["on_kprobe"], name, cookie=5) as first,
        link.attach_kprobe(trace.programs["on_kretprobe"], name, retprobe=True) as second,
    ):
        assert fire(kernel, f"kprobe/{name}", 1, 2) == [0]
        assert fire(kernel, f"kretprobe/{name}", 3) == [0]
        assert trace.variables["kprobe_hits"].value == 1
        assert trace.variables["kretprobe_hits"].value == 1
        told = first.info()
        assert (told.function, told.address, told.cookie) == (name, address, 5)
        assert second.info().retprobe
    assert fire(kernel, f"kprobe/{name}") == []


def test_many_functions_are_one_link(kernel, trace):
    """By pattern, by name and by address."""
    program = trace.programs["on_kprobe_multi"]
    with link.attach_kprobe_multi(program, pattern="__x64_sys_getp*id") as made:
        assert fire(kernel, "kprobe/__x64_sys_getpid") == [0]
        assert fire(kernel, "kprobe/__x64_sys_getpgid") == [0]
        assert trace.variables["kprobe_multi_hits"].value == 2
        assert made.info().count == 2
    assert fire(kernel, "kprobe/__x64_sys_getpid") == []
    where = address_of("vfs_write")
    with link.attach_kprobe_multi(program, addresses=[where], cookies=[9], retprobe=True) as made:
        assert fire(kernel, "kretprobe/vfs_write", 5) == [0]
        assert fire(kernel, "kprobe/vfs_write") == []
        assert (made.info().addresses, made.info().cookies) == ((where,), (9,))
    with pytest.raises(SyscallError, match="ESRCH"):
        link.attach_kprobe_multi(program, functions=["no_such_function"])
    with pytest.raises(AttachError, match="no function of the kernel matches"):
        link.attach_kprobe_multi(program, pattern="nothing_like_*")


def test_what_says_where_is_checked(kernel):
    """Names or addresses, some of them, and a program that was loaded for it."""
    kind = AttachType.TRACE_KPROBE_MULTI
    names = [b"vfs_read\0"]
    with (
        load(ProgType.KPROBE, expected_attach_type=kind) as program,
        load(ProgType.KPROBE) as plain,
    ):

        def create(fd: int = program.fileno(), **more):
            attr = LinkCreateKprobeMulti(prog_fd=fd, attach_type=kind, **more)
            return outcome(lambda: bpf.link_create(attr))

        create(syms=names, cnt=1).close()
        assert create(plain.fileno(), syms=names, cnt=1) == "EINVAL"
        assert create(syms=names) == "EINVAL"
        assert create(cnt=1) == "EINVAL"
        assert create(syms=names, addrs=bytes(8), cnt=1) == "EINVAL"
        assert create(addrs=bytes(8), cnt=1) == "EINVAL"
        assert create(syms=names, cnt=2) == "EFAULT"
        assert create(syms=names, cnt=(1 << 20) + 1) == "E2BIG"
        assert create(syms=names, cnt=1, kprobe_multi_flags=2) == "EINVAL"
        attr = LinkCreate(prog_fd=program.fileno(), attach_type=kind)
        assert outcome(lambda: bpf.link_create(attr)) == "EINVAL"


def test_a_session_sees_the_return_of_calls_it_was_content_with(kernel, trace):
    """Of each call once."""
    name = "__x64_sys_getpgid"
    with link.attach_kprobe_multi(trace.programs["on_kprobe_session"], functions=[name]):
        assert fire(kernel, f"kretprobe/{name}", 0) == []
        assert fire(kernel, f"kprobe/{name}") == [0]
        assert fire(kernel, f"kretprobe/{name}", 0) == [0]
        assert fire(kernel, f"kretprobe/{name}", 0) == []
        assert trace.variables["kprobe_session_hits"].value == 2


def test_places_in_a_file_are_one_link(kernel, trace):
    """With a cookie for each."""
    path = find_file("libc.so.6", root="/")
    one, two = file_offset(path, "getpid"), file_offset(path, "getppid")
    program = trace.programs["on_uprobe_multi"]
    with link.attach_uprobe_multi(
        program, path, functions=["getpid", "getppid"], cookies=[3, 4]
    ) as made:
        fire(kernel, f"uprobe/{path}:{one:#x}")
        fire(kernel, f"uprobe/{path}:{two:#x}")
        assert trace.variables["cookies"].value == 7
        assert made.info().offsets == (one, two)
    session = trace.programs["on_uprobe_session"]
    with link.attach_uprobe_multi(session, path, functions=["getpid"]):
        assert fire(kernel, f"uprobe/{path}:{one:#x}") == [0]
        assert fire(kernel, f"uretprobe/{path}:{one:#x}", 1) == [0]


def test_counters_run_programs_on_their_cpus(kernel, trace):
    """One event for each."""
    with link.attach_perf_event(trace.programs["on_sample"], PerfSw.CPU_CLOCK, period=10**6):
        kernel.fire("perf_event/cpu_clock", cpu=1, pid=PID)
        assert trace.variables["sample_cpus"].value == 2


def test_an_old_kernel_tells_about_events_by_their_descriptors():
    """Without links: BPF_TASK_FD_QUERY."""
    with (
        FakeKernel("5.10") as kernel,
        load(ProgType.KPROBE) as fd,
        pyebpf.Program.from_fd(fd.fileno()) as program,
        link.attach_kprobe(program, "vfs_read") as made,
    ):
        told = made.info()
        assert (told.function, told.program_id) == ("vfs_read", program.id)
        assert len(kernel.fire("kprobe/vfs_read", (1,))) == 1


def test_features_of_probes_are_found(kernel):
    """As with a kernel."""
    assert features.uprobe_multi.available()
    assert features.uprobe_session.available()
    assert features.uprobe_multi_process.available()
    with FakeKernel("6.6"):
        assert features.uprobe_multi.available()
        assert not features.uprobe_session.available()
        assert not features.uprobe_multi_process.available()


def test_another_process_is_not_asked_about(kernel):
    """Which is not modelled."""
    attr = TaskFdQuery(pid=os.getppid(), fd=0)
    with pytest.raises(NotImplementedError, match="BPF_TASK_FD_QUERY"):
        bpf.task_fd_query(attr)


def test_an_address_is_a_place_in_a_function(kernel):
    """EINVAL where there is none."""
    source = pmu.probe("kprobe")
    with (
        load(ProgType.KPROBE) as program,
        perf_event.open_probe(source, None, address_of("vfs_read") + 4) as event,
    ):
        perf_event.set_bpf(event.fileno(), program.fileno())
        assert fire(kernel, "kprobe/vfs_read") == []
        assert fire(kernel, "kprobe/vfs_read+0x4") == [2]
    with pytest.raises(SyscallError, match="EINVAL"):
        perf_event.open_probe(source, None, 4096)


def test_counters_of_a_control_group_need_one(kernel, trace, tmp_path):
    """A directory of the kernel's."""
    program = trace.programs["on_sample"]
    group = pathlib.Path(kernel.path("sys/fs/cgroup/app"))
    group.mkdir()
    with link.attach_perf_event(
        program, PerfSw.CPU_CLOCK, period=1, cgroup="/sys/fs/cgroup/app", cpu=0
    ):
        kernel.fire("perf_event/cpu_clock", pid=PID)
        assert trace.variables["sample_hits"].value == 1
    with pytest.raises(SyscallError, match="EBADF"):
        link.attach_perf_event(program, PerfSw.CPU_CLOCK, period=1, cgroup=tmp_path)
