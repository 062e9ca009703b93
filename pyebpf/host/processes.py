"""Which process a number meant: processes come and go, and their numbers come again.

In: a process id. Out: when it started, which together with the id names it for good; -1 if there
is none. ``/proc/PID/stat``: ``4711 (a name) S 1 4711 ...``; field 22 is the start, in ticks since
boot.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["pid_namespace", "started"]

_STARTED_AT = 19  # counted behind the command's name
_DEAD = "ZX"


def started(pid: int) -> int:
    """Return when a process of our own pid namespace started, or -1."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = text.rpartition(")")[2].split()
        return -1 if fields[0] in _DEAD else int(fields[_STARTED_AT])
    except (OSError, ValueError, IndexError):
        return -1


def pid_namespace() -> int:
    """Return the inode number of our pid namespace, 0 if the kernel does not tell."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
