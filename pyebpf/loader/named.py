"""`Named`: the dict of a collection's maps, programs or variables; a typo is told what there is."""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.typed import NoReturn, TypeVar

__all__ = ["Named"]

T = TypeVar("T")
SHOWN = 20


class Named(dict[str, T]):
    """A dict by name.

    Args:
        kind: What it holds, for messages: ``"map"``.
        contents: Its items.
    """

    def __init__(self, kind: str, contents: Mapping[str, T]) -> None:
        super().__init__(contents)
        self._kind = kind

    def __missing__(self, name: object) -> NoReturn:
        names = sorted(self)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        there = ", ".join(names[:SHOWN]) + more if names else "none"
        raise KeyError(f"no {self._kind} {name!r}; there are: {there}")
