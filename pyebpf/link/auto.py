"""Attaching by section name: ``SEC("tracepoint/sched/sched_switch")`` says it all.

A table from the way a section attaches to the function that does it; what a name cannot say (an
interface, a socket) is an error that says which function to use instead.
"""

from __future__ import annotations

from collections.abc import Callable

from pyebpf.errors import LoadError
from pyebpf.link.base import Link
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
    return way(program)


def names_its_target(program: Program) -> bool:
    """Whether `attach` knows where to attach *program* from its section name alone."""
    return _way(program) is not None


def _way(program: Program) -> Callable[[Program], Link] | None:
    spec = program.spec
    if spec is None or not spec.attach_to:
        return None
    return WAYS.get(spec.section.partition("/")[0])


def _tracepoint(program: Program) -> Link:
    from pyebpf.link.tracepoint import attach_tracepoint

    category, slash, name = _target(program).partition("/")
    if not slash:
        raise LoadError(program.name, f'SEC("tracepoint/{category}") names no category/name')
    return attach_tracepoint(program, category, name)


def _raw_tracepoint(program: Program) -> Link:
    from pyebpf.link.raw_tracepoint import attach_raw_tracepoint

    return attach_raw_tracepoint(program, _target(program))


def _tracing(program: Program) -> Link:
    from pyebpf.link.tracing import attach_tracing

    return attach_tracing(program)


def _uprobe(program: Program) -> Link:
    return _attach_uprobe(program, retprobe=False)


def _uretprobe(program: Program) -> Link:
    return _attach_uprobe(program, retprobe=True)


def _attach_uprobe(program: Program, *, retprobe: bool) -> Link:
    from pyebpf.link.uprobe import attach_uprobe, parse_target

    try:
        path, symbol, offset = parse_target(_target(program))
    except ValueError as error:
        raise LoadError(program.name, f'program "{program.name}": {error}') from None
    return attach_uprobe(program, path, symbol, offset=offset, retprobe=retprobe)


def _target(program: Program) -> str:
    return program.spec.attach_to if program.spec is not None else ""


# By the part of the section name before the first slash.
WAYS: dict[str, Callable[[Program], Link]] = {
    "tracepoint": _tracepoint,
    "tp": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "raw_tp": _raw_tracepoint,
    "raw_tracepoint.w": _raw_tracepoint,
    "raw_tp.w": _raw_tracepoint,
    "tp_btf": _tracing,
    "fentry": _tracing,
    "fentry.s": _tracing,
    "fexit": _tracing,
    "fexit.s": _tracing,
    "fmod_ret": _tracing,
    "fmod_ret.s": _tracing,
    "freplace": _tracing,
    "lsm": _tracing,
    "lsm.s": _tracing,
    "uprobe": _uprobe,
    "uprobe.s": _uprobe,
    "uretprobe": _uretprobe,
    "uretprobe.s": _uretprobe,
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
    ProgType.SYSCALL: "no place: program.run()",
}


def _needs(program: Program) -> str:
    spec = program.spec
    if spec is None:
        return "it was not loaded from an object, so nothing says where to attach it"
    needed = _INSTEAD.get(program.type)
    if needed is not None:
        return f'SEC("{spec.section}") needs {needed}'
    if spec.section.partition("/")[0] in WAYS:
        return f'SEC("{spec.section}") names no target'
    return f'programs in SEC("{spec.section}") cannot be attached by this version of pyebpf'
