"""XDP: a program that sees packets before the network stack does.

BPF_LINK_CREATE (5.9) ──▶ bpf_link, gone with its last descriptor
└─ RTM_SETLINK          ──▶ the interface itself keeps it: `pyebpf.link.xdp_netlink`
"""

from __future__ import annotations

import contextlib
import enum
import errno

from pyebpf.errors import EbpfError, NotSupportedError, SyscallError, naming
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type, interface_index, named_program
from pyebpf.link.xdp_netlink import attach_xdp_netlink
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.sys.rtnetlink import RouteSocket, XdpState, xdp_state
from pyebpf.uapi.attrs import LinkCreate
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.net import XdpFlag

__all__ = ["XdpMode", "attach_xdp", "query_xdp"]


class XdpMode(enum.Enum):
    """Who runs an XDP program: the kernel's choice, the generic path, the driver or the card."""

    AUTO = 0
    GENERIC = int(XdpFlag.SKB_MODE)
    DRIVER = int(XdpFlag.DRV_MODE)
    OFFLOAD = int(XdpFlag.HW_MODE)


def attach_xdp(
    program: Program,
    interface: str | int,
    *,
    mode: XdpMode = XdpMode.AUTO,
    use_link: bool | None = None,
    replace: Program | None = None,
) -> Link:
    """Attach *program* to the XDP hook of a network interface.

    Uses ``BPF_LINK_CREATE`` and falls back to netlink where the kernel has no XDP links. What is
    attached through netlink belongs to the interface: closing the link takes it off, but a process
    that is killed leaves it (see `pyebpf.link.clean_up`).

    Args:
        program: Of type ``BPF_PROG_TYPE_XDP``; may be closed afterwards, the kernel keeps it.
        interface: Name or index in the caller's network namespace.
        mode: Driver, generic (skb) or offload; AUTO lets the kernel choose.
        use_link: True never falls back, False goes through netlink at once.
        replace: Take this program's place, which was attached through netlink (Linux 5.7); implies
            netlink. To replace a link's program, update the link.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type, or no such interface.
        SyscallError: ``EBUSY`` if another program is attached, which it names; ``EOPNOTSUPP`` if
            the driver cannot.

    Since Linux 5.9 (link), 4.8 (netlink).
    """
    check_type(program, ProgType.XDP)
    index = interface_index(interface)
    with naming(f'attach program "{program.name}" to XDP on {interface}'):
        try:
            if use_link is not False and replace is None:
                try:
                    return _attach_link(program, index, mode, f"XDP on {interface}")
                # Kernels 5.7 and 5.8 have links, but none for XDP: EINVAL. Whatever else that means
                # here, netlink says it better.
                except NotSupportedError:
                    if use_link:
                        raise
                except SyscallError as error:
                    if error.errno != errno.EINVAL or use_link:
                        raise
            return attach_xdp_netlink(
                program, index, flags=mode.value, target=f"XDP on {interface}", replace=replace
            )
        except SyscallError as error:
            _explain(error, index)
            raise


def query_xdp(interface: str | int) -> XdpState:
    """Ask which XDP programs sit on a network interface, however they were attached.

    Args:
        interface: Name or index in the caller's network namespace.

    Raises:
        AttachError: No such interface.
        NetlinkError: ``ENODEV``: none of that index.

    Since Linux 4.8 (ids: 4.12).
    """
    index = interface_index(interface)
    with naming(f"query XDP on {interface}"), RouteSocket() as socket:
        return xdp_state(socket, index)


def _attach_link(program: Program, index: int, mode: XdpMode, target: str) -> Link:
    attr = LinkCreate(
        prog_fd=program.fileno(), target_ifindex=index, attach_type=AttachType.XDP, flags=mode.value
    )
    return Link(bpf.link_create(attr), target=target)


def _explain(error: SyscallError, index: int) -> None:
    if error.errno == errno.ENODEV:
        error.detail = f"no network interface of index {index} in this network namespace"
    elif error.errno in (errno.EBUSY, errno.EEXIST):
        there = "another XDP program is attached to this interface"
        with contextlib.suppress(EbpfError), RouteSocket() as socket:
            state = xdp_state(socket, index)
            ids = {state.program_id, state.driver_id, state.generic_id, state.hardware_id} - {0}
            if ids:
                there = f"{there}: {', '.join(named_program(each) for each in sorted(ids))}"
        error.detail = there
