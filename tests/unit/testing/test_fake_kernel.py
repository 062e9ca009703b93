"""What only a made-up kernel can do: fire hooks, feed readers, fail on demand, be old."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import threading

import pytest

import pyebpf
from pyebpf import features, link, pinning, testing
from pyebpf.errors import (
    ExecutionError,
    MapFullError,
    NotSupportedError,
    PrivilegeError,
    SyscallError,
)
from pyebpf.host import cpus, kallsyms, kconfig, kernel_btf, pmu, tracefs, version
from pyebpf.maps.map import Map
from pyebpf.sys import bpf, perf_event
from pyebpf.sys import kernel as seam
from pyebpf.testing import FakeKernel, Outcome
from pyebpf.testing.commands.links import MAKERS
from pyebpf.testing.commands.table import COMMANDS
from pyebpf.uapi.attrs import (
    LinkCreate,
    LinkCreatePerfEvent,
    MapCreate,
    MapElem,
    ProgAttach,
    ProgLoad,
    ProgTestRun,
)
from pyebpf.uapi.bpf import AttachType, Cmd, MapFlag, MapType, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.perf import PerfSw
from tests.support.contract import RETURN_TWO, create, load, u32
from tests.support.programs import built

EXEC = "tracepoint/sched/sched_process_exec"


@pytest.fixture
def kernel():
    with FakeKernel() as made:
        yield made


# --- hooks


@pytest.mark.parametrize("name", ["trace_exec", "trace_exec_ring"])
def test_an_attached_program_runs_when_its_hook_is_fired(kernel, name):
    """With the task the test says, read through the kernel's structs, and no longer once closed."""
    with (
        pyebpf.load(built(name)) as collection,
        collection.reader("events", record="exec_event") as reader,
    ):
        record = kernel.record("sched/sched_process_exec", filename="/bin/true", pid=7)
        assert kernel.fire(EXEC, record) == []
        collection.attach()
        outcomes = kernel.fire(EXEC, record, pid=7, ppid=3, uid=1000, comm="true")
        assert outcomes == [Outcome(program="on_exec", retval=0)]
        event = reader.read(0)
        found = event.pid, event.ppid, event.uid, event.comm, event.filename
        assert found == (7, 3, 1000, "true", "/bin/true")
    assert kernel.fire(EXEC, record) == []


def test_raw_tracepoints_take_numbers_and_cpus(kernel):
    """Counts per CPU, of one process only."""
    spec = pyebpf.load_spec(built("count_syscalls"))
    spec.variables["target_pid"].value = 5
    with pyebpf.load(spec) as collection:
        collection.attach()
        for cpu, pid, number in ((0, 5, 1), (1, 5, 1), (1, 5, 1), (0, 6, 1), (0, 5, 2)):
            kernel.fire("raw_tp/sys_enter", (0, number), cpu=cpu, pid=pid)
        assert dict(collection.maps["counts"].items()) == {1: [1, 2], 2: [1, 0]}


def test_packets_are_fired_at_interfaces(kernel):
    """And come back."""
    with pyebpf.load(built("xdp_drop")) as collection:
        program = collection.programs["xdp_drop"]
        with link.attach_xdp(program, "lo"):
            assert kernel.fire("xdp/lo", bytes(64)) == [
                Outcome(program="xdp_drop", retval=2, data=bytes(64))
            ]
        assert kernel.fire("xdp/lo", bytes(64)) == []


def test_packets_pass_programs_of_tc_until_one_decides(kernel):
    """In the order in which they were attached; a direction is a hook of its own."""
    go_on = struct.pack("=BBhi", 0xB4, 0, 0, -1) + RETURN_TWO[8:]
    with load(ProgType.SCHED_CLS, go_on) as first, load(ProgType.SCHED_CLS) as second:
        held = []
        for program in (first, second, first):
            attr = LinkCreate(prog_fd=program.fileno(), target_ifindex=1)
            attr.attach_type = AttachType.TCX_INGRESS if len(held) < 2 else AttachType.TCX_EGRESS
            held.append(bpf.link_create(attr))
        outcomes = kernel.fire("tc/lo/ingress", bytes(64))
        assert [each.retval for each in outcomes] == [0xFFFFFFFF, 2]
        assert outcomes[0].data == bytes(64)
        assert [each.retval for each in kernel.fire("tcx/lo/egress", bytes(64))] == [0xFFFFFFFF]
        for each in held:
            each.close()
    with pytest.raises(ValueError, match="no hook tcx/lo/sideways"):
        kernel.fire("tc/lo/sideways", bytes(64))


