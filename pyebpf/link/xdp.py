"""XDP: a program that sees packets before the network stack does."""

from __future__ import annotations

import enum
import errno
import socket

from pyebpf.errors import SyscallError, naming
from pyebpf.link.base import Link
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import LinkCreate
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.net import XdpFlag

__all__ = ["XdpMode", "attach_xdp", "interface_index"]


class XdpMode(enum.Enum):
    """Who runs an XDP program: the kernel's choice, the generic path, the driver or the card."""

    AUTO = 0
    GENERIC = int(XdpFlag.SKB_MODE)
    DRIVER = int(XdpFlag.DRV_MODE)
    OFFLOAD = int(XdpFlag.HW_MODE)


def interface_index(interface: str | int) -> int:
    """Return the index of a network interface of the caller's network namespace.

    Raises:
        ValueError: There is no such interface.
    """
    if isinstance(interface, int):
        return interface
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise ValueError(f"no network interface {interface!r}") from None


def attach_xdp(program: Program, interface: str | int, *, mode: XdpMode = XdpMode.AUTO) -> Link:
    """Attach *program* to the XDP hook of a network interface.

    Args:
        program: Of type ``BPF_PROG_TYPE_XDP``; may be closed afterwards, the kernel keeps it.
        interface: Name or index in the caller's network namespace.
        mode: Driver, generic (skb) or offload; AUTO lets the kernel choose.

    Returns:
        A link that detaches when closed.

    Raises:
        ValueError: *program* has another type, or no such interface.
        SyscallError: ``EBUSY`` if another program is attached, ``EOPNOTSUPP`` if the driver cannot.

    Since Linux 5.9.
    """
    if program.type != ProgType.XDP:
        raise ValueError(f'program "{program.name}" is of type {program.type}, not XDP')
    index = interface_index(interface)
    attr = LinkCreate(
        prog_fd=program.fileno(), target_ifindex=index, attach_type=AttachType.XDP, flags=mode.value
    )
    with naming(f'attach program "{program.name}" to XDP on {interface}'):
        try:
            return Link(bpf.link_create(attr), target=f"XDP on {interface}")
        except SyscallError as error:
            if error.errno == errno.EBUSY:
                error.detail = "another XDP program is attached to this interface"
            elif error.errno == errno.EINVAL:
                # The kernel gives this one errno for all of these, so no probe can tell them apart.
                error.detail = "no such interface, a mode it refuses, or a kernel before 5.9"
            raise
