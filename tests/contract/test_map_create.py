"""Which maps can be created, and with which errno others are refused."""

from __future__ import annotations

import mmap

import pytest

from pyebpf.uapi.bpf import MapFlag, MapType
from tests.support.contract import create, outcome, u32, update

PAGE = mmap.PAGESIZE
NO, LRU_LISTS, NUMA = MapFlag.NO_PREALLOC, MapFlag.NO_COMMON_LRU, MapFlag.NUMA_NODE
MMAP, INNER, KEEP = MapFlag.MMAPABLE, MapFlag.INNER_MAP, MapFlag.PRESERVE_ELEMS
RDONLY, WRONLY = MapFlag.RDONLY, MapFlag.WRONLY
RDONLY_PROG, WRONLY_PROG = MapFlag.RDONLY_PROG, MapFlag.WRONLY_PROG

# Kind, bytes of a key, of a value, entries, flags, and what comes of it.
CASES = [
    ("ARRAY", 4, 8, 1, 0, "ok"),
    ("ARRAY", 8, 8, 1, 0, "EINVAL"),
    ("ARRAY", 4, 0, 1, 0, "EINVAL"),
    ("ARRAY", 4, 8, 0, 0, "EINVAL"),
    ("ARRAY", 4, 8, 1, MMAP, "ok"),
    ("ARRAY", 4, 8, 1, INNER, "ok"),
    ("ARRAY", 4, 8, 1, NUMA, "ok"),
    ("ARRAY", 4, 8, 1, NO, "EINVAL"),
    ("ARRAY", 4, 8, 1, KEEP, "EINVAL"),
    ("ARRAY", 4, 8, 1, RDONLY | WRONLY, "EINVAL"),
    ("ARRAY", 4, 8, 1, RDONLY_PROG, "ok"),
    ("ARRAY", 4, 8, 1, RDONLY_PROG | WRONLY_PROG, "EINVAL"),
    ("ARRAY", 4, 1 << 31, 1, 0, "E2BIG"),
    ("ARRAY", 4, 8, 1, 1 << 29, "EINVAL"),
    ("PERCPU_ARRAY", 4, 8, 1, 0, "ok"),
    ("PERCPU_ARRAY", 4, 8, 1, MMAP, "EINVAL"),
    ("PERCPU_ARRAY", 4, 8, 1, NUMA, "EINVAL"),
    ("PERCPU_ARRAY", 4, (32 << 10) + 8, 1, 0, "E2BIG"),
    ("PROG_ARRAY", 4, 4, 2, 0, "ok"),
    ("PROG_ARRAY", 4, 8, 2, 0, "EINVAL"),
    ("PROG_ARRAY", 4, 4, 2, RDONLY_PROG, "EINVAL"),
    ("PERF_EVENT_ARRAY", 4, 4, 2, KEEP, "ok"),
    ("PERF_EVENT_ARRAY", 4, 4, 0, 0, "EINVAL"),
    ("HASH", 3, 5, 1, 0, "ok"),
    ("HASH", 0, 5, 1, 0, "EINVAL"),
    ("HASH", 3, 0, 1, 0, "EINVAL"),
    ("HASH", 3, 5, 0, 0, "EINVAL"),
    ("HASH", 3, 5, 1, NO, "ok"),
    ("HASH", 3, 5, 1, LRU_LISTS, "EINVAL"),
    ("HASH", 3, 5, 1, MMAP, "EINVAL"),
    ("HASH", 3, 5, 1, MapFlag.ZERO_SEED, "ok"),
    ("HASH", 4, 1 << 22, 1, 0, "E2BIG"),
    ("PERCPU_HASH", 4, 8, 1, NUMA, "EINVAL"),
    ("PERCPU_HASH", 4, (32 << 10) + 8, 1, NO, "E2BIG"),
    ("LRU_HASH", 4, 8, 1, 0, "ok"),
    ("LRU_HASH", 4, 8, 1, NO, "524"),
    ("LRU_HASH", 4, 8, 2, LRU_LISTS, "ok"),
    ("LRU_HASH", 4, 8, 2, LRU_LISTS | NUMA, "EINVAL"),
    ("LRU_PERCPU_HASH", 4, 8, 1, 0, "ok"),
    ("LPM_TRIE", 8, 4, 1, NO, "ok"),
    ("LPM_TRIE", 8, 4, 1, 0, "EINVAL"),
    ("LPM_TRIE", 4, 4, 1, NO, "EINVAL"),
    ("LPM_TRIE", 4 + 257, 4, 1, NO, "EINVAL"),
    ("LPM_TRIE", 4 + 256, 4, 1, NO, "ok"),
    ("LPM_TRIE", 8, 0, 1, NO, "EINVAL"),
    ("LPM_TRIE", 8, 4, 0, NO, "EINVAL"),
    ("QUEUE", 0, 4, 2, 0, "ok"),
    ("QUEUE", 4, 4, 2, 0, "EINVAL"),
    ("QUEUE", 0, 0, 2, 0, "EINVAL"),
    ("QUEUE", 0, 4, 0, 0, "EINVAL"),
    ("QUEUE", 0, 4, 2, NO, "EINVAL"),
    ("STACK", 0, (1 << 22) + 8, 1, 0, "E2BIG"),
    ("BLOOM_FILTER", 0, 4, 2, 0, "ok"),
    ("BLOOM_FILTER", 4, 4, 2, 0, "EINVAL"),
    ("BLOOM_FILTER", 0, 4, 2, NO, "EINVAL"),
    ("RINGBUF", 0, 0, PAGE, 0, "ok"),
    ("RINGBUF", 4, 0, PAGE, 0, "EINVAL"),
    ("RINGBUF", 0, 4, PAGE, 0, "EINVAL"),
    ("RINGBUF", 0, 0, 3 * PAGE, 0, "EINVAL"),
    ("RINGBUF", 0, 0, PAGE // 2, 0, "EINVAL"),
    ("RINGBUF", 0, 0, PAGE, NO, "EINVAL"),
    ("UNSPEC", 4, 4, 1, 0, "EINVAL"),
    ("ARRAY_OF_MAPS", 4, 4, 2, 0, "EBADF"),
    ("HASH_OF_MAPS", 4, 8, 2, 0, "EINVAL"),
]


@pytest.mark.parametrize(("kind", "key", "value", "entries", "flags", "expected"), CASES)
def test_a_definition_is_taken_or_refused(kernel, kind, key, value, entries, flags, expected):
    """By kind, sizes and flags."""
    more = {"inner_map_fd": 0xFFFFFFFF} if kind.endswith("_OF_MAPS") else {}

    def attempt() -> str:
        create(MapType[kind], key, value, entries, int(flags), **more).close()
        return "ok"

    assert outcome(attempt) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"map_name": b"fine_name.0"}, "ok"),
        ({"map_name": b"not-fine"}, "EINVAL"),
        ({"map_extra": 1}, "EINVAL"),
        ({"btf_key_type_id": 1}, "EINVAL"),
        ({"btf_value_type_id": 1}, "EINVAL"),
        ({"btf_value_type_id": 1, "btf_fd": 0xFFFFFFFF}, "EBADF"),
        ({"btf_vmlinux_value_type_id": 1}, "EINVAL"),
        ({"numa_node": 99}, "ok"),
        ({"numa_node": 99, "flags": NUMA}, "EINVAL"),
    ],
    ids=str,
)
def test_other_fields_are_checked_too(kernel, more, expected):
    """Names, types, extras, nodes."""

    def attempt() -> str:
        create(MapType.ARRAY, 4, 4, 1, **more).close()
        return "ok"

    if more == {"btf_value_type_id": 1}:
        expected = "EINVAL"  # descriptor 0 is no BTF
    assert outcome(attempt) == expected


