"""In-kernel bulk access: a small program that copies many entries in one call.

    keys ──▶ area (mapped array) ──program: look up, copy──▶ area ──▶ values       ManyKeys
             map ──program: walk, copy─────────────────────▶ area ──▶ entries      AllEntries

A lookup costs 15 to 50 ns then instead of a system call. It is a matter of speed alone: `get_many`,
`to_dict` and `to_numpy` of a map go the plain way wherever this one is not to be had (the verifier
refuses the program, privileges, too little to gain) and give the same.

Needs ``CAP_BPF``, and for hashes ``CAP_PERFMON``. Programs may be run since Linux 5.14; `ManyKeys`
takes 5.17, per-CPU kinds 5.19, and the quick way over a hash 6.17.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from pyebpf import btf_object
from pyebpf.asm.assemble import Assembled
from pyebpf.asm.slots import Slots
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Func, FuncProto, Int
from pyebpf.errors import EbpfError, NotSupportedError
from pyebpf.host.cpus import possible_numbers
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.maps import bulk_code, bulk_walk
from pyebpf.maps.bulk_choice import NOT_NOW, Entries, Few
from pyebpf.maps.bulk_code import CHANGED, COUNT, DONE, STATE, Layout
from pyebpf.maps.bulk_walk import HashLayout
from pyebpf.maps.codec import Codec, PerCpuCodec
from pyebpf.maps.kinds import HASHES, PER_CPU
from pyebpf.maps.native import column, native_format
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.slots import quiet_call
from pyebpf.typed import Any
from pyebpf.uapi.attrs import MapCreate, MapElem, ProgLoad
from pyebpf.uapi.bpf import MapFlag, MapType, ProgFlag, ProgType

__all__ = ["AllEntries", "Bulk", "ManyKeys"]

_SIGNED = 1
_FUNC_INFO = struct.Struct("=II")

# Bytes of the area of `ManyKeys`: with the map's own entries it should stay in the CPU's caches.
_SOME = 1 << 18
_MOST_KEYS = 1 << 14

NO_TYPES: Mapping[str, int] = {}

# Bytes of an entry's values, which are copied by one instruction after the other.
_LARGEST = 1 << 13

# Kinds whose entries are in buckets with their values.
_IN_BUCKETS = HASHES - PER_CPU

# Keys that are looked up so quickly, in five microseconds, that letting go of the GIL does not pay.
_FEW = 256

# Those of this process. A fork's child has the areas of its parent, who may be using them.
_bulks: weakref.WeakSet[Bulk] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_bulks):
        each.abandon()


os.register_at_fork(after_in_child=_forked)


class Bulk:
    """A program with its area; one call at a time, whoever finds it taken goes the plain way.

    Args:
        map_fd: The map; the program keeps it.
        layout: Of the area.
        size: Bytes of the area.
        code: The program.
        types: Ids of the kernel's functions in it.

    Attributes:
        free: Holds a token while nobody is at it: whoever takes that out has it to himself, puts it
            back, and calls `let_go` if it was *closed* meanwhile. Nobody ever waits: a signal
            handler that came in between would wait for ever.
        closed: Whether `close` was called.
        usable: Whether this process may use it: not after `close`, nor in a fork's child.

    Raises:
        EbpfError: The kernel refuses something of it.
    """

    def __init__(
        self, map_fd: int, layout: Layout, size: int, code: Assembled, types: Mapping[str, int]
    ) -> None:
        running = kernel.current()
        if not isinstance(running, kernel.LinuxKernel):
            raise NotSupportedError("in-kernel bulk access", None, "the kernel is a made-up one")
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        with ExitStack() as stack:
            area = stack.enter_context(_area(size))  # the mapping and the program keep it
            memory = running.mmap(area.fileno(), length, writable=True)
            undo = stack.enter_context(ExitStack())
            undo.callback(memory.close)
            self._program = undo.enter_context(
                _load(code, {"map": map_fd, "area": area.fileno(), **types})
            )
            self._run = running.test_run(self._program.fileno())
            undo.pop_all()
        self._layout = layout
        self._memory = memory
        self._views: list[memoryview] = []
        self._head = self._view(0, 64).cast("I")
        self._views.append(self._head)
        self.free: list[None] | deque[None] = [None]
        self.usable, self.closed = True, False
        _bulks.add(self)

    def _view(self, start: int, length: int) -> memoryview:
        with memoryview(self._memory) as whole:
            view = whole[start : start + length]
        self._views.append(view)
        return view

    def close(self) -> None:
        """Let go of program and area: when the call that is at them ends. Twice is fine."""
        self.usable, self.closed = False, True
        self.let_go()

    def abandon(self) -> None:
        """Leave the area to another process; nobody gets at it from now on."""
        self.usable = False
        self.free = deque(maxlen=0)  # what is put back, by whom the fork interrupted, is lost

    def let_go(self) -> None:
        """Close what there is, if nobody is at it; whoever comes last does, `close` or a call."""
        try:
            if isinstance(self.free, list):
                self.free.pop()
        except IndexError:
            return
        for view in self._views:
            view.release()
        self._memory.close()
        self._program.close()
        self.abandon()


class ManyKeys(Bulk):
    """Looks up many keys in one call.

    Args:
        map_fd: The map.
        key_codec: Of its keys.
        value_codec: Of its values.
        layout: Of the area.
        code: The program: `bulk_code.many_keys`.
        types: Ids of the kernel's functions in it.

    Raises:
        EbpfError: The kernel refuses something of it.

    Since Linux 5.17.
    """

    def __init__(
        self,
        map_fd: int,
        key_codec: Codec,
        value_codec: Codec,
        *,
        layout: Layout,
        code: Assembled,
        types: Mapping[str, int] = NO_TYPES,
    ) -> None:
        super().__init__(map_fd, layout, layout.size, code, types)
        self._encode = key_codec.encode
        self._value_codec = value_codec
        self._area = self._view(0, layout.size)
        self._state = self._head[STATE : STATE + 1]
        self._keys = self._view(layout.keys_at, layout.key_size * layout.capacity)
        self._values = self._view(layout.values_at, layout.entry_size * layout.capacity)
        self._missing = self._view(layout.missing_at, 4 * layout.capacity).cast("I")
        self._key_format = native_format(key_codec)
        self._value_format = native_format(value_codec)
        if self._key_format is not None:
            self._keys = self._keys.cast(self._key_format)  # type: ignore[call-overload]
        if self._value_format is not None:
            self._values = self._values.cast(self._value_format)  # type: ignore[call-overload]
        self._views += [self._state, self._missing, self._keys, self._values]
        self.few: dict[int, Few] = {}

    @classmethod
    def of(cls, map_fd: int, kind: MapType, key_codec: Codec, value_codec: Codec) -> ManyKeys:
        """Make the quickest program there is for a map.

        Args:
            map_fd: The map.
            kind: A hash, LRU hash or array, or a per-CPU one.
            key_codec: Of its keys.
            value_codec: Of its values.

        Raises:
            EbpfError: The kernel refuses it.
        """
        entry = key_codec.size + value_codec.size + 4
        one = value_codec.inner if isinstance(value_codec, PerCpuCodec) else value_codec
        capacity = max(1, min(_MOST_KEYS, _SOME // entry))
        layout = _layout(kind, key_codec.size, one.size, capacity)

        def made(*, cast: bool, types: Mapping[str, int] = NO_TYPES) -> ManyKeys:
            code = bulk_code.many_keys(layout, moves=kind in HASHES, cast=cast)
            return cls(map_fd, key_codec, value_codec, layout=layout, code=code, types=types)

        if kind in _IN_BUCKETS:
            with contextlib.suppress(EbpfError):
                known = bulk_walk.cast_id(kernel_btf(kernel.current().root))
                return made(cast=True, types={bulk_code.CAST: known})
        return made(cast=False)

    def close(self) -> None:
        """Let go of program and area: when the call that is at them ends. Twice is fine."""
        self.few.clear()
        super().close()

    def get(self, keys: list[Any], default: object) -> list[Any] | None:
        """Return the values of *keys*, *default* for missing ones.

        ``None`` if it cannot be now: somebody else is at it, a key does not fit, the map changed.
        """
        try:
            token = self.free.pop()
            try:
                return self._get(keys, default)
            finally:
                self.free.append(token)
                if self.closed:
                    self.let_go()
        except NOT_NOW:
            return None

    def _get(self, keys: list[Any], default: object) -> list[Any] | None:
        capacity = self._layout.capacity
        found: list[Any] = []
        for start in range(0, len(keys), capacity):
            some = self._get_some(keys[start : start + capacity])
            if some is None or not self.complete(some, default):
                return None
            found += some
        return found

    def _get_some(self, keys: list[Any]) -> list[Any] | None:
        count = len(keys)
        if self._key_format is not None:
            self._keys[:count] = array(self._key_format, keys)
        else:
            self._keys[: count * self._layout.key_size] = b"".join(map(self._encode, keys))
        self._head[COUNT] = count
        if quiet_call(*self._run.arguments) if count <= _FEW else self._run():
            return None
        return self._decoded(count)

    # The second time that a few keys are asked for, what depends on their number alone is there.
    def _decoded(self, count: int) -> list[Any]:
        some = self._values if self._value_format is None else self._values[:count]
        values: Callable[[], list[Any]] = some.tolist
        if self._value_format is None:
            values = partial(column, self._value_codec, some, count)
        if self._key_format is not None and count <= _FEW:
            # In front of the keys is the head: COUNT, and zeros.
            form = struct.Struct(f"I{self._layout.keys_at - 4}x{count}{self._key_format}")
            fill = partial(form.pack_into, self._area, 0, count)
            run = partial(quiet_call, *self._run.arguments)
            self.few[count] = (self, fill, run, values, self._state)
            self._views.append(some)
        return values()

    def complete(self, found: list[Any], default: object) -> bool:
        """Put *default* where keys were missing; return whether the other values are right."""
        missing = self._state[0]
        if missing >= CHANGED:
            return False
        for number in self._missing[:missing].tolist() if missing else ():
            found[number] = default
        return True


class AllEntries(Bulk):
    """Copies all entries of a map in one call.

    Args:
        map_fd: The map.
        layout: Of the area.
        code: The program: `bulk_code.all_entries` or `bulk_walk.walk`.
        types: Ids of the kernel's functions in it.

    Raises:
        EbpfError: The kernel refuses something of it.

    Since Linux 5.14; quicker for hashes since 6.17.
    """

    def __init__(
        self, map_fd: int, layout: Layout, code: Assembled, types: Mapping[str, int] = NO_TYPES
    ) -> None:
        super().__init__(map_fd, layout, layout.missing_at, code, types)
        self._keys = self._view(layout.keys_at, layout.key_size * layout.capacity)
        self._values = self._view(layout.values_at, layout.entry_size * layout.capacity)

    @classmethod
    def of(
        cls, map_fd: int, kind: MapType, *, key_size: int, value_size: int, capacity: int
    ) -> AllEntries:
        """Make the quickest program there is for a map.

        Args:
            map_fd: The map.
            kind: A hash, LRU hash or array, or a per-CPU one but LRU.
            key_size: Bytes of a key.
            value_size: Bytes of a value; of one CPU's for per-CPU kinds.
            capacity: Entries there can be.

        Raises:
            EbpfError: The kernel refuses it.
        """
        layout = _layout(kind, key_size, value_size, capacity)
        made = cls(map_fd, layout, bulk_code.all_entries(layout, moves=kind in HASHES))
        where = _proven_layout() if kind in _IN_BUCKETS else None
        if where is not None:
            # It sees what the verifier keeps from programs, and system calls show as zeros, such as
            # locks. But then the other one would have been refused.
            with contextlib.suppress(EbpfError):
                walking = cls._walking(map_fd, layout, where)
                made.close()
                return walking
        return made

    @classmethod
    def _walking(cls, map_fd: int, layout: Layout, where: HashLayout) -> AllEntries:
        return cls(map_fd, layout, bulk_walk.walk(layout, where), {bulk_code.CAST: where.cast})

    @classmethod
    def proves(cls, where: HashLayout, kind: MapType, flags: int) -> bool:
        """Whether the program that walks by itself finds what a map of our own holds."""
        layout = Layout(key_size=_PROOF.key_size, value_size=_PROOF.value_size, capacity=_ROOM)
        attr = MapCreate(
            map_type=kind,
            key_size=layout.key_size,
            value_size=layout.value_size,
            max_entries=_ROOM,
            map_flags=flags,
        )
        wanted = {}
        with bpf.map_create(attr) as made, ExitStack() as stack:
            for number in range(_ROOM // 2):
                key, value = _PROOF.entry(number)
                bpf.map_update_elem(MapElem(map_fd=made.fileno(), key=key, value=value))
                wanted[key] = value
            walking = cls._walking(made.fileno(), layout, where)
            stack.callback(walking.close)
            found = walking.get()
            return found is not None and wanted == dict(
                zip(
                    _pieces(found.keys, layout.key_size),
                    _pieces(found.values, layout.value_size),
                    strict=True,
                )
            )

    def get(self) -> Entries | None:
        """Return all entries; ``None`` if it cannot be now, or the map changed meanwhile."""
        try:
            token = self.free.pop()
        except IndexError:
            return None
        try:
            if self._run() or self._head[STATE] != DONE:
                return None
            count = self._head[COUNT]
            return Entries(
                bytearray(self._keys[: count * self._layout.key_size]),
                bytearray(self._values[: count * self._layout.entry_size]),
                count,
            )
        finally:
            self.free.append(token)
            if self.closed:
                self.let_go()


class _Proof:
    """Entries of known content, of sizes that show where things are."""

    key_size, value_size = 5, 12

    @staticmethod
    def entry(number: int) -> tuple[bytes, bytes]:
        return struct.pack("<BI", number, number * 77), struct.pack("<III", number, 1, number + 2)


_PROOF = _Proof()
_ROOM = 128
_HASHES = (
    (MapType.HASH, 0),
    (MapType.HASH, int(MapFlag.NO_PREALLOC)),
    (MapType.LRU_HASH, 0),
)

# By kernel: where hashes have what, or None if that is not so.
_proofs: weakref.WeakKeyDictionary[kernel.Kernel, HashLayout | None] = weakref.WeakKeyDictionary()


# Once in a process, 20 ms: the layout that the kernel's types tell, if what is made by it is right.
def _proven_layout() -> HashLayout | None:
    running = kernel.current()
    if running not in _proofs:
        found = None
        with contextlib.suppress(EbpfError):
            found = bulk_walk.hash_layout(kernel_btf(running.root))
            if not all(AllEntries.proves(found, *each) for each in _HASHES):
                found = None
        _proofs[running] = found
    return _proofs[running]


def _layout(kind: MapType, key_size: int, value_size: int, capacity: int) -> Layout:
    cpus = possible_numbers(kernel.current().root) if kind in PER_CPU else ()
    layout = Layout(key_size=key_size, value_size=value_size, capacity=capacity, cpus=cpus)
    if layout.entry_size > _LARGEST:
        reason = f"values of {layout.entry_size} bytes"
        raise NotSupportedError("in-kernel bulk access", None, reason)
    return layout


def _pieces(data: bytearray, size: int) -> list[bytes]:
    return [bytes(data[at : at + size]) for at in range(0, len(data), size)]


def _area(size: int) -> FD:
    return bpf.map_create(
        MapCreate(
            map_type=MapType.ARRAY,
            key_size=4,
            value_size=size,
            max_entries=1,
            map_flags=MapFlag.MMAPABLE,
        )
    )


# *references*: descriptors of maps, type ids of functions of the kernel.
# The verifier wants types of functions that helpers call, static ones.
def _load(code: Assembled, references: Mapping[str, int]) -> FD:
    names = [name for _, name in code.functions]
    types = [Int("int", 4, _SIGNED), FuncProto(1, ()), *(Func(name, 2) for name in names)]
    instructions = Slots(bytearray(code.code), sys.byteorder)
    for slot, name in code.symbols.items():
        instructions.set_immediate(slot, references[name])
    info = b"".join(
        _FUNC_INFO.pack(slot, type_id) for type_id, (slot, _) in enumerate(code.functions, 3)
    )
    with btf_object.load(Btf.decode(encode(types, byteorder=sys.byteorder))) as btf:
        return bpf.prog_load(
            ProgLoad(
                prog_type=ProgType.SYSCALL,
                prog_flags=ProgFlag.SLEEPABLE,
                insns=bytes(instructions.code),
                insn_cnt=len(instructions),
                license=b"GPL\0",
                prog_btf_fd=btf.fileno(),
                func_info=info,
                func_info_rec_size=_FUNC_INFO.size,
                func_info_cnt=len(names),
            )
        )
