"""Elements of each kind: the same values, the same errnos, the same limits."""

from __future__ import annotations

import struct

import pytest

from pyebpf import pinning
from pyebpf.host import cpus
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import MapElem, ObjPin
from pyebpf.uapi.bpf import MapFlag, MapType, OpenFlag, ProgType, UpdateFlag
from pyebpf.uapi.info import MapInfo, ProgInfo
from tests.support.contract import (
    NO_PREALLOC,
    create,
    delete,
    load,
    look_up_batch,
    lookup,
    next_key,
    outcome,
    prefix,
    take,
    u32,
    update,
    walk,
)

NOEXIST, EXIST, LOCK = UpdateFlag.NOEXIST, UpdateFlag.EXIST, UpdateFlag.LOCK
HASHES = [MapType.HASH, MapType.LRU_HASH, MapType.RHASH]
# Nothing is allocated before there are elements.
ON_DEMAND = {MapType.RHASH: NO_PREALLOC}


@pytest.mark.parametrize("kind", HASHES)
def test_hashes_add_replace_and_remove(kernel, age, kind):
    """With and without flags, and with those that make no sense."""
    with create(kind, 2, 4, 8, ON_DEMAND.get(kind, 0)) as fd:
        assert lookup(fd, b"ab", 4) == "ENOENT"
        assert update(fd, b"ab", b"one ", EXIST) == "ENOENT"
        assert update(fd, b"ab", b"one ", NOEXIST) is None
        assert update(fd, b"ab", b"two ", NOEXIST) == "EEXIST"
        assert update(fd, b"ab", b"two ", EXIST) is None
        assert update(fd, b"ab", b"two ", 3) == "EINVAL"
        assert update(fd, b"ab", b"two ", LOCK) == "EINVAL"
        assert lookup(fd, b"ab", 4) == b"two "
        assert lookup(fd, b"ab", 4, NOEXIST) == "EINVAL"
        assert lookup(fd, b"ab", 4, LOCK) == "EINVAL"
        assert take(fd, b"ab", 4, EXIST) == "EINVAL"
        assert take(fd, b"cd", 4) == ("ENOENT" if age >= (5, 14) else "524")
        if age >= (5, 14):
            assert take(fd, b"ab", 4) == b"two "
        else:
            assert delete(fd, b"ab") is None
        assert delete(fd, b"ab") == "ENOENT"


def test_a_full_hash_says_so_and_still_replaces(kernel):
    """E2BIG for new keys only."""
    with create(MapType.HASH, 4, 4, 2) as fd:
        assert [update(fd, u32(n), u32(n)) for n in range(3)] == [None, None, "E2BIG"]
        assert update(fd, u32(0), u32(9)) is None
        assert delete(fd, u32(1)) is None
        assert update(fd, u32(2), u32(2)) is None


@pytest.mark.parametrize("kind", HASHES)
def test_every_key_of_a_hash_is_walked_over_once(kernel, kind):
    """A key that is not there starts from the beginning."""
    with create(kind, 4, 4, 64, ON_DEMAND.get(kind, 0)) as fd:
        assert next_key(fd, None, 4) is None
        for n in range(40):
            assert update(fd, u32(n), u32(n)) is None
        keys = walk(fd, 4)
        assert sorted(keys) == sorted(u32(n) for n in range(40))
        assert next_key(fd, u32(99), 4) == keys[0]


def test_an_lru_hash_is_never_full(kernel):
    """It forgets; the newest is always there. Which go first is the kernel's secret."""
    with create(MapType.LRU_HASH, 4, 4, 256) as fd:
        for n in range(2000):
            assert update(fd, u32(n), u32(n)) is None
            assert lookup(fd, u32(n), 4) == u32(n)
        assert 0 < len(walk(fd, 4)) <= 256


def test_arrays_have_all_their_elements_from_the_start(kernel):
    """Nothing can be added or removed."""
    with create(MapType.ARRAY, 4, 3, 4) as fd:
        assert lookup(fd, u32(3), 3) == b"\0\0\0"
        assert lookup(fd, u32(4), 3) == "ENOENT"
        assert update(fd, u32(3), b"abc", NOEXIST) == "EEXIST"
        assert update(fd, u32(3), b"abc", EXIST) is None
        assert update(fd, u32(3), b"abc", LOCK) == "EINVAL"
        assert update(fd, u32(3), b"abc", 3) == "EINVAL"
        assert update(fd, u32(4), b"abc") == "E2BIG"
        assert lookup(fd, u32(3), 3) == b"abc"
        assert delete(fd, u32(3)) == "EINVAL"
        assert delete(fd, u32(4)) == "EINVAL"
        assert take(fd, u32(3), 3) == "524"
        assert walk(fd, 4) == [u32(n) for n in range(4)]
        assert next_key(fd, u32(9), 4) == u32(0)


