"""XDP through netlink: the interface keeps the program, until it is taken off or goes itself.

RTM_SETLINK with IFLA_XDP: a program, a mode and, since Linux 5.7, which program is expected there,
so that neither replacing nor detaching can hit somebody else's.
"""

from __future__ import annotations

import contextlib
import errno

from pyebpf.errors import EbpfError, SyscallError, naming
from pyebpf.link.interface import netns_inode
from pyebpf.link.journal import Entry, record
from pyebpf.link.kept import KeptLink, own_program
from pyebpf.link.kinds import XdpDetails
from pyebpf.programs.program import Program
from pyebpf.sys.fd import FD
from pyebpf.sys.rtnetlink import RouteSocket, XdpState, set_xdp, xdp_state
from pyebpf.uapi.bpf import LinkType
from pyebpf.uapi.net import XdpFlag

__all__ = ["KIND", "XdpNetlink", "attach_xdp_netlink", "reopen"]

KIND = "xdp"  # in the journal


class XdpNetlink(KeptLink):
    """An XDP program that the interface holds.

    As long as this object is open, so is the interface's network namespace.

    Args:
        socket: Of the interface's network namespace.
        program: Owned from now on.
        program_id: Its id.
        ifindex: The interface.
        flags: The mode it was attached in, ``XDP_FLAGS_*``.
        target: For people.
        entry: Its journal entry.
    """

    def __init__(
        self,
        socket: FD,
        program: FD,
        *,
        program_id: int,
        ifindex: int,
        flags: int,
        target: str,
        entry: Entry,
    ) -> None:
        super().__init__(socket, program, program_id=program_id, target=target, entry=entry)
        self._ifindex = ifindex
        self._flags = flags

    def info(self) -> XdpDetails:
        """Return what is attached now: the interface, and the program's id (0: none any more)."""
        with naming(f"query {self.target}"):
            state = xdp_state(RouteSocket(self._fd), self._ifindex)
        mine = _holds(state, self._program_id)
        return XdpDetails(
            id=0,
            type=LinkType.XDP,
            program_id=self._program_id if mine else state.program_id,
            ifindex=self._ifindex,
        )

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Put another program in place, without a gap, if ours is still there.

        Raises:
            SyscallError: ``EEXIST``: another program is there by now.

        Since Linux 5.7; before, another program may be overwritten.
        """
        with naming(f'update {self.target} to program "{program.name}"'):
            before = self._program if expected is None else expected
            before_id = self._program_id if expected is None else expected.id
            with self._replacing(program):
                _set(
                    RouteSocket(self._fd), self._ifindex, program.fileno(), self._flags,
                    before.fileno(), before_id,
                )  # fmt: skip

    def _take_off(self, place: FD) -> None:
        socket = RouteSocket(place)
        try:
            _set(socket, self._ifindex, None, self._flags, self._program.fileno(), self._program_id)
        except SyscallError as error:
            # Another program has taken its place; EBUSY: one that a link holds.
            if error.errno == errno.EBUSY:
                if _holds(xdp_state(socket, self._ifindex), self._program_id):
                    raise
            elif error.errno != errno.EEXIST:
                raise


def attach_xdp_netlink(
    program: Program, ifindex: int, *, flags: int, target: str, replace: Program | None
) -> XdpNetlink:
    """Attach *program* through netlink; arguments and errors as for `attach_xdp`."""
    with contextlib.ExitStack() as undo:
        socket = RouteSocket()
        undo.callback(socket.close)
        owned = own_program(program)
        undo.callback(owned.close)
        entry = record(KIND, program, netns=netns_inode(), ifindex=ifindex, flags=flags)
        undo.callback(entry.remove)
        link = XdpNetlink(
            socket.fd, owned, program_id=entry.number("program_id"), ifindex=ifindex, flags=flags,
            target=target, entry=entry,
        )  # fmt: skip
        try:
            if replace is None:
                set_xdp(socket, ifindex, owned.fileno(), flags | XdpFlag.UPDATE_IF_NOEXIST)
            else:
                _set(socket, ifindex, owned.fileno(), flags, replace.fileno(), replace.id)
        except EbpfError:  # refused: what is there is not ours
            raise
        except BaseException:  # Ctrl-C, maybe after the call had its effect
            link.close()
            raise
        undo.pop_all()
        return link


def reopen(entry: Entry) -> XdpNetlink | None:
    """Return the attachment that the journal tells of, in its network namespace, if it is there.

    The caller is in that namespace.
    """
    ifindex, program_id = entry.number("ifindex"), entry.number("program_id")
    socket = RouteSocket()
    try:
        if _holds(xdp_state(socket, ifindex), program_id):
            with Program.from_id(program_id) as program:
                return XdpNetlink(
                    socket.fd, own_program(program), program_id=program_id, ifindex=ifindex,
                    flags=entry.number("flags"), target=f"XDP on interface {ifindex}", entry=entry,
                )  # fmt: skip
    except SyscallError as error:
        if error.errno not in (errno.ENODEV, errno.ENOENT):
            socket.close()
            raise
    socket.close()
    return None


# Sets a program if the expected one is there: told the kernel, or looked up before Linux 5.7, which
# does not know XDP_FLAGS_REPLACE.
def _set(
    socket: RouteSocket,
    ifindex: int,
    program_fd: int | None,
    flags: int,
    expected_fd: int,
    expected_id: int,
) -> None:
    try:
        set_xdp(socket, ifindex, program_fd, flags, expected_fd=expected_fd)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        if not _holds(xdp_state(socket, ifindex), expected_id):
            raise SyscallError(error.cmd, errno.EEXIST, "another program is attached") from None
        set_xdp(socket, ifindex, program_fd, flags)


def _holds(state: XdpState, program_id: int) -> bool:
    ids = (state.program_id, state.driver_id, state.generic_id, state.hardware_id)
    return program_id != 0 and program_id in ids
