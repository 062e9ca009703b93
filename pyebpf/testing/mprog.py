"""The order of programs that choose their place: tcx, netkit (the kernel's "mprog"), cgroups.

    attach(BEFORE, anchor)   ──▶  the place, if everything that was said agrees on it
    detach(AFTER, 0)         ──▶  the last one

An anchor is a program or link that must be there; none stands for the first or the last.
"""

from __future__ import annotations

import errno

from pyebpf.testing.attachments import Attachment, Hook, Link
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.typed import NamedTuple, TypeVar
from pyebpf.uapi.bpf import AttachFlag, ProgType

__all__ = ["Anchor", "anchor", "attach", "detach"]

T = TypeVar("T")

_MOST = 64  # BPF_MPROG_MAX
_NOWHERE = -errno.ERANGE


class Anchor(NamedTuple):
    """What a program is to go before or after; no program: all that are there."""

    program: ProgramObject | None = None
    link_id: int = 0


def anchor(system: System, flags: int, fd_or_id: int, kind: ProgType | None) -> Anchor:
    """Return what flags and a descriptor or id name: bpf_mprog_tuple_relative.

    Raises:
        Refused: ``ENOENT``, ``EBADF``, ``EINVAL``: not a program or link, or one of another type.
    """
    by_id = bool(flags & AttachFlag.ID)
    if flags & AttachFlag.LINK:
        link = system.links.get(fd_or_id) if by_id else system.holding(fd_or_id)
        found = _required(link, Link, by_id=by_id)
        result = Anchor(found.program, found.id)
    elif by_id or fd_or_id:
        what = system.programs.get(fd_or_id) if by_id else system.holding(fd_or_id)
        result = Anchor(_required(what, ProgramObject, by_id=by_id))
    else:
        return Anchor()
    if kind is not None and result.program is not None and result.program.type != kind:
        raise Refused(errno.EINVAL)
    return result


def attach(
    system: System,
    hook: Hook,
    new: Attachment,
    *,
    flags: int,
    relative: int,
    revision: int = 0,
    replaced: ProgramObject | None = None,
) -> None:
    """Put a program among others: bpf_mprog_attach.

    Args:
        system: The kernel.
        hook: Where.
        new: What.
        flags: ``BPF_F_BEFORE`` and its like.
        relative: Descriptor or id of what it goes before or after.
        revision: Refuse if the hook has another; 0: any.
        replaced: The program whose place it takes, with ``BPF_F_REPLACE``.

    Raises:
        Refused: ``ESTALE``, ``EEXIST``, ``ENOENT``, ``EBUSY``: a link holds it; ``ERANGE``,
            ``EINVAL``: the place is none, or two.
    """
    if revision and revision != hook.revision:
        raise Refused(errno.ESTALE)
    if hook.holding(new.program) is not None:
        raise Refused(errno.EEXIST)
    beside = anchor(system, flags, relative, new.program.type)
    index = _NOWHERE
    if flags & AttachFlag.REPLACE:
        index = _held(hook, replaced, new.link_id)
    elif len(hook.attachments) == _MOST:
        raise Refused(errno.ERANGE)
    index = _beside(hook, beside, flags, index)
    if index < -1:
        if beside.program is not None or flags:
            raise Refused(errno.EINVAL)
        index = len(hook.attachments)
    elif not flags & AttachFlag.REPLACE:
        index += bool(flags & AttachFlag.BEFORE)
    if index >= _MOST:
        raise Refused(errno.ERANGE)
    if flags & AttachFlag.REPLACE:
        hook.remove(hook.attachments[index])
        hook.revision -= 1  # taking the place is one change
    hook.put(new, index)


def detach(
    system: System,
    hook: Hook,
    program: ProgramObject | None,
    *,
    flags: int,
    relative: int,
    revision: int = 0,
) -> None:
    """Take off a program, or the one before or after another: bpf_mprog_detach.

    Raises:
        Refused: As for `attach`.
    """
    if flags & AttachFlag.REPLACE:
        raise Refused(errno.EINVAL)
    if revision and revision != hook.revision:
        raise Refused(errno.ESTALE)
    if not hook.attachments:
        raise Refused(errno.ENOENT)
    beside = anchor(system, flags, relative, program.type if program is not None else None)
    index = _NOWHERE if program is None else _held(hook, program, 0)
    index = _beside(hook, beside, flags, index)
    if index < -1:
        if beside.program is not None or flags:
            raise Refused(errno.EINVAL)
        index = len(hook.attachments)
    found = hook.attachments[min(max(index, 0), len(hook.attachments) - 1)]
    # bpf_mprog_fetch
    if program is not None and found.program is not program:
        raise Refused(errno.EINVAL)
    if found.link_id:
        raise Refused(errno.EBUSY)
    hook.remove(found)


# Where BEFORE and AFTER say; they must agree with what is known, and with each other.
def _beside(hook: Hook, beside: Anchor, flags: int, index: int) -> int:
    if flags & AttachFlag.BEFORE:
        found = _place(hook, beside, nothing=0) - 1
        if index >= -1 and found != index:
            raise Refused(errno.ERANGE)
        index = found
    if flags & AttachFlag.AFTER:
        found = _place(hook, beside, nothing=len(hook.attachments) - 1) + 1
        if index >= -1 and found != index:
            raise Refused(errno.ERANGE)
        index = found
    return index


def _place(hook: Hook, beside: Anchor, *, nothing: int) -> int:
    if beside.program is None:
        return nothing
    for index, each in enumerate(hook.attachments):
        if each.program is beside.program and beside.link_id in (0, each.link_id):
            return index
    raise Refused(errno.ENOENT)


def _required(what: object, kind: type[T], *, by_id: bool) -> T:
    if not isinstance(what, kind):
        raise Refused(errno.ENOENT if by_id else errno.EINVAL)
    return what


# bpf_mprog_pos_exact
def _held(hook: Hook, program: ProgramObject | None, link_id: int) -> int:
    for index, each in enumerate(hook.attachments):
        if each.program is program:
            if each.link_id != link_id:
                raise Refused(errno.EBUSY)
            return index
    raise Refused(errno.ENOENT)
