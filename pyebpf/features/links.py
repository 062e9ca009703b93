"""Probes of attaching: kinds of links, attach types.

Nothing is attached on the way: every probe names a target that is not there, and only a kernel that
knows what is asked for gets as far as to look for it. Programs are loaded and closed again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.features.attach import uprobe_multi, uprobe_session
from pyebpf.features.commands import command
from pyebpf.features.feature import Feature, errno_of
from pyebpf.features.maps import map_flag, map_programs
from pyebpf.features.programs import program_type, request, tried
from pyebpf.sys import bpf
from pyebpf.uapi import attrs
from pyebpf.uapi.bpf import AttachType, Cmd, LinkType, MapFlag, MapType, ProgType

__all__ = ["attach_type", "kprobe_session", "link_type"]

_NOWHERE = 0xFFFFFFFF  # no descriptor, no interface
_NO_FAMILY = 99
_NO_NAME = b"pyebpf_no_such_name\0"
_LOOPBACK = 1
_DRIVER_MODE = 1 << 2  # XDP_FLAGS_DRV_MODE, which loopback has not


def link_type(kind: LinkType) -> Feature:
    """Return the feature "links of this type"."""
    # struct_ops maps were called links before there was a way to make one.
    since = AttachType.STRUCT_OPS.since if kind == LinkType.STRUCT_OPS else kind.since
    return Feature(str(kind), since, lambda: _LINKS[LinkType(kind)]())


def attach_type(kind: AttachType) -> Feature:
    """Return the feature "programs for this place": whether the kernel knows of it."""
    return Feature(str(kind), kind.since, lambda: _try_attach_type(AttachType(kind)))


# --- links -------------------------------------------------------------------------------------


# The errno of an attempt to make a link, EINVAL if the program for it cannot even be loaded.
def _refusal(program: ProgType, link: attrs.LinkCreate, expected: int) -> int:
    try:
        loaded = bpf.prog_load(request(program, expected_attach_type=expected))
    except PrivilegeError:
        raise
    except SyscallError as error:
        if error.errno not in (errno.EINVAL, errno.E2BIG):
            raise
        return errno.EINVAL
    with loaded:
        link.prog_fd = loaded.fileno()
        return errno_of(lambda: bpf.link_create(link).close())


def _on(kind: AttachType, **target: int) -> attrs.LinkCreate:
    return attrs.LinkCreate(attach_type=kind, **target)


def _is(
    program: ProgType, link: attrs.LinkCreate, *numbers: int, expected: int | None = None
) -> bool:
    return _refusal(program, link, link.attach_type if expected is None else expected) in numbers


def _try_raw_tracepoint() -> bool:
    with bpf.prog_load(request(ProgType.RAW_TRACEPOINT)) as program:
        opened = attrs.RawTracepointOpen(name=_NO_NAME, prog_fd=program.fileno())
        known = errno_of(lambda: bpf.raw_tracepoint_open(opened).close()) == errno.ENOENT
    return known and command(Cmd.LINK_UPDATE).available()


# No function has that name, which a kernel finds out that looks for functions.
def _try_kprobe_multi(kind: AttachType) -> bool:
    link = attrs.LinkCreateKprobeMulti(attach_type=kind, cnt=1, syms=[_NO_NAME])
    return _is(ProgType.KPROBE, link, errno.ESRCH, errno.ENOENT)


def _try_netfilter() -> bool:
    link = attrs.LinkCreateNetfilter(attach_type=AttachType.NETFILTER, pf=_NO_FAMILY)
    return _is(ProgType.NETFILTER, link, errno.EAFNOSUPPORT)


def _try_iterators() -> bool:
    return attach_type(AttachType.TRACE_ITER).available() and command(Cmd.ITER_CREATE).available()


def _try_tracing() -> bool:
    known = attach_type(AttachType.TRACE_RAW_TP).available()
    return known and command(Cmd.LINK_UPDATE).available()


kprobe_session = Feature(
    "kprobe.session", "6.10", lambda: _try_kprobe_multi(AttachType.TRACE_KPROBE_SESSION)
)

# EBADF and ENODEV: it looked for the target. EOPNOTSUPP: loopback has no such mode.
_LINKS: dict[LinkType, Callable[[], bool]] = {
    LinkType.RAW_TRACEPOINT: _try_raw_tracepoint,
    LinkType.TRACING: _try_tracing,
    LinkType.CGROUP: lambda: _is(
        ProgType.CGROUP_SKB,
        _on(AttachType.CGROUP_INET_EGRESS, target_fd=_NOWHERE),
        errno.EBADF,
    ),
    LinkType.ITER: _try_iterators,
    LinkType.NETNS: lambda: _is(
        ProgType.FLOW_DISSECTOR,
        _on(AttachType.FLOW_DISSECTOR, target_fd=_NOWHERE),
        errno.EBADF,
        expected=0,
    ),
    LinkType.XDP: lambda: _is(
        ProgType.XDP,
        _on(AttachType.XDP, target_ifindex=_LOOPBACK, flags=_DRIVER_MODE),
        errno.EOPNOTSUPP,
        errno.EBUSY,
        errno.EEXIST,
    ),
    LinkType.PERF_EVENT: lambda: _is(
        ProgType.TRACEPOINT, _on(AttachType.PERF_EVENT, target_fd=_NOWHERE), errno.EBADF, expected=0
    ),
    LinkType.KPROBE_MULTI: lambda: _try_kprobe_multi(AttachType.TRACE_KPROBE_MULTI),
    LinkType.STRUCT_OPS: lambda: map_flag(MapFlag.LINK).available(),
    LinkType.NETFILTER: _try_netfilter,
    LinkType.TCX: lambda: _is(
        ProgType.SCHED_CLS, _on(AttachType.TCX_INGRESS, target_ifindex=_NOWHERE), errno.ENODEV
    ),
    LinkType.UPROBE_MULTI: uprobe_multi.available,
    LinkType.NETKIT: lambda: _is(
        ProgType.SCHED_CLS, _on(AttachType.NETKIT_PRIMARY, target_ifindex=_NOWHERE), errno.ENODEV
    ),
    LinkType.SOCKMAP: lambda: _is(
        ProgType.SK_MSG, _on(AttachType.SK_MSG_VERDICT, target_fd=_NOWHERE), errno.EBADF
    ),
    LinkType.TRACING_MULTI: lambda: attach_type(AttachType.TRACE_FENTRY_MULTI).available(),
}


# --- attach types ------------------------------------------------------------------------------


# Where the answer is another feature's.
_SAME: dict[AttachType, Callable[[], bool]] = {
    AttachType.XDP: lambda: link_type(LinkType.XDP).available(),
    AttachType.XDP_DEVMAP: lambda: map_programs(MapType.DEVMAP).available(),
    AttachType.XDP_CPUMAP: lambda: map_programs(MapType.CPUMAP).available(),
    AttachType.LIRC_MODE2: lambda: program_type(ProgType.LIRC_MODE2).available(),
    AttachType.PERF_EVENT: lambda: link_type(LinkType.PERF_EVENT).available(),
    AttachType.TRACE_KPROBE_MULTI: lambda: link_type(LinkType.KPROBE_MULTI).available(),
    AttachType.TRACE_KPROBE_SESSION: kprobe_session.available,
    AttachType.TRACE_UPROBE_MULTI: uprobe_multi.available,
    AttachType.TRACE_UPROBE_SESSION: uprobe_session.available,
    AttachType.STRUCT_OPS: lambda: link_type(LinkType.STRUCT_OPS).available(),
    AttachType.NETFILTER: lambda: link_type(LinkType.NETFILTER).available(),
    AttachType.TCX_INGRESS: lambda: link_type(LinkType.TCX).available(),
    AttachType.TCX_EGRESS: lambda: link_type(LinkType.TCX).available(),
    AttachType.NETKIT_PRIMARY: lambda: link_type(LinkType.NETKIT).available(),
    AttachType.NETKIT_PEER: lambda: link_type(LinkType.NETKIT).available(),
}
# What a program says when it is loaded.
_TARGETED: dict[AttachType, ProgType] = {
    AttachType.TRACE_RAW_TP: ProgType.TRACING,
    AttachType.TRACE_FENTRY: ProgType.TRACING,
    AttachType.TRACE_FEXIT: ProgType.TRACING,
    AttachType.TRACE_FSESSION: ProgType.TRACING,
    AttachType.MODIFY_RETURN: ProgType.TRACING,
    AttachType.LSM_MAC: ProgType.LSM,
}
_LATE = frozenset(
    {
        AttachType.TRACE_FENTRY_MULTI,
        AttachType.TRACE_FEXIT_MULTI,
        AttachType.TRACE_FSESSION_MULTI,
    }
)
_REUSEPORT = frozenset({AttachType.SK_REUSEPORT_SELECT, AttachType.SK_REUSEPORT_SELECT_OR_MIGRATE})
_NO_ATTACH_TYPE = 0xFFFF


def _try_attach_type(kind: AttachType) -> bool:
    if kind in _SAME:
        return _SAME[kind]()
    if kind in _TARGETED:
        # The first type is nothing to attach to, which is said by kernels that look at it.
        attr = request(_TARGETED[kind], expected_attach_type=kind, attach_btf_id=1)
        return b"attach_btf_id" in tried(attr)[1]
    if kind in _LATE:
        # Other kernels miss the target that such programs are given when they are attached.
        number, log = tried(request(ProgType.TRACING, expected_attach_type=kind))
        return number == 0 or (bool(log) and b"must provide btf_id" not in log)
    if kind in _REUSEPORT:
        return _reuseport(kind) != errno.EINVAL and _reuseport(_NO_ATTACH_TYPE) == errno.EINVAL
    # The program is not there either, which a kernel finds out that knows what type it has to be.
    nothing = attrs.ProgAttach(target_fd=_NOWHERE, attach_bpf_fd=_NOWHERE, attach_type=kind)
    return errno_of(lambda: bpf.prog_attach(nothing)) == errno.EBADF


# Kernels that do not know of attach types here take any.
def _reuseport(kind: int) -> int:
    return tried(request(ProgType.SK_REUSEPORT, expected_attach_type=kind))[0]
