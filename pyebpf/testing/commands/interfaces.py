"""Programs of network interfaces: XDP links; tcx and netkit, with links and by PROG_ATTACH."""

from __future__ import annotations

import errno

from pyebpf.testing import mprog, xdp
from pyebpf.testing.attachments import Attachment, Hook, Link
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, ProgAttach
from pyebpf.uapi.bpf import AttachFlag, AttachType, LinkType, ProgType

__all__ = [
    "attach",
    "create_ordered_link",
    "create_xdp_link",
    "detach",
    "ordered_hook",
    "update_ordered_link",
    "update_xdp_link",
]

_HOOKS = {
    AttachType.TCX_INGRESS: "tcx/{}/ingress",
    AttachType.TCX_EGRESS: "tcx/{}/egress",
    AttachType.NETKIT_PRIMARY: "netkit/{}/primary",
    AttachType.NETKIT_PEER: "netkit/{}/peer",
}
_TCX = frozenset({AttachType.TCX_INGRESS, AttachType.TCX_EGRESS})
_ORDER = AttachFlag.REPLACE | AttachFlag.BEFORE | AttachFlag.AFTER | AttachFlag.ID | AttachFlag.LINK


# bpf_xdp_link_attach
def create_xdp_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach to an interface, which then takes no other XDP program."""
    index = attr.target_ifindex
    if index not in system.interfaces.values() or attr.flags & ~int(xdp.MODES):
        raise Refused(errno.EINVAL)
    attachment = Attachment(program=program, flags=attr.flags)
    hook = xdp.attach(system, index, attachment, by_link=True)
    return Link(
        type=LinkType.XDP,
        program=program,
        places=[(hook, attachment)],
        details={"ifindex": index},
        forgotten="ifindex",
    )


# bpf_xdp_link_update
def update_xdp_link(
    system: System, link: Link, program: ProgramObject, expected: ProgramObject | None
) -> None:
    """Put another program of the same type there."""
    if not link.attached:
        raise Refused(errno.ENOLINK)
    if expected is not None and expected is not link.program:
        raise Refused(errno.EPERM)
    if (
        program.type != link.program.type
        or program.expected_attach_type != link.program.expected_attach_type
    ):
        raise Refused(errno.EINVAL)
    link.put(program)


# tcx_link_attach, netkit_link_attach
def create_ordered_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach among other programs of an interface."""
    kind = AttachType(attr.attach_type)
    hook = ordered_hook(system, kind, attr.target_ifindex)
    attachment = Attachment(program=program)
    if attr.flags & ~int(_ORDER & ~AttachFlag.REPLACE):
        raise Refused(errno.EINVAL)
    mprog.attach(
        system,
        hook,
        attachment,
        flags=attr.flags,
        relative=getattr(attr, "relative_fd", 0),
        revision=getattr(attr, "expected_revision", 0),
    )
    return Link(
        type=LinkType.TCX if kind in _TCX else LinkType.NETKIT,
        program=program,
        places=[(hook, attachment)],
        details={"ifindex": attr.target_ifindex, "attach_type": kind},
        forgotten="ifindex",
    )


# tcx_link_update, netkit_link_update
def update_ordered_link(
    system: System, link: Link, program: ProgramObject, expected: ProgramObject | None
) -> None:
    """Put another program there, unless it is on the same hook already."""
    if not link.attached:
        raise Refused(errno.ENOLINK)
    if expected is not None and expected is not link.program:
        raise Refused(errno.EPERM)
    if program is link.program:
        return
    hook = link.places[0][0]
    if hook.holding(program) is not None:
        raise Refused(errno.EEXIST)
    if program.type != ProgType.SCHED_CLS:
        raise Refused(errno.EINVAL)
    link.put(program)
    hook.revision += 1


# tcx_prog_attach, netkit_prog_attach
def attach(system: System, attr: ProgAttach, program: ProgramObject) -> None:
    """PROG_ATTACH: the interface keeps the program."""
    if attr.attach_flags & ~int(_ORDER):
        raise Refused(errno.EINVAL)
    hook = ordered_hook(system, AttachType(attr.attach_type), attr.target_ifindex)
    replaced = None
    if attr.attach_flags & AttachFlag.REPLACE:
        replaced = program_of(system, attr.replace_bpf_fd)
        if replaced.type != program.type:
            raise Refused(errno.EINVAL)
    mprog.attach(
        system,
        hook,
        Attachment(program=program),
        flags=attr.attach_flags,
        relative=attr.relative_fd,
        revision=attr.expected_revision,
        replaced=replaced,
    )


# tcx_prog_detach, netkit_prog_detach
def detach(system: System, attr: ProgAttach) -> None:
    """PROG_DETACH: a program, or the one before or after another."""
    if attr.attach_flags & ~int(_ORDER):
        raise Refused(errno.EINVAL)
    program = program_of(system, attr.attach_bpf_fd) if attr.attach_bpf_fd else None
    if program is not None and program.type != ProgType.SCHED_CLS:
        raise Refused(errno.EINVAL)
    hook = ordered_hook(system, AttachType(attr.attach_type), attr.target_ifindex)
    if not hook.attachments:
        raise Refused(errno.ENOENT)
    mprog.detach(
        system,
        hook,
        program,
        flags=attr.attach_flags,
        relative=attr.relative_fd,
        revision=attr.expected_revision,
    )


def ordered_hook(system: System, kind: AttachType, index: int) -> Hook:
    """Return the hook of an interface that programs are attached to in order.

    Raises:
        Refused: ``ENODEV``; ``ENXIO``: it is no netkit device.
    """
    if index not in system.interfaces.values():
        raise Refused(errno.ENODEV)
    if kind not in _TCX and index not in system.netkits:
        raise Refused(errno.ENXIO)
    hook = system.hook(_HOOKS[kind].format(index))
    hook.forgets = True  # the kernel frees it
    return hook
