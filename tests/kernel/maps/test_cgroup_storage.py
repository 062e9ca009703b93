"""The old storages of cgroups: one value for each attachment, by the group's id."""

from __future__ import annotations

import socket

import pytest

import pyebpf
from pyebpf import AttachType, Map, MapType
from pyebpf.host import cpus
from pyebpf.maps.objects import CgroupKey
from pyebpf.sys import bpf as commands
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import ProgAttach, ProgLoad
from pyebpf.uapi.bpf import ProgType
from tests.support.cgroups import joined

EGRESS = AttachType.CGROUP_INET_EGRESS


def counting(storage):
    """A cgroup_skb program that adds 1 to the first word of its storage and lets all pass."""
    fd = storage.fileno().to_bytes(4, "little")
    code = bytes.fromhex(
        "1811000000000000 0000000000000000 b702000000000000 8500000051000000"
        "b701000001000000 db10000000000000 b700000001000000 9500000000000000"
    )
    code = code[:4] + fd + code[8:]
    return commands.prog_load(
        ProgLoad(
            prog_type=ProgType.CGROUP_SKB,
            expected_attach_type=EGRESS,
            insn_cnt=len(code) // 8,
            insns=code,
            license=b"GPL\0",
        )
    )


@pytest.mark.parametrize("key_size", [8, 16])
def test_each_attachment_has_a_value(cgroup, key_size):
    """By id or directory, with or without the attach type; there is none before it is attached."""
    with Map.create(type=MapType.CGROUP_STORAGE, key_size=key_size, value="Q", name="s") as storage:
        key = (cgroup, EGRESS) if key_size == 16 else cgroup
        number = cgroup.stat().st_ino
        assert key not in storage
        with attached(storage, cgroup):
            assert storage[key] == 0
            storage[key] = 77
            assert storage[key] == 77
            assert list(storage) == [CgroupKey(number, EGRESS) if key_size == 16 else number]
            same = (number, EGRESS) if key_size == 16 else number
            assert storage[same] == 77
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", ("127.0.0.1", 9))  # which the program counts
            assert dict(storage) == {next(iter(storage)): 78}


class attached:
    """Attach the counting program to a group for a ``with`` block."""

    def __init__(self, storage, cgroup):
        self.program = counting(storage)
        self.inside = joined(cgroup)

    def __enter__(self):
        group: FD = self.inside.__enter__()
        self.attr = ProgAttach(
            target_fd=group.fileno(),
            attach_bpf_fd=self.program.fileno(),
            attach_type=EGRESS,
        )
        commands.prog_attach(self.attr)

    def __exit__(self, *problem):
        commands.prog_detach(self.attr)
        self.inside.__exit__(*problem)
        self.program.close()


def test_the_per_cpu_kind_has_a_value_for_each_cpu(cgroup):
    """Lists, as for other per-CPU maps."""
    with (
        Map.create(type=MapType.PERCPU_CGROUP_STORAGE, value="Q", name="p") as storage,
        attached(storage, cgroup),
    ):
        values = list(range(5, 5 + cpus.possible()))
        storage[cgroup, EGRESS] = values
        assert storage[cgroup, EGRESS] == values
        assert storage.sum((cgroup, EGRESS)) == sum(values)


def test_keys_say_what_they_take(tmp_path):
    """A directory that exists, an attach type where the key has room for one."""
    with Map.create(type=MapType.CGROUP_STORAGE, value="Q", name="s") as storage:
        with pytest.raises(TypeError, match="needs a pair of cgroup and attach type"):
            storage[1]
        with pytest.raises(pyebpf.SyscallError, match="stat: ENOENT"):
            storage[tmp_path / "nothing", EGRESS]
        with pytest.raises(TypeError, match="needs a cgroup's id or directory, not float"):
            storage[1.5, EGRESS]
