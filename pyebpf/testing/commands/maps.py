"""MAP_CREATE: what the system call checks, in its order; the kinds' own rules are in ``maps``."""

from __future__ import annotations

import errno
import weakref

from pyebpf.btf.btf import Btf as Types
from pyebpf.btf.types import Composite, Datasec, Int, Var
from pyebpf.errors import ENOTSUPP, BtfError
from pyebpf.testing.commands.btf import btf_of
from pyebpf.testing.commands.elements import access_flags
from pyebpf.testing.commands.map_contents import contents_of
from pyebpf.testing.maps.arenas import Arena, ProgramArena
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import STORAGE, Definition, check, define
from pyebpf.testing.objects import Map
from pyebpf.testing.program_maps import ProgramMap
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["create"]

_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
_NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
# map_check_no_btf
_WITHOUT_BTF = frozenset(
    {
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.STACK_TRACE,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
        MapType.DEVMAP,
        MapType.DEVMAP_HASH,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.SOCKHASH,
        MapType.QUEUE,
        MapType.STACK,
        MapType.ARENA,
        MapType.RINGBUF,
        MapType.USER_RINGBUF,
    }
)
_VALUE_FD, _TOKEN_FD = MapFlag.VTYPE_BTF_OBJ_FD, MapFlag.TOKEN_FD


def create(system: System, attr: MapCreate) -> int:
    """Create a map: map_create in kernel/bpf/syscall.c."""
    kind = MapType(attr.map_type)
    _check_request(system, attr, kind)
    check(attr)
    if kind == MapType.STRUCT_OPS:
        _check_interface(Types.decode(system.vmlinux.data), attr)
    inner = _inner(system, attr.inner_map_fd) if kind in _OF_MAPS else None
    definition = define(attr, system.cpus, inner)
    _check_name(system, definition.name)
    contents = contents_of(system, definition)
    made = _Waking(system, contents).made
    _describe(system, attr, made)
    system.maps.add(made)
    return system.files.open(made, access_flags(attr.map_flags))


class _Waking:
    # A map wakes whoever has it open, without keeping itself alive for that.
    def __init__(self, system: System, contents: Contents) -> None:
        owner: list[weakref.ref[Map]] = []

        def wake() -> None:
            found = owner[0]()
            if found is not None:
                system.files.signal(found)

        self.made = Map(
            definition=contents.definition,
            contents=contents,
            for_programs=ProgramArena(contents)
            if isinstance(contents, Arena)
            else ProgramMap(contents, wake),
        )
        owner.append(weakref.ref(self.made))


def _check_request(system: System, attr: MapCreate, kind: MapType) -> None:
    if attr.btf_vmlinux_value_type_id:
        if kind != MapType.STRUCT_OPS or attr.btf_key_type_id or attr.btf_value_type_id:
            raise Refused(errno.EINVAL)
    elif attr.btf_key_type_id and not attr.btf_value_type_id:
        raise Refused(errno.EINVAL)
    if not system.age.has_map_type(kind) or kind == MapType.UNSPEC:
        raise Refused(errno.EINVAL)
    flags = MapFlag(attr.map_flags)
    known = sum(int(flag) for flag in MapFlag if system.age.has_map_flag(flag))
    if attr.map_flags & ~known:
        raise Refused(errno.EINVAL)
    if flags & MapFlag.NUMA_NODE and attr.numa_node != 0:
        raise Refused(errno.EINVAL)
    if attr.map_ifindex:
        raise NotImplementedError("BPF_MAP_CREATE with map_ifindex")
    if flags & (_VALUE_FD | _TOKEN_FD):
        raise NotImplementedError("BPF_MAP_CREATE with descriptors of BTF or tokens in its flags")


# bpf_struct_ops_map_alloc
def _check_interface(types: Types, attr: MapCreate) -> None:
    try:
        found = types.type(attr.btf_vmlinux_value_type_id)
    except BtfError:
        raise Refused(ENOTSUPP) from None
    if not isinstance(found, Composite) or not found.name.startswith("bpf_struct_ops_"):
        raise Refused(ENOTSUPP)
    _require(found.size == attr.value_size)


def _check_name(system: System, name: bytes) -> None:
    if name and not system.age.has_ability("names of maps and programs", "4.15"):
        raise Refused(errno.EINVAL)
    dotted = system.age.has_ability("names with dots", "5.2")
    if set(name) - _NAME or (b"." in name and not dotted):
        raise Refused(errno.EINVAL)


# bpf_map_meta_alloc
def _inner(system: System, fd: int) -> Definition:
    what = system.holding(fd)
    if not isinstance(what, Map):
        raise Refused(errno.EINVAL)
    if what.definition.inner is not None:
        raise Refused(errno.EINVAL)
    if what.definition.type == MapType.PROG_ARRAY:
        raise Refused(ENOTSUPP)
    return what.definition


# --- types


# map_check_btf
def _describe(system: System, attr: MapCreate, made: Map) -> None:
    if not attr.btf_key_type_id and not attr.btf_value_type_id:
        return
    btf = btf_of(system, attr.btf_fd)
    if btf.name:
        raise Refused(errno.EACCES)
    definition = made.definition
    types = Types.decode(btf.data)
    if definition.type in STORAGE:
        _require(_is_descriptor(types, attr.btf_key_type_id))
    key, value = attr.btf_key_type_id, attr.btf_value_type_id
    try:
        if key:
            _require(types.size_of(key) == definition.key_size)
        else:
            # Only a data section has no key's type: array_map_check_btf.
            _require(definition.type == MapType.ARRAY and definition.max_entries == 1)
            _require(isinstance(types.type(value), (Var, Datasec)))
        _require(types.size_of(value) == definition.value_size)
    except BtfError:
        raise Refused(errno.EINVAL) from None
    if definition.type in _WITHOUT_BTF:
        raise Refused(ENOTSUPP)
    made.btf, made.key_type_id, made.value_type_id = btf, key, value
    found = types.type(types.strip(value))
    if isinstance(found, Composite):
        members = (types.type(types.strip(each.type)) for each in found.members)
        made.has_lock = any(each.name == "bpf_spin_lock" for each in members)


# bpf_local_storage_map_check_btf
def _is_descriptor(types: Types, type_id: int) -> bool:
    try:
        found = types.type(types.strip(type_id))
    except BtfError:
        return False
    return isinstance(found, Int) and found.bits == 32


def _require(condition: bool) -> None:
    if not condition:
        raise Refused(errno.EINVAL)
