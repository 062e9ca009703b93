"""In-kernel bulk access gives what the plain way gives, whatever else happens to the map."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import random
import signal
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from pyebpf.elf import load_spec
from pyebpf.errors import ClosedError, NotSupportedError, SyscallError
from pyebpf.maps import bulk_walk
from pyebpf.maps.batch import Batch
from pyebpf.maps.map import Map
from pyebpf.spec import MapSpec
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType
from tests.support import kernel as kernel_of_tests
from tests.support.alarms import interrupted_by
from tests.support.amount import amount
from tests.support.children import fork

DATA = pathlib.Path(__file__).parents[2] / "data"
HASHES = (MapType.HASH, MapType.LRU_HASH)
KINDS = (*HASHES, MapType.ARRAY)


class Watched(kernel.LinuxKernel):
    """Counts the programs that are loaded, or refuses them."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.loads = 0
        self._refuses = refuses

    def bpf(self, cmd, attr, **options):
        if cmd == Cmd.PROG_LOAD:
            self.loads += 1
            if self._refuses:
                raise SyscallError("BPF_PROG_LOAD", errno.EINVAL)
        return super().bpf(cmd, attr, **options)


@pytest.fixture
def numbers() -> Iterator[Map[int, int]]:
    with numbers_map() as made:
        yield made


def numbers_map(entries: int = 1000, room: int = 2048) -> Map[int, int]:
    made = Map.create(type=MapType.HASH, max_entries=room, key="I", value="Q", name="numbers")
    made.update_batch({number: number * 3 for number in range(entries)})
    return made


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 1000, 16384, 16385, 40_000])
def test_any_number_of_keys(numbers: Map[int, int], count: int) -> None:
    """Up to the area's room and beyond; missing ones and repeated ones among them."""
    keys = [random.randrange(2000) for _ in range(count)]
    wanted = [key * 3 if key < 1000 else -1 for key in keys]
    assert numbers.get_many(keys, -1, in_kernel=True) == wanted
    assert numbers.get_many(keys, -1, in_kernel=False) == wanted
    assert numbers.get_many(iter(keys), -1) == wanted


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 64, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_values_of_every_size(kind: MapType, size: int) -> None:
    """Bytes come back whole, of hashes and arrays, one by one and all together."""
    key_size = 4 if kind == MapType.ARRAY else size
    with Map.create(
        type=kind, key_size=key_size, value_size=size, max_entries=50, key=bytes
    ) as made:
        entries = {
            struct.pack("=I", number)[:key_size].ljust(key_size, b"\xaa"): os.urandom(size)
            for number in range(50)
        }
        made.update_batch(entries)
        found = made.to_dict(in_kernel=True)
        assert found == made.to_dict(in_kernel=False)
        # LRU maps begin to forget before they are full.
        assert found == entries or kind == MapType.LRU_HASH
        in_kernel, plain = made.to_numpy(in_kernel=True), made.to_numpy(in_kernel=False)
        for one, other in zip(in_kernel, plain, strict=True):
            assert one.dtype == other.dtype
            assert sorted(map(bytes, one)) == sorted(map(bytes, other))
        keys = [*entries, bytes(key_size - 1) + b"\x77"]
        assert made.get_many(keys, in_kernel=True) == made.get_many(keys, in_kernel=False)
        assert made.get_many(keys)[:50] == list(map(made.get, entries))


PER_CPU = (MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH)


