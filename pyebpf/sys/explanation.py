"""What is said beside an errno, by modules that are imported when there is one to explain."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["told"]


def told(say: Callable[[], str]) -> str:
    """Return what *say* says, or nothing if the module it asks cannot be imported any more.

    A process that has changed its root or may not read our files gets the error all the same, of
    the class that it is (see `pyebpf.import_all`).
    """
    try:
        return say()
    except ImportError:
        return ""
