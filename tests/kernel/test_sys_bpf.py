"""Every command of bpf(2) that plain maps and a program of two instructions can reach."""

from __future__ import annotations

import errno
import os
import pathlib
import struct
from collections.abc import Iterator

import pytest

from pyebpf.errors import NotSupportedError, PrivilegeError, SyscallError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import (
    BtfLoad,
    EnableStats,
    IterCreate,
    LinkCreate,
    LinkDetach,
    LinkUpdate,
    MapBatch,
    MapCreate,
    MapElem,
    MapNextKey,
    ObjPin,
    ProgAssocStructOps,
    ProgAttach,
    ProgBindMap,
    ProgLoad,
    ProgQuery,
    ProgStreamRead,
    ProgTestRun,
    RawTracepointOpen,
    TaskFdQuery,
    TokenCreate,
)
from pyebpf.uapi.bpf import AttachType, Cmd, MapType, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.info import BtfInfo, LinkInfo, MapInfo, ProgInfo
from tests.support.kernel import parse_version, version

# r0 = 7; exit
RETURN_7 = bytes((0xB7, 0, 0, 0)) + struct.pack("=i", 7) + bytes((0x95, 0, 0, 0, 0, 0, 0, 0))
RETURN_1 = bytes((0xB7, 0, 0, 0)) + struct.pack("=i", 1) + RETURN_7[8:]
RETURN_0 = bytes((0xB7, 0, 0, 0)) + struct.pack("=i", 0) + RETURN_7[8:]

# One type, `int`: header, then name_off, info, size, encoding.
BTF = (
    struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 16, 16, 5)
    + struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    + b"\0int\0"
)


def program(kind: ProgType = ProgType.SOCKET_FILTER, code: bytes = RETURN_7, **more: object) -> FD:
    attr = ProgLoad(
        prog_type=kind, insn_cnt=len(code) // 8, insns=code, license=b"GPL\0", prog_name=b"tiny"
    )
    for name, value in more.items():
        setattr(attr, name, value)
    return bpf.prog_load(attr)


def new_map(kind: MapType = MapType.HASH, *, key: int = 4, entries: int = 8) -> FD:
    return bpf.map_create(
        MapCreate(
            map_type=kind, key_size=key, value_size=8, max_entries=entries, map_name=b"numbers"
        )
    )


@pytest.fixture
def numbers() -> Iterator[FD]:
    with new_map() as fd:
        yield fd


@pytest.fixture
def tiny() -> Iterator[FD]:
    with program() as fd:
        yield fd


def key(number: int) -> bytes:
    return struct.pack("=I", number)


def value(number: int) -> bytes:
    return struct.pack("=Q", number)


