"""Lines out of pieces of text."""

from __future__ import annotations

import itertools
from collections import deque
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from pyebpf.readers.block import Room, alike
from pyebpf.readers.line_source import LineSource
from pyebpf.sys.poller import Poller


def taken(source: LineSource) -> list[bytes]:
    queue: deque = deque()
    faults: deque = deque()
    source.fill(queue, faults)
    assert not faults
    return [bytes(block.data[place]) for block in queue for place in block.slices()]


class Pieces:
    """A source of these pieces, each a look's."""

    def __init__(self, *pieces: bytes, lost=None) -> None:
        self.pieces = deque(pieces)
        stack = ExitStack()
        self.poller = Poller()
        stack.callback(self.poller.close)
        self.source = LineSource(self.pull, stack, poller=self.poller, lost=lost)

    def pull(self) -> bytes:
        return self.pieces.popleft() if self.pieces else b""

    def __enter__(self) -> LineSource:
        return self.source

    def __exit__(self, *_: object) -> None:
        self.source.close()


@given(st.lists(st.binary(max_size=20), max_size=20), st.lists(st.integers(0, 60), max_size=10))
def test_lines_do_not_depend_on_where_the_text_was_cut(lines, cuts):
    """Whatever pieces it comes in; empty lines are left out."""
    lines = [line.replace(b"\n", b"") for line in lines]
    text = b"\n".join(lines)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    with Pieces(*pieces) as source:
        source.look()
        found = taken(source)
        source.look()  # nothing more comes: the last line is whole
        found += taken(source)
        assert found == [line for line in lines if line]
        stats = source.stats(0)
        assert (stats.received, stats.bytes) == (len(found), len(text))
        assert stats.lost is None


def test_a_rest_waits_for_the_next_look():
    """It may go on; if not, it was a line."""
    with Pieces(b"whole\nbegin", b"", b"ning\nend", b"", b"") as source:
        assert [(source.look(), taken(source))[1] for _ in range(3)] == [
            [b"whole"],
            [b"beginning"],
            [b"end"],
        ]


def test_lines_of_losses_are_counted():
    """They are no records."""
    with Pieces(b"one\n!3\ntwo\n!4\n", lost=lambda x: int(x[1:]) if x[:1] == b"!" else None) as it:
        it.look()
        assert taken(it) == [b"one", b"two"]
        assert it.stats(0).lost == it.lost() == 7


def test_a_lease_and_a_small_room_take_no_more_than_they_give():
    """What was not taken comes next."""
    with Pieces(b"one\ntwo\nthree\n") as source:
        source.look()
        room, queue = Room(memoryview(bytearray(6)), alike), deque()
        source.fill(queue, deque(), room)
        assert bytes(room.memory) == b"onetwo"
        block = source.lend(alike)
        assert block.number == 1
        assert source.waiting()
        source.give_back(block)
        assert not source.waiting()
        assert source.lend(alike) is None
        assert source.stats(0).received == 3
