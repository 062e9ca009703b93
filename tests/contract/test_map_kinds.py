"""Kinds of maps whose values stand for something: devices, sockets, tasks, stacks, instructions."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import socket
import struct
import sys

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.host import cpus
from pyebpf.sys import bpf
from pyebpf.sys import kernel as seam
from pyebpf.sys.fd import FD
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import BtfLoad, MapElem, ProgAttach, ProgTestRun
from pyebpf.uapi.bpf import AttachType, MapFlag, MapType, ProgType, UpdateFlag
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.info import ProgInfo
from tests.support import kernel as machine
from tests.support.btf_builder import BtfBuilder
from tests.support.cgroups import joined
from tests.support.code import call, map_pointer, small
from tests.support.contract import (
    NO_PREALLOC,
    create,
    delete,
    load,
    look_up_batch,
    lookup,
    next_key,
    outcome,
    take,
    u32,
    update,
    walk,
)

NOEXIST, EXIST, LOCK = UpdateFlag.NOEXIST, UpdateFlag.EXIST, UpdateFlag.LOCK
NOBODY = 0x7FFFFFF0
"""A descriptor, an interface or an id that there is not."""


def u64(number: int) -> bytes:
    return struct.pack("=Q", number)


def pair(number: int, fd: int) -> bytes:
    return struct.pack("=Ii", number, fd)


def program_id(fd: int) -> int:
    info = ProgInfo()
    bpf.obj_get_info_by_fd(fd, info)
    return int(info.id)


# --- devices and processors


def test_an_array_of_devices_names_those_there_are(kernel):
    """Index 0 empties a place."""
    lo = u32(socket.if_nametoindex("lo"))
    with create(MapType.DEVMAP, 4, 4, 4) as fd:
        assert lookup(fd, u32(0), 4) == "ENOENT"
        assert lookup(fd, u32(9), 4) == "ENOENT"
        assert update(fd, u32(0), lo) is None
        assert lookup(fd, u32(0), 4) == lo
        assert lookup(fd, u32(0), 4, LOCK) == "EINVAL"
        assert update(fd, u32(1), u32(NOBODY)) == "EINVAL"
        assert update(fd, u32(1), lo, NOEXIST) == "EEXIST"
        assert update(fd, u32(2), lo, EXIST) is None
        assert update(fd, u32(2), lo, 3) == "EINVAL"
        assert update(fd, u32(9), lo) == "E2BIG"
        assert update(fd, u32(0), u32(0)) is None
        assert lookup(fd, u32(0), 4) == "ENOENT"
        assert walk(fd, 4) == [u32(n) for n in range(4)]
        assert [delete(fd, u32(n)) for n in (2, 2, 9)] == [None, None, "EINVAL"]
        assert lookup(fd, u32(2), 4) == "ENOENT"
        assert take(fd, u32(0), 4) == "524"
        assert look_up_batch(fd, 2, (4, 4))[0] == "524"


def test_a_hash_of_devices_has_keys_of_its_own(kernel):
    """It is full at some point; in each bucket the newest comes first."""
    lo = u32(socket.if_nametoindex("lo"))
    with create(MapType.DEVMAP_HASH, 4, 4, 4) as fd:
        assert update(fd, u32(0), u32(0)) == "EINVAL"
        assert update(fd, u32(0), u32(NOBODY)) == "EINVAL"
        assert update(fd, u32(0), lo, 3) == "EINVAL"
        assert [update(fd, u32(n), lo) for n in (0, 1, 2, 9)] == [None] * 4
        assert update(fd, u32(10), lo) == "E2BIG"
        assert update(fd, u32(0), lo, NOEXIST) == "EEXIST"
        assert walk(fd, 4) == [u32(n) for n in (0, 9, 1, 2)]
        assert update(fd, u32(1), lo, EXIST) is None
        assert walk(fd, 4) == [u32(n) for n in (0, 1, 9, 2)]
        assert next_key(fd, u32(77), 4) == u32(0)
        assert lookup(fd, u32(9), 4) == lo
        assert [delete(fd, u32(n)) for n in (9, 9)] == [None, "ENOENT"]
        # BPF_EXIST is not asked about.
        assert update(fd, u32(5), lo, EXIST) is None
        assert take(fd, u32(0), 4) == "524"


@pytest.mark.parametrize("kind", [MapType.DEVMAP, MapType.DEVMAP_HASH])
def test_packets_run_a_program_on_the_way_to_a_device(kernel, kind):
    """One made for that; its id is shown."""
    lo = socket.if_nametoindex("lo")
    with (
        create(kind, 4, 8, 4) as fd,
        load(ProgType.XDP, expected_attach_type=AttachType.XDP_DEVMAP) as made,
        load(ProgType.XDP) as other,
        load() as filter_,
    ):
        for none in (-1, 0):
            assert update(fd, u32(0), pair(lo, none)) is None
            assert lookup(fd, u32(0), 8) == pair(lo, 0)
        for wrong in (other.fileno(), filter_.fileno(), fd.fileno(), NOBODY):
            assert update(fd, u32(0), pair(lo, wrong)) == "EINVAL"
        assert update(fd, u32(0), pair(0, made.fileno())) == "EINVAL"
        assert update(fd, u32(0), pair(lo, made.fileno())) is None
        assert lookup(fd, u32(0), 8) == pair(lo, program_id(made.fileno()))


def test_processors_have_queues(kernel):
    """As long as the value says, on those CPUs that there may be."""
    count = cpus.possible()
    with create(MapType.CPUMAP, 4, 4, count + 1) as fd:
        assert lookup(fd, u32(0), 4) == "ENOENT"
        assert update(fd, u32(0), u32(192)) is None
        assert lookup(fd, u32(0), 4) == u32(192)
        assert update(fd, u32(0), u32(16385)) == "EOVERFLOW"
        assert update(fd, u32(count), u32(1)) == "ENODEV"
        assert update(fd, u32(count + 1), u32(1)) == "E2BIG"
        outcomes = [update(fd, u32(0), u32(1), flags) for flags in (NOEXIST, EXIST, 3, LOCK)]
        assert outcomes == ["EEXIST", None, "EINVAL", "EINVAL"]
        assert update(fd, u32(0), u32(0)) is None
        assert lookup(fd, u32(0), 4) == "ENOENT"
        assert len(walk(fd, 4)) == count + 1
        assert [delete(fd, u32(n)) for n in (0, 0, count + 1)] == [None, None, "EINVAL"]
        assert take(fd, u32(0), 4) == "524"


def test_packets_run_a_program_on_the_way_to_a_processor(kernel, age):
    """Older kernels say that there is no memory, whatever is wrong with it."""
    wrong = "EINVAL" if age >= (7, 3) else "ENOMEM"
    with (
        create(MapType.CPUMAP, 4, 8, 1) as fd,
        load(ProgType.XDP, expected_attach_type=AttachType.XDP_CPUMAP) as made,
        load(ProgType.XDP) as other,
    ):
        assert update(fd, u32(0), pair(192, other.fileno())) == wrong
        assert update(fd, u32(0), pair(192, NOBODY)) == wrong
        assert update(fd, u32(0), pair(192, made.fileno())) is None
        assert lookup(fd, u32(0), 8) == pair(192, program_id(made.fileno()))
        assert update(fd, u32(0), pair(0, NOBODY)) is None
        assert lookup(fd, u32(0), 8) == "ENOENT"


# --- sockets


@pytest.fixture
def sockets():
    """Sockets of all sorts, by what they are."""
    with contextlib.ExitStack() as stack:

        def made(*arguments: int) -> socket.socket:
            return stack.enter_context(socket.socket(*arguments))

        listening = made()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        connected = stack.enter_context(socket.create_connection(listening.getsockname()))
        bound = made(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 0))
        shared = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            shared.append(made(socket.AF_INET, kind))
            shared[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared[-1].bind(("127.0.0.1", 0))
        shared[0].listen()
        yield {
            "listening": listening,
            "connected": connected,
            "fresh": made(),
            "bound": bound,
            "loose": made(socket.AF_INET, socket.SOCK_DGRAM),
            "raw": made(socket.AF_PACKET, socket.SOCK_RAW),
            "shared stream": shared[0],
            "shared packets": shared[1],
        }


def cookie(of: socket.socket) -> bytes:
    return of.getsockopt(socket.SOL_SOCKET, 57, 8)


@pytest.mark.parametrize("kind", [MapType.SOCKMAP, MapType.SOCKHASH])
def test_socket_maps_take_what_is_connected_or_listens(kernel, sockets, kind):
    """User space is shown a cookie, if there is room for one."""
    nothing = "EINVAL" if kind == MapType.SOCKMAP else "ENOENT"
    fits = {"listening", "connected", "bound", "shared stream", "shared packets"}
    with create(kind, 4, 8, 2) as fd, create(kind, 4, 4, 2) as narrow:
        assert lookup(fd, u32(0), 8) == "ENOENT"
        assert update(fd, u32(0), u64(NOBODY)) == "EBADF"
        assert update(fd, u32(0), u64(1 << 32)) == "EINVAL"
        assert update(fd, u32(0), u64(fd.fileno())) == "ENOTSOCK"
        assert update(fd, u32(0), u64(sockets["fresh"].fileno()), EXIST) == "ENOTSUP"
        for name, each in sockets.items():
            expected = None if name in fits else "ENOTSUP"
            assert update(fd, u32(0), u64(each.fileno())) == expected, name
            assert lookup(fd, u32(0), 8) == (cookie(each) if name in fits else "ENOENT")
            assert delete(fd, u32(0)) == (None if name in fits else nothing)
        given = sockets["connected"].fileno()
        outcomes = [update(fd, u32(0), u64(given), flags) for flags in (EXIST, NOEXIST, NOEXIST, 3)]
        assert outcomes == ["ENOENT", None, "EEXIST", "EINVAL"]
        assert update(fd, u32(1), u64(given)) is None
        assert update(fd, u32(2), u64(given)) == "E2BIG"
        assert len(walk(fd, 4)) == 2
        assert take(fd, u32(0), 8) == "524"
        assert update(narrow, u32(0), u32(given)) is None
        assert lookup(narrow, u32(0), 4) == "ENOSPC"


@pytest.mark.parametrize("kind", [MapType.SOCKMAP, MapType.SOCKHASH])
def test_a_closed_socket_leaves_its_maps(kernel, kind):
    """When its last descriptor is closed."""
    with socket.socket() as listening, create(kind, 4, 8, 2) as fd:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with listening.dup() as again:
            assert update(fd, u32(1), u64(listening.fileno())) is None
            listening.close()
            assert lookup(fd, u32(1), 8) == cookie(again)
        assert lookup(fd, u32(1), 8) == "ENOENT"


def test_a_reuseport_array_takes_what_shares_a_port(kernel, sockets):
    """In one place only."""
    fits = {"shared stream", "shared packets"}
    with create(MapType.REUSEPORT_SOCKARRAY, 4, 8, 2) as fd:
        assert lookup(fd, u32(0), 8) == "ENOENT"
        assert update(fd, u32(0), u64(NOBODY)) == "EBADF"
        assert update(fd, u32(0), u64(1 << 32)) == "EINVAL"
        assert update(fd, u32(9), u64(1 << 32)) == "E2BIG"
        assert update(fd, u32(0), u64(fd.fileno())) == "ENOTSOCK"
        assert update(fd, u32(0), u64(sockets["fresh"].fileno()), EXIST) == "ENOENT"
        for name, each in sockets.items():
            refused = "524" if name == "raw" else "EINVAL"
            assert update(fd, u32(0), u64(each.fileno())) == (None if name in fits else refused)
            assert lookup(fd, u32(0), 8) == (cookie(each) if name in fits else "ENOENT")
            assert delete(fd, u32(0)) == (None if name in fits else "ENOENT")
        given = u64(sockets["shared stream"].fileno())
        outcomes = [update(fd, u32(0), given, flags) for flags in (EXIST, NOEXIST, NOEXIST, 0, 3)]
        assert outcomes == ["ENOENT", None, "EEXIST", "EBUSY", "EINVAL"]
        assert update(fd, u32(1), given) == "EBUSY"
        assert update(fd, u32(2), given) == "E2BIG"
        assert delete(fd, u32(2)) == "E2BIG"
        assert take(fd, u32(0), 8) == "524"
    with create(MapType.REUSEPORT_SOCKARRAY, 4, 4, 1) as fd:
        assert lookup(fd, u32(0), 4) == "ENOSPC"


def test_a_map_of_packet_rings_shows_nothing(kernel, age, sockets):
    """And takes AF_XDP sockets only."""
    fresh = sockets["fresh"].fileno()
    with create(MapType.XSKMAP, 4, 4, 2) as fd, contextlib.ExitStack() as stack:
        assert lookup(fd, u32(0), 4) == "ENOTSUP"
        assert update(fd, u32(0), u32(fresh)) == "ENOTSUP"
        assert update(fd, u32(0), u32(NOBODY)) == "EBADF"
        assert update(fd, u32(0), u32(fd.fileno())) == "ENOTSOCK"
        assert update(fd, u32(9), u32(fresh)) == "E2BIG"
        assert update(fd, u32(0), u32(fresh), 3) == "EINVAL"
        assert [delete(fd, u32(n)) for n in (0, 9)] == [None, "EINVAL"]
        if age >= (7, 3):
            return  # it has come to want rings
        try:
            ring = stack.enter_context(socket.socket(44, socket.SOCK_RAW))
        except OSError as error:
            pytest.skip(f"socket(AF_XDP): {os.strerror(error.errno or errno.EPERM)}")
        outcomes = [update(fd, u32(0), u32(ring.fileno()), f) for f in (EXIST, NOEXIST, NOEXIST)]
        assert outcomes == ["ENOENT", None, None]  # the same one once more is fine
        assert lookup(fd, u32(0), 4) == "ENOTSUP"


# --- storage that belongs to something


@pytest.fixture
def integer(kernel):
    """What says that keys and values are integers."""
    builder = BtfBuilder()
    number = builder.int("int", 4, 1)
    blob = builder.build()
    with bpf.btf_load(BtfLoad(btf=blob, btf_size=len(blob))) as fd:
        yield {"btf_fd": fd.fileno(), "btf_key_type_id": number, "btf_value_type_id": number}


@pytest.fixture
def group(kernel, request) -> pathlib.Path | None:
    """A control group of the test's own; ``None`` where there are none."""
    if kernel is not None:
        path = pathlib.Path(kernel.path("sys/fs/cgroup/group"))
        path.mkdir()
        return path
    if not machine.mount_points("cgroup2"):
        return None
    found: pathlib.Path = request.getfixturevalue("cgroup")
    return found


