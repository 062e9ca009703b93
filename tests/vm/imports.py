"""A plugin of pytest that imports the whole package, so that the bytecode of all is kept."""

from __future__ import annotations

import importlib
import pkgutil

import pyebpf


def pytest_collection_finish() -> None:
    """Once tests have imported what they use."""
    for module in pkgutil.walk_packages(pyebpf.__path__, "pyebpf."):
        importlib.import_module(module.name)
