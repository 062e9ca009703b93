"""Which codec a map's keys and values get: the user's, the BTF type's, descriptors', or bytes'."""

from __future__ import annotations

from pyebpf.errors import BtfError, naming
from pyebpf.host import cpus
from pyebpf.maps.codec import BytesCodec, Codec, IndexCodec, PerCpuCodec
from pyebpf.maps.kinds import (
    ARRAYS,
    CGROUP_STORAGE,
    HOLDS_FDS,
    LOCAL_STORAGE,
    PER_CPU,
    TARGETS,
)
from pyebpf.spec import MapSpec
from pyebpf.typed import TYPE_CHECKING
from pyebpf.uapi.bpf import MapFlag, MapType

if TYPE_CHECKING:
    from pyebpf.maps.user_codec import CodecLike

__all__ = ["key_codec", "value_bytes", "value_codec"]

# An implementation is the only value of its map; a stack has the number its program was given.
INDEXED = ARRAYS | {MapType.STRUCT_OPS, MapType.STACK_TRACE}


def key_codec(spec: MapSpec, given: CodecLike | None = None) -> Codec:
    """Return the codec of a map's keys.

    Raises:
        ValueError: The codec's size is not the key's.
    """
    if given is not None:
        return _fitting(spec, given, "key")
    if spec.type in LOCAL_STORAGE:
        from pyebpf.maps.objects import OwnerCodec

        return OwnerCodec()
    if spec.type in CGROUP_STORAGE and spec.key_size in (8, 16):
        from pyebpf.maps.objects import CgroupKeyCodec

        return CgroupKeyCodec(spec.key_size)
    typed = _typed(spec, spec.key_type_id, spec.key_size)
    if typed is not None:
        return typed
    if spec.type in INDEXED and spec.key_size == IndexCodec.size:
        return IndexCodec()
    return BytesCodec(spec.key_size, "key")


def value_codec(spec: MapSpec, given: CodecLike | None = None) -> Codec:
    """Return the codec of a map's values; one value per CPU is wrapped around it where needed.

    Args:
        spec: The map.
        given: The user's codec, of one CPU's value.

    Raises:
        ValueError: The codec's size is not the value's.
    """
    one: Codec
    if given is not None:
        one = _fitting(spec, given, "value")
    elif spec.type in HOLDS_FDS:
        from pyebpf.maps.objects import FdCodec

        one = FdCodec(spec.value_size)
    elif spec.type in TARGETS and spec.value_size in (4, 8):
        from pyebpf.maps.objects import TargetCodec

        one = TargetCodec(spec.value_size, devices=spec.type != MapType.CPUMAP)
    elif spec.type == MapType.STACK_TRACE:
        from pyebpf.maps.stack_format import StackCodec

        one = StackCodec(spec.value_size, build_ids=bool(spec.flags & MapFlag.STACK_BUILD_ID))
    else:
        one = _typed(spec, spec.value_type_id, spec.value_size) or BytesCodec(spec.value_size)
    return PerCpuCodec(one, cpus.possible()) if spec.type in PER_CPU else one


def value_bytes(spec: MapSpec) -> int:
    """Return the size of a value as system calls have it: of all CPUs' for per-CPU kinds."""
    if spec.type not in PER_CPU:
        return spec.value_size
    return PerCpuCodec(BytesCodec(spec.value_size), cpus.possible()).size


def _fitting(spec: MapSpec, given: CodecLike, what: str) -> Codec:
    size = spec.key_size if what == "key" else spec.value_size
    if isinstance(given, BytesCodec) and given.size == size:
        return given  # as of every data section
    from pyebpf.maps.user_codec import as_codec

    try:
        with naming(f'map "{spec.name}"'):
            return as_codec(given, size, btf=spec.btf, what=what)
    except ValueError as error:
        raise ValueError(f'map "{spec.name}": {error}') from None


def _typed(spec: MapSpec, type_id: int, size: int) -> Codec | None:
    if spec.btf is None or not type_id:
        return None
    from pyebpf.btf import values

    try:
        codec: Codec = values.codec(spec.btf, type_id)
    except BtfError:
        return None  # a type no Python value stands for: the bytes are still right
    return codec if codec.size == size else None
