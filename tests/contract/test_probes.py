"""Probes of programs and events: what a link and TASK_FD_QUERY tell, who is refused."""

from __future__ import annotations

import array
import os

import pytest

from pyebpf.host import pmu, tracefs
from pyebpf.host.symbols import file_offset, find_file
from pyebpf.sys import bpf, perf_event
from pyebpf.uapi.attrs import (
    LinkCreate,
    LinkCreatePerfEvent,
    LinkCreateUprobeMulti,
    LinkUpdate,
    RawTracepointOpen,
    TaskFdQuery,
)
from pyebpf.uapi.bpf import AttachType, FdType, PerfEventType, ProgType
from pyebpf.uapi.info import (
    LinkInfoEvent,
    LinkInfoTracepoint,
    LinkInfoUprobe,
    LinkInfoUprobeMulti,
    ProgInfo,
)
from pyebpf.uapi.perf import PerfEventAttr, PerfSw, PerfType
from tests.support.contract import load, outcome, require

pytestmark = pytest.mark.usefixtures("newest")

MULTI = AttachType.TRACE_UPROBE_MULTI
RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def libc() -> tuple[str, int]:
    """A file and the offset of a function in it."""
    path = find_file("libc.so.6")
    return path, file_offset(path, "getpid")


def uprobe(path: str, offset: int, *, retprobe: bool = False):
    return perf_event.open_probe(pmu.probe("uprobe", retprobe=retprobe), path, offset)


def id_of(program) -> int:
    info = ProgInfo()
    bpf.obj_get_info_by_fd(program.fileno(), info)
    return int(info.id)


def uprobe_link(program, path: bytes, offsets: tuple[int, ...], **more):
    attr = LinkCreateUprobeMulti(
        prog_fd=program.fileno(),
        attach_type=MULTI,
        path=path + b"\0",
        offsets=array.array("Q", offsets),
        cnt=len(offsets),
        **more,
    )
    return outcome(lambda: bpf.link_create(attr))


def test_many_places_of_a_file_are_one_link(kernel, libc):
    """Which tells them, with their cookies."""
    require("uprobe.multi", "6.6")
    path, offsets = libc[0], (libc[1], file_offset(libc[0], "getppid"))
    with (
        load(ProgType.KPROBE, RETURN_ZERO, expected_attach_type=MULTI) as program,
        uprobe_link(program, os.fsencode(path), offsets, cookies=array.array("Q", (7, 8))) as made,
    ):
        name, found, cookies = bytearray(512), array.array("Q", bytes(16)), array.array("Q", [0, 0])
        info = LinkInfoUprobeMulti(
            path=name, path_size=len(name), offsets=found, cookies=cookies, count=2
        )
        bpf.obj_get_info_by_fd(made.fileno(), info)
        real = os.fsencode(os.path.realpath(path))
        assert bytes(name).partition(b"\0")[0] == real
        assert (list(found), list(cookies)) == (list(offsets), [7, 8])
        assert (info.count, info.flags, info.pid, info.path_size) == (2, 0, 0, len(real) + 1)
        info = LinkInfoUprobeMulti(offsets=found, count=1)
        assert outcome(lambda: bpf.obj_get_info_by_fd(made.fileno(), info)) == "ENOSPC"
        update = LinkUpdate(link_fd=made.fileno(), new_prog_fd=program.fileno())
        assert outcome(lambda: bpf.link_update(update)) == "EINVAL"


def test_places_are_checked(kernel, libc):
    """The file, the process, what the program was loaded for."""
    require("uprobe.multi", "6.6")
    path, offset = os.fsencode(libc[0]), libc[1]
    with (
        load(ProgType.KPROBE, RETURN_ZERO, expected_attach_type=MULTI) as program,
        load(ProgType.KPROBE) as plain,
    ):
        assert uprobe_link(plain, path, (offset,)) == "EINVAL"
        assert uprobe_link(program, b"/no/such/file", (offset,)) == "ENOENT"
        assert uprobe_link(program, b"/", (offset,)) == "EBADF"
        assert uprobe_link(program, path, ()) == "EINVAL"
        assert uprobe_link(program, path, (offset,), pid=0x7FFFFFF0) == "ESRCH"
        assert uprobe_link(program, path, (offset,), pid=0xFFFFFFF0) == "EINVAL"
        assert uprobe_link(program, path, (offset,), uprobe_multi_flags=1 << 9) == "EINVAL"
        assert uprobe_link(program, path, (offset,), flags=1) == "EINVAL"
        event = LinkCreate(prog_fd=program.fileno(), attach_type=AttachType.PERF_EVENT)
        assert outcome(lambda: bpf.link_create(event)) == "EINVAL"


