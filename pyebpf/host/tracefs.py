"""tracefs: where it is, and the ids of tracepoints in it.

In: a tracepoint's category and name; out: the number that ``perf_event_open`` wants. tracefs is
not mounted everywhere, so it is looked for and, as a last resort, mounted.
"""

from __future__ import annotations

import errno
import os
import stat

from pyebpf.errors import EbpfError, LoadError, PrivilegeError, SyscallError
from pyebpf.host import mounts
from pyebpf.sys import kernel
from pyebpf.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["directory", "forbidden", "tracepoint_id", "tracepoint_names"]

# The kernel makes the first for the purpose; the second mounts itself when it is looked at.
_USUAL = ("sys/kernel/tracing", "sys/kernel/debug/tracing")


def directory(root: str | None = None) -> Path:
    """Return the directory of tracefs; mounts it on ``/sys/kernel/tracing`` if it is nowhere.

    Args:
        root: The directory that stands for ``/``; nothing is mounted under another one.

    Raises:
        PrivilegeError: It is not mounted, and mounting it needs ``CAP_SYS_ADMIN``; or it is, and
            only root may look into it.
        SyscallError: The kernel has no tracefs (``ENODEV``), …
    """
    from pathlib import Path

    return Path(_directory(root))


def _directory(root: str | None) -> str:
    top = root or kernel.current().root
    candidates = [os.path.join(top, place) for place in _USUAL]
    if mounted := mounts.of_type("tracefs", root):
        candidates.insert(0, os.path.join(top, mounted[0].lstrip("/")))
    for place in candidates:
        try:
            if _is_directory(os.path.join(place, "events")):
                return place
        except PermissionError as error:
            raise forbidden(place, error) from None
    target = candidates[-2]
    if top != "/":
        raise SyscallError("open", errno.ENOENT, f"no tracefs under {top}")
    from pyebpf.sys import mount

    mount.mount("tracefs", target, source="tracefs")
    return target


def forbidden(place: str, error: OSError) -> PrivilegeError:
    """Return the error for a file or directory of tracefs that may not be opened."""
    from pyebpf.sys.privileges import lockdown

    mode = lockdown() if error.errno == errno.EPERM else ""
    reason = f"kernel lockdown is at {mode}: {place}" if mode else f"{place} is for root only"
    return PrivilegeError("open", error.errno or errno.EACCES, reason)


def tracepoint_id(category: str, name: str, root: str | None = None) -> int:
    """Return the id of the tracepoint *category*/*name*.

    Args:
        category: Such as ``"sched"``.
        name: Such as ``"sched_process_exec"``.
        root: The directory that stands for ``/``.

    Raises:
        LoadError: The kernel has no such tracepoint; near names are given.
        PrivilegeError: Only root may read tracefs.
        SyscallError: There is no tracefs.
    """
    whole = f"{category}/{name}"
    events = os.path.join(_directory(root), "events")
    if not _plain(category) or not _plain(name):
        raise LoadError(whole, f"not a tracepoint's name: {whole!r}")
    try:
        with open(os.path.join(events, category, name, "id")) as file:
            return int(file.read())
    except PermissionError as error:
        raise forbidden(events, error) from None
    except (OSError, ValueError):
        raise LoadError(whole, f"no tracepoint {whole}{_near(events, category, name)}") from None


def tracepoint_names(root: str | None = None) -> list[str]:
    """Return the names of all tracepoints, without their categories; none if that cannot be read.

    For messages: those of system calls, which raw tracepoints do not have, are left out.

    Args:
        root: The directory that stands for ``/``.
    """
    try:
        return [
            name.name
            for category in (directory(root) / "events").iterdir()
            if category.is_dir() and category.name != "syscalls"
            for name in category.iterdir()
            if name.is_dir()
        ]
    except (OSError, EbpfError):
        return []


def _plain(part: str) -> bool:
    return bool(part) and "/" not in part and "\0" not in part and part not in (".", "..")


# Unlike os.path's, it says when it is not allowed to look.
def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _near(events: str, category: str, name: str) -> str:
    import difflib

    try:
        directory = os.path.join(events, category)
        if os.path.isdir(directory):
            names = [each.name for each in os.scandir(directory) if each.is_dir()]
            near = [f"{category}/{each}" for each in difflib.get_close_matches(name, names)]
        else:
            near = difflib.get_close_matches(category, os.listdir(events))
            near = [f"{each}/…" for each in near]
    except OSError:
        return ""
    return f" (near: {', '.join(near)})" if near else ""
