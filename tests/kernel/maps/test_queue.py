"""Queues, stacks and bloom filters: maps without keys."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapType


@pytest.mark.parametrize(
    ("kind", "order"), [(MapType.QUEUE, [1, 2, 3]), (MapType.STACK, [3, 2, 1])], ids=str
)
def test_values_come_out_in_the_kinds_order(kind, order):
    """First in first out, or last in first out; peek leaves the value there; empty is None."""
    with Map.create(type=kind, value="Q", max_entries=3) as m:
        assert (m.pop(), m.peek()) == (None, None)
        for number in (1, 2, 3):
            m.push(number)
        assert m.peek() == m.peek() == order[0]
        assert m.pop() == order[0]
        assert list(m.drain()) == order[1:]
        assert m.pop() is None


@pytest.mark.parametrize("kind", [MapType.QUEUE, MapType.STACK], ids=str)
def test_a_full_one_refuses_or_forgets_the_oldest(kind):
    """What is there stays unless the caller says otherwise."""
    with Map.create(type=kind, value="I", max_entries=2, name="q") as m:
        m.push(1)
        m.push(2)
        with pytest.raises(pyebpf.MapFullError, match='push into map "q"'):
            m.push(3)
        m.push(3, replace=True)
        assert sorted(m.drain()) == [2, 3]


def test_a_bloom_filter_knows_what_it_may_hold():
    """What was put in is always found; of what was not, hardly anything is."""
    with Map.create(type=MapType.BLOOM_FILTER, value="Q", max_entries=1000, map_extra=5) as m:
        for number in range(500):
            m.push(number)
        assert all(number in m for number in range(500))
        assert sum(number in m for number in range(10_000, 11_000)) < 50


def test_a_frozen_or_write_only_queue_says_so():
    """By operation, map and reason; the values stay."""
    with Map.create(type=MapType.QUEUE, value="I", max_entries=2, name="q") as m:
        m.push(1)
        m.freeze()
        with pytest.raises(pyebpf.PrivilegeError, match=r'push into map "q".*is frozen'):
            m.push(2)
        with pytest.raises(pyebpf.PrivilegeError, match=r'pop from map "q".*is frozen'):
            m.pop()
        assert m.peek() == 1
    for kind in (MapType.QUEUE, MapType.BLOOM_FILTER):
        shape = {"type": kind, "value": "I", "max_entries": 2, "name": "w"}
        with Map.create(**shape, flags=MapFlag.WRONLY) as m:
            m.push(1)
            look = m.peek if kind == MapType.QUEUE else lambda m=m: 1 in m
            with pytest.raises(pyebpf.PrivilegeError, match="opened for writing only"):
                look()


def test_other_kinds_have_no_such_operations():
    """A TypeError that names map, kind and operation; keys are what they lack."""
    with Map.create(type=MapType.HASH, key="I", value="I", max_entries=1, name="h") as m:
        for name in ("pop", "peek"):
            with pytest.raises(TypeError, match=rf'map "h" \(BPF_MAP_TYPE_HASH\) has no {name}'):
                getattr(m, name)()
        with pytest.raises(TypeError, match="has no push"):
            m.push(1)
        with pytest.raises(TypeError, match="has no drain"):
            list(m.drain())
    with Map.create(type=MapType.QUEUE, value="I", max_entries=1, name="q") as m:
        with pytest.raises(TypeError, match='map "q" has no keys'):
            list(m)
        with pytest.raises(TypeError, match="has no membership"):
            assert 1 in m
    with (
        Map.create(type=MapType.BLOOM_FILTER, value="I", max_entries=9) as m,
        pytest.raises(TypeError, match="has no pop"),
    ):
        m.pop()
