"""What the kernel knows about a map: ``struct bpf_map_info`` as data, and as a `MapSpec`."""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.btf_object import btf_by_id
from pyebpf.errors import EbpfError
from pyebpf.host.fdinfo import fdinfo
from pyebpf.plain import plain, replace
from pyebpf.spec import MapSpec
from pyebpf.sys import bpf
from pyebpf.typed import TypedDict
from pyebpf.uapi.bpf import MapFlag, MapType, ProgType
from pyebpf.uapi.info import MapInfo

__all__ = ["MapDetails", "map_details", "map_info", "map_info_of", "spec_of"]


@plain(frozen=True, kw_only=True)
class MapDetails:
    """A map as the kernel describes it.

    Attributes:
        id: The kernel's id.
        type: ``enum bpf_map_type``.
        name: The kernel's copy of its name, at most 15 bytes.
        key_size: Bytes of a key.
        value_size: Bytes of a value, of one CPU's for per-CPU kinds.
        max_entries: Capacity.
        flags: ``BPF_F_*`` creation flags.
        map_extra: Kind-specific (Linux 5.16).
        btf_id: Id of its BTF, 0 without.
        key_type_id: The key's type in that BTF.
        value_type_id: The value's type in that BTF.
        vmlinux_value_type_id: The value's type in the kernel's BTF, of struct_ops.
        memlock: Bytes of kernel memory it takes, an estimate since Linux 6.4; ``None`` where
            ``/proc`` does not tell, as are the following.
        frozen: Whether system calls may no longer change it (Linux 5.2).
        owner_type: Of a prog array: the only type of program it takes (Linux 4.10).
        owner_jited: Whether those are compiled.
    """

    id: int
    type: MapType
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: MapFlag
    map_extra: int
    btf_id: int
    key_type_id: int
    value_type_id: int
    vmlinux_value_type_id: int = 0
    memlock: int | None = None
    frozen: bool | None = None
    owner_type: ProgType | None = None
    owner_jited: bool | None = None


def map_info(fd: int) -> MapDetails:
    """Ask the kernel about the map behind *fd*.

    Raises:
        SyscallError: *fd* is not a map's.

    Since Linux 4.13.
    """
    raw = MapInfo()
    bpf.obj_get_info_by_fd(fd, raw)
    return MapDetails(
        id=raw.id,
        type=MapType(raw.type),
        name=bytes(raw.name).partition(b"\0")[0].decode(errors="replace"),
        key_size=raw.key_size,
        value_size=raw.value_size,
        max_entries=raw.max_entries,
        flags=MapFlag(raw.map_flags),
        map_extra=raw.map_extra,
        btf_id=raw.btf_id,
        key_type_id=raw.btf_key_type_id,
        value_type_id=raw.btf_value_type_id,
        vmlinux_value_type_id=raw.btf_vmlinux_value_type_id,
    )


def map_details(fd: int) -> MapDetails:
    """As `map_info`, with what only ``/proc/self/fdinfo`` tells.

    Raises:
        SyscallError: *fd* is not a map's.

    Since Linux 4.13.
    """
    told = fdinfo("self", fd)
    return replace(map_info(fd), **_only_there(told))


def map_info_of(pid: int, fd: int) -> MapDetails:
    """Describe the map behind a descriptor of another process: what ``/proc/PID/fdinfo`` tells.

    Args:
        pid: The process.
        fd: The number of the descriptor there.

    Returns:
        Without a name and types, which are not told; the id opens the map itself. Numbers that the
        running kernel does not tell are 0.

    Raises:
        SyscallError: ``ENOENT``: no such process or descriptor; ``EACCES``: somebody else's.
        ValueError: The descriptor is no map's.

    Since Linux 4.13 (the id).
    """
    told = fdinfo(str(pid), fd)
    if "map_type" not in told:
        raise ValueError(f"descriptor {fd} of process {pid} is no map's")
    return MapDetails(
        id=told.get("map_id", 0),
        type=MapType(told["map_type"]),
        name="",
        key_size=told.get("key_size", 0),
        value_size=told.get("value_size", 0),
        max_entries=told.get("max_entries", 0),
        flags=MapFlag(told.get("map_flags", 0)),
        map_extra=told.get("map_extra", 0),
        btf_id=0,
        key_type_id=0,
        value_type_id=0,
        **_only_there(told),
    )


class _OnlyThere(TypedDict):
    memlock: int | None
    frozen: bool | None
    owner_type: ProgType | None
    owner_jited: bool | None


def _only_there(told: Mapping[str, int]) -> _OnlyThere:
    frozen, owner, jited = map(told.get, ("frozen", "owner_prog_type", "owner_jited"))
    return {
        "memlock": told.get("memlock"),
        "frozen": None if frozen is None else bool(frozen),
        "owner_type": None if owner is None else ProgType(owner),
        "owner_jited": None if jited is None else bool(jited),
    }


def spec_of(fd: int) -> MapSpec:
    """Describe the map behind *fd* as a spec, typed if its BTF can be read.

    Reading BTF by id needs ``CAP_SYS_ADMIN``; without it keys and values are bytes.

    Raises:
        SyscallError: *fd* is not a map's.
    """
    info = map_info(fd)
    btf = None
    if info.btf_id and info.value_type_id:
        try:
            btf = btf_by_id(info.btf_id)
        except EbpfError:
            btf = None
    return MapSpec(
        name=info.name,
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        flags=info.flags,
        map_extra=info.map_extra,
        btf=btf,
        key_type_id=info.key_type_id if btf is not None else 0,
        value_type_id=info.value_type_id if btf is not None else 0,
    )
