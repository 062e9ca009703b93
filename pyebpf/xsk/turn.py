"""`Turn`: who may work on shared memory and rings now.

    with turn.free(), turn:
        ...

One thread at a time has it. A signal handler that interrupts its own thread's turn is refused,
since things are half-done then; what has to be done nevertheless, closing, waits for the turn's
end. A child after fork(2) never has it: its parent does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from pyebpf.errors import ClosedError
from pyebpf.typed import final

__all__ = ["Turn"]


@final
class Turn:
    """A turn at something.

    Args:
        what: For messages: "AF_XDP memory".
    """

    __slots__ = ("_later", "_lock", "_process", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._later: list[Callable[[], None]] = []

    @property
    def foreign(self) -> bool:
        """Whether this process has it from its parent, which uses it."""
        return os.getpid() != self._process

    # Whoever has the lock has the turn. No flag says so, which a signal handler could leave set
    # that raises before it is taken back; a with statement lets go of a lock whatever happens.
    def free(self) -> threading.RLock:
        """Return the lock that whoever has the turn holds, which is not this thread.

        Raises:
            ClosedError: This is a child of the process whose turn it is.
            ValueError: This thread has the turn: a signal handler asks.
        """
        if os.getpid() != self._process:
            raise ClosedError(f"{self._what} used in a child of the process that made it")
        if self._has():
            raise ValueError(f"{self._what} used by a signal handler that interrupted its use")
        return self._lock

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        while self._later:
            self._later.pop(0)()

    def when_idle(self, action: Callable[[], None]) -> None:
        """Do something as soon as it is nobody's turn: now, or if a signal handler asks, later."""
        self._later.append(action)
        if not self._has():
            with self._lock, self:
                return  # whose end does it

    def _has(self) -> bool:
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]  # as Condition
