"""In-kernel bulk access: a small program that copies many entries in one call.

    keys ──▶ area (mapped array) ──program: look up, copy──▶ area ──▶ values       ManyKeys
             map ──program: walk, copy─────────────────────▶ area ──▶ entries      AllEntries

A lookup costs 20 to 40 ns then instead of a system call. It is a matter of speed alone: `get_many`,
`to_dict` and `to_numpy` of a map go the plain way wherever this one is not to be had (the verifier
refuses the program, privileges, too little to gain) and give the same.

Needs ``CAP_BPF``, and for hashes ``CAP_PERFMON``. Programs may be run since Linux 5.14; `ManyKeys`
takes 5.17, and the quick way over a hash 6.17.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import weakref
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from pyebpf import btf_object
from pyebpf.asm.assemble import Assembled
from pyebpf.asm.slots import Slots
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Func, FuncProto, Int
from pyebpf.errors import EbpfError, NotSupportedError
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.maps import bulk_code, bulk_walk
from pyebpf.maps.bulk_choice import Entries
from pyebpf.maps.bulk_code import CHANGED, COUNT, DONE, STATE, Layout
from pyebpf.maps.bulk_walk import HashLayout
from pyebpf.maps.codec import Codec
from pyebpf.maps.native import column, native_format
from pyebpf.sys import bpf, kernel
from pyebpf.sys.elements import quiet_call
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import MapCreate, MapElem, ProgLoad
from pyebpf.uapi.bpf import MapFlag, MapType, ProgFlag, ProgType

__all__ = ["AllEntries", "Bulk", "ManyKeys"]

_SIGNED = 1
_FUNC_INFO = struct.Struct("=II")

# Bytes of the area of `ManyKeys`: with the map's own entries it should stay in the CPU's caches.
_SOME = 1 << 18
_MOST_KEYS = 1 << 14

NO_TYPES: Mapping[str, int] = {}

# Keys that are looked up so quickly, in two microseconds, that letting go of the GIL does not pay.
_FEW = 64

# How often this process is a fork's child. Its areas are its parent's too, who may be using them.
_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Bulk:
    """A program with its area; one call at a time, whoever finds it taken goes the plain way.

    Args:
        map_fd: The map; the program keeps it.
        layout: Of the area.
        code: The program.
        types: Ids of the kernel's functions in it.

    Raises:
        EbpfError: The kernel refuses something of it.
    """

    def __init__(
        self, map_fd: int, layout: Layout, code: Assembled, types: Mapping[str, int] = NO_TYPES
    ) -> None:
        running = kernel.current()
        if not isinstance(running, kernel.LinuxKernel):
            raise NotSupportedError("in-kernel bulk access", None, "the kernel is a made-up one")
        length = -(-layout.size // mmap.PAGESIZE) * mmap.PAGESIZE
        with ExitStack() as stack:
            area = stack.enter_context(_area(layout.size))  # the mapping and the program keep it
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
        # Holds a token while nobody is at it: whoever takes that out has it to himself.
        self._free: list[None] = [None]
        self._forks = _forks
        self._closed = False

    def _view(self, start: int, length: int) -> memoryview:
        with memoryview(self._memory) as whole:
            view = whole[start : start + length]
        self._views.append(view)
        return view

    @property
    def usable(self) -> bool:
        """Whether this process may use it: not after `close`, nor in a fork's child."""
        return not self._closed and self._forks == _forks

    # Never waits: a signal handler that came in between would wait for ever.
    def _take(self) -> bool:
        try:
            self._free.pop()
        except IndexError:
            return False
        if self.usable:
            return True
        self._give_back()
        return False

    def _give_back(self) -> None:
        self._free.append(None)
        if self._closed:
            self._let_go()

    def close(self) -> None:
        """Let go of program and area: when the call that is at them ends. Twice is fine."""
        self._closed = True
        if self._forks != _forks:
            self._free = [None]  # a thread of the parent's may have the old token
        self._let_go()

    # Whoever comes last, close() or a call, finds nobody else at it.
    def _let_go(self) -> None:
        try:
            self._free.pop()
        except IndexError:
            return
        for view in self._views:
            view.release()
        self._memory.close()
        self._program.close()
        self._free.append(None)