def test_a_link_to_an_event_tells_what_it_is_of(kernel, libc):
    """A tracepoint's name, a file and an offset, a counter; and its cookie."""
    require("what a link to an event is of", "6.6")
    path, offset = libc
    number = tracefs.tracepoint_id("sched", "sched_switch")
    faults = PerfEventAttr(
        type=PerfType.SOFTWARE, config=PerfSw.PAGE_FAULTS, sample_period=10**9, disabled=1
    )

    def create(program, event):
        attr = LinkCreatePerfEvent(
            prog_fd=program.fileno(),
            target_fd=event.fileno(),
            attach_type=AttachType.PERF_EVENT,
            bpf_cookie=9,
        )
        return bpf.link_create(attr)

    name = bytearray(512)
    with (
        load(ProgType.TRACEPOINT) as program,
        perf_event.open_tracepoint(number) as event,
        create(program, event) as made,
    ):
        info = LinkInfoTracepoint(tp_name=name, name_len=len(name))
        bpf.obj_get_info_by_fd(made.fileno(), info)
        assert bytes(name).partition(b"\0")[0] == b"sched_switch"
        assert (info.perf_event_type, info.cookie) == (PerfEventType.TRACEPOINT, 9)
    with (
        load(ProgType.KPROBE) as program,
        uprobe(path, offset, retprobe=True) as event,
        create(program, event) as made,
    ):
        info = LinkInfoUprobe(file_name=name, name_len=len(name))
        bpf.obj_get_info_by_fd(made.fileno(), info)
        assert bytes(name).partition(b"\0")[0] == os.fsencode(path)
        assert (info.perf_event_type, info.offset, info.cookie) == (
            PerfEventType.URETPROBE, offset, 9
        )  # fmt: skip
        short = LinkInfoUprobe(file_name=name, name_len=4)
        assert outcome(lambda: bpf.obj_get_info_by_fd(made.fileno(), short)) == "ENOSPC"
        assert bytes(name[:4]) == os.fsencode(path)[:3] + b"\0"
    with (
        load(ProgType.PERF_EVENT) as program,
        perf_event.open_event(faults, pid=0, cpu=-1) as event,
        create(program, event) as made,
    ):
        info = LinkInfoEvent()
        bpf.obj_get_info_by_fd(made.fileno(), info)
        assert (info.perf_event_type, info.event_type, info.config, info.cookie) == (
            PerfEventType.EVENT, PerfType.SOFTWARE, PerfSw.PAGE_FAULTS, 9
        )  # fmt: skip


def query(fd: int, room: int = 512, **more: int):
    """Return type, program, name, length and offset, or an errno."""
    name = bytearray(max(room, 1))
    attr = TaskFdQuery(**{"pid": os.getpid(), "fd": fd, "buf": name, "buf_len": room, **more})
    result = outcome(lambda: bpf.task_fd_query(attr))
    text = bytes(name).partition(b"\0")[0]
    return result or (attr.fd_type, attr.prog_id, text, attr.buf_len, attr.probe_offset)


def test_descriptors_are_asked_about(kernel, libc):
    """Events with a program, and raw tracepoints."""
    path, offset = libc
    number = tracefs.tracepoint_id("sched", "sched_switch")
    with load(ProgType.TRACEPOINT) as program, perf_event.open_tracepoint(number) as event:
        assert query(event.fileno()) == "ENOENT"
        perf_event.set_bpf(event.fileno(), program.fileno())
        told = FdType.TRACEPOINT, id_of(program), b"sched_switch", 12, 0
        assert query(event.fileno()) == told
        assert query(event.fileno(), 4) == "ENOSPC"
        assert query(event.fileno(), 0) == (*told[:2], b"", 12, 0)
        assert query(event.fileno(), flags=1) == "EINVAL"
        assert query(event.fileno(), pid=0x7FFFFFF0) == "ENOENT"
        assert query(program.fileno()) == "524"
    assert query(0x7FFFFFF0) == "EBADF"
    with load(ProgType.KPROBE) as program, uprobe(path, offset) as event:
        perf_event.set_bpf(event.fileno(), program.fileno())
        name = os.fsencode(path)
        expected = FdType.UPROBE, id_of(program), name, len(name), offset
        assert query(event.fileno()) == expected
    with load(ProgType.RAW_TRACEPOINT) as program:
        attr = RawTracepointOpen(prog_fd=program.fileno(), name=b"sched_switch\0")
        with bpf.raw_tracepoint_open(attr) as made:
            expected = FdType.RAW_TRACEPOINT, id_of(program), b"sched_switch", 12, 0
            assert query(made.fileno()) == expected


def test_a_tracepoint_has_a_program_once(kernel):
    """Whichever of its events: they share their programs."""
    number = tracefs.tracepoint_id("sched", "sched_switch")
    with (
        load(ProgType.TRACEPOINT) as program,
        perf_event.open_tracepoint(number) as first,
        perf_event.open_tracepoint(number) as second,
    ):
        perf_event.set_bpf(first.fileno(), program.fileno())

        def again():
            return outcome(lambda: perf_event.set_bpf(second.fileno(), program.fileno()))

        assert again() == "EEXIST"
        first.close()
        assert again() is None
