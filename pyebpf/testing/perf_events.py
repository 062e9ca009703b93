"""Perf events: what tracepoints and probes are attached to, and the rings of perf event arrays.

perf_event_open ──▶ PerfEvent ──ioctl SET_BPF, or a link──▶ programs run when its hook is fired
                          └──── mmap ──▶ ring ◀── bpf_perf_event_output, `FakeKernel.emit`
"""

from __future__ import annotations

import errno
import mmap
import struct
import time
from collections.abc import Callable

from pyebpf.testing.attachments import Attachment, Hook
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.rings import PerfRing
from pyebpf.typed import ClassVar, NamedTuple
from pyebpf.uapi.bpf import PerfEventType, ProgType
from pyebpf.uapi.perf import PerfEventAttr, PerfSw, PerfType, ReadFormat

__all__ = ["PerfEvent", "Source"]

_PAGE = mmap.PAGESIZE
_MOST_PROGRAMS = 64  # BPF_TRACE_MAX_PROGS


class Source(NamedTuple):
    """What a perf event counts, and where its programs are.

    Attributes:
        hook: What `FakeKernel.fire` calls it, ``None`` for what nobody fires.
        takes: The type of programs that can be attached, or ``None``.
        kind: As links tell it.
        name: Of the tracepoint or function, or the file of a probe.
        offset: Of the probe in it.
        address: Of the probe in the kernel.
        reference_counter: Where the probe's semaphore is in the file.
    """

    hook: Hook | None = None
    takes: ProgType | None = None
    kind: PerfEventType = PerfEventType.UNSPEC
    name: str = ""
    offset: int = 0
    address: int = 0
    reference_counter: int = 0


class PerfEvent:
    """One perf event.

    Args:
        attr: As it was asked for.
        cpu: The CPU, or -1.
        id: The kernel's number for it.
        source: What it counts.
        wake: Makes its descriptors readable.

    Attributes:
        attachment: What ``SET_BPF`` or a link has attached last.
        paused: ``PAUSE_OUTPUT`` has stopped its ring.
        lost: Records there was no room for.
    """

    FILE_NAME: ClassVar[str] = "anon_inode:[perf_event]"

    def __init__(
        self,
        attr: PerfEventAttr,
        *,
        cpu: int,
        id: int,  # noqa: A002 - the kernel's word
        source: Source,
        wake: Callable[[], None],
    ) -> None:
        self.cpu = cpu
        self.id = id
        self.source = source
        self.type = attr.type
        self.config = attr.config
        self.attachment: Attachment | None = None
        self.paused = False
        self.enabled = not attr.disabled
        self.lost = 0
        self._wake = wake
        self._ring: PerfRing | None = None
        self._format = attr.read_format
        self._opened = time.monotonic_ns()
        self._is_output = attr.type == PerfType.SOFTWARE and attr.config == PerfSw.BPF_OUTPUT
        self._watermark = attr.wakeup_watermark if attr.watermark else 0
        self._wakeup_events = 0 if attr.watermark else attr.wakeup_events
        self._events = 0  # since the last wake-up
        self._bytes = 0

    @property
    def is_output(self) -> bool:
        """Whether programs can put records out to it."""
        return self._is_output

    def map(self, length: int, *, writable: bool, offset: int) -> mmap.mmap:
        """Map its ring: perf_mmap.

        Raises:
            Refused: ``EINVAL``: not a page and a power of two of them.
        """
        pages = length // _PAGE - 1
        whole = not length % _PAGE and pages >= 0 and not pages & (pages - 1)
        if offset or not whole or not writable:
            raise Refused(errno.EINVAL)
        if self._ring is None:
            self._ring = PerfRing(pages)
        elif self._ring.size != pages * _PAGE:
            raise Refused(errno.EINVAL)
        return self._ring.shared.map(length, writable=True)

    def output(self, data: bytes, cpu: int) -> int:
        """Put a record out: 0 or a negative errno, as ``bpf_perf_event_output`` has them."""
        if not self._is_output:
            return -errno.EINVAL
        if self.cpu not in (-1, cpu):
            return -errno.EOPNOTSUPP
        if self._ring is None or self.paused:
            return -errno.ENOENT
        size = self._ring.put(data, self.id)
        if not size:
            self.lost += 1
            return -errno.ENOSPC
        self._announce(size)
        return 0

    def close(self) -> None:
        """Let go of the ring's descriptor: the kernel is gone."""
        if self._ring is not None:
            self._ring.shared.close()

    def read(self, size: int) -> bytes:
        """Return its count, and with it what was lost."""
        counts = [0]
        if self._format & ReadFormat.TOTAL_TIME_ENABLED:
            counts.append(time.monotonic_ns() - self._opened)
        if self._format & ReadFormat.LOST:
            counts.append(self.lost)
        answer = struct.pack(f"={len(counts)}Q", *counts)
        if size < len(answer):
            raise Refused(errno.ENOSPC)
        return answer

    @property
    def program(self) -> ProgramObject | None:
        """What is attached to it now."""
        found = self.attachment
        return found.program if found is not None and found.attached else None

    def attach(self, program: ProgramObject, cookie: int = 0) -> tuple[Hook, Attachment]:
        """Let a program run when it happens: perf_event_set_bpf_prog.

        Raises:
            Refused: ``EINVAL``: another type; ``EEXIST``: there is one, or this one is where other
                events of the tracepoint find it; ``E2BIG``: too many.
        """
        hook = self.source.hook
        if hook is None or program.type != self.source.takes:
            raise Refused(errno.EINVAL)
        if self.program is not None:
            raise Refused(errno.EEXIST)
        # All events of a tracepoint share their programs; a probe and a counter have their own.
        if self.source.takes == ProgType.TRACEPOINT:
            if hook.holding(program) is not None:
                raise Refused(errno.EEXIST)
            if len(hook.attachments) >= _MOST_PROGRAMS:
                raise Refused(errno.E2BIG)
        self.attachment = Attachment(program=program, cookie=cookie)
        hook.put(self.attachment)
        return hook, self.attachment

    def __del__(self) -> None:
        if self.source.hook is not None and self.attachment is not None:
            self.source.hook.remove(self.attachment)

    # perf_output_begin and perf_output_sample say when whoever waits is woken.
    def _announce(self, size: int) -> None:
        assert self._ring is not None
        self._events += 1
        self._bytes += size
        watermark = self._watermark or self._ring.size // 2
        due = bool(self._wakeup_events) and self._events >= self._wakeup_events
        if due:
            self._events = 0
        if self._bytes > watermark:
            self._bytes -= watermark
            due = True
        if due:
            self._wake()
