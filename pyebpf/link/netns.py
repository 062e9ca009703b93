"""Programs of a whole network namespace: socket lookup and flow dissection.

``SEC("sk_lookup")`` chooses the socket that a connection or datagram goes to (Linux 5.9);
``SEC("flow_dissector")`` takes packets apart for the kernel (Linux 4.20).
"""

from __future__ import annotations

import contextlib
import errno
import os

from pyebpf.errors import AttachError, EbpfError, NotSupportedError, SyscallError, naming
from pyebpf.link.attached import query
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type, named_program
from pyebpf.link.prog_attach import Hook, attach_to
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.namespaces import inside_netns
from pyebpf.uapi.attrs import LinkCreate
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["attach_netns"]

_OWN = "/proc/thread-self/ns/net"
_HOOKS = {
    ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
    ProgType.FLOW_DISSECTOR: AttachType.FLOW_DISSECTOR,
}


def attach_netns(
    program: Program,
    netns: str | os.PathLike[str] | int | None = None,
    *,
    use_link: bool | None = None,
) -> Link:
    """Attach *program* to a network namespace.

    Args:
        program: Of type ``BPF_PROG_TYPE_SK_LOOKUP`` (several may be attached) or
            ``BPF_PROG_TYPE_FLOW_DISSECTOR`` (one); may be closed afterwards.
        netns: The namespace's file, such as ``/run/netns/blue`` or ``/proc/123/ns/net``, or a
            descriptor of it, which stays the caller's; by default the caller's own namespace.
        use_link: True never falls back to ``BPF_PROG_ATTACH``, False uses it at once; it is for
            flow dissectors only, and replaces one that was attached the same way.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program, or no such file.
        SyscallError: ``EEXIST``, ``E2BIG``: another flow dissector is attached, which it names.

    Since Linux 5.8 (links), 4.20 (flow dissectors).
    """
    check_type(program, *_HOOKS)
    hook = _HOOKS[program.type]
    path = f"/proc/self/fd/{netns}" if isinstance(netns, int) else os.fspath(netns or _OWN)
    named = f"network namespace {netns}" if netns is not None else "this network namespace"
    target = f"{hook.name.lower()} of {named}"
    with naming(f'attach program "{program.name}" to {target}'):
        try:
            opened = FD(kernel.current().open(path, os.O_RDONLY))
        except SyscallError as error:
            if isinstance(error, PermissionError):
                raise
            raise AttachError(path, f"no {named}: {error}") from None
        with opened:
            try:
                return _attach(program, opened, hook, target, use_link)
            except SyscallError as error:
                _explain(error, opened, hook, named)
                raise


def _attach(
    program: Program, opened: FD, hook: AttachType, target: str, use_link: bool | None
) -> Link:
    if hook == AttachType.SK_LOOKUP and use_link is False:
        raise AttachError(program.name, f'program "{program.name}": sk_lookup has only links')
    if use_link is not False:
        attr = LinkCreate(prog_fd=program.fileno(), target_fd=opened.fileno(), attach_type=hook)
        try:
            return Link(bpf.link_create(attr), target=target)
        except NotSupportedError:
            if use_link:
                raise
        except SyscallError as error:
            # Linux 5.7 has links, but none for namespaces; a real EINVAL comes again.
            if error.errno != errno.EINVAL or use_link or hook == AttachType.SK_LOOKUP:
                raise
    inode = os.fstat(opened.fileno()).st_ino
    # This command knows the caller's namespace only.
    with inside_netns(f"/proc/self/fd/{opened.fileno()}"):
        return attach_to(opened.dup(), program, Hook(hook, number=inode), target=target)


def _explain(error: SyscallError, opened: FD, hook: AttachType, named: str) -> None:
    if error.errno in (errno.EEXIST, errno.EBUSY, errno.E2BIG):
        there = "another program"
        with contextlib.suppress(EbpfError):
            found = query(opened, hook).programs
            there = ", ".join(named_program(each.program_id) for each in found) or there
        error.detail = f"{there} is attached there"
    elif error.errno == errno.EINVAL and error.cmd == "BPF_LINK_CREATE":
        error.detail = f"{named} is no network namespace, or a kernel before 5.8"
