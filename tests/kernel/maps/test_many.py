"""Many elements at once: the same with batches and without, whole and in parts, at rest and not."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import threading

import numpy as np
import pytest

import pyebpf
from pyebpf import Map, MapType, UpdateFlag
from pyebpf.errors import ENOTSUPP
from pyebpf.host import cpus
from pyebpf.maps.lpm import IPV4_NETWORK
from pyebpf.sys import kernel
from pyebpf.sys.kernel import LinuxKernel
from pyebpf.uapi.bpf import Cmd
from tests.support.programs import built

COUNT = cpus.possible()
PER_CPU = {MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY}
BATCHES = {
    Cmd.MAP_LOOKUP_BATCH,
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
    Cmd.MAP_UPDATE_BATCH,
    Cmd.MAP_DELETE_BATCH,
}


class WithoutBatches(LinuxKernel):
    """The real kernel, as one before Linux 5.6 or as a kind that has none: *problem*."""

    __slots__ = ("problem",)

    def __init__(self, problem):
        super().__init__()
        self.problem = problem

    def bpf(self, cmd, attr, *, common=None):
        if cmd in BATCHES:
            raise self.problem
        return super().bpf(cmd, attr, common=common)


KERNELS = {
    "batches": None,
    "old kernel": pyebpf.NotSupportedError("BPF_MAP_LOOKUP_BATCH", "5.6"),
    "kind without": pyebpf.SyscallError("BPF_MAP_LOOKUP_BATCH", ENOTSUPP),
    "kind that refuses": pyebpf.SyscallError("BPF_MAP_LOOKUP_BATCH", errno.EINVAL),
}


@pytest.fixture(params=KERNELS.values(), ids=KERNELS)
def batches(request):
    """With batches, and without them for every reason there is."""
    if request.param is None:
        yield True
        return
    with kernel.use(WithoutBatches(request.param)):
        yield False


KINDS = [
    MapType.HASH,
    MapType.LRU_HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
    MapType.ARRAY,
    MapType.PERCPU_ARRAY,
    MapType.LPM_TRIE,
]


def made(kind, entries=600):
    key = IPV4_NETWORK if kind == MapType.LPM_TRIE else "I"
    size = {"key_size": 4} if key == "I" else {}
    return Map.create(type=kind, key=key, **size, value="Q", max_entries=entries, name="m")


def contents(m, count=300):
    keys = range(count)
    if m.type == MapType.LPM_TRIE:
        keys = [m.key_codec.decode(m.key_codec.encode(f"10.0.{n >> 8}.{n & 255}")) for n in keys]
    per_cpu = m.type in PER_CPU
    return {key: [n + cpu for cpu in range(COUNT)] if per_cpu else n for n, key in enumerate(keys)}


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_all_ways_to_read_a_map_agree(batches, kind, size):
    """Pairs, dict, items and single lookups: the same entries, each once."""
    with made(kind) as m:
        wanted = contents(m)
        m.update_batch(wanted)
        if m.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
            empty = [0] * COUNT if kind in PER_CPU else 0
            wanted |= dict.fromkeys(range(300, 600), empty)
        pairs = m.lookup_batch(size=size)
        assert len(pairs) == len(wanted)
        assert dict(pairs) == wanted
        assert m.to_dict() == dict(m.items()) == dict(m) == wanted
        some = list(wanted)[:20]
        assert m.get_many(some) == [wanted[key] for key in some]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_more_at_once_than_there_can_be_is_all(batches, kind):
    """Terabytes asked for are not asked of the system; less than nothing is refused."""
    with made(kind) as m:
        m.update_batch(contents(m, 50))
        wanted = m.lookup_batch()
        assert m.lookup_batch(size=1 << 40) == wanted
        for call in (m.lookup_batch, m.lookup_and_delete_batch):
            with pytest.raises(ValueError, match="negative"):
                call(size=-1)
        assert m.lookup_batch() == wanted


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "ARRAY" not in str(kind)], ids=str)
def test_taking_all_leaves_nothing_and_loses_nothing(batches, kind):
    """lookup_and_delete_batch returns what it removes; kinds without it say so and lose nothing."""
    with made(kind) as m:
        wanted = contents(m)
        m.update_batch(wanted.items())
        if kind == MapType.LPM_TRIE:
            with pytest.raises(pyebpf.SyscallError, match='lookup and delete in map "m"'):
                m.lookup_and_delete_batch()
            assert m.to_dict() == wanted
            return
        taken = m.lookup_and_delete_batch(size=11)
        assert len(taken) == len(wanted)
        assert dict(taken) == wanted
        assert len(m) == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "ARRAY" not in str(kind)], ids=str)
def test_deleting_many_passes_over_what_is_not_there(batches, kind):
    """The count is of those that were."""
    with made(kind) as m:
        wanted = contents(m)
        m.update_batch(wanted)
        keys = list(wanted)
        del m[keys[5]], m[keys[250]], m[keys[251]]
        assert m.delete_batch(keys[:260]) == 257
        assert m.to_dict() == {key: wanted[key] for key in keys[260:]}
        m.clear()
        assert m.lookup_batch() == []


def test_a_map_that_fills_up_says_how_many_were_set(batches):
    """What was set before stays, and `completed` counts it."""
    with made(MapType.HASH, entries=8) as m:
        with pytest.raises(pyebpf.MapFullError, match='update map "m"') as raised:
            m.update_batch({n: n for n in range(20)})
        assert raised.value.completed == len(m) == 8
        assert m.to_dict() == {n: n for n in range(8)}
    with made(MapType.ARRAY, entries=4) as m:
        with pytest.raises(pyebpf.KeyOutOfRangeError) as raised:
            m.update_batch([(0, 1), (3, 4), (9, 1), (1, 1)])
        assert raised.value.completed == 2
        assert dict(m) == {0: 1, 1: 0, 2: 0, 3: 4}
        with pytest.raises(pyebpf.SyscallError, match='delete from map "m"'):
            m.delete_batch([0])


def test_a_value_that_does_not_fit_changes_nothing(batches):
    """All is encoded before anything is set."""
    with made(MapType.HASH) as m:
        with pytest.raises(ValueError, match="value -1"):
            m.update_batch([(1, 1), (2, -1)])
        assert m.to_dict() == {}


def test_flags_hold_for_each_entry(batches):
    """BPF_NOEXIST, which the kernel's batches do not take."""
    with made(MapType.HASH) as m:
        m[3] = 30
        with pytest.raises(pyebpf.KeyExistsError) as raised:
            m.update_batch({1: 1, 2: 2, 3: 3, 4: 4}, flags=UpdateFlag.NOEXIST)
        assert raised.value.completed == 2
        assert m.to_dict() == {1: 1, 2: 2, 3: 30}


