"""All modules now, for processes that cannot import them later."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil

__all__ = ["import_all"]

# What functions of this library import of Python's own library and of others, if they are there.
_OTHERS = (
    "asyncio", "binascii", "cffi", "copy", "ctypes", "dataclasses", "difflib",
    "elftools.elf.elffile", "inspect", "ipaddress", "numpy", "pathlib", "re", "signal", "socket",
)  # fmt: skip


def import_all() -> None:
    """Import every module of this library now, and what those import.

    Most are imported when they are first used, since that makes a start quick. A process that
    changes its root, gives up the right to read these files, or runs for months while they may be
    replaced, calls this before: later, a first use would be an ``ImportError``, or another version
    of the module. (`PrivilegeError` keeps its class also without, but loses its explanation.)

    Takes a tenth of a second, and as long again for numpy where that is installed. Not imported is
    `pyebpf.testing`.
    """
    package = os.path.dirname(os.path.dirname(__file__))
    for found in pkgutil.walk_packages([package], "pyebpf."):
        if not found.name.startswith("pyebpf.testing"):
            importlib.import_module(found.name)
    for name in _OTHERS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
