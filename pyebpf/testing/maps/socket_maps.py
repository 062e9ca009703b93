"""Maps of sockets. In goes a descriptor of this machine's, out the socket's cookie."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable

from pyebpf.errors import ENOTSUPP
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.arrays import index_of, next_index
from pyebpf.testing.maps.buckets import Buckets
from pyebpf.testing.maps.contents import Contents, check_flags
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.testing.sockets import Socket, is_open, socket_of
from pyebpf.uapi.bpf import UpdateFlag

__all__ = ["IsTaken", "ReuseportArray", "SocketArray", "SocketHash", "SocketMap", "XskMap"]

_U64 = struct.Struct("=Q")
_LARGEST = (1 << 31) - 1
_AF_XDP = 44
_INTERNET = (socket.AF_INET, socket.AF_INET6)

IsTaken = Callable[[Socket], bool]
"""Whether a reuseport array has a socket already: it may be in one only."""


class SocketMap(Contents):
    """What all of them have in common."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._found: dict[bytes, tuple[Socket, Region]] = {}

    @property
    def sockets(self) -> dict[bytes, Socket]:
        """Those in it that are still open, by key."""
        for key, (each, _) in list(self._found.items()):
            if not is_open(each.inode):
                self._remove(key)
        return {key: each for key, (each, _) in self._found.items()}

    def lookup(self, key: bytes) -> bytes:
        # Cookies have 64 bits: sock_map_lookup_sys, bpf_fd_reuseport_array_lookup_elem.
        if self.definition.value_size != _U64.size:
            raise Refused(errno.ENOSPC)
        found = self.sockets.get(key)
        if found is None:
            raise Refused(errno.ENOENT)
        return _U64.pack(found.cookie)

    def at(self, key: bytes, cpu: int) -> Region | None:
        return self._found[key][1] if key in self.sockets else None

    def _socket(self, value: bytes) -> Socket:
        number = int.from_bytes(value, sys.byteorder)
        if len(value) == _U64.size and number > _LARGEST:
            raise Refused(errno.EINVAL)
        return socket_of(number)

    def _put(self, key: bytes, given: Socket) -> None:
        # Nobody can look into a socket here.
        self._found[key] = given, Region(b"", f"socket {given.cookie:#x}", writable=False)

    def _remove(self, key: bytes) -> None:
        del self._found[key]


class SocketArray(SocketMap):
    """``BPF_MAP_TYPE_SOCKMAP``."""

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # sock_map_update_elem_sys
        given = self._socket(value)
        _check_suitable(given, flags)
        index_of(key, self.definition)
        check_flags(flags, exists=key in self.sockets)
        self._put(key, given)

    def delete(self, key: bytes) -> None:
        if key not in self.sockets:
            raise Refused(errno.EINVAL)
        self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)


class SocketHash(SocketMap):
    """``BPF_MAP_TYPE_SOCKHASH``."""

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._buckets = Buckets(definition.max_entries)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        given = self._socket(value)
        _check_suitable(given, flags)
        there = key in self.sockets
        check_flags(flags, exists=there)
        if not there:
            if len(self._found) >= self.definition.max_entries:
                raise Refused(errno.E2BIG)
            self._buckets.add(key)
        self._put(key, given)

    def delete(self, key: bytes) -> None:
        if key not in self.sockets:
            raise Refused(errno.ENOENT)
        self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        known = key is not None and key in self.sockets
        following = self._buckets.after(key) if known and key is not None else self._buckets.first()
        if following is None:
            raise Refused(errno.ENOENT)
        return following

    def _remove(self, key: bytes) -> None:
        super()._remove(key)
        self._buckets.remove(key)


class ReuseportArray(SocketMap):
    """``BPF_MAP_TYPE_REUSEPORT_SOCKARRAY``.

    Args:
        definition: What it is made of.
        is_taken: Asks all such arrays.
    """

    def __init__(self, definition: Definition, is_taken: IsTaken) -> None:
        super().__init__(definition)
        self._is_taken = is_taken

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # bpf_fd_reuseport_array_update_elem, reuseport_array_update_check
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        index_of(key, self.definition)
        given = self._socket(value)
        check_flags(flags, exists=key in self.sockets)
        packets = given.protocol == socket.IPPROTO_UDP
        if given.protocol != socket.IPPROTO_TCP and not packets:
            raise Refused(ENOTSUPP)
        if given.family not in _INTERNET:
            raise Refused(ENOTSUPP)
        if not given.shares_port or not (given.bound if packets else given.listening):
            raise Refused(errno.EINVAL)
        if self._is_taken(given):
            raise Refused(errno.EBUSY)
        self._put(key, given)

    def delete(self, key: bytes) -> None:
        index_of(key, self.definition)
        if key not in self.sockets:
            raise Refused(errno.ENOENT)
        self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)


class XskMap(SocketMap):
    """``BPF_MAP_TYPE_XSKMAP``."""

    def lookup(self, key: bytes) -> bytes:
        raise Refused(errno.EOPNOTSUPP)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # xsk_map_update_elem
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        index_of(key, self.definition)
        given = self._socket(value)
        if given.family != _AF_XDP:
            raise Refused(errno.EOPNOTSUPP)
        before = self.sockets.get(key)
        if before is not None and before.inode == given.inode:
            return
        check_flags(flags, exists=before is not None)
        self._put(key, given)

    def delete(self, key: bytes) -> None:
        index_of(key, self.definition, beyond=errno.EINVAL)
        if key in self.sockets:
            self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)


# sock_map_sk_is_suitable, sock_map_sk_state_allowed
def _check_suitable(given: Socket, flags: int) -> None:
    if flags > UpdateFlag.EXIST:
        raise Refused(errno.EINVAL)
    if given.protocol == socket.IPPROTO_TCP:
        fit = given.connected or given.listening
    elif given.protocol == socket.IPPROTO_UDP:
        fit = given.bound
    elif given.family == socket.AF_UNIX:
        fit = given.connected or given.type != socket.SOCK_STREAM
    else:
        fit = False
    if not fit:
        raise Refused(errno.EOPNOTSUPP)
