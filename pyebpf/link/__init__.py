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

TYPE_CHECKING = False  # as in the package's own __init__
if TYPE_CHECKING:
    from pyebpf.link.adoption import adopt as adopt
    from pyebpf.link.attached import Attached as Attached
    from pyebpf.link.attached import AttachedProgram as AttachedProgram
    from pyebpf.link.attached import query as query
    from pyebpf.link.auto import attach as attach
    from pyebpf.link.base import Link as Link
    from pyebpf.link.base import loaded_links as loaded_links
    from pyebpf.link.cgroup import attach_cgroup as attach_cgroup
    from pyebpf.link.clsact import TcFilter as TcFilter
    from pyebpf.link.clsact import attach_action as attach_action
    from pyebpf.link.clsact import attach_clsact as attach_clsact
    from pyebpf.link.clsact import tc_filters as tc_filters
    from pyebpf.link.details import LinkDetails as LinkDetails
    from pyebpf.link.details import OtherDetails as OtherDetails
    from pyebpf.link.group import LinkGroup as LinkGroup
    from pyebpf.link.iter import IterLink as IterLink
    from pyebpf.link.iter import attach_iter as attach_iter
    from pyebpf.link.kinds import CgroupDetails as CgroupDetails
    from pyebpf.link.kinds import EventDetails as EventDetails
    from pyebpf.link.kinds import IterDetails as IterDetails
    from pyebpf.link.kinds import KprobeDetails as KprobeDetails
    from pyebpf.link.kinds import KprobeMultiDetails as KprobeMultiDetails
    from pyebpf.link.kinds import NetfilterDetails as NetfilterDetails
    from pyebpf.link.kinds import NetkitDetails as NetkitDetails
    from pyebpf.link.kinds import NetnsDetails as NetnsDetails
    from pyebpf.link.kinds import RawTracepointDetails as RawTracepointDetails
    from pyebpf.link.kinds import SockmapDetails as SockmapDetails
    from pyebpf.link.kinds import StructOpsDetails as StructOpsDetails
    from pyebpf.link.kinds import TcxDetails as TcxDetails
    from pyebpf.link.kinds import TracepointDetails as TracepointDetails
    from pyebpf.link.kinds import TracingDetails as TracingDetails
    from pyebpf.link.kinds import UprobeDetails as UprobeDetails
    from pyebpf.link.kinds import UprobeMultiDetails as UprobeMultiDetails
    from pyebpf.link.kinds import XdpDetails as XdpDetails
    from pyebpf.link.kprobe import attach_kprobe as attach_kprobe
    from pyebpf.link.kprobe import attach_ksyscall as attach_ksyscall
    from pyebpf.link.kprobe_multi import attach_kprobe_multi as attach_kprobe_multi
    from pyebpf.link.left_behind import Leftover as Leftover
    from pyebpf.link.left_behind import clean_up as clean_up
    from pyebpf.link.left_behind import leftovers as leftovers
    from pyebpf.link.lirc import attach_lirc as attach_lirc
    from pyebpf.link.lsm import attach_lsm as attach_lsm
    from pyebpf.link.netfilter import NetfilterFamily as NetfilterFamily
    from pyebpf.link.netfilter import NetfilterHook as NetfilterHook
    from pyebpf.link.netfilter import attach_netfilter as attach_netfilter
    from pyebpf.link.netkit import attach_netkit as attach_netkit
    from pyebpf.link.netns import attach_netns as attach_netns
    from pyebpf.link.perf_event import attach_perf_event as attach_perf_event
    from pyebpf.link.raw_tracepoint import attach_raw_tracepoint as attach_raw_tracepoint
    from pyebpf.link.socket import attach_reuseport as attach_reuseport
    from pyebpf.link.socket import attach_socket as attach_socket
    from pyebpf.link.sockmap import attach_sockmap as attach_sockmap
    from pyebpf.link.struct_ops import attach_struct_ops as attach_struct_ops
    from pyebpf.link.tc import attach_tc as attach_tc
    from pyebpf.link.tcx import TcDirection as TcDirection
    from pyebpf.link.tcx import attach_tcx as attach_tcx
    from pyebpf.link.tracepoint import attach_tracepoint as attach_tracepoint
    from pyebpf.link.tracing import attach_freplace as attach_freplace
    from pyebpf.link.tracing import attach_tracing as attach_tracing
    from pyebpf.link.tracing_multi import attach_tracing_multi as attach_tracing_multi
    from pyebpf.link.uprobe import attach_uprobe as attach_uprobe
    from pyebpf.link.uprobe_multi import attach_uprobe_multi as attach_uprobe_multi
    from pyebpf.link.usdt import attach_usdt as attach_usdt
    from pyebpf.link.xdp import XdpMode as XdpMode
    from pyebpf.link.xdp import attach_xdp as attach_xdp
    from pyebpf.link.xdp import query_xdp as query_xdp

# Looked up when a name is first used: hooks that are not used cost nothing.
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
    "OtherDetails": "details",
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
    "attach_tracing_multi": "tracing_multi",
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
