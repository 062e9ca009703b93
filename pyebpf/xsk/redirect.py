"""`XskRedirect`: an XDP program that hands every packet of an interface to the sockets of its map.

    packet of queue N ──▶ map[N] is a socket ──▶ it
                          it is not          ──▶ the network stack, as if nothing were there

Made of instructions here: no compiler, no object file.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType

from pyebpf.asm.assemble import assemble
from pyebpf.asm.build import R1, R2, R3, call, exit_, load, load_map, mov, u32
from pyebpf.asm.slots import Slots
from pyebpf.errors import naming
from pyebpf.link.base import Link
from pyebpf.link.xdp import XdpMode, attach_xdp
from pyebpf.maps.map import Map
from pyebpf.programs.load import LoadRequest
from pyebpf.programs.load import load as load_program
from pyebpf.programs.program import Program
from pyebpf.typed import Any, final
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import MapType, ProgFlag, ProgType
from pyebpf.uapi.net import XdpAction

__all__ = ["XskRedirect"]

_NAME = "xsk_redirect"
_RX_QUEUE_INDEX = 16  # in struct xdp_md


@final
class XskRedirect:
    """Hands the packets of an interface's queues to the AF_XDP sockets in its map.

    For sockets on several queues of an interface; one alone makes it for itself. Detached by
    `close`; the sockets are then without packets.

    Args:
        interface: Name or index in the caller's network namespace.
        mode: Where the program runs; zero-copy wants the driver.
        queues: Queues from this number on go to the network stack.
        multi_buffer: Packets may be longer than a page or a frame (Linux 5.18).

    Attributes:
        map: The xskmap: ``map=`` of `XskSocket`.
        program: The program.
        link: Its attachment.

    Raises:
        AttachError: No such interface.
        SyscallError: ``EBUSY`` if another XDP program is attached, which it names.
        PrivilegeError: Without ``CAP_BPF`` and ``CAP_NET_ADMIN``.

    Since Linux 5.3.
    """

    def __init__(
        self,
        interface: str | int,
        *,
        mode: XdpMode = XdpMode.AUTO,
        queues: int = 256,
        multi_buffer: bool = False,
    ) -> None:
        self.interface = interface
        with ExitStack() as stack:
            self.map: Map[Any, Any] = stack.enter_context(
                Map.create(type=MapType.XSKMAP, max_entries=queues, name="xsks", key="I")
            )
            self.program = stack.enter_context(_load(self.map, multi_buffer=multi_buffer))
            self.link: Link = stack.enter_context(attach_xdp(self.program, interface, mode=mode))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Detach the program; the second time does nothing."""
        self._stack.close()

    def __enter__(self) -> XskRedirect:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<XskRedirect on {self.interface}>"


# bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS): the last is what an empty slot does.
def _load(sockets: Map[Any, Any], *, multi_buffer: bool) -> Program:
    assembled = assemble(
        [
            load(R2, u32(R1 + _RX_QUEUE_INDEX)),
            load_map(R1, "xsks"),
            mov(R3, XdpAction.PASS),
            call("bpf_redirect_map"),
            exit_(),
        ],
        sys.byteorder,
    )
    instructions = Slots(bytearray(assembled.code), sys.byteorder)
    for slot in assembled.symbols:
        instructions.set_immediate(slot, sockets.fileno())
    attr = ProgLoad(
        prog_type=ProgType.XDP,
        prog_name=_NAME.encode(),
        license=b"GPL\0",
        prog_flags=ProgFlag.XDP_HAS_FRAGS if multi_buffer else 0,
    )
    with naming(f'load program "{_NAME}"'):
        fd, _ = load_program(LoadRequest(attr=attr, code=bytes(instructions.code)))
    return Program(fd, name=_NAME, type=ProgType.XDP)
