"""Signals that come again and again, between any two steps of the test."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["SHORTLY", "interrupted_by"]

# Seconds from the end of a handler to the next signal, and to another one should none have come: an
# interpreter may forget the one that arrives just as it looks whether there are any.
SHORTLY = 0.0005
ANYWAY = 1.0


@contextlib.contextmanager
def interrupted_by(handler: Callable[[], object]) -> Iterator[None]:
    """Call *handler* by ``SIGALRM``, and again shortly after it has returned.

    Not at fixed times: on a slow machine signals would then interrupt handlers alone, one in the
    other without end. One that raises ends the row, until the test begins it anew.
    """
    going = True

    def handle(*_: object) -> None:
        handler()
        if going:  # one that is still due at the end must not wind the timer up again
            signal.setitimer(signal.ITIMER_REAL, SHORTLY, ANYWAY)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, SHORTLY, ANYWAY)
    try:
        yield
    finally:
        going = False
        _stop(before)


# Whatever a handler raises meanwhile: a timer that went on would call it in other tests.
def _stop(before: Any) -> None:
    while True:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        except BaseException:
            continue
        return
