"""Probes made by writing to tracefs: what came before the probe PMUs, and alone has maxactive.

    kprobe_events, uprobe_events     p:GROUP/NAME place            at the entry
                                     r[MAXACTIVE]:GROUP/NAME place at the return
                                     -:GROUP/NAME                  remove
    events/GROUP/NAME/id             number for perf_event_open

The kernel keeps them until they are removed, whoever made them. Ours are in a group of their own,
``pyebpf_PID_START_NAMESPACE``, so that what a killed process left can be told from what is in use.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.host import tracefs
from pyebpf.host.processes import pid_namespace, started
from pyebpf.sys.failures import failure
from pyebpf.sys.privileges import lockdown
from pyebpf.typed import Literal, NamedTuple

__all__ = ["Kind", "ProbeEvent", "add", "ours", "remove"]

Kind = Literal["kprobe", "uprobe"]

_OURS = re.compile(
    r"[pr]\d*:(?P<group>pyebpf_(?P<pid>\d+)_(?P<start>\d+)(?:_(?P<space>\d+))?)"
    r"/(?P<name>\w+) (?P<at>\S+)"
)
_MAX_NAME = 63  # MAX_EVENT_NAME_LEN - 1


class ProbeEvent(NamedTuple):
    """One probe of ours.

    Attributes:
        kind: ``"kprobe"`` or ``"uprobe"``.
        group: The directory below ``events``.
        name: The directory in it.
        place: What it probes, as tracefs shows it.
        pid: Of the process that made it.
        start: When that process started.
        pid_namespace: The inode number of the namespace its id belongs to, 0 if that is not known.
    """

    kind: Kind
    group: str
    name: str
    place: str
    pid: int
    start: int
    pid_namespace: int = 0


def add(
    kind: Kind, place: str, *, retprobe: bool = False, maxactive: int = 0, root: str | None = None
) -> tuple[ProbeEvent, int]:
    """Make a probe; return it and its number for ``perf_event_open``.

    Args:
        kind: ``"kprobe"`` or ``"uprobe"``.
        place: ``function+offset``, or ``path:0xoffset(0xsemaphore)``.
        retprobe: At the return.
        maxactive: How many calls of a return probe may be under way at once; 0: any number the
            kernel chooses.
        root: The directory that stands for ``/``.

    Raises:
        NotSupportedError: This kernel has no such probes.
        SyscallError: ``ENOENT``: no such function; ``EINVAL``, ``EILSEQ``: no place for a probe.
    """
    pid = os.getpid()
    start = started(pid)
    namespace = pid_namespace()
    group = f"pyebpf_{pid}_{start}_{namespace}"
    readable = re.sub(r"\W", "_", place.rpartition("/")[2])[: _MAX_NAME - 9]
    name = f"{'r' if retprobe else 'p'}_{readable}"[: _MAX_NAME - 9] + "_" + secrets.token_hex(4)
    head = f"r{maxactive or ''}" if retprobe else "p"
    _write(kind, f"{head}:{group}/{name} {place}", root)
    event = ProbeEvent(kind, group, name, place, pid, start, namespace)
    try:
        return event, tracefs.tracepoint_id(group, name, root)
    except BaseException:
        remove(event, root)
        raise


def remove(event: ProbeEvent, root: str | None = None) -> None:
    """Remove a probe; nothing happens if it is gone already.

    Raises:
        SyscallError: ``EBUSY``: a program is attached to it still.
    """
    try:
        _write(event.kind, f"-:{event.group}/{event.name}", root)
    except SyscallError as error:
        if error.errno != errno.ENOENT:
            raise


def ours(root: str | None = None) -> list[ProbeEvent]:
    """List all probes that this library made, in whichever process; none where tracefs is nowhere.

    Raises:
        PrivilegeError: Only root may read tracefs.
    """
    try:
        directory = tracefs.directory(root)
    except SyscallError as error:
        if isinstance(error, PermissionError) and error.cmd != "mount":
            raise
        return []
    found = []
    kinds: tuple[Kind, ...] = ("kprobe", "uprobe")
    for kind in kinds:
        path = directory / f"{kind}_events"
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            continue
        except PermissionError as error:
            if error.errno == errno.EPERM and lockdown():  # which lets nobody make or remove any
                continue
            raise tracefs.forbidden(str(path), error) from None
        except OSError as error:
            raise failure("open", error.errno, str(path)) from None
        found += [
            ProbeEvent(
                kind, m["group"], m["name"], m["at"], int(m["pid"]), int(m["start"]),
                int(m["space"] or 0),
            )
            for m in _OURS.finditer(text)
        ]  # fmt: skip
    return found


def _write(kind: Kind, line: str, root: str | None) -> None:
    path = Path(tracefs.directory(root), f"{kind}_events")
    try:
        # Without O_APPEND all others are removed; Python's own "a" seeks, which fails here.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, os.fsencode(line) + b"\n")
        finally:
            os.close(fd)
    except FileNotFoundError:
        # The file is there or not; a function that is not there is ENOENT of the write.
        if not path.exists():
            raise NotSupportedError(f"{kind}s in tracefs", None) from None
        raise SyscallError("write", errno.ENOENT, f'"{line}" to {path}') from None
    except PermissionError as error:
        raise tracefs.forbidden(str(path), error) from None
    except OSError as error:
        raise failure("write", error.errno, f'"{line}" to {path}') from None
