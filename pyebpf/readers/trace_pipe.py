"""`TracePipe`: what programs print with ``bpf_printk``, and other lines of the kernel's trace.

    16 bytes         pid     [cpu] flags   seconds      event: message
              python-1266    [001] b..11  7556.240284: bpf_trace_printk: token 7: 64 bytes
    CPU:1 [LOST 2852 EVENTS]                              counted, no record

Out: `TraceLine` tuples. The buffer is one for the whole machine, and a line is read once, by
whoever comes first: since Linux 6.6 a second reader is refused.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import ExitStack

from pyebpf.errors import FormatError, SyscallError
from pyebpf.host import tracefs
from pyebpf.readers.line_source import LineSource
from pyebpf.readers.pace import Losses, Pace
from pyebpf.readers.reader import Reader
from pyebpf.readers.record import Decoder
from pyebpf.sys.failures import failure
from pyebpf.sys.fd import FD
from pyebpf.sys.poller import Poller
from pyebpf.typed import NamedTuple, final

__all__ = ["TraceLine", "TracePipe"]

# The kernel gives a page of whole lines at a time, and keeps what does not fit.
_ENOUGH = 1 << 16
# The name is padded to 16; the group's number is there with the option record-tgid, dashes if it
# is not known; the flags with irq-info (the default).
_LINE = re.compile(
    rb"(?P<task>.{16})-(?P<pid>\d{1,10}) +(?:\( *(?P<tgid>\d{1,10}|-+)\) +)?\[(?P<cpu>\d{1,10})\] +"
    rb"(?:(?P<flags>[^ :]+) +)?(?P<time>[0-9.]+): (?:(?P<event>\w+): ?)?(?P<message>.*)",
    re.DOTALL,
)
_LOST = re.compile(rb"CPU:\d+ \[LOST (?:(\d{1,20}) )?EVENTS\]")


class TraceLine(NamedTuple):
    """A line of the trace.

    Attributes:
        task: The thread's name, ``"<...>"`` if the kernel has forgotten it.
        pid: The thread's number.
        tgid: The process's, with the trace option ``record-tgid``; else ``None``.
        cpu: Where it ran.
        flags: About interrupts and preemption, as ``trace`` explains them: ``"b..11"``.
        time: Seconds, of the clock in ``trace_clock``.
        event: ``"bpf_trace_printk"``, or another event's name; ``""`` if there is none.
        message: The rest.
    """

    task: str
    pid: int
    tgid: int | None
    cpu: int
    flags: str
    time: float
    event: str
    message: str


@final
class TracePipe(Reader[TraceLine]):
    """Reads the lines of tracefs's ``trace_pipe``; what is read is gone for others.

    A message of several lines comes as several records, each with the head of the first; empty
    lines are left out. ``stats().lost`` says how many events were overwritten before they were
    read, as the kernel tells with the next line; a gap it has no number for counts as 1. A call
    takes no more than 256 KiB of text at a time.

    Args:
        instance: Read the buffer of this tracing instance, where events have to be enabled
            (``events/bpf_trace/enable`` for what is printed, since Linux 5.9); by default the one
            that programs print to.
        root: The directory that stands for ``/``.

    Raises:
        PrivilegeError: tracefs is for root.
        SyscallError: ``EBUSY`` if somebody else reads it (Linux 6.6), ``ENOENT``: no such instance.

    Since Linux 4.1 (``bpf_trace_printk``).
    """

    _kind = "file"

    def __init__(self, *, instance: str | None = None, root: str | None = None) -> None:
        top = os.fspath(tracefs.directory(root))
        if instance is not None:
            top = os.path.join(top, "instances", _name(instance))
        path = os.path.join(top, "trace_pipe")
        with ExitStack() as stack:
            fd = _open(path)
            stack.callback(fd.close)
            poller = Poller()
            stack.callback(poller.close)
            poller.add(fd.fileno())
            source = LineSource(lambda: _read(fd, path), stack.pop_all(), poller=poller, lost=_lost)
        decoder = Decoder(_Parser())
        super().__init__(source, [decoder], name=path, pace=Pace(None), losses=Losses(None))


def _name(instance: str) -> str:
    if not instance or "/" in instance or instance in (".", ".."):
        raise ValueError(f"not the name of a tracing instance: {instance!r}")
    return instance


def _open(path: str) -> FD:
    try:
        return FD(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise SyscallError("open", errno.EBUSY, f"{path} is being read already") from None
        raise failure("open", error.errno, path) from None


def _read(fd: FD, path: str) -> bytes:
    try:
        return os.read(fd.fileno(), _ENOUGH)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise failure("read", error.errno, path) from None


def _lost(line: bytes) -> int | None:
    found = _LOST.fullmatch(line)
    return int(found[1] or 1) if found else None


# Remembers the head for lines that have none of their own.
class _Parser:
    __slots__ = ("_head",)

    def __init__(self) -> None:
        self._head: TraceLine | None = None

    def __call__(self, line: bytes) -> TraceLine:
        found = _LINE.fullmatch(line)
        if found is None:
            if self._head is None:
                raise FormatError(f"a line without a head: {line!r}", where="trace_pipe")
            return self._head._replace(message=_text(line))
        task, pid, tgid, cpu, flags, time, event, message = found.groups(b"")
        self._head = TraceLine(
            task=_text(task.lstrip()),
            pid=int(pid),
            tgid=int(tgid) if tgid.isdigit() else None,
            cpu=int(cpu),
            flags=_text(flags),
            time=_seconds(time),
            event=_text(event),
            message=_text(message),
        )
        return self._head


def _seconds(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        raise FormatError(f"not a time: {text!r}", where="trace_pipe") from None


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")
