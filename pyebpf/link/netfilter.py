"""Netfilter: programs beside iptables and nftables, in the order of their priorities.

    arrives ─ PREROUTING ─┬─ LOCAL_IN ── a process ── LOCAL_OUT ─┬─ POSTROUTING ─ leaves
                          └──────────── FORWARD ─────────────────┘

A program returns 1 (``NF_ACCEPT``) or 0 (``NF_DROP``).
"""

from __future__ import annotations

import contextlib
import enum
import errno

from pyebpf.errors import EbpfError, NotSupportedError, SyscallError, naming
from pyebpf.link.base import Link, loaded_links
from pyebpf.link.interface import check_type, named_program
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import LinkCreateNetfilter
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.per_hook import NetfilterFlag

__all__ = ["NetfilterFamily", "NetfilterHook", "attach_netfilter"]

# INT_MIN and INT_MAX belong to connection tracking and its confirmation (NF_IP_PRI_FIRST, _LAST).
_LOWEST, _HIGHEST = -(1 << 31) + 1, (1 << 31) - 2


class NetfilterFamily(enum.IntEnum):
    """Which packets: ``NFPROTO_IPV4`` or ``NFPROTO_IPV6``."""

    IPV4 = 2
    IPV6 = 10


class NetfilterHook(enum.IntEnum):
    """Where on a packet's way: ``NF_INET_*``."""

    PRE_ROUTING = 0
    LOCAL_IN = 1
    FORWARD = 2
    LOCAL_OUT = 3
    POST_ROUTING = 4


def attach_netfilter(
    program: Program,
    hook: NetfilterHook,
    *,
    family: NetfilterFamily = NetfilterFamily.IPV4,
    priority: int = 0,
    defragment: bool = False,
) -> Link:
    """Attach *program* to a netfilter hook of the caller's network namespace.

    Args:
        program: Of type ``BPF_PROG_TYPE_NETFILTER``; may be closed afterwards.
        hook: Where.
        family: IPv4 or IPv6.
        priority: Lower ones run first; connection tracking has -200, filters 0.
        defragment: Give the program whole packets (Linux 6.6); needs a priority above -400.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program.
        ValueError: *priority* is one that the kernel keeps for itself.
        NotSupportedError: The kernel has no netfilter links.
        SyscallError: ``EBUSY``: a program with this priority is attached there, …

    Since Linux 6.4.
    """
    check_type(program, ProgType.NETFILTER)
    if not _LOWEST <= priority <= _HIGHEST:
        raise ValueError(f"priority {priority} is not within {_LOWEST} to {_HIGHEST}")
    target = f"netfilter {NetfilterFamily(family).name} {NetfilterHook(hook).name}"
    attr = LinkCreateNetfilter(
        prog_fd=program.fileno(),
        attach_type=AttachType.NETFILTER,
        pf=family,
        hooknum=hook,
        priority=priority,
        netfilter_flags=NetfilterFlag.IP_DEFRAG if defragment else 0,
    )
    with naming(f'attach program "{program.name}" to {target}'):
        try:
            return Link(bpf.link_create(attr), target=f"{target}, priority {priority}")
        except SyscallError as error:
            if error.errno == errno.EBUSY:
                there = _holder(hook, family, priority)
                error.detail = f"{there} has priority {priority} there: choose another one"
            elif error.errno == errno.EAFNOSUPPORT:
                raise NotSupportedError(f"netfilter programs for {family.name}", None) from None
            elif error.errno == errno.ENOENT and defragment:
                error.detail = "the module that defragments (nf_defrag_ipv4, _ipv6) is not there"
            elif error.errno == errno.EINVAL and defragment:
                error.detail = "defragmenting needs a priority above -400, and Linux 6.6"
            raise


# The kernel cannot be asked about a hook, and its links do not tell their network namespaces.
def _holder(hook: int, family: int, priority: int) -> str:
    from pyebpf.link.kinds import NetfilterDetails

    found = []
    with contextlib.suppress(EbpfError):
        for each in loaded_links():
            with each:
                told = each.info()
            if isinstance(told, NetfilterDetails) and (
                (told.hook, told.family, told.priority) == (hook, family, priority)
            ):
                found.append(named_program(told.program_id))
    return " or ".join(found) or "another program"
