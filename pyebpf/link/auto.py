"""Attaching by section name: ``SEC("tracepoint/sched/sched_switch")`` says it all.

A table from the way a section attaches to the function that does it; what a name cannot say (an
interface, a socket) is an error that says which function to use instead.
"""

from __future__ import annotations

from pyebpf.errors import LoadError
from pyebpf.link.base import Link
from pyebpf.link.lazily import found
from pyebpf.link.target import section_head, section_target
from pyebpf.programs.program import Program
from pyebpf.uapi.bpf import ProgType

__all__ = ["attach", "names_its_target"]


def attach(program: Program) -> Link:
    """Attach *program* where its section name says.

    Args:
        program: Loaded from an object; may be closed afterwards.

    Returns:
        A link that detaches when closed.

    Raises:
        LoadError: The section name does not say where.
        SyscallError: The kernel refused.
    """
    way = _way(program)
    if way is None:
        raise LoadError(program.name, f'program "{program.name}": {_needs(program)}')
    link = found(*way)(program)
    assert isinstance(link, Link)
    return link


def names_its_target(program: Program) -> bool:
    """Whether `attach` knows where to attach *program* from its section name alone.

    As in libbpf, a name with only part of a target (``SEC("uprobe/path")``) is none, not an error.
    """
    if _way(program) is None:
        return False
    head = section_head(program)
    if head.startswith(("uprobe", "uretprobe", "usdt")):
        return ":" in section_target(program)
    return head not in ("tracepoint", "tp") or "/" in section_target(program)


def _way(program: Program) -> tuple[str, str] | None:
    spec = program.spec
    if spec is None or not spec.attach_to:
        return None
    return WAYS.get(section_head(program))


# By the part of the section name before the first slash: a module here, and its function.
WAYS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("kprobe", "kretprobe", "ksyscall", "kretsyscall"), ("kprobe", "by_section")),
    **dict.fromkeys(
        ("kprobe.multi", "kretprobe.multi", "kprobe.session"), ("kprobe_multi", "by_section")
    ),
    **dict.fromkeys(("uprobe", "uprobe.s", "uretprobe", "uretprobe.s"), ("uprobe", "by_section")),
    **dict.fromkeys(
        ("uprobe.multi", "uprobe.multi.s", "uretprobe.multi", "uretprobe.multi.s"),
        ("uprobe_multi", "by_section"),
    ),
    **dict.fromkeys(("uprobe.session", "uprobe.session.s"), ("uprobe_multi", "by_section")),
    **dict.fromkeys(("usdt", "usdt.s"), ("usdt", "by_section")),
    **dict.fromkeys(("tracepoint", "tracepoint.s", "tp", "tp.s"), ("tracepoint", "by_section")),
    **dict.fromkeys(
        (
            "raw_tracepoint",
            "raw_tracepoint.s",
            "raw_tracepoint.w",
            "raw_tp",
            "raw_tp.s",
            "raw_tp.w",
        ),
        ("raw_tracepoint", "by_section"),
    ),
    **dict.fromkeys(
        ("tp_btf", "fentry", "fexit", "fmod_ret", "fsession", "lsm"), ("tracing", "attach_tracing")
    ),
    **dict.fromkeys(
        ("tp_btf.s", "fentry.s", "fexit.s", "fmod_ret.s", "fsession.s", "lsm.s", "freplace"),
        ("tracing", "attach_tracing"),
    ),
    **dict.fromkeys(
        ("fentry.multi", "fexit.multi", "fsession.multi"), ("tracing_multi", "by_section")
    ),
    **dict.fromkeys(
        ("fentry.multi.s", "fexit.multi.s", "fsession.multi.s"), ("tracing_multi", "by_section")
    ),
    **dict.fromkeys(("iter", "iter.s"), ("iter", "attach_iter")),
}

_CGROUP = "a cgroup: link.attach_cgroup(program, path)"
_ROUTE = 'a route: program.pin(PATH), then "ip route add … encap bpf {} pinned PATH"'

# What to do for kinds whose section names cannot say where.
_INSTEAD = {
    ProgType.XDP: "an interface: link.attach_xdp(program, interface)",
    ProgType.SCHED_CLS: "an interface: link.attach_tc(program, interface, direction)",
    ProgType.STRUCT_OPS: "its implementation: link.attach_struct_ops(map)",
    ProgType.SOCKET_FILTER: "a socket: link.attach_socket(program, socket)",
    ProgType.SK_REUSEPORT: "a socket of a group: link.attach_reuseport(program, socket)",
    ProgType.SK_SKB: "a sockmap: link.attach_sockmap(program, map)",
    ProgType.SK_MSG: "a sockmap: link.attach_sockmap(program, map)",
    ProgType.SK_LOOKUP: "a network namespace: link.attach_netns(program)",
    ProgType.FLOW_DISSECTOR: "a network namespace: link.attach_netns(program)",
    ProgType.NETFILTER: "a hook: link.attach_netfilter(program, NetfilterHook.…)",
    ProgType.LIRC_MODE2: "a device: link.attach_lirc(program, device)",
    ProgType.CGROUP_SKB: _CGROUP,
    ProgType.CGROUP_SOCK: _CGROUP,
    ProgType.CGROUP_SOCK_ADDR: _CGROUP,
    ProgType.CGROUP_SOCKOPT: _CGROUP,
    ProgType.CGROUP_SYSCTL: _CGROUP,
    ProgType.CGROUP_DEVICE: _CGROUP,
    ProgType.SOCK_OPS: _CGROUP,
    ProgType.LWT_IN: _ROUTE.format("in"),
    ProgType.LWT_OUT: _ROUTE.format("out"),
    ProgType.LWT_XMIT: _ROUTE.format("xmit"),
    ProgType.LWT_SEG6LOCAL: (
        'a route: program.pin(PATH), then "ip -6 route add … encap seg6local action End.BPF'
        ' endpoint pinned PATH"'
    ),
    ProgType.PERF_EVENT: "an event: link.attach_perf_event(program, event, …)",
    ProgType.SCHED_ACT: "an interface: link.attach_action(program, interface, direction)",
    ProgType.LSM: "a cgroup: link.attach_cgroup(program, path)",
    ProgType.SYSCALL: "no place: program.run()",
}


def _needs(program: Program) -> str:
    spec = program.spec
    if spec is None:
        return "it was not loaded from an object, so nothing says where to attach it"
    if section_head(program) in WAYS:
        return f'SEC("{spec.section}") names no target'
    needed = _INSTEAD.get(program.type)
    if needed is not None:
        return f'SEC("{spec.section}") needs {needed}'
    return f'programs in SEC("{spec.section}") cannot be attached by this version of pyebpf'
