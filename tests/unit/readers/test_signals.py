"""Signal handlers that raise, at every place where CPython runs them while a call has the turn.

CPython runs handlers where a function begins, where one written in C has returned, and at jumps
back (3.11 and newer). A profile function sees the first two, so it can raise in their stead: at the
first, at the second, and so on, until a call comes to its end without.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

import pyebpf
from pyebpf.readers.reader import Reader
from pyebpf.sys.poller import Poller
from tests.support.ring_memory import PAGE, BpfMemory, bpf_ring

pytest.importorskip("numpy").empty(0)
pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python 3.10 runs signal handlers between other steps too"
)

LIBRARY = str(Path(pyebpf.__file__).parent)


class Injection:
    """Raises ``KeyboardInterrupt`` at the place with a number.

    Attributes:
        place: File, function and event, once it has.
    """

    def __init__(self, number: int) -> None:
        self.left = number
        self.place: tuple[str, str, str] | None = None

    def look(self, frame: FrameType, event: str, called: object) -> None:
        if event not in ("call", "c_return") or self.place is not None:
            return
        code = frame.f_code
        if not code.co_filename.startswith(LIBRARY) or "/testing/" in code.co_filename:
            return
        self.left -= 1
        if self.left == 0:
            what = event if event == "call" else f"after {getattr(called, '__name__', called)}"
            self.place = Path(code.co_filename).name, code.co_name, what
            raise KeyboardInterrupt


def listed(packed) -> list[bytes]:
    places = zip(packed.starts, packed.lengths, strict=True)
    return [bytes(packed.data[start : start + length]) for start, length in places]


def called(reader: Reader) -> list[bytes]:
    got: list[bytes] = []
    with contextlib.suppress(KeyboardInterrupt):
        reader.dispatch(got.append, timeout=20)
    return got


def iterated(reader: Reader) -> list[bytes]:
    ITERATORS.append(iter(reader))
    return [next(ITERATORS[-1])]


ITERATORS: list[Iterator[bytes]] = []  # until nothing is raised any more, in finalizers neither

WAYS: dict[str, Callable[[Reader], list[bytes]]] = {
    "poll": lambda reader: reader.poll(20),
    "read": lambda reader: [reader.read(20)],
    "iterate": iterated,
    "dispatch": called,
    "read_array": lambda reader: [bytes(each) for each in reader.read_array(20)],
    "read_array, out": lambda reader: [
        bytes(each) for each in reader.read_array(20, out=bytearray(2 * PAGE))
    ],
    "read_packed": lambda reader: listed(reader.read_packed(20)),
}


# There what a call has can be lost, between its last step and the caller, as Python has no place to
# keep it. (`Reader` promises no more than that nothing is lost while a call waits.)
def on_the_way_back(place: tuple[str, str, str] | None) -> bool:
    return place is not None and (place[:2] == ("turn.py", "__exit__") or "__exit__" in place[2])


@pytest.mark.parametrize("record", [None, bytes], ids=["bytes", "decoded"])
@pytest.mark.parametrize("ahead", [0, 5], ids=["asleep", "read ahead"])
@pytest.mark.parametrize("number", [6, 100], ids=["few", "many"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_signal_handler_that_raises_loses_and_repeats_nothing(way, number, ahead, record):
    """Whatever the call did when it was interrupted, others go on where it stood."""
    wanted = [struct.pack("=Q", each) for each in range(number)]
    place, finished = 1, False
    while not finished:
        with bpf_ring(record=record) as (memory, reader):
            finished = interrupted(memory, reader, way, wanted, ahead, place)
        place += 1
    assert place > 2


def interrupted(
    memory: BpfMemory,
    reader: Reader,
    way: Callable[[Reader], list[bytes]],
    wanted: list[bytes],
    ahead: int,
    number: int,
) -> bool:
    """Check the injection with that number; return whether the call came to its end without it."""
    injection = Injection(number)
    got: list[bytes] = []

    def wait(_: Poller, timeout: float | None) -> bool:
        memory.put(b"".join(map(memory.record, wanted[ahead:])))
        sys.setprofile(injection.look)
        return True

    if ahead:
        memory.put(b"".join(map(memory.record, wanted[:ahead])))
        got.append(reader.read(0))
        memory.put(b"".join(map(memory.record, wanted[ahead:])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Poller, "wait", wait)
        try:
            if ahead:
                sys.setprofile(injection.look)
            got += way(reader)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
            ITERATORS.clear()
    for _ in range(4):
        got += reader.drain()
    if on_the_way_back(injection.place):
        assert got == [each for each in wanted if each in got]
    else:
        assert got == wanted, injection.place
    assert reader.stats().received == len(wanted)
    return injection.place is None
