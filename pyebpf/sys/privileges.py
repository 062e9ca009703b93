"""Why the kernel said EPERM or EACCES: which capability, sysctl, lockdown or limit is in the way.

In: what was tried (a bpf command, a program or map type, or perf) and the files under ``root`` that
say what this process may do. Out: one phrase for a message, such as ``needs CAP_BPF (or
CAP_SYS_ADMIN); kernel.unprivileged_bpf_disabled=2``. Read only after a refusal, never to decide
anything: whether something is allowed the kernel alone knows.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable

from pyebpf.uapi.bpf import AttachType, Cmd, MapType, ProgType

__all__ = ["CHARGED", "Capabilities", "explain", "explain_perf", "lockdown"]

# Bits of CapEff, linux/capability.h.
_BITS = {
    "CAP_NET_ADMIN": 12,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,  # since Linux 5.8, CAP_SYS_ADMIN before
    "CAP_BPF": 39,  # since Linux 5.8, CAP_SYS_ADMIN before
}

# Ids lead to everybody's objects, so these ask for the whole of CAP_SYS_ADMIN.
_ADMIN_COMMANDS = frozenset(
    {
        Cmd.PROG_GET_NEXT_ID,
        Cmd.MAP_GET_NEXT_ID,
        Cmd.BTF_GET_NEXT_ID,
        Cmd.LINK_GET_NEXT_ID,
        Cmd.PROG_GET_FD_BY_ID,
        Cmd.MAP_GET_FD_BY_ID,
        Cmd.BTF_GET_FD_BY_ID,
        Cmd.LINK_GET_FD_BY_ID,
        Cmd.TASK_FD_QUERY,
        Cmd.ENABLE_STATS,
    }
)
_NET_COMMANDS = frozenset({Cmd.PROG_ATTACH, Cmd.PROG_DETACH, Cmd.PROG_QUERY})

# bpf_prog_load: is_net_admin_prog_type and is_perfmon_prog_type (kernel/bpf/syscall.c).
_TRACING_TYPES = frozenset(
    {
        ProgType.KPROBE,
        ProgType.TRACEPOINT,
        ProgType.PERF_EVENT,
        ProgType.RAW_TRACEPOINT,
        ProgType.RAW_TRACEPOINT_WRITABLE,
        ProgType.TRACING,
        ProgType.LSM,
        ProgType.STRUCT_OPS,
        ProgType.EXT,
    }
)
_TRACING_PLACES = frozenset(
    {
        AttachType.TRACE_RAW_TP,
        AttachType.TRACE_FENTRY,
        AttachType.TRACE_FEXIT,
        AttachType.TRACE_FSESSION,
        AttachType.MODIFY_RETURN,
        AttachType.LSM_MAC,
        AttachType.TRACE_ITER,
        AttachType.PERF_EVENT,
        AttachType.TRACE_KPROBE_MULTI,
        AttachType.TRACE_KPROBE_SESSION,
        AttachType.TRACE_UPROBE_MULTI,
        AttachType.TRACE_UPROBE_SESSION,
    }
)
_FREE_TYPES = frozenset({ProgType.SOCKET_FILTER, ProgType.CGROUP_SKB, ProgType.SYSCALL})
_NET_MAPS = frozenset(
    {
        MapType.DEVMAP,
        MapType.DEVMAP_HASH,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.SOCKHASH,
    }
)

# What EPERM means besides privilege, for processes that have all the privileges there are.
_OTHER_REASONS = {
    Cmd.MAP_UPDATE_ELEM: "the map is frozen or opened without write access",
    Cmd.MAP_DELETE_ELEM: "the map is frozen or opened without write access",
    Cmd.MAP_LOOKUP_ELEM: "the map is opened without read access",
    Cmd.MAP_UPDATE_BATCH: "the map is frozen or opened without write access",
    Cmd.MAP_DELETE_BATCH: "the map is frozen or opened without write access",
    Cmd.OBJ_PIN: "the path is not on a bpf file system",
    Cmd.OBJ_GET: "the pin does not allow this kind of access",
    Cmd.PROG_LOAD: "the kernel gave no reason, and no capability is missing: a policy of this "
    "kernel or machine",
    Cmd.PROG_ATTACH: "another program is attached there, or above it, that does not share",
    Cmd.LINK_CREATE: "another program is attached there, or above it, that does not share",
    Cmd.LINK_UPDATE: "the old program is not the one attached",
}
# What kernels before 5.11 (commit 3ac1f01b43b6) charge to RLIMIT_MEMLOCK: EPERM when it is full.
CHARGED = frozenset({Cmd.MAP_CREATE, Cmd.PROG_LOAD, Cmd.BTF_LOAD})
_WHOLE_ID_RANGE = "4294967295"


class Capabilities:
    """The effective capabilities of this process.

    Args:
        root: The directory that stands for ``/``.

    Attributes:
        mask: Bits of ``CapEff``.
        initial: Whether they count outside of a user namespace.
        known: ``/proc`` says so; else nothing is assumed to be missing.
    """

    __slots__ = ("initial", "known", "mask")

    def __init__(self, root: str = "/") -> None:
        self.mask = (1 << 64) - 1
        self.known = False
        for line in _text(root, "proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                self.mask, self.known = int(line.split()[1], 16), True
        ranges = _text(root, "proc/self/uid_map").split()
        self.initial = not ranges or ranges == ["0", "0", _WHOLE_ID_RANGE]

    def has(self, name: str) -> bool:
        """Whether ``"CAP_BPF"`` or another one we know is effective."""
        return bool(self.mask >> _BITS[name] & 1)

    def missing(self, *names: str) -> list[str]:
        """Return those of *names* this process lacks; CAP_SYS_ADMIN stands for every one."""
        if self.has("CAP_SYS_ADMIN"):
            return []
        return [name for name in names if not self.has(name)]


def explain(
    cmd: Cmd = Cmd.PROG_LOAD,
    *,
    program_type: int | None = None,
    attach_type: int | None = None,
    map_type: int | None = None,
    charged: Callable[[], bool | None] | None = None,
    root: str = "/",
) -> str:
    """Say in one phrase why a bpf command was refused with EPERM.

    Args:
        cmd: The command.
        program_type: For ``BPF_PROG_LOAD``.
        attach_type: For ``BPF_PROG_LOAD``, its ``expected_attach_type``; for ``BPF_LINK_CREATE``.
        map_type: For ``BPF_MAP_CREATE``.
        charged: Tells whether this kernel charges maps and programs to ``RLIMIT_MEMLOCK``;
            ``None`` if that cannot be told.
        root: The directory that stands for ``/``.
    """
    needed = _needed(cmd, program_type, attach_type, map_type)
    capabilities = Capabilities(root)
    missing = capabilities.missing(*needed)
    reasons = []
    if not capabilities.known and cmd not in _OTHER_REASONS:
        reasons.append(_unknown(*needed))
    elif missing:
        reasons.append(_needs(missing))
        disabled = _text(root, "proc/sys/kernel/unprivileged_bpf_disabled").strip()
        if disabled not in ("", "0"):
            reasons.append(f"kernel.unprivileged_bpf_disabled={disabled}")
    elif not capabilities.initial:
        reasons.append(
            "capabilities of a user namespace do not count: those of the initial one, or a BPF "
            "token (since Linux 6.9), are needed"
        )
    elif cmd in CHARGED and (limit := _memory_limit(charged)):
        reasons.append(limit)
    else:
        reasons.append(_OTHER_REASONS.get(cmd, "no capability is missing"))
        if cmd is Cmd.PROG_LOAD and program_type is not None:
            reasons[0] += f" may forbid {_kind(program_type, attach_type)}"
        mode = lockdown(root)
        if mode and cmd is Cmd.PROG_LOAD:
            reasons.append(f"kernel lockdown is at {mode}")
    return "; ".join(reasons)


def explain_perf(*, root: str = "/") -> str:
    """Say in one phrase why ``perf_event_open`` or a perf mmap was refused."""
    capabilities = Capabilities(root)
    missing = capabilities.missing("CAP_PERFMON")
    level = _text(root, "proc/sys/kernel/perf_event_paranoid").strip()
    reasons = []
    if not capabilities.known:
        reasons.append(_unknown("CAP_PERFMON"))
    elif missing:
        reasons.append(_needs(missing))
        if level:
            reasons.append(f"kernel.perf_event_paranoid={level}")
    elif not capabilities.initial:
        reasons.append("capabilities of a user namespace do not count here")
    else:
        reasons.append("no capability is missing")
        mode = lockdown(root)
        if mode:
            reasons.append(f"kernel lockdown is at {mode}")
    return "; ".join(reasons)


def _needed(
    cmd: Cmd, program_type: int | None, attach_type: int | None, map_type: int | None
) -> tuple[str, ...]:
    if cmd in _ADMIN_COMMANDS:
        return ("CAP_SYS_ADMIN",)
    if cmd in _NET_COMMANDS:
        return ("CAP_BPF", "CAP_NET_ADMIN")
    if cmd is Cmd.LINK_CREATE and attach_type is not None:
        traces = attach_type in _TRACING_PLACES
        return ("CAP_BPF", "CAP_PERFMON" if traces else "CAP_NET_ADMIN")
    if cmd is Cmd.MAP_CREATE and map_type in _NET_MAPS:
        return ("CAP_BPF", "CAP_NET_ADMIN")
    if cmd is Cmd.PROG_LOAD and program_type in _TRACING_TYPES:
        return ("CAP_BPF", "CAP_PERFMON")
    if cmd is Cmd.PROG_LOAD and program_type is not None and program_type not in _FREE_TYPES:
        return ("CAP_BPF", "CAP_NET_ADMIN")
    return ("CAP_BPF",)


def _unknown(*needed: str) -> str:
    takes = _needs(list(needed)).replace("needs", "takes", 1)
    return f"{takes}, and there is no /proc to say whether this process has that"


def _needs(missing: list[str]) -> str:
    if missing == ["CAP_SYS_ADMIN"]:
        return "needs CAP_SYS_ADMIN"
    return f"needs {' and '.join(missing)} (or CAP_SYS_ADMIN)"


# What was refused, where the program type alone does not say: tracing of one kind may be allowed
# and another not.
def _kind(program_type: int, attach_type: int | None) -> str:
    kind = str(ProgType(program_type))
    if program_type in (ProgType.TRACING, ProgType.LSM) and attach_type is not None:
        kind += f" with {AttachType(attach_type)}"
    return kind


# Linux 5.11 (commit 3ac1f01b43b6) stopped charging RLIMIT_MEMLOCK for maps and programs, and
# distributions took that into older kernels. So the kernel is asked; where it cannot answer, being
# out of memory to charge, its release must do.
def _memory_limit(charged: Callable[[], bool | None] | None) -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return ""
    answer = charged() if charged is not None else None
    if answer is False or (answer is None and not _old_enough(os.uname().release)):
        return ""
    return f"RLIMIT_MEMLOCK is {soft >> 10} KiB, to which this kernel charges maps and programs"


def _old_enough(release: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and (int(found[1]), int(found[2])) < (5, 11)


def lockdown(root: str = "/") -> str:
    """Return the mode of kernel lockdown, or ``""`` if there is none.

    Args:
        root: The directory that stands for ``/``.
    """
    for word in _text(root, "sys/kernel/security/lockdown").split():
        if word.startswith("[") and word != "[none]":
            return word.strip("[]")
    return ""


def _text(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path)) as file:
            return file.read()
    except OSError:
        return ""
