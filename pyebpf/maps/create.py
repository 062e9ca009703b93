"""BPF_MAP_CREATE from a `MapSpec`: completes what the kind leaves open, falls back where needed.

    MapSpec ──completed()──▶ MapSpec as the kernel wants it ──create()──▶ FD

What is tried, in order: as asked; with a name that older kernels take; without BTF ids (the kernel
takes them for some kinds only, and the list grew over the years); after that the first error is
explained by probes and raised.
"""

from __future__ import annotations

import contextlib
import errno
import mmap

from pyebpf import features
from pyebpf.errors import NotSupportedError, PrivilegeError, SyscallError, naming
from pyebpf.host import cpus
from pyebpf.maps.kinds import (
    ARRAYS,
    HOLDS_FDS,
    KEYLESS,
    LOCAL_STORAGE,
    LRU,
    OF_MAPS,
    RINGS,
    TARGETS,
    WITHOUT_BTF,
    WITHOUT_CAPACITY,
)
from pyebpf.names import kernel_name
from pyebpf.spec import MapSpec
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["completed", "create", "with_defaults"]


# What a kind that is made from Python has if nothing else is said: what it must have, or the only
# size that its values have. From map_alloc_check() and relatives of each kind.
_DESCRIPTORS = {"key_size": 4, "value_size": 4}
_STORAGE = {"key_size": 4, "flags": MapFlag.NO_PREALLOC}
_DEFAULTS: dict[MapType, dict[str, int]] = {
    MapType.ARRAY: {"key_size": 4},
    MapType.PERCPU_ARRAY: {"key_size": 4},
    MapType.STACK_TRACE: {"key_size": 4, "value_size": 127 * 8},
    MapType.ARENA: {"flags": MapFlag.MMAPABLE},
    MapType.CGROUP_STORAGE: {"key_size": 16},
    MapType.PERCPU_CGROUP_STORAGE: {"key_size": 16},
    MapType.HASH_OF_MAPS: {"value_size": 4},
    MapType.SOCKHASH: {"value_size": 4},
    MapType.INSN_ARRAY: {"key_size": 4, "value_size": 16},  # struct bpf_insn_array_value
    MapType.RHASH: {"flags": MapFlag.NO_PREALLOC},
    **dict.fromkeys(TARGETS | HOLDS_FDS & ARRAYS, _DESCRIPTORS),
    **dict.fromkeys(LOCAL_STORAGE, _STORAGE),
}
# Those whose probe answers for every kind of map.
_PROBED_FLAGS = (
    MapFlag.ZERO_SEED,
    MapFlag.RDONLY_PROG,
    MapFlag.WRONLY_PROG,
    MapFlag.MMAPABLE,
    MapFlag.PRESERVE_ELEMS,
    MapFlag.INNER_MAP,
    MapFlag.SEGV_ON_FAULT,
    MapFlag.NO_USER_CONV,
    MapFlag.RB_OVERWRITE,
)
# sysctl kernel.perf_event_max_stack, by default; a frame with its build id takes 32 bytes.
_STACK_DEPTH, _BUILD_ID_SIZE = 127, 32


def with_defaults(spec: MapSpec) -> None:
    """Fill in what the kind of a map that is made from Python decides."""
    if spec.type == MapType.STACK_TRACE and spec.flags & MapFlag.STACK_BUILD_ID:
        spec.value_size = spec.value_size or _STACK_DEPTH * _BUILD_ID_SIZE
    for name, value in _DEFAULTS.get(spec.type, {}).items():
        if name == "flags":
            spec.flags |= value
        elif not getattr(spec, name):
            setattr(spec, name, value)


