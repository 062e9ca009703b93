"""What happens to packets and sockets: hooks of interfaces, netfilter, namespaces, control groups.

xdp/eth0                     one program
tc/eth0/ingress              tcx programs until one decides, then the filters of clsact
netkit/nk0/primary           as tcx
netfilter/ipv4/local_in      in the order of priorities, until one drops
sk_lookup  flow_dissector    of this process's network namespace
cgroup/connect4  sockops …   all that run in a control group
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence

from pyebpf.testing import cgroups, xdp
from pyebpf.testing.attachments import Attachment
from pyebpf.testing.clsact import Filter
from pyebpf.testing.commands import namespaces
from pyebpf.testing.commands.attach_types import CGROUP
from pyebpf.testing.commands.netfilter import FAMILIES, HOOKS
from pyebpf.testing.hooks import attached
from pyebpf.testing.interpreter import BytesContext, Context, Memory, Region
from pyebpf.testing.interpreter.memory import ByteOrder
from pyebpf.testing.interpreter.skb import ETHERNET, SkbContext
from pyebpf.testing.interpreter.xdp import XdpContext
from pyebpf.testing.structs import struct_region
from pyebpf.testing.system import System
from pyebpf.typed import NamedTuple, TypeAlias
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.net import TcAction, TcxAction

__all__ = ["CGROUPS", "Data", "Fired", "NETWORK", "OptionContext", "cgroup", "network"]

Data: TypeAlias = "bytes | Sequence[int] | Mapping[str, int | bytes]"

_NEXT = TcxAction.NEXT & 0xFFFFFFFF
_PIPE = int(TcAction.PIPE)
_NF_ACCEPT = 1
_PROTOCOLS = {4: 0x0800, 6: 0x86DD}
_POINTER = 8

# The structs that programs are given, by their type.
_CONTEXTS = {
    ProgType.CGROUP_SOCK: "bpf_sock",
    ProgType.CGROUP_SOCK_ADDR: "bpf_sock_addr",
    ProgType.CGROUP_SYSCTL: "bpf_sysctl",
    ProgType.CGROUP_DEVICE: "bpf_cgroup_dev_ctx",
    ProgType.SOCK_OPS: "bpf_sock_ops",
}


class Fired(NamedTuple):
    """What an event comes to.

    Attributes:
        attachments: What runs.
        context: Makes what a program is given.
        stops: Whether the others do not run, after one that returned a value.
    """

    attachments: list[Attachment]
    context: Callable[[], Context]
    stops: Callable[[Attachment, int], bool] = lambda attachment, retval: False


class OptionContext(BytesContext):
    """``struct bpf_sockopt``, and the option's value, which programs may change.

    Args:
        data: The struct.
        value: The option's value.
        members: Where the pointers to its start and its end are in the struct.
    """

    def __init__(self, data: bytes, value: bytes, members: tuple[int, int]) -> None:
        super().__init__(data, writable=True)
        self.value = bytearray(value)
        self._members = members

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place the struct and the value."""
        start = memory.place(Region(self.value, "value of a socket option"))
        for place, address in zip(self._members, (start, start + len(self.value)), strict=True):
            self.data[place : place + _POINTER] = address.to_bytes(_POINTER, byteorder)
        return super().enter(memory, byteorder)


def _names() -> dict[str, AttachType]:
    names = {
        "cgroup_skb/ingress": AttachType.CGROUP_INET_INGRESS,
        "cgroup_skb/egress": AttachType.CGROUP_INET_EGRESS,
        "cgroup/sock_create": AttachType.CGROUP_INET_SOCK_CREATE,
        "cgroup/sock_release": AttachType.CGROUP_INET_SOCK_RELEASE,
        "cgroup/sysctl": AttachType.CGROUP_SYSCTL,
        "cgroup/getsockopt": AttachType.CGROUP_GETSOCKOPT,
        "cgroup/setsockopt": AttachType.CGROUP_SETSOCKOPT,
        "cgroup/dev": AttachType.CGROUP_DEVICE,
        "sockops": AttachType.CGROUP_SOCK_OPS,
    }
    for kind in CGROUP:
        # INET4_CONNECT is connect4, UNIX_CONNECT is connect_unix.
        match = re.fullmatch(r"CGROUP_(?:INET|UDP|UNIX)([46]?)_([A-Z_]+)", kind.name)
        if match is not None and kind not in names.values():
            names[f"cgroup/{match[2].lower()}{match[1] or '_unix'}"] = kind
    return names