def test_a_frozen_map_refuses_them_all(batches):
    """And loses nothing."""
    with made(MapType.HASH) as m:
        m[1] = 1
        m.freeze()
        for use in (
            lambda: m.update_batch({2: 2}),
            lambda: m.delete_batch([1]),
            m.lookup_and_delete_batch,
            m.clear,
        ):
            with pytest.raises(pyebpf.PrivilegeError, match='map "m"'):
                use()
        assert m.to_dict() == {1: 1}


def test_maps_without_keys_or_lookups_are_named():
    """A TypeError or what the kernel says, always with the map's name."""
    with Map.create(type=MapType.QUEUE, value="I", max_entries=2, name="q") as m:
        for use in (m.lookup_batch, m.to_dict, m.to_numpy, m.clear):
            with pytest.raises(TypeError, match='map "q" has no keys'):
                use()
    with (
        Map.create(type=MapType.PERF_EVENT_ARRAY, name="e") as m,
        pytest.raises(pyebpf.SyscallError, match='lookup in map "e"'),
    ):
        m.lookup_batch()


class Pair(ctypes.Structure):
    _fields_ = (("left", ctypes.c_uint32), ("right", ctypes.c_uint32))


CODECS = {
    "Q": (np.dtype("=u8"), [0, 2**64 - 1]),
    ">q": (np.dtype(">i8"), [-1, 5]),
    "<IHxB": (None, [(1, 2, 3), (2**32 - 1, 65535, 255)]),
    "3I": (None, [(1, 2, 3), (4, 5, 6)]),
    np.float64: (np.dtype("f8"), [0.5, -3.0]),
}


