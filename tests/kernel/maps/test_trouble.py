"""Bad input and trouble: an error that names map, operation and reason, and nothing is changed."""

from __future__ import annotations

import multiprocessing
import pathlib
import threading

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapType, pinning
from pyebpf.daemon import open_or_create
from pyebpf.spec import MapSpec
from tests.support.alarms import interrupted_by
from tests.support.amount import amount
from tests.support.children import outcome

THREADS = amount(1000)
SPEC = MapSpec(name="shared", type=MapType.HASH, key_size=4, value_size=8, max_entries=4096)


def small(**more):
    shape = {"type": MapType.HASH, "key": "I", "value": "Q", "max_entries": 4, "name": "t"}
    return Map.create(**{**shape, **more})


def test_a_frozen_map_says_that_it_is_frozen():
    """Every way to change it; what it holds stays."""
    with small() as m:
        m[1] = 1
        m.freeze()
        uses = {
            "update": lambda: m.update(1, 2),
            "delete from": lambda: m.delete(1),
            "lookup and delete in": lambda: m.lookup_and_delete(1),
        }
        for doing, use in uses.items():
            with pytest.raises(pyebpf.PrivilegeError, match=f'^{doing} map "t": .*is frozen$'):
                use()
        with pytest.raises(pyebpf.PrivilegeError, match=r'^update map "t": .*is frozen$'):
            m.update_batch({1: 2})
        assert m.to_dict() == {1: 1}
        assert m.info().frozen


def test_a_read_only_descriptor_says_so(bpffs):
    """The same map can be changed by another."""
    with small() as m:
        m.pin(bpffs / "t")
        with Map.from_pin(bpffs / "t", read_only=True, key="I", value="Q") as seen:
            for use in (lambda: seen.update(1, 1), lambda: seen.delete(1), seen.clear):
                m[1] = 1
                with pytest.raises(pyebpf.PrivilegeError, match="opened for reading only"):
                    use()
            m[1] = 5
            assert seen[1] == 5
        pinning.unpin(bpffs / "t")
    with (
        small(flags=MapFlag.WRONLY) as m,
        pytest.raises(pyebpf.PrivilegeError, match="opened for writing only"),
    ):
        m[1]


def test_a_kind_without_an_operation_says_so():
    """By the kind's name, with the kernel's number kept."""
    with Map.create(type=MapType.ARRAY, value="I", max_entries=1, name="a") as m:
        message = r'^lookup and delete in map "a": .*ENOTSUPP: BPF_MAP_TYPE_ARRAY has no such'
        with pytest.raises(pyebpf.SyscallError, match=message) as raised:
            m.lookup_and_delete(0)
        assert raised.value.errno == 524
    with (
        Map.create(type=MapType.PERF_EVENT_ARRAY, name="p") as m,
        pytest.raises(pyebpf.SyscallError, match="BPF_MAP_TYPE_PERF_EVENT_ARRAY has no such"),
    ):
        m[0]


def test_a_map_deleted_under_us_works_on_as_long_as_it_is_open(bpffs):
    """The pin is but a name; the id is gone only with the last who holds it."""
    m = small()
    m.pin(bpffs / "t")
    pinning.unpin(bpffs / "t")
    m[1] = 1
    number = m.id
    m.close()
    with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
        _until_gone(number)
    with pytest.raises(pyebpf.SyscallError, match=r"open pin .*/t.*ENOENT"):
        Map.from_pin(bpffs / "t")


# The kernel frees maps behind our back, a grace period later.
def _until_gone(number):
    while True:
        Map.from_id(number).close()


def test_bad_codecs_and_sizes_leave_no_map_behind():
    """The leak check of every test sees to that."""
    for bad in (
        {"key_size": 8},
        {"value": "nothing at all"},
        {"value": object()},
        {"value": (len, len)},
        {"max_entries": 0},
        {"max_entries": -1},
        {"max_entries": 1 << 32},
        {"flags": 1 << 30},
        {"type": MapType.UNSPEC},
        {"inner": SPEC},
        {"numa_node": 12345},
    ):
        with pytest.raises((ValueError, TypeError, OverflowError, pyebpf.EbpfError)):
            small(**bad).close()


