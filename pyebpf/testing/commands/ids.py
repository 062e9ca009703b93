"""Ids of objects: the next one, and descriptors by id."""

from __future__ import annotations

import errno

from pyebpf.testing.files import KernelObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import ObjId
from pyebpf.uapi.bpf import OpenFlag

__all__ = [
    "btf_fd",
    "link_fd",
    "map_fd",
    "next_btf",
    "next_link",
    "next_map",
    "next_program",
    "program_fd",
]

_HIGHEST = 0x7FFFFFFF


def next_map(system: System, attr: ObjId) -> int:
    """MAP_GET_NEXT_ID."""
    return _next(attr, system.maps.after(attr.start_id))


def next_program(system: System, attr: ObjId) -> int:
    """PROG_GET_NEXT_ID."""
    return _next(attr, system.programs.after(attr.start_id))


def next_link(system: System, attr: ObjId) -> int:
    """LINK_GET_NEXT_ID."""
    return _next(attr, system.links.after(attr.start_id))


def next_btf(system: System, attr: ObjId) -> int:
    """BTF_GET_NEXT_ID."""
    return _next(attr, system.btfs.after(attr.start_id))


def map_fd(system: System, attr: ObjId) -> int:
    """MAP_GET_FD_BY_ID."""
    access = attr.open_flags & (OpenFlag.RDONLY | OpenFlag.WRONLY)
    if attr.open_flags & ~int(OpenFlag.RDONLY | OpenFlag.WRONLY):
        raise Refused(errno.EINVAL)
    if access == OpenFlag.RDONLY | OpenFlag.WRONLY:
        raise Refused(errno.EINVAL)
    return _open(system, system.maps.get(attr.map_id), access)


def program_fd(system: System, attr: ObjId) -> int:
    """PROG_GET_FD_BY_ID."""
    return _open(system, system.programs.get(attr.prog_id))


def link_fd(system: System, attr: ObjId) -> int:
    """LINK_GET_FD_BY_ID."""
    return _open(system, system.links.get(attr.link_id))


def btf_fd(system: System, attr: ObjId) -> int:
    """BTF_GET_FD_BY_ID."""
    return _open(system, system.btfs.get(attr.btf_id))


# bpf_obj_get_next_id
def _next(attr: ObjId, following: int | None) -> int:
    if attr.start_id >= _HIGHEST:
        raise Refused(errno.EINVAL)
    if following is None:
        raise Refused(errno.ENOENT)
    attr.next_id = following
    return 0


def _open(system: System, what: KernelObject | None, flags: int = 0) -> int:
    if what is None:
        raise Refused(errno.ENOENT)
    return system.files.open(what, flags)
