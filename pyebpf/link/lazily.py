"""Modules of hooks that are imported when they are used: a load should not pay for all of them.

In: a module of this package and a function of it. Out: the function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from pyebpf.typed import Any, cast

__all__ = ["found"]


def found(module: str, name: str) -> Callable[..., Any]:
    """Return function *name* of ``pyebpf.link.<module>``."""
    home = importlib.import_module(f"pyebpf.link.{module}")
    return cast("Callable[..., Any]", getattr(home, name))
