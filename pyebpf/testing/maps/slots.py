"""Maps that hold other objects: programs, perf events, maps. In goes a descriptor, out an id.

What to do with a descriptor the kernel says: `resolve`, given when the map is made, turns it into
the object or refuses it.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Callable

from pyebpf.errors import ENOTSUPP
from pyebpf.testing.maps.arrays import index_of, next_index
from pyebpf.testing.maps.buckets import Buckets
from pyebpf.testing.maps.contents import Contents, check_flags
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.typed import Any
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, ProgType, UpdateFlag

__all__ = ["FdArray", "HashOfMaps", "Resolve"]

Resolve = Callable[[int], Any]
"""From a descriptor to the object behind it; raises `Refused`."""

_U32 = struct.Struct("=I")
# Those of which user space is not shown what is in them.
_SECRET = frozenset({MapType.PERF_EVENT_ARRAY, MapType.CGROUP_ARRAY})


class FdArray(Contents):
    """``BPF_MAP_TYPE_PROG_ARRAY``, ``PERF_EVENT_ARRAY``, ``ARRAY_OF_MAPS``.

    Args:
        definition: What it is made of.
        resolve: From a descriptor to what may be in a slot.

    Attributes:
        objects: What is in the slots, by index.
        owner: Of a program array, the type of programs it belongs to, if it has been used.
    """

    def __init__(self, definition: Definition, resolve: Resolve) -> None:
        super().__init__(definition)
        self._resolve = resolve
        self.objects: dict[int, Any] = {}
        self.owner: ProgType | None = None
        self._put_by: dict[int, object] = {}
        if definition.type == MapType.ARRAY_OF_MAPS:
            self.batches = frozenset({Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_UPDATE_BATCH})

    def lookup(self, key: bytes) -> bytes:
        if self.definition.type in _SECRET:
            raise Refused(ENOTSUPP)
        found = self.objects.get(int.from_bytes(key, sys.byteorder))
        if found is None:
            raise Refused(errno.ENOENT)
        return _U32.pack(found.id)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # bpf_fd_array_map_update_elem
        if flags != UpdateFlag.ANY:
            raise Refused(errno.EINVAL)
        number = index_of(key, self.definition)
        found = self._resolve(_U32.unpack(value)[0])
        if self.definition.type == MapType.PROG_ARRAY:
            self.own(found.type)
        self.objects[number] = found

    def own(self, kind: ProgType) -> None:
        """All programs of an array, and all that use it, are of one type.

        Raises:
            Refused: ``EINVAL``: it belongs to another.
        """
        # bpf_prog_map_compatible
        if self.owner is None:
            self.owner = kind
        elif self.owner != kind:
            raise Refused(errno.EINVAL)

    def delete(self, key: bytes) -> None:
        number = index_of(key, self.definition)
        if self.objects.pop(number, None) is None:
            raise Refused(errno.ENOENT)

    def next_key(self, key: bytes | None) -> bytes:
        return next_index(key, self.definition)

    def found(self, key: bytes) -> Any:  # noqa: ANN401 - whatever the map holds
        """Return what a program finds at *key*, or ``None``."""
        return self.objects.get(int.from_bytes(key, sys.byteorder))

    def put_by(self, file: object, key: bytes, value: bytes, flags: int) -> None:
        """As `update`, through an open file, which takes what it has put with it when it closes."""
        self.update(key, value, flags)
        self._put_by[int.from_bytes(key, sys.byteorder)] = file

    def forget_file(self, file: object) -> None:
        """A file was closed: perf_event_fd_array_release."""
        if self.definition.flags & MapFlag.PRESERVE_ELEMS:
            return
        for number in [each for each, by in self._put_by.items() if by is file]:
            del self._put_by[number]
            self.objects.pop(number, None)

    def forget_users(self) -> None:
        # A program array may hold a program that uses it: prog_array_map_clear.
        if self.definition.type == MapType.PROG_ARRAY:
            self.objects.clear()


class HashOfMaps(Contents):
    """``BPF_MAP_TYPE_HASH_OF_MAPS``; arguments as for `FdArray`.

    Attributes:
        buckets: The keys in order, for batches.
    """

    batches = frozenset(
        {
            Cmd.MAP_LOOKUP_BATCH,
            Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
            Cmd.MAP_UPDATE_BATCH,
            Cmd.MAP_DELETE_BATCH,
        }
    )

    def __init__(self, definition: Definition, resolve: Resolve) -> None:
        super().__init__(definition)
        self._resolve = resolve
        self._objects: dict[bytes, Any] = {}
        self.buckets = Buckets(definition.max_entries)

    def lookup(self, key: bytes) -> bytes:
        found = self._objects.get(key)
        if found is None:
            raise Refused(errno.ENOENT)
        return _U32.pack(found.id)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # bpf_fd_htab_map_update_elem: first the map, then the flags.
        found = self._resolve(_U32.unpack(value)[0])
        if flags > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        check_flags(flags, exists=key in self._objects)
        if key not in self._objects:
            if len(self._objects) >= self.definition.max_entries:
                raise Refused(errno.E2BIG)
            self.buckets.add(key)
        self._objects[key] = found

    def delete(self, key: bytes) -> None:
        if self._objects.pop(key, None) is None:
            raise Refused(errno.ENOENT)
        self.buckets.remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        known = key is not None and key in self._objects
        following = self.buckets.after(key) if known and key is not None else self.buckets.first()
        if following is None:
            raise Refused(errno.ENOENT)
        return following

    def found(self, key: bytes) -> Any:  # noqa: ANN401 - a map
        """Return the map a program finds at *key*, or ``None``."""
        return self._objects.get(key)
