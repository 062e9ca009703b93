"""netkit: programs of a virtual cable's two ends, both attached at its primary one (Linux 6.7).

Its order, anchors and revisions are those of tcx.
"""

from __future__ import annotations

import errno
import os

from pyebpf.errors import NotSupportedError, SyscallError, naming
from pyebpf.link.anchor import Anchor, place
from pyebpf.link.attached import query
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type, interface_index
from pyebpf.link.prog_attach import Hook, attach_to
from pyebpf.link.tcx import explain
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import LinkCreateNetkit
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["attach_netkit"]


def attach_netkit(
    program: Program,
    interface: str | int,
    *,
    peer: bool | None = None,
    before: Anchor | None = None,
    after: Anchor | None = None,
    revision: int = 0,
    use_link: bool = True,
) -> Link:
    """Attach *program* to packets that leave one end of a netkit pair for the other.

    Args:
        program: Of type ``BPF_PROG_TYPE_SCHED_CLS``; may be closed afterwards.
        interface: Name or index of the primary device, in the caller's network namespace.
        peer: The other end's packets; by default what ``SEC("netkit/peer")`` says, else the
            primary's.
        before: As for `attach_tcx`.
        after: As for `attach_tcx`.
        revision: As for `attach_tcx`.
        use_link: False attaches by ``BPF_PROG_ATTACH``: the device keeps the program.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program, or no such interface.
        NotSupportedError: The kernel has no netkit.
        SyscallError: ``EINVAL``, ``ENXIO``: not a netkit device; ``EACCES``: its peer end; …

    Since Linux 6.7.
    """
    check_type(program, ProgType.SCHED_CLS)
    index = interface_index(interface)
    if peer is None:
        said = program.spec.attach_type if program.spec is not None else None
        peer = said == AttachType.NETKIT_PEER
    hook = AttachType.NETKIT_PEER if peer else AttachType.NETKIT_PRIMARY
    anchored = place(before=before, after=after)
    target = f"netkit {'peer' if peer else 'primary'} of {interface}"
    with naming(f'attach program "{program.name}" to {target}'):
        try:
            if not use_link:
                namespace = FD(kernel.current().open("/proc/thread-self/ns/net", os.O_RDONLY))
                return attach_to(
                    namespace, program, Hook(hook, index), target=target, anchored=anchored,
                    revision=revision,
                )  # fmt: skip
            attr = LinkCreateNetkit(
                prog_fd=program.fileno(),
                target_ifindex=index,
                attach_type=hook,
                flags=anchored.flags,
                relative_fd=anchored.descriptor or anchored.id,
                expected_revision=revision,
            )
            return Link(bpf.link_create(attr), target=target)
        except SyscallError as error:
            explain(error, index)
            if error.errno == errno.ENXIO:
                error.detail = f"{interface} is no netkit device"
            elif error.errno == errno.EACCES:
                error.detail = f"{interface} is the peer of a pair: attach at its primary device"
            elif error.errno == errno.EINVAL and not _has_netkit():
                raise NotSupportedError("netkit", "6.7", "or CONFIG_NETKIT is not set") from None
            raise


# Asked about the interface lo, which is none, a kernel that has netkit answers ENXIO.
def _has_netkit() -> bool:
    try:
        query(1, AttachType.NETKIT_PRIMARY)
    except SyscallError as error:
        return error.errno != errno.EINVAL
    return True
