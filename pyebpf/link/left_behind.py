"""What dead processes left attached: listed by `leftovers`, taken off by `clean_up`.

Only what this library attached, and only where its process is gone; a program that has taken the
place of ours meanwhile is left alone.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from pyebpf.errors import SyscallError, naming
from pyebpf.host import probe_events
from pyebpf.host.namespaces import netns_path
from pyebpf.host.processes import pid_namespace, started
from pyebpf.link import clsact, journal, prog_attach, struct_ops, xdp_netlink
from pyebpf.link.kept import KeptLink
from pyebpf.plain import plain
from pyebpf.programs.program import Program
from pyebpf.sys.namespaces import inside_netns
from pyebpf.typed import TypeAlias

__all__ = ["Leftover", "clean_up", "leftovers"]

Kept: TypeAlias = "KeptLink | struct_ops.StructOpsRegistration"


@plain(frozen=True, kw_only=True)
class Leftover:
    """A program that stayed attached when its process ended.

    Attributes:
        kind: How it was attached: ``"xdp"``, ``"tc"``, ``"attach"`` (``BPF_PROG_ATTACH``),
            ``"probe"`` (a tracefs event), ``"struct_ops"`` (an implementation without a link).
        target: Where, for people.
        program_id: Its id; 0 for a tracefs event, whose program is gone, and for an implementation.
        program_name: Its name, as far as the kernel keeps it; that of the implementation.
        pid: Of the process that attached it.
    """

    kind: str
    target: str
    program_id: int
    program_name: str
    pid: int


def leftovers() -> list[Leftover]:
    """List what this library attached in processes that have ended without detaching it.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN`` or ``CAP_NET_ADMIN``.
    """
    found = []
    for entry, link in _stale():
        link.leave()
        found.append(_leftover(entry, link))
    return found + [_probe(event) for event in _stale_probes()]


def clean_up() -> list[Leftover]:
    """Detach what `leftovers` lists; return what was detached.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN`` or ``CAP_NET_ADMIN``.
    """
    removed = []
    for entry, link in _stale():
        link.close()
        removed.append(_leftover(entry, link))
    for event in _stale_probes():
        try:
            probe_events.remove(event)
        except SyscallError as error:
            if error.errno != errno.EBUSY:  # a pinned link uses it
                raise
        else:
            removed.append(_probe(event))
    return removed


def _stale_probes() -> list[probe_events.ProbeEvent]:
    return [each for each in probe_events.ours() if not _alive(each)]


# A process of another pid namespace counts as running.
def _alive(event: probe_events.ProbeEvent) -> bool:
    if event.pid_namespace not in (0, pid_namespace()):
        return True
    return started(event.pid) == event.start


def _probe(event: probe_events.ProbeEvent) -> Leftover:
    return Leftover(
        kind="probe",
        target=f"{event.kind} {event.place}",
        program_id=0,
        program_name="",
        pid=event.pid,
    )


def _leftover(entry: journal.Entry, link: Kept) -> Leftover:
    return Leftover(
        kind=entry.text("kind"),
        target=link.target,
        program_id=entry.number("program_id"),
        program_name=entry.text("program_name"),
        pid=entry.number("pid"),
    )


# Entries of dead processes whose program is attached still; the others are forgotten.
def _stale() -> Iterator[tuple[journal.Entry, Kept]]:
    for entry in journal.entries():
        reopen = _REOPEN.get(entry.text("kind"))
        if reopen is None or journal.alive(entry):
            continue
        link = _reopened(entry, reopen)
        if link is not None:
            yield entry, link


# Forgets what is not attached any more.
def _reopened(entry: journal.Entry, reopen: Callable[[journal.Entry], Kept | None]) -> Kept | None:
    if entry.text("kind") != struct_ops.KIND and not _same_program(entry):
        entry.remove()
        return None
    with naming(f"leftover of process {entry.number('pid')}"):
        place = _namespace(entry)
        if place is None:
            return None
        with place:
            link = reopen(entry)
        if link is None:
            entry.remove()
        return link


# Where to look. A namespace that has neither a process nor a name may live on by a descriptor; when
# it goes, so does the program.
def _namespace(entry: journal.Entry) -> AbstractContextManager[None] | None:
    inode = entry.number("netns")
    if not inode:
        return contextlib.nullcontext()
    path = netns_path(inode)
    return inside_netns(path) if path is not None else None


# Ids come again after four billion programs, or when a boot starts from one.
def _same_program(entry: journal.Entry) -> bool:
    try:
        with Program.from_id(entry.number("program_id")) as program:
            return program.info().load_time_ns == entry.number("program_loaded")
    except SyscallError as error:
        if isinstance(error, PermissionError):
            raise
        return False


_REOPEN: dict[str, Callable[[journal.Entry], Kept | None]] = {
    xdp_netlink.KIND: xdp_netlink.reopen,
    clsact.KIND: clsact.reopen,
    prog_attach.KIND: prog_attach.reopen,
    struct_ops.KIND: struct_ops.reopen,
}
