"""The contents of a new map, and what may be put into it.

Kinds that are not modelled can be created, so that programs which mention them load; using their
elements is a ``NotImplementedError``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from pyebpf.testing.commands.programs import program_of
from pyebpf.testing.maps.arenas import Arena
from pyebpf.testing.maps.arrays import Array, PerCpuArray
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.maps.events import RingBuffer
from pyebpf.testing.maps.hashes import Hash
from pyebpf.testing.maps.instructions import InstructionArray
from pyebpf.testing.maps.queues import BloomFilter, Queue
from pyebpf.testing.maps.slots import FdArray, HashOfMaps
from pyebpf.testing.maps.socket_maps import ReuseportArray, SocketArray, SocketHash, XskMap
from pyebpf.testing.maps.stacks import StackTraces
from pyebpf.testing.maps.storage import CgroupStorage, LocalStorage
from pyebpf.testing.maps.targets import Target, TargetArray, TargetHash
from pyebpf.testing.maps.tries import Trie
from pyebpf.testing.maps.unmodelled import Unmodelled
from pyebpf.testing.objects import Map, ProgramObject
from pyebpf.testing.owners import by_address, by_descriptor
from pyebpf.testing.perf_events import PerfEvent
from pyebpf.testing.refusal import Refused
from pyebpf.testing.sockets import Socket
from pyebpf.testing.system import System
from pyebpf.uapi.bpf import AttachType, MapFlag, MapType, ProgType

__all__ = ["contents_of"]

_ARRAYS = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
_LONGEST_QUEUE = 16384


def contents_of(system: System, definition: Definition) -> Contents:
    """Return the empty contents of a new map."""
    make = _WITH_SYSTEM.get(definition.type)
    if make is not None:
        return make(system, definition)
    return _KINDS.get(definition.type, Unmodelled)(definition)


_KINDS: dict[MapType, type[Contents]] = {
    MapType.ARRAY: Array,
    MapType.PERCPU_ARRAY: PerCpuArray,
    MapType.QUEUE: Queue,
    MapType.STACK: Queue,
    MapType.BLOOM_FILTER: BloomFilter,
    MapType.RINGBUF: RingBuffer,
    MapType.SOCKMAP: SocketArray,
    MapType.SOCKHASH: SocketHash,
    MapType.XSKMAP: XskMap,
    MapType.CGROUP_STORAGE: CgroupStorage,
    MapType.PERCPU_CGROUP_STORAGE: CgroupStorage,
    MapType.ARENA: Arena,
    MapType.INSN_ARRAY: InstructionArray,
}


# --- kinds that ask the kernel what may be in them


def _programs(system: System, definition: Definition) -> Contents:
    return FdArray(definition, lambda fd: program_of(system, fd))


def _events(system: System, definition: Definition) -> Contents:
    def event(fd: int) -> PerfEvent:
        what = system.holding(fd)
        if not isinstance(what, PerfEvent):
            raise Refused(errno.EBADF)
        if what.source.hook is not None:
            raise Refused(errno.EINVAL)  # perf_event_read_local does not know tracepoints
        return what

    return FdArray(definition, event)


def _cgroups(system: System, definition: Definition) -> Contents:
    return FdArray(definition, lambda fd: system.cgroups.lineage(fd)[0])


def _maps(system: System, definition: Definition) -> Contents:
    wanted = definition.inner
    assert wanted is not None
    kind = FdArray if definition.type == MapType.ARRAY_OF_MAPS else HashOfMaps
    return kind(definition, lambda fd: _like(system, fd, wanted))


# bpf_map_meta_equal, array_map_meta_equal
def _like(system: System, fd: int, wanted: Definition) -> Map:
    what = system.holding(fd)
    if not isinstance(what, Map):
        raise Refused(errno.EINVAL)
    found = what.definition
    same = (
        found.type == wanted.type
        and found.key_size == wanted.key_size
        and found.value_size == wanted.value_size
        and found.flags == wanted.flags
    )
    free = wanted.type not in _ARRAYS or wanted.flags & MapFlag.INNER_MAP
    if not same or (not free and found.max_entries != wanted.max_entries):
        raise Refused(errno.EINVAL)
    return what


# __dev_map_alloc_node
def _devices(system: System, definition: Definition) -> Contents:
    def device(key: int, value: bytes) -> Target | None:
        index, fd = struct.unpack("=Ii", value.ljust(8, b"\0"))
        if not index:
            if fd > 0:
                raise Refused(errno.EINVAL)
            return None
        if index not in system.interfaces.values():
            raise Refused(errno.EINVAL)
        program = _xdp(system, fd, AttachType.XDP_DEVMAP, errno.EINVAL)
        shown = struct.pack("=II", index, 0 if program is None else program.id)
        return Target(shown[: len(value)], program)

    kind = TargetArray if definition.type == MapType.DEVMAP else TargetHash
    return kind(definition, device)


# cpu_map_update_elem
def _processors(system: System, definition: Definition) -> Contents:
    def processor(key: int, value: bytes) -> Target | None:
        length, fd = struct.unpack("=Ii", value.ljust(8, b"\0"))
        if length > _LONGEST_QUEUE:
            raise Refused(errno.EOVERFLOW)
        if key >= system.cpus:
            raise Refused(errno.ENODEV)
        if not length:
            return None
        # Linux 6.18 says ENOMEM whatever is wrong, 7.3 does not.
        wrong = errno.EINVAL if system.age.reached("7.3") else errno.ENOMEM
        program = _xdp(system, fd, AttachType.XDP_CPUMAP, wrong)
        shown = struct.pack("=II", length, 0 if program is None else program.id)
        return Target(shown[: len(value)], program)

    return TargetArray(definition, processor)


# Of programs on the way no other errno is told.
def _xdp(system: System, fd: int, wanted: AttachType, number: int) -> ProgramObject | None:
    if fd <= 0:
        return None
    try:
        program = program_of(system, fd)
    except Refused:
        raise Refused(number) from None
    if program.type != ProgType.XDP or program.expected_attach_type != wanted:
        raise Refused(number)
    return program


def _reuseport(system: System, definition: Definition) -> Contents:
    def is_taken(given: Socket) -> bool:
        arrays = (each.contents for each in system.maps)
        return any(
            given.inode in {socket.inode for socket in each.sockets.values()}
            for each in arrays
            if isinstance(each, ReuseportArray)
        )

    return ReuseportArray(definition, is_taken)


def _hash(system: System, definition: Definition) -> Contents:
    return Hash(definition, pops=system.age.reached("5.14"))


def _trie(system: System, definition: Definition) -> Contents:
    # Linux 6.13 (commit eae6a075e953) minds flags, and so do the stable releases of 6.1.
    return Trie(definition, flags_count=system.age.reached("6.1"))


def _stacks(system: System, definition: Definition) -> Contents:
    return StackTraces(definition, pops=system.age.reached("6.18"))


def _storage(system: System, definition: Definition) -> Contents:
    kind = definition.type
    address = by_address(kind, system.types, system.machine.memory)
    return LocalStorage(definition, by_descriptor(kind, system.cgroups), address)


_WITH_SYSTEM: dict[MapType, Callable[[System, Definition], Contents]] = {
    MapType.HASH: _hash,
    MapType.PERCPU_HASH: _hash,
    MapType.LRU_HASH: _hash,
    MapType.LRU_PERCPU_HASH: _hash,
    MapType.RHASH: _hash,
    MapType.LPM_TRIE: _trie,
    MapType.PROG_ARRAY: _programs,
    MapType.PERF_EVENT_ARRAY: _events,
    MapType.CGROUP_ARRAY: _cgroups,
    MapType.ARRAY_OF_MAPS: _maps,
    MapType.HASH_OF_MAPS: _maps,
    MapType.DEVMAP: _devices,
    MapType.DEVMAP_HASH: _devices,
    MapType.CPUMAP: _processors,
    MapType.REUSEPORT_SOCKARRAY: _reuseport,
    MapType.STACK_TRACE: _stacks,
    MapType.SK_STORAGE: _storage,
    MapType.TASK_STORAGE: _storage,
    MapType.INODE_STORAGE: _storage,
    MapType.CGRP_STORAGE: _storage,
}
