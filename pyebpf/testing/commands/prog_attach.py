"""PROG_ATTACH, PROG_DETACH, PROG_QUERY: what came before links; by the kind of place."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyebpf.testing import buffers
from pyebpf.testing.commands import cgroups, interfaces, namespaces, sockmaps
from pyebpf.testing.commands.attach_types import (
    CGROUP,
    NAMESPACE,
    ORDERED,
    SOCKETS,
    check,
    program_type,
)
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.typed import NamedTuple
from pyebpf.uapi.attrs import ProgAttach, ProgQuery
from pyebpf.uapi.bpf import AttachFlag, AttachType

__all__ = ["attach", "detach", "query"]

_PLAIN = (
    AttachFlag.ALLOW_OVERRIDE | AttachFlag.ALLOW_MULTI | AttachFlag.REPLACE | AttachFlag.PREORDER
)
_PLACE = AttachFlag.BEFORE | AttachFlag.AFTER | AttachFlag.ID | AttachFlag.LINK


class Place(NamedTuple):
    """What attaches programs to a kind of place, and takes them off."""

    attach: Callable[[System, ProgAttach, ProgramObject], None]
    detach: Callable[[System, ProgAttach], None]


def attach(system: System, attr: ProgAttach) -> int:
    """Attach a program to a place that keeps it: bpf_prog_attach."""
    kind = AttachType(attr.attach_type)
    _check_kind(kind, "BPF_PROG_ATTACH")
    if kind not in ORDERED:
        allowed = _PLAIN | _PLACE if kind in CGROUP else _PLAIN
        if attr.attach_flags & ~int(allowed):
            raise Refused(errno.EINVAL)
        if kind not in CGROUP and (attr.relative_fd or attr.expected_revision):
            raise Refused(errno.EINVAL)
    program = program_of(system, attr.attach_bpf_fd)
    if program.type != program_type(kind):
        raise Refused(errno.EINVAL)
    check(program, kind)
    _place(kind).attach(system, attr, program)
    return 0


def detach(system: System, attr: ProgAttach) -> int:
    """Take off what was attached so: bpf_prog_detach."""
    kind = AttachType(attr.attach_type)
    _check_kind(kind, "BPF_PROG_DETACH")
    if kind not in ORDERED:
        given = attr.attach_flags or attr.relative_fd
        if given or (kind not in CGROUP and attr.expected_revision):
            raise Refused(errno.EINVAL)
    _place(kind).detach(system, attr)
    return 0


def query(system: System, attr: ProgQuery) -> int:
    """Tell what is attached to a place: bpf_prog_query."""
    kind = AttachType(attr.attach_type)
    if kind in CGROUP or kind == AttachType.LSM_CGROUP:
        cgroups.query(system, attr)
    elif kind in NAMESPACE:
        namespaces.query(system, attr)
    elif kind in ORDERED:
        _query_ordered(system, attr, kind)
    elif kind in SOCKETS:
        sockmaps.query(system, attr)
    elif kind == AttachType.LIRC_MODE2:
        raise NotImplementedError(f"BPF_PROG_QUERY of {kind}")
    else:
        raise Refused(errno.EINVAL)
    return 0


# tcx_prog_query, bpf_mprog_query
def _query_ordered(system: System, attr: ProgQuery, kind: AttachType) -> None:
    hook = interfaces.ordered_hook(system, kind, attr.target_ifindex)
    if attr.query_flags or attr.attach_flags:
        raise Refused(errno.EINVAL)
    room, found = attr.prog_cnt, hook.attachments
    attr.prog_cnt, attr.revision = len(found), hook.revision
    if not room or not buffers.given(attr.prog_ids) or not found:
        return
    part = found[:room]
    buffers.write_words(attr.prog_ids, [each.program.id for each in part])
    for target, numbers in (
        (attr.prog_attach_flags, [0] * len(part)),
        (attr.link_ids, [each.link_id for each in part]),
        (attr.link_attach_flags, [0] * len(part)),
    ):
        if buffers.given(target):
            buffers.write_words(target, numbers)
    if room < len(found):
        raise Refused(errno.ENOSPC)


def _check_kind(kind: AttachType, command: str) -> None:
    if kind == AttachType.LIRC_MODE2:
        raise NotImplementedError(f"{command} of {kind}")
    if not any(kind in each for each in (CGROUP, NAMESPACE, ORDERED, SOCKETS)):
        raise Refused(errno.EINVAL)


def _place(kind: AttachType) -> Place:
    if kind in CGROUP:
        return Place(cgroups.attach, cgroups.detach)
    if kind in NAMESPACE:
        return Place(namespaces.attach, namespaces.detach)
    if kind in SOCKETS:
        return Place(sockmaps.attach, sockmaps.detach)
    return Place(interfaces.attach, interfaces.detach)
