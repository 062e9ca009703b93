"""Square brackets: the quick way gives what the careful one gives, whoever comes in between."""

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from pyebpf.errors import ClosedError, KeyNotFoundError, MapFullError, SyscallError
from pyebpf.host import cpus
from pyebpf.maps.map import Map
from pyebpf.maps.native import native_format
from pyebpf.maps.user_codec import as_codec
from pyebpf.sys.elements import Elements
from pyebpf.uapi.bpf import MapType
from tests.support.alarms import SHORTLY, interrupted_by
from tests.support.amount import amount
from tests.support.children import fork


@pytest.fixture
def numbers() -> Iterator[Map[int, int]]:
    with Map.create(type=MapType.HASH, max_entries=64, key="I", value="Q", name="numbers") as made:
        made[1] = 10  # the first access prepares the quick way
        yield made


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int16), ("y", ctypes.c_int16))


VALUES = {
    "?": (True, False),
    "b": (-128, 127),
    "B": (0, 255),
    "h": (-5, 1 << 14),
    "H": (0, 65535),
    "i": (-(1 << 31), 7),
    "I": ((1 << 32) - 1, 0),
    "q": (-(1 << 63), 1),
    "Q": ((1 << 64) - 1, 0),
    "f": (0.5, -2.0),
    "d": (1e300, -0.1),
    "<I": (1, 2),
    ">I": (1, 2),
    "4s": (b"abcd", b"\0\0\0\1"),
    "<HH": ((1, 2), (3, 4)),
    "3B": ((1, 2, 3), (0, 0, 255)),
}


