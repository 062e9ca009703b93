"""`ProgramMap`: a map of the made-up kernel, as the interpreter's programs use it.

Errnos that system calls raise are what helpers return, negative.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.events import RingBuffer
from pyebpf.testing.maps.instructions import InstructionArray
from pyebpf.testing.maps.queues import BloomFilter
from pyebpf.testing.maps.slots import FdArray, HashOfMaps
from pyebpf.testing.maps.stacks import StackTraces
from pyebpf.testing.maps.storage import CgroupStorage, LocalStorage
from pyebpf.testing.refusal import Refused
from pyebpf.testing.rings import Reservation
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.helper_flags import RingbufFlag

__all__ = ["ProgramMap"]

_OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})


class ProgramMap(Map):
    """What programs can do to a map.

    Args:
        contents: Its elements.
        wake: Makes its descriptors readable.
    """

    def __init__(self, contents: Contents, wake: Callable[[], None]) -> None:
        definition = contents.definition
        super().__init__(
            definition.name.decode(errors="replace"),
            definition.type,
            key_size=definition.key_size,
            value_size=definition.value_size,
            max_entries=definition.max_entries,
        )
        self._contents = contents
        self._wake = wake
        self._reserved: dict[int, Reservation] = {}  # by the address of their memory

    def lookup(self, key: bytes, cpu: int) -> Region | Map | None:
        if self.type in _OF_MAPS:
            assert isinstance(self._contents, (FdArray, HashOfMaps))
            found = self._contents.found(key)
            if found is None:
                return None
            inner: Map = found.for_programs
            return inner
        try:
            return self._contents.at(key, cpu)
        except Refused:
            return None

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return _result(lambda: self._contents.put(key, value, flags, cpu))

    def delete(self, key: bytes) -> int:
        return _result(lambda: self._contents.delete(key))

    def keys(self) -> Iterator[bytes]:
        key: bytes | None = None
        with contextlib.suppress(Refused):
            while True:
                key = self._contents.next_key(key)
                yield key

    def push(self, value: bytes, flags: int) -> int:
        return _result(lambda: self._contents.update(b"", value, flags))

    def pop(self) -> bytes | int:
        try:
            return self._contents.pop(b"")
        except Refused as refused:
            return -refused.number

    def peek(self, value: bytes) -> bytes | int:
        if isinstance(self._contents, BloomFilter):
            return value if self._contents.contains(value) else -errno.ENOENT
        try:
            return self._contents.lookup(b"")
        except Refused as refused:
            return -refused.number

    def program(self, index: int) -> object | None:
        if not isinstance(self._contents, FdArray) or self.type != MapType.PROG_ARRAY:
            return None
        found = self._contents.objects.get(index)
        return None if found is None else found.executable

    def instructions(self) -> tuple[int, ...] | None:
        contents = self._contents
        return contents.slots if isinstance(contents, InstructionArray) else None

    def local_storage(self, owner: int, initial: bytes | None) -> Region | None:
        assert isinstance(self._contents, LocalStorage)
        return self._contents.of_struct(owner, initial)

    def remove_local_storage(self, owner: int) -> int:
        contents = self._contents
        assert isinstance(contents, LocalStorage)
        return _result(lambda: contents.remove_from_struct(owner))

    def cgroup_storage(self, group: tuple[int, int], cpu: int) -> Region | None:
        assert isinstance(self._contents, CgroupStorage)
        return self._contents.of_group(group, cpu)

    def stack_id(self, addresses: bytes, flags: int) -> int:
        assert isinstance(self._contents, StackTraces)
        return self._contents.keep(addresses, flags)

    def perf_output(self, data: bytes, cpu: int) -> int:
        # __bpf_perf_event_output
        if not isinstance(self._contents, FdArray) or self.type != MapType.PERF_EVENT_ARRAY:
            return -errno.EINVAL
        if cpu >= self.max_entries:
            return -errno.E2BIG
        event = self._contents.objects.get(cpu)
        if event is None:
            return -errno.ENOENT
        result: int = event.output(data, cpu)
        return result

    def ring_output(self, data: bytes, flags: int) -> int:
        # bpf_ringbuf_output
        if flags & ~int(RingbufFlag.NO_WAKEUP | RingbufFlag.FORCE_WAKEUP):
            return -errno.EINVAL
        record = self.ring_reserve(len(data))
        if record is None:
            return -errno.EAGAIN
        memoryview(record.data)[:] = data
        self.ring_commit(record, flags, discard=False)
        return 0

    def ring_reserve(self, size: int) -> Region | None:
        assert isinstance(self._contents, RingBuffer)
        reserved = self._contents.ring.reserve(size)
        if reserved is None:
            return None
        region = Region(reserved.data, f"record of map {self.name}")
        self._reserved[region.base] = reserved
        return region

    def ring_commit(self, record: Region, flags: int, *, discard: bool) -> None:
        assert isinstance(self._contents, RingBuffer)
        reserved = self._reserved.pop(record.base)
        caught_up = self._contents.ring.commit(reserved, discard=discard)
        if flags & RingbufFlag.NO_WAKEUP:
            return
        # A reader that lags behind sees more without being told; but its descriptors stay readable.
        if caught_up or flags & RingbufFlag.FORCE_WAKEUP or self._contents.ring.waiting:
            self._wake()

    def ring_query(self, what: int) -> int:
        assert isinstance(self._contents, RingBuffer)
        ring = self._contents.ring
        answers = (ring.waiting, ring.size, ring.consumer, ring.producer)
        return answers[what] if what < len(answers) else 0


def _result(call: Callable[[], None]) -> int:
    try:
        call()
    except Refused as refused:
        return -refused.number
    return 0
