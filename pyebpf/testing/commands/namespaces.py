"""Programs of network namespaces: socket lookup and flow dissectors."""

from __future__ import annotations

import errno
import os

from pyebpf.testing import buffers
from pyebpf.testing.attachments import Attachment, Hook, Link
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, ProgAttach, ProgQuery
from pyebpf.uapi.bpf import AttachType, LinkType, ProgType

__all__ = ["attach", "create_link", "detach", "hook_of", "query", "update_link"]

_OWN = "/proc/thread-self/ns/net"
_MOST = {AttachType.FLOW_DISSECTOR: 1, AttachType.SK_LOOKUP: 64}


def hook_of(system: System, kind: AttachType, inode: int | None = None) -> Hook:
    """Return the hook of a namespace, by default of the caller's."""
    number = os.stat(_OWN).st_ino if inode is None else inode
    return system.hook(f"{kind.name.lower()}/{number}")


# netns_bpf_link_create
def create_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to a namespace."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    kind, inode = AttachType(attr.attach_type), _inode(attr.target_fd)
    hook = hook_of(system, kind, inode)
    if sum(1 for each in hook.attachments if each.link_id) >= _MOST[kind]:
        raise Refused(errno.E2BIG)
    if any(not each.link_id for each in hook.attachments):
        raise Refused(errno.EEXIST)
    attachment = Attachment(program=program)
    hook.put(attachment)
    return Link(
        type=LinkType.NETNS,
        program=program,
        places=[(hook, attachment)],
        details={"netns_ino": inode, "attach_type": kind},
        forgotten="netns_ino",
    )


# bpf_netns_link_update_prog
def update_link(
    system: System, link: Link, program: ProgramObject, expected: ProgramObject | None
) -> None:
    """Put another program of the same type there."""
    if expected is not None and expected is not link.program:
        raise Refused(errno.EPERM)
    if program.type != link.program.type:
        raise Refused(errno.EINVAL)
    if not link.attached:
        raise Refused(errno.ENOLINK)
    link.put(program)


# netns_bpf_prog_attach
def attach(system: System, attr: ProgAttach, program: ProgramObject) -> None:
    """PROG_ATTACH of a flow dissector to the caller's namespace, in the place of another one."""
    if attr.target_fd or attr.attach_flags or attr.replace_bpf_fd:
        raise Refused(errno.EINVAL)
    hook = hook_of(system, AttachType(attr.attach_type))
    if any(each.link_id for each in hook.attachments):
        raise Refused(errno.EEXIST)
    if program.type != ProgType.FLOW_DISSECTOR or hook.holding(program) is not None:
        raise Refused(errno.EINVAL)
    hook.clear()
    hook.put(Attachment(program=program))


# netns_bpf_prog_detach
def detach(system: System, attr: ProgAttach) -> None:
    """PROG_DETACH of it."""
    if attr.target_fd:
        raise Refused(errno.EINVAL)
    program = program_of(system, attr.attach_bpf_fd)
    if program.type != ProgType.FLOW_DISSECTOR:
        raise Refused(errno.EINVAL)
    hook = hook_of(system, AttachType(attr.attach_type))
    if any(each.link_id for each in hook.attachments):
        raise Refused(errno.EINVAL)
    found = hook.holding(program)
    if found is None:
        raise Refused(errno.ENOENT)
    hook.remove(found)


# netns_bpf_prog_query
def query(system: System, attr: ProgQuery) -> None:
    """PROG_QUERY of a namespace."""
    if attr.query_flags:
        raise Refused(errno.EINVAL)
    found = hook_of(system, AttachType(attr.attach_type), _inode(attr.target_fd)).attachments
    room = attr.prog_cnt
    attr.attach_flags, attr.prog_cnt = 0, len(found)
    if not room or not buffers.given(attr.prog_ids) or not found:
        return
    buffers.write_words(attr.prog_ids, [each.program.id for each in found[:room]])
    if room < len(found):
        raise Refused(errno.ENOSPC)


# get_net_ns_by_fd
def _inode(fd: int) -> int:
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
        inode = os.fstat(fd).st_ino
    except OSError:
        raise Refused(errno.EBADF) from None
    if not name.startswith("net:["):
        raise Refused(errno.EINVAL)
    return inode
