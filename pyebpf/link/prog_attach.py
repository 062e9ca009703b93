"""BPF_PROG_ATTACH: what came before links. The hook keeps the program until it is detached.

    place                         descriptor in target_fd       since
    cgroup                        its directory                 4.10
    sockmap, sockhash             the map                       4.14
    lirc device                   the device                    4.18
    network namespace             none: the caller's            4.20
    interface (tcx, netkit)       none: its index, the caller's 6.6

"The caller's" is why the attachment keeps a descriptor of its network namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from pyebpf.errors import EbpfError, SyscallError, naming
from pyebpf.link.anchor import Anchored
from pyebpf.link.attached import query
from pyebpf.link.details import LinkDetails, OtherDetails
from pyebpf.link.interface import netns_inode
from pyebpf.link.journal import Entry, Value, record
from pyebpf.link.kept import KeptLink, own_program
from pyebpf.link.kinds import (
    CgroupDetails,
    NetnsDetails,
    SockmapDetails,
    TcxDetails,
)
from pyebpf.programs.program import Program
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.namespaces import inside_netns
from pyebpf.typed import NamedTuple
from pyebpf.uapi.attrs import ProgAttach
from pyebpf.uapi.bpf import AttachType, LinkType
from pyebpf.uapi.per_hook import AttachFlag

__all__ = ["KIND", "Hook", "ProgAttachment", "attach_to", "reopen"]

KIND = "attach"  # in the journal

_INTERFACES = (
    AttachType.TCX_INGRESS,
    AttachType.TCX_EGRESS,
    AttachType.NETKIT_PRIMARY,
    AttachType.NETKIT_PEER,
)
_NAMESPACES = (AttachType.SK_LOOKUP, AttachType.FLOW_DISSECTOR)
_SOCKMAPS = (
    AttachType.SK_SKB_STREAM_PARSER,
    AttachType.SK_SKB_STREAM_VERDICT,
    AttachType.SK_SKB_VERDICT,
    AttachType.SK_MSG_VERDICT,
)


class Hook(NamedTuple):
    """Where a program goes.

    Attributes:
        attach_type: Which hook of the place.
        ifindex: The interface, for hooks of interfaces.
        number: What tells the place from others in `info`: inode of the cgroup or namespace, id
            of the map.
        path: How to find the place again, for clean-up; ``""`` for hooks of the caller's namespace.
    """

    attach_type: AttachType
    ifindex: int = 0
    number: int = 0
    path: str = ""

    @property
    def in_namespace(self) -> bool:
        """Whether it is one of the caller's network namespace."""
        return self.attach_type in _NAMESPACES or self.attach_type in _INTERFACES


class ProgAttachment(KeptLink):
    """A program attached by ``BPF_PROG_ATTACH``.

    Args:
        place: The cgroup, map or device, or the network namespace; owned from now on.
        program: Owned from now on.
        program_id: Its id.
        hook: Where.
        flags: ``BPF_F_ALLOW_*`` as it was attached.
        target: For people.
        entry: Its journal entry.
    """

    def __init__(
        self,
        place: FD,
        program: FD,
        *,
        program_id: int,
        hook: Hook,
        flags: int,
        target: str,
        entry: Entry,
    ) -> None:
        super().__init__(place, program, program_id=program_id, target=target, entry=entry)
        self._hook = hook
        self._flags = flags

    def info(self) -> LinkDetails:
        """Return what was attached where, of the class that a link there would have."""
        kind, number = self._hook.attach_type, self._hook.number
        self.fileno()  # raises if closed
        if kind in _INTERFACES:
            return TcxDetails(
                id=0, type=LinkType.TCX, program_id=self._program_id,
                ifindex=self._hook.ifindex, attach_type=kind,
            )  # fmt: skip
        if kind in _NAMESPACES:
            return NetnsDetails(
                id=0, type=LinkType.NETNS, program_id=self._program_id,
                netns_inode=number, attach_type=kind,
            )  # fmt: skip
        if kind in _SOCKMAPS:
            return SockmapDetails(
                id=0, type=LinkType.SOCKMAP, program_id=self._program_id,
                map_id=number, attach_type=kind,
            )  # fmt: skip
        if kind == AttachType.LIRC_MODE2:
            return OtherDetails(id=0, type=LinkType.UNSPEC, program_id=self._program_id)
        return CgroupDetails(
            id=0, type=LinkType.CGROUP, program_id=self._program_id,
            cgroup_id=number, attach_type=kind,
        )  # fmt: skip

    def update(self, program: Program, *, expected: Program | None = None) -> None:
        """Put another program in place of this one, without a gap.

        Raises:
            SyscallError: ``ENOENT``: this one (or *expected*) is not attached any more;
                ``EINVAL``: before Linux 5.6, or a kind of hook that cannot.

        Since Linux 5.6 (cgroups), 6.6 (interfaces); of sockmaps and namespaces always, but what
        another process attaches at the same moment may be overwritten.
        """
        with naming(f'update {self.target} to program "{program.name}"'):
            attr = _attr(self._fd, program, self._hook)
            if self._hook.attach_type not in (*_SOCKMAPS, *_NAMESPACES):
                attr.attach_flags = self._flags | AttachFlag.REPLACE
                attr.replace_bpf_fd = (self._program if expected is None else expected).fileno()
            else:  # where the kernel replaces whatever is there
                before = self._program_id if expected is None else expected.id
                if not _attached(self._fd, self._hook, before):
                    text = "it is not attached any more"
                    raise SyscallError("BPF_PROG_ATTACH", errno.ENOENT, text)
            with self._replacing(program), _inside(self._fd, self._hook):
                bpf.prog_attach(attr)

    def _take_off(self, place: FD) -> None:
        # Without BPF_F_ALLOW_MULTI a cgroup gives up its program whichever one is named.
        alone = self._hook.path and not self._flags & AttachFlag.ALLOW_MULTI
        if alone and not _attached(place, self._hook, self._program_id):
            return
        attr = _attr(place, self._program, self._hook)
        with _inside(place, self._hook):
            bpf.prog_detach(attr)