@pytest.mark.parametrize("size", [1, 3, 4, 8, 12, 200])
@pytest.mark.parametrize("kind", PER_CPU)
def test_values_of_each_cpu(kind: MapType, size: int) -> None:
    """A list for each key, as ever; of LRU ones by look-ups that are asked for."""
    with Map.create(type=kind, key="I", value_size=size, max_entries=200) as made:
        cpus = made.value_codec.cpus
        made.update_batch({number: [os.urandom(size) for _ in range(cpus)] for number in range(90)})
        for keys in (range(60), range(60), [5, 5, 1000], range(100)):
            found = made.get_many(keys, in_kernel=True)
            assert found == made.get_many(keys, in_kernel=False)
        if kind == MapType.LRU_PERCPU_HASH:
            with pytest.raises(NotSupportedError, match="LRU_PERCPU_HASH"):
                made.to_dict(in_kernel=True)
            return
        assert made.to_dict(in_kernel=True) == made.to_dict(in_kernel=False)
        in_kernel, plain = made.to_numpy(in_kernel=True), made.to_numpy(in_kernel=False)
        for one, other in zip(in_kernel, plain, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
        assert sorted(in_kernel[1].tolist()) == sorted(plain[1].tolist())


VALUES = ("?", "b", "H", "i", "q", "d", "f", ">I", "<IH", "5s", np.dtype("<u4"))


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_of_every_codec(value: object) -> None:
    """Numbers are read at once, all else by its codec."""
    with (
        Map.create(type=MapType.HASH, max_entries=64, key="<HH", value=value) as made,
        made.raw as raw,
    ):
        for number in range(50):
            raw[struct.pack("<HH", number, 7)] = bytes([number]) * made.value_size
        keys = [(number, 7) for number in range(60)]
        found = made.get_many(keys, in_kernel=True)
        assert repr(found) == repr(made.get_many(keys, in_kernel=False))
        assert repr(sorted(made.to_dict(in_kernel=True).items())) == repr(
            sorted(made.to_dict(in_kernel=False).items())
        )


def test_empty_and_full_maps() -> None:
    """None, one, and as many entries as there can be."""
    for entries, room in ((0, 10), (1, 1), (300, 300)):
        with numbers_map(entries, room) as made:
            wanted = {number: number * 3 for number in range(entries)}
            assert made.to_dict(in_kernel=True) == wanted
            keys, values = made.to_numpy(in_kernel=True)
            assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == wanted


def test_wrong_keys_are_errors_as_ever(numbers: Map[int, int]) -> None:
    """Those of a single look-up, and the next call works."""
    for bad in (-1, 1 << 32, "1", None, 1.5):
        with pytest.raises((ValueError, TypeError)):
            numbers.get_many([1, bad], in_kernel=True)  # type: ignore[list-item]
    assert numbers.get_many([1, 2], in_kernel=True) == [3, 6]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 12, 24])
