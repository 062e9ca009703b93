"""The SEC() table: what a program's section name says about it.

A section name comes in, a `SectionMatch` goes out: ``"fentry.s/do_unlinkat"`` is a sleepable
tracing program for the start of ``do_unlinkat``. What is tried, in this order:

    1  libbpf's names           kprobe+  kprobe, kprobe/x (attach_to: x);  xdp  just that
    2  a user's own sections    the same patterns
    3  goebpf's names           socket_filter, tc_cls, tc_act, whatever follows a slash
    4  longer than a pattern    xdp_prog, socket1, cgroup/bind: what loaders before libbpf 1.0 took,
                                and newtools' own seccomp; the longest pattern wins
    5  in capitals              XDP/x: goebpf did not look at the case

A leading ``?`` in the section's name is not part of it: do not load by default. Every name of
libbpf means what it means there, whatever else is known.
"""

from __future__ import annotations

from _thread import allocate_lock  # threading takes 1 ms
from collections.abc import Sequence

from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import AttachType, ProgFlag, ProgType

__all__ = [
    "SECTIONS",
    "Section",
    "SectionMatch",
    "match",
    "register_section",
    "registered_sections",
    "unregister_section",
]


class Section(NamedTuple):
    """What a section's name means: a row of the table of SEC() names, or one of a user's own.

    Attributes:
        pattern: The name; with a ``+`` at its end ``name/target``, too.
        type: ``enum bpf_prog_type``.
        attach_type: ``expected_attach_type``, or ``None``.
        flags: ``BPF_F_*`` program flags.
        optional: The kind is older than ``expected_attach_type`` (Linux 4.17) and loads without.
        btf: Attaches to a function, type or program found by its BTF id.
    """

    pattern: str
    type: ProgType
    attach_type: AttachType | None = None
    flags: ProgFlag = ProgFlag(0)
    optional: bool = False
    btf: bool = False


class SectionMatch(NamedTuple):
    """What a section's name says.

    Attributes:
        type: ``enum bpf_prog_type``; ``UNSPEC`` if the name is unknown.
        attach_type: ``expected_attach_type``, or ``None`` where the kind has none.
        attach_to: The part after the first slash, for kinds that take a target there.
        flags: ``BPF_F_*`` program flags.
        attach_type_optional: Kernels without ``expected_attach_type`` load it all the same.
        autoload: False if the name starts with ``?``.
        needs_attach_btf: Attaches to a function, type or program found by its BTF id.
        pattern: The row that matched, without its ``+`` (``"kretprobe"``), or ``""``.
    """

    type: ProgType
    attach_type: AttachType | None = None
    attach_to: str = ""
    flags: ProgFlag = ProgFlag(0)
    attach_type_optional: bool = False
    autoload: bool = True
    needs_attach_btf: bool = False
    pattern: str = ""


_P = ProgType
_A = AttachType
_SLEEPABLE = ProgFlag.SLEEPABLE
_FRAGS = ProgFlag.XDP_HAS_FRAGS