@pytest.fixture
def owners(tmp_path, group):
    """Descriptors that own storage, by the kind of map."""
    with contextlib.ExitStack() as stack:
        given = stack.enter_context(socket.socket())
        file = tmp_path / "file"
        file.touch()
        inode = os.open(file, os.O_RDONLY)
        stack.callback(os.close, inode)
        task = os.pidfd_open(os.getpid())
        stack.callback(os.close, task)
        found = {
            MapType.SK_STORAGE: given.fileno(),
            MapType.INODE_STORAGE: inode,
            MapType.TASK_STORAGE: task,
        }
        if group is not None:
            found[MapType.CGRP_STORAGE] = os.open(group, os.O_RDONLY)
            stack.callback(os.close, found[MapType.CGRP_STORAGE])
        yield found


STORAGE = {
    MapType.SK_STORAGE: "ENOTSOCK",
    MapType.TASK_STORAGE: "EBADF",
    MapType.INODE_STORAGE: None,
    MapType.CGRP_STORAGE: "EBADF",
}


@pytest.mark.parametrize("kind", STORAGE)
def test_storage_belongs_to_what_a_descriptor_is_of(kernel, integer, owners, kind):
    """Another descriptor of the same finds the same; of others there is none."""
    if kind not in owners:
        pytest.skip("no cgroup2 file system is mounted")
    with create(kind, 4, 4, 0, NO_PREALLOC, **integer) as fd:
        key = u32(owners[kind])
        assert lookup(fd, key, 4) == "ENOENT"
        assert update(fd, key, b"abcd", EXIST) == "ENOENT"
        assert update(fd, key, b"abcd", NOEXIST) is None
        outcomes = [update(fd, key, b"efgh", flags) for flags in (NOEXIST, EXIST, 3, LOCK)]
        assert outcomes == ["EEXIST", None, "EINVAL", "EINVAL"]
        again = os.dup(owners[kind])
        assert lookup(fd, u32(again), 4) == b"efgh"
        os.close(again)
        assert lookup(fd, u32(again), 4) == "EBADF"
        assert update(fd, u32(again), b"abcd", 3) == "EBADF"
        assert [delete(fd, key) for _ in range(2)] == [None, "ENOENT"]
        with create(MapType.ARRAY, 4, 4, 1) as other:
            assert update(fd, u32(other.fileno()), b"abcd") == STORAGE[kind]
        assert next_key(fd, None, 4) == "524"
        assert take(fd, key, 4) == "524"
        assert look_up_batch(fd, 2, (4, 4))[0] == "524"