@pytest.mark.parametrize("text", VALUES)
def test_what_is_written_is_read_whichever_way(text: str) -> None:
    """Brackets and lookup/update agree in both directions, as keys and as values."""
    first, second = VALUES[text]
    with Map.create(type=MapType.HASH, max_entries=8, key=text, value=text) as made:
        for _ in range(2):  # before and after the quick way is prepared
            made[first] = second
            made.update(second, first)
            assert (made.lookup(first), made.lookup(second)) == (second, first)
            assert (made[first], made[second]) == (second, first)
            assert type(made[first]) is type(second)
            del made[first]
            made.delete(second)
            assert dict(made.items()) == {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `Elements` is asked for: the quick way does not ask it."""
    names: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        real = getattr(Elements, name)

        def method(*arguments: object) -> object:
            names.append(name)
            return real(*arguments)

        return method

    for name in ("lookup", "update", "delete"):
        monkeypatch.setattr(Elements, name, counted(name))
    return names


@pytest.mark.parametrize(
    ("key", "value", "pair"),
    [("I", "Q", (1, 2)), ("<HH", Point, ((1, 2), Point(3, 4)))],
    ids=["numbers", "records"],
)
def test_what_is_prepared_asks_nobody(
    asked: list[str], key: str, value: str | type, pair: tuple
) -> None:
    """Numbers and all else; what fails is asked for once more, for its reason."""
    with Map.create(type=MapType.HASH, max_entries=8, key=key, value=value) as made:
        made[pair[0]] = pair[1]
        asked.clear()
        made[pair[0]] = pair[1]
        assert bytes(memoryview(made[pair[0]])) if value is Point else made[pair[0]] == pair[1]
        assert made.get(pair[0]) is not None
        del made[pair[0]]
        assert made.get(pair[0]) is None
        assert asked == []
        with pytest.raises(KeyNotFoundError):
            made[pair[0]]
        assert asked == ["lookup"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("I", "I"), ("<I", "I"), ("=q", "q"), (">I", None), (">B", None), ("II", None), ("4s", None)],
)
def test_only_numbers_of_this_machine_are_native(text: str, expected: str | None) -> None:
    """Foreign byte orders and everything wider go through their codec."""
    assert native_format(as_codec(text, 0, btf=None, what="key")) == expected


def test_numbers_of_each_cpu_are_a_list() -> None:
    """Of every width, though each CPU's takes 8 bytes."""
    for text in "bBhHiIqQ":
        with Map.create(type=MapType.PERCPU_ARRAY, max_entries=2, value=text) as made:
            wanted = list(range(1, cpus.possible() + 1))
            for _ in range(2):
                made[1] = wanted
                assert made[1] == made.lookup(1) == wanted
                assert made[0] == [0] * cpus.possible()


def test_wrong_keys_and_values_change_nothing(numbers: Map[int, int]) -> None:
    """The errors are those of lookup and update, and the map goes on working."""
    for bad in (-1, 1 << 32, "1", None, 1.5, b"\1\0\0\0"):
        for action in (
            lambda bad=bad: numbers[bad],
            lambda bad=bad: numbers.__setitem__(bad, 1),
            lambda bad=bad: numbers.__delitem__(bad),
        ):
            with pytest.raises((ValueError, TypeError)):
                action()
    for bad in (-1, 1 << 64, "1", None):
        with pytest.raises((ValueError, TypeError)):
            numbers[1] = bad
    assert dict(numbers.items()) == {1: 10}
    assert numbers[1] == 10


def test_errors_carry_their_reason(numbers: Map[int, int]) -> None:
    """Though the quick way does not see errno."""
    with pytest.raises(KeyNotFoundError, match="no key 2"):
        numbers[2]
    with pytest.raises(KeyNotFoundError, match="no key 2"):
        del numbers[2]
    with Map.create(type=MapType.HASH, max_entries=1, key="I", value="I") as full:
        full[1] = 1
        with pytest.raises(MapFullError):
            full[2] = 2
    with Map.create(type=MapType.ARRAY, max_entries=1, value="I") as array:
        array[0] = 5
        with pytest.raises(SyscallError, match="EINVAL"):
            del array[0]
        array.freeze()
        with pytest.raises(SyscallError, match="EPERM"):
            array[0] = 6
        assert array[0] == 5


def test_threads_read_what_they_wrote(numbers: Map[int, int]) -> None:
    """Each its own key; whoever finds the cells taken goes the other way."""
    wrong: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for step in range(amount(2000)):
            wanted = number << 32 | step
            numbers[number] = wanted
            found = numbers[number]
            if found != wanted:
                wrong.append((found, wanted))

    run_all([lambda number=number: work(number) for number in range(8)])
    assert wrong == []


def test_a_signal_handler_uses_the_same_map(numbers: Map[int, int]) -> None:
    """It may come between any two steps of an operation, and may raise."""
    numbers[2] = 20
    inside: list[int] = []
    may_raise = False  # a machine that stood still for a second has a signal more

    def handler() -> None:
        nonlocal may_raise
        numbers[2] = 20
        inside.append(numbers[2])
        if may_raise and len(inside) % 2:
            may_raise = False
            raise Interrupted

    outside = set()
    with interrupted_by(handler):
        while len(inside) < amount(200):
            try:
                may_raise = True
                signal.setitimer(signal.ITIMER_REAL, SHORTLY)
                # Not for ever: what is raised in a finalizer that runs here never arrives.
                for _ in range(10_000):
                    outside.add(numbers[1])
                may_raise = False
            except Interrupted:
                pass
    assert outside == {10}
    assert set(inside) == {20}


class Interrupted(Exception):
    pass


def test_a_codec_may_use_its_own_map() -> None:
    """Encoding a key looks another one up: the inner operation has its own memory."""

    def encode(name: str) -> bytes:
        if name == "twice":
            return struct.pack("=I", inner["once"] * 2)
        return struct.pack("=I", len(name))

    def decode(data: bytes) -> int:
        (number,) = struct.unpack("=I", data)
        return number if number < 100 else inner["x" * (number - 100)]

    with Map.create(
        type=MapType.HASH,
        max_entries=8,
        key_size=4,
        value_size=4,
        key=(lambda data: data, encode),
        value=(decode, lambda number: struct.pack("=I", number)),
    ) as inner:
        inner["once"] = 6  # 4 -> 6
        inner["twice"] = 104  # 12 -> what is at 4
        assert inner["twice"] == inner["once"] == 6
        del inner["twice"]
        assert len(inner) == 1


def test_a_forked_child_has_its_own_cells(numbers: Map[int, int]) -> None:
    """Both write at once, and each reads back what it wrote."""
    child = fork()
    number = 2 if child == 0 else 3
    ok = True
    for step in range(500):
        numbers[number] = step
        ok = ok and numbers[number] == step
    if child == 0:
        numbers.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ok
    assert numbers[2] == numbers[3] == 499


def test_after_close_nothing_is_reached(numbers: Map[int, int]) -> None:
    """Not even a map that has got the same number."""
    number = numbers.fileno()
    numbers.close()
    heirs = []
    while not heirs or heirs[-1].fileno() != number:
        assert len(heirs) < 8, "the number does not come back"
        heirs.append(numbers_map())
    for action in (
        lambda: numbers[1],
        lambda: numbers.__setitem__(1, 1),
        lambda: numbers.__delitem__(1),
    ):
        with pytest.raises(ClosedError):
            action()
    for heir in heirs:
        assert dict(heir.items()) == {}
        heir.close()


def test_closing_while_threads_are_at_it() -> None:
    """They end with ClosedError, and nothing of them reaches the number's next owner."""
    for _ in range(amount(20)):
        made = numbers_map()
        running = threading.Event()

        def work(made: Map[int, int] = made, running: threading.Event = running) -> None:
            try:
                for _ in range(1_000_000):
                    made[1] = 1
                    running.set()
            except ClosedError:
                running.set()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        running.wait()
        number = made.fileno()
        made.close()
        heirs = []
        while not heirs or heirs[-1].fileno() != number:
            assert len(heirs) < 8, "the number does not come back"
            heirs.append(numbers_map())
        for thread in threads:
            thread.join()
        for heir in heirs:
            assert dict(heir.items()) == {}
            heir.close()


def test_the_first_access_may_come_from_many_threads() -> None:
    """A thousand start at once on a map nobody has used: one prepares it, none is wrong."""
    with numbers_map() as made:
        gate = threading.Event()
        wrong: list[object] = []

        def work(number: int) -> None:
            gate.wait()
            made[number] = number
            if made[number] != number:
                wrong.append(number)

        count = amount(1000)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert dict(made.items()) == {number: number for number in range(count)}


def test_an_update_that_waits_lets_other_threads_run() -> None:
    """A map-in-map update waits 8 to 16 ms for RCU: meanwhile another thread counts on."""
    with (
        Map.create(type=MapType.ARRAY, max_entries=1, value="I") as inner,
        Map.create(type=MapType.ARRAY_OF_MAPS, max_entries=1, inner=inner) as outer,
    ):
        done = threading.Event()
        counted = [0]

        def count() -> None:
            while not done.is_set():
                counted[0] += 1
                pathlib.Path("/").stat()  # gives the other thread its turn

        before, seen = sys.getswitchinterval(), []
        # Nobody is asked to make room any more: only a call that lets go of the lock does.
        sys.setswitchinterval(1000)
        thread = threading.Thread(target=count)
        thread.start()
        try:
            for _ in range(20):
                start = counted[0]
                outer[0] = inner
                seen.append(counted[0] - start)
        finally:
            done.set()
            thread.join()
            sys.setswitchinterval(before)
        assert any(seen)  # not all: a busy machine may not run it in time


def numbers_map() -> Map[int, int]:
    return Map.create(type=MapType.HASH, max_entries=1024, key="I", value="Q", name="numbers")


def run_all(actions: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
