"""Helpers by number, each a Python function; one module for each kind."""

from __future__ import annotations

from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.helpers import maps

__all__ = ["HELPERS"]

HELPERS: dict[int, Function] = {**maps.HELPERS}
