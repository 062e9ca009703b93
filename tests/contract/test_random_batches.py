"""Random batches on both kernels at once: what one answers, the other does, too."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyebpf.sys import bpf
from pyebpf.sys import kernel as seam
from pyebpf.sys.fd import FD
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import MapBatch
from pyebpf.uapi.bpf import MapType
from tests.support.amount import amount
from tests.support.contract import (
    NO_PREALLOC,
    create,
    look_up_batch,
    lookup,
    outcome,
    prefix,
    u32,
    walk,
)

NUMBERS = st.integers(0, 8).map(u32)
PREFIXES = st.tuples(st.integers(0, 9), st.sampled_from([0, 128, 255])).map(
    lambda parts: prefix(parts[0], bytes(parts[1:]))
)
KINDS = {
    "hash": (MapType.HASH, 4, 6, 0, NUMBERS),
    "lru": (MapType.LRU_HASH, 4, 1024, 0, NUMBERS),
    "array": (MapType.ARRAY, 4, 6, 0, NUMBERS),
    "trie": (MapType.LPM_TRIE, 5, 6, NO_PREALLOC, PREFIXES),
    "queue": (MapType.QUEUE, 0, 6, 0, NUMBERS),
    "program_array": (MapType.PROG_ARRAY, 4, 6, 0, NUMBERS),
}


def send(fd: FD, command: Any, keys: list[bytes], values: list[bytes], flags: int) -> Any:
    """Return the outcome of a batch that sets or removes, and how far it came."""
    attr = MapBatch(
        map_fd=fd.fileno(),
        count=len(keys),
        keys=b"".join(keys),
        values=b"".join(values) or None,
        elem_flags=flags,
    )
    return outcome(lambda: command(attr)), attr.count


def answers(name: str, steps: list[Any]) -> list[Any]:
    kind, size, entries, flags, _ = KINDS[name]
    found: list[Any] = []
    with create(kind, size, 4, entries, flags) as fd:
        for what, keys, number, elem_flags in steps:
            if what == "update":
                values = [u32(number)] * len(keys)
                found.append(send(fd, bpf.map_update_batch, keys, values, elem_flags))
            elif what == "delete":
                found.append(send(fd, bpf.map_delete_batch, keys, [], elem_flags))
            else:
                # Enough for everything: which keys share a bucket is nobody's business.
                taken = look_up_batch(fd, 32, (size, 4), remove=what == "take")
                found.append((taken[0], sorted(taken[1].items())))
        if size and kind != MapType.PROG_ARRAY:
            found.append(sorted((key, lookup(fd, key, 4)) for key in walk(fd, size)))
    return found


@pytest.mark.usefixtures("like_this_kernel")
@pytest.mark.parametrize("name", KINDS)
def test_random_batches_are_answered_alike(name: str, age: tuple[int, int]) -> None:
    """Counts, values and errnos."""
    one = st.tuples(
        st.sampled_from(["update", "update", "delete", "lookup", "take"]),
        st.lists(KINDS[name][4], max_size=8),
        st.integers(0, 3),
        st.sampled_from([0, 0, 0, 1, 4]),
    )

    @settings(
        max_examples=amount(40),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(st.lists(one, max_size=8))
    def compare(steps: list[Any]) -> None:
        with seam.use(fake):
            made_up = answers(name, steps)
        assert made_up == answers(name, steps)

    with contextlib.closing(FakeKernel("{}.{}".format(*age))) as fake:
        compare()