def fdinfo(fd: FD, name: str) -> int:
    """What /proc says about a descriptor: an answer of the kernel's that is not bpf(2)'s."""
    for line in pathlib.Path(f"/proc/self/fdinfo/{fd.fileno()}").read_text("utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 0)
    raise AssertionError(name)


def test_elements_go_in_and_come_out(numbers: FD) -> None:
    """map_update_elem, map_lookup_elem, map_get_next_key and map_delete_elem do as they say."""
    out = bytearray(8)
    bpf.map_update_elem(MapElem(map_fd=numbers.fileno(), key=key(1), value=value(10)))
    bpf.map_lookup_elem(MapElem(map_fd=numbers.fileno(), key=key(1), value=out))
    assert value(10) == out
    found = bytearray(4)
    assert bpf.map_get_next_key(MapNextKey(map_fd=numbers.fileno(), next_key=found))
    assert key(1) == found
    last = MapNextKey(map_fd=numbers.fileno(), key=key(1), next_key=found)
    assert not bpf.map_get_next_key(last)
    bpf.map_delete_elem(MapElem(map_fd=numbers.fileno(), key=key(1)))
    with pytest.raises(SyscallError) as caught:
        bpf.map_lookup_elem(MapElem(map_fd=numbers.fileno(), key=key(1), value=out))
    assert caught.value.errno == errno.ENOENT


def test_a_queue_gives_back_what_was_pushed() -> None:
    """map_lookup_and_delete_elem takes the oldest value; an empty queue is ENOENT."""
    with new_map(MapType.QUEUE, key=0) as fd:
        out = bytearray(8)
        bpf.map_update_elem(MapElem(map_fd=fd.fileno(), value=value(5)))
        bpf.map_lookup_and_delete_elem(MapElem(map_fd=fd.fileno(), value=out))
        assert value(5) == out
        with pytest.raises(SyscallError) as caught:
            bpf.map_lookup_and_delete_elem(MapElem(map_fd=fd.fileno(), value=out))
        assert caught.value.errno == errno.ENOENT


def test_a_frozen_map_refuses_writes() -> None:
    """map_freeze makes updates EPERM, and the message says that it is not about privilege."""
    with new_map(MapType.ARRAY) as fd:
        bpf.map_freeze(MapElem(map_fd=fd.fileno()))
        with pytest.raises(PrivilegeError, match="frozen") as caught:
            bpf.map_update_elem(MapElem(map_fd=fd.fileno(), key=key(0), value=value(1)))
        assert caught.value.errno == errno.EPERM


def test_batches_move_all_entries(numbers: FD) -> None:
    """The four batch commands: count comes back, the end is False with its entries valid."""
    keys, values = b"".join(map(key, range(5))), b"".join(map(value, range(5)))
    attr = MapBatch(map_fd=numbers.fileno(), keys=keys, values=values, count=5)
    bpf.map_update_batch(attr)
    assert attr.count == 5
    seen = MapBatch(
        map_fd=numbers.fileno(),
        out_batch=bytearray(8),
        keys=bytearray(32),
        values=bytearray(64),
        count=8,
    )
    assert not bpf.map_lookup_batch(seen)
    assert seen.count == 5
    assert isinstance(seen.keys, bytearray)
    assert set(range(5)) == set(struct.unpack_from("=5I", seen.keys))
    bpf.map_delete_batch(MapBatch(map_fd=numbers.fileno(), keys=key(0), count=1))
    seen.count = 8
    assert not bpf.map_lookup_and_delete_batch(seen)
    assert seen.count == 4
    assert not bpf.map_get_next_key(MapNextKey(map_fd=numbers.fileno(), next_key=bytearray(4)))


def test_a_batch_that_fails_says_how_far_it_came() -> None:
    """Out fields are there after an error too: two entries fit, the third is E2BIG."""
    with new_map(entries=2) as fd:
        keys, values = b"".join(map(key, range(4))), bytes(32)
        attr = MapBatch(map_fd=fd.fileno(), keys=keys, values=values, count=4)
        with pytest.raises(SyscallError) as caught:
            bpf.map_update_batch(attr)
        assert (caught.value.errno, attr.count) == (errno.E2BIG, 2)


def test_a_map_is_found_by_its_id(numbers: FD) -> None:
    """map_get_next_id meets the id /proc tells; map_get_fd_by_id and the info agree on it."""
    number = fdinfo(numbers, "map_id")
    assert number == bpf.map_get_next_id(number - 1)
    with bpf.map_get_fd_by_id(number) as again:
        info = MapInfo()
        bpf.obj_get_info_by_fd(again.fileno(), info)
    assert (number, MapType.HASH, 4, 8, 8, b"numbers") == (
        info.id,
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
        info.name,
    )


def test_a_program_is_found_by_its_id(tiny: FD) -> None:
    """prog_get_next_id, prog_get_fd_by_id; the info fills buffers that its pointers hold."""
    number = fdinfo(tiny, "prog_id")
    assert number == bpf.prog_get_next_id(number - 1)
    with bpf.prog_get_fd_by_id(number) as again:
        code = bytearray(16)
        info = ProgInfo(xlated_prog_len=16, xlated_prog_insns=code)
        bpf.obj_get_info_by_fd(again.fileno(), info)
    assert (number, b"tiny", RETURN_7) == (info.id, info.name, code)


def test_there_is_an_end_to_ids() -> None:
    """The highest id that may be asked for has none after it: None, not an error."""
    highest = 0x7FFFFFFE
    for next_id in (
        bpf.prog_get_next_id,
        bpf.map_get_next_id,
        bpf.btf_get_next_id,
        bpf.link_get_next_id,
    ):
        assert next_id(highest) is None


@pytest.mark.parametrize("kind", ["prog", "map", "btf", "link"])
def test_an_id_nobody_has_is_enoent(kind: str) -> None:
    """*_get_fd_by_id of a free id."""
    with pytest.raises(SyscallError) as caught:
        getattr(bpf, f"{kind}_get_fd_by_id")(0x7FFFFFFE)
    assert caught.value.errno == errno.ENOENT


def test_a_program_runs_on_given_data(tiny: FD) -> None:
    """prog_test_run leaves the return value and the duration in the attr."""
    attr = ProgTestRun(prog_fd=tiny.fileno(), data_in=bytes(64), data_size_in=64, repeat=3)
    bpf.prog_test_run(attr)
    assert attr.retval == 7


def test_too_small_an_output_says_how_much_it_takes() -> None:
    """prog_test_run: ENOSPC comes with data_size_out filled in."""
    with program(ProgType.XDP) as fd:
        out = bytearray(8)
        attr = ProgTestRun(
            prog_fd=fd.fileno(), data_in=bytes(64), data_size_in=64, data_out=out, data_size_out=8
        )
        with pytest.raises(SyscallError) as caught:
            bpf.prog_test_run(attr)
    assert (caught.value.errno, attr.data_size_out) == (errno.ENOSPC, 64)


def test_pins_open_again(numbers: FD, bpffs: pathlib.Path) -> None:
    """obj_pin and obj_get name the same map; a name that is taken is EEXIST."""
    path = bpffs / "numbers"
    attr = ObjPin(pathname=os.fsencode(path) + b"\0", bpf_fd=numbers.fileno())
    bpf.obj_pin(attr)
    with bpf.obj_get(ObjPin(pathname=os.fsencode(path) + b"\0")) as again:
        assert fdinfo(numbers, "map_id") == fdinfo(again, "map_id")
    with pytest.raises(SyscallError) as caught:
        bpf.obj_pin(attr)
    assert caught.value.errno == errno.EEXIST
    path.unlink()


def test_a_pin_elsewhere_is_refused_with_the_reason(numbers: FD, tmp_path: pathlib.Path) -> None:
    """obj_pin outside of bpffs is EPERM, which has nothing to do with capabilities."""
    attr = ObjPin(pathname=os.fsencode(tmp_path / "x") + b"\0", bpf_fd=numbers.fileno())
    with pytest.raises(PrivilegeError, match="not on a bpf file system"):
        bpf.obj_pin(attr)


def test_a_cgroup_takes_and_lists_a_program(cgroup: pathlib.Path) -> None:
    """prog_attach, prog_query, prog_detach on a cgroup."""
    target = FD(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY))
    kind, hook = ProgType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS
    with target, program(kind, RETURN_1) as fd:
        attr = ProgAttach(target_fd=target.fileno(), attach_bpf_fd=fd.fileno(), attach_type=hook)
        bpf.prog_attach(attr)
        ids = bytearray(16)
        query = ProgQuery(target_fd=target.fileno(), attach_type=hook, prog_ids=ids, prog_cnt=4)
        bpf.prog_query(query)
        assert query.prog_cnt == 1
        assert (fdinfo(fd, "prog_id"),) == struct.unpack_from("=I", ids)
        bpf.prog_detach(attr)
        bpf.prog_query(query)
        assert query.prog_cnt == 0


