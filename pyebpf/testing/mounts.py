"""A file system of the made-up kernel that is a real directory elsewhere, so that paths are real.

/sys/fs/bpf/NAME ──place()──▶ DIRECTORY/NAME
"""

from __future__ import annotations

import functools
import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

from pyebpf.testing.tree import remove_directory

__all__ = ["Mount"]


class Mount:
    """One of them; the directory goes with this object.

    Args:
        point: Where the kernel shows it: ``"/sys/fs/bpf"``.
        kind: For the directory's name.

    Attributes:
        point: As given.
    """

    def __init__(self, point: str, kind: str) -> None:
        self.point = point
        self._kind = kind
        self._remove: Callable[[], object] | None = None

    @functools.cached_property
    def directory(self) -> Path:
        """Where its files are; made when somebody wants to know."""
        made = Path(tempfile.mkdtemp(prefix=f"pyebpf-fake-{self._kind}-"))
        # A kernel that nobody closes leaves nothing behind either.
        self._remove = weakref.finalize(self, remove_directory, str(made), os.getpid())
        return made

    def place(self, path: str) -> str:
        """Return where a path below it really is; others are as they are."""
        normal = os.path.normpath(path) if path.startswith("/") else path
        if normal == self.point or normal.startswith(f"{self.point}/"):
            return str(self.directory) + normal[len(self.point) :]
        return path

    def contains(self, path: str) -> bool:
        """Whether a path exists and is on this file system."""
        real = os.path.realpath(self.place(path))
        top = os.path.realpath(self.directory)
        return os.path.exists(real) and (real == top or real.startswith(f"{top}/"))

    def remove(self) -> None:
        """Remove everything."""
        if self._remove is not None:
            self._remove()
