"""Where pins are: mounted where it is missing, refused where something else is."""

from __future__ import annotations

import resource
import subprocess

import pytest

import pyebpf
from pyebpf import AttachType, Map, MapFlag, MapSpec, MapType, ProgType
from pyebpf.daemon import (
    BpffsError,
    attach_type_available,
    ensure_bpffs,
    environment,
    local_map_name,
    map_info_of,
    map_path,
    possible_cpus,
    preallocated,
    remove_memlock_limit,
)
from pyebpf.host import cpus, mounts
from pyebpf.sys.mount import is_bpffs, mount, unmount
from tests.support.children import outcome_as_nobody


def points():
    return [each.point for each in mounts.mounts()]


@pytest.fixture
def place(tmp_path):
    """A directory that does not exist yet; whatever is mounted on it goes afterwards."""
    path = tmp_path / "bpffs"
    yield path
    while str(path) in points():
        unmount(path)


def test_a_missing_bpffs_is_mounted_once(place):
    """The second call finds it; a directory of it is good as well."""
    assert ensure_bpffs(place) == place
    assert is_bpffs(place)
    (place / "below").mkdir()
    assert ensure_bpffs(place) == place
    assert ensure_bpffs(place / "below") == place / "below"
    assert points().count(str(place)) == 1
    assert (place.stat().st_mode & 0o777) == 0o700


def test_another_file_system_is_refused(place, tmp_path):
    """Or another directory is used, if one is given."""
    place.mkdir()
    mount("tmpfs", place)
    with pytest.raises(BpffsError, match="is a tmpfs, not a bpffs"):
        ensure_bpffs(place)
    other = tmp_path / "other"
    assert ensure_bpffs(place, fallback=other) == other
    assert is_bpffs(other)
    unmount(other)


def test_mounts_upon_each_other_are_refused(place):
    """Pins of the first would be hidden."""
    place.mkdir()
    mount("bpf", place)
    mount("bpf", place)
    with pytest.raises(BpffsError, match="2 bpffs are mounted on"):
        ensure_bpffs(place)


def test_who_may_not_mount_is_told(place):
    """The capability is named."""
    place.mkdir(mode=0o777)
    outcome = outcome_as_nobody(lambda: ensure_bpffs(place))
    assert "PrivilegeError" in outcome or "SyscallError" in outcome
    assert "mount" in outcome or "EACCES" in outcome


def test_paths_and_names_lead_nowhere_else():
    """Cilium's and iproute2's layout; names are no paths."""
    assert str(map_path("flows")) == "/sys/fs/bpf/tc/globals/flows"
    assert str(map_path(local_map_name("calls_", 42), root="/x")) == "/x/tc/globals/calls_00042"
    assert local_map_name("calls_", 1234567) == "calls_1234567"
    for name in ("", "../x", "a/b", "a.b", "a\0"):
        with pytest.raises(ValueError, match="cannot be the name of a pin"):
            map_path(name)
    assert environment("/x", {"A": "1"}) == {"A": "1", "TC_BPF_MNT": "/x"}
    assert "PATH" in environment()


def test_a_map_of_another_process_is_described():
    """By /proc alone: what kind of map a descriptor is there; what is no map is refused."""
    with Map.create(type=MapType.LRU_HASH, key="I", value="Q", max_entries=64) as m:
        ready = "import sys; print(flush=True); sys.stdin.read()"
        child = subprocess.Popen(
            ["python3", "-c", ready],
            pass_fds=[m.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            child.stdout.readline()
            found = map_info_of(child.pid, m.fileno())
            assert (found.id, found.type) == (m.id, MapType.LRU_HASH)
            assert (found.key_size, found.value_size, found.max_entries) == (4, 8, 64)
            assert found.memlock == m.info().memlock
            with pytest.raises(ValueError, match=r"descriptor 0 of process \d+ is no map's"):
                map_info_of(child.pid, 0)
            with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
                map_info_of(child.pid, 9999)
        finally:
            child.communicate()


def test_memory_is_taken_beforehand_or_as_entries_come():
    """Only where a kind has the choice; kernels since 6.4 show the difference."""
    spec = MapSpec(name="h", type=MapType.HASH, key_size=4, value_size=64, max_entries=50_000)
    with (
        Map.from_spec(preallocated(spec, True)) as early,
        Map.from_spec(preallocated(spec, False)) as late,
    ):
        assert late.flags & MapFlag.NO_PREALLOC
        assert not early.flags & MapFlag.NO_PREALLOC
        assert late.info().memlock <= early.info().memlock
    lru = MapSpec(name="l", type=MapType.LRU_HASH, key_size=4, value_size=4, max_entries=4)
    assert preallocated(lru, False) == lru


def test_the_limit_of_locked_memory_is_raised_as_far_as_it_goes():
    """What may not be raised is left alone, without an error."""
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = remove_memlock_limit()
    after = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert unlimited == (after[0] == resource.RLIM_INFINITY)
    assert after[0] == resource.RLIM_INFINITY or after[0] >= before[0]


def test_cgroup_attach_types_are_asked_for():
    """Those every kernel since 4.17 has, and a pair that never was."""
    assert attach_type_available(ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS)
    assert attach_type_available(ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT)
    assert not attach_type_available(ProgType.CGROUP_SOCK_ADDR, AttachType(9999))


def test_possible_cpus_are_those_of_per_cpu_maps():
    """The numbers, in the order of the values."""
    assert len(possible_cpus()) == cpus.possible()
