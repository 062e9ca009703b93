"""Probes of maps: types, creation flags, names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import MapCreate, MapElem
from pyebpf.uapi.bpf import MapFlag, MapType, UpdateFlag

__all__ = [
    "accepted_name",
    "dotted_names",
    "map_flag",
    "map_programs",
    "map_type",
    "mmapable_arrays",
    "object_names",
    "one_cpu_values",
]

_NOTHING: Mapping[str, int] = MappingProxyType({})


def map_type(kind: MapType) -> Feature:
    """Return the feature "maps of this type"."""
    return Feature(str(kind), MapType(kind).since, lambda: _try_map(kind))


# What each map type needs beyond key 4, value 4, one entry: field by field, from the kernel's own
# map_alloc_check functions. EBADF and ENOTSUPP mean that the type was recognised and something
# deliberately wrong further on was refused.
_MAP_SHAPES: dict[MapType, dict[str, int]] = {
    MapType.STACK_TRACE: {"value_size": 8},
    MapType.LPM_TRIE: {"key_size": 8, "value_size": 8, "map_flags": MapFlag.NO_PREALLOC},
    MapType.QUEUE: {"key_size": 0},
    MapType.STACK: {"key_size": 0},
    MapType.BLOOM_FILTER: {"key_size": 0},
    MapType.RINGBUF: {"key_size": 0, "value_size": 0, "max_entries": 65536},
    MapType.USER_RINGBUF: {"key_size": 0, "value_size": 0, "max_entries": 65536},
    MapType.ARENA: {"key_size": 0, "value_size": 0, "map_flags": MapFlag.MMAPABLE},
    MapType.CGROUP_STORAGE: {"key_size": 16, "max_entries": 0},
    MapType.PERCPU_CGROUP_STORAGE: {"key_size": 16, "max_entries": 0},
    MapType.ARRAY_OF_MAPS: {"inner_map_fd": 0xFFFFFFFF},
    MapType.HASH_OF_MAPS: {"inner_map_fd": 0xFFFFFFFF},
    MapType.STRUCT_OPS: {"btf_vmlinux_value_type_id": 1},
    MapType.INSN_ARRAY: {"value_size": 16},  # struct bpf_insn_array_value
    MapType.RHASH: {"map_flags": MapFlag.NO_PREALLOC},
}
_LOCAL_STORAGE = {
    "max_entries": 0,
    "map_flags": MapFlag.NO_PREALLOC,
    "btf_fd": 0xFFFFFFFF,
    "btf_key_type_id": 1,
    "btf_value_type_id": 1,
}
for _kind in (
    MapType.SK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.TASK_STORAGE,
    MapType.CGRP_STORAGE,
):
    _MAP_SHAPES[_kind] = _LOCAL_STORAGE


def _try_map(kind: MapType) -> bool:
    return _try_create(kind)


def _try_create(
    kind: MapType, *, flags: int = 0, name: bytes = b"", more: Mapping[str, int] = _NOTHING
) -> bool:
    attr = MapCreate(map_type=kind, key_size=4, value_size=4, max_entries=1, map_name=name)
    for field, value in {**_MAP_SHAPES.get(kind, {}), **more}.items():
        setattr(attr, field, value)
    attr.map_flags |= flags
    return accepted(lambda: bpf.map_create(attr).close())


def map_programs(kind: MapType) -> Feature:
    """Return the feature "values with programs", of maps of devices or CPUs."""
    since = {MapType.CPUMAP: "5.9"}.get(kind, "5.8")
    return Feature(f"programs in {kind}", since, lambda: _try_create(kind, more={"value_size": 8}))


# The kind of map that takes a flag, where arrays do not.
_FLAGGED: dict[MapFlag, MapType] = {
    MapFlag.NO_PREALLOC: MapType.HASH,
    MapFlag.NO_COMMON_LRU: MapType.LRU_HASH,
    MapFlag.STACK_BUILD_ID: MapType.STACK_TRACE,
    MapFlag.CLONE: MapType.SK_STORAGE,
    MapFlag.VTYPE_BTF_OBJ_FD: MapType.STRUCT_OPS,
    MapFlag.ZERO_SEED: MapType.HASH,
    MapFlag.PRESERVE_ELEMS: MapType.PERF_EVENT_ARRAY,
    MapFlag.LINK: MapType.STRUCT_OPS,
    MapFlag.SEGV_ON_FAULT: MapType.ARENA,
    MapFlag.NO_USER_CONV: MapType.ARENA,
    MapFlag.RB_OVERWRITE: MapType.RINGBUF,
}
# What goes with a flag: a stack with build ids, one entry for each CPU's list, wrong descriptors.
_WITH_FLAG: dict[MapFlag, dict[str, int]] = {
    MapFlag.STACK_BUILD_ID: {"value_size": 32},
    MapFlag.NO_COMMON_LRU: {"max_entries": 1 << 16},
    MapFlag.VTYPE_BTF_OBJ_FD: {"value_type_btf_obj_fd": -1},
    MapFlag.TOKEN_FD: {"map_token_fd": -1},
}


def map_flag(flag: MapFlag) -> Feature:
    """Return the feature "maps with this creation flag"."""
    kind = _FLAGGED.get(flag, MapType.ARRAY)
    more = _WITH_FLAG.get(flag, {})
    return Feature(str(flag), flag.since, lambda: _try_create(kind, flags=flag, more=more))


mmapable_arrays = Feature(
    "memory mapping of array maps",
    "5.5",
    lambda: _try_create(MapType.ARRAY, flags=MapFlag.MMAPABLE),
)
object_names = Feature(
    "names of maps and programs", "4.15", lambda: _try_create(MapType.ARRAY, name=b"pyebpf")
)
dotted_names = Feature(
    "names with dots", "5.2", lambda: _try_create(MapType.ARRAY, name=b"pyebpf.probe")
)


# EINVAL before there was such a flag; a kernel that has it finds the value of CPU 0.
def _try_one_cpu() -> bool:
    shape = MapCreate(map_type=MapType.PERCPU_ARRAY, key_size=4, value_size=8, max_entries=1)
    with bpf.map_create(shape) as array:
        attr = MapElem(
            map_fd=array.fileno(), key=bytes(4), value=bytearray(8), flags=UpdateFlag.CPU
        )
        return accepted(lambda: bpf.map_lookup_elem(attr))


one_cpu_values = Feature("values of one CPU", "6.19", _try_one_cpu)


def accepted_name(name: bytes) -> bytes:
    """Return *name* without what this kernel does not take: dots, or all of it.

    Args:
        name: Of a map or program, as newer kernels take it.

    Raises:
        SyscallError: The kernel cannot say.
    """
    if name and not object_names.available():
        return b""
    if b"." in name and not dotted_names.available():
        return name.replace(b".", b"")
    return name
