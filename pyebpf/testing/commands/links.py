"""Attaching with links: LINK_CREATE, LINK_UPDATE, LINK_DETACH; what each hook does is elsewhere."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyebpf.testing.attachments import Link
from pyebpf.testing.commands import (
    cgroups,
    interfaces,
    iterators,
    namespaces,
    netfilter,
    probes,
    sockmaps,
    tracing,
)
from pyebpf.testing.commands.attach_types import CGROUP, NAMESPACE, ORDERED, SOCKETS, check
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, LinkDetach, LinkUpdate
from pyebpf.uapi.bpf import AttachFlag, AttachType, LinkType

__all__ = ["MAKERS", "create", "detach", "update"]

Maker = Callable[[System, LinkCreate, ProgramObject], Link]
Updater = Callable[[System, Link, ProgramObject, "ProgramObject | None"], None]

MAKERS: dict[AttachType, Maker] = {
    **dict.fromkeys(CGROUP, cgroups.create_link),
    **dict.fromkeys(ORDERED, interfaces.create_ordered_link),
    **dict.fromkeys(NAMESPACE, namespaces.create_link),
    **dict.fromkeys(SOCKETS, sockmaps.create_link),
    **dict.fromkeys(tracing.PREFIXES, tracing.create_link),
    AttachType.LSM_CGROUP: cgroups.create_link,
    AttachType.NETFILTER: netfilter.create_link,
    AttachType.PERF_EVENT: tracing.create_event_link,
    AttachType.TRACE_KPROBE_MULTI: probes.create_kprobe_link,
    AttachType.TRACE_KPROBE_SESSION: probes.create_kprobe_link,
    AttachType.TRACE_UPROBE_MULTI: probes.create_uprobe_link,
    AttachType.TRACE_UPROBE_SESSION: probes.create_uprobe_link,
    AttachType.TRACE_ITER: iterators.create_link,
    AttachType.XDP: interfaces.create_xdp_link,
}
"""Which function attaches to which kind of hook."""

_UPDATERS: dict[LinkType, Updater] = {
    LinkType.CGROUP: cgroups.update_link,
    LinkType.ITER: iterators.update_link,
    LinkType.NETNS: namespaces.update_link,
    LinkType.SOCKMAP: sockmaps.update_link,
    LinkType.XDP: interfaces.update_xdp_link,
    LinkType.TCX: interfaces.update_ordered_link,
    LinkType.NETKIT: interfaces.update_ordered_link,
}
# Those that can be taken off; the kernel's bpf_link_ops.detach.
_DETACHABLE = frozenset({*_UPDATERS, LinkType.NETFILTER}) - {LinkType.ITER}


def create(system: System, attr: LinkCreate) -> int:
    """Attach a program with a link."""
    kind = AttachType(attr.attach_type)
    if not system.age.reached(kind.since) or kind.name.startswith("UNKNOWN_"):
        raise Refused(errno.EINVAL)
    make = MAKERS.get(kind)
    if make is None:
        raise NotImplementedError(f"BPF_LINK_CREATE of {kind}")
    program = program_of(system, attr.prog_fd)
    check(program, kind)
    return tracing.opened(system, make(system, attr, program))


def update(system: System, attr: LinkUpdate) -> int:
    """Put another program into a link: link_update."""
    if attr.flags & ~int(AttachFlag.REPLACE):
        raise Refused(errno.EINVAL)
    link = _link(system, attr.link_fd)
    program = program_of(system, attr.new_prog_fd)
    expected = None
    if attr.flags & AttachFlag.REPLACE:
        expected = program_of(system, attr.old_prog_fd)
    elif attr.old_prog_fd:
        raise Refused(errno.EINVAL)
    change = _UPDATERS.get(link.type)
    if change is None:
        refuses = link.type == LinkType.NETFILTER
        raise Refused(errno.EOPNOTSUPP if refuses else errno.EINVAL)
    change(system, link, program, expected)
    return 0


def detach(system: System, attr: LinkDetach) -> int:
    """Take a link's program off."""
    link = _link(system, attr.link_fd)
    if link.type not in _DETACHABLE:
        raise Refused(errno.EOPNOTSUPP)
    link.detach()
    return 0


def _link(system: System, fd: int) -> Link:
    what = system.holding(fd)
    if not isinstance(what, Link):
        raise Refused(errno.EINVAL)
    return what
