"""Local storage: values that hang on sockets, tasks, inodes and cgroups, by descriptor."""

from __future__ import annotations

import os
import pathlib
import socket

import pytest

import pyebpf
from pyebpf import AttachType, Map, MapType
from pyebpf.sys import bpf as commands
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import ProgAttach
from tests.support.cgroups import joined
from tests.support.programs import only_used

KINDS = [
    MapType.SK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.TASK_STORAGE,
    MapType.CGRP_STORAGE,
]


@pytest.fixture
def owner(request, cgroup):
    """An open object of the kind that owns the storage."""
    if request.param == MapType.SK_STORAGE:
        made = socket.socket()
    elif request.param == MapType.TASK_STORAGE:
        made = FD(os.pidfd_open(os.getpid()))
    else:
        made = FD(os.open(cgroup, os.O_RDONLY))
    with made:
        yield made


@pytest.mark.parametrize(("kind", "owner"), [(kind, kind) for kind in KINDS], indirect=["owner"])
def test_a_value_hangs_on_what_the_descriptor_is_of(kind, owner):
    """Set, get and delete by the open object; another descriptor of it is the same key."""
    with Map.create(type=kind, value="<IQ", name="s") as m:
        assert owner not in m
        m[owner] = (1, 2)
        assert m[owner] == (1, 2)
        other = os.dup(owner.fileno())
        try:
            assert m[other] == (1, 2)
        finally:
            os.close(other)
        del m[owner]
        assert m.get(owner) is None
        with pytest.raises(pyebpf.KeyNotFoundError, match='in map "s"'):
            m[owner]


def test_what_a_descriptor_is_not_of_is_refused():
    """A file is no socket; text is nothing at all."""
    with Map.create(type=MapType.SK_STORAGE, value="I", name="s") as m:
        with (
            pathlib.Path("/dev/null").open("rb") as null,
            pytest.raises(pyebpf.SyscallError, match="ENOTSOCK"),
        ):
            m[null] = 1
        with pytest.raises(TypeError, match="needs an open object or a descriptor, not str"):
            m["x"] = 1
        with pytest.raises(pyebpf.SyscallError, match='walk over map "s"'):
            list(m)


def test_a_program_and_this_process_share_the_storage_of_a_task():
    """What one writes the other reads, typed as the object says."""
    with (
        pyebpf.load(only_used("map_kinds", "visit_task")) as bpf,
        FD(os.pidfd_open(os.getpid())) as process,
    ):
        storage, program = bpf.maps["task_storage"], bpf.programs["visit_task"]
        assert program.run().retval == 0
        assert (storage[process].count, storage[process].last) == (1, 1)
        storage[process] = {"count": 100, "last": 77}
        assert program.run().retval == 77
        assert storage[process].count == 101
        with storage.new_like() as fresh:
            assert process not in fresh
            fresh[process] = {"count": 5}
            assert (fresh[process].count, storage[process].count) == (5, 101)


def test_a_program_and_this_process_share_the_storage_of_a_socket(cgroup):
    """A cgroup's program counts the packets of each socket of its own."""
    with pyebpf.load(only_used("map_kinds", "visit_socket")) as bpf, joined(cgroup) as group:
        program, storage = bpf.programs["visit_socket"], bpf.maps["socket_storage"]
        attr = ProgAttach(
            target_fd=group.fileno(),
            attach_bpf_fd=program.fileno(),
            attach_type=AttachType.CGROUP_INET_EGRESS,
        )
        commands.prog_attach(attr)
        try:
            with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket() as two:
                for _ in range(3):
                    one.sendto(b"x", ("127.0.0.1", 9))
                assert storage[one].count == 3
                assert two not in storage
        finally:
            commands.prog_detach(attr)
