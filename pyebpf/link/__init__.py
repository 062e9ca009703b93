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

from pyebpf.link.adopt import adopt
from pyebpf.link.auto import attach
from pyebpf.link.base import Link, LinkDetails, loaded_links
from pyebpf.link.cgroup import attach_cgroup
from pyebpf.link.clsact import TcFilter, attach_action, attach_clsact
from pyebpf.link.clsact import filters as tc_filters
from pyebpf.link.details import (
    CgroupDetails,
    EventDetails,
    IterDetails,
    KprobeDetails,
    KprobeMultiDetails,
    NetfilterDetails,
    NetkitDetails,
    NetnsDetails,
    RawTracepointDetails,
    SockmapDetails,
    StructOpsDetails,
    TcxDetails,
    TracepointDetails,
    TracingDetails,
    UprobeDetails,
    UprobeMultiDetails,
    XdpDetails,
)
from pyebpf.link.group import LinkGroup
from pyebpf.link.iter import IterLink, attach_iter
from pyebpf.link.kprobe import attach_kprobe, attach_ksyscall
from pyebpf.link.kprobe_multi import attach_kprobe_multi
from pyebpf.link.leftovers import Leftover, clean_up, leftovers
from pyebpf.link.lirc import attach_lirc
from pyebpf.link.netfilter import NetfilterFamily, NetfilterHook, attach_netfilter
from pyebpf.link.netkit import attach_netkit
from pyebpf.link.netns import attach_netns
from pyebpf.link.perf_event import attach_perf_event
from pyebpf.link.query import Attached, AttachedProgram, query
from pyebpf.link.raw_tracepoint import attach_raw_tracepoint
from pyebpf.link.socket import attach_reuseport, attach_socket
from pyebpf.link.sockmap import attach_sockmap
from pyebpf.link.struct_ops import attach_struct_ops
from pyebpf.link.tc import attach_tc
from pyebpf.link.tcx import TcDirection, attach_tcx
from pyebpf.link.tracepoint import attach_tracepoint
from pyebpf.link.tracing import attach_freplace, attach_lsm, attach_tracing
from pyebpf.link.uprobe import attach_uprobe
from pyebpf.link.uprobe_multi import attach_uprobe_multi
from pyebpf.link.usdt import attach_usdt
from pyebpf.link.xdp import XdpMode, attach_xdp, query_xdp

__all__ = [
    "XdpDetails",
    "UprobeMultiDetails",
    "UprobeDetails",
    "TracingDetails",
    "TracepointDetails",
    "TcxDetails",
    "StructOpsDetails",
    "SockmapDetails",
    "RawTracepointDetails",
    "NetnsDetails",
    "NetkitDetails",
    "NetfilterDetails",
    "KprobeMultiDetails",
    "KprobeDetails",
    "IterDetails",
    "EventDetails",
    "CgroupDetails",
    "Attached",
    "AttachedProgram",
    "Leftover",
    "IterLink",
    "Link",
    "LinkDetails",
    "LinkGroup",
    "NetfilterFamily",
    "NetfilterHook",
    "TcDirection",
    "TcFilter",
    "XdpMode",
    "adopt",
    "attach",
    "attach_action",
    "attach_cgroup",
    "attach_clsact",
    "attach_freplace",
    "attach_iter",
    "attach_kprobe",
    "attach_kprobe_multi",
    "attach_ksyscall",
    "attach_lirc",
    "attach_lsm",
    "attach_netfilter",
    "attach_netkit",
    "attach_netns",
    "attach_perf_event",
    "attach_raw_tracepoint",
    "attach_reuseport",
    "attach_socket",
    "attach_sockmap",
    "attach_struct_ops",
    "attach_tc",
    "attach_tcx",
    "attach_tracepoint",
    "attach_tracing",
    "attach_uprobe",
    "attach_uprobe_multi",
    "attach_usdt",
    "attach_xdp",
    "clean_up",
    "leftovers",
    "loaded_links",
    "query",
    "query_xdp",
    "tc_filters",
]