def test_mapped_arrays_are_read_from_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a system call; typed memory sees what programs and system calls see."""
    with Map.create(
        type=MapType.ARRAY, max_entries=300, value_size=size, flags=MapFlag.MMAPABLE
    ) as made:
        wanted = {number: os.urandom(size) for number in range(300)}
        made.update_batch(wanted)
        assert made.to_dict(in_kernel=True) == wanted
        with monkeypatch.context() as patch:
            patch.setattr(Batch, "whole", None)
            assert made.to_dict() == wanted
            keys, values = made.to_numpy()
        assert keys.tolist() == list(range(300))
        assert [value.tobytes() for value in values] == list(wanted.values())
        with made.memory() as memory:
            if size == 8:
                view = memoryview(memory).cast("Q")
                view[5] = 77
                assert made[5] == struct.pack("=Q", 77)
                made[5] = bytes(8)
                assert np.frombuffer(memory, "u8")[5] == view[5] == 0
                view.release()


# ---- where it is to be had --------------------------------------------------------------------


def test_the_program_is_made_when_it_pays() -> None:
    """Not for a few keys; once for thousands, of many calls or of one."""
    with kernel.use(Watched()) as watched, numbers_map() as made:
        for _ in range(10):
            made.get_many(list(range(100)))
        assert watched.loads == 0
        for _ in range(200):
            made.get_many(list(range(100)))
        once = watched.loads
        assert once in (1, 2)  # the quicker program, and if refused the one for all
        with numbers_map() as other:
            other.get_many(list(range(1000)) * 20)
        assert watched.loads == 2 * once


def test_copies_of_a_whole_map_take_the_program_once_it_pays() -> None:
    """The first are plain; which way is quicker shows then."""
    with kernel.use(Watched()) as watched, numbers_map(1000) as made:
        for _ in range(10):
            made.to_dict()
        assert watched.loads == 0
        for _ in range(90):
            assert len(made.to_dict()) == 1000
        loads = watched.loads
        assert loads
        made.to_numpy()
        assert watched.loads == loads


def test_never_means_never() -> None:
    """``in_kernel=False`` loads nothing, however many keys there are."""
    with kernel.use(Watched()) as watched, numbers_map() as made:
        made.get_many(list(range(1000)) * 10, in_kernel=False)
        for _ in range(20):
            made.to_dict(in_kernel=False)
        assert watched.loads == 0


def test_a_refusal_is_taken_once_and_changes_no_result() -> None:
    """As by kernels that lack the helpers, or without privileges."""
    with kernel.use(Watched(refuses=True)) as watched, numbers_map() as made:
        for _ in range(5):
            assert made.get_many(list(range(1500)) * 12, -1)[:1500] == [
                *range(0, 3000, 3),
                *[-1] * 500,
            ]
        asked = watched.loads
        assert asked in (1, 2)  # the one for all kernels, the quicker one before
        for _ in range(80):
            assert made.to_dict() == {number: number * 3 for number in range(1000)}
        assert watched.loads == asked + 1
        with pytest.raises(NotSupportedError, match=r"in-kernel bulk access.*EINVAL"):
            made.get_many([1], in_kernel=True)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (MapType.LPM_TRIE, MapFlag.NO_PREALLOC),
        (MapType.HASH, MapFlag.WRONLY_PROG),
        (MapType.ARRAY, MapFlag.WRONLY_PROG),
    ],
)
def test_kinds_without_it_go_the_plain_way(kind: MapType, flags: int) -> None:
    """Asked for it they say so; left alone they give what they always gave."""
    key = {"key_size": 8} if kind == MapType.LPM_TRIE else {}
    if "HASH" in kind.name:
        key = {"key_size": 4}
    with Map.create(type=kind, max_entries=4, value_size=8, flags=flags, **key) as made:
        if "ARRAY" not in kind.name:
            first = struct.pack("=II", 32, 1) if kind == MapType.LPM_TRIE else b"abcd"
            value = bytes(8)
            made[first] = [value] * made.value_codec.cpus if "PERCPU" in kind.name else value
        for ask in (made.to_dict, lambda **options: made.get_many(list(made.keys()), **options)):
            with pytest.raises(NotSupportedError, match="in-kernel bulk access"):
                ask(in_kernel=True)
            assert ask() == ask(in_kernel=False)
        keys = list(made.keys()) * 5000
        assert made.get_many(keys) == [made[keys[0]]] * 5000 if len(keys) == 5000 else True


def test_a_program_does_not_read_what_the_descriptor_may_not() -> None:
    """A map that was opened for writing alone."""
    with Map.create(
        type=MapType.HASH, max_entries=4, key="I", value="I", flags=MapFlag.WRONLY
    ) as made:
        made.update(1, 1)
        with pytest.raises(NotSupportedError, match="for writing alone"):
            made.get_many([1], in_kernel=True)
        with pytest.raises(SyscallError, match="EPERM"):
            made.get_many([1])


def test_what_the_kernel_hides_stays_hidden() -> None:
    """A lock in a value reads as zeros by system calls, so no program copies it."""
    spec = load_spec(DATA / "map_kinds.el.o").maps["guarded"]
    with Map.from_spec(spec, typed=True) as made:
        for ask in (made.to_dict, lambda **options: made.get_many([1, 2], **options)):
            with pytest.raises(NotSupportedError, match="in-kernel bulk access"):
                ask(in_kernel=True)
            assert ask() == ask(in_kernel=False)


@pytest.mark.parametrize("in_kernel", [None, False, True])
def test_lru_maps_keep_what_was_looked_up_as_ever(in_kernel: bool | None) -> None:
    """A look-up by a program makes entries young, so others go: that happens to who asks for it."""
    with Map.create(type=MapType.LRU_HASH, max_entries=1000, key="I", value="I") as made:
        assert made.get_many([1], in_kernel=True) == [None]  # from now on there is a program
        made.update_batch({number: number for number in range(500)})
        first = list(range(50))
        for _ in range(3):
            assert made.get_many(first, in_kernel=in_kernel) == first
            assert made.get_many(first * 400, in_kernel=in_kernel) == first * 400
        made.update_batch({number: number for number in range(1000, 1800)})
        kept = sum(key in made for key in first)
        assert (kept == len(first)) == (in_kernel is True), kept


def test_large_maps_are_not_doubled() -> None:
    """More than 32 MiB of copies are not kept in the kernel."""
    spec = MapSpec(
        name="large",
        type=MapType.HASH,
        key_size=4,
        value_size=1024,
        max_entries=1 << 16,
        flags=MapFlag.NO_PREALLOC,
    )
    with Map.from_spec(spec) as made:
        made[b"abcd"] = bytes(1024)
        with pytest.raises(NotSupportedError, match="bytes"):
            made.to_dict(in_kernel=True)
        assert made.to_dict() == {b"abcd": bytes(1024)}


def test_large_values_are_not_copied_by_a_program() -> None:
    """One that had an instruction for every eight bytes of a megabyte would take long to make."""
    with Map.create(type=MapType.ARRAY, value_size=1 << 20, max_entries=2) as made:
        for ask in (made.to_dict, lambda **options: made.get_many([1], **options)):
            with pytest.raises(NotSupportedError, match="values of 1048576 bytes"):
                ask(in_kernel=True)
        assert made.get_many([1]) == [bytes(1 << 20)]


def test_more_buckets_than_a_loop_goes_round_are_no_empty_map() -> None:
    """``bpf_loop`` refuses more than 8 million turns."""
    kernel_of_tests.needs("5.17", "bpf_loop")
    with Map.create(
        type=MapType.HASH,
        max_entries=(1 << 23) + 1,
        key="B",
        value="B",
        flags=MapFlag.NO_PREALLOC,
    ) as made:
        made.update_batch({number: number for number in range(200)})
        assert made.to_dict(in_kernel=True) == {number: number for number in range(200)}


# ---- while the map changes --------------------------------------------------------------------

STAYING, COMING = range(600), range(600, 1200)


@contextlib.contextmanager
def changing(made: Map, cpus: int = 0) -> Iterator[None]:
    """Another process replaces the entries that stay, and takes the others in and out."""
    child = fork()
    if child == 0:
        step = 0
        while True:
            step += 1
            for key in STAYING:
                made[key] = [key << 32 | step] * cpus if cpus else key << 32 | step
            for key in COMING:
                if step % 2:
                    made[key] = [key << 32 | step] * cpus if cpus else key << 32 | step
                else:
                    del made[key]
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("flags", [0, MapFlag.NO_PREALLOC])
@pytest.mark.parametrize("in_kernel", [True, None, False])
def test_a_copy_of_a_changing_map_is_right(in_kernel: bool | None, flags: int) -> None:
    """Every key that stays is there, each value is its key's, and nothing else is met."""
    with Map.create(
        type=MapType.HASH, max_entries=1200, key="I", value="Q", flags=flags, name="changing"
    ) as made:
        made.update_batch({key: key << 32 for key in STAYING})
        with changing(made):
            for _ in range(amount(100)):
                found = made.to_dict(in_kernel=in_kernel)
                assert found.keys() >= set(STAYING)
                assert found.keys() <= {*STAYING, *COMING}
                assert [key for key, value in found.items() if value >> 32 != key] == []


