"""Which programs an attach type takes: attach_type_to_prog_type and what is checked with it."""

from __future__ import annotations

import errno

from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["CGROUP", "NAMESPACE", "ORDERED", "PROBES", "SOCKETS", "check", "program_type"]

_ADDRESSES = ("_BIND", "_CONNECT", "_SENDMSG", "_RECVMSG", "_GETPEERNAME", "_GETSOCKNAME")

CGROUP: dict[AttachType, ProgType] = {
    AttachType.CGROUP_INET_INGRESS: ProgType.CGROUP_SKB,
    AttachType.CGROUP_INET_EGRESS: ProgType.CGROUP_SKB,
    AttachType.CGROUP_SOCK_OPS: ProgType.SOCK_OPS,
    AttachType.CGROUP_DEVICE: ProgType.CGROUP_DEVICE,
    AttachType.CGROUP_SYSCTL: ProgType.CGROUP_SYSCTL,
    AttachType.CGROUP_GETSOCKOPT: ProgType.CGROUP_SOCKOPT,
    AttachType.CGROUP_SETSOCKOPT: ProgType.CGROUP_SOCKOPT,
    AttachType.CGROUP_INET_SOCK_CREATE: ProgType.CGROUP_SOCK,
    AttachType.CGROUP_INET_SOCK_RELEASE: ProgType.CGROUP_SOCK,
    AttachType.CGROUP_INET4_POST_BIND: ProgType.CGROUP_SOCK,
    AttachType.CGROUP_INET6_POST_BIND: ProgType.CGROUP_SOCK,
    **{
        each: ProgType.CGROUP_SOCK_ADDR
        for each in AttachType
        if each.name.startswith("CGROUP_")
        and each.name.endswith(_ADDRESSES)
        and "POST" not in each.name
    },
}
"""Hooks of control groups that take a type of programs of their own."""

ORDERED = frozenset(
    {
        AttachType.TCX_INGRESS,
        AttachType.TCX_EGRESS,
        AttachType.NETKIT_PRIMARY,
        AttachType.NETKIT_PEER,
    }
)
"""Hooks of interfaces on which programs choose their place among others."""

NAMESPACE: dict[AttachType, ProgType] = {
    AttachType.FLOW_DISSECTOR: ProgType.FLOW_DISSECTOR,
    AttachType.SK_LOOKUP: ProgType.SK_LOOKUP,
}
"""Hooks of network namespaces."""

SOCKETS: dict[AttachType, ProgType] = {
    AttachType.SK_SKB_STREAM_PARSER: ProgType.SK_SKB,
    AttachType.SK_SKB_STREAM_VERDICT: ProgType.SK_SKB,
    AttachType.SK_SKB_VERDICT: ProgType.SK_SKB,
    AttachType.SK_MSG_VERDICT: ProgType.SK_MSG,
}
"""Hooks of maps of sockets."""

PROBES = frozenset(
    {
        AttachType.TRACE_KPROBE_MULTI,
        AttachType.TRACE_KPROBE_SESSION,
        AttachType.TRACE_UPROBE_MULTI,
        AttachType.TRACE_UPROBE_SESSION,
    }
)
"""Hooks of many functions at once, for which a program is loaded."""

_TYPES: dict[AttachType, ProgType] = {
    **CGROUP,
    **NAMESPACE,
    **SOCKETS,
    **dict.fromkeys(ORDERED, ProgType.SCHED_CLS),
    AttachType.LIRC_MODE2: ProgType.LIRC_MODE2,
    AttachType.TRACE_ITER: ProgType.TRACING,
    AttachType.TRACE_RAW_TP: ProgType.TRACING,
    AttachType.TRACE_FENTRY: ProgType.TRACING,
    AttachType.TRACE_FEXIT: ProgType.TRACING,
    AttachType.MODIFY_RETURN: ProgType.TRACING,
    AttachType.LSM_MAC: ProgType.LSM,
    AttachType.LSM_CGROUP: ProgType.LSM,
    AttachType.XDP: ProgType.XDP,
    AttachType.NETFILTER: ProgType.NETFILTER,
}
_EXACT = frozenset(
    {
        ProgType.CGROUP_SOCK,
        ProgType.CGROUP_SOCK_ADDR,
        ProgType.CGROUP_SOCKOPT,
        ProgType.SK_LOOKUP,
        ProgType.TRACING,
        ProgType.LSM,
    }
)


def program_type(attach_type: AttachType) -> ProgType:
    """Return the type of programs that a hook takes, ``UNSPEC`` if none has it to itself."""
    return _TYPES.get(attach_type, ProgType.UNSPEC)


def check(program: ProgramObject, attach_type: AttachType) -> None:
    """Refuse a program of another type than a hook takes: bpf_prog_attach_check_attach_type.

    Raises:
        Refused: ``EINVAL``.
    """
    kind = program.type
    if kind == ProgType.EXT:
        return
    if kind == ProgType.KPROBE:
        loaded_for = program.expected_attach_type
        fits = attach_type == (loaded_for if loaded_for in PROBES else AttachType.PERF_EVENT)
        # One loaded for nothing special gets as far as the link's own check.
        fits |= loaded_for not in PROBES and attach_type in PROBES
    elif kind in (ProgType.PERF_EVENT, ProgType.TRACEPOINT):
        fits = attach_type == AttachType.PERF_EVENT
    else:
        fits = program_type(attach_type) == kind
        fits &= kind not in _EXACT or attach_type == program.expected_attach_type
    if not fits:
        raise Refused(errno.EINVAL)
