"""Attaching: LINK_CREATE, LINK_UPDATE, LINK_DETACH, RAW_TRACEPOINT_OPEN."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyebpf.testing import buffers
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import Link, ProgramObject
from pyebpf.testing.perf_events import PerfEvent
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, LinkDetach, LinkUpdate, RawTracepointOpen
from pyebpf.uapi.bpf import AttachFlag, AttachType, LinkType, ProgType
from pyebpf.uapi.net import XdpFlag

__all__ = ["create", "detach", "raw_tracepoint_open", "update"]

_TRACING = frozenset(
    {
        AttachType.TRACE_FENTRY,
        AttachType.TRACE_FEXIT,
        AttachType.MODIFY_RETURN,
        AttachType.LSM_MAC,
        AttachType.TRACE_RAW_TP,
    }
)
_PREFIXES = {
    AttachType.TRACE_FENTRY: "fentry",
    AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret",
    AttachType.LSM_MAC: "lsm",
    AttachType.TRACE_RAW_TP: "tp_btf",
}
_RAW = frozenset({ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE})
_BY_TARGET = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.EXT})
# Those that take another program, and can be taken off.
_CHANGING = frozenset({LinkType.XDP, LinkType.TCX})
_XDP_MODES = XdpFlag.SKB_MODE | XdpFlag.DRV_MODE | XdpFlag.HW_MODE


def create(system: System, attr: LinkCreate) -> int:
    """Attach a program with a link."""
    kind = AttachType(attr.attach_type)
    if not system.age.reached(kind.since) or kind.name.startswith("UNKNOWN_"):
        raise Refused(errno.EINVAL)
    make = _MAKERS.get(kind)
    if make is None:
        raise NotImplementedError(f"BPF_LINK_CREATE of {kind}")
    program = program_of(system, attr.prog_fd)
    return _opened(system, make(system, attr, program))


def update(system: System, attr: LinkUpdate) -> int:
    """Put another program into a link."""
    link = _link(system, attr.link_fd)
    program = program_of(system, attr.new_prog_fd)
    if attr.flags & ~int(AttachFlag.REPLACE):
        raise Refused(errno.EINVAL)
    if attr.flags & AttachFlag.REPLACE:
        if program_of(system, attr.old_prog_fd) is not link.program:
            raise Refused(errno.EPERM)
    elif attr.old_prog_fd:
        raise Refused(errno.EINVAL)
    if link.type not in _CHANGING:
        raise Refused(errno.EINVAL)
    # bpf_xdp_link_update, tcx_link_update
    if not link.hook:
        raise Refused(errno.ENOLINK)
    if program.type != link.program.type:
        raise Refused(errno.EINVAL)
    link.program = program
    return 0


def detach(system: System, attr: LinkDetach) -> int:
    """Take a link's program off."""
    link = _link(system, attr.link_fd)
    if link.type not in _CHANGING:
        raise Refused(errno.EOPNOTSUPP)
    link.hook = ""
    link.details["ifindex"] = 0
    return 0


def raw_tracepoint_open(system: System, attr: RawTracepointOpen) -> int:
    """Attach to a raw tracepoint, or to what the program was loaded for."""
    program = program_of(system, attr.prog_fd)
    if program.type in _BY_TARGET:
        if attr.name not in (None, 0):
            raise Refused(errno.EINVAL)
        return _opened(system, _to_target(system, program, attr.cookie))
    if program.type not in _RAW:
        raise Refused(errno.EINVAL)
    name = buffers.read_string(attr.name, 128).decode(errors="replace")
    _check_tracepoint(system, name)
    link = Link(
        type=LinkType.RAW_TRACEPOINT, program=program, hook=f"raw_tp/{name}", cookie=attr.cookie
    )
    return _opened(system, link)


def _opened(system: System, link: Link) -> int:
    return system.files.open(system.links.add(link))


def _link(system: System, fd: int) -> Link:
    what = system.holding(fd)
    if not isinstance(what, Link):
        raise Refused(errno.EINVAL)
    return what


# --- by attach type