CGROUPS = _names()
"""Hooks of control groups, as section names have them."""


def network(system: System, kind: str, place: str, data: Data) -> Fired | None:
    """Return what happens at a hook of the network, ``None`` if it is none of these.

    Raises:
        ValueError: There is no such place.
    """
    make = NETWORK.get(kind)
    return make(system, place, data) if make is not None else None


def cgroup(system: System, kind: AttachType, group: str, data: Data, function: str = "") -> Fired:
    """Return what happens in a control group.

    Raises:
        ValueError: There is no such group, or no such member of the context.
    """
    system.sweep()
    inodes = system.cgroups.at(group)
    hooks = [system.hook(cgroups.hook_name(kind, inode, function)) for inode in inodes]
    attachments = list(cgroups.effective(hooks))
    program_type = CGROUP.get(kind, ProgType.LSM)
    if program_type == ProgType.CGROUP_SKB:
        packet = _bytes(data)
        protocol = _PROTOCOLS.get(packet[0] >> 4, 0) if packet else 0
        context = SkbContext(
            packet,
            program_type,
            link_header=bytes(ETHERNET),
            protocol=int.from_bytes(protocol.to_bytes(2, "big"), sys.byteorder),
            ifindex=1,
        )
        return Fired(attachments, lambda: context)
    if program_type == ProgType.CGROUP_SOCKOPT:
        given = _option(system, data)
        return Fired(attachments, lambda: given)
    if kind == AttachType.LSM_CGROUP:
        return Fired(attachments, Context)
    shared = BytesContext(_struct(system, _CONTEXTS[program_type], data), writable=True)
    return Fired(attachments, lambda: shared)


def _option(system: System, data: Data) -> OptionContext:
    if not isinstance(data, Mapping):
        raise TypeError("a socket option is level=, optname=, optval=, maybe optlen=, as a dict")
    members = dict(data)
    value = members.pop("optval", b"")
    if isinstance(value, int):
        raise TypeError("optval takes bytes")
    members.setdefault("optlen", len(value))
    layout = system.types.layouts["bpf_sockopt"]
    places = layout["optval"].offset, layout["optval_end"].offset
    return OptionContext(_struct(system, "bpf_sockopt", members), bytes(value), places)


def _struct(system: System, name: str, data: Data) -> bytes:
    size = max(each.offset + each.size for each in system.types.layouts[name].values())
    if isinstance(data, Mapping):
        return bytes(struct_region(system.types, name, data).data[:size])
    given = _bytes(data)
    if given and len(given) != size:
        raise ValueError(f"struct {name} has {size} bytes, not {len(given)}")
    return given or bytes(size)


# --- interfaces


def _xdp(system: System, place: str, data: Data) -> Fired:
    index = _interface(system, place, place)
    packet = _bytes(data)
    return Fired(
        attached(system, xdp.hook_of(system, index).name),
        lambda: XdpContext(packet, ingress_ifindex=index),
    )


# The programs of a direction see the packet one after the other, until one decides.
def _tcx(system: System, place: str, data: Data) -> Fired:
    interface, _, direction = place.partition("/")
    index = _interface(system, interface, f"tcx/{place}")
    if direction not in ("ingress", "egress"):
        raise ValueError(f"this kernel has no hook tcx/{place}: INTERFACE/ingress or /egress")
    context = SkbContext(_bytes(data), ifindex=index)
    found = attached(system, f"tcx/{index}/{direction}")
    found += attached(system, f"tc/{index}/{direction}")
    return Fired(found, lambda: context, _decides)


