"""Iterators: links to what is walked, ITER_CREATE."""

from __future__ import annotations

import errno
import os

from pyebpf.testing.attachments import Link
from pyebpf.testing.commands.elements import map_of
from pyebpf.testing.iterators import TARGETS, WALKABLE, Walked, walk
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.typed import TypeVar
from pyebpf.uapi.attrs import (
    IterCreate,
    IterLinkInfoMap,
    IterLinkInfoTask,
    LinkCreate,
)
from pyebpf.uapi.bpf import LinkType
from pyebpf.uapi.cstruct import CStruct

__all__ = ["create", "create_link", "update_link"]

T = TypeVar("T", bound=CStruct)

_PREFIX = "bpf_iter_"
_LARGEST = 16  # union bpf_iter_link_info


# bpf_iter_link_attach
def create_link(system: System, attr: LinkCreate, program: ProgramObject) -> Link:
    """Make an iterator."""
    if attr.target_fd or attr.flags:
        raise Refused(errno.EINVAL)
    given, size = getattr(attr, "iter_info", None), getattr(attr, "iter_info_len", 0)
    if (given in (None, 0)) != (not size):
        raise Refused(errno.EINVAL)
    name = program.attach_name
    if not name.startswith(_PREFIX):
        raise Refused(errno.EINVAL)
    target = name.removeprefix(_PREFIX)
    if target not in TARGETS:
        raise NotImplementedError(f"BPF_LINK_CREATE of an iterator over {target}")
    walked, details = _walked(system, target, given)
    return Link(
        type=LinkType.ITER,
        program=program,
        details={"target_name": target.encode(), **details},
        holds=walked,
    )


def _walked(system: System, target: str, given: object) -> tuple[Walked, dict[str, int]]:
    if target == "bpf_map_elem":
        fd = _as(given, IterLinkInfoMap()).map_fd
        if not fd:
            raise Refused(errno.EBADF)
        found = map_of(system, fd)[0]
        if found.definition.type not in WALKABLE:
            raise Refused(errno.EINVAL)
        return Walked(map=found), {"map_id": found.id}
    if target == "task":
        chosen = _as(given, IterLinkInfoTask())
        if bool(chosen.tid) + bool(chosen.pid) + bool(chosen.pid_fd) > 1:
            raise Refused(errno.EINVAL)
        if chosen.pid_fd:
            raise NotImplementedError("BPF_LINK_CREATE of an iterator over a pidfd's tasks")
        return Walked(pid=chosen.pid, tid=chosen.tid), {"tid": chosen.tid, "pid": chosen.pid}
    return Walked(), {}


# What was given, as what the target makes of it.
def _as(given: object, wanted: T) -> T:
    data = b""
    if isinstance(given, CStruct):
        data = bytes(given.pack(lambda _: 0))
    elif isinstance(given, (bytes, bytearray, memoryview)):
        data = bytes(given)
    wanted.unpack_into(data[:_LARGEST].ljust(_LARGEST, b"\0"))
    return wanted


# bpf_iter_link_replace
def update_link(
    system: System, link: Link, program: ProgramObject, expected: ProgramObject | None
) -> None:
    """Put another program for the same target there."""
    if expected is not None and expected is not link.program:
        raise Refused(errno.EPERM)
    if program.type != link.program.type or program.attach_name != link.program.attach_name:
        raise Refused(errno.EINVAL)
    link.put(program)


def create(system: System, attr: IterCreate) -> int:
    """Begin a walk: a file with what the program prints, to be read once from its start."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    link = system.holding(attr.link_fd)
    if not isinstance(link, Link) or not isinstance(link.holds, Walked):
        raise Refused(errno.EINVAL)
    text = walk(system, link, link.holds)
    memory = os.memfd_create("bpf_iter", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(text)
        return os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(memory)
