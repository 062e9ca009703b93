"""Everything the probes can tell about this machine, as data.

    report().to_dict()  ──▶  {"release": "6.12.0", "machine": "x86_64", "groups": {
        "map_types":                   {"BPF_MAP_TYPE_HASH": {"answer": "yes"}, …},
        "helpers/BPF_PROG_TYPE_XDP":   {"bpf_redirect": {"answer": "yes"}, …},
        "configuration":               {"CONFIG_BPF": {"answer": "yes", "value": "y"}, …}, …}}

Some thousand small programs are loaded for the helpers, which takes a fraction of a second.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Collection, Iterable, Mapping

from pyebpf.errors import EbpfError
from pyebpf.features import attach, maps, programs
from pyebpf.features.btf import BTF_KINDS
from pyebpf.features.commands import command
from pyebpf.features.feature import Answer, Feature, Finding
from pyebpf.features.helpers import helper
from pyebpf.features.instructions import INSTRUCTIONS, LIMITS
from pyebpf.features.links import attach_type, kprobe_session, link_type
from pyebpf.features.sockets import af_xdp, xdp_bind_flag
from pyebpf.host import kconfig, version
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.plain import plain
from pyebpf.sys import kernel
from pyebpf.uapi.bpf import AttachType, Cmd, LinkType, MapFlag, MapType, ProgFlag, ProgType
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.if_xdp import XdpBindFlag

__all__ = ["Report", "report"]


@plain(frozen=True, kw_only=True)
class Report:
    """What this machine can do with eBPF.

    Attributes:
        release: Of the kernel, as ``uname -r`` says it.
        machine: The architecture.
        groups: Findings by group, then by name: the kernel's own names where there are any.
    """

    release: str
    machine: str
    groups: Mapping[str, Mapping[str, Finding]]

    def to_dict(self) -> dict[str, object]:
        """Return it as dicts and texts, ready for ``json.dumps``."""
        return {
            "release": self.release,
            "machine": self.machine,
            "groups": {
                group: {name: each.to_dict() for name, each in findings.items()}
                for group, findings in self.groups.items()
            },
        }


# Written as of linux/bpf.h; 0 is no type.
_MAPS = [each for each in MapType if each]
_PROGRAMS = [each for each in ProgType if each]
_LINKS = [each for each in LinkType if each]
_HELPERS = [each for each in FuncId if each]
# Said with other commands than MAP_CREATE.
_MAP_FLAGS = [each for each in MapFlag if each != MapFlag.PATH_FD]

_ABILITIES = (
    maps.object_names,
    maps.dotted_names,
    maps.mmapable_arrays,
    maps.one_cpu_values,
    programs.expected_attach_type,
    programs.function_types,
    programs.function_addresses,
    programs.function_pointers,
    programs.far_map_values,
    programs.probe_read_kernel,
    attach.attach_cookie,
    attach.uprobe_multi_process,
    kprobe_session,
    attach.uprobe_session,
    af_xdp,
    xdp_bind_flag(XdpBindFlag.USE_NEED_WAKEUP),
    xdp_bind_flag(XdpBindFlag.USE_SG),
    Feature("types of the kernel (BTF)", "5.2", lambda: len(kernel_btf()) > 1),
)

# What these mean to eBPF: bpftool's manual, and Documentation/admin-guide/sysctl.
_SETTINGS = {
    "unprivileged_bpf_disabled": "proc/sys/kernel/unprivileged_bpf_disabled",
    "bpf_stats_enabled": "proc/sys/kernel/bpf_stats_enabled",
    "perf_event_paranoid": "proc/sys/kernel/perf_event_paranoid",
    "perf_event_max_stack": "proc/sys/kernel/perf_event_max_stack",
    "kptr_restrict": "proc/sys/kernel/kptr_restrict",
    "bpf_jit_enable": "proc/sys/net/core/bpf_jit_enable",
    "bpf_jit_harden": "proc/sys/net/core/bpf_jit_harden",
    "bpf_jit_kallsyms": "proc/sys/net/core/bpf_jit_kallsyms",
    "bpf_jit_limit": "proc/sys/net/core/bpf_jit_limit",
    "lockdown": "sys/kernel/security/lockdown",
    "lsm": "sys/kernel/security/lsm",
    "kprobe_pmu": "sys/bus/event_source/devices/kprobe/type",
    "uprobe_pmu": "sys/bus/event_source/devices/uprobe/type",
    "cpu_pmu": "sys/bus/event_source/devices/cpu/type",
}
_CONFIGURATION = """
    BPF BPF_SYSCALL HAVE_EBPF_JIT BPF_JIT BPF_JIT_ALWAYS_ON BPF_JIT_DEFAULT_ON
    BPF_UNPRIV_DEFAULT_OFF BPF_PRELOAD BPF_LSM DEBUG_INFO_BTF DEBUG_INFO_BTF_MODULES CGROUPS
    CGROUP_BPF CGROUP_NET_CLASSID SOCK_CGROUP_DATA BPF_EVENTS KPROBES KPROBE_EVENTS UPROBES
    UPROBE_EVENTS FPROBE TRACING FUNCTION_TRACER DYNAMIC_FTRACE DYNAMIC_FTRACE_WITH_DIRECT_CALLS
    FTRACE_SYSCALLS PERF_EVENTS HAVE_HW_BREAKPOINT KALLSYMS KALLSYMS_ALL MODULES
    FUNCTION_ERROR_INJECTION BPF_KPROBE_OVERRIDE NET XDP_SOCKETS LWTUNNEL_BPF NET_ACT_BPF
    NET_CLS_BPF NET_CLS_ACT NET_SCH_INGRESS NET_SCH_BPF NETKIT VETH XFRM IP_ROUTE_CLASSID
    IPV6_SEG6_BPF BPF_LIRC_MODE2 BPF_STREAM_PARSER NETFILTER_XT_MATCH_BPF NETFILTER_BPF_LINK
    SCHED_CLASS_EXT HID_BPF FS_VERITY TEST_BPF HZ