def test_arguments_of_probes_are_in_the_registers(kernel):
    """A kprobe by a bare event: the first argument, returned."""
    offset = {"x86_64": 112, "aarch64": 0}[os.uname().machine]
    code = struct.pack("=BBhi", 0x79, 0x10, offset, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    with load(ProgType.KPROBE, code) as program:
        event = perf_event.open_probe(pmu.probe("kprobe"), "do_unlinkat")
        with event:
            perf_event.set_bpf(event.fileno(), program.fileno())
            outcomes = kernel.fire("kprobe/do_unlinkat", (42, 1))
            assert [each.retval for each in outcomes] == [42]
        assert kernel.fire("kprobe/do_unlinkat", (42, 1)) == []


def test_typed_arguments_are_structs_in_memory(kernel):
    """Loads through pointers, relocated to where this kernel has the members."""
    spec = pyebpf.load_spec(built("core"))
    for each in spec.programs.values():
        each.autoload = each.name == "plain_loads"
    spec.variables["target_pid"].value = 5
    with pyebpf.load(spec) as collection:
        collection.attach()
        parent = kernel.struct("task_struct", tgid=5, flags=7, comm="parent")
        child = kernel.struct("task_struct", flags=9)
        (outcome,) = kernel.fire("tp_btf/sched_process_fork", (parent, child))
        assert outcome.program == "plain_loads"
        found = collection.variables["found"].value
        assert (found.parent_flags, found.child_flags) == (7, 9)
    with pytest.raises(ValueError, match="no struct nothing"):
        kernel.struct("nothing")
    with pytest.raises(ValueError, match="no member nothing"):
        kernel.struct("task_struct", nothing=1)
    with pytest.raises(ValueError, match="comm takes 16 bytes, not 17"):
        kernel.struct("task_struct", comm="x" * 17)


def test_fields_are_read_through_the_current_task(kernel):
    """All that CO-RE can ask of a struct, answered by the made-up types."""
    spec = pyebpf.load_spec(built("core"))
    spec.variables["target_pid"].value = 5
    for each in spec.programs.values():
        each.autoload = each.name in ("fields", "types")
    with pyebpf.load(spec) as collection:
        collection.attach()
        kernel.fire("raw_tp/sys_enter", (0, 1), pid=5, ppid=3, comm="five")
        found = collection.variables["found"].value
        assert (found.tgid, found.ppid, found.comm) == (5, 3, "five")
        assert (found.comm_size, found.comm_exists, found.missing_member_exists) == (16, 1, 0)
        assert (found.task_type_exists, found.missing_type_exists, found.xdp_value) == (1, 0, 6)


def test_probes_of_user_programs_run_by_file_and_offset(kernel):
    """And return probes by what is returned."""
    code = struct.pack("=BBhi", 0xB7, 0, 0, 3) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    with load(ProgType.KPROBE, code) as program:
        for retprobe, hook in ((False, "uprobe"), (True, "uretprobe")):
            source = pmu.probe("uprobe", retprobe=retprobe)
            with perf_event.open_probe(source, "/bin/true", 0x1234) as event:
                perf_event.set_bpf(event.fileno(), program.fileno())
                (outcome,) = kernel.fire(f"{hook}//bin/true:0x1234", (1,))
                assert outcome.retval == 3
    with pytest.raises(SyscallError, match="ENOENT"):
        perf_event.open_probe(pmu.probe("kprobe"), "no_such_function")


def test_counters_are_fired_by_name(kernel):
    """As sampling profilers hang on them."""
    with (
        load(ProgType.PERF_EVENT) as program,
        perf_event.open_software(PerfSw.CPU_CLOCK, cpu=0, frequency=99) as event,
    ):
        perf_event.set_bpf(event.fileno(), program.fileno())
        assert [each.retval for each in kernel.fire("perf_event/cpu_clock")] == [2]


def test_cookies_are_those_of_the_attachment(kernel):
    """Each link has its own."""
    call = struct.pack("=BBhi", 0x85, 0, 0, FuncId.get_attach_cookie)
    code = call + RETURN_TWO[8:]
    with load(ProgType.TRACEPOINT, code) as first, load(ProgType.TRACEPOINT, code) as second:
        held = []
        for cookie, program in ((7, first), (8, second)):
            number = tracefs.tracepoint_id("sched", "sched_switch")
            with perf_event.open_tracepoint(number) as event:
                attr = LinkCreatePerfEvent(
                    prog_fd=program.fileno(),
                    target_fd=event.fileno(),
                    attach_type=AttachType.PERF_EVENT,
                    bpf_cookie=cookie,
                )
                held.append(bpf.link_create(attr))
        outcomes = kernel.fire("tracepoint/sched/sched_switch", bytes(64))
        assert [each.retval for each in outcomes] == [7, 8]
        for each in held:
            each.close()


@pytest.mark.parametrize(
    "hook", ["tracepoint", "nothing/at/all", "tracepoint/sched/nothing", "xdp/nosuch0", "raw_tp/no"]
)
def test_hooks_that_are_not_there_are_refused(kernel, hook):
    """Naming what was asked for."""
    with pytest.raises(ValueError, match=r"hook|tracepoint|interface"):
        kernel.fire(hook, b"")


def test_fields_of_records_are_checked(kernel):
    """Names, sizes, kinds."""
    with pytest.raises(ValueError, match="no field nothing"):
        kernel.record("sched/sched_process_exec", nothing=1)
    with pytest.raises(ValueError, match="comm takes 16 bytes, not 17"):
        kernel.record("sched/sched_process_exit", comm="x" * 17)


def test_a_program_that_no_verifier_would_take_ends_with_an_error(kernel):
    """The structure is fine: only running it shows that it reads through a null pointer."""
    code = struct.pack("=BBhi", 0xB7, 1, 0, 0) + struct.pack("=BBhi", 0x79, 0x10, 0, 0)
    with load(code=code + RETURN_TWO[8:]) as program:
        attr = ProgTestRun(prog_fd=program.fileno(), data_in=bytes(14), data_size_in=14)
        with pytest.raises(ExecutionError, match="null"):
            bpf.prog_test_run(attr)


def test_a_map_of_programs_is_jumped_through(kernel):
    """A tail call to what a descriptor put there."""
    with create(MapType.PROG_ARRAY, 4, 4, 1) as table:
        code = b"".join(
            [
                struct.pack("=BBhiBBhi", 0x18, 0x12, 0, table.fileno(), 0, 0, 0, 0),
                struct.pack("=BBhi", 0xB7, 3, 0, 0),
                struct.pack("=BBhi", 0x85, 0, 0, FuncId.tail_call),
                struct.pack("=BBhi", 0xB7, 0, 0, 1),
                struct.pack("=BBhi", 0x95, 0, 0, 0),
            ]
        )
        with load(code=code) as program:
            attr = ProgTestRun(prog_fd=program.fileno(), data_in=bytes(14), data_size_in=14)
            bpf.prog_test_run(attr)
            assert attr.retval == 1
            with load() as target:
                slot = MapElem(map_fd=table.fileno(), key=u32(0), value=u32(target.fileno()))
                bpf.map_update_elem(slot)
            bpf.prog_test_run(attr)
            assert attr.retval == 2


# --- readers


def test_events_are_put_in_by_the_test(kernel):
    """Until there is no room, which counts as lost; without a reader it is an error."""
    with Map.create(type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=2) as each:
        with pytest.raises(ValueError, match="nobody reads"):
            kernel.emit(each, b"x")
        with pyebpf.PerfReader(each, pages=1) as reader:
            assert kernel.emit(each, b"12345678", cpu=1)
            assert reader.drain() == [b"12345678" + bytes(4)]
            room = [kernel.emit(each, bytes(1000)) for _ in range(5)]
            assert room == [True, True, True, True, False]
            assert reader.stats().lost == 1
    with (
        Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=2) as other,
        pytest.raises(TypeError, match="BPF_MAP_TYPE_HASH"),
    ):
        kernel.emit(other, b"x")