def test_what_cannot_be_a_key_or_value_is_named_with_its_map():
    """Operation, map, and both sizes or what was given; nothing is changed."""
    with small() as m, m.raw as raw:
        m[1] = 1
        uses = {
            r'^update map "t": value -1, format .Q.': lambda: m.update(1, -1),
            r'^update map "t": key .x., format .I.': lambda: m.update("x", 1),
            r'^lookup in map "t": key 4294967296, format': lambda: m[1 << 32],
            r'^delete from map "t": key .x., format': lambda: m.delete("x"),
            r'^update map "t": value takes 8 bytes, not 7$': lambda: raw.update(bytes(4), bytes(7)),
            r'^lookup in map "t": key takes 4 bytes, not 5$': lambda: raw[bytes(5)],
            r'^update map "t": value -2, format': lambda: m.update_batch({1: 5, 2: -2}),
            r'^delete from map "t": key -3, format': lambda: m.delete_batch([1, -3]),
        }
        for message, use in uses.items():
            with pytest.raises(ValueError, match=message):
                use()
        with pytest.raises(TypeError, match=r'^update map "t": value without .* not int$'):
            raw[bytes(4)] = 1
        assert m.to_dict() == {1: 1}


def test_a_thousand_threads_share_one_map():
    """Each sees its own value at its own key, always; nothing is mixed up, nothing lost."""
    with small(max_entries=2000) as m:
        wrong = []
        start = threading.Barrier(THREADS)

        def work(number):
            start.wait()
            for step in range(20):
                m[number] = number << 32 | step
                found = m[number]
                if found != number << 32 | step:
                    wrong.append((number, step, found))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert m.to_dict() == {number: number << 32 | 19 for number in range(THREADS)}


def _writer(path, base, ready):
    with open_or_create(SPEC, path, key="I", value="Q").map as m:
        ready.wait()
        for step in range(amount(600)):
            key = base + step % 500
            m[key] = key << 32 | step
            if step % 7 == 0:
                m.delete_batch([key])
            for found, value in list(m.items())[:3]:
                assert found == value >> 32


def test_processes_share_a_pinned_map(bpffs):
    """Each writes its own keys and reads everybody's: no value is ever another key's."""
    path = bpffs / "shared"
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    workers = [
        context.Process(target=_writer, args=(path, number * 1000, ready)) for number in range(3)
    ]
    for worker in workers:
        worker.start()
    ready.set()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    with Map.from_pin(path, key="I", value="Q") as m:
        found = m.to_dict()
        assert all(key == value >> 32 for key, value in found.items())
        assert 0 < len(found) <= 1500
    pinning.unpin(path)


def test_signals_between_calls_change_nothing():
    """A handler that uses the same map while its operations are under way."""
    with small(max_entries=100) as m:
        count = 0

        def handler():
            nonlocal count
            count += 1
            mine = 50 + count % 50
            m[mine] = mine
            assert m[mine] == mine

        step = 0
        with interrupted_by(handler):
            while step < amount(20_000) or not count:
                m[step % 50] = step
                assert m[step % 50] == step
                step += 1


def test_a_child_of_fork_uses_the_same_map():
    """It has the same descriptor, and buffers of its own."""
    with small() as m:
        m[1] = 1

        def add():
            m[2] = m[1] + 1
            return sorted(m.items())  # a hash has no order

        assert outcome(add) == "[(1, 1), (2, 2)]"
        assert m.to_dict() == {1: 1, 2: 2}


def test_pins_outside_a_bpffs_are_explained(tmp_path):
    """Which directory, and what to do."""
    with small() as m, pytest.raises(pyebpf.SyscallError, match="is not on a bpffs"):
        m.pin(tmp_path / "t")
    assert list(pathlib.Path(tmp_path).iterdir()) == []