class ManyKeys(Bulk):
    """Looks up many keys in one call.

    Args:
        map_fd: A map whose lookup by a program changes nothing (in LRU maps it does).
        key_codec: Of its keys.
        value_codec: Of its values.

    Raises:
        EbpfError: The kernel refuses something of it.

    Since Linux 5.17.
    """

    def __init__(self, map_fd: int, key_codec: Codec, value_codec: Codec) -> None:
        key_size, value_size = key_codec.size, value_codec.size
        capacity = max(1, min(_MOST_KEYS, _SOME // (key_size + value_size + 1)))
        layout = Layout(key_size=key_size, value_size=value_size, capacity=capacity)
        super().__init__(map_fd, layout, bulk_code.many_keys(layout))
        self._capacity = capacity
        self._few: dict[int, tuple[Callable[..., None], memoryview]] = {}
        self._encode = key_codec.encode
        self._value_codec = value_codec
        self._keys = self._key_memory = self._view(layout.keys_at, key_size * capacity)
        self._values = self._view(layout.values_at, value_size * capacity)
        self._flags = self._view(layout.flags_at, capacity)
        self._key_format = native_format(key_codec)
        self._value_format = native_format(value_codec)
        if self._key_format is not None:
            self._keys = self._keys.cast(self._key_format)  # type: ignore[call-overload]
        if self._value_format is not None:
            self._values = self._values.cast(self._value_format)  # type: ignore[call-overload]
        self._views += [self._keys, self._values]

    def get(self, keys: Sequence[Any], default: object) -> list[Any] | None:
        """Return the values of *keys*, *default* for missing ones; ``None`` if it cannot be now.

        Raises:
            TypeError: Or ``ValueError``, ``struct.error``: a key that does not fit.
        """
        try:
            token = self._free.pop()
            try:
                if self._closed or self._forks != _forks:
                    return None
                if len(keys) <= self._capacity:
                    return self._get(keys, default)
                return self._get_in_parts(keys, default)
            finally:
                self._free.append(token)
                if self._closed:
                    self._let_go()
        except IndexError:
            return None

    def _get(self, keys: Sequence[Any], default: object) -> list[Any] | None:
        count = len(keys)
        few = self._few.get(count)
        if few is not None:
            pack, view = few
            pack(self._key_memory, 0, *keys)
            self._head[COUNT] = count
            if quiet_call(*self._run.arguments):
                return None
            values = view.tolist()
        else:
            if self._key_format is not None:
                self._keys[:count] = array(self._key_format, keys)
            else:
                self._keys[: count * self._layout.key_size] = b"".join(map(self._encode, keys))
            self._head[COUNT] = count
            if quiet_call(*self._run.arguments) if count <= _FEW else self._run():
                return None
            values = self._decoded(count)
        state = self._head[STATE]
        if not state:
            return values
        if state >= CHANGED:
            return None
        flags = self._flags[:count].tobytes()
        return [value if flag else default for value, flag in zip(values, flags, strict=True)]

    # The second time that a few keys are asked for, what depends on their number alone is there.
    def _decoded(self, count: int) -> list[Any]:
        if self._value_format is None:
            return column(self._value_codec, self._values, count)
        values = self._values[:count]
        if self._key_format is not None and count <= _FEW:
            self._views.append(values)
            self._few[count] = struct.Struct(f"{count}{self._key_format}").pack_into, values
        return values.tolist()

    def _get_in_parts(self, keys: Sequence[Any], default: object) -> list[Any] | None:
        capacity, found = self._capacity, []
        for start in range(0, len(keys), capacity):
            some = self._get(keys[start : start + capacity], default)
            if some is None:
                return None
            found += some
        return found


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
        super().__init__(map_fd, layout, code, types)
        self._keys = self._view(layout.keys_at, layout.key_size * layout.capacity)
        self._values = self._view(layout.values_at, layout.value_size * layout.capacity)

    @classmethod
    def of(
        cls, map_fd: int, kind: MapType, *, key_size: int, value_size: int, capacity: int
    ) -> AllEntries:
        """Make the quickest program there is for a map.

        Args:
            map_fd: The map.
            kind: A hash, LRU hash or array.
            key_size: Bytes of a key.
            value_size: Bytes of a value.
            capacity: Entries there can be.

        Raises:
            EbpfError: The kernel refuses it.
        """
        layout = Layout(key_size=key_size, value_size=value_size, capacity=capacity)
        code = bulk_code.all_entries(layout, moves=kind != MapType.ARRAY)
        made = cls(map_fd, layout, code)
        where = _proven_layout() if kind != MapType.ARRAY else None
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
        return cls(map_fd, layout, bulk_walk.walk(layout, where), {bulk_walk.CAST: where.cast})

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
        if not self._take():
            return None
        try:
            if self._run() or self._head[STATE] != DONE:
                return None
            count = self._head[COUNT]
            return Entries(
                bytearray(self._keys[: count * self._layout.key_size]),
                bytearray(self._values[: count * self._layout.value_size]),
                count,
            )
        finally:
            self._give_back()


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
