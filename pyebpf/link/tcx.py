"""tcx: programs on an interface's packets, in an order that each of them chooses (Linux 6.6).

A program returns ``TCX_NEXT`` (-1) to let the next one decide. Links and programs attached by
``BPF_PROG_ATTACH`` share one list; `pyebpf.query` shows it with its revision.
"""

from __future__ import annotations

import enum
import errno
import os

from pyebpf.errors import AttachError, NotSupportedError, SyscallError, naming
from pyebpf.link.anchor import Anchor, place
from pyebpf.link.attached import query
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type, interface_index
from pyebpf.link.prog_attach import Hook, attach_to
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import LinkCreateTcx
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["TcDirection", "attach_tcx", "direction_of", "explain"]


class TcDirection(enum.Enum):
    """Packets that arrive at an interface, or those that leave it."""

    INGRESS = "ingress"
    EGRESS = "egress"


_ATTACH_TYPES = {
    TcDirection.INGRESS: AttachType.TCX_INGRESS,
    TcDirection.EGRESS: AttachType.TCX_EGRESS,
}


def direction_of(program: Program, direction: TcDirection | str | None) -> TcDirection:
    """Return the direction asked for, or the one that the program's section name says.

    Raises:
        AttachError: Neither says one.
        ValueError: There is no such direction.
    """
    if direction is not None:
        return TcDirection(direction)
    attach_type = program.spec.attach_type if program.spec is not None else None
    for each, its_type in _ATTACH_TYPES.items():
        if attach_type == its_type:
            return each
    raise AttachError(
        program.name, f'program "{program.name}": "ingress" or "egress"? Its section does not say'
    )


def attach_tcx(
    program: Program,
    interface: str | int,
    direction: TcDirection | str | None = None,
    *,
    before: Anchor | None = None,
    after: Anchor | None = None,
    revision: int = 0,
    use_link: bool = True,
) -> Link:
    """Attach *program* to an interface's packets.

    Args:
        program: Of type ``BPF_PROG_TYPE_SCHED_CLS``; may be closed afterwards.
        interface: Name or index in the caller's network namespace.
        direction: ``"ingress"`` or ``"egress"``; by default what ``SEC("tcx/ingress")`` says.
        before: Run before this program or link, or before ``"all"``.
        after: Run after this program or link; after ``"all"`` by default.
        revision: Refuse if the hook's list has changed since it had this revision; 0: never.
        use_link: False attaches by ``BPF_PROG_ATTACH``: the interface keeps the program.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program, no such interface, no direction.
        NotSupportedError: The kernel has no tcx.
        SyscallError: ``EEXIST``: the program is attached there already; ``ESTALE``: another
            revision; ``ENOENT``: the anchor is not attached there; ``ERANGE``: too many.

    Since Linux 6.6.
    """
    check_type(program, ProgType.SCHED_CLS)
    way = direction_of(program, direction)
    index = interface_index(interface)
    anchored = place(before=before, after=after)
    target = f"tcx {way.value} of {interface}"
    with naming(f'attach program "{program.name}" to {target}'):
        try:
            if not use_link:
                namespace = FD(kernel.current().open("/proc/thread-self/ns/net", os.O_RDONLY))
                hook = Hook(_ATTACH_TYPES[way], index)
                return attach_to(
                    namespace, program, hook, target=target, anchored=anchored, revision=revision
                )
            attr = LinkCreateTcx(
                prog_fd=program.fileno(),
                target_ifindex=index,
                attach_type=_ATTACH_TYPES[way],
                flags=anchored.flags,
                relative_fd=anchored.descriptor or anchored.id,
                expected_revision=revision,
            )
            return Link(bpf.link_create(attr), target=target)
        except SyscallError as error:
            explain(error, index)
            if error.errno == errno.EINVAL and not has_tcx():
                raise NotSupportedError("tcx", "6.6") from None
            raise


def has_tcx() -> bool:
    """Whether the kernel knows tcx: asks about a hook of the interface lo."""
    try:
        query(1, AttachType.TCX_INGRESS)
    except SyscallError as error:
        return error.errno != errno.EINVAL
    return True


_DETAILS = {
    errno.EEXIST: "this program is attached there already",
    errno.ESTALE: "the list of programs has another revision by now",
    errno.ENOENT: "the program or link to go before or after is not attached there",
}


def explain(error: SyscallError, index: int) -> None:
    """Say in words what an errno means at a hook with an order, of tcx and netkit."""
    if error.errno == errno.ENODEV:
        error.detail = f"no network interface of index {index} in this network namespace"
    elif error.errno in _DETAILS:
        error.detail = _DETAILS[error.errno]