def test_an_event_loop_is_told(kernel):
    """Asyncio waits for the reader's descriptor."""

    async def receive(reader: pyebpf.RingReader[bytes]) -> list[bytes]:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(reader.fileno(), ready.set)
        found: list[bytes] = []
        try:
            loop.call_later(0.01, lambda: kernel.emit(ring, b"later"))
            while not found:
                await asyncio.wait_for(ready.wait(), 10)
                ready.clear()
                found += reader.drain()
        finally:
            loop.remove_reader(reader.fileno())
        return found

    with Map.create(type=MapType.RINGBUF, max_entries=4096) as ring, pyebpf.RingReader(ring) as one:
        assert asyncio.run(receive(one)) == [b"later"]


def test_threads_may_share_it(kernel):
    """Four of them, on one map."""
    with Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=4000) as shared:

        def work(start: int) -> None:
            for number in range(start, start + 500):
                shared[u32(number)] = u32(number)

        threads = [threading.Thread(target=work, args=(500 * each,)) for each in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(shared) == 2000


# --- failures on demand


def test_calls_fail_when_the_test_says(kernel):
    """After so many, so often; elements, too."""
    kernel.fail(Cmd.MAP_CREATE, errno.ENOMEM, after=1, times=2)
    create(MapType.ARRAY, 4, 4, 1).close()
    for _ in range(2):
        with pytest.raises(SyscallError, match="BPF_MAP_CREATE: ENOMEM: made to fail"):
            create(MapType.ARRAY, 4, 4, 1)
    with Map.create(type=MapType.HASH, key_size=4, value_size=4, max_entries=9) as numbers:
        kernel.fail(Cmd.MAP_UPDATE_ELEM, errno.E2BIG, after=3)
        for number in range(3):
            numbers[u32(number)] = u32(0)
        with pytest.raises(MapFullError):
            numbers[u32(9)] = u32(0)
        numbers[u32(9)] = u32(0)
        kernel.fail(Cmd.MAP_LOOKUP_ELEM, errno.EPERM, times=None)
        for _ in range(3):
            with pytest.raises(PrivilegeError):
                numbers.lookup(u32(0))


def test_other_calls_fail_likewise(kernel):
    """perf_event_open, mmap."""
    with Map.create(type=MapType.PERF_EVENT_ARRAY, key_size=4, value_size=4, max_entries=2) as each:
        kernel.fail("perf_event_open", errno.EMFILE, after=1)
        with pytest.raises(SyscallError, match="perf_event_open: EMFILE"):
            pyebpf.PerfReader(each)
        kernel.fail("mmap", errno.EPERM)
        with pytest.raises(PrivilegeError, match="mmap: EPERM"):
            pyebpf.PerfReader(each)
        pyebpf.PerfReader(each).close()


def test_failures_that_make_no_sense_are_refused(kernel):
    """No such call, no such number."""
    with pytest.raises(ValueError, match="not a command"):
        kernel.fail("fork", errno.EAGAIN)
    with pytest.raises(ValueError, match="errno"):
        kernel.fail(Cmd.MAP_CREATE, 0)


# --- what it does not model


@pytest.mark.parametrize(
    "cmd", [each for each in Cmd if each not in COMMANDS and each != Cmd.PROG_ASSOC_STRUCT_OPS]
)
def test_commands_without_a_model_are_named(kernel, cmd):
    """Never a quiet zero."""
    with pytest.raises(NotImplementedError, match=cmd.c_name):
        kernel.bpf(cmd, bytearray(168))


def test_kinds_of_maps_without_a_model_can_be_created_only(kernel):
    """Their elements are an error that names command and kind."""
    with (
        Map.create(type=MapType.USER_RINGBUF, max_entries=4096) as created,
        created.raw as made,
        pytest.raises(NotImplementedError, match=f"BPF_MAP_UPDATE_ELEM of {MapType.USER_RINGBUF}"),
    ):
        made.update(b"", b"")


def test_attachments_without_a_model_are_named(kernel):
    """By their attach type."""
    attr = ProgAttach(attach_type=AttachType.LIRC_MODE2)
    with pytest.raises(NotImplementedError, match="BPF_PROG_ATTACH of BPF_LIRC_MODE2"):
        bpf.prog_attach(attr)


def test_what_has_no_model_is_written_down():
    """Each command, and each hook that links are made to."""
    (commands,) = re.findall(r"These commands:(.*?)\. Links", testing.__doc__, re.DOTALL)
    missing = {each.c_name for each in Cmd if each not in COMMANDS}
    assert set(re.findall(r"BPF_\w+", commands)) == missing
    (places,) = re.findall(r"attach types (.*?)\. Programs", testing.__doc__, re.DOTALL)
    unknown = {each.c_name for each in set(AttachType) - set(MAKERS) - NO_LINKS}
    assert set(re.findall(r"BPF_\w+", places)) == unknown


# Hooks that no link is made to, in no kernel that is modelled.
NO_LINKS = {
    AttachType.LIRC_MODE2,
    AttachType.XDP_CPUMAP,
    AttachType.XDP_DEVMAP,
    AttachType.SK_REUSEPORT_SELECT,
    AttachType.SK_REUSEPORT_SELECT_OR_MIGRATE,
}


# --- its age


@pytest.mark.parametrize("version_text", ["5.10", "6.1", "6.12", "6.18", "7.3"])
def test_features_are_those_of_its_age(version_text):
    """By the releases that brought them; what depends on the configuration is in the table."""
    with FakeKernel(version_text) as old:
        release = tuple(map(int, version_text.split(".")))

        def expected(since: str | None) -> bool:
            return since is None or tuple(map(int, since.split("."))) <= release

        for kind in (MapType.HASH, MapType.RINGBUF, MapType.BLOOM_FILTER, MapType.ARENA):
            assert features.map_type(kind).available() == expected(kind.since), kind
        for kind in (ProgType.XDP, ProgType.SYSCALL, ProgType.NETFILTER):
            assert features.program_type(kind).available() == expected(kind.since), kind
        assert features.attach_cookie.available() == expected("5.15")
        assert features.function_pointers.available() == expected("5.13")
        assert features.function_addresses.available() == expected("6.4")
        assert features.far_map_values.available() == expected("7.0")
        assert features.btf_features().enum64 == expected("6.0")
        assert version.release() == f"{version_text}.0"
        assert repr(old) == f"<FakeKernel {version_text}>"


def test_an_old_kernel_has_no_links_to_events():
    """So the library attaches as it does there, and says what is missing."""
    with (
        FakeKernel("5.10") as old,
        pyebpf.load(built("trace_exec")) as collection,
        collection.reader("events") as reader,
    ):
        (attached,) = collection.attach().values()
        with pytest.raises(NotSupportedError):
            attached.pin("/sys/fs/bpf/exec")
        old.fire(EXEC, old.record("sched/sched_process_exec", filename="/x"))
        assert len(reader.drain()) == 1
        with pytest.raises(NotSupportedError, match=r"BLOOM_FILTER.*5\.16"):
            Map.create(type=MapType.BLOOM_FILTER, value_size=4, max_entries=4)


def test_fields_an_old_kernel_does_not_know_must_be_zero():
    """EINVAL within what it takes for the whole, E2BIG beyond."""
    with FakeKernel("5.10"):
        attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
        bpf.map_create(attr).close()
        attr.map_extra = 1
        with pytest.raises(SyscallError, match="EINVAL"):
            bpf.map_create(attr)
        more = ProgLoad(prog_type=ProgType.XDP, insns=RETURN_TWO, insn_cnt=2, license=b"GPL\0")
        bpf.prog_load(more).close()
        more.fd_array = bytes(4)
        with pytest.raises(SyscallError, match="E2BIG"):
            bpf.prog_load(more)


def test_ages_nobody_asked_are_refused():
    """Saying what is not known."""
    with pytest.raises(ValueError, match=r"Linux 3\.10: .*before 4\.18"):
        FakeKernel("3.10")
    with pytest.raises(ValueError, match="not a kernel release"):
        FakeKernel("new")


# --- its files


def test_the_host_is_read_from_its_tree(kernel):
    """Types, symbols, tracepoints, CPUs, configuration, probes."""
    assert cpus.possible_numbers() == cpus.online() == (0, 1)
    assert tracefs.tracepoint_id("sched", "sched_switch") > 0
    assert kallsyms.find(["do_unlinkat"]).addresses("do_unlinkat")
    assert kconfig.read(["CONFIG_HZ"]).values == {"CONFIG_HZ": "250"}
    assert pmu.probe("uprobe", retprobe=True).config == 1
    types = kernel_btf.kernel_btf()
    assert types.find("task_struct", BtfKind.STRUCT)
    assert types.find("btf_trace_sched_switch", BtfKind.TYPEDEF)


def test_it_is_made_to_measure():
    """CPUs, configuration, types, tracepoints, interfaces."""
    with FakeKernel(
        cpus=8,
        configuration={"CONFIG_HZ": "1000"},
        declarations="struct mine { int a; u64 b; }; int my_function(struct mine * it);",
        tracepoints={"app/event": "int pid; __data_loc char[] text"},
        interfaces={"eth7": 77},
    ) as kernel:
        assert cpus.possible() == 8
        assert kconfig.read(["CONFIG_HZ"]).values == {"CONFIG_HZ": "1000"}
        assert kernel_btf.kernel_btf().find("my_function", BtfKind.FUNC)
        assert tracefs.tracepoint_id("app", "event")
        assert kernel.fire("tracepoint/app/event", kernel.record("app/event", text="hi")) == []
        assert kernel.interface_index("eth7") == 77
    with FakeKernel(btf=False), pytest.raises(NotSupportedError, match="kernel BTF"):
        # The machine's own boot directory is none of its business.
        kernel_btf.kernel_btf(seam.current().root)


def test_pins_are_below_its_own_bpffs(kernel):
    """The path that programs have written down works, and nothing of the machine is touched."""
    with Map.create(type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1) as numbers:
        numbers.pin("/sys/fs/bpf/app/numbers")
        assert not pathlib.Path("/sys/fs/bpf/app").exists()
        assert list(pinning.walk("/sys/fs/bpf")) == [pathlib.Path("/sys/fs/bpf/app/numbers")]
        place = pathlib.Path(kernel.path("sys/fs/bpf/app/numbers"))
        assert place.exists()
        place.rename(place.with_name("renamed"))
    with Map.from_pin("/sys/fs/bpf/app/renamed") as again:
        assert again.max_entries == 1


def _descriptors() -> set[str]:
    return {path.name for path in pathlib.Path("/proc/self/fd").iterdir()}


def test_nothing_stays_when_it_is_closed():
    """No descriptors, no files, no objects, whatever the program under test has forgotten."""
    before = _descriptors()
    with FakeKernel() as kernel:
        directory = kernel.path("sys/fs/bpf")
        collection = pyebpf.load(built("maps"))
        collection.pin("/sys/fs/bpf/kept")
        gc.disable()
    try:
        collection.close()
        assert _descriptors() == before
        assert not pathlib.Path(directory).exists()
    finally:
        gc.enable()


def test_a_forgotten_kernel_leaves_no_files():
    """Nor does a process that ends without closing it."""
    code = "from pyebpf.testing import FakeKernel; k = FakeKernel()"
    code += "; print(k.root, k.path('sys/fs/bpf'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    root, bpffs = done.stdout.split()
    assert not pathlib.Path(root).exists()
    assert not pathlib.Path(bpffs).exists()


def test_two_kernels_know_nothing_of_each_other():
    """Ids begin anew, descriptors of the other are no maps."""
    with FakeKernel() as first:
        numbers = create(MapType.ARRAY, 4, 4, 1)
        with FakeKernel() as second:
            assert bpf.map_get_next_id() is None
            assert second.file_name(numbers.fileno()).startswith("pipe:")
        assert bpf.map_get_next_id() == 1
        assert first.file_name(numbers.fileno()) == "anon_inode:bpf-map"
        numbers.close()


def test_a_socket_has_a_filter_until_it_is_taken_off(kernel):
    """Of a real socket; taking it off twice is ENOENT."""
    code = RETURN_TWO
    with socket.socket(socket.AF_UNIX) as sock, load(code=code) as program, load(ProgType.XDP) as x:
        attach, detach = 50, 27
        given = struct.pack("=i", program.fileno())
        kernel.setsockopt(sock.fileno(), 1, attach, given)
        with pytest.raises(SyscallError, match="EINVAL"):
            kernel.setsockopt(sock.fileno(), 1, attach, struct.pack("=i", x.fileno()))
        kernel.setsockopt(sock.fileno(), 1, detach, bytes(4))
        with pytest.raises(SyscallError, match="ENOENT"):
            kernel.setsockopt(sock.fileno(), 1, detach, bytes(4))
        with pytest.raises(NotImplementedError, match="setsockopt"):
            kernel.setsockopt(sock.fileno(), 1, 2, bytes(4))


def test_what_does_not_fit_its_field_is_the_callers_mistake(kernel):
    """As with the real one."""
    with pytest.raises(ValueError, match=r"MapCreate\.max_entries: 4294967296 does not fit u32"):
        create(MapType.HASH, 4, 4, 1 << 32)
    with pytest.raises(TypeError, match="MapElem"):
        kernel.bpf(Cmd.MAP_LOOKUP_ELEM, ProgLoad())


def test_flags_no_kernel_knows_are_refused(kernel):
    """Whatever the kind."""
    with pytest.raises(SyscallError, match="EINVAL"):
        Map.create(
            type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, flags=MapFlag(1 << 30)
        )
    with pytest.raises(SyscallError, match="EINVAL"):
        bpf.prog_load(ProgLoad(prog_type=1, insns=RETURN_TWO, insn_cnt=2, prog_flags=1 << 30))
