"""Pinned maps over the life of a daemon: adopted, refused, replaced, in parallel, in races."""

from __future__ import annotations

import multiprocessing
import os

import pytest

import pyebpf
from pyebpf import Map, MapSpec, MapType, pinning
from pyebpf.daemon import (
    Found,
    end_parallel,
    find_open_map,
    open_if_exists,
    open_maps,
    open_or_create,
    open_parallel,
    reopen,
    same_map,
)
from tests.support.programs import built

SPEC = MapSpec(name="flows", type=MapType.HASH, key_size=4, value_size=8, max_entries=16)


def bigger():
    made = SPEC.copy()
    made.max_entries = 32
    return made


@pytest.fixture
def pin(bpffs):
    """A free name on a bpffs, two directories down; all is gone afterwards."""
    path = bpffs / "tc" / "globals" / "flows"
    yield path
    for each in pinning.walk(bpffs):
        if "debug" not in each.name:
            pinning.unpin(each)
    if path.parent.exists():
        path.parent.rmdir()
        path.parent.parent.rmdir()


def opened(spec, path, **options):
    return open_or_create(spec, path, key="I", value="Q", **options)


def test_the_first_creates_the_second_adopts(pin):
    """Entries stay; directories are made; both are the same map, found by its path."""
    with opened(SPEC, pin).map as first:
        first[1] = 100
        again = opened(SPEC, pin)
        with again.map as second:
            assert again.found is Found.ADOPTED
            assert second[1] == 100
            assert same_map(first, second)
            assert find_open_map(pin) is second
    assert find_open_map(pin) is None
    with open_if_exists(pin, expect=SPEC, key="I", value="Q") as third:
        assert third[1] == 100
        assert open_maps()[str(pin)] is third


def test_what_does_not_fit_is_refused_or_replaced(pin):
    """The error lists the differences and changes nothing; replaced, the old map lives on."""
    with opened(SPEC, pin).map as old:
        old[1] = 1
        with pytest.raises(pyebpf.MapIncompatibleError, match="max_entries is 16, not 32"):
            opened(bigger(), pin)
        with Map.from_pin(pin) as there:
            assert same_map(there, old)
        new = opened(bigger(), pin, replace=True)
        with new.map as fresh, Map.from_pin(pin) as there:
            assert new.found is Found.REPLACED
            assert same_map(there, fresh)
            assert (fresh.max_entries, fresh.to_dict(), old[1]) == (32, {}, 1)
    assert [each.name for each in pinning.walk(pin.parent)] == ["flows"]