@pytest.mark.parametrize("kind", [MapType.PERCPU_ARRAY, MapType.PERCPU_HASH])
def test_per_cpu_maps_have_a_value_for_each(kernel, kind):
    """Each padded to eight bytes."""
    count = cpus.possible()
    values = b"".join(struct.pack("=I4x", 10 + n) for n in range(count))
    with create(kind, 4, 4, 4) as fd:
        assert update(fd, u32(1), values) is None
        assert lookup(fd, u32(1), len(values)) == values
        # Without a lock in it there is nothing to take.
        assert update(fd, u32(1), values, LOCK) == "EINVAL"
        missing = bytes(len(values)) if kind == MapType.PERCPU_ARRAY else "ENOENT"
        assert lookup(fd, u32(2), len(values)) == missing


def test_a_trie_finds_the_most_specific_prefix(kernel, age):
    """And walks over the more specific ones first."""
    keys = {
        "all": prefix(0, bytes(4)),
        "ten": prefix(8, bytes([10, 0, 0, 0])),
        "one": prefix(16, bytes([10, 1, 0, 0])),
        "host": prefix(32, bytes([10, 1, 2, 3])),
    }
    with create(MapType.LPM_TRIE, 8, 4, 5, NO_PREALLOC) as fd:
        for name in ("one", "all", "host", "ten"):
            assert update(fd, keys[name], name.encode().ljust(4), NOEXIST) is None
        noexist = update(fd, keys["ten"], b"ten ", NOEXIST)
        assert noexist == ("EEXIST" if age >= (6, 1) else None)
        assert update(fd, keys["ten"], b"TEN ", EXIST) is None
        assert update(fd, prefix(33, bytes(4)), b"long") == "EINVAL"
        assert update(fd, keys["ten"], b"TEN ", LOCK) == "EINVAL"

        def found(length: int, *address: int) -> object:
            return lookup(fd, prefix(length, bytes(address)), 4)

        assert found(32, 10, 1, 2, 3) == b"host"
        assert found(32, 10, 1, 2, 4) == b"one "
        assert found(32, 10, 9, 2, 4) == b"TEN "
        assert found(32, 11, 9, 2, 4) == b"all "
        assert found(12, 10, 1, 2, 3) == b"TEN "
        assert found(33, 10, 1, 2, 3) == "ENOENT"
        assert walk(fd, 8) == [keys[name] for name in ("host", "one", "ten", "all")]
        assert delete(fd, prefix(16, bytes([10, 2, 0, 0]))) == "ENOENT"
        assert delete(fd, prefix(33, bytes(4))) == "EINVAL"
        assert delete(fd, keys["all"]) is None
        assert found(32, 11, 9, 2, 4) == "ENOENT"
        assert take(fd, keys["ten"], 4) == "524"


def test_a_full_trie_says_so_and_still_replaces(kernel, age):
    """ENOSPC for new prefixes only, if it is not too old."""
    with create(MapType.LPM_TRIE, 8, 4, 1, NO_PREALLOC) as fd:
        assert update(fd, prefix(8, bytes(4)), b"abcd") is None
        assert update(fd, prefix(1, bytes(4)), b"more") == "ENOSPC"
        replaced = update(fd, prefix(8, bytes(4)), b"efgh")
        assert replaced == (None if age >= (6, 1) else "ENOSPC")