def completed(spec: MapSpec) -> MapSpec:
    """Return a copy of *spec* with what its kind leaves to the loader filled in.

    Perf event arrays and cpumaps get a slot per possible CPU, ring buffers a size the kernel
    accepts: a power of two of at least a page. What the kernel rounds or adds by itself is written
    down, so that a map opened later compares equal.
    """
    spec = spec.copy()
    if spec.type == MapType.PERF_EVENT_ARRAY:
        spec.key_size = spec.value_size = 4
        possible = cpus.slots()
        spec.max_entries = min(spec.max_entries or possible, possible)
    elif spec.type == MapType.CPUMAP:
        # cpu_map_alloc() refuses more than CONFIG_NR_CPUS, which nobody knows.
        spec.max_entries = min(spec.max_entries or cpus.slots(), cpus.slots())
    elif spec.type in RINGS:
        spec.key_size = spec.value_size = 0
        size = max(spec.max_entries, mmap.PAGESIZE)
        spec.max_entries = 1 << (size - 1).bit_length()
    elif spec.type in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.PROG_ARRAY):
        spec.value_size = spec.value_size or 4
    if spec.type == MapType.LPM_TRIE:
        spec.flags |= MapFlag.NO_PREALLOC
    if spec.type in LRU and spec.flags & MapFlag.NO_COMMON_LRU:
        # A list per CPU, all equally long: htab_map_alloc().
        spec.max_entries = -(-spec.max_entries // cpus.possible()) * cpus.possible()
    if spec.numa_node is not None:
        spec.flags |= MapFlag.NUMA_NODE
    return spec


def create(
    spec: MapSpec,
    *,
    btf_fd: int | None = None,
    inner_fd: int | None = None,
    token_fd: int | None = None,
) -> FD:
    """Create a map.

    Args:
        spec: As `completed` returns it.
        btf_fd: The BTF its type ids are in, loaded; ``None`` creates it without.
        inner_fd: A map like those a map-in-map will hold.
        token_fd: A BPF token that allows it.

    Raises:
        NotSupportedError: This kernel has no such map type.
        PrivilegeError: A capability, sysctl or limit stands in the way.
        SyscallError: Anything else.
    """
    attr = MapCreate(
        map_type=spec.type,
        key_size=spec.key_size,
        value_size=spec.value_size,
        max_entries=spec.max_entries,
        map_flags=spec.flags,
        map_extra=spec.map_extra,
        map_name=kernel_name(spec.name),
    )
    if spec.numa_node is not None:
        attr.numa_node = spec.numa_node
    if inner_fd is not None:
        attr.inner_map_fd = inner_fd
    if token_fd is not None:
        attr.map_flags |= MapFlag.TOKEN_FD
        attr.map_token_fd = token_fd
    typed = btf_fd is not None and spec.type not in WITHOUT_BTF and spec.value_type_id
    if typed and btf_fd is not None:
        attr.btf_fd = btf_fd
        attr.btf_key_type_id = spec.key_type_id
        attr.btf_value_type_id = spec.value_type_id
    with naming(f'create map "{spec.name}"'):
        try:
            return bpf.map_create(attr)
        except PrivilegeError:
            raise
        except SyscallError as error:
            first = error
        if first.errno in (errno.EINVAL, errno.E2BIG):
            name = features.accepted_name(bytes(attr.map_name))
            if name != attr.map_name:
                attr.map_name = name
                with contextlib.suppress(SyscallError):
                    return bpf.map_create(attr)
        if typed and spec.type not in LOCAL_STORAGE:  # which nobody makes without
            attr.btf_fd = attr.btf_key_type_id = attr.btf_value_type_id = 0
            with contextlib.suppress(SyscallError):  # the error of the full request says more
                return bpf.map_create(attr)
        raise _explained(spec, first)


def _explained(spec: MapSpec, error: SyscallError) -> SyscallError | NotSupportedError:
    if error.errno in (errno.EINVAL, errno.E2BIG):
        unsupported = features.map_type(spec.type).unsupported()
        if unsupported is not None:
            return unsupported
        error.detail = _wrong_shape(spec) or error.detail
        return _unknown_flag(spec) or error
    if error.errno == errno.EBADF:
        error.detail = _wrong_shape(spec) or error.detail
    return error


# What EINVAL most often means, by the kind's own rules.
def _wrong_shape(spec: MapSpec) -> str:
    if spec.type in OF_MAPS and spec.inner is None:
        return "inner is missing: a spec or a map like those it will hold"
    if spec.max_entries == 0 and spec.type not in WITHOUT_CAPACITY:
        return "max_entries is 0"
    if spec.type in RINGS or spec.type == MapType.ARENA:
        return ""
    if spec.value_size == 0:
        return "value_size is 0"
    if spec.key_size == 0 and spec.type not in KEYLESS:
        return "key_size is 0"
    return ""


# A flag that this kernel knows for no kind of map; those it knows for another kind are EINVAL, too.
def _unknown_flag(spec: MapSpec) -> NotSupportedError | None:
    for flag in _PROBED_FLAGS:
        if spec.flags & flag:
            unsupported = features.map_flag(flag).unsupported()
            if unsupported is not None:
                return unsupported
    return None