def attach_to(
    place: FD,
    program: Program,
    hook: Hook,
    *,
    flags: int = 0,
    target: str,
    anchored: Anchored | None = None,
    revision: int = 0,
) -> ProgAttachment:
    """Attach *program* by ``BPF_PROG_ATTACH``.

    Args:
        place: As for `ProgAttachment`; taken over, also on failure.
        program: May be closed afterwards.
        hook: Where.
        flags: ``BPF_F_ALLOW_*``.
        target: For people.
        anchored: Its place among others.
        revision: Refuse (``ESTALE``) if the hook has another one; 0: any.

    Raises:
        SyscallError: The kernel refused.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(place.close)
        owned = own_program(program)
        undo.callback(owned.close)
        entry = record(KIND, program, **_written(hook, flags, target))
        undo.callback(entry.remove)
        link = ProgAttachment(
            place, owned, program_id=entry.number("program_id"), hook=hook, flags=flags,
            target=target, entry=entry,
        )  # fmt: skip
        attr = _attr(place, owned, hook)
        attr.attach_flags = flags
        if anchored is not None:
            attr.attach_flags |= anchored.flags
            attr.relative_fd = anchored.descriptor or anchored.id
        attr.expected_revision = revision
        try:
            with _inside(place, hook):
                bpf.prog_attach(attr)
        except EbpfError:  # refused: what is there is not ours
            raise
        except BaseException:  # Ctrl-C, maybe after the call had its effect
            link.close()
            raise
        undo.pop_all()
        return link


def reopen(entry: Entry) -> ProgAttachment | None:
    """Return the attachment that the journal tells of, if it is there.

    The caller is in its network namespace.
    """
    hook = Hook(
        AttachType(entry.number("attach_type")),
        entry.number("ifindex"),
        entry.number("number"),
        entry.text("path"),
    )
    program_id = entry.number("program_id")
    try:
        place = _open_again(hook)
    except SyscallError as error:
        if isinstance(error, PermissionError):
            raise
        return None
    try:
        if not _attached(place, hook, program_id):
            place.close()
            return None
        with Program.from_id(program_id) as program:
            owned = own_program(program)
    except BaseException:
        place.close()
        raise
    return ProgAttachment(
        place, owned, program_id=program_id, hook=hook, flags=entry.number("flags"),
        target=entry.text("target"), entry=entry,
    )  # fmt: skip


def _open_again(hook: Hook) -> FD:
    if hook.attach_type in _SOCKMAPS:
        return bpf.map_get_fd_by_id(hook.number)
    path = "/proc/thread-self/ns/net" if hook.in_namespace else hook.path
    place = FD(kernel.current().open(path, os.O_RDONLY))
    # A directory of the same name may be another cgroup.
    if not hook.in_namespace and os.fstat(place.fileno()).st_ino != hook.number:
        place.close()
        raise SyscallError("open", errno.ENOENT, f"{path} is another one by now")
    return place


def _attached(place: FD, hook: Hook, program_id: int) -> bool:
    try:
        found = query(hook.ifindex or place, hook.attach_type)
    except SyscallError as error:
        if error.errno == errno.ENODEV:
            return False
        if error.errno != errno.EINVAL:  # not every kernel can be asked about every hook
            raise
        return True
    return any(each.program_id == program_id for each in found.programs)


def _written(hook: Hook, flags: int, target: str) -> dict[str, Value]:
    return {
        "attach_type": int(hook.attach_type),
        "ifindex": hook.ifindex,
        "number": hook.number,
        "path": hook.path,
        "flags": flags,
        "target": target,
        "netns": netns_inode() if hook.in_namespace else 0,
    }


def _attr(place: FD, program: FD | Program, hook: Hook) -> ProgAttach:
    attr = ProgAttach(attach_bpf_fd=program.fileno(), attach_type=hook.attach_type)
    if hook.attach_type in _INTERFACES:
        attr.target_ifindex = hook.ifindex
    elif not hook.in_namespace:
        attr.target_fd = place.fileno()
    return attr


@contextlib.contextmanager
def _inside(place: FD, hook: Hook) -> Iterator[None]:
    if not hook.in_namespace:
        yield
        return
    with inside_netns(f"/proc/self/fd/{place.fileno()}"):
        yield