@pytest.mark.parametrize(
    ("kind", "order"), [(MapType.QUEUE, [1, 2, 3]), (MapType.STACK, [3, 2, 1])]
)
def test_queues_and_stacks_keep_their_order(kernel, kind, order):
    """Peek, pop, full, and overwriting the oldest."""
    with create(kind, 0, 4, 3) as fd:
        assert lookup(fd, None, 4) == "ENOENT"
        assert take(fd, None, 4) == "ENOENT"
        for n in (1, 2, 3):
            assert update(fd, None, u32(n)) is None
        assert update(fd, None, u32(4)) == "E2BIG"
        assert update(fd, None, u32(4), NOEXIST) == "EINVAL"
        assert lookup(fd, None, 4) == u32(order[0])
        assert [take(fd, None, 4) for _ in order] == [u32(n) for n in order]
        for n in (1, 2, 3):
            assert update(fd, None, u32(n)) is None
        assert update(fd, None, u32(4), EXIST) is None
        left = sorted(take(fd, None, 4) for _ in order)
        assert left == [u32(n) for n in (2, 3, 4)]
        assert delete(fd, None) == "EINVAL"
        assert next_key(fd, None, 4) == "EINVAL"


def test_a_bloom_filter_knows_what_was_pushed(kernel):
    """And has no elements."""
    with create(MapType.BLOOM_FILTER, 0, 4, 100) as fd:
        assert update(fd, None, u32(1)) is None
        assert update(fd, None, u32(1), EXIST) == "EINVAL"
        value = bytearray(u32(1))
        bpf.map_lookup_elem(MapElem(map_fd=fd.fileno(), value=value))
        assert delete(fd, None) == "ENOTSUP"
        assert take(fd, None, 4) == "524"
        assert next_key(fd, None, 4) == "ENOTSUP"


def test_a_ring_buffer_has_no_elements(kernel):
    """Nor do its commands."""
    with create(MapType.RINGBUF, 0, 0, 65536) as fd:
        assert lookup(fd, None, 8) == "524"
        assert update(fd, None, b"") == "524"
        assert delete(fd, None) == "524"
        assert next_key(fd, None, 4) == "524"


def test_a_program_array_takes_descriptors_and_gives_ids(kernel):
    """All of one type."""
    with (
        create(MapType.PROG_ARRAY, 4, 4, 2) as fd,
        load() as program,
        load(ProgType.XDP) as other,
    ):
        assert lookup(fd, u32(0), 4) == "ENOENT"
        assert update(fd, u32(0), u32(program.fileno()), EXIST) == "EINVAL"
        assert update(fd, u32(0), u32(program.fileno())) is None
        info = ProgInfo()
        bpf.obj_get_info_by_fd(program.fileno(), info)
        assert lookup(fd, u32(0), 4) == u32(info.id)
        assert update(fd, u32(1), u32(other.fileno())) == "EINVAL"
        assert update(fd, u32(1), u32(fd.fileno())) == "EINVAL"
        assert update(fd, u32(1), u32(12345)) == "EBADF"
        assert update(fd, u32(2), u32(program.fileno())) == "E2BIG"
        assert delete(fd, u32(0)) is None
        assert delete(fd, u32(0)) == "ENOENT"
        assert delete(fd, u32(2)) == "E2BIG"


def test_maps_of_maps_give_ids(kernel):
    """And keep what they hold alive."""
    inner = create(MapType.ARRAY, 4, 4, 1)
    with create(MapType.HASH_OF_MAPS, 2, 4, 2, inner_map_fd=inner.fileno()) as outer:
        assert update(outer, b"ab", u32(inner.fileno()), NOEXIST) is None
        assert update(outer, b"ab", u32(inner.fileno()), NOEXIST) == "EEXIST"
        assert update(outer, b"cd", u32(12345)) == "EBADF"
        info = MapInfo()
        bpf.obj_get_info_by_fd(inner.fileno(), info)
        inner.close()
        assert lookup(outer, b"ab", 4) == u32(info.id)
        with bpf.map_get_fd_by_id(info.id) as again:
            assert lookup(again, u32(0), 4) == bytes(4)
        assert delete(outer, b"ab") is None
        assert lookup(outer, b"ab", 4) == "ENOENT"


def test_a_perf_event_array_shows_nothing(kernel):
    """Other descriptors are refused."""
    with create(MapType.PERF_EVENT_ARRAY, 4, 4, 2) as fd:
        assert lookup(fd, u32(0), 4) == "524"
        assert update(fd, u32(0), u32(fd.fileno())) == "EBADF"
        assert update(fd, u32(9), u32(fd.fileno())) == "E2BIG"
        assert delete(fd, u32(0)) == "ENOENT"


