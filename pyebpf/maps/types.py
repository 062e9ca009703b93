"""Which codec a map's keys and values get: the user's, the BTF type's, descriptors', or bytes'."""

from __future__ import annotations

from pyebpf.btf import values
from pyebpf.errors import BtfError
from pyebpf.host import cpus
from pyebpf.maps.codec import BytesCodec, Codec, FdCodec, IndexCodec, PerCpuCodec
from pyebpf.maps.kinds import ARRAYS, HOLDS_FDS, PER_CPU
from pyebpf.spec import MapSpec
from pyebpf.uapi.bpf import MapType

__all__ = ["key_codec", "value_bytes", "value_codec"]

# An implementation is the only value of its map.
INDEXED = ARRAYS | {MapType.STRUCT_OPS}


def key_codec(spec: MapSpec, given: Codec | None = None) -> Codec:
    """Return the codec of a map's keys.

    Raises:
        ValueError: The codec's size is not the key's.
    """
    if given is not None:
        return _fitting(given, spec.key_size, "key", spec.name)
    typed = _typed(spec, spec.key_type_id, spec.key_size)
    if typed is not None:
        return typed
    if spec.type in INDEXED and spec.key_size == IndexCodec.size:
        return IndexCodec()
    return BytesCodec(spec.key_size, "key")


def value_codec(spec: MapSpec, given: Codec | None = None) -> Codec:
    """Return the codec of a map's values; one value per CPU is wrapped around it where needed.

    Args:
        spec: The map.
        given: The user's codec, of one CPU's value.

    Raises:
        ValueError: The codec's size is not the value's.
    """
    one: Codec
    if given is not None:
        one = _fitting(given, spec.value_size, "value", spec.name)
    elif spec.type in HOLDS_FDS:
        one = FdCodec()
    else:
        one = _typed(spec, spec.value_type_id, spec.value_size) or BytesCodec(spec.value_size)
    return PerCpuCodec(one, cpus.possible()) if spec.type in PER_CPU else one


def value_bytes(spec: MapSpec) -> int:
    """Return the size of a value as system calls have it: of all CPUs' for per-CPU kinds."""
    if spec.type not in PER_CPU:
        return spec.value_size
    return PerCpuCodec(BytesCodec(spec.value_size), cpus.possible()).size


def _fitting(codec: Codec, size: int, what: str, name: str) -> Codec:
    if codec.size != size:
        raise ValueError(f'{what} of map "{name}" is {size} bytes, its codec\'s {codec.size}')
    return codec


def _typed(spec: MapSpec, type_id: int, size: int) -> Codec | None:
    if spec.btf is None or not type_id:
        return None
    try:
        codec: Codec = values.codec(spec.btf, type_id)
    except BtfError:
        return None  # a type no Python value stands for: the bytes are still right
    return codec if codec.size == size else None
