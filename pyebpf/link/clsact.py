"""tc as it was before tcx: eBPF filters of the clsact qdisc, by netlink (Linux 4.5).

In direct-action mode, the default, the program's return value is the verdict (``TC_ACT_*``); else
it says whether the packet matches, and into which class it goes.

The interface keeps the filter. Its name, which ``tc filter show`` prints, says that it is ours:
``pyebpf:NAME``. The qdisc is made when it is missing; who made it removes it with its last filter.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable

from pyebpf.errors import EbpfError, NetlinkError, NotSupportedError, SyscallError, naming
from pyebpf.link.interface import check_type, interface_index, named_program, netns_inode
from pyebpf.link.journal import Entry, record
from pyebpf.link.kept import GONE, KeptLink, own_program
from pyebpf.link.kinds import TcxDetails
from pyebpf.link.tcx import TcDirection, direction_of
from pyebpf.programs.program import Program
from pyebpf.sys import tc
from pyebpf.sys.fd import FD
from pyebpf.sys.rtnetlink import RouteSocket
from pyebpf.uapi.bpf import AttachType, LinkType, ProgType

__all__ = ["KIND", "TcFilter", "attach_action", "attach_clsact", "tc_filters", "reopen"]

KIND = "tc"  # in the journal
_MARK = "pyebpf:"


class TcFilter(KeptLink):
    """A filter of the clsact qdisc.

    As long as this object is open, so is the interface's network namespace.

    Args:
        socket: Of the interface's network namespace.
        program: Owned from now on.
        program_id: Its id.
        at: Where the filter is.
        direct: Its return value is the verdict.
        made_qdisc: Remove the qdisc if no filter is left.
        target: For people.
        entry: Its journal entry.
        kind: Of the filter: the program is its action unless this is ``"bpf"``.
        class_id: Where packets go that match, without *direct*.
    """

    def __init__(
        self,
        socket: FD,
        program: FD,
        *,
        program_id: int,
        at: tc.FilterAt,
        direct: bool,
        made_qdisc: bool,
        target: str,
        entry: Entry,
        kind: str = "bpf",
        class_id: int = 0,
    ) -> None:
        super().__init__(socket, program, program_id=program_id, target=target, entry=entry)
        self._at = at
        self._direct = direct
        self._made_qdisc = made_qdisc
        self._kind = kind
        self._class_id = class_id

    @property
    def priority(self) -> int:
        """Its priority; filters with a lower one run first."""
        return self._at.priority

    @property
    def handle(self) -> int:
        """What tells it from filters of the same priority."""
        return self._at.handle

    def info(self) -> TcxDetails:
        """Return interface, direction and program (0: the filter has gone)."""
        egress = self._at.egress
        with naming(f"query {self.target}"):
            found = tc.filters(RouteSocket(self._fd), self._at.ifindex, egress=egress)
        ids = [each.program_id for each in found if each.at == self._at]
        return TcxDetails(
            id=0,
            type=LinkType.UNSPEC,
            program_id=ids[0] if ids else 0,
            ifindex=self._at.ifindex,
            attach_type=AttachType.TCX_EGRESS if egress else AttachType.TCX_INGRESS,
        )

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Put another program into the filter, without a gap.

        Raises:
            NotSupportedError: The program is an action.
            SyscallError: ``EEXIST``: the filter holds another program than the expected one.
        """
        if self._kind != "bpf":
            raise self._refuse("update")
        with naming(f'update {self.target} to program "{program.name}"'):
            wanted = self._program_id if expected is None else expected.id
            if self.info().program_id != wanted:
                raise SyscallError("RTM_NEWTFILTER", errno.EEXIST, "another program is attached")
            name = _MARK + program.name
            with self._replacing(program, name=name):
                tc.add_filter(
                    RouteSocket(self._fd), self._at, program.fileno(), name=name,
                    direct=self._direct, class_id=self._class_id, replace=True,
                )  # fmt: skip

    def _take_off(self, place: FD) -> None:
        socket = RouteSocket(place)
        try:
            found = tc.filters(socket, self._at.ifindex, egress=self._at.egress)
            # At the same place may be somebody else's by now.
            if any(each.at == self._at and each.program_id == self._program_id for each in found):
                tc.delete_filter(socket, self._at, self._kind)
            if self._made_qdisc and tc.empty(socket, self._at.ifindex):
                tc.delete_clsact(socket, self._at.ifindex)
        except SyscallError as error:
            # How the kernel says that the qdisc has gone, among other things.
            if error.errno != errno.EINVAL or tc.qdisc_kind(socket, self._at.ifindex):
                raise