def _kprobes() -> tuple[Section, ...]:
    return (
        *(Section(f"{name}+", _P.KPROBE) for name in ("kprobe", "uprobe")),
        Section("uprobe.s+", _P.KPROBE, None, _SLEEPABLE),
        *(Section(f"{name}+", _P.KPROBE) for name in ("kretprobe", "uretprobe")),
        Section("uretprobe.s+", _P.KPROBE, None, _SLEEPABLE),
        Section("kprobe.multi+", _P.KPROBE, _A.TRACE_KPROBE_MULTI),
        Section("kretprobe.multi+", _P.KPROBE, _A.TRACE_KPROBE_MULTI),
        Section("kprobe.session+", _P.KPROBE, _A.TRACE_KPROBE_SESSION),
        Section("uprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI),
        Section("uretprobe.multi+", _P.KPROBE, _A.TRACE_UPROBE_MULTI),
        Section("uprobe.session+", _P.KPROBE, _A.TRACE_UPROBE_SESSION),
        Section("uprobe.multi.s+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, _SLEEPABLE),
        Section("uretprobe.multi.s+", _P.KPROBE, _A.TRACE_UPROBE_MULTI, _SLEEPABLE),
        Section("uprobe.session.s+", _P.KPROBE, _A.TRACE_UPROBE_SESSION, _SLEEPABLE),
        *(Section(f"{name}+", _P.KPROBE) for name in ("ksyscall", "kretsyscall", "usdt")),
        Section("usdt.s+", _P.KPROBE, None, _SLEEPABLE),
    )


def _tracing() -> tuple[Section, ...]:
    rows = [
        *(Section(f"{name}+", _P.TRACEPOINT) for name in ("tracepoint", "tp")),
        *(Section(f"{name}.s+", _P.TRACEPOINT, None, _SLEEPABLE) for name in ("tracepoint", "tp")),
        *(Section(f"{name}+", _P.RAW_TRACEPOINT) for name in ("raw_tracepoint", "raw_tp")),
        *(
            Section(f"{name}.s+", _P.RAW_TRACEPOINT, None, _SLEEPABLE)
            for name in ("raw_tracepoint", "raw_tp")
        ),
        Section("raw_tracepoint.w+", _P.RAW_TRACEPOINT_WRITABLE),
        Section("raw_tp.w+", _P.RAW_TRACEPOINT_WRITABLE),
    ]
    kinds = (
        ("tp_btf", _P.TRACING, _A.TRACE_RAW_TP),
        ("fentry", _P.TRACING, _A.TRACE_FENTRY),
        ("fmod_ret", _P.TRACING, _A.MODIFY_RETURN),
        ("fexit", _P.TRACING, _A.TRACE_FEXIT),
        ("fsession", _P.TRACING, _A.TRACE_FSESSION),
        ("lsm", _P.LSM, _A.LSM_MAC),
        ("iter", _P.TRACING, _A.TRACE_ITER),
    )
    for name, kind, attach_type in kinds:
        rows.append(Section(f"{name}+", kind, attach_type, btf=True))
        rows.append(Section(f"{name}.s+", kind, attach_type, _SLEEPABLE, btf=True))
    multi = (
        ("fsession", _A.TRACE_FSESSION_MULTI),
        ("fentry", _A.TRACE_FENTRY_MULTI),
        ("fexit", _A.TRACE_FEXIT_MULTI),
    )
    for name, attach_type in multi:
        rows.append(Section(f"{name}.multi+", _P.TRACING, attach_type))
        rows.append(Section(f"{name}.multi.s+", _P.TRACING, attach_type, _SLEEPABLE))
    return (
        *rows,
        Section("freplace+", _P.EXT, btf=True),
        Section("lsm_cgroup+", _P.LSM, _A.LSM_CGROUP, btf=True),
        Section("syscall", _P.SYSCALL, None, _SLEEPABLE),
        Section("struct_ops+", _P.STRUCT_OPS),
        Section("struct_ops.s+", _P.STRUCT_OPS, None, _SLEEPABLE),
    )


def _network() -> tuple[Section, ...]:
    return (
        Section("socket", _P.SOCKET_FILTER),
        Section("sk_reuseport/migrate", _P.SK_REUSEPORT, _A.SK_REUSEPORT_SELECT_OR_MIGRATE),
        Section("sk_reuseport", _P.SK_REUSEPORT, _A.SK_REUSEPORT_SELECT),
        Section("tc/ingress", _P.SCHED_CLS, _A.TCX_INGRESS),
        Section("tc/egress", _P.SCHED_CLS, _A.TCX_EGRESS),
        Section("tcx/ingress", _P.SCHED_CLS, _A.TCX_INGRESS),
        Section("tcx/egress", _P.SCHED_CLS, _A.TCX_EGRESS),
        Section("tc", _P.SCHED_CLS),
        Section("classifier", _P.SCHED_CLS),
        Section("action", _P.SCHED_ACT),
        Section("netkit/primary", _P.SCHED_CLS, _A.NETKIT_PRIMARY),
        Section("netkit/peer", _P.SCHED_CLS, _A.NETKIT_PEER),
        Section("xdp.frags/devmap", _P.XDP, _A.XDP_DEVMAP, _FRAGS),
        Section("xdp/devmap", _P.XDP, _A.XDP_DEVMAP),
        Section("xdp.frags/cpumap", _P.XDP, _A.XDP_CPUMAP, _FRAGS),
        Section("xdp/cpumap", _P.XDP, _A.XDP_CPUMAP),
        Section("xdp.frags", _P.XDP, _A.XDP, _FRAGS),
        Section("xdp", _P.XDP, _A.XDP, optional=True),
        Section("perf_event", _P.PERF_EVENT),
        Section("lwt_in", _P.LWT_IN),
        Section("lwt_out", _P.LWT_OUT),
        Section("lwt_xmit", _P.LWT_XMIT),
        Section("lwt_seg6local", _P.LWT_SEG6LOCAL),
        Section("sockops", _P.SOCK_OPS, _A.CGROUP_SOCK_OPS, optional=True),
        Section("sk_skb/stream_parser", _P.SK_SKB, _A.SK_SKB_STREAM_PARSER, optional=True),
        Section("sk_skb/stream_verdict", _P.SK_SKB, _A.SK_SKB_STREAM_VERDICT, optional=True),
        Section("sk_skb/verdict", _P.SK_SKB, _A.SK_SKB_VERDICT, optional=True),
        Section("sk_skb", _P.SK_SKB),
        Section("sk_msg", _P.SK_MSG, _A.SK_MSG_VERDICT, optional=True),
        Section("lirc_mode2", _P.LIRC_MODE2, _A.LIRC_MODE2, optional=True),
        Section("flow_dissector", _P.FLOW_DISSECTOR, _A.FLOW_DISSECTOR, optional=True),
        Section("sk_lookup", _P.SK_LOOKUP, _A.SK_LOOKUP),
        Section("netfilter", _P.NETFILTER, _A.NETFILTER),
    )


def _cgroup() -> tuple[Section, ...]:
    addresses = (
        "bind4 INET4_BIND", "bind6 INET6_BIND",
        "connect4 INET4_CONNECT", "connect6 INET6_CONNECT", "connect_unix UNIX_CONNECT",
        "sendmsg4 UDP4_SENDMSG", "sendmsg6 UDP6_SENDMSG", "sendmsg_unix UNIX_SENDMSG",
        "recvmsg4 UDP4_RECVMSG", "recvmsg6 UDP6_RECVMSG", "recvmsg_unix UNIX_RECVMSG",
        "getpeername4 INET4_GETPEERNAME", "getpeername6 INET6_GETPEERNAME",
        "getpeername_unix UNIX_GETPEERNAME",
        "getsockname4 INET4_GETSOCKNAME", "getsockname6 INET6_GETSOCKNAME",
        "getsockname_unix UNIX_GETSOCKNAME",
    )  # fmt: skip
    rows = [
        Section("cgroup_skb/ingress", _P.CGROUP_SKB, _A.CGROUP_INET_INGRESS, optional=True),
        Section("cgroup_skb/egress", _P.CGROUP_SKB, _A.CGROUP_INET_EGRESS, optional=True),
        Section("cgroup/skb", _P.CGROUP_SKB),
        Section("cgroup/sock_create", _P.CGROUP_SOCK, _A.CGROUP_INET_SOCK_CREATE),
        Section("cgroup/sock_release", _P.CGROUP_SOCK, _A.CGROUP_INET_SOCK_RELEASE),
        Section("cgroup/sock", _P.CGROUP_SOCK, _A.CGROUP_INET_SOCK_CREATE, optional=True),
        Section("cgroup/post_bind4", _P.CGROUP_SOCK, _A.CGROUP_INET4_POST_BIND),
        Section("cgroup/post_bind6", _P.CGROUP_SOCK, _A.CGROUP_INET6_POST_BIND),
    ]
    for address in addresses:
        name, attach_type = address.split()
        rows.append(
            Section(f"cgroup/{name}", _P.CGROUP_SOCK_ADDR, AttachType[f"CGROUP_{attach_type}"])
        )
    return (
        *rows,
        Section("cgroup/sysctl", _P.CGROUP_SYSCTL, _A.CGROUP_SYSCTL),
        Section("cgroup/getsockopt", _P.CGROUP_SOCKOPT, _A.CGROUP_GETSOCKOPT),
        Section("cgroup/setsockopt", _P.CGROUP_SOCKOPT, _A.CGROUP_SETSOCKOPT),
        Section("cgroup/dev", _P.CGROUP_DEVICE, _A.CGROUP_DEVICE, optional=True),
    )


SECTIONS: tuple[Section, ...] = (*_kprobes(), *_tracing(), *_network(), *_cgroup())

_WITH_TARGET = {row.pattern[:-1]: row for row in SECTIONS if row.pattern.endswith("+")}
_PLAIN = {row.pattern: row for row in SECTIONS if not row.pattern.endswith("+")}

# Beginnings that newtools knew and libbpf does not: without the attach type that the rest of a full
# name says, except where there is none.
_NEWTOOLS = (
    Section("seccomp", _P.SOCKET_FILTER),
    Section("cgroup_skb/", _P.CGROUP_SKB),
    Section("cgroup/post_bind", _P.CGROUP_SOCK),
    *(
        Section(f"cgroup/{name}", _P.CGROUP_SOCK_ADDR)
        for name in ("bind", "connect", "sendmsg", "recvmsg")
    ),
)
_BEGINNINGS = sorted((*_PLAIN.values(), *_NEWTOOLS), key=lambda row: -len(row.pattern))

# Up to the first slash; the rest was the program's name there.
_GOEBPF = {
    "socket_filter": Section("socket_filter", _P.SOCKET_FILTER),
    "tc_cls": Section("tc_cls", _P.SCHED_CLS),
    "tc_act": Section("tc_act", _P.SCHED_ACT),
}
_IN_CAPITALS = {*_GOEBPF, "xdp", "kprobe", "kretprobe"}

# The kernel learns what a struct_ops program implements from the map that names it.
_TARGET_IGNORED = ("struct_ops", "struct_ops.s")


def match(name: str, own: Sequence[Section] = ()) -> SectionMatch:
    """Find what a section's name says about the programs in it.

    Args:
        name: The ELF section's name, as in ``SEC("...")``.
        own: Sections besides libbpf's.

    Returns:
        The match; its type is ``UNSPEC`` if no row fits, which is not an error until a load.
    """
    autoload = not name.startswith("?")
    name = name.removeprefix("?")
    row, target = _find(name, own)
    if row is None:
        return SectionMatch(ProgType.UNSPEC, autoload=autoload)
    pattern = row.pattern.removesuffix("+")
    return SectionMatch(
        row.type,
        row.attach_type,
        "" if pattern in _TARGET_IGNORED else target,
        row.flags,
        row.optional,
        autoload,
        row.btf,
        pattern,
    )


def _find(name: str, own: Sequence[Section]) -> tuple[Section | None, str]:
    head, _, target = name.partition("/")
    row = _WITH_TARGET.get(head)
    if row is not None:
        return row, target
    row = _PLAIN.get(name)
    if row is not None:
        return row, ""
    for row in own:
        with_target = row.pattern.endswith("+")
        if (head if with_target else name) == row.pattern.removesuffix("+"):
            return row, target if with_target else ""
    row = _GOEBPF.get(head) or _beginning(name)
    if row is None and head != head.lower() in _IN_CAPITALS:
        return _find(f"{head.lower()}/{target}", ())
    return row, ""


def _beginning(name: str) -> Section | None:
    return next((row for row in _BEGINNINGS if name.startswith(row.pattern)), None)


_registered: tuple[Section, ...] = ()
_registering = allocate_lock()


def register_section(
    pattern: str,
    type: ProgType,  # noqa: A002 - the kernel's word
    attach_type: AttachType | None = None,
    flags: int = 0,
    *,
    optional: bool = False,
    btf: bool = False,
) -> Section:
    """Tell `load_spec` what a section name of your own means, for the rest of the process.

    What libbpf knows keeps its meaning. The same file then gives the same spec as long as the same
    sections are registered: do it once, where your program starts, before it reads objects. Where
    that is not certain, such as in a library, hand them to ``load_spec(..., sections=[...])``,
    which then looks at nothing else.

    Args:
        pattern: The name; with a ``+`` at its end ``name/target``, too.
        type: ``enum bpf_prog_type``.
        attach_type: ``expected_attach_type``, or ``None``.
        flags: ``BPF_F_*`` program flags.
        optional: Kernels before 4.17, which know no ``expected_attach_type``, load it without.
        btf: Attaches to a function, type or program found by its BTF id: what follows the slash.

    Returns:
        The section as `load_spec` takes it.

    Raises:
        ValueError: libbpf knows the name, or it is registered with another meaning.
    """
    global _registered  # replaced whole: who reads it needs no lock
    row = Section(pattern, ProgType(type), attach_type, ProgFlag(flags), optional, btf)
    name = pattern.removesuffix("+")
    if not name or name.startswith("?"):
        raise ValueError(f'"{pattern}" cannot be a section\'s pattern')
    if name in _PLAIN or name.partition("/")[0] in _WITH_TARGET:
        raise ValueError(f'section "{name}" has a meaning already')
    with _registering:
        known = {each.pattern.removesuffix("+"): each for each in _registered}
        if known.setdefault(name, row) != row:
            raise ValueError(f'section "{name}" is registered with another meaning')
        _registered = tuple(known.values())
    return row


def unregister_section(pattern: str) -> None:
    """Take back what `register_section` said.

    Raises:
        KeyError: No such pattern is registered.
    """
    global _registered
    with _registering:
        left = tuple(each for each in _registered if each.pattern != pattern)
        if len(left) == len(_registered):
            raise KeyError(pattern)
        _registered = left


def registered_sections() -> tuple[Section, ...]:
    """Return the sections that `register_section` added, in that order."""
    return _registered
