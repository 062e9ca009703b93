"""Attaching by section name: ``SEC("tracepoint/sched/sched_switch")`` says it all.

A table from the way a section attaches to the function that does it; what a name cannot say (an
interface, a socket) is an error that says which function to use instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pyebpf.errors import LoadError
from pyebpf.link.base import Link
from pyebpf.link.iter import attach_iter
from pyebpf.link.kprobe import attach_kprobe, attach_ksyscall, parse_function
from pyebpf.link.kprobe_multi import attach_kprobe_multi
from pyebpf.link.raw_tracepoint import attach_raw_tracepoint
from pyebpf.link.tracepoint import attach_tracepoint
from pyebpf.link.tracing import attach_tracing
from pyebpf.link.uprobe import attach_uprobe, parse_target
from pyebpf.link.uprobe_multi import attach_uprobe_multi
from pyebpf.link.usdt import attach_usdt, parse_probe
from pyebpf.programs.program import Program
from pyebpf.uapi.bpf import ProgType

__all__ = ["attach", "names_its_target"]

_Parsed = TypeVar("_Parsed")


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
    """Whether `attach` knows where to attach *program* from its section name alone.

    As in libbpf, a name with only part of a target (``SEC("uprobe/path")``) is none, not an error.
    """
    if _way(program) is None:
        return False
    head = _head(program)
    if head.startswith(("uprobe", "uretprobe", "usdt")):
        return ":" in _target(program)
    return head not in ("tracepoint", "tp") or "/" in _target(program)


def _way(program: Program) -> Callable[[Program], Link] | None:
    spec = program.spec
    if spec is None or not spec.attach_to:
        return None
    return WAYS.get(_head(program))


def _head(program: Program) -> str:
    return program.spec.section.partition("/")[0] if program.spec is not None else ""


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
    path, symbol, offset = _parsed(program, parse_target)
    return attach_uprobe(program, path, symbol, offset=offset, retprobe=retprobe)


def _uprobe_multi(program: Program) -> Link:
    path, _, pattern = _target(program).rpartition(":")
    if not path or not pattern:
        raise LoadError(program.name, f'"{_target(program)}" is not of the form path:pattern')
    retprobe = _head(program).startswith("uretprobe")
    return attach_uprobe_multi(program, path, pattern=pattern, retprobe=retprobe)


def _usdt(program: Program) -> Link:
    path, provider, name = _parsed(program, parse_probe)
    return attach_usdt(program, path, provider, name)


def _kprobe(program: Program) -> Link:
    function, offset = _parsed(program, parse_function)
    retprobe = _head(program) == "kretprobe"
    return attach_kprobe(program, function, offset=offset, retprobe=retprobe)


def _ksyscall(program: Program) -> Link:
    return attach_ksyscall(program, _target(program), retprobe=_head(program) == "kretsyscall")


def _kprobe_multi(program: Program) -> Link:
    retprobe = _head(program).startswith("kretprobe")
    return attach_kprobe_multi(program, pattern=_target(program), retprobe=retprobe)


def _parsed(program: Program, parse: Callable[[str], _Parsed]) -> _Parsed:
    try:
        return parse(_target(program))
    except ValueError as error:
        raise LoadError(program.name, f'program "{program.name}": {error}') from None


def _target(program: Program) -> str:
    return program.spec.attach_to if program.spec is not None else ""


# By the part of the section name before the first slash.
WAYS: dict[str, Callable[[Program], Link]] = {
    "kprobe": _kprobe,
    "kretprobe": _kprobe,
    "ksyscall": _ksyscall,
    "kretsyscall": _ksyscall,
    "kprobe.multi": _kprobe_multi,
    "kretprobe.multi": _kprobe_multi,
    "kprobe.session": _kprobe_multi,
    "tracepoint": _tracepoint,
    "tp": _tracepoint,
    "raw_tracepoint": _raw_tracepoint,
    "raw_tp": _raw_tracepoint,
    "raw_tracepoint.w": _raw_tracepoint,
    "raw_tp.w": _raw_tracepoint,
    "tracepoint.s": _tracepoint,
    "tp.s": _tracepoint,
    "raw_tracepoint.s": _raw_tracepoint,
    "raw_tp.s": _raw_tracepoint,
    "tp_btf": attach_tracing,
    "tp_btf.s": attach_tracing,
    "fsession": attach_tracing,
    "fsession.s": attach_tracing,
    "fentry": attach_tracing,
    "fentry.s": attach_tracing,
    "fexit": attach_tracing,
    "fexit.s": attach_tracing,
    "fmod_ret": attach_tracing,
    "fmod_ret.s": attach_tracing,
    "freplace": attach_tracing,
    "lsm": attach_tracing,
    "lsm.s": attach_tracing,
    "iter": attach_iter,
    "iter.s": attach_iter,
    "uprobe": _uprobe,
    "uprobe.s": _uprobe,
    "uretprobe": _uretprobe,
    "uretprobe.s": _uretprobe,
    "uprobe.multi": _uprobe_multi,
    "uprobe.multi.s": _uprobe_multi,
    "uretprobe.multi": _uprobe_multi,
    "uretprobe.multi.s": _uprobe_multi,
    "uprobe.session": _uprobe_multi,
    "uprobe.session.s": _uprobe_multi,
    "usdt": _usdt,
    "usdt.s": _usdt,
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
    if _head(program) in WAYS:
        return f'SEC("{spec.section}") names no target'
    needed = _INSTEAD.get(program.type)
    if needed is not None:
        return f'SEC("{spec.section}") needs {needed}'
    return f'programs in SEC("{spec.section}") cannot be attached by this version of pyebpf'
