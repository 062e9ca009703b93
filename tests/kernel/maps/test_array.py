"""Arrays, their memory, and values with a lock."""

from __future__ import annotations

import contextlib
import mmap
import struct
import threading

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapType, UpdateFlag
from tests.support.programs import only_used


def test_an_array_has_all_its_elements_always():
    """Zero until they are set; an index outside is a KeyError; nothing can be deleted."""
    with Map.create(type=MapType.ARRAY, value="q", max_entries=3, name="a") as m:
        assert dict(m) == {0: 0, 1: 0, 2: 0}
        m[1] = -9
        assert list(m.values()) == [0, -9, 0]
        assert (m.next_key(), m.next_key(1), m.next_key(2), m.next_key(77)) == (0, 2, None, 0)
        for use in (lambda: m[3], lambda: m.update(3, 1)):
            with pytest.raises(KeyError):
                use()
        with pytest.raises(pyebpf.SyscallError, match=r'delete from map "a".*EINVAL'):
            del m[1]
        with pytest.raises(pyebpf.KeyExistsError):
            m.update(1, 5, flags=UpdateFlag.NOEXIST)
        with pytest.raises(pyebpf.SyscallError, match=r'lookup and delete in map "a".*ENOTSUPP'):
            m.lookup_and_delete(1)
        assert m[1] == -9


def test_memory_is_the_array_itself_and_outlives_the_map():
    """What is written there is looked up; a frozen map is read-only there as well."""
    with Map.create(
        type=MapType.ARRAY, value="I", max_entries=5, flags=MapFlag.MMAPABLE, name="m"
    ) as m:
        memory = m.memory()
        view = memoryview(memory).cast("Q")
        view[3] = 77
        assert m[3] == 77
        with pytest.raises(pyebpf.SyscallError, match="EBUSY"):
            m.freeze()
        view.release()
        memory.close()
        m.freeze()
        assert m.info().frozen
        with pytest.raises(pyebpf.PrivilegeError, match='map the memory of map "m"'):
            m.memory()
        seen = m.memory(writable=False)
    assert struct.unpack_from("=I", seen, 3 * 8) == (77,)
    assert len(seen) % mmap.PAGESIZE == 0
    seen.close()


def test_a_lock_keeps_the_parts_of_a_value_together():
    """With BPF_F_LOCK nobody sees half a value, however many write."""
    spec = only_used("map_kinds")
    spec.maps["guarded"].autocreate = True
    with pyebpf.load(spec) as bpf:
        guarded = bpf.maps["guarded"]
        guarded[1] = {"left": 1, "right": 1}
        stop = threading.Event()

        def write(start):
            number = start
            while not stop.is_set():
                guarded.update(1, {"left": number, "right": number}, flags=UpdateFlag.LOCK)
                number += 2

        with contextlib.ExitStack() as threads:
            for start in (0, 1):
                thread = threading.Thread(target=write, args=(start,))
                thread.start()
                threads.callback(thread.join)
            threads.callback(stop.set)
            for _ in range(2000):
                seen = guarded.lookup(1, flags=UpdateFlag.LOCK)
                assert seen.left == seen.right
        assert guarded[1].lock.val == 0
        both = {1: {"left": 7, "right": 7}, 2: {"left": 8, "right": 8}}
        guarded.update_batch(both, flags=UpdateFlag.LOCK)
        assert {key: value.left for key, value in guarded.items()} == {1: 7, 2: 8}


def test_a_lock_that_is_not_there_is_refused():
    """EINVAL, with the map's name."""
    with Map.create(type=MapType.HASH, key="I", value="Q", max_entries=1, name="h") as m:
        m[1] = 1
        for use in (
            lambda: m.lookup(1, flags=UpdateFlag.LOCK),
            lambda: m.update(1, 2, flags=UpdateFlag.LOCK),
        ):
            with pytest.raises(pyebpf.SyscallError, match=r'map "h".*EINVAL'):
                use()
        assert m[1] == 1


def test_two_gigabytes_are_refused_or_given():
    """No overflow on the way: the size reaches the kernel as it is, or is refused there."""
    huge = {"type": MapType.ARRAY, "value_size": 1 << 31, "max_entries": 1, "name": "huge"}
    with pytest.raises(pyebpf.SyscallError, match=r'create map "huge".*(E2BIG|ENOMEM|EINVAL)'):
        Map.create(**huge)
    with pytest.raises((ValueError, OverflowError, pyebpf.EbpfError)):
        Map.create(**{**huge, "value_size": 1 << 33})
