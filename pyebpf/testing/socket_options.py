"""setsockopt(2): programs of single sockets, and of groups of sockets that share a port.

The sockets are this machine's own, which knows nothing of it.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Hashable

from pyebpf.errors import ENOTSUPP
from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.objects import ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.sockets import Socket, socket_of
from pyebpf.testing.system import System
from pyebpf.uapi.bpf import ProgType

__all__ = ["set_option"]

_ATTACH, _DETACH = 50, 27  # SO_ATTACH_BPF, SO_DETACH_BPF
_ATTACH_GROUP, _DETACH_GROUP = 52, 68  # SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_TRANSPORTS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP)


def set_option(system: System, fd: int, level: int, name: int, value: bytes) -> None:
    """Attach a program, or take it off.

    Raises:
        Refused: ``EBADF``, ``ENOTSOCK``, ``EINVAL``, ``ENOENT``: there is none.
        NotImplementedError: Another option.
    """
    if level != socket.SOL_SOCKET or name not in (_ATTACH, _DETACH, _ATTACH_GROUP, _DETACH_GROUP):
        raise NotImplementedError(f"setsockopt of level {level}, option {name}")
    found = socket_of(fd)
    programs = system.sockets
    if name == _DETACH:
        if programs.pop(found.inode, None) is None:
            raise Refused(errno.ENOENT)
    elif name == _ATTACH:
        program = _program(system, value)
        if program.type != ProgType.SOCKET_FILTER:
            raise Refused(errno.EINVAL)
        programs[found.inode] = program
    elif name == _ATTACH_GROUP:
        program = _program(system, value)
        _check_group(found, program)
        programs[_group(fd, found)] = program
    else:
        _detach_group(programs, _group(fd, found), found)


def _program(system: System, value: bytes) -> ProgramObject:
    if len(value) != 4:
        raise Refused(errno.EINVAL)
    return program_of(system, int.from_bytes(value, sys.byteorder))


# sk_reuseport_attach_bpf, reuseport_attach_prog
def _check_group(found: Socket, program: ProgramObject) -> None:
    if program.type == ProgType.SK_REUSEPORT:
        if found.family not in _INTERNET or found.protocol not in _TRANSPORTS:
            raise Refused(ENOTSUPP)
    elif program.type != ProgType.SOCKET_FILTER:
        raise Refused(errno.EINVAL)
    if not found.shares_port:
        raise Refused(errno.EINVAL)


# reuseport_detach_prog
def _detach_group(programs: dict[Hashable, ProgramObject], group: Hashable, found: Socket) -> None:
    if programs.pop(group, None) is None:
        raise Refused(errno.ENOENT if found.shares_port else errno.EINVAL)


# A socket without an address is a group of its own.
def _group(fd: int, found: Socket) -> Hashable:
    if not found.bound:
        return "group", found.inode
    with socket.socket(fileno=os.dup(fd)) as given:
        return "group", found.family, found.type, given.getsockname()