def attach_clsact(
    program: Program,
    interface: str | int,
    direction: TcDirection | str | None = None,
    *,
    priority: int = 0,
    handle: int = 0,
    direct_action: bool = True,
    class_id: int = 0,
    replace: bool = False,
    clobber_ingress: bool = False,
) -> TcFilter:
    """Attach *program* as a filter of an interface's clsact qdisc, which is made if it is missing.

    Args:
        program: Of type ``BPF_PROG_TYPE_SCHED_CLS``; may be closed afterwards.
        interface: Name or index in the caller's network namespace.
        direction: ``"ingress"`` or ``"egress"``; by default what the section's name says.
        priority: 1 to 65535, lower ones run first; 0: the kernel chooses one below all others.
        handle: Tells it from filters of the same priority; 0: the kernel chooses.
        direct_action: The return value is the verdict.
        class_id: Without direct action: where packets go for which the program returns -1.
        replace: Take the place of the filter with this priority and handle.
        clobber_ingress: Remove an old ``ingress`` qdisc with all its filters, which is in the way.

    Returns:
        A link that takes the filter off when closed.

    Raises:
        AttachError: Another type of program, no such interface, no direction.
        NetlinkError: ``EEXIST``: there is a filter of that priority and handle, which it names, or
            an ``ingress`` qdisc.
        NotSupportedError: The kernel has no such qdisc (``CONFIG_NET_SCH_INGRESS``) or filters
            (``CONFIG_NET_CLS_BPF``).

    Since Linux 4.5.
    """
    check_type(program, ProgType.SCHED_CLS)

    def add(socket: RouteSocket, at: tc.FilterAt, name: str) -> tc.FilterAt:
        try:
            return tc.add_filter(
                socket, at, program.fileno(), name=name, direct=direct_action, class_id=class_id,
                replace=replace,
            )  # fmt: skip
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                text = error.extack or "CONFIG_NET_CLS_BPF is not set"
                raise NotSupportedError("eBPF classifiers", None, text) from None
            raise

    return _attach(
        program, interface, direction_of(program, direction), (priority, handle), add,
        kind="bpf", direct=direct_action, clobber_ingress=clobber_ingress, class_id=class_id,
    )  # fmt: skip


def attach_action(
    program: Program,
    interface: str | int,
    direction: TcDirection | str,
    *,
    priority: int = 0,
    handle: int = 0,
    clobber_ingress: bool = False,
) -> TcFilter:
    """Attach *program* as the action of a filter that matches every packet.

    Args:
        program: Of type ``BPF_PROG_TYPE_SCHED_ACT``; may be closed afterwards.
        interface: As for `attach_clsact`.
        direction: ``"ingress"`` or ``"egress"``.
        priority: As for `attach_clsact`.
        handle: As for `attach_clsact`.
        clobber_ingress: As for `attach_clsact`.

    Returns:
        A link that takes the filter off when closed.

    Raises:
        AttachError: Another type of program, or no such interface.
        NotSupportedError: The kernel has no such actions (``CONFIG_NET_ACT_BPF``) or filters
            (``CONFIG_NET_CLS_MATCHALL``).
        NetlinkError: As for `attach_clsact`.

    Since Linux 4.8.
    """
    check_type(program, ProgType.SCHED_ACT)

    def add(socket: RouteSocket, at: tc.FilterAt, name: str) -> tc.FilterAt:
        try:
            return tc.add_action(socket, at, program.fileno(), name=name)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                text = error.extack or "CONFIG_NET_ACT_BPF or CONFIG_NET_CLS_MATCHALL is not set"
                raise NotSupportedError("tc actions", None, text) from None
            raise

    return _attach(
        program, interface, TcDirection(direction), (priority, handle), add, kind="matchall",
        direct=False, clobber_ingress=clobber_ingress,
    )  # fmt: skip