def test_storage_of_files_is_told_apart(kernel, integer, owners, tmp_path):
    """By inode; a second file has its own."""
    other = tmp_path / "other"
    other.touch()
    with (
        create(MapType.INODE_STORAGE, 4, 4, 0, NO_PREALLOC, **integer) as fd,
        other.open() as file,
    ):
        assert update(fd, u32(owners[MapType.INODE_STORAGE]), b"abcd") is None
        assert lookup(fd, u32(file.fileno()), 4) == "ENOENT"


def test_storage_of_a_control_group_is_made_by_attaching(kernel):
    """Not by user space."""
    for kind in (MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE):
        size = 8 * (cpus.possible() if kind == MapType.PERCPU_CGROUP_STORAGE else 1)
        with create(kind, 16, 8, 0) as fd:
            key, value = bytes(16), bytes(size)
            assert lookup(fd, key, size) == "ENOENT"
            outcomes = [update(fd, key, value, flags) for flags in (0, NOEXIST, EXIST, 3, LOCK)]
            assert outcomes == ["ENOENT", "EINVAL", "ENOENT", "EINVAL", "EINVAL"]
            assert delete(fd, key) == "EINVAL"
            assert next_key(fd, None, 16) is None
            assert next_key(fd, key, 16) is None
            assert take(fd, key, size) == "524"


