"""A program on a perf event: what tracepoints, kprobes and uprobes share.

perf_event_open ──▶ event ──BPF_LINK_CREATE (5.15)──▶ bpf_link that holds the event
                          └─PERF_EVENT_IOC_SET_BPF──▶ the event's own descriptor holds it
"""

from __future__ import annotations

import errno

from pyebpf.errors import NotSupportedError, SyscallError
from pyebpf.link.base import DescriptorLink, Link
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, perf_event
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import LinkCreatePerfEvent
from pyebpf.uapi.bpf import AttachType

__all__ = ["attach_event"]


def attach_event(program: Program, event: FD, *, target: str, cookie: int | None = None) -> Link:
    """Attach *program* to an open perf event.

    Args:
        program: May be closed afterwards, the kernel keeps it.
        event: Taken over, also on failure.
        target: For messages.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.15).

    Raises:
        NotSupportedError: A cookie on a kernel without perf links.
        SyscallError: ``EEXIST`` if the program is attached there already, …
    """
    try:
        attr = LinkCreatePerfEvent(
            prog_fd=program.fileno(),
            target_fd=event.fileno(),
            attach_type=AttachType.PERF_EVENT,
            bpf_cookie=cookie or 0,
        )
        try:
            link = Link(bpf.link_create(attr), target=target)
        except NotSupportedError:
            pass  # before 5.7 there are no links at all
        except SyscallError as error:
            # EINVAL is how kernels before 5.15 refuse the attach type; a real one comes again.
            if error.errno != errno.EINVAL:
                raise
        else:
            try:
                perf_event.enable(event.fileno())
            except BaseException:
                link.close()
                raise
            event.close()  # the link holds the event now
            return link
        if cookie:
            raise NotSupportedError("attach cookies", "5.15")
        perf_event.set_bpf(event.fileno(), program.fileno())
        perf_event.enable(event.fileno())
    except BaseException:
        event.close()
        raise
    return DescriptorLink(event, target=target)
