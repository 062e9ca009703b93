"""dump_reliably: every key that stays, an end in any case, and an account of what happened."""

from __future__ import annotations

import contextlib
import threading

import pytest

import pyebpf
from pyebpf import Map, MapType
from pyebpf.daemon import DumpStats, dump_reliably


@pytest.fixture
def flows():
    """A hash of numbers."""
    with Map.create(type=MapType.HASH, key="I", value="Q", max_entries=500, name="d") as m:
        yield m


def test_a_map_at_rest_is_dumped_once(flows):
    """Each entry once, and nothing failed."""
    flows.update_batch({n: n * n for n in range(300)})
    found = {}
    stats = dump_reliably(flows, found.__setitem__)
    assert found == {n: n * n for n in range(300)}
    assert stats == DumpStats(bound=2000, lookups=300, dumped=300, completed=True)
    flows.clear()
    assert dump_reliably(flows, found.__setitem__).completed


def test_entries_may_be_deleted_as_they_come(flows):
    """All are met all the same."""
    flows.update_batch({n: n for n in range(200)})
    seen = []

    def take(key, value):
        seen.append(key)
        flows.delete_batch([key])

    stats = dump_reliably(flows, take)
    assert (sorted(seen), stats.completed, len(flows)) == (list(range(200)), True, 0)


def test_a_key_that_vanishes_is_accounted_for(flows):
    """The walk goes back once, and on; what stays is met."""
    flows.update_batch({n: n for n in range(50)})
    order = list(flows)
    seen = []

    def remove_next(key, value):
        seen.append(key)
        if key == order[10]:
            flows.delete_batch([order[11]])

    stats = dump_reliably(flows, remove_next)
    assert stats.completed
    assert set(seen) == set(order) - {order[11]}
    assert (stats.lookup_failed, stats.key_fallback) == (1, 1)


def test_a_first_key_that_vanishes_interrupts_the_walk(flows):
    """There is no key to go back to: it goes on from the next, or is at the end."""

    class Vanishing:
        """The map, but whatever *gone* holds is never found."""

        name, max_entries = "v", 10

        def __init__(self, keys, gone):
            self.keys, self.gone = keys, gone

        def next_key(self, key=None):
            place = 0 if key is None else self.keys.index(key) + 1
            return self.keys[place] if place < len(self.keys) else None

        def get(self, key, default=None):
            return default if key in self.gone else key

    seen = []
    stats = dump_reliably(Vanishing([1, 2, 3], {1}), lambda key, value: seen.append(key))
    assert (seen, stats.interrupted, stats.completed) == ([2, 3], 1, True)
    stats = dump_reliably(Vanishing([1], {1}), lambda key, value: seen.append(key))
    assert (stats.dumped, stats.interrupted, stats.completed) == (0, 1, True)
    stats = DumpStats()
    with pytest.raises(
        pyebpf.IterationAborted, match=r'map "v" changes faster .* 20 entries in 40'
    ):
        dump_reliably(Vanishing([1, 2], {2}), lambda key, value: 0, stats=stats)
    assert (stats.completed, stats.lookups, stats.bound) == (False, 40, 40)


def test_a_map_that_never_rests_ends_the_walk(flows):
    """Bounded, with an account; what is handed out is true."""
    flows.update_batch({n: n for n in range(250)})
    stop = threading.Event()

    def churn():
        number = 0
        while not stop.is_set():
            key = number % 250
            with contextlib.suppress(pyebpf.KeyNotFoundError):
                del flows[key]
            flows[key] = key
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            seen = []
            stats = DumpStats()
            with contextlib.suppress(pyebpf.IterationAborted):
                dump_reliably(flows, lambda *entry: seen.append(entry), stats=stats)  # noqa: B023
            assert all(key == value for key, value in seen)
            assert stats.lookups <= stats.bound
            assert stats.completed or stats.lookups == stats.bound
    finally:
        stop.set()
        thread.join()


def test_keys_that_multiply_are_cut_off(flows):
    """An adversary that inserts what is to come: IterationAborted, and the account says so."""
    flows[0] = 0
    stats = DumpStats()

    def more(key, value):
        with contextlib.suppress(pyebpf.MapFullError):
            flows.delete_batch([key])
            flows[key + 1] = 0

    with contextlib.suppress(pyebpf.IterationAborted):
        dump_reliably(flows, more, stats=stats)
    assert stats.lookups <= stats.bound


def test_what_the_callback_raises_ends_the_walk(flows):
    """And reaches the caller."""
    flows[1] = 1
    with pytest.raises(ZeroDivisionError):
        dump_reliably(flows, lambda key, value: 1 // 0)
