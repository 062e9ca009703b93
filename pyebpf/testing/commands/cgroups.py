"""Programs of control groups: links, PROG_ATTACH and PROG_DETACH, PROG_QUERY."""

from __future__ import annotations

import errno

from pyebpf.testing import buffers, mprog
from pyebpf.testing.attachments import Attachment, Hook, Link
from pyebpf.testing.cgroups import effective, hook_name
from pyebpf.testing.commands.attach_types import program_type
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.maps.storage import CgroupStorage
from pyebpf.testing.mprog import Anchor
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, ProgAttach, ProgQuery
from pyebpf.uapi.bpf import AttachFlag, AttachType, LinkType, QueryFlag

__all__ = ["attach", "create_link", "detach", "query", "update_link"]

_MOST = 64  # BPF_CGROUP_MAX_PROGS
_PLACE = AttachFlag.BEFORE | AttachFlag.AFTER | AttachFlag.ID | AttachFlag.LINK
_SHARING = AttachFlag.ALLOW_OVERRIDE | AttachFlag.ALLOW_MULTI


# cgroup_bpf_link_attach
def create_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach beside others."""
    if attr.flags & ~int(_PLACE | AttachFlag.PREORDER):
        raise Refused(errno.EINVAL)
    kind = AttachType(attr.attach_type)
    hooks = _hooks(system, kind, attr.target_fd, program)
    inode = system.cgroups.use(attr.target_fd)
    attachment = Attachment(
        program=program, flags=attr.flags | AttachFlag.ALLOW_MULTI, group=(inode, kind)
    )
    link = Link(
        type=LinkType.CGROUP,
        program=program,
        places=[(hooks[0], attachment)],
        details={
            "cgroup_id": inode,
            "attach_type": kind,
        },
        forgotten="cgroup_id",
    )
    _attach(
        system, hooks, attachment, by_link=True, beside=getattr(attr, "relative_fd", 0),
        revision=getattr(attr, "expected_revision", 0),
    )  # fmt: skip
    return link


# cgroup_bpf_replace
def update_link(
    system: System, link: Link, program: ProgramObject, expected: ProgramObject | None
) -> None:
    """Put another program of the same type there."""
    if not link.attached:
        raise Refused(errno.ENOLINK)
    if expected is not None and expected is not link.program:
        raise Refused(errno.EPERM)
    if program.type != link.program.type:
        raise Refused(errno.EINVAL)
    link.put(program)
    link.places[0][0].revision += 1


# cgroup_bpf_prog_attach
def attach(system: System, attr: ProgAttach, program: ProgramObject) -> None:
    """PROG_ATTACH: the group keeps the program."""
    kind = AttachType(attr.attach_type)
    hooks = _hooks(system, kind, attr.target_fd, program)
    replaced = None
    both = AttachFlag.ALLOW_MULTI | AttachFlag.REPLACE
    if attr.attach_flags & both == both:
        replaced = program_of(system, attr.replace_bpf_fd)
        if replaced.type != program.type:
            raise Refused(errno.EINVAL)
    inode = system.cgroups.use(attr.target_fd)
    attachment = Attachment(program=program, flags=attr.attach_flags, group=(inode, kind))
    _attach(
        system, hooks, attachment, by_link=False, beside=attr.relative_fd,
        revision=attr.expected_revision, replaced=replaced,
    )  # fmt: skip


# cgroup_bpf_prog_detach
def detach(system: System, attr: ProgAttach) -> None:
    """PROG_DETACH; where programs are alone it does not matter which one is named."""
    kind = AttachType(attr.attach_type)
    program: ProgramObject | None
    try:
        program = program_of(system, attr.attach_bpf_fd)
    except Refused:
        program = None
    if program is not None and program.type != program_type(kind):
        program = None
    hook = _hooks(system, kind, attr.target_fd, program)[0]
    if attr.expected_revision and attr.expected_revision != hook.revision:
        raise Refused(errno.ESTALE)
    if not hook.flags & AttachFlag.ALLOW_MULTI:
        found = hook.attachments[:1]
    elif program is None:
        raise Refused(errno.EINVAL)
    else:
        found = [each for each in hook.attachments if each.program is program and not each.link_id]
    if not found:
        raise Refused(errno.ENOENT)
    hook.remove(found[0])


# __cgroup_bpf_query
def query(system: System, attr: ProgQuery) -> None:
    """PROG_QUERY: what is attached to a group, or what runs in it."""
    if attr.query_flags & ~int(QueryFlag.QUERY_EFFECTIVE):
        raise Refused(errno.EINVAL)
    kind = AttachType(attr.attach_type)
    if kind == AttachType.LSM_CGROUP:
        raise NotImplementedError(f"BPF_PROG_QUERY of {kind}")
    hooks = _hooks(system, kind, attr.target_fd, None)
    wide = bool(attr.query_flags & QueryFlag.QUERY_EFFECTIVE)
    flags = buffers.given(attr.prog_attach_flags)
    if wide and flags:
        raise Refused(errno.EINVAL)
    found = list(effective(hooks)) if wide else hooks[0].attachments
    room = attr.prog_cnt
    attr.attach_flags = 0 if wide else hooks[0].flags
    attr.prog_cnt = len(found)
    attr.revision = 0 if wide else hooks[0].revision
    if not room or not buffers.given(attr.prog_ids) or not found:
        return
    buffers.write_words(attr.prog_ids, [each.program.id for each in found[:room]])
    if flags:
        buffers.write_words(attr.prog_attach_flags, [hooks[0].flags] * len(found[:room]))
    if room < len(found):
        raise Refused(errno.ENOSPC)


# The hooks of the group and of those above it.
def _hooks(system: System, kind: AttachType, fd: int, program: ProgramObject | None) -> list[Hook]:
    function = ""
    if kind == AttachType.LSM_CGROUP and program is not None:
        function = program.attach_name
    inodes = system.cgroups.lineage(fd)
    return [system.hook(hook_name(kind, inode, function)) for inode in inodes]


# __cgroup_bpf_attach
def _attach(
    system: System,
    hooks: list[Hook],
    new: Attachment,
    *,
    by_link: bool,
    beside: int,
    revision: int,
    replaced: ProgramObject | None = None,
) -> None:
    hook, flags = hooks[0], AttachFlag(new.flags)
    sharing = int(flags & _SHARING)
    replaces = bool(flags & AttachFlag.REPLACE)
    if sharing == _SHARING or (replaces and not flags & AttachFlag.ALLOW_MULTI):
        raise Refused(errno.EINVAL)
    if replaces and flags & (AttachFlag.BEFORE | AttachFlag.AFTER):
        raise Refused(errno.EINVAL)
    if revision and revision != hook.revision:
        raise Refused(errno.ESTALE)
    if not _allowed(hooks[1:]) or (hook.attachments and hook.flags != sharing):
        raise Refused(errno.EPERM)
    if len(hook.attachments) >= _MOST:
        raise Refused(errno.E2BIG)
    old = _old(hook, new, replaced, by_link=by_link)
    if old is not None:
        index = hook.attachments.index(old)
        hook.remove(old)
        hook.revision -= 1  # taking the place is one change
    else:
        index = _index(system, hook, new, beside, by_link=by_link)
    hook.put(new, index)
    hook.flags = sharing
    # bpf_cgroup_storages_alloc
    for each in new.program.maps:
        if isinstance(each.contents, CgroupStorage) and new.group is not None:
            each.contents.add(new.group)


# hierarchy_allows_attach
def _allowed(above: list[Hook]) -> bool:
    for hook in above:
        if hook.flags & AttachFlag.ALLOW_MULTI:
            return True
        if hook.attachments:
            return bool(hook.flags & AttachFlag.ALLOW_OVERRIDE)
    return True


# find_attach_entry
def _old(
    hook: Hook, new: Attachment, replaced: ProgramObject | None, *, by_link: bool
) -> Attachment | None:
    if not new.flags & AttachFlag.ALLOW_MULTI:
        return hook.attachments[0] if hook.attachments else None
    bare = [each for each in hook.attachments if not each.link_id]
    same = any(each.program is new.program for each in bare)
    if same and not by_link and new.program is not replaced:
        raise Refused(errno.EINVAL)
    if replaced is None:
        return None
    for each in bare:
        if each.program is replaced:
            return each
    raise Refused(errno.ENOENT)


# insert_pl_to_hlist: links stand beside links, programs beside programs.
def _index(system: System, hook: Hook, new: Attachment, beside: int, *, by_link: bool) -> int:
    flags = new.flags
    before, after = bool(flags & AttachFlag.BEFORE), bool(flags & AttachFlag.AFTER)
    if flags & (AttachFlag.LINK | AttachFlag.ID) or beside:
        if before == after or bool(flags & AttachFlag.LINK) != by_link:
            raise Refused(errno.EINVAL)
        found = mprog.anchor(system, flags, beside, None)
        place = _place(hook, found, new)
        return place if before else place + 1
    if before and after and hook.attachments:
        raise Refused(errno.EINVAL)
    return 0 if before else len(hook.attachments)


def _place(hook: Hook, found: Anchor, new: Attachment) -> int:
    for index, each in enumerate(hook.attachments):
        if each.program is found.program and each.link_id == found.link_id:
            if (each.flags ^ new.flags) & AttachFlag.PREORDER:
                raise Refused(errno.EINVAL)
            return index
    raise Refused(errno.ENOENT)
