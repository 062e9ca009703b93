"""CachedMap: what should be there ends up there, whatever the kernel said in between."""

from __future__ import annotations

import ipaddress
import threading

import pytest

import pyebpf
from pyebpf import Map, MapType
from pyebpf.daemon import Action, CachedMap
from pyebpf.maps.lpm import IPV4_NETWORK


@pytest.fixture
def small():
    """A hash with room for three."""
    with Map.create(type=MapType.HASH, key="I", value="Q", max_entries=3, name="c") as m:
        yield m


def test_what_is_set_is_in_the_kernel(small):
    """As in any mapping; each entry says that it is done."""
    cached = CachedMap(small)
    cached[1] = 10
    assert cached.set(2, 20)
    assert small.to_dict() == dict(cached) == {1: 10, 2: 20}
    assert {entry.action for entry in cached.entries().values()} == {Action.OK}
    del cached[1]
    assert cached.delete(77)
    assert small.to_dict() == dict(cached) == {2: 20}
    with pytest.raises(KeyError):
        cached[1]
    with pytest.raises(KeyError):
        del cached[1]


def test_what_is_refused_is_kept_and_tried_again(small):
    """A full map: the wish and the error stay with the entry until there is room."""
    cached = CachedMap(small)
    results = [cached.set(number, number) for number in range(5)]
    assert results == [True] * 3 + [False] * 2
    assert dict(cached) == {number: number for number in range(5)}
    waiting = cached.outstanding()
    assert set(waiting) == {3, 4}
    assert isinstance(waiting[3].error, pyebpf.MapFullError)
    assert (waiting[3].action, waiting[3].tries) == (Action.INSERT, 1)
    result = cached.reconcile()
    assert (result.inserted, result.failed, result.outstanding) == (0, 2, 2)
    assert cached.outstanding()[4].tries == 2
    del cached[0]
    result = cached.reconcile()
    assert (result.inserted, result.outstanding) == (1, 1)
    with pytest.raises(pyebpf.MapFullError):
        cached.set(4, 44, strict=True)
    del cached[1]
    assert cached.reconcile().outstanding == 0
    assert small.to_dict() == dict(cached) == {2: 2, 3: 3, 4: 44}


def test_a_deletion_that_is_refused_is_kept(small):
    """Not in the mapping any more, but still to be done; the error is that of the try."""
    cached = CachedMap(small)
    cached[1] = 10
    with pyebpf.Map.from_id(small.id) as other:
        other.freeze()
    assert not cached.delete(1)
    assert 1 not in cached
    entry = cached.outstanding()[1]
    assert (entry.action, entry.value) == (Action.DELETE, 10)
    assert isinstance(entry.error, pyebpf.PrivilegeError)
    assert small[1] == 10
    with pytest.raises(pyebpf.PrivilegeError):
        cached.delete(1, strict=True)
    assert cached.reconcile(max_errors=1).failed == 1


def test_what_others_change_is_mended(small):
    """Missing and different entries are set again; strangers go only when asked for."""
    cached = CachedMap(small)
    cached[1], cached[2] = 10, 20
    del small[1]
    small[2] = 99
    small[7] = 7
    result = cached.reconcile()
    assert (result.inserted, result.deleted, result.outstanding) == (2, 0, 0)
    assert small.to_dict() == {1: 10, 2: 20, 7: 7}
    result = cached.reconcile(strict=True)
    assert (result.inserted, result.deleted) == (0, 1)
    assert small.to_dict() == {1: 10, 2: 20}
    small[2] = 0
    assert cached.reconcile(compare=False).inserted == 0


def test_the_state_is_taken_over_after_a_restart(small):
    """What the last process has left is what should be there."""
    small[5] = 50
    cached = CachedMap(small, load=True)
    assert dict(cached) == {5: 50}
    assert cached.clear() == 0
    assert small.to_dict() == {}


def test_clearing_takes_strangers_too(small):
    """All that is there and all that is wanted."""
    cached = CachedMap(small)
    cached[1] = 1
    small[9] = 9
    assert cached.clear() == 0
    assert (small.to_dict(), dict(cached), cached.entries()) == ({}, {}, {})


def test_what_cannot_be_a_value_is_never_wanted(small):
    """A programming error is raised at once and leaves everything as it was."""
    cached = CachedMap(small)
    with pytest.raises(ValueError, match="value -1"):
        cached[1] = -1
    with pytest.raises(ValueError, match="key 'x'"):
        cached["x"] = 1
    assert cached.entries() == {}


def test_a_closed_map_is_an_error_of_the_entry(small):
    """Nothing is lost, and nothing raised."""
    other = small.clone()
    cached = CachedMap(other)
    other.close()
    assert not cached.set(1, 1)
    assert isinstance(cached.outstanding()[1].error, pyebpf.ClosedError)
    cached.map = small
    assert cached.reconcile().outstanding == 0
    assert small.to_dict() == {1: 1}


def test_a_map_that_never_rests_is_compared_key_by_key(small, monkeypatch):
    """No walk comes to its end, and what should be there is there all the same."""

    def never_rests():
        raise pyebpf.IterationAborted("it changes faster than it can be walked")

    cached = CachedMap(small)
    cached[1], cached[2] = 10, 20
    del small[1]
    small[2] = 0
    monkeypatch.setattr(small, "to_dict", never_rests)
    assert cached.reconcile(strict=True).inserted == 2
    assert (small[1], small[2]) == (10, 20)


def test_a_run_ends_after_so_many_refusals(small):
    """The rest waits for the next one."""
    cached = CachedMap(small)
    for number in range(8):
        cached[number] = number
    result = cached.reconcile(max_errors=2)
    assert (result.failed, result.outstanding) == (2, 5)


def test_maps_of_objects_are_compared_by_id():
    """What goes in as an object comes back as a number, and is no difference."""
    inner = pyebpf.MapSpec(name="i", type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    with (
        Map.create(type=MapType.ARRAY_OF_MAPS, max_entries=2, inner=inner) as outer,
        Map.from_spec(inner) as one,
        Map.from_spec(inner) as two,
    ):
        cached = CachedMap(outer)
        cached[0] = one
        assert cached.reconcile().inserted == 0
        outer[0] = two
        assert cached.reconcile().inserted == 1
        assert outer[0] == one.id


def test_a_key_is_the_same_however_it_is_given():
    """As text or object it is one entry, and no difference to what the map gives."""
    with Map.create(type=MapType.LPM_TRIE, key=IPV4_NETWORK, value="I", max_entries=4) as m:
        cached = CachedMap(m)
        cached["10.0.0.0/8"] = 1
        cached[ipaddress.ip_network("10.0.0.0/8")] = 2
        assert dict(cached) == {ipaddress.ip_network("10.0.0.0/8"): 2} == m.to_dict()
        assert "10.0.0.0/8" in cached
        assert "nonsense" not in cached
        assert cached.reconcile(strict=True).inserted == 0
        assert cached.delete("10.0.0.0/8")
        assert m.to_dict() == {}


def test_threads_share_it():
    """Every wish of every thread is in the kernel in the end."""
    with Map.create(type=MapType.HASH, key="I", value="Q", max_entries=1000) as m:
        cached = CachedMap(m)

        def work(number):
            for step in range(100):
                cached[number * 100 + step] = step
                if step % 3 == 0:
                    cached.delete(number * 100 + step)
            cached.reconcile()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert m.to_dict() == dict(cached)
        assert len(cached) == 8 * 66