@pytest.mark.parametrize("flags", [0, MapFlag.NO_PREALLOC])
@pytest.mark.parametrize("cast", [True, False])
def test_keys_of_a_changing_map_are_right(
    cast: bool, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups by either program: values belong to their keys.

    A key may be missed while its entry is replaced, the new one put in front of where the look-up
    is; by a system call, too.
    """
    if not cast:
        monkeypatch.setattr(bulk_walk, "cast_id", unknown)
    with Map.create(
        type=MapType.HASH, max_entries=1200, key="I", value="Q", flags=flags, name="changing"
    ) as made:
        made.update_batch({key: key << 32 for key in STAYING})
        keys = [*STAYING, *COMING]
        with changing(made):
            for _ in range(amount(100)):
                found = made.get_many(keys, in_kernel=True)
                assert [k for k, v in zip(keys, found, strict=True) if v and v >> 32 != k] == []


@pytest.mark.parametrize("flags", [0, MapFlag.NO_PREALLOC])
def test_values_of_each_cpu_of_a_changing_map_are_right(flags: int) -> None:
    """All values that are found of a key are that key's, by look-ups and in copies."""
    with Map.create(
        type=MapType.PERCPU_HASH, max_entries=1200, key="I", value="Q", flags=flags
    ) as made:
        cpus = made.value_codec.cpus
        made.update_batch({key: [key << 32] * cpus for key in STAYING})
        keys = [*STAYING, *COMING]
        with changing(made, cpus):
            for _ in range(100):
                found = made.get_many(keys, in_kernel=True)
                pairs = [*zip(keys, found, strict=True), *made.to_dict(in_kernel=True).items()]
                assert None not in found[: len(STAYING)]
                assert len(pairs) >= len(keys) + len(STAYING)
                for key, values in pairs:
                    assert values is None or {value >> 32 for value in values} == {key}


def unknown(*_: object) -> int:
    raise NotSupportedError("bpf_rdonly_cast", "6.2")


# ---- threads, signals, fork, close ------------------------------------------------------------


def test_threads_share_it(numbers: Map[int, int]) -> None:
    """Whoever finds it taken looks up one by one; nobody gets another one's values."""
    wrong: list[object] = []

    def work(number: int) -> None:
        keys = list(range(number * 100, number * 100 + 100))
        wanted = [key * 3 for key in keys]
        found = [numbers.get_many(keys, in_kernel=True) for _ in range(amount(100))]
        wrong.extend(one for one in found if one != wanted)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    numbers.get_many([1], in_kernel=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_signal_handler_may_use_it_too(numbers: Map[int, int]) -> None:
    """Also when it comes while the interrupted code is at the area."""
    inside: list[list[int]] = []
    numbers.get_many([1], in_kernel=True)
    numbers.to_dict(in_kernel=True)

    def handler() -> None:
        inside.append(numbers.get_many([5, 6, 7]))
        assert len(numbers.to_dict(in_kernel=True)) == 1000

    outside = []
    with interrupted_by(handler):
        while len(inside) < amount(100) or not outside:
            outside.append(numbers.get_many(list(range(100))))
    assert all(found == [15, 18, 21] for found in inside)
    assert all(found == list(range(0, 300, 3)) for found in outside)


def test_a_forked_child_has_an_area_of_its_own(numbers: Map[int, int]) -> None:
    """Both look up at once; the one's keys do not get into the other's area."""
    numbers.get_many([1], in_kernel=True)
    numbers.to_dict(in_kernel=True)
    child = fork()
    first = 0 if child == 0 else 500
    keys = list(range(first, first + 300))
    wanted = [key * 3 for key in keys]
    ok = True
    for _ in range(amount(300)):
        ok = ok and numbers.get_many(keys, in_kernel=True) == wanted
        ok = ok and len(numbers.to_dict(in_kernel=True)) == 1000
    if child == 0:
        numbers.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ok


@pytest.mark.parametrize("count", [10, 1000])
def test_after_close_it_is_over(numbers: Map[int, int], count: int) -> None:
    """ClosedError, from whoever is at it by then, and nothing of it remains open."""
    before = descriptors()
    numbers.get_many([1], in_kernel=True)
    numbers.to_dict(in_kernel=True)
    errors: list[BaseException] = []
    running = threading.Barrier(5)

    def work() -> None:
        running.wait()
        try:
            while True:
                numbers.get_many(list(range(count)), in_kernel=None)
        except ClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    running.wait()
    numbers.close()
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    assert descriptors() == before - 1
    for ask in (numbers.to_dict, numbers.to_numpy, lambda: numbers.get_many([1])):
        with pytest.raises(ClosedError):
            ask()


def descriptors() -> int:
    return sum(1 for _ in pathlib.Path("/proc/self/fd").iterdir())


def test_a_thousand_threads_on_one_map(numbers: Map[int, int]) -> None:
    """All start at once, on a map whose program nobody has made."""
    gate = threading.Event()
    wrong: list[int] = []

    def work(number: int) -> None:
        gate.wait()
        if numbers.get_many([number] * 10) != [number * 3] * 10:
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(amount(1000))]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert wrong == []
