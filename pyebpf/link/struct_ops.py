"""Implementations of kernel interfaces, registered: ``SEC(".struct_ops.link")``, ``.struct_ops``.

with a link (6.4)   map value set ──BPF_LINK_CREATE──▶ bpf_link; update puts another map in
without (5.6)       map value set = registered ──▶ deleting the map's value unregisters
"""

from __future__ import annotations

import contextlib
import errno
import struct

from pyebpf.errors import ClosedError, EbpfError, LoadError, SyscallError, naming
from pyebpf.link.base import DescriptorLink, Link
from pyebpf.link.journal import Entry, write_down
from pyebpf.maps.map import Map
from pyebpf.maps.struct_ops import StructOps
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD, duplicate
from pyebpf.typed import Any
from pyebpf.uapi.attrs import LinkCreate, LinkUpdate, MapElem
from pyebpf.uapi.bpf import AttachType, MapFlag, MapType
from pyebpf.uapi.per_hook import AttachFlag

__all__ = ["KIND", "StructOpsLink", "StructOpsRegistration", "attach_struct_ops", "reopen"]

KIND = "struct_ops"  # in the journal
_KEY = bytes(4)
_STATE_AT, _IN_USE = 4, 1  # struct bpf_struct_ops_common_value, enum bpf_struct_ops_state


class StructOpsLink(Link):
    """A registered implementation: closing the link unregisters it, unless it is pinned.

    Since Linux 6.4.
    """

    def update(
        self,
        program: Program | Map[Any, Any],
        *,
        expected: Program | Map[Any, Any] | None = None,
    ) -> None:
        """Put another implementation of the same interface in place, without a gap.

        Args:
            program: Despite its name the map of an implementation with ``BPF_F_LINK``.
            expected: Only if this implementation is registered.

        Raises:
            TypeError: It is something else.
            SyscallError: ``EINVAL`` if the interface cannot be updated, or wants the same name.
        """
        if not isinstance(program, Map):
            raise TypeError(
                f"an implementation is updated by another one, a map, not {type(program).__name__}"
            )
        implementation = program
        with naming(f'update link to implementation "{implementation.name}"'):
            _check(implementation)
            if not implementation.flags & MapFlag.LINK:
                raise LoadError(
                    implementation.name, 'it is of section ".struct_ops", which knows no links'
                )
            _set_value(implementation)
            attr = LinkUpdate(link_fd=self.fileno(), new_map_fd=implementation.fileno())
            if expected is not None:
                attr.flags, attr.old_map_fd = AttachFlag.REPLACE, expected.fileno()
            bpf.link_update(attr)


class StructOpsRegistration(DescriptorLink):
    """A registered implementation that knows no ``bpf_link``: closing it unregisters.

    Unlike a link it outlives a process that ends without closing it; `pyebpf.link.clean_up` finds
    it then.

    Args:
        fd: The map's descriptor; owned from now on.
        target: For people.
        entry: What was written down about it.
    """

    def __init__(self, fd: FD, *, target: str, entry: Entry) -> None:
        super().__init__(fd, target=target)
        self._entry = entry

    def close(self) -> None:
        """Unregister; what uses the implementation already may go on doing so.

        Raises:
            SyscallError: The kernel refused.
        """
        try:
            held = FD(self._fd.take())
        except ClosedError:
            return
        with held, naming(f"unregister {self.target}"):
            try:
                bpf.map_delete_elem(MapElem(map_fd=held.fileno(), key=_KEY))
            except SyscallError as error:
                # Somebody did it already, or it is still under way.
                if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
                    raise
            self._entry.remove()

    def disown(self) -> None:
        """Close this object and leave it registered, whatever becomes of this process."""
        self.leave()
        self._entry.remove()

    def leave(self) -> None:
        """Close this object alone: it stays registered, and its process answers for it."""
        self._fd.close()


def attach_struct_ops(implementation: Map[Any, Any]) -> Link:
    """Register an implementation of a kernel interface, such as a TCP congestion control.

    Args:
        implementation: The map of a variable in section ``.struct_ops.link`` or ``.struct_ops``;
            may be closed afterwards, and so may its programs.

    Returns:
        What unregisters when closed: a link that can be pinned and updated for the former.

    Raises:
        TypeError: Another kind of map.
        LoadError: A map without a link that was not loaded by this process.
        SyscallError: ``EEXIST``: the kernel has one of that name; ``EINVAL``: it lacks a function
            the kernel demands; ``EBUSY``: it is registered already.

    Since Linux 5.6 (links: 6.4).
    """
    target = f'implementation "{implementation.name}"'
    with naming(f"register {target}"):
        _check(implementation)
        try:
            if not implementation.flags & MapFlag.LINK:
                return _register(implementation, target)
            _set_value(implementation)
            attr = LinkCreate(map_fd=implementation.fileno(), attach_type=AttachType.STRUCT_OPS)
            return StructOpsLink(bpf.link_create(attr), target=target)
        except SyscallError as error:
            if error.errno == errno.EEXIST:
                error.detail = "the kernel has one of that name already"
            raise


def _check(implementation: Map[Any, Any]) -> None:
    if implementation.type != MapType.STRUCT_OPS:
        raise TypeError(f'map "{implementation.name}" ({implementation.type}) is no implementation')


def _register(implementation: Map[Any, Any], target: str) -> Link:
    if not isinstance(implementation, StructOps):
        raise LoadError(implementation.name, "only who loaded it knows its programs")
    value = implementation.implementation
    with contextlib.ExitStack() as undo:
        held = FD(duplicate(implementation.fileno()))
        undo.callback(held.close)
        entry = write_down(KIND, map_id=implementation.id, program_name=implementation.name)
        undo.callback(entry.remove)
        registration = StructOpsRegistration(held, target=target, entry=entry)
        try:
            _update(implementation, value)
        except EbpfError:  # and leave alone what may be registered
            raise
        except BaseException:  # Ctrl-C, maybe after the call had its effect
            registration.close()
            raise
        undo.pop_all()
        return registration


def reopen(entry: Entry) -> StructOpsRegistration | None:
    """Return the registration that the journal tells of, if there is one still."""
    number, name = entry.number("map_id"), entry.text("program_name")
    try:
        with Map.from_id(number) as found, found.raw as raw:
            if found.type != MapType.STRUCT_OPS or not name.startswith(found.name):
                return None
            (state,) = struct.unpack_from("=I", raw[_KEY], _STATE_AT)
            if state != _IN_USE:
                return None
            held = FD(duplicate(found.fileno()))
    except SyscallError as error:
        if isinstance(error, PermissionError):
            raise
        return None
    return StructOpsRegistration(held, target=f'implementation "{name}"', entry=entry)


# The value of a map with links is set once; after that the kernel says EBUSY and keeps it.
def _set_value(implementation: Map[Any, Any]) -> None:
    if not isinstance(implementation, StructOps):
        return  # opened by id or pin: whoever loaded it has set it, or linking will say that not
    try:
        _update(implementation, implementation.implementation)
    except SyscallError as error:
        if error.errno != errno.EBUSY:
            raise


def _update(implementation: Map[Any, Any], value: bytes) -> None:
    bpf.map_update_elem(MapElem(map_fd=implementation.fileno(), key=_KEY, value=value))