def test_a_link_holds_changes_and_drops_its_program(cgroup: pathlib.Path) -> None:
    """link_create, link_update, link ids and info, link_detach on a cgroup."""
    kind, hook = ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS
    target = FD(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY))
    with target, program(kind, RETURN_1) as first, program(kind, RETURN_1) as second:
        attr = LinkCreate(prog_fd=first.fileno(), target_fd=target.fileno(), attach_type=hook)
        with bpf.link_create(attr) as link:
            info = LinkInfo()
            bpf.obj_get_info_by_fd(link.fileno(), info)
            assert fdinfo(first, "prog_id") == info.prog_id
            assert info.id == bpf.link_get_next_id(info.id - 1)
            update = LinkUpdate(link_fd=link.fileno(), new_prog_fd=second.fileno())
            bpf.link_update(update)
            with bpf.link_get_fd_by_id(info.id) as again:
                bpf.obj_get_info_by_fd(again.fileno(), info)
            assert fdinfo(second, "prog_id") == info.prog_id
            bpf.link_detach(LinkDetach(link_fd=link.fileno()))
            query = ProgQuery(target_fd=target.fileno(), attach_type=hook)
            bpf.prog_query(query)
            assert query.prog_cnt == 0


def test_a_raw_tracepoint_says_what_it_is() -> None:
    """raw_tracepoint_open; task_fd_query of our own descriptor tells program and name."""
    with program(ProgType.RAW_TRACEPOINT, RETURN_0) as fd:
        attr = RawTracepointOpen(name=b"sched_process_exit\0", prog_fd=fd.fileno())
        with bpf.raw_tracepoint_open(attr) as opened:
            name = bytearray(64)
            query = TaskFdQuery(pid=os.getpid(), fd=opened.fileno(), buf=name, buf_len=len(name))
            bpf.task_fd_query(query)
            assert (fdinfo(fd, "prog_id"), 18) == (query.prog_id, query.buf_len)
            assert name.rstrip(b"\0") == b"sched_process_exit"


