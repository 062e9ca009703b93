"""Whose turn it is: one thread's, no signal handler's, and closing comes to its own."""

from __future__ import annotations

import sys
import threading
from types import FrameType

import pytest

from pyebpf.errors import ClosedError
from pyebpf.xsk.turn import Turn
from tests.support.children import outcome

PATIENCE = 60


def test_a_turn_within_a_turn_is_refused():
    """As when a signal handler interrupts; the outer one goes on, and another comes after."""
    turn = Turn("the pot")
    with turn.free(), turn:
        with pytest.raises(ValueError, match="the pot used by a signal handler"):
            turn.free()
        with pytest.raises(ValueError, match="signal handler"):
            turn.free()
    with turn.free(), turn:
        pass


def test_others_wait():
    """Until the turn is over."""
    turn = Turn("the pot")
    order: list[str] = []

    def other() -> None:
        with turn.free(), turn:
            order.append("other")

    thread = threading.Thread(target=other)
    with turn.free(), turn:
        thread.start()
        order.append("first")
    thread.join(PATIENCE)
    assert order == ["first", "other"]


def test_what_has_to_wait_is_done_in_order_at_the_end():
    """Also what comes up meanwhile; outside of a turn it is done at once."""
    turn = Turn("the pot")
    done: list[int] = []
    turn.when_idle(lambda: done.append(0))
    assert done == [0]
    with turn.free(), turn:
        turn.when_idle(lambda: (done.append(1), turn.when_idle(lambda: done.append(3)))[0])
        turn.when_idle(lambda: done.append(2))
        assert done == [0]
    assert done == [0, 1, 2, 3]


def test_a_failure_ends_the_turn():
    """Whoever is next has it."""
    turn = Turn("the pot")

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        turn.when_idle(fail)
    with turn.free(), turn:
        pass


def test_a_child_has_no_turn():
    """It is its parent's."""
    turn = Turn("the pot")

    def use() -> str:
        assert turn.foreign
        try:
            turn.free()
        except ClosedError as error:
            return str(error)
        return "had it"

    assert outcome(use) == "the pot used in a child of the process that made it"
    assert not turn.foreign


def test_a_signal_handler_that_raises_ends_the_turn():
    """Wherever CPython runs it; another thread has the next."""
    places = 0
    for number in range(1, 20):
        turn, left = Turn("the pot"), number

        def look(_: FrameType, event: str, __: object) -> None:
            nonlocal left
            left -= event in ("call", "c_return")
            if left == 0:
                left = -1
                raise KeyboardInterrupt

        def use(turn: Turn) -> None:
            with turn.free(), turn:
                turn.when_idle(int)

        sys.setprofile(look)
        try:
            use(turn)
        except KeyboardInterrupt:
            places += 1
        finally:
            sys.setprofile(None)
        had: list[bool] = []
        thread = threading.Thread(target=lambda turn=turn, had=had: (use(turn), had.append(True)))
        thread.start()
        thread.join(PATIENCE)
        assert had == [True], number
    assert places > 5
