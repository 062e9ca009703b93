"""The commands on single elements of maps, by descriptor and by what `elements` has looked up.

Each checks what the system call itself checks (access, flags, the key's presence) and leaves the
rest to the contents.
"""

from __future__ import annotations

import errno

from pyebpf.errors import ENOTSUPP
from pyebpf.testing import buffers
from pyebpf.testing.files import OpenFile
from pyebpf.testing.maps.queues import BloomFilter
from pyebpf.testing.maps.slots import FdArray
from pyebpf.testing.objects import Map
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import MapElem, MapNextKey
from pyebpf.uapi.bpf import MapFlag, MapType, OpenFlag, UpdateFlag

__all__ = [
    "delete",
    "delete_elem",
    "freeze",
    "get_next_key",
    "lookup",
    "lookup_and_delete",
    "lookup_and_delete_elem",
    "lookup_elem",
    "map_of",
    "may_read",
    "may_write",
    "next_key",
    "update",
    "update_elem",
]

_QUEUES = frozenset({MapType.QUEUE, MapType.STACK})


def map_of(system: System, fd: int) -> tuple[Map, OpenFile]:
    """Return the map behind a descriptor, and the open file.

    Raises:
        Refused: ``EBADF``; ``EINVAL``: it is something else.
    """
    file = system.find(fd)
    if file is None or not isinstance(file.what, Map):
        raise Refused(errno.EINVAL)
    return file.what, file


def may_read(file: OpenFile) -> None:
    """Refuse to read through a file that was opened for writing only."""
    if file.flags & OpenFlag.WRONLY:
        raise Refused(errno.EPERM)


def may_write(found: Map, file: OpenFile) -> None:
    """Refuse to write to a frozen map, or through a file for reading only."""
    if found.frozen or file.flags & OpenFlag.RDONLY:
        raise Refused(errno.EPERM)


# --- the calls, with bytes


def lookup(found: Map, file: OpenFile, key: bytes, flags: int) -> bytes:
    """MAP_LOOKUP_ELEM."""
    if flags & ~int(UpdateFlag.LOCK):
        raise Refused(errno.EINVAL)
    may_read(file)
    _check_lock(found, flags)
    return found.contents.lookup(key)


def update(found: Map, file: OpenFile, key: bytes, value: bytes, flags: int) -> None:
    """MAP_UPDATE_ELEM."""
    may_write(found, file)
    _check_lock(found, flags)
    contents = found.contents
    if isinstance(contents, FdArray):
        contents.put_by(file, key, value, flags)
    else:
        contents.update(key, value, flags)


def delete(found: Map, file: OpenFile, key: bytes) -> None:
    """MAP_DELETE_ELEM."""
    may_write(found, file)
    found.contents.delete(key)


def next_key(found: Map, file: OpenFile, key: bytes | None) -> bytes:
    """MAP_GET_NEXT_KEY."""
    may_read(file)
    return found.contents.next_key(key)


def lookup_and_delete(found: Map, file: OpenFile, key: bytes, flags: int) -> bytes:
    """MAP_LOOKUP_AND_DELETE_ELEM."""
    if flags & ~int(UpdateFlag.LOCK):
        raise Refused(errno.EINVAL)
    may_read(file)
    may_write(found, file)
    if flags and found.definition.type in _QUEUES:
        raise Refused(errno.EINVAL)
    _check_lock(found, flags)
    if not found.contents.pops:
        raise Refused(ENOTSUPP)
    return found.contents.pop(key)


def _check_lock(found: Map, flags: int) -> None:
    if flags & UpdateFlag.LOCK and not found.has_lock:
        raise Refused(errno.EINVAL)


# --- the commands, with attrs


def lookup_elem(system: System, attr: MapElem) -> int:
    """Copy a value out; of a bloom filter ask whether a value was pushed."""
    if attr.flags & ~int(UpdateFlag.LOCK):
        raise Refused(errno.EINVAL)
    found, file = map_of(system, attr.map_fd)
    if isinstance(found.contents, BloomFilter):
        may_read(file)
        _check_lock(found, attr.flags)
        value = buffers.read(attr.value, found.definition.value_size)
        if not found.contents.contains(value):
            raise Refused(errno.ENOENT)
        return 0
    may_read(file)
    key = _key(found, attr.key)
    buffers.write(attr.value, lookup(found, file, key, attr.flags))
    return 0


def update_elem(system: System, attr: MapElem) -> int:
    """Set a value."""
    found, file = map_of(system, attr.map_fd)
    may_write(found, file)
    _check_lock(found, attr.flags)
    key = _key(found, attr.key)
    value = buffers.read(attr.value, found.definition.transfer_size)
    update(found, file, key, value, attr.flags)
    return 0


def delete_elem(system: System, attr: MapElem) -> int:
    """Remove a key."""
    found, file = map_of(system, attr.map_fd)
    may_write(found, file)
    delete(found, file, _key(found, attr.key))
    return 0


def get_next_key(system: System, attr: MapNextKey) -> int:
    """Copy the key after another one out."""
    found, file = map_of(system, attr.map_fd)
    may_read(file)
    key = None if attr.key in (None, 0) else _key(found, attr.key)
    buffers.write(attr.next_key, next_key(found, file, key))
    return 0


def lookup_and_delete_elem(system: System, attr: MapElem) -> int:
    """Take a value out."""
    found, file = map_of(system, attr.map_fd)
    if attr.flags & ~int(UpdateFlag.LOCK):
        raise Refused(errno.EINVAL)
    may_read(file)
    may_write(found, file)
    key = _key(found, attr.key)
    buffers.write(attr.value, lookup_and_delete(found, file, key, attr.flags))
    return 0


def freeze(system: System, attr: MapElem) -> int:
    """Refuse writes from now on: map_freeze."""
    found, file = map_of(system, attr.map_fd)
    if found.definition.type == MapType.STRUCT_OPS:
        raise Refused(ENOTSUPP)
    if found.frozen and not system.age.reached("6.5"):
        raise Refused(errno.EBUSY)
    may_write(found, file)
    shared = getattr(found.contents, "shared", None)
    if shared is not None and shared.mapped_writable:
        raise Refused(errno.EBUSY)
    found.frozen = True
    return 0


# __bpf_copy_key
def _key(found: Map, pointer: object) -> bytes:
    size = found.definition.key_size
    if size:
        return buffers.read(pointer, size)
    if pointer not in (None, 0) and len(memoryview(pointer)):  # type: ignore[arg-type]  # a buffer
        raise Refused(errno.EINVAL)
    return b""


def access_flags(flags: int) -> int:
    """Return with which access a new map is opened: bpf_get_file_flag."""
    return int(flags & (MapFlag.RDONLY | MapFlag.WRONLY))
