"""Ids, descriptors, pins, links: when objects come and when they go."""

from __future__ import annotations

import errno
import os
import pathlib
import select

import pytest

import pyebpf
from pyebpf import link, pinning
from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.sys import bpf, perf_event
from pyebpf.uapi.attrs import (
    BtfLoad,
    EnableStats,
    LinkCreate,
    LinkUpdate,
    ObjPin,
    ProgTestRun,
    RawTracepointOpen,
)
from pyebpf.uapi.bpf import AttachType, MapType, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.info import (
    BtfInfo,
    LinkInfo,
    LinkInfoRawTracepoint,
    LinkInfoTcx,
    LinkInfoTracing,
    MapInfo,
    ProgInfo,
)
from pyebpf.uapi.perf import PerfEventAttr, PerfSw, PerfType
from tests.support.contract import create, load, outcome, u32, update
from tests.support.programs import built

RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


def id_of(fd: int) -> int:
    info = MapInfo()
    bpf.obj_get_info_by_fd(fd, info)
    return int(info.id)


def gone(number: int) -> bool:
    """Whether a map goes, sooner or later: the kernel frees them when it gets to it."""
    for _ in range(5000):
        if outcome(lambda: bpf.map_get_fd_by_id(number).close()) == "ENOENT":
            return True
        select.poll().poll(1)
    return False


def test_a_map_is_there_as_long_as_a_descriptor(kernel):
    """Dups count, too."""
    fd = create(MapType.ARRAY, 4, 4, 1, map_name=b"mine")
    number = id_of(fd.fileno())
    duplicate = fd.dup()
    fd.close()
    assert id_of(duplicate.fileno()) == number
    assert number in list(ids())
    duplicate.close()
    assert gone(number)


def ids() -> list[int]:
    found = []
    last: int | None = 0
    while last is not None:
        last = bpf.map_get_next_id(last)
        if last is not None:
            found.append(last)
    return found


def test_descriptors_of_something_else_are_refused(kernel):
    """EBADF for what is not open, EINVAL for what is another thing."""
    reader, writer = os.pipe()
    try:
        assert update_of(reader) == "EINVAL"
    finally:
        os.close(reader)
        os.close(writer)
    assert update_of(reader) == "EBADF"
    with load() as program:
        assert update_of(program.fileno()) == "EINVAL"
        info = LinkInfo()
        assert outcome(lambda: bpf.obj_get_info_by_fd(program.fileno(), info)) is None


def update_of(fd: int) -> object:
    from pyebpf.uapi.attrs import MapElem

    attr = MapElem(map_fd=fd, key=u32(0), value=u32(0))
    return outcome(lambda: bpf.map_update_elem(attr))


def test_ids_beyond_the_last_are_not_there(kernel):
    """ENOENT by id and for the next one."""
    assert outcome(lambda: bpf.map_get_fd_by_id(0x7FFFFFF0)) == "ENOENT"
    assert bpf.map_get_next_id(0x7FFFFFF0) is None
    assert outcome(lambda: bpf.map_get_next_id(0x7FFFFFFF)) == "EINVAL"


def test_pins_keep_what_they_name(kernel, pins):
    """Until the last one is removed."""
    with create(MapType.ARRAY, 4, 4, 1) as fd:
        number = id_of(fd.fileno())
        pinning.pin(fd.fileno(), pins / "first")
        with pytest.raises(SyscallError) as caught:
            pinning.pin(fd.fileno(), pins / "first")
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(SyscallError) as caught:
            pinning.pin(fd.fileno(), pins / "with.dot")
        assert caught.value.errno == errno.EPERM
        with pytest.raises(SyscallError) as caught:
            pinning.pin(fd.fileno(), pins / "no" / "such" / "place")
        assert caught.value.errno == errno.ENOENT
        pinning.pin(fd.fileno(), pins / "new" / "second")
    with pinning.open_pin(pins / "first") as again:
        assert id_of(again.fileno()) == number
        assert pinning.kind_of(again.fileno()) == "map"
    # The kernel's own pins (CONFIG_BPF_PRELOAD) have dots in their names.
    found = [path for path in pinning.walk(pins) if "." not in path.name]
    assert found == [pins / "first", pins / "new" / "second"]
    pinning.unpin(pins / "first")
    with pytest.raises(SyscallError) as caught:
        pinning.unpin(pins / "first")
    assert caught.value.errno == errno.ENOENT
    assert number in ids()
    pinning.unpin(pins / "new" / "second")
    pathlib.Path(pinning.place(pins / "new")).rmdir()
    assert gone(number)


