"""Names of the kernel's functions that probes can be attached to, by pattern.

In: ``"tcp_*"``. Out: names, from tracefs' ``available_filter_functions``, one line each,

    tcp_connect
    nf_ct_get [nf_conntrack]

or, where that may not be read (lockdown) or is missing, from the functions in /proc/kallsyms, which
lists some that cannot be probed.
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections import Counter
from pathlib import Path

from pyebpf.errors import EbpfError, SyscallError
from pyebpf.host import tracefs
from pyebpf.sys import kernel

__all__ = ["functions", "nearest"]

# Names that one is compared with; all hundred thousand would take seconds.
_MAX_NAMES = 5000

# How ftrace lists places of functions that the linker has dropped.
_INVALID = "__ftrace_invalid_address__"


def functions(pattern: str, *, module: str = "", root: str | None = None) -> list[str]:
    """Return the names of functions that match, in the kernel's order, each once.

    Names that several functions share are left out: the kernel cannot tell which is meant.

    Args:
        pattern: With ``*``, ``?`` and ``[...]`` as the shell has them.
        module: Only functions of this module; ``""``: of the kernel and of all modules.
        root: The directory that stands for ``/``.

    Raises:
        SyscallError: Neither file can be read.
    """
    fits = re.compile(fnmatch.translate(pattern))
    counts: Counter[str] = Counter()
    for name, its_module in _all(root):
        if (not module or its_module == module) and fits.match(name):
            counts[name] += 1
    return [name for name, count in counts.items() if count == 1 and not name.startswith(_INVALID)]


def nearest(name: str, *, root: str | None = None) -> str:
    """Return which functions a name that is not there is near to, for messages; ``""`` if none.

    Args:
        name: The name.
        root: The directory that stands for ``/``.
    """
    import difflib

    start = name[: min(6, len(name) // 2)]
    candidates = functions(f"{glob.escape(start)}*", root=root)[:_MAX_NAMES]
    near = difflib.get_close_matches(name, candidates, n=3)
    return f" (near: {', '.join(near)})" if near else ""


def _all(root: str | None) -> list[tuple[str, str]]:
    try:
        path = tracefs.directory(root) / "available_filter_functions"
        return [_split(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, EbpfError):
        return _from_kallsyms(root)


def _split(line: str) -> tuple[str, str]:
    name, _, rest = line.partition(" ")
    return name, rest.strip("[] \t")


def _from_kallsyms(root: str | None) -> list[tuple[str, str]]:
    path = Path(root or kernel.current().root, "proc/kallsyms")
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise SyscallError("open", error.errno or 0, str(path)) from None
    found = []
    for line in text.splitlines():
        _, kind, rest = line.split(" ", 2)
        if kind in "tTwW":
            name, _, module = rest.partition("\t")
            found.append((name, module.strip("[]")))
    return found
