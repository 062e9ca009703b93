"""Programs of maps of sockets: links, PROG_ATTACH, PROG_DETACH, PROG_QUERY. Nobody fires them."""

from __future__ import annotations

import errno

from pyebpf.testing import buffers
from pyebpf.testing.attachments import Attachment, Hook, Link
from pyebpf.testing.commands.attach_types import SOCKETS
from pyebpf.testing.commands.elements import map_of
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import Map, ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, ProgAttach, ProgQuery
from pyebpf.uapi.bpf import AttachType, LinkType, MapType

__all__ = ["attach", "create_link", "detach", "query", "update_link"]

_KINDS = frozenset({MapType.SOCKMAP, MapType.SOCKHASH})
# Which of the two that decide about received data keeps the other out.
_OTHER = {
    AttachType.SK_SKB_STREAM_VERDICT: AttachType.SK_SKB_VERDICT,
    AttachType.SK_SKB_VERDICT: AttachType.SK_SKB_STREAM_VERDICT,
}


# sock_map_link_create
def create_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to a map, which the link keeps."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    found, kind = map_of(system, attr.target_fd)[0], AttachType(attr.attach_type)
    if found.definition.type not in _KINDS:
        raise Refused(errno.EINVAL)
    hook = _free(system, found, kind)
    attachment = Attachment(program=program)
    hook.clear()
    hook.put(attachment)
    return Link(
        type=LinkType.SOCKMAP,
        program=program,
        places=[(hook, attachment)],
        details={"map_id": found.id, "attach_type": kind},
        forgotten="map_id",
        holds=found,
    )


# sock_map_link_update_prog
def update_link(
    system: System, link: Link, program: ProgramObject, expected: ProgramObject | None
) -> None:
    """Put another program of the same kind there."""
    if expected is not None and expected is not link.program:
        raise Refused(errno.EPERM)
    now = link.program
    if program.type != now.type or program.expected_attach_type != now.expected_attach_type:
        raise Refused(errno.EINVAL)
    if not link.attached:
        raise Refused(errno.ENOLINK)
    link.put(program)


# sock_map_get_from_fd
def attach(system: System, attr: ProgAttach, program: ProgramObject) -> None:
    """PROG_ATTACH: the map keeps the program, in the place of one that was there."""
    if attr.attach_flags or attr.replace_bpf_fd:
        raise Refused(errno.EINVAL)
    hook = _free(system, map_of(system, attr.target_fd)[0], AttachType(attr.attach_type))
    hook.clear()
    hook.put(Attachment(program=program))


# sock_map_prog_detach
def detach(system: System, attr: ProgAttach) -> None:
    """PROG_DETACH, if this program is there."""
    if attr.attach_flags or attr.replace_bpf_fd:
        raise Refused(errno.EINVAL)
    found, kind = map_of(system, attr.target_fd)[0], AttachType(attr.attach_type)
    program = program_of(system, attr.attach_bpf_fd)
    if program.type != SOCKETS[kind]:
        raise Refused(errno.EINVAL)
    hook = _free(system, found, kind)
    there = hook.holding(program)
    if there is None:
        raise Refused(errno.ENOENT)
    hook.remove(there)


# sock_map_bpf_prog_query
def query(system: System, attr: ProgQuery) -> None:
    """PROG_QUERY of a map."""
    if attr.query_flags:
        raise Refused(errno.EINVAL)
    hook = _hook(system, map_of(system, attr.target_fd)[0], AttachType(attr.attach_type))
    room, attr.attach_flags, attr.prog_cnt = attr.prog_cnt, 0, len(hook.attachments)
    if room and buffers.given(attr.prog_ids):
        buffers.write_words(attr.prog_ids, [each.program.id for each in hook.attachments])


# sock_map_prog_link_lookup
def _hook(system: System, found: Map, kind: AttachType) -> Hook:
    if found.definition.type not in _KINDS:
        raise Refused(errno.EOPNOTSUPP)
    other = _OTHER.get(kind)
    if other is not None and system.hook(f"sockmap/{found.id}/{other.name}").attachments:
        raise Refused(errno.EBUSY)
    return system.hook(f"sockmap/{found.id}/{kind.name}")


# What a link holds is changed by it alone.
def _free(system: System, found: Map, kind: AttachType) -> Hook:
    hook = _hook(system, found, kind)
    if any(each.link_id for each in hook.attachments):
        raise Refused(errno.EBUSY)
    return hook