def test_what_is_no_object_or_no_bpffs_cannot_be_pinned(kernel, pins, tmp_path):
    """EINVAL and EPERM."""
    reader, writer = os.pipe()
    path = str(pins / "pin").encode() + b"\0"
    assert outcome(lambda: bpf.obj_pin(ObjPin(pathname=path, bpf_fd=reader))) == "EINVAL"
    os.close(reader)
    os.close(writer)
    with create(MapType.ARRAY, 4, 4, 1) as fd:
        path = str(tmp_path / "pin").encode() + b"\0"
        pin = ObjPin(pathname=path, bpf_fd=fd.fileno())
        assert outcome(lambda: bpf.obj_pin(pin)) == "EPERM"
    assert outcome(lambda: bpf.obj_get(ObjPin(pathname=path))) == "ENOENT"
    assert outcome(lambda: bpf.obj_get(ObjPin(pathname=b"/\0"))) == "EACCES"


def test_the_kernels_types_are_listed_and_read(kernel, age):
    """Under the name vmlinux."""
    if age < (5, 11):
        raise NotSupportedError("BTF of the kernel by id", "5.11")
    number: int | None = 0
    names = {}
    while True:
        number = bpf.btf_get_next_id(number or 0)
        if number is None:
            break
        with bpf.btf_get_fd_by_id(number) as fd:
            name = bytearray(64)
            info = BtfInfo(name=name, name_len=len(name))
            bpf.obj_get_info_by_fd(fd.fileno(), info)
            names[bytes(name).partition(b"\0")[0]] = info
    assert names[b"vmlinux"].kernel_btf == 1
    assert names[b"vmlinux"].name_len == len("vmlinux")


def test_raw_tracepoints_say_what_they_are(kernel):
    """With a name in the kernel, and ENOENT for others."""
    with load(ProgType.RAW_TRACEPOINT) as program:
        attr = RawTracepointOpen(prog_fd=program.fileno(), name=b"no_such_tracepoint\0")
        assert outcome(lambda: bpf.raw_tracepoint_open(attr)) == "ENOENT"
        attr = RawTracepointOpen(prog_fd=program.fileno(), name=b"sched_process_exec\0")
        with bpf.raw_tracepoint_open(attr) as fd:
            name = bytearray(64)
            info = LinkInfoRawTracepoint(tp_name=name, tp_name_len=len(name))
            bpf.obj_get_info_by_fd(fd.fileno(), info)
            assert bytes(name).partition(b"\0")[0] == b"sched_process_exec"
            other = LinkUpdate(link_fd=fd.fileno(), new_prog_fd=program.fileno())
            assert outcome(lambda: bpf.link_update(other)) == "EINVAL"
            with link.Link.from_fd(fd.fileno()) as opened, pytest.raises(SyscallError) as caught:
                opened.detach()
            assert caught.value.errno == errno.EOPNOTSUPP
    with load() as program:
        attr = RawTracepointOpen(prog_fd=program.fileno(), name=b"sched_process_exec\0")
        assert outcome(lambda: bpf.raw_tracepoint_open(attr)) == "EINVAL"


def test_what_a_program_was_loaded_for_takes_it_once(kernel, age):
    """fentry: EBUSY for a second time, and again once the first is closed."""
    target = kernel_btf().find("bpf_fentry_test1", BtfKind.FUNC)
    wanted = {"attach_btf_id": target, "expected_attach_type": AttachType.TRACE_FENTRY}
    try:
        program = load(ProgType.TRACING, RETURN_ZERO, **wanted)
    except pyebpf.PrivilegeError as error:
        if "a policy of this kernel" in str(error):
            pytest.skip("a policy of this kernel refuses programs that attach to functions")
        raise
    with program:
        attr = RawTracepointOpen(prog_fd=program.fileno())
        with bpf.raw_tracepoint_open(attr) as fd:
            info = LinkInfoTracing()
            bpf.obj_get_info_by_fd(fd.fileno(), info)
            assert info.attach_type == AttachType.TRACE_FENTRY
            assert info.target_btf_id == (target if age >= (5, 13) else 0)
            again = outcome(lambda: bpf.raw_tracepoint_open(attr))
            assert again == ("EBUSY" if age >= (5, 13) else "ENOENT")
        named = RawTracepointOpen(prog_fd=program.fileno(), name=b"sched_switch\0")
        assert outcome(lambda: bpf.raw_tracepoint_open(named)) == "EINVAL"
    wrong = {"attach_btf_id": target, "expected_attach_type": AttachType.TRACE_RAW_TP}
    assert outcome(lambda: load(ProgType.TRACING, RETURN_ZERO, **wrong)) == "EINVAL"


