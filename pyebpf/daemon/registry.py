"""The maps a daemon has open, by path: `open_maps` tells all parts of a program what is there.

A map registers itself only if it is opened by this package. It leaves when it is closed or
forgotten; the registry keeps nothing open.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from pyebpf.maps.map import Map
from pyebpf.typed import Any

__all__ = ["find_open_map", "open_maps", "register"]

_lock = threading.Lock()
_open: weakref.WeakValueDictionary[str, Map[Any, Any]] = weakref.WeakValueDictionary()


def open_maps() -> dict[str, Map[Any, Any]]:
    """Return the open maps by the path of their pin; those without one by name in ``<>``."""
    with _lock:
        return {path: each for path, each in sorted(_open.items()) if not each.closed}


def find_open_map(path: str | os.PathLike[str]) -> Map[Any, Any] | None:
    """Return the open map of a path, or ``None``.

    Args:
        path: Of its pin, or ``<name>``.
    """
    return open_maps().get(os.fspath(path))


def register(opened: Map[Any, Any], path: Path | None) -> None:
    """Enter a map; the latest of a path is the one that is found."""
    with _lock:
        _open[str(path) if path is not None else f"<{opened.name}>"] = opened