def _netkit(system: System, place: str, data: Data) -> Fired:
    interface, _, end = place.partition("/")
    index = _interface(system, interface, f"netkit/{place}")
    if end not in ("primary", "peer") or index not in system.netkits:
        raise ValueError(f"this kernel has no hook netkit/{place}: INTERFACE/primary or /peer")
    context = SkbContext(_bytes(data), ifindex=index)
    return Fired(attached(system, f"netkit/{index}/{end}"), lambda: context, _decides)


def _decides(attachment: Attachment, retval: int) -> bool:
    if isinstance(attachment, Filter) and not attachment.direct:
        # A classifier says whether the packet is its; an action, what to do unless it is PIPE.
        return retval not in (0, _NEXT) if attachment.kind == "bpf" else retval != _NEXT
    return retval != _NEXT


def _interface(system: System, name: str, place: str) -> int:
    index = system.interfaces.get(name)
    if index is None:
        raise ValueError(f"this kernel has no interface {name!r} ({place})")
    return index


# --- the rest of the network


def _netfilter(system: System, place: str, data: Data) -> Fired:
    family, _, hook = place.partition("/")
    if family not in FAMILIES or hook not in HOOKS:
        raise ValueError(f"this kernel has no hook netfilter/{place}: ipv4/{'|'.join(HOOKS)}")
    numbers = FAMILIES[family], HOOKS.index(hook)
    context = _PacketContext(system, _bytes(data), numbers)
    found = attached(system, f"netfilter/{numbers[0]}/{numbers[1]}")
    return Fired(found, lambda: context, lambda attachment, retval: retval != _NF_ACCEPT)


class _PacketContext(BytesContext):
    # struct bpf_nf_ctx: two pointers, to what is known of the packet's way and to the packet.
    def __init__(self, system: System, packet: bytes, numbers: tuple[int, int]) -> None:
        super().__init__(bytes(2 * _POINTER))
        self._system = system
        self._packet = packet
        self._numbers = numbers

    def enter(self, memory: Memory, byteorder: ByteOrder) -> tuple[int, ...]:
        """Place the structs."""
        family, hook = self._numbers
        types = self._system.types
        packet = memory.place(Region(self._packet, "packet", writable=False))
        state = struct_region(types, "nf_hook_state", {"hook": hook, "pf": family})
        members = {"len": len(self._packet), "head": packet, "data": packet}
        buffer = struct_region(types, "sk_buff", members)
        for number, region in enumerate((state, buffer)):
            address = memory.place(region).to_bytes(_POINTER, byteorder)
            self.data[number * _POINTER : (number + 1) * _POINTER] = address
        return super().enter(memory, byteorder)


def _lookup(system: System, place: str, data: Data) -> Fired:
    context = BytesContext(_struct(system, "bpf_sk_lookup", data), writable=True)
    found = attached(system, namespaces.hook_of(system, AttachType.SK_LOOKUP).name)
    return Fired(found, lambda: context)


def _dissector(system: System, place: str, data: Data) -> Fired:
    context = SkbContext(_bytes(data), ProgType.FLOW_DISSECTOR)
    found = attached(system, namespaces.hook_of(system, AttachType.FLOW_DISSECTOR).name)
    return Fired(found, lambda: context)


def _bytes(data: Data) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"this hook takes bytes, not {type(data).__name__}")


NETWORK: dict[str, Callable[[System, str, Data], Fired]] = {
    "xdp": _xdp,
    "tcx": _tcx,
    "netkit": _netkit,
    "netfilter": _netfilter,
    "sk_lookup": _lookup,
    "flow_dissector": _dissector,
}
"""Hooks of the network besides those of control groups."""