def _attach(
    program: Program,
    interface: str | int,
    way: TcDirection,
    order: tuple[int, int],
    add: Callable[[RouteSocket, tc.FilterAt, str], tc.FilterAt],
    *,
    kind: str,
    direct: bool,
    clobber_ingress: bool,
    class_id: int = 0,
) -> TcFilter:
    index = interface_index(interface)
    at = tc.FilterAt(index, way is TcDirection.EGRESS, *order)
    target, name = f"clsact {way.value} of {interface}", _MARK + program.name
    with naming(f'attach program "{program.name}" to {target}'), contextlib.ExitStack() as undo:
        socket = RouteSocket()
        undo.callback(socket.close)
        made = _ensure_clsact(socket, index, clobber_ingress=clobber_ingress)
        if made:
            undo.callback(_remove_clsact, socket, index)
        owned = own_program(program)
        undo.callback(owned.close)
        entry = record(
            KIND, program, netns=netns_inode(), ifindex=index, egress=int(at.egress), name=name,
            made_qdisc=int(made),
        )  # fmt: skip
        undo.callback(entry.remove)
        try:
            at = add(socket, at, name)
        except SyscallError as error:
            _explain(error, socket, at, kind)
            raise
        except EbpfError:
            raise
        except BaseException:  # Ctrl-C, maybe after the call had its effect
            if (made_filter := reopen(entry)) is not None:
                made_filter.close()
            raise
        undo.pop_all()
        return TcFilter(
            socket.fd, owned, program_id=entry.number("program_id"), at=at, direct=direct,
            made_qdisc=made, target=target, entry=entry, kind=kind, class_id=class_id,
        )  # fmt: skip


def tc_filters(interface: str | int, direction: TcDirection | str) -> list[tc.Filter]:
    """List the eBPF filters of an interface's clsact qdisc, in the order they run.

    Raises:
        AttachError: No such interface.
        NetlinkError: ``ENODEV``, …
    """
    index = interface_index(interface)
    egress = TcDirection(direction) is TcDirection.EGRESS
    with naming(f"list filters of {interface}"), RouteSocket() as socket:
        if not tc.qdisc_kind(socket, index):
            return []
        return tc.filters(socket, index, egress=egress)


def reopen(entry: Entry) -> TcFilter | None:
    """Return the filter that the journal tells of, if it is there; the caller is in its namespace.

    Priority and handle may have been the kernel's choice, so it is found by program and name.
    """
    socket = RouteSocket()
    ifindex, program_id = entry.number("ifindex"), entry.number("program_id")
    try:
        for each in tc.filters(socket, ifindex, egress=bool(entry.number("egress"))):
            if each.program_id == program_id and each.name == entry.text("name"):
                with Program.from_id(program_id) as program:
                    return TcFilter(
                        socket.fd, own_program(program), program_id=program_id, at=each.at,
                        direct=each.direct, made_qdisc=bool(entry.number("made_qdisc")),
                        target=f"clsact of interface {ifindex}", entry=entry, kind=each.kind,
                    )  # fmt: skip
    except SyscallError as error:
        if error.errno not in (*GONE, errno.EINVAL):
            socket.close()
            raise
    socket.close()
    return None


def _ensure_clsact(socket: RouteSocket, index: int, *, clobber_ingress: bool) -> bool:
    try:
        return tc.add_clsact(socket, index)
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            error.detail = f"no network interface of index {index} in this network namespace"
        elif error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            text = error.extack or "CONFIG_NET_SCH_INGRESS is not set"
            raise NotSupportedError("clsact", "4.5", text) from None
        if error.errno != errno.EEXIST:
            raise
        if not clobber_ingress:
            error.detail = "an ingress qdisc is in the way (clobber_ingress=True removes it)"
            raise
    tc.delete_clsact(socket, index, "ingress")
    return tc.add_clsact(socket, index)


def _remove_clsact(socket: RouteSocket, index: int) -> None:
    with contextlib.suppress(EbpfError):  # what made attaching fail is what is told
        if tc.empty(socket, index):
            tc.delete_clsact(socket, index)


def _explain(error: SyscallError, socket: RouteSocket, at: tc.FilterAt, kind: str) -> None:
    if error.errno != errno.EEXIST:
        return
    there, place = "another filter", f"priority {at.priority}"
    # A classifier's priority has many handles; one that matches all has no other beside it.
    if kind == "bpf":
        place += f", handle {at.handle:#x} (replace=True?)"
    with contextlib.suppress(EbpfError):
        for each in tc.filters(socket, at.ifindex, egress=at.egress):
            same = each.at.handle == at.handle or kind != "bpf"
            if same and each.at.priority == at.priority:
                there = named_program(each.program_id)
    error.detail = f"{there} has {place}"