def test_the_caller_may_judge_for_itself(pin):
    """A map of the right shape with the wrong contents does not fit either."""
    with opened(SPEC, pin).map as old:
        old[0] = 1  # a version
        judge = lambda m: m.get(0) == 2  # noqa: E731
        with pytest.raises(pyebpf.MapIncompatibleError, match="not valid any more"):
            opened(SPEC, pin, validate=judge)
        with opened(SPEC, pin, validate=judge, replace=True).map as fresh:
            fresh[0] = 2
        again = opened(SPEC, pin, validate=judge)
        with again.map:
            assert again.found is Found.ADOPTED
        with pytest.raises(ZeroDivisionError):
            opened(SPEC, pin, validate=lambda _: 1 // 0)


def test_prog_arrays_are_never_replaced(pin):
    """Every tail call would fall through."""
    spec = MapSpec(name="jump", type=MapType.PROG_ARRAY, key_size=4, value_size=4, max_entries=2)
    with open_or_create(spec, pin).map:
        spec.max_entries = 3
        with pytest.raises(pyebpf.MapIncompatibleError):
            open_or_create(spec, pin, replace=True)


def test_a_pin_that_is_no_map_is_never_touched(pin):
    """Not even when replacing was asked for."""
    pin.parent.mkdir(parents=True)
    with pyebpf.load(built("subprogs")) as bpf:
        bpf.programs["alone"].pin(pin)
        for replace in (False, True):
            with pytest.raises(ValueError, match="no map is pinned at"):
                opened(SPEC, pin, replace=replace)
        with pyebpf.Program.from_pin(pin) as there:
            assert there.id == bpf.programs["alone"].id


def test_pins_are_listed_with_what_they_are(pin):
    """Of every kind, in every directory."""
    with opened(SPEC, pin).map, pyebpf.load(built("probes")) as bpf:
        program = bpf.programs["on_raw_tracepoint"]
        program.pin(pin.parent / "a_program")
        with pyebpf.attach(program) as attached:
            attached.pin(pin.parent / "a_link")
        found = {each.name: pinning.kind_at(each) for each in pinning.walk(pin.parent.parent)}
        assert found == {"a_link": "link", "a_program": "program", "flows": "map"}
        pinning.unpin(pin.parent / "a_link")


def test_without_a_path_there_is_no_pin():
    """It is in the registry by its name."""
    result = opened(SPEC, None)
    with result.map as m:
        assert result.found is Found.CREATED
        assert open_maps()["<flows>"] is m
    assert "<flows>" not in open_maps()


def test_types_reach_the_kernel(pin):
    """Whoever opens the pin later knows what is in it."""
    spec = pyebpf.load_spec(built("maps")).maps["hash"]
    with open_or_create(spec, pin).map as m:
        key = {"source": 1, "port": 80}
        m[key] = {"packets": 3, "device": "eth0"}
        with Map.from_pin(pin) as other:
            assert other[key].device == "eth0"


def test_what_is_not_there_is_none(pin):
    """Not an error."""
    assert open_if_exists(pin) is None
    assert open_if_exists(pin.parent.parent.parent / "nothing") is None
    with pytest.raises(pyebpf.SyscallError, match="ENOTDIR"):
        open_if_exists("/dev/null/x")


def test_old_and_new_are_there_in_parallel(pin):
    """Readers of the old go on; new ones get the new; afterwards only that is pinned."""
    with opened(SPEC, pin).map as old:
        old[1] = 1
        with open_parallel(bigger(), pin, key="I", value="Q") as new:
            new[1] = 2
            with Map.from_pin(pin) as there:
                assert same_map(there, new)
            assert (old[1], new[1]) == (1, 2)
            with Map.from_pin(pin.with_name("flows:pending")) as there:
                assert same_map(there, old)
            assert end_parallel(pin)
            assert not end_parallel(pin)
            assert [each.name for each in pinning.walk(pin.parent)] == ["flows"]
    with open_parallel(SPEC, pin.parent / "other") as first:
        assert first.max_entries == 16
        assert not end_parallel(pin.parent / "other")


def test_a_map_that_cannot_be_made_leaves_the_pins_alone(pin):
    """Before anything is moved."""
    with opened(SPEC, pin).map as old:
        broken = bigger()
        broken.value_size = 0
        with pytest.raises(pyebpf.SyscallError, match="value_size is 0"):
            open_parallel(broken, pin)
        with pytest.raises(pyebpf.SyscallError):
            opened(broken, pin, replace=True)
        with Map.from_pin(pin) as there:
            assert same_map(there, old)
    assert [each.name for each in pinning.walk(pin.parent)] == ["flows"]


def test_a_map_is_opened_again_by_its_pin(pin):
    """With the types it had; the old object is closed, or stays if there is nothing."""
    m = opened(SPEC, pin).map
    with m:
        m[3] = 4
        fresh = reopen(m, pin)
        with fresh:
            assert m.closed
            assert fresh[3] == 4
            pinning.unpin(pin)
            with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
                reopen(fresh, pin)
            assert fresh[3] == 4


def _race(path, spec, results):
    with open_or_create(spec, path).map as m:
        results.put((os.getpid(), m.id))


def test_processes_that_race_for_a_pin_end_up_with_one_map(pin):
    """Whoever comes second uses what is there, however close they come."""
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        results = context.Queue()
        workers = [context.Process(target=_race, args=(pin, SPEC, results)) for _ in range(6)]
        for worker in workers:
            worker.start()
        ids = {results.get(timeout=60)[1] for _ in workers}
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        results.close()
        results.join_thread()
        with Map.from_pin(pin) as there:
            assert ids == {there.id}
        pinning.unpin(pin)


def test_pins_are_moved(pin, tmp_path):
    """Never over another, unless that is wanted; the object stays the same."""
    other = pin.parent / "other"
    with opened(SPEC, pin).map as m, opened(bigger(), other).map as n:
        with pytest.raises(pyebpf.SyscallError, match=r"move pin .*EEXIST"):
            pinning.move(pin, other)
        with Map.from_pin(other) as there:
            assert same_map(there, n)
        pinning.move(pin, pin.parent / "third")
        assert not pin.exists()
        with Map.from_pin(pin.parent / "third") as there:
            assert same_map(there, m)
        pinning.move(pin.parent / "third", other, replace=True)
        with Map.from_pin(other) as there:
            assert same_map(there, m)
        with pytest.raises(pyebpf.SyscallError, match="ENOENT"):
            pinning.move(pin, other)
        with pytest.raises(pyebpf.SyscallError, match="EXDEV"):
            pinning.move(other, tmp_path / "pin")