def _perf_event(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    if attr.flags:
        raise Refused(errno.EINVAL)
    event = system.holding(attr.target_fd)
    if not isinstance(event, PerfEvent):
        raise Refused(errno.EBADF)
    event.check(program)
    link = Link(
        type=LinkType.PERF_EVENT,
        program=program,
        hook=event.hook,
        holds=_Hold(event),
        cookie=getattr(attr, "bpf_cookie", 0),
    )
    event.linked = True
    return link


class _Hold:
    # Keeps an event, and tells it when the link is gone.
    def __init__(self, event: PerfEvent) -> None:
        self.event = event

    def __del__(self) -> None:
        self.event.linked = False


def _xdp(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    modes = int(attr.flags & _XDP_MODES).bit_count()
    if program.type != ProgType.XDP or attr.flags & ~int(_XDP_MODES) or modes > 1:
        raise Refused(errno.EINVAL)
    if program.expected_attach_type not in (AttachType(0), AttachType.XDP):
        raise Refused(errno.EINVAL)
    index = attr.target_ifindex
    if index not in system.interfaces.values():
        raise Refused(errno.EINVAL)
    hook = f"xdp/{index}"
    if any(each.hook == hook for each in system.links):
        raise Refused(errno.EBUSY)
    return Link(type=LinkType.XDP, program=program, hook=hook, details={"ifindex": index})


# tcx_link_attach
def _tcx(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    if program.type != ProgType.SCHED_CLS:
        raise Refused(errno.EINVAL)
    if attr.target_ifindex not in system.interfaces.values():
        raise Refused(errno.ENODEV)
    ordered = any(getattr(attr, name, 0) for name in ("relative_fd", "expected_revision"))
    if attr.flags or ordered:
        raise NotImplementedError("BPF_LINK_CREATE of tcx with a place among others")
    direction = "ingress" if attr.attach_type == AttachType.TCX_INGRESS else "egress"
    hook = f"tcx/{attr.target_ifindex}/{direction}"
    if any(each.hook == hook and each.program is program for each in system.links):
        raise Refused(errno.EEXIST)
    details = {"ifindex": attr.target_ifindex, "attach_type": attr.attach_type}
    return Link(type=LinkType.TCX, program=program, hook=hook, details=details)


def _tracing(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    if attr.flags:
        raise Refused(errno.EINVAL)
    if attr.target_fd:
        raise NotImplementedError(f"BPF_LINK_CREATE of {program.type} with another target")
    if program.expected_attach_type != attr.attach_type:
        raise Refused(errno.EINVAL)
    return _to_target(system, program, getattr(attr, "cookie", 0))


# bpf_tracing_prog_attach, or a raw tracepoint with types
def _to_target(system: System, program: ProgramObject, cookie: int) -> Link:
    kind = program.expected_attach_type
    prefix = _PREFIXES.get(kind, "")
    if program.type == ProgType.EXT or not prefix:
        raise NotImplementedError(f"BPF_RAW_TRACEPOINT_OPEN of {program.type}, {kind}")
    if program.target is not None:
        raise NotImplementedError("BPF_RAW_TRACEPOINT_OPEN: programs attached to programs")
    if any(each.program is program and each.hook for each in system.links):
        raise Refused(errno.EBUSY)
    if prefix == "tp_btf":
        _check_tracepoint(system, program.attach_name)
        return Link(
            type=LinkType.RAW_TRACEPOINT,
            program=program,
            hook=f"tp_btf/{program.attach_name}",
            cookie=cookie,
        )
    return Link(
        type=LinkType.TRACING,
        program=program,
        hook=f"{prefix}/{program.attach_name.removeprefix('bpf_lsm_' if prefix == 'lsm' else '')}",
        details={
            "attach_type": kind,
            "target_obj_id": system.vmlinux.id,
            "target_btf_id": program.attach_btf_id,
        },
        cookie=cookie,
    )


def _check_tracepoint(system: System, name: str) -> None:
    names = {each.name for each in system.tracepoints.values() if each.category != "syscalls"}
    if name not in names:
        raise Refused(errno.ENOENT)


_MAKERS: dict[AttachType, Callable[[System, LinkCreate, ProgramObject], Link]] = {
    AttachType.PERF_EVENT: _perf_event,
    AttachType.XDP: _xdp,
    AttachType.TCX_INGRESS: _tcx,
    AttachType.TCX_EGRESS: _tcx,
    **dict.fromkeys(_TRACING, _tracing),
}
