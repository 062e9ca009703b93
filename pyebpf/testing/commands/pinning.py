"""OBJ_PIN and OBJ_GET."""

from __future__ import annotations

import errno

from pyebpf.testing import buffers
from pyebpf.testing.attachments import Link
from pyebpf.testing.objects import Map, ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import ObjPin
from pyebpf.uapi.bpf import OpenFlag

__all__ = ["get", "pin"]

_ACCESS = OpenFlag.RDONLY | OpenFlag.WRONLY


def pin(system: System, attr: ObjPin) -> int:
    """Give an object a name."""
    if attr.file_flags:
        if attr.file_flags & OpenFlag.PATH_FD:
            raise NotImplementedError("BPF_OBJ_PIN with path_fd")
        raise Refused(errno.EINVAL)
    what = system.holding(attr.bpf_fd)
    # bpf_fd_probe_obj
    if not isinstance(what, (Map, ProgramObject, Link)):
        raise Refused(errno.EINVAL)
    system.pins.pin(_path(attr), what)
    return 0


def get(system: System, attr: ObjPin) -> int:
    """Open what has a name."""
    if attr.file_flags & OpenFlag.PATH_FD:
        raise NotImplementedError("BPF_OBJ_GET with path_fd")
    if attr.bpf_fd or attr.file_flags & ~int(_ACCESS) or attr.file_flags & _ACCESS == _ACCESS:
        raise Refused(errno.EINVAL)
    what = system.pins.get(_path(attr))
    # bpf_obj_get_user: programs and links are opened for both ways or not at all.
    if not isinstance(what, Map) and attr.file_flags:
        raise Refused(errno.EINVAL)
    return system.files.open(what, attr.file_flags)


def _path(attr: ObjPin) -> str:
    return buffers.read_string(attr.pathname).decode("utf-8", "surrogateescape")
