"""How often a reader looks, and what it says when records were lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Losses", "Pace", "deadline_of"]

# A BPF ring's first record is still being written: its program is running on another CPU, or was
# interrupted there. The ring counts as readable meanwhile, so sleep by the clock.
_STALL = 0.001


class Pace:
    """Looks at most once per interval.

    Args:
        interval: Seconds, or ``None`` for as soon as there is something.

    Attributes:
        interval: As given, 0 for ``None``.
        due: When the next look is, on the monotonic clock; to be set at each look.

    Raises:
        ValueError: *interval* is not a positive number.
    """

    __slots__ = ("due", "interval")

    def __init__(self, interval: float | None) -> None:
        if interval is not None and not 0 < interval < float("inf"):
            raise ValueError(f"interval must be seconds, more than 0, or None: {interval}")
        self.interval = interval or 0.0
        self.due = 0.0

    def rest(self) -> float:
        """Return the seconds until the next look, 0 or less if it is due."""
        return self.due - time.monotonic() if self.interval else 0.0

    def pause(self, *, stalled: bool) -> float:
        """Return the seconds to sleep by the clock, 0 if the rings are to wake the reader."""
        return _STALL if stalled else self.interval


class Losses:
    """Tells the user about losses as they are seen.

    Args:
        on_lost: Called with how many records were lost since it was called last. What it raises
            comes out of the call that reads; the records that are there come with the next.

    Attributes:
        wanted: Somebody wants to know.
    """

    __slots__ = ("_on_lost", "_told", "wanted")

    def __init__(self, on_lost: Callable[[int], object] | None) -> None:
        self._on_lost = on_lost
        self.wanted = on_lost is not None
        self._told = 0

    def tell(self, lost: Callable[[], int | None]) -> None:
        """Call the user if there are new ones.

        Args:
            lost: Returns how many there were in all, ``None`` if that cannot be known; not called
                if nobody wants to know.
        """
        if self._on_lost is None:
            return
        total = lost() or 0
        new, self._told = total - self._told, max(total, self._told)
        if new > 0:
            self._on_lost(new)


def deadline_of(timeout: float | None) -> float | None:
    """Return when a call with *timeout* ends, on the monotonic clock.

    Args:
        timeout: Seconds; 0 gives what is long over, ``None`` for ever and gives ``None``.

    Raises:
        ValueError: It is negative, or no number.
    """
    if timeout is None:
        return None
    if not timeout >= 0:  # NaN too
        raise ValueError(f"timeout must be seconds, 0 or more, or None: {timeout}")
    return -math.inf if timeout == 0 else time.monotonic() + timeout
