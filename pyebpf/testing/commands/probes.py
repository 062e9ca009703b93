"""Probes: links to many functions at once, and TASK_FD_QUERY."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Sequence

from pyebpf.errors import ENOTSUPP
from pyebpf.testing import buffers
from pyebpf.testing.attachments import Attachment, Hook, Link
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.perf_events import PerfEvent
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import (
    LinkCreate,
    LinkCreateKprobeMulti,
    LinkCreateUprobeMulti,
    TaskFdQuery,
)
from pyebpf.uapi.bpf import AttachType, FdType, LinkType, PerfEventType, ProgType
from pyebpf.uapi.per_hook import KprobeMultiFlag, UprobeMultiFlag

__all__ = ["create_kprobe_link", "create_uprobe_link", "task_fd_query"]

_MOST = 1 << 20  # MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT
_PATH_MAX = 4096
_SESSIONS = frozenset({AttachType.TRACE_KPROBE_SESSION, AttachType.TRACE_UPROBE_SESSION})
_FD_TYPES = {
    PerfEventType.TRACEPOINT: FdType.TRACEPOINT,
    PerfEventType.KPROBE: FdType.KPROBE,
    PerfEventType.KRETPROBE: FdType.KRETPROBE,
    PerfEventType.UPROBE: FdType.UPROBE,
    PerfEventType.URETPROBE: FdType.URETPROBE,
}


# bpf_kprobe_multi_link_attach
def create_kprobe_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to functions of the kernel, by name or address."""
    _check(attr, program)
    if not isinstance(attr, LinkCreateKprobeMulti):
        raise Refused(errno.EINVAL)
    if attr.kprobe_multi_flags & ~int(KprobeMultiFlag.RETURN):
        raise Refused(errno.EINVAL)
    if buffers.given(attr.syms) == buffers.given(attr.addrs) or not attr.cnt:
        raise Refused(errno.EINVAL)
    if attr.cnt > _MOST:
        raise Refused(errno.E2BIG)
    if buffers.given(attr.syms):
        names = [name.decode(errors="replace") for name in _strings(attr.syms, attr.cnt)]
        if any(not system.tree.has_function(name) for name in names):
            raise Refused(errno.ESRCH)
    else:
        found = [system.tree.function_at(each) for each in _words(attr.addrs, attr.cnt)]
        names = [each[0] for each in found if each is not None and not each[1]]
        if len(names) < len(found):
            raise Refused(errno.EINVAL)
    cookies = _words(attr.cookies, attr.cnt) if buffers.given(attr.cookies) else ()
    returns = bool(attr.kprobe_multi_flags)
    return Link(
        type=LinkType.KPROBE_MULTI,
        program=program,
        places=_places(system, program, "k", names, cookies, returns=returns),
        details={
            "addrs": [system.tree.address(name) for name in names],
            "cookies": cookies or (0,) * attr.cnt,
            "count": attr.cnt,
            "flags": attr.kprobe_multi_flags,
        },
    )


