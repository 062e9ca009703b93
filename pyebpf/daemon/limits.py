"""Limits and defaults of a daemon: locked memory, and whether hashes take theirs beforehand."""

from __future__ import annotations

import resource

from pyebpf.spec import MapSpec
from pyebpf.sys import memlock
from pyebpf.uapi.bpf import MapFlag, MapType

__all__ = ["preallocated", "remove_memlock_limit"]

# Kinds that have a choice. LRU kinds must be allocated beforehand, LPM tries must not.
_CHOOSING = frozenset({MapType.HASH, MapType.PERCPU_HASH, MapType.HASH_OF_MAPS})


def remove_memlock_limit() -> bool:
    """Take away the limit of locked memory, to which maps count before Linux 5.11.

    The library does this by itself when a map or program is refused; a daemon that wants it done
    early, before threads and children, calls this. A refusal is no error: newer kernels do not
    care.

    Returns:
        Whether there is no limit now.
    """
    memlock.raise_limit()
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY


def preallocated(spec: MapSpec, wanted: bool) -> MapSpec:
    """Return a copy of a spec whose memory is taken when it is created, or as entries come.

    Taken beforehand, updates are faster and never fail for want of memory, which programs in
    interrupts need; as they come, a large and mostly empty map costs little. Kinds that have no
    choice are left as they are.

    Args:
        spec: Of a map.
        wanted: Take it beforehand.
    """
    made = spec.copy()
    if made.type in _CHOOSING:
        flags = made.flags & ~MapFlag.NO_PREALLOC
        made.flags = flags if wanted else flags | MapFlag.NO_PREALLOC
    return made