def test_runs_are_counted_while_somebody_wants_it(kernel):
    """ENABLE_STATS; only runs of that time."""
    with load() as program:
        runs = ProgTestRun(prog_fd=program.fileno(), data_in=bytes(14), data_size_in=14, repeat=5)
        bpf.prog_test_run(runs)
        with bpf.enable_stats(EnableStats()):
            bpf.prog_test_run(runs)
        bpf.prog_test_run(runs)
        info = ProgInfo()
        bpf.obj_get_info_by_fd(program.fileno(), info)
        assert info.run_cnt == 5
    assert outcome(lambda: bpf.enable_stats(EnableStats(type=9))) == "EINVAL"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x9f\xeb", bytes(24), b"\x9f\xeb\1\0" + bytes(20), b"\x9f\xeb\1\0\x18" + bytes(200)],
    ids=len,
)
def test_types_that_make_no_sense_are_refused(kernel, data):
    """EINVAL, whatever is wrong."""
    attr = BtfLoad(btf=data or b"x", btf_size=len(data))
    assert outcome(lambda: bpf.btf_load(attr)) == "EINVAL"


def test_an_event_takes_one_program_of_its_type(kernel, age):
    """By ioctl or link."""
    with (
        load(ProgType.TRACEPOINT) as program,
        load(ProgType.KPROBE) as other,
        tracepoint("sched/sched_process_fork") as event,
    ):
        assert outcome(lambda: perf_event.set_bpf(event.fileno(), other.fileno())) == "EINVAL"
        perf_event.set_bpf(event.fileno(), program.fileno())
        assert outcome(lambda: perf_event.set_bpf(event.fileno(), program.fileno())) == "EEXIST"
        attr = LinkCreate(
            prog_fd=program.fileno(),
            target_fd=event.fileno(),
            attach_type=AttachType.PERF_EVENT,
        )
        assert outcome(lambda: bpf.link_create(attr)) == ("EEXIST" if age >= (5, 15) else "EINVAL")
        assert len(perf_event.programs(event.fileno())) == 1


def tracepoint(name: str):
    from pyebpf.host import tracefs

    return perf_event.open_tracepoint(tracefs.tracepoint_id(*name.split("/")))


@pytest.mark.parametrize(
    ("attr", "where", "expected"),
    [
        ({"type": PerfType.TRACEPOINT, "config": 1 << 30}, (-1, 0), "EINVAL"),
        ({"type": PerfType.SOFTWARE, "config": PerfSw.BPF_OUTPUT}, (-1, -1), "EINVAL"),
        ({"type": PerfType.SOFTWARE, "config": PerfSw.BPF_OUTPUT}, (-1, 100_000), "EINVAL"),
        (
            {"type": PerfType.SOFTWARE, "config": PerfSw.BPF_OUTPUT, "read_format": 1 << 40},
            (-1, 0),
            "EINVAL",
        ),
        ({"type": PerfType.SOFTWARE, "config": PerfSw.BPF_OUTPUT}, (-1, 0), None),
    ],
)
def test_events_are_checked(kernel, attr, where, expected):
    """Ids, CPUs, formats."""
    pid, cpu = where

    def attempt() -> None:
        perf_event.open_event(PerfEventAttr(**attr), pid=pid, cpu=cpu).close()

    assert outcome(attempt) == expected