"""


def report(*, helpers: bool | Collection[ProgType] = True, root: str | None = None) -> Report:
    """Find out everything the probes can tell.

    Args:
        helpers: Types of programs of which to find out which helpers they may call; True for all,
            which is most of the work, False for none.
        root: The directory that stands for ``/``, for settings and the configuration.

    Returns:
        A tree of findings. It never raises for want of a privilege: what cannot be told says so,
        and why.
    """
    groups = {
        "commands": _findings((str(each), command(each)) for each in Cmd),
        "map_types": _findings((str(each), maps.map_type(each)) for each in _MAPS),
        "map_flags": _findings((str(each), maps.map_flag(each)) for each in _MAP_FLAGS),
        "program_types": _findings((str(each), programs.program_type(each)) for each in _PROGRAMS),
        "program_flags": _findings((str(each), programs.program_flag(each)) for each in ProgFlag),
        "attach_types": _findings((str(each), attach_type(each)) for each in AttachType),
        "link_types": _findings((str(each), link_type(each)) for each in _LINKS),
        "instructions": _findings(INSTRUCTIONS.items()),
        "limits": _findings(LIMITS.items()),
        "abilities": _findings((each.name, each) for each in _ABILITIES),
        "btf_kinds": _findings(BTF_KINDS.items()),
    }
    asked = (_PROGRAMS if helpers else ()) if isinstance(helpers, bool) else helpers
    for kind in asked:
        groups[f"helpers/{kind}"] = _findings(
            (f"bpf_{each.name}", helper(each, kind)) for each in _HELPERS
        )
    top = root or kernel.current().root
    places = {name: os.path.join(top, path) for name, path in _SETTINGS.items()}
    groups["settings"] = {name: _setting(path) for name, path in places.items()}
    groups["configuration"] = _configuration(root)
    return Report(release=version.running(root), machine=platform.machine(), groups=groups)


def _findings(features: Iterable[tuple[str, Feature]]) -> dict[str, Finding]:
    return {name: feature.finding() for name, feature in features}


def _setting(path: str) -> Finding:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return Finding(answer=Answer.YES, value=file.read().strip())
    except OSError as error:
        if error.errno != errno.ENOENT:
            return Finding(answer=Answer.UNKNOWN, reason=str(error))
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    if not os.listdir(above):  # such as /proc where nothing is mounted on it
        return Finding(answer=Answer.UNKNOWN, reason=f"{above} is empty")
    return Finding(answer=Answer.NO)


def _configuration(root: str | None) -> dict[str, Finding]:
    names = [f"CONFIG_{name}" for name in _CONFIGURATION.split()]
    try:
        found = kconfig.read(names, root)
    except EbpfError as error:
        return {name: Finding(answer=Answer.UNKNOWN, reason=str(error)) for name in names}
    if not found.source:
        reason = "this system keeps no configuration of its kernel"
        return {name: Finding(answer=Answer.UNKNOWN, reason=reason) for name in names}
    return {
        name: Finding(answer=Answer.YES, value=found.values[name])
        if name in found.values
        else Finding(answer=Answer.NO)
        for name in names
    }