def test_type_information_is_loaded_and_read_back() -> None:
    """btf_load, btf_get_next_id, btf_get_fd_by_id: the kernel hands out the same bytes."""
    with bpf.btf_load(BtfLoad(btf=BTF, btf_size=len(BTF))) as fd:
        blob = bytearray(len(BTF))
        info = BtfInfo(btf=blob, btf_size=len(blob))
        bpf.obj_get_info_by_fd(fd.fileno(), info)
        assert blob == BTF
        assert info.id == bpf.btf_get_next_id(info.id - 1)
        with bpf.btf_get_fd_by_id(info.id) as again:
            bpf.obj_get_info_by_fd(again.fileno(), BtfInfo())


def test_malformed_type_information_leaves_a_log() -> None:
    """btf_load fills btf_log_buf when it refuses."""
    log = bytearray(256)
    bad = BTF[:-1] + b"x"
    attr = BtfLoad(btf=bad, btf_size=len(bad), btf_log_buf=log, btf_log_size=256, btf_log_level=1)
    with pytest.raises(SyscallError):
        bpf.btf_load(attr)
    assert log.strip(b"\0")


def test_statistics_count_while_they_are_enabled(tiny: FD) -> None:
    """enable_stats: runs are counted as long as the descriptor is open."""
    with bpf.enable_stats(EnableStats()):
        bpf.prog_test_run(
            ProgTestRun(prog_fd=tiny.fileno(), data_in=bytes(64), data_size_in=64, repeat=5)
        )
        info = ProgInfo()
        bpf.obj_get_info_by_fd(tiny.fileno(), info)
    assert info.run_cnt == 5


def test_an_iterator_is_opened_and_read() -> None:
    """iter_create on a link of an iterator program that prints nothing: an empty file."""
    target = kernel_btf().find("bpf_iter_bpf_map", BtfKind.FUNC)
    hook = AttachType.TRACE_ITER
    fd = program(ProgType.TRACING, RETURN_0, expected_attach_type=hook, attach_btf_id=target)
    with (
        fd,
        bpf.link_create(LinkCreate(prog_fd=fd.fileno(), attach_type=hook)) as link,
        bpf.iter_create(IterCreate(link_fd=link.fileno())) as run,
    ):
        assert os.read(run.fileno(), 10) == b""


