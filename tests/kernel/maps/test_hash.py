"""Hashes: entries that come and go, on all kinds of them."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapType, UpdateFlag
from pyebpf.host import cpus

PER_CPU = {MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH}
LRU = {MapType.LRU_HASH, MapType.LRU_PERCPU_HASH}
KINDS = [MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH]


def value_of(kind, number):
    return [number + cpu for cpu in range(cpus.possible())] if kind in PER_CPU else number


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_of_hash_is_a_mapping(kind):
    """Set, get, count, delete and take, by numbers; per-CPU kinds have a list for each key."""
    with Map.create(type=kind, key="I", value="Q", max_entries=64, name="h") as m:
        for number in range(10):
            m[number] = value_of(kind, number)
        assert dict(m) == {number: value_of(kind, number) for number in range(10)}
        assert len(m) == 10
        assert m.lookup_and_delete(3) == value_of(kind, 3)
        assert 3 not in m
        with pytest.raises(pyebpf.KeyExistsError):
            m.update(4, value_of(kind, 9), flags=UpdateFlag.NOEXIST)
        with pytest.raises(pyebpf.KeyNotFoundError):
            m.update(3, value_of(kind, 9), flags=UpdateFlag.EXIST)
        if kind in PER_CPU:
            assert m.sum(4) == sum(value_of(kind, 4))
        m.clear()
        assert len(m) == 0


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_full_hash_refuses_and_a_full_lru_forgets(kind):
    """MapFullError, nothing lost; or what was not used for longest goes."""
    with Map.create(type=kind, key="I", value="Q", max_entries=200, name="h") as m:
        for number in range(200):
            m[number] = value_of(kind, number)
        if kind in LRU:
            for number in range(1000, 1400):
                m[number] = value_of(kind, number)
            assert m[1399] == value_of(kind, 1399)
            assert 0 < len(m) <= 200
        else:
            with pytest.raises(pyebpf.MapFullError, match='update map "h"'):
                m[1000] = value_of(kind, 1)
            assert len(m) == 200
            m[5] = value_of(kind, 6)  # what is there can be changed all the same


@pytest.mark.parametrize(
    "flags",
    [MapFlag.NO_PREALLOC, MapFlag.ZERO_SEED, MapFlag.RDONLY_PROG, MapFlag.WRONLY_PROG],
    ids=str,
)
def test_creation_flags_reach_the_kernel(flags):
    """What info() says is what was asked for."""
    with Map.create(type=MapType.HASH, key="I", value="I", max_entries=2, flags=flags) as m:
        assert m.info().flags & flags == flags
        m[1] = 2
        assert m[1] == 2


def test_access_flags_hold_for_the_descriptor():
    """A map made read-only is for programs to write: this process may only look."""
    shape = {"type": MapType.ARRAY, "value": "I", "max_entries": 2, "name": "r"}
    with Map.create(**shape, flags=MapFlag.RDONLY) as m:
        assert m[0] == 0
        with pytest.raises(pyebpf.PrivilegeError, match='update map "r"'):
            m[0] = 1
    with Map.create(**shape, flags=MapFlag.WRONLY) as m:
        m[0] = 1
        with pytest.raises(pyebpf.PrivilegeError, match='lookup in map "r"'):
            m[0]


def test_a_node_is_kept():
    """The memory is taken where it was asked for."""
    with Map.create(type=MapType.HASH, key="I", value="I", max_entries=2, numa_node=0) as m:
        assert m.info().flags & MapFlag.NUMA_NODE


def test_a_flag_the_kernel_lacks_is_named():
    """Not EINVAL, but what is missing and since when it is there."""
    with Map.create(type=MapType.RINGBUF, max_entries=4096, flags=MapFlag.RB_OVERWRITE) as m:
        assert m.info().flags & MapFlag.RB_OVERWRITE
