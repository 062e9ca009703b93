"""Opening a kprobe or uprobe event: by its PMU (Linux 4.17), or by tracefs.

A probe made in tracefs stays until it is removed, so its link does that after detaching.
"""

from __future__ import annotations

import contextlib
import errno
import os

from pyebpf.errors import EbpfError, NotSupportedError, SyscallError
from pyebpf.host import pmu, probe_events
from pyebpf.link.base import Link
from pyebpf.link.details import LinkDetails
from pyebpf.link.perf_event import attach_event
from pyebpf.programs.program import Program
from pyebpf.sys import perf_event

__all__ = ["ProbeLink", "attach_probe"]


class ProbeLink(Link):
    """A program on a probe in tracefs: closing detaches it and removes the probe.

    While the link is pinned the probe stays; `pyebpf.link.clean_up` removes it later.

    Args:
        link: What holds the program; owned from now on.
        event: The probe.
    """

    def __init__(self, link: Link, event: probe_events.ProbeEvent) -> None:
        super().__init__(link._fd, target=link.target)
        self._link = link
        self._event = event

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Pin the link, if it is one (Linux 5.15)."""
        self._link.pin(path)

    def info(self) -> LinkDetails:
        """Return what the kernel knows about the link, if it is one (Linux 5.15)."""
        return self._link.info()

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Put another program in place, if it is a link (Linux 5.15)."""
        self._link.update(program, expected=expected)

    def detach(self) -> None:
        """Detach at once; the probe is removed when the link is closed."""
        self._link.detach()

    def close(self) -> None:
        """Detach the program and remove the probe."""
        if self._link.closed:
            return
        self._link.close()
        try:
            probe_events.remove(self._event)
        except SyscallError as error:
            if error.errno != errno.EBUSY:  # a pin holds it
                raise


def attach_probe(
    program: Program,
    kind: probe_events.Kind,
    place: str,
    offset: int,
    *,
    target: str,
    retprobe: bool = False,
    cookie: int | None = None,
    pid: int | None = None,
    reference_counter: int = 0,
    maxactive: int = 0,
    use_tracefs: bool | None = None,
) -> Link:
    """Attach *program* to a probe.

    Args:
        program: May be closed afterwards.
        kind: ``"kprobe"`` or ``"uprobe"``.
        place: A kernel function, or a path.
        offset: Bytes into it.
        target: For people.
        retprobe: At the return.
        cookie: For ``bpf_get_attach_cookie()``.
        pid: Only this process (uprobes).
        reference_counter: Where a semaphore lies in the file (uprobes; Linux 4.20).
        maxactive: Of a return probe; only tracefs knows it.
        use_tracefs: True goes there at once, False never.

    Raises:
        NotSupportedError: The kernel has no such probes.
        SyscallError: ``ENOENT``, ``EINVAL``, …
    """
    if not use_tracefs and not maxactive:
        try:
            source = pmu.probe(kind, retprobe=retprobe)
        except NotSupportedError:
            if use_tracefs is False:
                raise
        else:
            bits = 0
            if reference_counter:
                if source.reference_counter is None:
                    raise NotSupportedError("semaphores of uprobes", "4.20")
                bits = source.reference_counter.place(reference_counter)
            event = perf_event.open_probe(source, place, offset, pid=pid, reference_bits=bits)
            return attach_event(program, event, target=target, cookie=cookie)
    where = f"{place}:{offset:#x}" if kind == "uprobe" else f"{place}+{offset}"
    if reference_counter:
        where += f"({reference_counter:#x})"
    made, number = probe_events.add(kind, where, retprobe=retprobe, maxactive=maxactive)
    try:
        event = perf_event.open_tracepoint(number, pid=pid)
        return ProbeLink(attach_event(program, event, target=target, cookie=cookie), made)
    except BaseException:
        with contextlib.suppress(EbpfError):  # what made attaching fail is what is told
            probe_events.remove(made)
        raise
