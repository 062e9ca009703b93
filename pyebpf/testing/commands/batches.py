"""The batch commands: many elements at a time.

Arrays and tries go on from a key, hashes from the number of a bucket (u32). The last part of a map
comes with ``ENOENT`` and counts nevertheless; a bucket that does not fit at all is ``ENOSPC``.
"""

from __future__ import annotations

import errno
import struct

from pyebpf.errors import ENOTSUPP
from pyebpf.testing import buffers
from pyebpf.testing.commands.elements import map_of, may_read, may_write, update
from pyebpf.testing.files import OpenFile
from pyebpf.testing.maps.hashes import Hash
from pyebpf.testing.maps.slots import HashOfMaps
from pyebpf.testing.objects import Map
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import MapBatch
from pyebpf.uapi.bpf import Cmd, UpdateFlag

__all__ = ["delete_batch", "lookup_and_delete_batch", "lookup_batch", "update_batch"]

_U32 = struct.Struct("=I")


def lookup_batch(system: System, attr: MapBatch) -> int:
    """Copy elements out."""
    found, _ = _opened(system, attr, Cmd.MAP_LOOKUP_BATCH)
    return _look_up(found, attr, remove=False)


def lookup_and_delete_batch(system: System, attr: MapBatch) -> int:
    """Take elements out."""
    found, _ = _opened(system, attr, Cmd.MAP_LOOKUP_AND_DELETE_BATCH)
    return _look_up(found, attr, remove=True)


def update_batch(system: System, attr: MapBatch) -> int:
    """Set elements: generic_map_update_batch."""
    found, file = _opened(system, attr, Cmd.MAP_UPDATE_BATCH)
    definition = found.definition
    keys = buffers.read(attr.keys, attr.count * definition.key_size) if attr.count else b""
    size = definition.transfer_size
    values = buffers.read(attr.values, attr.count * size) if attr.count else b""
    wanted, attr.count = attr.count, 0
    for number in range(wanted):
        key = keys[number * definition.key_size : (number + 1) * definition.key_size]
        value = values[number * size : (number + 1) * size]
        update(found, file, key, value, attr.elem_flags)
        attr.count = number + 1
    return 0


def delete_batch(system: System, attr: MapBatch) -> int:
    """Remove elements: generic_map_delete_batch."""
    found, _ = _opened(system, attr, Cmd.MAP_DELETE_BATCH)
    size = found.definition.key_size
    keys = buffers.read(attr.keys, attr.count * size) if attr.count else b""
    wanted, attr.count = attr.count, 0
    for number in range(wanted):
        found.contents.delete(keys[number * size : (number + 1) * size])
        attr.count = number + 1
    return 0


# bpf_map_do_batch
def _opened(system: System, attr: MapBatch, cmd: Cmd) -> tuple[Map, OpenFile]:
    found, file = map_of(system, attr.map_fd)
    if cmd in (Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_AND_DELETE_BATCH):
        may_read(file)
    if cmd != Cmd.MAP_LOOKUP_BATCH:
        may_write(found, file)
    if cmd not in found.contents.batches:
        raise Refused(ENOTSUPP)
    if attr.elem_flags & ~int(UpdateFlag.LOCK) or attr.flags:
        raise Refused(errno.EINVAL)
    if attr.elem_flags & UpdateFlag.LOCK and not found.has_lock:
        raise Refused(errno.EINVAL)
    return found, file


def _look_up(found: Map, attr: MapBatch, *, remove: bool) -> int:
    if not attr.count:
        return 0
    contents = found.contents
    if isinstance(contents, (Hash, HashOfMaps)):
        return _from_buckets(found, contents, attr, remove=remove)
    return _from_keys(found, attr)


# generic_map_lookup_batch
def _from_keys(found: Map, attr: MapBatch) -> int:
    contents, size = found.contents, found.definition.key_size
    key = None if attr.in_batch in (None, 0) else buffers.read(attr.in_batch, size)
    keys: list[bytes] = []
    values: list[bytes] = []
    end = False
    while len(keys) < attr.count:
        try:
            key = contents.next_key(key)
        except Refused as refused:
            if refused.number != errno.ENOENT:
                raise
            end = True
            break
        try:
            value = contents.lookup(key)
        except Refused as refused:
            if refused.number != errno.ENOENT:
                raise
            continue  # an empty slot
        keys.append(key)
        values.append(value)
    attr.count = len(keys)
    _hand_out(attr, keys, values)
    if keys:
        buffers.write(attr.out_batch, keys[-1])
    if end:
        raise Refused(errno.ENOENT)
    return 0


# __htab_map_lookup_and_delete_batch
def _from_buckets(found: Map, contents: Hash | HashOfMaps, attr: MapBatch, *, remove: bool) -> int:
    wanted, attr.count = attr.count, 0
    start = 0
    if attr.in_batch not in (None, 0):
        start = _U32.unpack(buffers.read(attr.in_batch, 4))[0]
    if start >= contents.buckets.count:
        raise Refused(errno.ENOENT)
    keys: list[bytes] = []
    following = contents.buckets.count
    for number, bucket in contents.buckets.since(start):
        if len(keys) + len(bucket) > wanted:
            following = number
            break
        keys += bucket
    if following < contents.buckets.count and not keys:
        raise Refused(errno.ENOSPC)
    values = [contents.lookup(key) for key in keys]
    _hand_out(attr, keys, values)
    buffers.write(attr.out_batch, _U32.pack(following))
    attr.count = len(keys)
    if remove:
        for key in keys:
            contents.delete(key)
    if following == contents.buckets.count:
        raise Refused(errno.ENOENT)
    return 0


def _hand_out(attr: MapBatch, keys: list[bytes], values: list[bytes]) -> None:
    buffers.write(attr.keys, b"".join(keys))
    buffers.write(attr.values, b"".join(values))
