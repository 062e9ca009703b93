"""What the kernel tells about a link, one class for each kind.

`pyebpf.link.info` fills them in. Kernels tell more with every release: what one does not tell is 0,
``""``, ``()`` or ``None``. Kinds newer than this library come out as `OtherDetails`.
"""

from __future__ import annotations

from pyebpf.link.details import LinkDetails
from pyebpf.plain import plain
from pyebpf.uapi.bpf import AttachType, CgroupIterOrder, LinkType
from pyebpf.uapi.per_hook import KprobeMultiFlag, NetfilterFlag, UprobeMultiFlag

__all__ = [
    "CgroupDetails",
    "EventDetails",
    "IterDetails",
    "KprobeDetails",
    "KprobeMultiDetails",
    "NetfilterDetails",
    "NetkitDetails",
    "NetnsDetails",
    "RawTracepointDetails",
    "SockmapDetails",
    "StructOpsDetails",
    "TcxDetails",
    "TracepointDetails",
    "TracingDetails",
    "UprobeDetails",
    "UprobeMultiDetails",
    "XdpDetails",
]


@plain(frozen=True, kw_only=True)
class RawTracepointDetails(LinkDetails):
    """A raw tracepoint: its name, and the cookie (Linux 6.17)."""

    id: int
    type: LinkType
    program_id: int
    name: str
    cookie: int


@plain(frozen=True, kw_only=True)
class TracingDetails(LinkDetails):
    """A tracing or LSM program, or one that replaces another's function.

    Attributes:
        attach_type: ``enum bpf_attach_type``.
        target_object_id: The BTF object with the target, or for freplace the program (Linux 5.13).
        target_btf_id: The target in it (Linux 5.13).
        cookie: Linux 6.17.
    """

    id: int
    type: LinkType
    program_id: int
    attach_type: AttachType
    target_object_id: int
    target_btf_id: int
    cookie: int


@plain(frozen=True, kw_only=True)
class CgroupDetails(LinkDetails):
    """A cgroup: its id, which is the inode number of its directory."""

    id: int
    type: LinkType
    program_id: int
    cgroup_id: int
    attach_type: AttachType


@plain(frozen=True, kw_only=True)
class IterDetails(LinkDetails):
    """An iterator.

    Attributes:
        target: What it walks: ``"task"``, ``"bpf_map_elem"``.
        map_id: Of the map it walks, else 0.
        cgroup_id: Where an iterator over cgroups starts, else 0.
        order: Of an iterator over cgroups, else ``None``.
        tid: The only task an iterator over tasks walks, else 0.
        pid: The only process, else 0.
    """

    id: int
    type: LinkType
    program_id: int
    target: str
    map_id: int
    cgroup_id: int
    order: CgroupIterOrder | None
    tid: int
    pid: int


@plain(frozen=True, kw_only=True)
class NetnsDetails(LinkDetails):
    """A network namespace: its inode number, 0 once it is gone."""

    id: int
    type: LinkType
    program_id: int
    netns_inode: int
    attach_type: AttachType


@plain(frozen=True, kw_only=True)
class XdpDetails(LinkDetails):
    """An interface's XDP hook; index 0 once the interface is gone."""

    id: int
    type: LinkType
    program_id: int
    ifindex: int


@plain(frozen=True, kw_only=True)
class TcxDetails(LinkDetails):
    """An interface's tcx hook; index 0 once the interface is gone."""

    id: int
    type: LinkType
    program_id: int
    ifindex: int
    attach_type: AttachType


@plain(frozen=True, kw_only=True)
class NetkitDetails(LinkDetails):
    """A netkit device; index 0 once it is gone."""

    id: int
    type: LinkType
    program_id: int
    ifindex: int
    attach_type: AttachType


@plain(frozen=True, kw_only=True)
class StructOpsDetails(LinkDetails):
    """A registered implementation: the id of its map."""

    id: int
    type: LinkType
    program_id: int
    map_id: int


@plain(frozen=True, kw_only=True)
class SockmapDetails(LinkDetails):
    """A sockmap: its id, and which of its hooks."""

    id: int
    type: LinkType
    program_id: int
    map_id: int
    attach_type: AttachType


@plain(frozen=True, kw_only=True)
class NetfilterDetails(LinkDetails):
    """A netfilter hook.

    Attributes:
        family: ``NFPROTO_*``: 2 is IPv4, 10 IPv6.
        hook: ``NF_INET_*``: 0 prerouting to 4 postrouting.
        priority: Lower ones run first.
        flags: ``BPF_F_NETFILTER_*``.
    """

    id: int
    type: LinkType
    program_id: int
    family: int
    hook: int
    priority: int
    flags: NetfilterFlag


@plain(frozen=True, kw_only=True)
class KprobeMultiDetails(LinkDetails):
    """Many kernel functions.

    Attributes:
        addresses: Where they start; empty if the kernel hides addresses from this process.
        cookies: One for each address (Linux 6.9), or none.
        count: How many.
        flags: ``BPF_F_KPROBE_MULTI_*``.
        missed: Runs that were left out because the program was running already (Linux 6.7).
    """

    id: int
    type: LinkType
    program_id: int
    addresses: tuple[int, ...]
    cookies: tuple[int, ...]
    count: int
    flags: KprobeMultiFlag
    missed: int


@plain(frozen=True, kw_only=True)
class UprobeMultiDetails(LinkDetails):
    """Many places of one file.

    Attributes:
        path: The file.
        offsets: The places in it.
        reference_counters: Where the semaphores lie in it, 0 where there is none.
        cookies: One for each place.
        flags: ``BPF_F_UPROBE_MULTI_*``.
        pid: The only process, or 0.
    """

    id: int
    type: LinkType
    program_id: int
    path: str
    offsets: tuple[int, ...]
    reference_counters: tuple[int, ...]
    cookies: tuple[int, ...]
    flags: UprobeMultiFlag
    pid: int


@plain(frozen=True, kw_only=True)
class UprobeDetails(LinkDetails):
    """A place in a file: its path and offset; ``retprobe`` says whether at the return."""

    id: int
    type: LinkType
    program_id: int
    path: str
    offset: int
    retprobe: bool
    cookie: int
    reference_counter: int


@plain(frozen=True, kw_only=True)
class KprobeDetails(LinkDetails):
    """A kernel function, and bytes into it.

    Attributes:
        function: Its name, ``""`` if it was attached by address.
        offset: Bytes into it.
        address: Where that is; 0 if the kernel hides addresses from this process.
        retprobe: At the return.
        missed: Runs left out (Linux 6.7).
        cookie: Linux 6.9.
    """

    id: int
    type: LinkType
    program_id: int
    function: str
    offset: int
    address: int
    retprobe: bool
    missed: int
    cookie: int


@plain(frozen=True, kw_only=True)
class TracepointDetails(LinkDetails):
    """A tracepoint's name, without its category."""

    id: int
    type: LinkType
    program_id: int
    name: str
    cookie: int


@plain(frozen=True, kw_only=True)
class EventDetails(LinkDetails):
    """Any other perf event: ``type`` and ``config`` of its ``perf_event_attr``."""

    id: int
    type: LinkType
    program_id: int
    event_type: int
    config: int
    cookie: int