def test_xdp_links_are_one_to_an_interface_and_can_be_changed(kernel, request):
    """EBUSY for a second, EINVAL for another type or interface."""
    if kernel is None:
        request.getfixturevalue("netns")
    with (
        load(ProgType.XDP) as program,
        load(ProgType.XDP) as second,
        load() as filter_program,
    ):

        def attempt(fd: int, index: int = 1, flags: int = 0):
            attr = LinkCreate(
                prog_fd=fd, target_ifindex=index, attach_type=AttachType.XDP, flags=flags
            )
            return outcome(lambda: bpf.link_create(attr))

        assert attempt(program.fileno(), 424242) == "EINVAL"
        assert attempt(filter_program.fileno()) == "EINVAL"
        assert attempt(program.fileno(), flags=1 << 10) == "EINVAL"
        with attempt(program.fileno()) as fd:
            assert attempt(second.fileno()) == "EBUSY"
            update_attr = LinkUpdate(link_fd=fd.fileno(), new_prog_fd=second.fileno())
            assert outcome(lambda: bpf.link_update(update_attr)) is None
            wrong = LinkUpdate(link_fd=fd.fileno(), new_prog_fd=filter_program.fileno())
            assert outcome(lambda: bpf.link_update(wrong)) == "EINVAL"
        with attempt(second.fileno()) as fd, link.Link.from_fd(fd.fileno()) as opened:
            opened.detach()
            with attempt(program.fileno()):
                pass


def test_tcx_links_stand_in_a_row_and_can_be_changed(kernel, age, request):
    """Each program once; EINVAL for another type, ENODEV for another interface."""
    if age < (6, 6):
        raise NotSupportedError("tcx", "6.6")
    if kernel is None:
        request.getfixturevalue("netns")
    with (
        load(ProgType.SCHED_CLS) as program,
        load(ProgType.SCHED_CLS) as second,
        load(ProgType.XDP) as other,
    ):

        def attempt(fd: int, index: int = 1):
            attr = LinkCreate(prog_fd=fd, target_ifindex=index, attach_type=AttachType.TCX_INGRESS)
            return outcome(lambda: bpf.link_create(attr))

        assert attempt(other.fileno()) == "EINVAL"
        assert attempt(program.fileno(), 424242) == "ENODEV"
        with attempt(program.fileno()) as fd, attempt(second.fileno()):
            assert attempt(program.fileno()) == "EEXIST"
            info = LinkInfoTcx()
            bpf.obj_get_info_by_fd(fd.fileno(), info)
            assert (info.ifindex, info.attach_type) == (1, AttachType.TCX_INGRESS)
            wrong = LinkUpdate(link_fd=fd.fileno(), new_prog_fd=other.fileno())
            assert outcome(lambda: bpf.link_update(wrong)) == "EINVAL"
            with link.Link.from_fd(fd.fileno()) as opened:
                opened.detach()
            bpf.obj_get_info_by_fd(fd.fileno(), info)
            assert info.ifindex == 0
            again = LinkUpdate(link_fd=fd.fileno(), new_prog_fd=program.fileno())
            assert outcome(lambda: bpf.link_update(again)) == "ENOLINK"


def test_a_collection_pins_and_opens_again(kernel, pins):
    """As a whole, by its spec."""
    with pyebpf.load(built("count")) as collection:
        collection.pin(pins / "all")
        names = sorted(collection.maps), sorted(collection.programs)
    with pyebpf.load_pinned(pins / "all", pyebpf.load_spec(built("count"))) as again:
        assert (sorted(again.maps), sorted(again.programs)) == names
    for path in list(pinning.walk(pins / "all")):
        pinning.unpin(path)
    for directory in ("maps", "programs", "links", "."):
        place = pathlib.Path(pinning.place(pins / "all" / directory))
        if place.exists():
            place.rmdir()


def test_memory_of_arrays_and_rings_is_mapped_or_refused(kernel):
    """By kind, flags and freezing."""
    with pyebpf.Map.create(
        type=MapType.ARRAY, key_size=4, value_size=4, max_entries=2, flags=1 << 10
    ) as mapped:
        memory = mapped.memory()
        memory[8:12] = u32(7)
        with mapped.raw as raw:
            assert raw[u32(1)] == u32(7)
        assert outcome(mapped.freeze) == "EBUSY"
        memory.close()
        mapped.freeze()
        assert outcome(mapped.memory) == "EPERM"
        mapped.memory(writable=False).close()
    with create(MapType.ARRAY, 4, 4, 2) as fd, pyebpf.Map.from_fd(fd.fileno()) as plain:
        assert outcome(plain.memory) == "EINVAL"
        assert update(fd, u32(0), u32(1)) is None
    with pyebpf.Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=2) as hashed:
        assert outcome(hashed.memory) == "524"