EGRESS = AttachType.CGROUP_INET_EGRESS


@pytest.mark.parametrize("key_size", [8, 16])
@pytest.mark.parametrize("kind", [MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE])
def test_an_attachment_makes_a_value_that_goes_with_the_group(kernel, group, kind, key_size):
    """It stays when the program is taken off."""
    if group is None:
        pytest.skip("no cgroup2 file system is mounted")
    size = 8 * (cpus.possible() if kind == MapType.PERCPU_CGROUP_STORAGE else 1)
    key = struct.pack("=QIxxxx", group.stat().st_ino, EGRESS)[:key_size]
    directory = os.open(group, os.O_RDONLY)
    try:
        with (
            create(kind, key_size, 8, 0) as fd,
            load(ProgType.CGROUP_SKB, counting(fd), expected_attach_type=EGRESS) as program,
        ):
            attr = ProgAttach(
                target_fd=directory, attach_bpf_fd=program.fileno(), attach_type=EGRESS
            )
            assert lookup(fd, key, size) == "ENOENT"
            bpf.prog_attach(attr)
            assert lookup(fd, key, size) == bytes(size)
            assert walk(fd, key_size) == [key]
            assert update(fd, key, bytes([7] * size), NOEXIST) == "EINVAL"
            assert update(fd, key, bytes([7] * size), EXIST) is None
            bpf.prog_detach(attr)
            assert lookup(fd, key, size) == bytes([7] * size)
            bpf.prog_attach(attr)
            assert lookup(fd, key, size) == bytes([7] * size)
            assert delete(fd, key) == "EINVAL"
            bpf.prog_detach(attr)
    finally:
        os.close(directory)


