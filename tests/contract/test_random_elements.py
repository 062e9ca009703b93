"""Random calls on both kernels at once: what one answers, the other does, too."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyebpf.sys import kernel as seam
from pyebpf.testing import FakeKernel
from pyebpf.uapi.bpf import MapType
from tests.support.amount import amount
from tests.support.contract import (
    NO_PREALLOC,
    create,
    delete,
    lookup,
    next_key,
    prefix,
    take,
    u32,
    update,
    walk,
)

FLAGS = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 8, 1 << 40])
VALUES = st.integers(0, 3).map(u32)
INDEXES = st.integers(0, 6).map(u32)
SHORT = st.binary(min_size=2, max_size=2).map(lambda key: bytes(byte & 3 for byte in key))
PREFIXES = st.tuples(st.integers(0, 17), st.integers(0, 3), st.sampled_from([0, 128, 255])).map(
    lambda parts: prefix(parts[0], bytes(parts[1:]))
)

# Kind, size of a key, entries, flags, keys; all values have four bytes.
KINDS = {
    "hash": (MapType.HASH, 2, 5, 0, SHORT),
    "hash_on_demand": (MapType.HASH, 2, 5, NO_PREALLOC, SHORT),
    "array": (MapType.ARRAY, 4, 5, 0, INDEXES),
    "trie": (MapType.LPM_TRIE, 6, 5, NO_PREALLOC, PREFIXES),
    "queue": (MapType.QUEUE, 0, 3, 0, st.none()),
    "stack": (MapType.STACK, 0, 3, 0, st.none()),
    "bloom_filter": (MapType.BLOOM_FILTER, 0, 64, 0, st.none()),
    "program_array": (MapType.PROG_ARRAY, 4, 5, 0, INDEXES),
    "event_array": (MapType.PERF_EVENT_ARRAY, 4, 5, 0, INDEXES),
}
# Whose order is nobody's business.
UNORDERED = {"hash", "hash_on_demand"}


def operations(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    one = st.one_of(
        st.tuples(st.just("update"), keys, VALUES, FLAGS),
        st.tuples(st.just("update"), keys, VALUES, st.just(0)),
        st.tuples(st.just("lookup"), keys, FLAGS),
        st.tuples(st.just("delete"), keys),
        st.tuples(st.just("take"), keys, FLAGS),
        st.tuples(st.just("next"), keys),
    )
    return st.lists(one, max_size=40)


def answers(name: str, steps: list[Any]) -> list[Any]:
    """Return what a kernel answers, one by one, and what is left in the end."""
    kind, size, entries, flags, _ = KINDS[name]
    found: list[Any] = []
    with create(kind, size, 4, entries, flags) as fd:
        for step in steps:
            what, key, *rest = step
            if what == "update":
                found.append(update(fd, key, *rest))
            elif what == "lookup":
                found.append(lookup(fd, key, 4, *rest))
            elif what == "delete":
                found.append(delete(fd, key))
            elif what == "take":
                found.append(take(fd, key, 4, *rest))
            elif name not in UNORDERED:
                found.append(next_key(fd, key, max(size, 4)))
        if size and kind not in (MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY):
            left = [(key, lookup(fd, key, 4)) for key in walk(fd, size)]
            found.append(sorted(left) if name in UNORDERED else left)
    return found


@pytest.mark.usefixtures("like_this_kernel")
@pytest.mark.parametrize("name", KINDS)
def test_random_calls_are_answered_alike(name: str, age: tuple[int, int]) -> None:
    """Values and errnos, of the same calls on the same kind of map."""

    @settings(
        max_examples=amount(60),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(operations(KINDS[name][4]))
    def compare(steps: list[Any]) -> None:
        with seam.use(fake):
            made_up = answers(name, steps)
        assert made_up == answers(name, steps)

    with contextlib.closing(FakeKernel("{}.{}".format(*age))) as fake:
        compare()