def test_frozen_maps_are_read_only(kernel, age):
    """For good, to every descriptor."""
    with create(MapType.HASH, 4, 4, 4) as fd:
        assert update(fd, u32(1), u32(1)) is None
        freeze = MapElem(map_fd=fd.fileno())
        assert outcome(lambda: bpf.map_freeze(freeze)) is None
        again = outcome(lambda: bpf.map_freeze(freeze))
        assert again == ("EPERM" if age >= (6, 5) else "EBUSY")
        assert lookup(fd, u32(1), 4) == u32(1)
        assert update(fd, u32(1), u32(2)) == "EPERM"
        assert delete(fd, u32(1)) == "EPERM"
        assert take(fd, u32(1), 4) == "EPERM"
        assert next_key(fd, None, 4) == u32(1)


@pytest.mark.parametrize("flag", [MapFlag.RDONLY, MapFlag.WRONLY])
def test_descriptors_for_one_way_refuse_the_other(kernel, flag, pins):
    """From creation, by id, and from a pin."""
    reads = flag == MapFlag.RDONLY
    with create(MapType.HASH, 4, 4, 4, flag) as fd:
        assert lookup(fd, u32(1), 4) == ("ENOENT" if reads else "EPERM")
        assert update(fd, u32(1), u32(1)) == ("EPERM" if reads else None)
        assert next_key(fd, u32(1), 4) == (None if reads else "EPERM")
        assert delete(fd, u32(1)) == ("EPERM" if reads else None)
    with create(MapType.HASH, 4, 4, 4) as fd:
        info = MapInfo()
        bpf.obj_get_info_by_fd(fd.fileno(), info)
        with bpf.map_get_fd_by_id(info.id, open_flags=OpenFlag(int(flag))) as again:
            assert update(again, u32(1), u32(1)) == ("EPERM" if reads else None)
        path = str(pins / "map").encode() + b"\0"
        bpf.obj_pin(ObjPin(pathname=path, bpf_fd=fd.fileno()))
        with bpf.obj_get(ObjPin(pathname=path, file_flags=int(flag))) as again:
            assert update(again, u32(1), u32(1)) == ("EPERM" if reads else None)
        pinning.unpin(pins / "map")


def test_batches_end_with_their_last_part(kernel):
    """Hashes by buckets, arrays by keys; what cannot be taken whole is ENOSPC."""
    with create(MapType.HASH, 4, 4, 64) as fd:
        for n in range(50):
            assert update(fd, u32(n), u32(n + 1)) is None
        expected = {u32(n): u32(n + 1) for n in range(50)}
        result, found, _ = look_up_batch(fd, 64, (4, 4))
        assert (result, found) == (False, expected)
        found, start = {}, None
        while True:
            result, part, start = look_up_batch(fd, 16, (4, 4), start)
            assert result in (True, False)
            found |= part
            if result is False:
                break
        assert found == expected
        result, found, _ = look_up_batch(fd, 64, (4, 4), remove=True)
        assert (result, found, walk(fd, 4)) == (False, expected, [])
    with create(MapType.ARRAY, 4, 4, 5) as fd:
        result, found, start = look_up_batch(fd, 3, (4, 4))
        assert (result, sorted(found)) == (True, [u32(0), u32(1), u32(2)])
        result, found, _ = look_up_batch(fd, 3, (4, 4), start)
        assert (result, sorted(found)) == (False, [u32(3), u32(4)])
        assert look_up_batch(fd, 3, (4, 4), remove=True)[0] == "524"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (MapType.QUEUE, (0, 4, 4)),
        (MapType.RINGBUF, (0, 0, 65536)),
        (MapType.PROG_ARRAY, (4, 4, 4)),
        (MapType.PERF_EVENT_ARRAY, (4, 4, 4)),
        (MapType.BLOOM_FILTER, (0, 4, 4)),
    ],
)
def test_kinds_without_batches_say_so(kernel, kind, shape):
    """ENOTSUPP, which no libc knows."""
    with create(kind, *shape) as fd:
        assert look_up_batch(fd, 2, (4, 4))[0] == "524"


def test_a_bucket_with_two_keys_does_not_fit_one(kernel):
    """With enough keys some share a bucket, wherever the kernel puts them."""
    with create(MapType.HASH, 4, 4, 1024) as fd:
        for n in range(1024):
            assert update(fd, u32(n), u32(n)) is None
        start, outcomes = None, set()
        for _ in range(1024):
            result, _, start = look_up_batch(fd, 1, (4, 4), start)
            outcomes.add(result)
            if result is not True:
                break
        assert "ENOSPC" in outcomes
