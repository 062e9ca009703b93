"""What the kernel knows about a map: ``struct bpf_map_info`` as data, and as a `MapSpec`."""

from __future__ import annotations

from dataclasses import dataclass

from pyebpf.btf_object import btf_by_id
from pyebpf.errors import EbpfError
from pyebpf.spec import MapSpec
from pyebpf.sys import bpf
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.info import MapInfo

__all__ = ["MapDetails", "map_info", "spec_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    )


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
