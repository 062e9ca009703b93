"""Programs of a sockmap or sockhash: they run on the data of every socket in the map.

SEC("sk_skb/stream_parser")   where a message ends in what a socket receives
SEC("sk_skb/stream_verdict")  what becomes of each message: passed, dropped, redirected
SEC("sk_skb/verdict")         the same without a parser (Linux 5.13)
SEC("sk_msg")                 what becomes of what a socket sends
"""

from __future__ import annotations

import contextlib
import errno

from pyebpf.errors import AttachError, EbpfError, NotSupportedError, SyscallError, naming
from pyebpf.link.attached import query
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type, named_program
from pyebpf.link.prog_attach import Hook, attach_to
from pyebpf.maps.map import Map
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD, duplicate
from pyebpf.typed import Any
from pyebpf.uapi.attrs import LinkCreate
from pyebpf.uapi.bpf import AttachType, MapType, ProgType

__all__ = ["attach_sockmap"]


def attach_sockmap(
    program: Program,
    sockets: Map[Any, Any],
    *,
    attach_type: AttachType | None = None,
    use_link: bool | None = None,
) -> Link:
    """Attach *program* to the sockets of a map, those that are there and those that come.

    Args:
        program: Of type ``BPF_PROG_TYPE_SK_SKB`` or ``BPF_PROG_TYPE_SK_MSG``; may be closed
            afterwards.
        sockets: A sockmap or sockhash; stays the caller's.
        attach_type: Which hook; by default what the section's name says.
        use_link: True never falls back to ``BPF_PROG_ATTACH``, False uses it at once: it replaces
            a program that was attached the same way.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program or map, or no hook is named.
        SyscallError: ``EBUSY``: a program is attached there, which it names.

    Since Linux 6.10 (links), 4.14.
    """
    check_type(program, ProgType.SK_SKB, ProgType.SK_MSG)
    if sockets.type not in (MapType.SOCKMAP, MapType.SOCKHASH):
        raise AttachError(sockets.name, f'map "{sockets.name}" ({sockets.type}) holds no sockets')
    hook = attach_type
    if hook is None and program.spec is not None:
        hook = program.spec.attach_type
    if hook is None:
        if program.type != ProgType.SK_MSG:
            text = f'program "{program.name}": attach_type=AttachType.SK_SKB_… says which hook'
            raise AttachError(program.name, text)
        hook = AttachType.SK_MSG_VERDICT
    target = f'{hook.name.lower()} of map "{sockets.name}"'
    with naming(f'attach program "{program.name}" to {target}'):
        try:
            return _attach(program, sockets, hook, target, use_link)
        except SyscallError as error:
            if error.errno in (errno.EBUSY, errno.EEXIST):
                there = "another program"
                with contextlib.suppress(EbpfError):
                    found = query(sockets, hook).programs
                    there = ", ".join(named_program(each.program_id) for each in found) or there
                error.detail = f"{there} is attached there, or one that excludes it"
            raise


# Those that do look at the map, and find a descriptor of nothing.
def _knows_links(program: Program, hook: AttachType) -> bool:
    attr = LinkCreate(prog_fd=program.fileno(), target_fd=0xFFFFFFFF, attach_type=hook)
    try:
        bpf.link_create(attr).close()
    except SyscallError as error:
        return error.errno != errno.EINVAL
    return True


def _attach(
    program: Program,
    sockets: Map[Any, Any],
    hook: AttachType,
    target: str,
    use_link: bool | None,
) -> Link:
    if use_link is not False:
        attr = LinkCreate(prog_fd=program.fileno(), target_fd=sockets.fileno(), attach_type=hook)
        try:
            return Link(bpf.link_create(attr), target=target)
        except NotSupportedError:
            if use_link:
                raise
        except SyscallError as error:
            # How kernels before 6.10 refuse links to sockmaps; a real EINVAL comes again.
            if error.errno != errno.EINVAL:
                raise
            if use_link:
                if not _knows_links(program, hook):
                    raise NotSupportedError("links to sockmaps", "6.10") from None
                raise
    where = Hook(hook, number=sockets.info().id)
    return attach_to(FD(duplicate(sockets.fileno())), program, where, target=target)
