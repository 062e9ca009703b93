"""Attaching programs to hooks, one module a hook; every function returns a `Link`.

    closed            detached, unless pinned (`Link.pin`) or disowned (`Link.disown`)
    forgotten         a ResourceWarning; a bpf_link is detached, what the kernel keeps stays
    process killed    likewise; `leftovers` lists what stayed, `clean_up` detaches it
    hook gone         closing is fine; asking or updating says so

Most attachments are a ``bpf_link``. Where the kernel has none, or if asked to (``use_link=False``),
they are made through netlink or ``BPF_PROG_ATTACH``, and the hook keeps them. `query` lists the
programs of a hook, whoever attached them; `adopt` takes over a pinned link.

Light-weight tunnels (``SEC("lwt_xmit")``) have no call: pin the program, and let a route name it:
``ip route add 10.0.0.0/8 encap bpf xmit pinned /sys/fs/bpf/program dev eth0``.
"""

from __future__ import annotations

import importlib

# Name -> the module it is in, looked up when a name is first used: hooks that are not used cost
# nothing. __init__.pyi says the same to type checkers.
_HOMES = {
    "Attached": "attached",
    "AttachedProgram": "attached",
    "CgroupDetails": "kinds",
    "EventDetails": "kinds",
    "IterDetails": "kinds",
    "IterLink": "iter",
    "KprobeDetails": "kinds",
    "KprobeMultiDetails": "kinds",
    "Leftover": "left_behind",
    "Link": "base",
    "LinkDetails": "details",
    "LinkGroup": "group",
    "NetfilterDetails": "kinds",
    "NetfilterFamily": "netfilter",
    "NetfilterHook": "netfilter",
    "NetkitDetails": "kinds",
    "NetnsDetails": "kinds",
    "RawTracepointDetails": "kinds",
    "SockmapDetails": "kinds",
    "StructOpsDetails": "kinds",
    "TcDirection": "tcx",
    "TcFilter": "clsact",
    "TcxDetails": "kinds",
    "TracepointDetails": "kinds",
    "TracingDetails": "kinds",
    "UprobeDetails": "kinds",
    "UprobeMultiDetails": "kinds",
    "XdpDetails": "kinds",
    "XdpMode": "xdp",
    "adopt": "adoption",
    "attach": "auto",
    "attach_action": "clsact",
    "attach_cgroup": "cgroup",
    "attach_clsact": "clsact",
    "attach_freplace": "tracing",
    "attach_iter": "iter",
    "attach_kprobe": "kprobe",
    "attach_kprobe_multi": "kprobe_multi",
    "attach_ksyscall": "kprobe",
    "attach_lirc": "lirc",
    "attach_lsm": "lsm",
    "attach_netfilter": "netfilter",
    "attach_netkit": "netkit",
    "attach_netns": "netns",
    "attach_perf_event": "perf_event",
    "attach_raw_tracepoint": "raw_tracepoint",
    "attach_reuseport": "socket",
    "attach_socket": "socket",
    "attach_sockmap": "sockmap",
    "attach_struct_ops": "struct_ops",
    "attach_tc": "tc",
    "attach_tcx": "tcx",
    "attach_tracepoint": "tracepoint",
    "attach_tracing": "tracing",
    "attach_uprobe": "uprobe",
    "attach_uprobe_multi": "uprobe_multi",
    "attach_usdt": "usdt",
    "attach_xdp": "xdp",
    "clean_up": "left_behind",
    "leftovers": "left_behind",
    "loaded_links": "base",
    "query": "attached",
    "query_xdp": "xdp",
    "tc_filters": "clsact",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