def test_only_bloom_filters_say_how_many_hashes(kernel):
    """Up to 15."""
    create(MapType.BLOOM_FILTER, 0, 4, 2, map_extra=15).close()
    assert outcome(lambda: create(MapType.BLOOM_FILTER, 0, 4, 2, map_extra=16)) == "EINVAL"


@pytest.mark.parametrize("kind", [MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS])
def test_maps_of_maps_hold_what_is_like_the_first(kernel, kind):
    """Of the same kind and sizes; of arrays the same length, unless they say otherwise."""
    with (
        create(MapType.ARRAY, 4, 8, 2) as like,
        create(MapType.ARRAY, 4, 8, 3) as longer,
        create(MapType.HASH, 4, 8, 2) as other,
        create(kind, 4, 4, 4, inner_map_fd=like.fileno()) as outer,
    ):
        assert update(outer, u32(0), u32(like.fileno())) is None
        assert update(outer, u32(1), u32(longer.fileno())) == "EINVAL"
        assert update(outer, u32(1), u32(other.fileno())) == "EINVAL"
        assert update(outer, u32(1), u32(outer.fileno())) == "EINVAL"
        nested = outcome(lambda: create(kind, 4, 4, 4, inner_map_fd=outer.fileno()))
        assert nested == "EINVAL"
    with (
        create(MapType.ARRAY, 4, 8, 2, INNER) as like,
        create(MapType.ARRAY, 4, 8, 3, INNER) as longer,
        create(kind, 4, 4, 4, inner_map_fd=like.fileno()) as outer,
    ):
        assert update(outer, u32(1), u32(longer.fileno())) is None