@pytest.mark.parametrize(("codec", "case"), CODECS.items(), ids=str)
def test_arrays_of_numpy_have_the_codecs_values(batches, codec, case):
    """Each row is what a lookup gives."""
    dtype, values = case
    with Map.create(type=MapType.HASH, key="I", value=codec, max_entries=50) as m:
        for number, value in enumerate(values):
            m[number] = value
        keys, found = m.to_numpy()
        assert dtype is None or found.dtype == dtype
        assert keys.dtype == np.dtype("=u4")
        rows = [tuple(row) if found.dtype.names else row for row in found.tolist()]
        assert dict(zip(keys.tolist(), rows, strict=True)) == m.to_dict()


def test_arrays_of_numpy_have_the_fields_of_structs(batches):
    """By BTF: numbers, text, enums; by ctypes; bytes without a type; per CPU a column each."""
    with pyebpf.load(built("maps")) as bpf:
        m = bpf.maps["hash"]
        for number in range(5):
            key = m.key_codec.decode(bytes([10, 0, 0, number, *bytes(8)]))
            m[key] = {"packets": number, "device": f"eth{number}", "state": "BUSY"}
        keys, values = m.to_numpy()
        assert values.dtype.itemsize == m.value_size
        order = np.argsort(values["packets"])
        assert values["packets"][order].tolist() == [0, 1, 2, 3, 4]
        assert values["device"][order][2] == b"eth2"
        assert set(values["state"].tolist()) == {1}
        assert keys["source"].dtype == np.dtype("<u4" if np.little_endian else ">u4")
        per_cpu = bpf.maps["percpu_array"]
        per_cpu[1] = list(range(10, 10 + COUNT))
        _, values = per_cpu.to_numpy()
        assert values.shape == (4, COUNT)
        assert values[1].tolist() == per_cpu[1]
        assert values.sum(axis=1).tolist() == [per_cpu.sum(n) for n in range(4)]
    with Map.create(type=MapType.HASH, key=bytes, key_size=3, value=Pair, max_entries=9) as m:
        m[b"abc"] = Pair(1, 2)
        keys, values = m.to_numpy()
        assert (keys[0].tobytes(), values["right"].tolist()) == (b"abc", [2])
    with Map.create(type=MapType.LPM_TRIE, key=IPV4_NETWORK, value="I", max_entries=9) as m:
        m["10.0.0.0/8"] = 1
        with pytest.raises(TypeError, match="no numpy dtype is known for NetworkCodec"):
            m.to_numpy()


def test_a_data_section_is_a_row_of_its_variables():
    """One value, a field for each variable."""
    with pyebpf.load(built("globals")) as bpf:
        bpf.variables["total"].value = 77
        keys, values = bpf.maps[".data"].to_numpy()
        assert keys.tolist() == [0]
        assert values["total"].tolist() == [77]


def test_an_empty_map_has_empty_arrays():
    """With the right dtypes all the same."""
    with made(MapType.HASH) as m:
        keys, values = m.to_numpy()
        assert (len(keys), values.dtype) == (0, np.dtype("u8"))


@contextlib.contextmanager
def churning(m, work):
    """Let another thread change the map for a ``with`` block."""
    stop = threading.Event()

    def run():
        number = 0
        while not stop.is_set():
            work(number)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kind", [MapType.HASH, MapType.PERCPU_HASH, MapType.LPM_TRIE], ids=str)
def test_a_map_whose_every_key_is_replaced_is_dumped_all_the_same(batches, kind):
    """No key twice, no value of another key, none that stays is missed, and an end."""
    with made(kind, entries=2000) as m:
        wanted = contents(m, 1500)
        keys = list(wanted)
        m.update_batch(wanted)
        stays, comes_and_goes = keys[::10], [key for n, key in enumerate(keys) if n % 10]

        def work(number):
            key = comes_and_goes[number % len(comes_and_goes)]
            if key in m:
                with contextlib.suppress(pyebpf.KeyNotFoundError):
                    del m[key]
            else:
                m[key] = wanted[key]

        with churning(m, work):
            for _ in range(5):
                try:
                    pairs = m.lookup_batch(size=64)
                except pyebpf.IterationAborted:
                    continue
                found = dict(pairs)
                assert len(found) == len(pairs)
                assert all(wanted[key] == value for key, value in pairs)
                assert set(stays) <= set(found)


