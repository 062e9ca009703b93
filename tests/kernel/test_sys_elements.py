"""The hot calls of a map: values of every size, threads, signals, fork, and no call after close."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterator

import pytest

from pyebpf.errors import (
    ENOTSUPP,
    ClosedError,
    KeyExistsError,
    KeyNotFoundError,
    KeyOutOfRangeError,
    MapFullError,
    NotSupportedError,
    PrivilegeError,
    SyscallError,
)
from pyebpf.host import cpus
from pyebpf.sys import bpf
from pyebpf.sys.elements import Elements
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import MapCreate, MapElem
from pyebpf.uapi.bpf import MapType, UpdateFlag
from tests.support.alarms import interrupted_by
from tests.support.amount import amount
from tests.support.children import fork

WAITS = pytest.mark.parametrize("waits", [False, True], ids=["gil", "no gil"])


def new_map(
    kind: MapType = MapType.HASH, *, key: int = 4, value: int = 8, entries: int = 64, flags: int = 0
) -> FD:
    return bpf.map_create(
        MapCreate(
            map_type=kind, key_size=key, value_size=value, max_entries=entries, map_flags=flags
        )
    )


@pytest.fixture
def numbers() -> Iterator[FD]:
    with new_map() as fd:
        yield fd


def key(number: int) -> bytes:
    return struct.pack("=I", number)


def value(number: int) -> bytes:
    return struct.pack("=Q", number)


@WAITS
def test_each_call_does_what_its_name_says(numbers: FD, waits: bool) -> None:
    """Look up, update, next key, delete; what is absent is None or False, not an error."""
    elements = Elements(numbers.fileno(), 4, 8, waits=waits)
    assert elements.lookup(key(1)) is None
    assert elements.next_key(None) is None
    elements.update(key(1), value(10))
    elements.update(key(2), value(20))
    assert elements.lookup(key(1)) == value(10)
    first = elements.next_key(None)
    assert first is not None
    second = elements.next_key(first)
    assert {first, second} == {key(1), key(2)}
    assert second is not None
    assert elements.next_key(second) is None
    assert elements.delete(key(2))
    assert not elements.delete(key(2))
    elements.close()


def test_a_value_is_taken_out_of_a_hash(numbers: FD) -> None:
    """Once; the second time there is none."""
    with contextlib.closing(Elements(numbers.fileno(), 4, 8, waits=False)) as elements:
        elements.update(key(1), value(10))
        try:
            taken = elements.lookup_and_delete(key(1))
        except SyscallError as error:
            if error.errno != ENOTSUPP:
                raise
            raise NotSupportedError("lookup and delete in hashes", "5.14") from None
        assert taken == value(10)
        assert elements.lookup_and_delete(key(1)) is None


@WAITS
@pytest.mark.parametrize("size", [1, 3, 8, 100, 4096, 1 << 18])
def test_values_of_every_size_come_back_whole(size: int, waits: bool) -> None:
    """From one byte to many pages."""
    content = os.urandom(size)
    with new_map(MapType.ARRAY, value=size, entries=2) as fd:
        elements = Elements(fd.fileno(), 4, size, waits=waits, array=True)
        elements.update(key(1), content)
        assert elements.lookup(key(1)) == content
        assert elements.lookup(key(0)) == bytes(size)
        elements.close()


def test_per_cpu_values_are_one_block() -> None:
    """A per-CPU map's value is that of all possible CPUs, each rounded up to 8 bytes."""
    size = 8 * cpus.possible()
    content = b"".join(value(number) for number in range(cpus.possible()))
    with new_map(MapType.PERCPU_HASH, value=4) as fd:
        elements = Elements(fd.fileno(), 4, size, waits=False)
        elements.update(key(1), content)
        assert elements.lookup(key(1)) == content
        elements.close()