def counting(storage: FD) -> bytes:
    """Add 1 to the group's value, and let the packet pass."""
    code = [
        map_pointer(1, storage.fileno()),
        small(2, 0),
        call(FuncId.get_local_storage),
        small(1, 1),
        Instruction(insn.STX | insn.ATOMIC | insn.DW, 0, 1),
        small(0, 1),
        Instruction(insn.JMP | insn.EXIT),
    ]
    return encode_all(code, sys.byteorder)


def test_a_program_counts_in_its_groups_value(kernel, group):
    """Each run, of whoever sends from there; a test run has a value of its own."""
    if group is None:
        pytest.skip("no cgroup2 file system is mounted")
    directory = os.open(group, os.O_RDONLY)
    key = struct.pack("=QIxxxx", group.stat().st_ino, EGRESS)
    try:
        with (
            create(MapType.CGROUP_STORAGE, 16, 8, 0) as fd,
            load(ProgType.CGROUP_SKB, counting(fd), expected_attach_type=EGRESS) as program,
        ):
            attr = ProgAttach(
                target_fd=directory, attach_bpf_fd=program.fileno(), attach_type=EGRESS
            )
            bpf.prog_attach(attr)
            for _ in range(3):
                send(kernel, group)
            assert lookup(fd, key, 8) == u64(3)
            bpf.prog_test_run(
                ProgTestRun(prog_fd=program.fileno(), data_in=bytes(64), data_size_in=64)
            )
            assert lookup(fd, key, 8) == u64(3)
            bpf.prog_detach(attr)
    finally:
        os.close(directory)


