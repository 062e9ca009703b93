"""`Turn`: a thread's turn at what one thread at a time may use, taken by ``with``."""

from __future__ import annotations

from pyebpf.errors import ClosedError
from pyebpf.typed import Protocol, final

__all__ = ["Turn", "User"]


class User(Protocol):
    """Who has turns."""

    _closing: bool
    _shown: bool

    def _closed_error(self) -> ClosedError:
        """Return what is raised instead of a turn, when it is closing."""

    def _end_turn(self) -> None:
        """End one, when it is closing or shown."""


# No generator, which would cost ten times as much.
@final
class Turn:
    """A turn.

    Args:
        user: Whose.
    """

    __slots__ = ("_user",)

    def __init__(self, user: User) -> None:
        self._user = user

    def __enter__(self) -> None:
        user = self._user
        if user._closing:
            raise user._closed_error()

    def __exit__(self, *exception: object) -> None:
        user = self._user
        if user._shown or user._closing:
            user._end_turn()
