"""Netfilter links: programs beside iptables and nftables, ordered by priority."""

from __future__ import annotations

import errno

from pyebpf.testing.attachments import Attachment, Link
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import LinkCreate, LinkCreateNetfilter
from pyebpf.uapi.bpf import LinkType, NetfilterFlag

__all__ = ["FAMILIES", "HOOKS", "create_link"]

FAMILIES = {"ipv4": 2, "ipv6": 10}
"""NFPROTO_*, by name."""

HOOKS = ("pre_routing", "local_in", "forward", "local_out", "post_routing")
"""NF_INET_*."""

_KEPT = (-(1 << 31), (1 << 31) - 1)  # NF_IP_PRI_FIRST and _LAST
_DEFRAGMENTED = -400  # NF_IP_PRI_CONNTRACK_DEFRAG


# bpf_nf_link_attach
def create_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Attach with a priority that no other program has there."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    if not isinstance(attr, LinkCreateNetfilter):
        attr = LinkCreateNetfilter()
    if attr.pf not in FAMILIES.values():
        raise Refused(errno.EAFNOSUPPORT)
    if attr.hooknum >= len(HOOKS):
        raise Refused(errno.EPROTO)
    if attr.netfilter_flags & ~int(NetfilterFlag.IP_DEFRAG):
        raise Refused(errno.EOPNOTSUPP)
    early = attr.netfilter_flags and attr.priority <= _DEFRAGMENTED
    if attr.priority in _KEPT or early:
        raise Refused(errno.ERANGE)
    hook = system.hook(f"netfilter/{attr.pf}/{attr.hooknum}")
    if any(each.priority == attr.priority for each in hook.attachments):
        raise Refused(errno.EBUSY)
    attachment = Attachment(program=program, priority=attr.priority)
    hook.put(attachment, sum(1 for each in hook.attachments if each.priority < attr.priority))
    return Link(
        type=LinkType.NETFILTER,
        program=program,
        places=[(hook, attachment)],
        details={
            "pf": attr.pf,
            "hooknum": attr.hooknum,
            "priority": attr.priority,
            "flags": attr.netfilter_flags,
        },
    )