def test_a_bucket_that_does_not_fit_is_asked_for_again():
    """Keys that meet in one bucket: the kernel says ENOSPC to one entry at a time."""
    with made(MapType.HASH, entries=4096) as m:
        m.update_batch({n: n for n in range(4096)})
        assert sorted(m.lookup_batch(size=1)) == [(n, n) for n in range(4096)]


def test_a_closed_map_says_so():
    """Whatever is asked of it."""
    m = made(MapType.HASH)
    m.close()
    for use in (
        m.lookup_batch,
        m.to_dict,
        m.to_numpy,
        m.clear,
        m.lookup_and_delete_batch,
        lambda: m.update_batch({1: 1}),
        lambda: m.delete_batch([1]),
        lambda: m.get_many([1]),
    ):
        with pytest.raises(pyebpf.ClosedError, match='map "m"'):
            use()


class Disturbed(LinuxKernel):
    """The real kernel, but for batches from the second on: *disturb* does what it likes to them."""

    __slots__ = ("calls", "disturb")

    def __init__(self, disturb):
        super().__init__()
        self.calls = 0
        self.disturb = disturb

    def bpf(self, cmd, attr, *, common=None):
        if cmd in BATCHES:
            self.calls += 1
            if self.calls > 1:
                self.disturb(self, attr)
        return super().bpf(cmd, attr, common=common)


def out_of_memory(stub, attr):
    raise pyebpf.SyscallError("BPF_MAP_LOOKUP_AND_DELETE_BATCH", errno.ENOMEM)


def from_the_beginning(stub, attr):
    attr.in_batch = None


def interrupted(stub, attr):
    if stub.calls % 3:
        raise pyebpf.SyscallError("BPF_MAP_LOOKUP_BATCH", errno.EINTR)


def test_what_was_taken_before_a_failure_is_not_lost():
    """The first part is returned; the rest is still there, and the next call says what is wrong."""
    with kernel.use(Disturbed(out_of_memory)), made(MapType.HASH) as m:
        m.clear()
        wanted = contents(m)
        for key, value in wanted.items():
            m[key] = value
        kernel.current().calls = 0
        taken = dict(m.lookup_and_delete_batch(size=100))
        rest = {key: m[key] for key in wanted if key in m}
        assert taken
        assert {**taken, **rest} == wanted
        assert len(taken) + len(rest) == len(wanted)
        with pytest.raises(pyebpf.SyscallError, match=r'lookup and delete in map "m": .*ENOMEM'):
            m.lookup_and_delete_batch()


def test_a_walk_that_always_starts_again_is_given_up():
    """Whatever the kernel does: four times the capacity, then IterationAborted."""
    stub = Disturbed(from_the_beginning)
    with made(MapType.HASH) as m:
        m.update_batch(contents(m))
        with (
            kernel.use(stub),
            pytest.raises(pyebpf.IterationAborted, match='lookup in map "m": it changes faster'),
        ):
            m.lookup_batch(size=100)
        assert stub.calls <= 4 * 600 / 50


def test_an_interrupted_walk_goes_on():
    """From the same place, so that every entry comes once."""
    with kernel.use(Disturbed(interrupted)), made(MapType.HASH) as m:
        for number in range(300):
            m[number] = number
        assert sorted(m.lookup_batch(size=100)) == [(n, n) for n in range(300)]


class BeforeTaking(LinuxKernel):
    """The real kernel, as one before Linux 5.6: no batches, and no taking from hashes."""

    __slots__ = ()

    def bpf(self, cmd, attr, *, common=None):
        if cmd in BATCHES:
            raise KERNELS["old kernel"]
        return super().bpf(cmd, attr, common=common)

    def elements(self, *arguments, **options):
        return Untakable(super().elements(*arguments, **options))


class Untakable:
    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def lookup_and_delete(self, key, flags=0):
        raise pyebpf.SyscallError("BPF_MAP_LOOKUP_AND_DELETE_ELEM", ENOTSUPP)


def test_a_kernel_that_cannot_take_from_hashes_says_since_when():
    """One or all; nothing is lost."""
    with kernel.use(BeforeTaking()), made(MapType.HASH) as m:
        m[1] = 1
        for use in (m.lookup_and_delete_batch, lambda: m.lookup_and_delete(1)):
            with pytest.raises(pyebpf.NotSupportedError, match=r'map "m": .*since Linux 5\.14'):
                use()
        assert m.to_dict() == {1: 1}
