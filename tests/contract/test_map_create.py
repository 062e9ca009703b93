"""Which maps can be created, and with which errno others are refused."""

from __future__ import annotations

import mmap

import pytest

from pyebpf.uapi.bpf import MapFlag, MapType
from tests.support import kernel as machine
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
    ("USER_RINGBUF", 0, 0, PAGE, 0, "ok"),
    ("USER_RINGBUF", 0, 0, PAGE, NUMA, "ok"),
    ("USER_RINGBUF", 0, 0, PAGE, RDONLY, "EINVAL"),
    ("USER_RINGBUF", 0, 0, PAGE // 2, 0, "EINVAL"),
    ("DEVMAP", 4, 4, 2, RDONLY | NUMA, "ok"),
    ("DEVMAP", 4, 8, 2, WRONLY, "ok"),
    ("DEVMAP", 4, 12, 2, 0, "EINVAL"),
    ("DEVMAP", 8, 4, 2, 0, "EINVAL"),
    ("DEVMAP", 4, 4, 0, 0, "EINVAL"),
    ("DEVMAP", 4, 4, 2, RDONLY_PROG, "EINVAL"),
    ("DEVMAP", 4, 4, 2, NO, "EINVAL"),
    ("DEVMAP_HASH", 4, 8, 2, 0, "ok"),
    ("DEVMAP_HASH", 4, 4, (1 << 31) + 1, 0, "EINVAL"),
    ("CPUMAP", 4, 4, 2, NUMA, "ok"),
    ("CPUMAP", 4, 8, 2, 0, "ok"),
    ("CPUMAP", 4, 12, 2, 0, "EINVAL"),
    ("CPUMAP", 4, 4, 2, RDONLY, "EINVAL"),
    ("CPUMAP", 4, 4, 1 << 20, 0, "E2BIG"),
    ("XSKMAP", 4, 4, 2, RDONLY, "ok"),
    ("XSKMAP", 4, 8, 2, 0, "EINVAL"),
    ("XSKMAP", 4, 4, 2, NO, "EINVAL"),
    ("SOCKMAP", 4, 4, 2, RDONLY, "ok"),
    ("SOCKMAP", 4, 8, 2, 0, "ok"),
    ("SOCKMAP", 4, 12, 2, 0, "EINVAL"),
    ("SOCKMAP", 8, 4, 2, 0, "EINVAL"),
    ("SOCKMAP", 4, 4, 2, RDONLY_PROG, "EINVAL"),
    ("SOCKHASH", 3, 4, 2, 0, "ok"),
    ("SOCKHASH", 512, 8, 2, 0, "ok"),
    ("SOCKHASH", 513, 8, 2, 0, "E2BIG"),
    ("SOCKHASH", 0, 8, 2, 0, "EINVAL"),
    ("REUSEPORT_SOCKARRAY", 4, 4, 2, RDONLY_PROG, "ok"),
    ("REUSEPORT_SOCKARRAY", 4, 8, 2, 0, "ok"),
    ("REUSEPORT_SOCKARRAY", 4, 12, 2, 0, "EINVAL"),
    ("REUSEPORT_SOCKARRAY", 4, 8, 0, 0, "EINVAL"),
    ("REUSEPORT_SOCKARRAY", 4, 8, 2, MMAP, "EINVAL"),
    ("STACK_TRACE", 4, 8, 3, RDONLY, "ok"),
    ("STACK_TRACE", 4, 127 * 8, 1, NUMA, "ok"),
    ("STACK_TRACE", 4, 128 * 8, 1, 0, "EINVAL"),
    ("STACK_TRACE", 4, 12, 1, 0, "EINVAL"),
    ("STACK_TRACE", 4, 4, 1, 0, "EINVAL"),
    ("STACK_TRACE", 4, 8, 0, 0, "EINVAL"),
    ("STACK_TRACE", 4, 8, 1, NO, "EINVAL"),
    ("STACK_TRACE", 4, 127 * 32, 1, MapFlag.STACK_BUILD_ID, "ok"),
    ("STACK_TRACE", 4, 128 * 32, 1, MapFlag.STACK_BUILD_ID, "EINVAL"),
    ("STACK_TRACE", 4, 24, 1, MapFlag.STACK_BUILD_ID, "EINVAL"),
    ("CGROUP_ARRAY", 4, 4, 2, RDONLY, "ok"),
    ("CGROUP_ARRAY", 4, 8, 2, 0, "EINVAL"),
    ("CGROUP_STORAGE", 16, 8, 0, 0, "ok"),
    ("CGROUP_STORAGE", 8, 8, 0, RDONLY_PROG, "ok"),
    ("CGROUP_STORAGE", 12, 8, 0, 0, "EINVAL"),
    ("CGROUP_STORAGE", 16, 0, 0, 0, "EINVAL"),
    ("CGROUP_STORAGE", 16, 8, 1, 0, "EINVAL"),
    ("CGROUP_STORAGE", 16, 8, 0, NO, "EINVAL"),
    ("CGROUP_STORAGE", 16, 1 << 16, 0, 0, "E2BIG"),
    ("PERCPU_CGROUP_STORAGE", 16, 8, 0, 0, "ok"),
    ("PERCPU_CGROUP_STORAGE", 16, (32 << 10) + 8, 0, 0, "E2BIG"),
    ("SK_STORAGE", 4, 8, 0, NO, "EINVAL"),
    ("TASK_STORAGE", 4, 8, 0, NO, "EINVAL"),
    ("ARENA", 0, 0, 1, MMAP, "ok"),
    ("ARENA", 0, 0, 1, 0, "EINVAL"),
    ("ARENA", 4, 0, 1, MMAP, "EINVAL"),
    ("ARENA", 0, 0, 0, MMAP, "EINVAL"),
    ("ARENA", 0, 0, 1, MMAP | RDONLY, "EINVAL"),
    ("ARENA", 0, 0, 1 << 20, MMAP | MapFlag.SEGV_ON_FAULT, "ok"),
    ("ARENA", 0, 0, (1 << 20) + 1, MMAP, "E2BIG"),
    ("STRUCT_OPS", 4, 8, 1, 0, "EINVAL"),
    ("RHASH", 3, 5, 4, NO, "ok"),
    ("RHASH", 4, 4, 4, NO | NUMA | RDONLY | WRONLY_PROG, "ok"),
    ("RHASH", 4, 4, 4, 0, "EINVAL"),
    ("RHASH", 4, 4, 4, NO | MapFlag.ZERO_SEED, "EINVAL"),
    ("RHASH", 4, 4, 4, NO | MMAP, "EINVAL"),
    ("RHASH", 0, 4, 4, NO, "EINVAL"),
    ("RHASH", 4, 0, 4, NO, "EINVAL"),
    ("RHASH", 4, 4, 0, NO, "EINVAL"),
    ("RHASH", 4, 1 << 22, 1, NO, "E2BIG"),
    ("RHASH", 4, 4, (1 << 31) + 1, NO, "E2BIG"),
    ("INSN_ARRAY", 4, 16, 2, 0, "ok"),
    ("INSN_ARRAY", 4, 8, 2, 0, "EINVAL"),
    ("INSN_ARRAY", 4, 16, 0, 0, "EINVAL"),
    ("INSN_ARRAY", 4, 16, 2, RDONLY, "EINVAL"),
    ("UNSPEC", 4, 4, 1, 0, "EINVAL"),
    ("ARRAY_OF_MAPS", 4, 4, 2, 0, "EBADF"),
    ("HASH_OF_MAPS", 4, 8, 2, 0, "EINVAL"),
]


@pytest.mark.parametrize(("kind", "key", "value", "entries", "flags", "expected"), CASES)
def test_a_definition_is_taken_or_refused(kernel, age, kind, key, value, entries, flags, expected):
    """By kind, sizes and flags."""
    more = {"inner_map_fd": 0xFFFFFFFF} if kind.endswith("_OF_MAPS") else {}

    if (since := MapType[kind].since) and machine.parse_version(since) > age:
        expected = "EINVAL"

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


@pytest.mark.parametrize(
    ("address", "expected"),
    [(1, "EINVAL"), (4096, "ok"), (1 << 44, "ok"), ((1 << 32) - 4096, "ERANGE")],
)
def test_an_arena_crosses_no_border(kernel, address, expected):
    """Pointers into it are told by their lower half."""
    create(MapType.ARENA, 0, 0, 1, MMAP).close()

    def attempt() -> str:
        create(MapType.ARENA, 0, 0, 2, MMAP, map_extra=address).close()
        return "ok"

    assert outcome(attempt) == expected


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
