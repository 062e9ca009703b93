"""Which programs are attached to a hook, whoever attached them: ``BPF_PROG_QUERY`` and netlink.

In: a place (an interface, a cgroup, a network namespace, a map) and an attach type. Out:
`Attached`.
"""

from __future__ import annotations

import array
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyebpf.errors import AttachError, SyscallError, naming
from pyebpf.link.interface import interface_index
from pyebpf.link.xdp import query_xdp
from pyebpf.plain import plain
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.typed import Protocol, TypeAlias
from pyebpf.uapi.attrs import ProgQuery
from pyebpf.uapi.bpf import AttachType
from pyebpf.uapi.per_hook import AttachFlag, QueryFlag

__all__ = ["Attached", "AttachedProgram", "HasFileno", "Place", "query"]

_INTERFACES = (
    AttachType.TCX_INGRESS,
    AttachType.TCX_EGRESS,
    AttachType.NETKIT_PRIMARY,
    AttachType.NETKIT_PEER,
)
_ROOM = 64  # programs; the kernel allows that many on most hooks
_OWN_NAMESPACE = "/proc/thread-self/ns/net"


class HasFileno(Protocol):
    """Anything that stands for a descriptor: a map, a file."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


Place: TypeAlias = "str | int | os.PathLike[str] | HasFileno | None"


@plain(frozen=True, kw_only=True)
class AttachedProgram:
    """One program on a hook.

    Attributes:
        program_id: Its id.
        link_id: Of the link that holds it; 0 if none does, or the kernel does not tell.
        flags: ``BPF_F_*`` of this attachment, as far as the kernel tells (Linux 6.0).
    """

    program_id: int
    link_id: int
    flags: AttachFlag


@plain(frozen=True, kw_only=True)
class Attached:
    """The programs on a hook, in the order they run.

    Attributes:
        attach_type: The hook.
        programs: What is attached.
        flags: ``BPF_F_ALLOW_*`` of the hook as a whole (cgroups).
        revision: Counts what was attached and detached (tcx and netkit: Linux 6.6, cgroups: 6.17);
            0 where the kernel does not.
    """

    attach_type: AttachType
    programs: tuple[AttachedProgram, ...]
    flags: AttachFlag
    revision: int


def query(place: Place, attach_type: AttachType, *, effective: bool = False) -> Attached:
    """Ask which programs are attached to a hook.

    Args:
        place: What the attach type belongs to: an interface (name or index), a cgroup's directory,
            the file of a network namespace (``None``: the caller's), a sockmap, a lirc device.
        attach_type: Which hook of it.
        effective: Of a cgroup: all that run there, those of cgroups above included.

    Raises:
        AttachError: No such interface or file.
        SyscallError: ``EINVAL`` if the kernel does not know the hook or cannot be asked about it.

    Since Linux 4.15 (cgroups), 4.20 (flow dissectors), 5.9 (``sk_lookup``), 5.18 (sockmaps), 6.6
    (tcx), 6.7 (netkit), 4.12 (XDP, by netlink).
    """
    if attach_type == AttachType.XDP:
        return _query_xdp(place)
    attr = ProgQuery(attach_type=attach_type)
    if effective:
        attr.query_flags = QueryFlag.QUERY_EFFECTIVE
    with naming(f"query {attach_type} of {_words(place)}"), _opened(place, attr):
        return _query(attr, effective=effective)


def _query(attr: ProgQuery, *, effective: bool) -> Attached:
    room = _ROOM
    # From what the newest kernels tell to what all do. Per-program flags and effective programs
    # exclude each other (EINVAL); fields that a kernel does not know are E2BIG.
    arrays = 3 if not effective else 1
    while True:
        ids = [array.array("I", bytes(4 * room)) for _ in range(arrays)]
        attr.prog_ids, attr.prog_cnt = ids[0], room
        attr.prog_attach_flags = ids[1] if arrays > 1 else None
        attr.link_ids = ids[2] if arrays > 2 else None
        try:
            bpf.prog_query(attr)
        except SyscallError as error:
            if error.errno == errno.ENOSPC:
                room *= 2
            elif error.errno in (errno.E2BIG, errno.EINVAL) and arrays > 1:
                arrays -= 1
            else:
                raise
            continue
        columns = [each[: attr.prog_cnt] for each in ids]
        while len(columns) < 3:
            columns.append(array.array("I", bytes(4 * attr.prog_cnt)))
        return Attached(
            attach_type=AttachType(attr.attach_type),
            programs=tuple(
                AttachedProgram(program_id=program, link_id=link, flags=AttachFlag(flags))
                for program, flags, link in zip(*columns, strict=True)
            ),
            flags=AttachFlag(attr.attach_flags),
            revision=attr.revision,
        )


def _query_xdp(place: Place) -> Attached:
    if not isinstance(place, str | int):
        raise AttachError("XDP", f"an interface has XDP programs, not {place!r}")
    state = query_xdp(place)
    ids = (state.driver_id, state.generic_id, state.hardware_id)
    found = [each for each in ids if each] or [each for each in (state.program_id,) if each]
    return Attached(
        attach_type=AttachType.XDP,
        programs=tuple(
            AttachedProgram(program_id=each, link_id=0, flags=AttachFlag(0)) for each in found
        ),
        flags=AttachFlag(0),
        revision=0,
    )


# Opens the place for as long as it is asked about, and puts it into *attr*.
@contextmanager
def _opened(place: Place, attr: ProgQuery) -> Iterator[None]:
    if attr.attach_type in _INTERFACES:
        if not isinstance(place, str | int):
            raise AttachError(str(place), f"{_words(place)} is no interface's name")
        attr.target_ifindex = interface_index(place)
        yield
    elif isinstance(place, str | os.PathLike) or place is None:
        path = os.fspath(place) if place is not None else _OWN_NAMESPACE
        try:
            opened = FD(kernel.current().open(path, os.O_RDONLY))
        except SyscallError as error:
            if isinstance(error, PermissionError):
                raise
            raise AttachError(path, str(error)) from None
        with opened:
            attr.target_fd = opened.fileno()
            yield
    elif isinstance(place, int):
        attr.target_fd = place
        yield
    else:
        attr.target_fd = place.fileno()
        yield


def _words(place: Place) -> str:
    if place is None:
        return "this network namespace"
    if isinstance(place, str | os.PathLike):
        return os.fspath(place)
    return str(place)