def test_maps_without_keys_take_none() -> None:
    """Queues: an empty key; what is taken is gone."""
    with new_map(MapType.QUEUE, key=0, entries=2) as fd:
        elements = Elements(fd.fileno(), 0, 8, waits=False)
        elements.update(b"", value(1))
        elements.update(b"", value(2))
        with pytest.raises(MapFullError):
            elements.update(b"", value(3))
        assert elements.lookup(b"") == value(1)
        assert elements.lookup_and_delete(b"") == value(1)
        assert elements.lookup_and_delete(b"") == value(2)
        assert elements.lookup_and_delete(b"") is None
        elements.close()


@pytest.mark.parametrize(
    "convert",
    [
        bytes,
        bytearray,
        memoryview,
        lambda raw: array.array("I", raw),
        lambda raw: (ctypes.c_uint32 * 1).from_buffer_copy(raw),
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "ctypes"],
)
def test_any_buffer_is_a_key(numbers: FD, convert: type[bytes]) -> None:
    """Whatever its item type."""
    elements = Elements(numbers.fileno(), 4, 8, waits=False)
    elements.update(convert(key(7)), value(7))
    assert elements.lookup(convert(key(7))) == value(7)
    elements.close()


def test_a_wrong_size_says_both_sizes(numbers: FD) -> None:
    """Nothing reaches the kernel then; neither does text."""
    elements = Elements(numbers.fileno(), 4, 8, waits=False)
    with pytest.raises(ValueError, match="key takes 4 bytes, not 3"):
        elements.lookup(b"abc")
    with pytest.raises(ValueError, match="value takes 8 bytes, not 9"):
        elements.update(b"abcd", bytes(9))
    with pytest.raises(TypeError):
        elements.delete("abcd")  # type: ignore[arg-type]
    assert elements.next_key(None) is None
    elements.close()


def test_errors_are_those_of_the_tree() -> None:
    """Full, out of range, exists, not there, frozen: each its own class, with its errno."""
    with new_map(entries=1) as fd:
        elements = Elements(fd.fileno(), 4, 8, waits=False)
        elements.update(key(1), value(1))
        with pytest.raises(MapFullError) as full:
            elements.update(key(2), value(2))
        assert full.value.errno == errno.E2BIG
        with pytest.raises(KeyExistsError):
            elements.update(key(1), value(1), UpdateFlag.NOEXIST)
        with pytest.raises(KeyNotFoundError):
            elements.update(key(2), value(2), UpdateFlag.EXIST)
        with pytest.raises(SyscallError, match="EINVAL"):
            elements.update(key(1), value(1), 1 << 40)
        assert elements.lookup(key(1)) == value(1), "flags of one call must not reach the next"
        elements.close()
    with new_map(MapType.ARRAY, entries=1) as fd:
        elements = Elements(fd.fileno(), 4, 8, waits=False, array=True)
        with pytest.raises(KeyOutOfRangeError):
            elements.update(key(1), value(1))
        with pytest.raises(SyscallError, match="ENOTSUPP"):
            elements.lookup_and_delete(key(0))
        bpf.map_freeze(MapElem(map_fd=fd.fileno()))
        with pytest.raises(PrivilegeError, match="frozen"):
            elements.update(key(0), value(1))
        elements.close()


@WAITS
def test_threads_do_not_share_buffers(numbers: FD, waits: bool) -> None:
    """Eight threads on one map, each with its own key: nobody reads another one's value."""
    elements = Elements(numbers.fileno(), 4, 8, waits=waits)
    wrong: list[bytes | None] = []

    def work(number: int) -> None:
        for step in range(300):
            wanted = value(number << 32 | step)
            elements.update(key(number), wanted)
            found = elements.lookup(key(number))
            if found != wanted:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elements.close()
    assert wrong == []


def test_a_signal_handler_may_use_the_same_map(numbers: FD) -> None:
    """A handler that interrupts a call between its steps has buffers of its own."""
    elements = Elements(numbers.fileno(), 4, 8, waits=False)
    elements.update(key(1), value(1))
    elements.update(key(2), value(2))
    inside: list[bytes | None] = []

    outside = []
    with interrupted_by(lambda: inside.append(elements.lookup(key(2)))):
        while len(inside) < 200 or not outside:
            outside.append(elements.lookup(key(1)))
    elements.close()
    assert set(outside) == {value(1)}
    assert set(inside) == {value(2)}


