"""`Turn`: who may work on shared memory and rings now.

One thread at a time has it. A signal handler that interrupts its own thread's turn is refused,
since things are half-done then; what has to be done nevertheless, closing, waits for the turn's
end. A child after fork(2) never has it: its parent does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

from pyebpf.errors import ClosedError
from pyebpf.typed import final

__all__ = ["Turn"]


@final
class Turn:
    """A turn at something, taken by ``with``.

    Args:
        what: For messages: "AF_XDP memory".
    """

    __slots__ = ("_active", "_later", "_lock", "_process", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._active = False
        self._later: list[Callable[[], None]] = []

    @property
    def foreign(self) -> bool:
        """Whether this process has it from its parent, which uses it."""
        return os.getpid() != self._process

    def __enter__(self) -> None:
        if os.getpid() != self._process:
            raise ClosedError(f"{self._what} used in a child of the process that made it")
        self._lock.acquire()
        if self._active:
            self._lock.release()
            raise ValueError(f"{self._what} used by a signal handler that interrupted its use")
        self._active = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            while self._later:
                self._later.pop(0)()
        finally:
            self._active = False
            self._lock.release()

    def when_idle(self, action: Callable[[], None]) -> None:
        """Do something as soon as it is nobody's turn: now, or if a signal handler asks, later."""
        self._later.append(action)
        with self._lock:
            if self._active:
                return
            with self:
                return  # whose end does it
