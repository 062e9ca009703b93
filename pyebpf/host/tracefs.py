"""tracefs: where it is, and the ids of tracepoints in it.

In: a tracepoint's category and name; out: the number that ``perf_event_open`` wants. tracefs is
not mounted everywhere, so it is looked for and, as a last resort, mounted.
"""

from __future__ import annotations

import difflib
import errno
from pathlib import Path

from pyebpf.errors import LoadError, PrivilegeError, SyscallError
from pyebpf.host import mounts
from pyebpf.sys import kernel, mount

__all__ = ["directory", "tracepoint_id"]

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
    top = Path(root or kernel.current().root)
    candidates = [top / place for place in _USUAL]
    if mounted := mounts.of_type("tracefs", root):
        candidates.insert(0, top / mounted[0].lstrip("/"))
    for place in candidates:
        try:
            if (place / "events").is_dir():
                return place
        except PermissionError as error:
            raise _forbidden(place, error) from None
    target = candidates[-2]
    if str(top) != "/":
        raise SyscallError("open", errno.ENOENT, f"no tracefs under {top}")
    mount.mount("tracefs", target, source="tracefs")
    return target


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
    events = directory(root) / "events"
    if not _plain(category) or not _plain(name):
        raise LoadError(whole, f"not a tracepoint's name: {whole!r}")
    try:
        return int((events / category / name / "id").read_text())
    except PermissionError as error:
        raise _forbidden(events, error) from None
    except (OSError, ValueError):
        raise LoadError(whole, f"no tracepoint {whole}{_near(events, category, name)}") from None


def _plain(part: str) -> bool:
    return bool(part) and "/" not in part and "\0" not in part and part not in (".", "..")


def _near(events: Path, category: str, name: str) -> str:
    try:
        if (events / category).is_dir():
            names = [each.name for each in (events / category).iterdir() if each.is_dir()]
            near = [f"{category}/{each}" for each in difflib.get_close_matches(name, names)]
        else:
            near = difflib.get_close_matches(category, [each.name for each in events.iterdir()])
            near = [f"{each}/…" for each in near]
    except OSError:
        return ""
    return f" (near: {', '.join(near)})" if near else ""


def _forbidden(place: Path, error: OSError) -> PrivilegeError:
    return PrivilegeError("open", error.errno or errno.EACCES, f"{place} is for root only")
