"""Helpers on values that belong to sockets, tasks, inodes and control groups."""

from __future__ import annotations

import errno

from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.helper_flags import LocalStorageFlag
from pyebpf.uapi.helpers import FuncId

__all__ = ["HELPERS"]

_KINDS = {
    MapType.SK_STORAGE,
    MapType.TASK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.CGRP_STORAGE,
}


_GROUPS = {MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE}


def storage_get(run: Run, pointer: int, owner: int, value: int, flags: int) -> int:
    """Return the address of the owner's value, or 0; with a flag it is made if there is none."""
    found = run.map_at(pointer)
    if not owner or flags & ~int(LocalStorageFlag.CREATE) or found.type not in _KINDS:
        return 0
    initial = None
    if flags:
        initial = run.memory.read(value, found.value_size) if value else bytes(found.value_size)
    region = found.local_storage(owner, initial)
    return 0 if region is None else run.memory.place(region)


def storage_delete(run: Run, pointer: int, owner: int) -> int:
    """Remove the owner's value."""
    found = run.map_at(pointer)
    if not owner or found.type not in _KINDS:
        return -errno.EINVAL
    return found.remove_local_storage(owner)


def get_local_storage(run: Run, pointer: int, flags: int) -> int:
    """Return the address of the control group's value; without a group it lasts for this run."""
    found = run.map_at(pointer)
    if found.type not in _GROUPS:
        raise ExecutionError(f"map {found.name} is no storage of control groups")
    group, region = run.context.group, None
    if group is not None:
        region = found.cgroup_storage(group, run.world.cpu)
    if region is None:
        storages = run.context.storages = run.context.storages or {}
        if found not in storages:
            name = f"value of map {found.name}"
            storages[found] = Region(bytearray(found.value_size), name)
        region = storages[found]
    return run.memory.place(region)


HELPERS: dict[int, Function] = {
    FuncId.get_local_storage: get_local_storage,
    FuncId.sk_storage_get: storage_get,
    FuncId.sk_storage_delete: storage_delete,
    FuncId.task_storage_get: storage_get,
    FuncId.task_storage_delete: storage_delete,
    FuncId.inode_storage_get: storage_get,
    FuncId.inode_storage_delete: storage_delete,
    FuncId.cgrp_storage_get: storage_get,
    FuncId.cgrp_storage_delete: storage_delete,
}
