"""What a process that runs for months needs on top of maps.

    open_or_create ─▶ Map ─▶ CachedMap: desired state, reconcile()
    open_parallel    │ └───▶ dump_reliably: a walk with an account
    ensure_bpffs     └─────▶ open_maps(): what is open, by path

For who knows cilium's pkg/bpf (1.8), its names and what stands for them here:

    OpenOrCreateMap, OpenOrCreate       open_or_create(spec, path, replace=True)
    CheckAndUpgrade                     open_or_create(..., replace=True) says what it found
    MapValidator                        open_or_create(..., validate=function)
    WithNonPersistent, CreateUnpinned   open_or_create(spec, None), Map.create
    Open, OpenMap                       Map.from_pin(path, expect=spec)
    IfExists forms                      open_if_exists, delete_batch([key]), CachedMap.delete,
                                        pinning.unpin(path, missing_ok=True)
    Reopen                              reopen(map, path)
    OpenParallel, EndParallelMode       open_parallel, end_parallel
    GetMap, GetOpenMaps                 find_open_map, open_maps
    WithCache, Map.Update, Delete       CachedMap: set, delete
    DesiredAction, LastError            CachedEntry.action, .error
    resolveErrors, the controller       CachedMap.reconcile(max_errors=...), by your own timer
    DumpModel                           CachedMap.entries
    DeleteAll                           CachedMap.clear, Map.clear
    Dump, DumpWithCallback              Map.items, Map.lookup_batch, Map.to_numpy
    DumpReliablyWithCallback, DumpStats dump_reliably, DumpStats
    CheckOrMountFS, MountFS             ensure_bpffs(root, fallback=...)
    SetMapRoot, GetMapRoot, MapPath     map_path(name, root=...): no global state
    LocalMapName, LocalMapPath          local_map_name, map_path(local_map_name(...))
    MapPrefixPath                       map_path("prefix").parent
    Environment                         environment(root)
    ConfigureResourceLimits             remove_memlock_limit
    Enable/DisableMapPreAllocation,
    GetPreAllocateMapFlags              preallocated(spec, wanted)
    GetMapInfo(pid, fd)                 map_info_of(pid, fd)
    inner map by id                     Map.create(inner=Map.from_id(id))
    DeepEquals                          same_map(a, b)
    TestDummyProg                       attach_type_available
    GetMtime, GetJtime                  monotonic_ns, jiffies
    MapKey, MapValue, GetNextKey        codecs, Map.next_key
    PerfEventArray helpers              pyebpf.PerfReader

and goebpf's: Insert, Update, Upsert are ``update(flags=NOEXIST)``, ``update(flags=EXIST)`` and
``m[key] = value``; LookupInt and the like are types of values; CloneTemplate is `Map.new_like`;
NewMapFromExistingMapByFd, ById, ByPath are `Map.from_fd`, `Map.from_id`, `Map.from_pin`;
CreateLPMtrieKey is `pyebpf.lpm`; KtimeToTime is `ktime_to_datetime`, which knows about suspend.
"""

from __future__ import annotations

from pyebpf.daemon.attach_types import attach_type_available
from pyebpf.daemon.bpffs import (
    BpffsError,
    ensure_bpffs,
    environment,
    local_map_name,
    map_path,
)
from pyebpf.daemon.cached import Action, CachedEntry, CachedMap, ReconcileResult
from pyebpf.daemon.dump import DumpStats, dump_reliably
from pyebpf.daemon.histogram import linear_histogram, log2_histogram, log2_slot
from pyebpf.daemon.limits import preallocated, remove_memlock_limit
from pyebpf.daemon.registry import find_open_map, open_maps
from pyebpf.daemon.upgrade import (
    Found,
    Opened,
    end_parallel,
    open_if_exists,
    open_or_create,
    open_parallel,
    reopen,
)
from pyebpf.host.clock import (
    KtimeClock,
    boot_ns,
    datetime_to_ktime,
    jiffies,
    ktime_to_datetime,
    ktime_to_unix_ns,
    monotonic_ns,
    unix_ns_to_ktime,
)
from pyebpf.host.cpus import possible_numbers as possible_cpus
from pyebpf.maps.info import map_info_of
from pyebpf.maps.map import Map
from pyebpf.typed import Any

__all__ = [
    "Action",
    "BpffsError",
    "CachedEntry",
    "CachedMap",
    "DumpStats",
    "Found",
    "KtimeClock",
    "Opened",
    "ReconcileResult",
    "attach_type_available",
    "boot_ns",
    "datetime_to_ktime",
    "dump_reliably",
    "end_parallel",
    "ensure_bpffs",
    "environment",
    "find_open_map",
    "jiffies",
    "ktime_to_datetime",
    "ktime_to_unix_ns",
    "linear_histogram",
    "local_map_name",
    "log2_histogram",
    "log2_slot",
    "map_info_of",
    "map_path",
    "monotonic_ns",
    "open_if_exists",
    "open_maps",
    "open_or_create",
    "open_parallel",
    "possible_cpus",
    "preallocated",
    "remove_memlock_limit",
    "reopen",
    "same_map",
    "unix_ns_to_ktime",
]


def same_map(one: Map[Any, Any], other: Map[Any, Any]) -> bool:
    """Return whether two objects are the same map in the kernel, whatever types they see in it.

    Raises:
        SyscallError: One of them is closed, …
    """
    return one.id == other.id