# bpf_uprobe_multi_link_attach
def create_uprobe_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to places in a file."""
    _check(attr, program)
    if not isinstance(attr, LinkCreateUprobeMulti):
        raise Refused(errno.EINVAL)
    if attr.uprobe_multi_flags & ~int(UprobeMultiFlag.RETURN):
        raise Refused(errno.EINVAL)
    impossible = attr.pid >> 31 and system.age.reached("6.10")
    if not buffers.given(attr.path) or not buffers.given(attr.offsets) or not attr.cnt:
        raise Refused(errno.EINVAL)
    if impossible:
        raise Refused(errno.EINVAL)
    if attr.cnt > _MOST:
        raise Refused(errno.E2BIG)
    path = os.fsdecode(buffers.read_string(attr.path, _PATH_MAX))
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        raise Refused(error.errno or errno.ENOENT) from None
    if not regular:
        raise Refused(errno.EBADF)
    if attr.pid and not os.path.exists(f"/proc/{attr.pid}"):
        raise Refused(errno.ESRCH)
    offsets = _words(attr.offsets, attr.cnt)
    if any(each >> 63 for each in offsets):
        raise Refused(errno.EINVAL)
    counters, cookies = (
        _words(pointer, attr.cnt) if buffers.given(pointer) else ()
        for pointer in (attr.ref_ctr_offsets, attr.cookies)
    )
    names = [f"{path}:{offset:#x}" for offset in offsets]
    returns = bool(attr.uprobe_multi_flags)
    return Link(
        type=LinkType.UPROBE_MULTI,
        program=program,
        places=_places(system, program, "u", names, cookies, returns=returns),
        details={
            "path": os.fsencode(os.path.realpath(path)),
            "offsets": offsets,
            "ref_ctr_offsets": counters or (0,) * attr.cnt,
            "cookies": cookies or (0,) * attr.cnt,
            "count": attr.cnt,
            "flags": attr.uprobe_multi_flags,
            "pid": attr.pid,
        },
    )


def _check(attr: LinkCreate, program: ProgramObject) -> None:
    if attr.flags or program.expected_attach_type != attr.attach_type:
        raise Refused(errno.EINVAL)


# A session runs at the start, and at the end of a call whose start it was content with.
def _places(
    system: System,
    program: ProgramObject,
    initial: str,
    names: Sequence[str],
    cookies: Sequence[int],
    *,
    returns: bool,
) -> list[tuple[Hook, Attachment]]:
    session = program.expected_attach_type in _SESSIONS
    places = []
    for number, name in enumerate(names):
        cookie = cookies[number] if cookies else 0
        start, end = (
            system.hook(f"{initial}probe/{name}"),
            system.hook(f"{initial}retprobe/{name}"),
        )
        first = Attachment(program=program, cookie=cookie)
        places.append((end if returns and not session else start, first))
        if session:
            places.append((end, Attachment(program=program, cookie=cookie, started=first)))
    for hook, attachment in places:
        hook.put(attachment)
    return places


def _strings(pointers: object, count: int) -> list[bytes]:
    if not isinstance(pointers, (list, tuple)) or len(pointers) < count:
        raise Refused(errno.EFAULT)
    return [buffers.read_string(each) for each in pointers[:count]]


def _words(pointer: object, count: int) -> tuple[int, ...]:
    return struct.unpack(f"={count}Q", buffers.read(pointer, 8 * count))


# bpf_task_fd_query
def task_fd_query(system: System, attr: TaskFdQuery) -> int:
    """Tell what is attached to a perf event's descriptor, or a raw tracepoint's."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    if attr.pid != os.getpid():
        if not os.path.exists(f"/proc/{attr.pid}"):
            raise Refused(errno.ENOENT)
        raise NotImplementedError("BPF_TASK_FD_QUERY of another process")
    what = system.holding(attr.fd)
    if isinstance(what, Link) and what.type == LinkType.RAW_TRACEPOINT:
        name = what.details["tp_name"]
        assert isinstance(name, bytes)
        return _tell(attr, what.program, FdType.RAW_TRACEPOINT, name)
    if not isinstance(what, PerfEvent):
        raise Refused(ENOTSUPP)
    source, program = what.source, what.program
    if program is None:
        raise Refused(errno.ENOENT)
    if program.type == ProgType.PERF_EVENT:
        raise Refused(errno.EOPNOTSUPP)
    attr.probe_offset, attr.probe_addr = source.offset, source.address
    name = source.name.encode("utf-8", "surrogateescape")
    return _tell(attr, program, _FD_TYPES[source.kind], name)


# bpf_task_fd_query_copy
def _tell(attr: TaskFdQuery, program: ProgramObject, kind: FdType, name: bytes) -> int:
    room, attr.buf_len = attr.buf_len, len(name)
    attr.prog_id, attr.fd_type = program.id, kind
    if room and buffers.given(attr.buf):
        buffers.write(attr.buf, name[: room - 1] + b"\0")
        if room <= len(name):
            raise Refused(errno.ENOSPC)
    return 0