def send(kernel, group: pathlib.Path) -> None:
    """Send a packet from a process in the group."""
    if kernel is not None:
        kernel.fire("cgroup_skb/egress", bytes(64), cgroup="group")
        return
    with joined(group), socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 9))


def test_an_array_of_control_groups_shows_nothing(kernel, owners):
    """Descriptors of directories of cgroup2 go in."""
    with create(MapType.CGROUP_ARRAY, 4, 4, 2) as fd:
        assert lookup(fd, u32(0), 4) == "524"
        assert update(fd, u32(0), u32(NOBODY)) == "EBADF"
        assert update(fd, u32(0), u32(fd.fileno())) == "EBADF"
        assert walk(fd, 4) == [u32(0), u32(1)]
        assert [delete(fd, u32(n)) for n in (0, 9)] == ["ENOENT", "E2BIG"]
        if MapType.CGRP_STORAGE in owners:
            group = u32(owners[MapType.CGRP_STORAGE])
            assert [update(fd, u32(0), group, flags) for flags in (EXIST, 0)] == ["EINVAL", None]
            assert update(fd, u32(9), group) == "E2BIG"
            assert [delete(fd, u32(0)) for _ in range(2)] == [None, "ENOENT"]


# --- stacks, arenas


def test_a_map_of_stacks_is_filled_by_programs_only(kernel, age):
    """It has twice as many numbers as entries where that is a power of two."""
    with create(MapType.STACK_TRACE, 4, 16, 3) as fd:
        assert [lookup(fd, u32(n), 16) for n in (0, 9)] == ["ENOENT", "ENOENT"]
        assert [update(fd, u32(0), bytes(16), flags) for flags in (0, 3)] == ["EINVAL", "EINVAL"]
        assert [delete(fd, u32(n)) for n in (0, 3, 4)] == ["ENOENT", "ENOENT", "E2BIG"]
        assert next_key(fd, None, 4) is None
        assert next_key(fd, u32(9), 4) is None
        assert take(fd, u32(0), 16) == ("ENOENT" if age >= (6, 18) else "524")


def test_an_arena_has_memory_and_no_elements(kernel):
    """It is mapped at one place."""
    size = 4 * 4096
    with create(MapType.ARENA, 0, 0, 4, MapFlag.MMAPABLE) as fd:
        assert lookup(fd, None, 0) == "EINVAL"
        assert update(fd, None, b"") == "ENOTSUP"
        assert delete(fd, None) == "ENOTSUP"
        assert next_key(fd, None, 4) == "ENOTSUP"
        assert take(fd, None, 4) == "524"
        mapped = seam.current().mapping(fd.fileno(), size)
        mapped.view()[:4] = b"abcd"
        assert bytes(mapped.view()[:8]) == b"abcd\0\0\0\0"
        assert mapped.address >> 32 == mapped.address + size - 1 >> 32
        # Elsewhere it cannot be, nor can a part of it.
        wrong = [
            (size, 0),
            (size, mapped.address + size),
            (2 * size, 0),
        ]
        for length, address in wrong:
            expected = "E2BIG" if length > size else "EINVAL"
            found = outcome(lambda: seam.current().mapping(fd.fileno(), length, address=address))  # noqa: B023
            assert found == expected, (length, address)


# --- jump tables


def test_an_array_of_instructions_takes_slots(kernel):
    """Until it is frozen, and where the kernel moved them nobody may say."""
    with create(MapType.INSN_ARRAY, 4, 16, 2) as fd:
        value = struct.pack("=IIII", 1, 0, 0, 0)
        assert update(fd, u32(0), value) is None
        assert lookup(fd, u32(0), 16) == value
        assert update(fd, u32(0), value, NOEXIST) == "EEXIST"
        assert update(fd, u32(0), struct.pack("=IIII", 1, 1, 0, 0)) == "EINVAL"
        assert update(fd, u32(0), struct.pack("=IIII", 1, 0, 1, 0)) == "EINVAL"
        assert update(fd, u32(2), value) == "E2BIG"
        assert delete(fd, u32(0)) == "EINVAL"
        assert walk(fd, 4) == [u32(0), u32(1)]
        assert take(fd, u32(0), 16) == "524"
        bpf.map_freeze(MapElem(map_fd=fd.fileno()))
        assert update(fd, u32(0), value) == "EPERM"