@WAITS
def test_a_forked_child_uses_the_same_map(numbers: FD, waits: bool) -> None:
    """The child's buffers are its own: both write at once, and each reads back what it wrote."""
    elements = Elements(numbers.fileno(), 4, 8, waits=waits)
    elements.update(key(1), value(1))
    child = fork()
    number = 2 if child == 0 else 3
    ok = True
    for step in range(200):
        elements.update(key(number), value(step))
        ok = ok and elements.lookup(key(number)) == value(step)
    if child == 0:
        elements.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ok
    assert elements.lookup(key(2)) == value(199)
    elements.close()


@WAITS
def test_after_close_every_call_says_so(numbers: FD, waits: bool) -> None:
    """ClosedError from each call, though the map itself is still open."""
    elements = Elements(numbers.fileno(), 4, 8, waits=waits)
    elements.update(key(1), value(1))
    elements.close()
    elements.close()
    assert elements.closed
    calls = (
        lambda: elements.lookup(key(1)),
        lambda: elements.update(key(1), value(1)),
        lambda: elements.delete(key(1)),
        lambda: elements.next_key(None),
        lambda: elements.next_key(key(1)),
        lambda: elements.lookup_and_delete(key(1)),
    )
    for call in calls:
        with pytest.raises(ClosedError):
            call()


@WAITS
def test_a_reused_number_is_never_hit(waits: bool) -> None:
    """A map that gets the closed map's number stays empty, whatever threads are still doing."""
    for _ in range(amount(30)):
        old = new_map()
        elements = Elements(old.fileno(), 4, 8, waits=waits)
        running = threading.Event()

        def work(
            elements: Elements = elements,
            running: threading.Event = running,
        ) -> None:
            try:
                for _ in range(100_000):
                    elements.update(key(1), value(1))
                    running.set()
            except ClosedError:
                running.set()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        running.wait()
        number = old.fileno()
        elements.close()
        old.close()
        heirs = []
        while not heirs or heirs[-1].fileno() != number:
            assert len(heirs) < 8, "the number does not come back"
            heirs.append(new_map())
        for thread in threads:
            thread.join()
        for heir in heirs:
            with pytest.raises(SyscallError, match="ENOENT"):
                bpf.map_lookup_elem(MapElem(map_fd=heir.fileno(), key=key(1), value=bytearray(8)))
            heir.close()


def test_a_call_under_way_ends_normally_and_lets_go() -> None:
    """Closing while a map-in-map update waits for RCU: it succeeds, then the map is released."""
    with new_map(MapType.ARRAY, entries=1) as inner:
        attr = MapCreate(
            map_type=MapType.ARRAY_OF_MAPS,
            key_size=4,
            value_size=4,
            max_entries=1,
            inner_map_fd=inner.fileno(),
        )
        outer = bpf.map_create(attr)
        elements = Elements(outer.fileno(), 4, 4, waits=True)
        outer.close()  # the elements have a descriptor of their own
        started = threading.Event()
        outcome: list[object] = []

        def work() -> None:
            for _ in range(100):
                started.set()
                try:
                    elements.update(key(0), key(inner.fileno()))
                except Exception as error:
                    outcome.append(error)
                    return

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        started.wait()
        elements.close()
        thread.join()
    assert [type(error) for error in outcome] == [ClosedError]


def test_one_process_wide_limit_is_reported() -> None:
    """With *waits* a descriptor is needed; a bad one is a SyscallError at once."""
    with pytest.raises(SyscallError, match="EBADF"):
        Elements(1_000_000, 4, 8, waits=True)
    elements = Elements(1_000_000, 4, 8, waits=False)
    with pytest.raises(SyscallError, match="EBADF"):
        elements.lookup(key(1))
    elements.close()
