"""`FD`, the sole owner of one file descriptor.

A raw number from the kernel goes in; out come `FD.fileno` (use it), `FD.dup` (share it) and
`FD.take` (hand it over). Closing twice is fine, using it closed is a `ClosedError`, forgetting it
is a ``ResourceWarning``. The number is never 0, 1 or 2.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import warnings
from types import TracebackType

from pyebpf.errors import ClosedError, SyscallError
from pyebpf.typed import final

__all__ = ["FD"]

_FIRST_FREE = 3


@final
class FD:
    """Owns one file descriptor; closing twice is fine, using it closed is not.

    May be shared between threads: however many of them close it, it is closed once.

    Args:
        raw: An open descriptor; the FD takes it over, also when this raises.

    Raises:
        ValueError: *raw* is negative.
        SyscallError: *raw* was 0, 1 or 2 and could not be moved (``EMFILE``); it is closed then.
    """

    # Holds the number while it is owned and is empty afterwards: list.pop is one step for other
    # threads and for signal handlers, so two closers can never both get the number.
    __slots__ = ("__weakref__", "_held")

    def __init__(self, raw: int) -> None:
        self._held: list[int] = []  # __del__ runs even if the next line raises
        self._held.append(_above_standard_streams(raw))

    def fileno(self) -> int:
        """Return the descriptor, which this object goes on owning.

        Raises:
            ClosedError: It was closed or given away.
        """
        try:
            return self._held[0]
        except IndexError:
            raise ClosedError("file descriptor used after close") from None

    @property
    def closed(self) -> bool:
        """Whether it was closed or given away."""
        return not self._held

    def take(self) -> int:
        """Give the descriptor away: the caller owns it now and this object counts as closed.

        Raises:
            ClosedError: It was closed or given away before.
        """
        try:
            return self._held.pop()
        except IndexError:
            raise ClosedError("file descriptor used after close") from None

    def dup(self) -> FD:
        """Return a second owner of the same kernel object, close-on-exec.

        Raises:
            ClosedError: This one is closed.
            SyscallError: ``EMFILE``, the process has too many open files.
        """
        return FD(duplicate(self.fileno()))

    def close(self) -> None:
        """Close the descriptor; does nothing the second time."""
        try:
            raw = self._held.pop()
        except IndexError:
            return
        # Linux has released the number whatever close(2) returns; an error here is about data
        # that could not be written back, which no bpf, perf or bpffs file has.
        with contextlib.suppress(OSError):
            os.close(raw)

    def __enter__(self) -> FD:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._held:
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            finally:
                self.close()

    def __repr__(self) -> str:
        return f"<FD {self._held[0]}>" if self._held else "<FD closed>"


def duplicate(raw: int) -> int:
    """Duplicate *raw* to a close-on-exec descriptor of at least 3, owned by the caller.

    Raises:
        SyscallError: ``EMFILE`` or ``EBADF``.
    """
    try:
        return fcntl.fcntl(raw, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    except OSError as error:
        raise SyscallError("fcntl", error.errno or 0, f"F_DUPFD_CLOEXEC of {raw}") from None


# The kernel reads fd 0 in an attr as "none given", and a program that closes its standard streams
# must not write its output into a map: move the number up.
def _above_standard_streams(raw: int) -> int:
    if raw < 0:
        raise ValueError(f"not a file descriptor: {raw}")
    if raw >= _FIRST_FREE:
        return raw
    try:
        return duplicate(raw)
    finally:
        os.close(raw)
