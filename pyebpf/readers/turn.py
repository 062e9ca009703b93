"""`Turn`: a thread's turn at what one thread at a time may use, taken by ``with``."""

from __future__ import annotations

from pyebpf.typed import Protocol, final

__all__ = ["Turn", "User"]


class User(Protocol):
    """Who has turns."""

    def _begin_turn(self) -> None:
        """Begin one, or raise."""

    def _end_turn(self) -> None:
        """End it."""


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
        self._user._begin_turn()

    def __exit__(self, *exception: object) -> None:
        self._user._end_turn()
