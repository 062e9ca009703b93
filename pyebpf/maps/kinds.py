"""What sets map types apart, as data: who holds descriptors, who is per CPU, who refuses BTF."""

from __future__ import annotations

from pyebpf.uapi.bpf import MapType

__all__ = [
    "ARRAYS",
    "BULK",
    "CGROUP_STORAGE",
    "HASHES",
    "HOLDS_FDS",
    "KEYLESS",
    "LOCAL_STORAGE",
    "LRU",
    "OF_MAPS",
    "PER_CPU",
    "RINGS",
    "SPARSE",
    "SPARSE_WITH_COOKIES",
    "TARGETS",
    "WAITS",
    "WITHOUT_BTF",
    "WITHOUT_CAPACITY",
]

# An index instead of a key: E2BIG means "out of range", nothing can be deleted.
ARRAYS = frozenset(
    {
        MapType.ARRAY,
        MapType.PERCPU_ARRAY,
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.DEVMAP,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.REUSEPORT_SOCKARRAY,
        MapType.INSN_ARRAY,
    }
)

# Their batches go on from a bucket, wherever entries come and go.
HASHES = frozenset(
    {
        MapType.HASH,
        MapType.PERCPU_HASH,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
        MapType.HASH_OF_MAPS,
    }
)

# One value per possible CPU.
PER_CPU = frozenset(
    {
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
        MapType.PERCPU_CGROUP_STORAGE,
    }
)

# A descriptor is written, an id or cookie is read back (or nothing at all).
HOLDS_FDS = frozenset(
    {
        MapType.SOCKMAP,
        MapType.SOCKHASH,
        MapType.XSKMAP,
        MapType.REUSEPORT_SOCKARRAY,
        MapType.PROG_ARRAY,
        MapType.PERF_EVENT_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
    }
)

# A number is written, perhaps with a program.
TARGETS = frozenset({MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP})

OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})

# Arrays with empty slots that can be told from full ones: by a look-up. (Of perf events, cgroups
# and AF_XDP sockets the kernel shows user space nothing.)
SPARSE = frozenset({MapType.PROG_ARRAY, MapType.ARRAY_OF_MAPS, MapType.DEVMAP, MapType.CPUMAP})

# These too, if values have 8 bytes: room for a socket's cookie.
SPARSE_WITH_COOKIES = frozenset({MapType.SOCKMAP, MapType.REUSEPORT_SOCKARRAY})

# They forget the entry that was not used for longest.
LRU = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})

# Plain data that a program may look up and walk over, changing nothing by that (in LRU maps a
# look-up makes entries young).
BULK = frozenset({MapType.HASH, MapType.ARRAY, MapType.PERCPU_HASH, MapType.PERCPU_ARRAY})

# No element access by key.
KEYLESS = frozenset({MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER})
RINGS = frozenset({MapType.RINGBUF, MapType.USER_RINGBUF})

# Values that hang on sockets, files, processes and control groups; created with types only.
LOCAL_STORAGE = frozenset(
    {
        MapType.SK_STORAGE,
        MapType.INODE_STORAGE,
        MapType.TASK_STORAGE,
        MapType.CGRP_STORAGE,
    }
)
CGROUP_STORAGE = frozenset({MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE})

# As many entries as there are sockets, tasks, inodes or control groups: max_entries must be 0.
WITHOUT_CAPACITY = LOCAL_STORAGE | CGROUP_STORAGE

# Element operations that may sleep (RCU grace periods of 8 to 16 ms, sockets, storage): these must
# release the GIL, or every thread of the process would stand still with them.
WAITS = frozenset(MapType) - frozenset(
    {
        MapType.HASH,
        MapType.ARRAY,
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
        MapType.LPM_TRIE,
    }
)

# map_check_btf() in kernel/bpf/syscall.c is missing for these: creation with BTF ids is refused.
WITHOUT_BTF = frozenset(
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
