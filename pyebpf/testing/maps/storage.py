"""Values that belong to something else: to sockets, tasks, inodes and control groups.

system call   descriptor ──Owner──┐
▼
program       struct's address ──▶ what it belongs to ──▶ value
"""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Callable, Hashable

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.contents import Contents, check_flags, region
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.bpf import MapType, UpdateFlag

__all__ = ["CgroupStorage", "LocalStorage", "Owner"]

_U64 = struct.Struct("=Q")
_KEY = struct.Struct("=QI4x")  # struct bpf_cgroup_storage_key

Owner = Callable[[int], Hashable]
"""From a descriptor, or from a struct's address, to what tells one owner from others."""


class LocalStorage(Contents):
    """``BPF_MAP_TYPE_SK_STORAGE``, ``TASK_STORAGE``, ``INODE_STORAGE``, ``CGRP_STORAGE``.

    What belonged to something that is no more is kept; nobody can ask for it.

    Args:
        definition: What it is made of.
        by_descriptor: Whose a descriptor is.
        by_address: Whose a struct is that a program has.
    """

    def __init__(self, definition: Definition, by_descriptor: Owner, by_address: Owner) -> None:
        super().__init__(definition)
        self._by_descriptor = by_descriptor
        self._by_address = by_address
        self._values: dict[Hashable, Region] = {}

    def lookup(self, key: bytes) -> bytes:
        found = self._values.get(self._owner(key))
        if found is None:
            raise Refused(errno.ENOENT)
        return bytes(found.data)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # bpf_local_storage_update
        owner = self._owner(key)
        locked = bool(flags & UpdateFlag.LOCK)
        if flags & ~int(UpdateFlag.LOCK) > UpdateFlag.EXIST:
            raise Refused(errno.EINVAL)
        found = self._values.get(owner)
        check_flags(flags, exists=found is not None)
        if found is not None and locked:
            found.view(0, len(value), write=True)[:] = value
        else:
            self._values[owner] = self._region(value)

    def delete(self, key: bytes) -> None:
        if self._values.pop(self._owner(key), None) is None:
            raise Refused(errno.ENOENT)

    def of_struct(self, address: int, initial: bytes | None) -> Region | None:
        """Return the value of the owner that a program has a pointer to.

        Args:
            address: The pointer.
            initial: What it starts with if there is none; ``None``: it is not made.
        """
        owner = self._by_address(address)
        found = self._values.get(owner)
        if found is None and initial is not None:
            found = self._values[owner] = self._region(initial)
        return found

    def remove_from_struct(self, address: int) -> None:
        """Remove that value."""
        if self._values.pop(self._by_address(address), None) is None:
            raise Refused(errno.ENOENT)

    def _owner(self, key: bytes) -> Hashable:
        return self._by_descriptor(int.from_bytes(key, sys.byteorder, signed=True))

    def _region(self, value: bytes) -> Region:
        return region(self.definition, bytearray(value))


class CgroupStorage(Contents):
    """``BPF_MAP_TYPE_CGROUP_STORAGE`` and ``PERCPU_CGROUP_STORAGE``.

    A value is made when a program that uses the map is attached to a control group, and goes with
    the group; a key is the group's inode, with the attach type or without.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self._values: dict[bytes, bytearray] = {}
        self._regions: dict[tuple[bytes, int], Region] = {}

    def add(self, group: tuple[int, int]) -> None:
        """Make the value of a group and attach type, if there is none."""
        self._values.setdefault(self._key(*group), bytearray(self.definition.transfer_size))

    def forget(self, inode: int) -> None:
        """A group was removed."""
        for key in [each for each in self._values if _U64.unpack_from(each)[0] == inode]:
            del self._values[key]
        for place in [each for each in self._regions if each[0] not in self._values]:
            del self._regions[place]

    def of_group(self, group: tuple[int, int], cpu: int) -> Region | None:
        """Return the value of a group and attach type on a CPU."""
        key = self._key(*group)
        value = self._values.get(key)
        if value is None:
            return None
        cpu = cpu if self.definition.type == MapType.PERCPU_CGROUP_STORAGE else 0
        if (key, cpu) not in self._regions:
            start = cpu * self.definition.stride
            mine = memoryview(value)[start : start + self.definition.value_size]
            self._regions[key, cpu] = region(self.definition, mine)
        return self._regions[key, cpu]

    def lookup(self, key: bytes) -> bytes:
        return bytes(self._value(key))

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        # cgroup_storage_update_elem
        if flags & ~int(UpdateFlag.LOCK | UpdateFlag.EXIST):
            raise Refused(errno.EINVAL)
        self._value(key)[:] = value

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        order = list(self._values)[::-1]  # the newest first
        place = 0
        if key is not None:
            self._value(key)
            place = order.index(self._normal(key)) + 1
        if place >= len(order):
            raise Refused(errno.ENOENT)
        return order[place]

    def _value(self, key: bytes) -> bytearray:
        found = self._values.get(self._normal(key))
        if found is None:
            raise Refused(errno.ENOENT)
        return found

    def _key(self, inode: int, attach_type: int) -> bytes:
        whole = _KEY.pack(inode, attach_type)
        return whole[: self.definition.key_size]

    # Nobody looks at the padding.
    def _normal(self, key: bytes) -> bytes:
        return key if len(key) == _U64.size else _KEY.pack(*_KEY.unpack(key))
