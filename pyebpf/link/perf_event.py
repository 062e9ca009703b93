"""A program on a perf event: a counter's overflows, and what tracepoints and probes share.

perf_event_open ──▶ event ──BPF_LINK_CREATE (5.15)──▶ bpf_link that holds the event
                          └─PERF_EVENT_IOC_SET_BPF──▶ the event's own descriptor holds it
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from pyebpf.errors import AttachError, NotSupportedError, SyscallError, naming
from pyebpf.host import cpus
from pyebpf.link.base import DescriptorLink, Link
from pyebpf.link.interface import check_type
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel, perf_event
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING
from pyebpf.uapi.attrs import LinkCreatePerfEvent, TaskFdQuery
from pyebpf.uapi.bpf import AttachType, LinkType, ProgType
from pyebpf.uapi.perf import PerfEventAttr, PerfOpenFlag, PerfType

if TYPE_CHECKING:
    from pyebpf.link.details import LinkDetails
    from pyebpf.uapi.perf_counters import PerfHw, PerfSw

__all__ = ["EventLink", "attach_event", "attach_perf_event"]

_NAME_SIZE = 4096  # PATH_MAX, the longest there is


class EventLink(DescriptorLink):
    """A program on a perf event without a ``bpf_link`` (before Linux 5.15): the event holds it."""

    LINKS_SINCE = "5.15"

    def info(self) -> LinkDetails:
        """Return what the kernel tells about the event: ``BPF_TASK_FD_QUERY``.

        Raises:
            NotSupportedError: It is a counter.

        Since Linux 4.17.
        """
        from pyebpf.link.kinds import KprobeDetails, TracepointDetails, UprobeDetails
        from pyebpf.uapi.per_hook import FdType

        name = bytearray(_NAME_SIZE)
        asked = TaskFdQuery(pid=os.getpid(), fd=self.fileno(), buf=name, buf_len=len(name))
        with naming(f"query {self.target}"):
            try:
                bpf.task_fd_query(asked)
            except SyscallError as error:
                if error.errno == errno.EOPNOTSUPP:  # a counter, of which the call knows nothing
                    raise self._refuse("information") from None
                raise
        text = bytes(name).partition(b"\0")[0].decode(errors="surrogateescape")
        kind = FdType(asked.fd_type)
        if kind in (FdType.UPROBE, FdType.URETPROBE):
            return UprobeDetails(
                id=0, type=LinkType.PERF_EVENT, program_id=asked.prog_id, path=text,
                offset=asked.probe_offset, retprobe=kind == FdType.URETPROBE, cookie=0,
                reference_counter=0,
            )  # fmt: skip
        if kind in (FdType.KPROBE, FdType.KRETPROBE):
            return KprobeDetails(
                id=0, type=LinkType.PERF_EVENT, program_id=asked.prog_id, function=text,
                offset=asked.probe_offset, address=asked.probe_addr,
                retprobe=kind == FdType.KRETPROBE, missed=0, cookie=0,
            )  # fmt: skip
        return TracepointDetails(
            id=0, type=LinkType.PERF_EVENT, program_id=asked.prog_id, name=text, cookie=0
        )


def attach_event(program: Program, event: FD, *, target: str, cookie: int | None = None) -> Link:
    """Attach *program* to an open perf event.

    Args:
        program: May be closed afterwards, the kernel keeps it.
        event: Taken over, also on failure.
        target: For messages.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.15).

    Raises:
        NotSupportedError: A cookie on a kernel without perf links.
        SyscallError: ``EEXIST`` if the program is attached there already, …
    """
    try:
        attr = LinkCreatePerfEvent(
            prog_fd=program.fileno(),
            target_fd=event.fileno(),
            attach_type=AttachType.PERF_EVENT,
            bpf_cookie=cookie or 0,
        )
        try:
            link = Link(bpf.link_create(attr), target=target)
        except NotSupportedError:
            pass  # before 5.7 there are no links at all
        except SyscallError as error:
            # EINVAL is how kernels before 5.15 refuse the attach type; a real one comes again.
            if error.errno != errno.EINVAL:
                raise
        else:
            try:
                perf_event.enable(event.fileno())
            except BaseException:
                link.close()
                raise
            event.close()  # the link holds the event now
            return link
        if cookie:
            raise NotSupportedError("attach cookies", "5.15")
        perf_event.set_bpf(event.fileno(), program.fileno())
        perf_event.enable(event.fileno())
    except BaseException:
        event.close()
        raise
    return EventLink(event, target=target)


def attach_perf_event(
    program: Program,
    event: PerfSw | PerfHw | PerfEventAttr,
    *,
    period: int = 0,
    frequency: int = 0,
    pid: int | None = None,
    cgroup: str | os.PathLike[str] | None = None,
    cpu: int | None = None,
    cookie: int | None = None,
) -> Link:
    """Run *program* whenever a counter overflows: each so many events, or so many times a second.

    Args:
        program: Of type ``BPF_PROG_TYPE_PERF_EVENT``; may be closed afterwards.
        event: A software counter (``PerfSw.CPU_CLOCK``: ns), one of the processor's
            (``PerfHw.CPU_CYCLES``), or a whole ``perf_event_attr``: cache events, raw ones
            (``PerfType.RAW``), breakpoints.
        period: Events between two runs; of a whole attr only to change it.
        frequency: Runs per second and CPU, instead of a period.
        pid: Only this thread; 0 is the caller's.
        cgroup: Only processes of this control group and below.
        cpu: Only this CPU; by default all that are online.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.15).

    Returns:
        A link that detaches when closed; a group of one for each CPU unless *pid* or *cpu* is
        given.

    Raises:
        AttachError: *program* has another type, or no such control group.
        ValueError: Neither or both of period and frequency; a pid and a cgroup.
        NotSupportedError: This machine has no such counter.
        PrivilegeError: ``kernel.perf_event_paranoid``, ``CAP_PERFMON``.
        SyscallError: ``ENODEV``: the CPU is offline; ``ESRCH``: no such process; …

    Since Linux 4.9.
    """
    check_type(program, ProgType.PERF_EVENT)
    if pid is not None and cgroup is not None:
        raise ValueError("a process or a control group, not both")
    attr = _counter(event, period, frequency)
    words = str(event) if not isinstance(event, PerfEventAttr) else f"event {attr.config:#x}"
    target = f"{words} of {f'process {pid}' if pid is not None else cgroup or 'all processes'}"
    chosen = [cpu] if cpu is not None else [-1] if pid is not None else list(cpus.online())
    with naming(f'attach program "{program.name}" to {target}'):
        if cgroup is None:
            who, flags = -1 if pid is None else pid, PerfOpenFlag(0)
            return _attach_all(program, attr, who, flags, chosen, target, cookie)
        with _open_cgroup(cgroup) as directory:
            who, flags = directory.fileno(), PerfOpenFlag.PID_CGROUP
            return _attach_all(program, attr, who, flags, chosen, target, cookie)


def _attach_all(
    program: Program,
    attr: PerfEventAttr,
    who: int,
    flags: PerfOpenFlag,
    chosen: list[int],
    target: str,
    cookie: int | None,
) -> Link:
    def on(cpu: int) -> Callable[[], Link]:
        def attach() -> Link:
            try:
                opened = perf_event.open_event(attr, pid=who, cpu=cpu, flags=flags)
            except SyscallError as error:
                if flags & PerfOpenFlag.PID_CGROUP and error.errno in (errno.ENOENT, errno.EBADF):
                    error.detail = "no control group with the perf_event controller"
                elif error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                    name = f"the counter of {target}"
                    raise NotSupportedError(name, None, "no such counter here") from None
                raise
            return attach_event(program, opened, target=target, cookie=cookie)

        return attach

    from pyebpf.link.group import attach_each

    return attach_each([on(each) for each in chosen], target=target)


def _counter(event: PerfSw | PerfHw | PerfEventAttr, period: int, frequency: int) -> PerfEventAttr:
    if isinstance(event, PerfEventAttr):
        import copy

        attr = copy.copy(event)
    else:
        from pyebpf.uapi.perf_counters import PerfSw

        kind = PerfType.SOFTWARE if isinstance(event, PerfSw) else PerfType.HARDWARE
        attr = PerfEventAttr(type=kind, config=int(event))
        if bool(period) == bool(frequency):
            raise ValueError("either a period or a frequency says when the program runs")
    if period and frequency:
        raise ValueError("a period or a frequency, not both")
    if frequency:
        attr.freq, attr.sample_freq = 1, frequency
    elif period:
        attr.freq, attr.sample_period = 0, period
    attr.disabled = 1  # until the program is there
    return attr


def _open_cgroup(path: str | os.PathLike[str]) -> FD:
    try:
        return FD(kernel.current().open(os.fspath(path), os.O_RDONLY | os.O_DIRECTORY))
    except SyscallError as error:
        if isinstance(error, PermissionError):
            raise
        raise AttachError(os.fspath(path), f"no control group {path}: {error}") from None