def test_a_program_keeps_a_map_it_is_bound_to(tiny: FD) -> None:
    """prog_bind_map: the map lives on without a descriptor, and the program's info lists it."""
    with new_map() as fd:
        number = fdinfo(fd, "map_id")
        bpf.prog_bind_map(ProgBindMap(prog_fd=tiny.fileno(), map_fd=fd.fileno()))
    ids = bytearray(4)
    bpf.obj_get_info_by_fd(tiny.fileno(), ProgInfo(nr_map_ids=1, map_ids=ids))
    assert (number,) == struct.unpack("=I", ids)


def test_a_token_needs_a_bpffs() -> None:
    """token_create of a descriptor that is no bpf file system."""
    with FD(os.open("/", os.O_RDONLY)) as root, pytest.raises(SyscallError) as caught:
        bpf.token_create(TokenCreate(bpffs_fd=root.fileno()))
    assert caught.value.errno == errno.EINVAL


def test_a_silent_program_has_an_empty_stream(tiny: FD) -> None:
    """prog_stream_read_by_fd of a program that printed nothing: no bytes."""
    out = bytearray(16)
    attr = ProgStreamRead(
        prog_fd=tiny.fileno(), stream_id=1, stream_buf=out, stream_buf_len=len(out)
    )
    assert bpf.prog_stream_read_by_fd(attr) == 0


def test_association_wants_a_struct_ops_map(tiny: FD, numbers: FD) -> None:
    """prog_assoc_struct_ops refuses another kind of map."""
    attr = ProgAssocStructOps(prog_fd=tiny.fileno(), map_fd=numbers.fileno())
    with pytest.raises(SyscallError):
        bpf.prog_assoc_struct_ops(attr)


def test_the_raw_call_takes_a_struct_or_bytes(numbers: FD) -> None:
    """bpf() with a typed attr, with bytes, and with a bytearray that the kernel writes into."""
    found = bytearray(4)
    bpf.map_update_elem(MapElem(map_fd=numbers.fileno(), key=key(3), value=value(3)))
    attr = MapNextKey(map_fd=numbers.fileno(), next_key=found)
    assert bpf.bpf(Cmd.MAP_GET_NEXT_KEY, attr) == 0
    assert key(3) == found
    wanted = fdinfo(numbers, "map_id")
    raw = bytearray(struct.pack("=IIII", wanted - 1, 0, 0, 0))
    assert bpf.bpf(Cmd.MAP_GET_NEXT_ID, raw) == 0
    assert wanted == struct.unpack_from("=I", raw, 4)[0]
    create = struct.pack("=IIIII", MapType.ARRAY, 4, 8, 1, 0)
    with FD(bpf.bpf(Cmd.MAP_CREATE, create + b"garbage!", len(create))) as fd:
        assert fdinfo(fd, "map_type") == MapType.ARRAY


def test_a_command_nobody_knows_is_einval() -> None:
    """A command that is not ours to explain stays EINVAL; its number is named."""
    with pytest.raises(SyscallError, match="BPF_UNKNOWN_999: EINVAL"):
        bpf.bpf(999, bytes(8))


def test_every_function_is_a_command() -> None:
    """Each command has a function of its name."""
    named = {name for name in vars(bpf) if not name.startswith("_")}
    missing = {member.name.lower() for member in Cmd} - named
    assert set() == missing


def refusal(cmd: Cmd) -> Exception | None:
    """What comes of a command with nonsense in it."""
    try:
        bpf.bpf(cmd, b"\xff" * 4 + bytes(164))
    except (SyscallError, NotSupportedError) as error:
        return error
    return None


def test_a_command_is_missing_before_its_release_only() -> None:
    """NotSupportedError says since when, and the running kernel is older than that."""
    errors = [error for error in map(refusal, Cmd) if isinstance(error, NotSupportedError)]
    since = [cmd.since for cmd in Cmd if cmd.since and _newer(cmd.since)]
    assert [error.since for error in errors] == since


# Distributions carry features back, so this holds for the kernels we test with.
def _newer(release: str) -> bool:
    return parse_version(release) > version()
