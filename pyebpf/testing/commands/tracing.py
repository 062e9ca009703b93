"""Links of programs that trace: to perf events, tracepoints and functions of the kernel."""

from __future__ import annotations

import errno

from pyebpf.testing import buffers
from pyebpf.testing.attachments import Attachment, Link
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.perf_events import PerfEvent
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, RawTracepointOpen
from pyebpf.uapi.bpf import AttachType, LinkType, PerfEventType, ProgType

__all__ = ["PREFIXES", "create_event_link", "create_link", "opened", "raw_tracepoint_open"]

PREFIXES = {
    AttachType.TRACE_FENTRY: "fentry",
    AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret",
    AttachType.LSM_MAC: "lsm",
    AttachType.TRACE_RAW_TP: "tp_btf",
}
"""What the hooks of programs that were loaded for a function or tracepoint are called."""

_RAW = frozenset({ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE})
_BY_TARGET = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.EXT})


def opened(system: System, link: Link) -> int:
    """Give a link its id and a descriptor."""
    system.links.add(link)
    for _, each in link.places:
        each.link_id = link.id
    return system.files.open(link)


def raw_tracepoint_open(system: System, attr: RawTracepointOpen) -> int:
    """Attach to a raw tracepoint, or to what the program was loaded for."""
    program = program_of(system, attr.prog_fd)
    if program.type in _BY_TARGET:
        if attr.name not in (None, 0):
            raise Refused(errno.EINVAL)
        return opened(system, _to_target(system, program, attr.cookie))
    if program.type not in _RAW:
        raise Refused(errno.EINVAL)
    name = buffers.read_string(attr.name, 128).decode(errors="replace")
    return opened(system, _to_tracepoint(system, program, "raw_tp", name, attr.cookie))


# bpf_perf_link_attach
def create_event_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to a perf event, which the link keeps."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    event = system.holding(attr.target_fd)
    if not isinstance(event, PerfEvent):
        raise Refused(errno.EBADF)
    cookie = getattr(attr, "bpf_cookie", 0)
    place = event.attach(program, cookie)
    return Link(
        type=LinkType.PERF_EVENT,
        program=program,
        places=[place],
        details=_event_details(event, cookie),
        holds=event,
    )


# bpf_perf_link_fill_link_info
def _event_details(event: PerfEvent, cookie: int) -> dict[str, int | bytes]:
    source = event.source
    details: dict[str, int | bytes] = {"perf_event_type": source.kind, "cookie": cookie}
    name = source.name.encode("utf-8", "surrogateescape")
    if source.kind == PerfEventType.EVENT:
        return {**details, "event_type": event.type, "config": event.config}
    if source.kind == PerfEventType.TRACEPOINT:
        return {**details, "tp_name": name}
    if source.kind in (PerfEventType.KPROBE, PerfEventType.KRETPROBE):
        return {**details, "func_name": name, "offset": source.offset, "addr": source.address}
    return {
        **details,
        "file_name": name,
        "offset": source.offset,
        "ref_ctr_offset": source.reference_counter,
    }


def create_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to what the program was loaded for."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    if attr.target_fd:
        raise NotImplementedError(f"BPF_LINK_CREATE of {program.type} with another target")
    return _to_target(system, program, getattr(attr, "cookie", 0))


# bpf_tracing_prog_attach, or a raw tracepoint with types
def _to_target(system: System, program: ProgramObject, cookie: int) -> Link:
    kind = program.expected_attach_type
    prefix = PREFIXES.get(kind, "")
    if program.type == ProgType.EXT or not prefix:
        raise NotImplementedError(f"BPF_RAW_TRACEPOINT_OPEN of {program.type}, {kind}")
    if program.target is not None:
        raise NotImplementedError("BPF_RAW_TRACEPOINT_OPEN: programs attached to programs")
    if any(each.program is program and each.attached for each in system.links):
        # Linux 5.13 (commit f3a95075549e) lets it be attached again, once it is not any more.
        raise Refused(errno.EBUSY if system.age.reached("5.13") else errno.ENOENT)
    if prefix == "tp_btf":
        return _to_tracepoint(system, program, prefix, program.attach_name, cookie)
    name = program.attach_name.removeprefix("bpf_lsm_" if prefix == "lsm" else "")
    hook, attachment = system.hook(f"{prefix}/{name}"), Attachment(program=program, cookie=cookie)
    hook.put(attachment)
    return Link(
        type=LinkType.TRACING,
        program=program,
        places=[(hook, attachment)],
        details={
            "attach_type": kind,
            "target_obj_id": system.vmlinux.id,
            "target_btf_id": program.attach_btf_id,
            "cookie": cookie,
        },
    )


def _to_tracepoint(
    system: System, program: ProgramObject, prefix: str, name: str, cookie: int
) -> Link:
    names = {each.name for each in system.tracepoints.values() if each.category != "syscalls"}
    if name not in names:
        raise Refused(errno.ENOENT)
    hook, attachment = system.hook(f"{prefix}/{name}"), Attachment(program=program, cookie=cookie)
    hook.put(attachment)
    return Link(
        type=LinkType.RAW_TRACEPOINT,
        program=program,
        places=[(hook, attachment)],
        details={"tp_name": name.encode(), "cookie": cookie},
    )
