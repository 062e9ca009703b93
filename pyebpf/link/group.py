"""Several links for one attachment: an event on every CPU, the places of a USDT probe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

from pyebpf.errors import NotSupportedError
from pyebpf.link.base import Link
from pyebpf.programs.program import Program
from pyebpf.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from pyebpf.link.details import LinkDetails

__all__ = ["LinkGroup", "attach_each"]


class LinkGroup(Link):
    """Links that are detached together; what asks about one link asks the first.

    Args:
        links: At least one; owned from now on.
        target: What they are attached to, for people.

    Attributes:
        links: Each of them.
    """

    def __init__(self, links: Iterable[Link], *, target: str) -> None:
        self.links = tuple(links)
        super().__init__(self.links[0]._fd, target=target)

    def info(self) -> LinkDetails:
        """Return what the kernel knows about the first of them."""
        return self.links[0].info()

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Put another program into each of them, one after another."""
        for each in self.links:
            each.update(program, expected=expected)

    def detach(self) -> None:
        """Detach each of them at once."""
        for each in self.links:
            each.detach()

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Not possible for several; raises `NotSupportedError`: pin each of `links`."""
        raise NotSupportedError(f"one pin for {len(self.links)} links to {self.target}")

    def close(self) -> None:
        """Close each of them."""
        with contextlib.ExitStack() as stack:
            for each in self.links:
                stack.push(each)


def attach_each(attachments: Iterable[Callable[[], Link]], *, target: str) -> Link:
    """Attach several times: all, or nothing.

    Returns:
        The link, if it is only one, else a group.
    """
    with contextlib.ExitStack() as undo:
        links = [undo.enter_context(attach()) for attach in attachments]
        undo.pop_all()
    return links[0] if len(links) == 1 else LinkGroup(links, target=target)
