"""What a map is made of, and which definitions the kernel refuses (its ``map_alloc_check``).

In: the attr of ``MAP_CREATE``. Out: a `Definition`, or the errno of kernel/bpf/*map*.c, in the
order in which the kernel looks.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable

from pyebpf.errors import ENOTSUPP
from pyebpf.testing.refusal import Refused
from pyebpf.typed import NamedTuple
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["PER_CPU", "STORAGE", "Definition", "check", "define"]

PER_CPU = frozenset(
    {
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
        MapType.PERCPU_CGROUP_STORAGE,
    }
)
STORAGE = frozenset(
    {
        MapType.SK_STORAGE,
        MapType.INODE_STORAGE,
        MapType.TASK_STORAGE,
        MapType.CGRP_STORAGE,
    }
)
_LRU = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})
_HASHES = _LRU | {MapType.HASH, MapType.PERCPU_HASH, MapType.HASH_OF_MAPS}
_FD_ARRAYS = frozenset(
    {
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.ARRAY_OF_MAPS,
    }
)
_ARRAYS = _FD_ARRAYS | {MapType.ARRAY, MapType.PERCPU_ARRAY}
_WITH_EXTRA = frozenset({MapType.BLOOM_FILTER, MapType.ARENA, MapType.RHASH})
_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})

_ACCESS = MapFlag.RDONLY | MapFlag.WRONLY | MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG
_BOTH_PROG = MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG
_ACCESS_BY_FILE = MapFlag.NUMA_NODE | MapFlag.RDONLY | MapFlag.WRONLY
_ARRAY_FLAGS = (
    _ACCESS | MapFlag.NUMA_NODE | MapFlag.MMAPABLE | MapFlag.PRESERVE_ELEMS | MapFlag.INNER_MAP
)
_HASH_FLAGS = (
    _ACCESS | MapFlag.NO_PREALLOC | MapFlag.NO_COMMON_LRU | MapFlag.NUMA_NODE | MapFlag.ZERO_SEED
)

_KMALLOC_MAX = 1 << 22
_INT_MAX = (1 << 31) - 1
_PER_CPU_MAX = 32 << 10  # PCPU_MIN_UNIT_SIZE
_HASH_ELEMENT = 48  # sizeof(struct htab_elem)
_LPM_ELEMENT = 40  # sizeof(struct lpm_trie_node)
_LPM_PREFIX = 4
_LPM_DATA = 256
_BLOOM_HASHES = 0xF
_MOST_CPUS = 8192  # NR_CPUS, where it is largest
_LONGEST_KEY = 512  # MAX_BPF_STACK
_DEEPEST_STACK = 127  # PERF_MAX_STACK_DEPTH
_BUILD_ID = 32  # sizeof(struct bpf_stack_build_id)
_CGROUP_KEYS = (8, 16)  # an id; struct bpf_cgroup_storage_key
_LARGEST_STORAGE = 65407  # BPF_LOCAL_STORAGE_MAX_VALUE_SIZE
_INSTRUCTION = 16  # sizeof(struct bpf_insn_array_value)
_ARENA_MAX = 1 << 32


class Definition(NamedTuple):
    """What a map is made of; the fields are those of ``struct bpf_map``.

    Attributes:
        cpus: Possible CPUs of the machine.
        inner: What the maps in it must be like.
    """

    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: MapFlag
    map_extra: int
    name: bytes
    cpus: int
    inner: Definition | None = None

    @property
    def stride(self) -> int:
        """Bytes from one value to the next."""
        return self.value_size + 7 & ~7

    @property
    def transfer_size(self) -> int:
        """Bytes of a value as system calls pass it."""
        if self.type in PER_CPU:
            return self.stride * self.cpus
        return 4 if self.type in _FD_ARRAYS else self.value_size


def define(attr: MapCreate, cpus: int, inner: Definition | None) -> Definition:
    """Return what *attr* asks for; some kinds round what they are given."""
    kind, flags = MapType(attr.map_type), MapFlag(attr.map_flags)
    entries = attr.max_entries
    if kind in (MapType.DEVMAP, MapType.DEVMAP_HASH):
        flags |= MapFlag.RDONLY_PROG  # dev_map_init_map
    if kind in _LRU and flags & MapFlag.NO_COMMON_LRU:
        entries = -(-entries // cpus) * cpus
    return Definition(
        type=kind,
        key_size=attr.key_size,
        value_size=attr.value_size,
        max_entries=entries,
        flags=flags,
        map_extra=attr.map_extra,
        name=bytes(attr.map_name),
        cpus=cpus,
        inner=inner,
    )


def check(attr: MapCreate) -> None:
    """Refuse what the kernel refuses for the kind.

    Raises:
        Refused: ``EINVAL``, ``E2BIG``, ENOTSUPP.
    """
    kind, flags = MapType(attr.map_type), MapFlag(attr.map_flags)
    if attr.map_extra and kind not in _WITH_EXTRA:
        raise Refused(errno.EINVAL)
    if flags & MapFlag.RDONLY and flags & MapFlag.WRONLY:
        raise Refused(errno.EINVAL)
    if kind in _ARRAYS:
        _check_array(attr, kind, flags)
    elif kind in _HASHES:
        _check_hash(attr, kind, flags)
    elif kind in STORAGE:
        _check_storage(attr, flags)
    elif kind in _CHECKS:
        _CHECKS[kind](attr, flags)


def _require(condition: bool, number: int = errno.EINVAL) -> None:
    if not condition:
        raise Refused(number)


def _check_flags(flags: MapFlag, allowed: int) -> None:
    _require(not int(flags) & ~int(allowed) and flags & _BOTH_PROG != _BOTH_PROG)


# array_map_alloc_check, fd_array_map_alloc_check
def _check_array(attr: MapCreate, kind: MapType, flags: MapFlag) -> None:
    if kind in _FD_ARRAYS:
        _require(attr.value_size == 4 and not flags & _BOTH_PROG)
    _require(attr.max_entries > 0 and attr.key_size == 4 and attr.value_size > 0)
    _check_flags(flags, _ARRAY_FLAGS)
    per_cpu = kind == MapType.PERCPU_ARRAY
    _require(not (per_cpu and flags & MapFlag.NUMA_NODE))
    if kind != MapType.ARRAY:
        _require(not flags & (MapFlag.MMAPABLE | MapFlag.INNER_MAP))
    if kind != MapType.PERF_EVENT_ARRAY:
        _require(not flags & MapFlag.PRESERVE_ELEMS)
    _require(attr.value_size <= _INT_MAX, errno.E2BIG)
    _require(not per_cpu or attr.value_size + 7 & ~7 <= _PER_CPU_MAX, errno.E2BIG)


# htab_map_alloc_check, fd_htab_map_alloc_check
def _check_hash(attr: MapCreate, kind: MapType, flags: MapFlag) -> None:
    if kind == MapType.HASH_OF_MAPS:
        _require(attr.value_size == 4)
    _check_flags(flags, _HASH_FLAGS)
    per_cpu = kind in PER_CPU
    _require(kind in _LRU or not flags & MapFlag.NO_COMMON_LRU)
    _require(kind not in _LRU or not flags & MapFlag.NO_PREALLOC, ENOTSUPP)
    spread = per_cpu or flags & MapFlag.NO_COMMON_LRU
    _require(not (spread and flags & MapFlag.NUMA_NODE))
    _require(attr.max_entries > 0 and attr.key_size > 0 and attr.value_size > 0)
    size = attr.key_size + attr.value_size
    _require(size < _KMALLOC_MAX - _HASH_ELEMENT, errno.E2BIG)
    _require(not per_cpu or attr.value_size + 7 & ~7 <= _PER_CPU_MAX, errno.E2BIG)


# rhtab_map_alloc_check
def _check_resizable(attr: MapCreate, flags: MapFlag) -> None:
    _check_flags(flags, _ACCESS | MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE)
    _require(bool(flags & MapFlag.NO_PREALLOC) and attr.map_extra <= attr.max_entries)
    _require(attr.max_entries > 0 and attr.key_size > 0 and attr.value_size > 0)
    _require(attr.max_entries <= _INT_MAX + 1, errno.E2BIG)
    size = attr.key_size + attr.value_size
    _require(size < _KMALLOC_MAX - _HASH_ELEMENT, errno.E2BIG)


# trie_alloc
def _check_trie(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.max_entries > 0 and bool(flags & MapFlag.NO_PREALLOC))
    _check_flags(flags, _ACCESS | MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE)
    _require(_LPM_PREFIX < attr.key_size <= _LPM_PREFIX + _LPM_DATA)
    _require(0 < attr.value_size <= _KMALLOC_MAX - _LPM_DATA - _LPM_ELEMENT)


# queue_stack_map_alloc_check
def _check_queue(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.max_entries > 0 and attr.key_size == 0 and attr.value_size > 0)
    _check_flags(flags, _ACCESS | MapFlag.NUMA_NODE)
    _require(attr.value_size <= _KMALLOC_MAX, errno.E2BIG)


# bloom_map_alloc
def _check_bloom(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.key_size == 0 and attr.value_size > 0 and attr.max_entries > 0)
    _check_flags(flags, _ACCESS | MapFlag.NUMA_NODE | MapFlag.ZERO_SEED)
    _require(not attr.map_extra & ~_BLOOM_HASHES)


# ringbuf_map_alloc
def _check_ring(attr: MapCreate, flags: MapFlag) -> None:
    overwrite = MapFlag.RB_OVERWRITE if attr.map_type == MapType.RINGBUF else MapFlag(0)
    _require(not int(flags) & ~int(MapFlag.NUMA_NODE | overwrite))
    size = attr.max_entries
    whole = size > 0 and not size & (size - 1) and not size % mmap.PAGESIZE
    _require(attr.key_size == 0 and attr.value_size == 0 and whole)


# dev_map_alloc_check
def _check_devices(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.max_entries > 0 and attr.key_size == 4 and attr.value_size in (4, 8))
    _require(not int(flags) & ~int(_ACCESS_BY_FILE))
    _require(attr.map_type != MapType.DEVMAP_HASH or attr.max_entries <= _INT_MAX + 1)


# cpu_map_alloc
def _check_processors(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.max_entries > 0 and attr.key_size == 4 and attr.value_size in (4, 8))
    _require(not int(flags) & ~int(MapFlag.NUMA_NODE))
    _require(attr.max_entries <= _MOST_CPUS, errno.E2BIG)


# sock_map_alloc, xsk_map_alloc
def _check_sockets(attr: MapCreate, flags: MapFlag) -> None:
    sizes = (4,) if attr.map_type == MapType.XSKMAP else (4, 8)
    _require(attr.max_entries > 0 and attr.key_size == 4 and attr.value_size in sizes)
    _require(not int(flags) & ~int(_ACCESS_BY_FILE))


# sock_hash_alloc
def _check_socket_hash(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.max_entries > 0 and attr.key_size > 0 and attr.value_size in (4, 8))
    _require(not int(flags) & ~int(_ACCESS_BY_FILE))
    _require(attr.key_size <= _LONGEST_KEY, errno.E2BIG)


# reuseport_array_alloc_check
def _check_reuseport(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.value_size in (4, 8))
    _check_array(attr, MapType.REUSEPORT_SOCKARRAY, flags)


# stack_map_alloc
def _check_stacks(attr: MapCreate, flags: MapFlag) -> None:
    _require(not int(flags) & ~int(_ACCESS_BY_FILE | MapFlag.STACK_BUILD_ID))
    size = _BUILD_ID if flags & MapFlag.STACK_BUILD_ID else 8
    _require(attr.max_entries > 0 and attr.key_size == 4)
    _require(attr.value_size >= 8 and not attr.value_size % size)
    _require(attr.value_size // size <= _DEEPEST_STACK)
    _require(attr.max_entries <= _INT_MAX + 1, errno.E2BIG)


# cgroup_storage_map_alloc
def _check_cgroup_storage(attr: MapCreate, flags: MapFlag) -> None:
    per_cpu = attr.map_type == MapType.PERCPU_CGROUP_STORAGE
    largest = _PER_CPU_MAX if per_cpu else _LARGEST_STORAGE
    _require(attr.key_size in _CGROUP_KEYS and attr.value_size > 0)
    _require(attr.value_size <= largest, errno.E2BIG)
    _check_flags(flags, _ACCESS | MapFlag.NUMA_NODE)
    _require(attr.max_entries == 0)


# bpf_local_storage_map_alloc_check
def _check_storage(attr: MapCreate, flags: MapFlag) -> None:
    _require(not int(flags) & ~int(MapFlag.NO_PREALLOC | MapFlag.CLONE))
    _require(bool(flags & MapFlag.NO_PREALLOC) and attr.max_entries == 0)
    _require(attr.key_size == 4 and attr.value_size > 0)
    _require(bool(attr.btf_key_type_id and attr.btf_value_type_id))
    _require(attr.value_size <= _LARGEST_STORAGE, errno.E2BIG)


# arena_map_alloc
def _check_arena(attr: MapCreate, flags: MapFlag) -> None:
    allowed = MapFlag.MMAPABLE | MapFlag.SEGV_ON_FAULT | MapFlag.NO_USER_CONV
    _require(attr.key_size == 0 and attr.value_size == 0 and attr.max_entries > 0)
    _require(bool(flags & MapFlag.MMAPABLE) and not int(flags) & ~int(allowed))
    _require(not attr.map_extra % mmap.PAGESIZE)
    size = attr.max_entries * mmap.PAGESIZE
    _require(size <= _ARENA_MAX, errno.E2BIG)
    last = attr.map_extra + size - 1
    _require(attr.map_extra // _ARENA_MAX == last // _ARENA_MAX, errno.ERANGE)


# insn_array_alloc_check
def _check_instructions(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.max_entries > 0 and attr.key_size == 4 and attr.value_size == _INSTRUCTION)
    _require(not flags)


# bpf_struct_ops_map_alloc_check
def _check_interface(attr: MapCreate, flags: MapFlag) -> None:
    _require(attr.key_size == 4 and attr.max_entries == 1)
    _require(not int(flags) & ~int(MapFlag.LINK) and bool(attr.btf_vmlinux_value_type_id))


_CHECKS: dict[MapType, Callable[[MapCreate, MapFlag], None]] = {
    MapType.RHASH: _check_resizable,
    MapType.LPM_TRIE: _check_trie,
    MapType.QUEUE: _check_queue,
    MapType.STACK: _check_queue,
    MapType.BLOOM_FILTER: _check_bloom,
    MapType.RINGBUF: _check_ring,
    MapType.USER_RINGBUF: _check_ring,
    MapType.DEVMAP: _check_devices,
    MapType.DEVMAP_HASH: _check_devices,
    MapType.CPUMAP: _check_processors,
    MapType.SOCKMAP: _check_sockets,
    MapType.XSKMAP: _check_sockets,
    MapType.SOCKHASH: _check_socket_hash,
    MapType.REUSEPORT_SOCKARRAY: _check_reuseport,
    MapType.STACK_TRACE: _check_stacks,
    MapType.CGROUP_STORAGE: _check_cgroup_storage,
    MapType.PERCPU_CGROUP_STORAGE: _check_cgroup_storage,
    MapType.ARENA: _check_arena,
    MapType.INSN_ARRAY: _check_instructions,
    MapType.STRUCT_OPS: _check_interface,
}
