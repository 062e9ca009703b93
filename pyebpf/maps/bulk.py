"""In-kernel bulk access: a small program that copies many entries in one call.

    keys ──▶ area (mapped array) ──program: look up, copy──▶ area ──▶ values       ManyKeys
             map ──program: walk, copy─────────────────────▶ area ──▶ entries      AllEntries

A lookup costs 20 to 40 ns then instead of a system call. It is a matter of speed alone: `get_many`,
`to_dict` and `to_numpy` of a map go the plain way wherever this one is not to be had (the verifier
refuses the program, privileges, too little to gain) and give the same.

Needs ``CAP_BPF`` and Linux 5.17 (``bpf_loop``) or 5.13 (``bpf_for_each_map_elem``, of programs that
may be run: 5.14).
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from pyebpf import btf_object
from pyebpf.asm.assemble import Assembled
from pyebpf.asm.slots import Slots
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Func, FuncProto, Int
from pyebpf.maps import bulk_code
from pyebpf.maps.bulk_code import COUNT, DONE, STATE, Layout
from pyebpf.maps.codec import Codec
from pyebpf.maps.native import column, native_format
from pyebpf.sys import bpf, kernel
from pyebpf.sys.elements import quiet_call
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import MapCreate, ProgLoad
from pyebpf.uapi.bpf import MapFlag, MapType, ProgFlag, ProgType

__all__ = ["AllEntries", "Bulk", "Entries", "ManyKeys"]

_SIGNED = 1
_FUNC_INFO = struct.Struct("=II")

# Bytes of the area of `ManyKeys`: with the map's own entries it should stay in the CPU's caches.
_SOME = 1 << 18
_MOST_KEYS = 1 << 14

# Keys that are looked up so quickly, in two microseconds, that letting go of the GIL does not pay.
_FEW = 64

# How often this process is a fork's child. Its areas are its parent's too, who may be using them.
_forks = 0


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Entries(NamedTuple):
    """All entries, one after another.

    Attributes:
        keys: Bytes of the keys.
        values: Bytes of the values, in the same order.
        number: How many.
    """

    keys: bytearray
    values: bytearray
    number: int


class Bulk:
    """A program with its area; one call at a time, whoever finds it taken goes the plain way.

    Args:
        map_fd: The map; the program keeps it.
        layout: Of the area.
        code: The program.

    Raises:
        EbpfError: The kernel refuses something of it.
    """

    def __init__(self, map_fd: int, layout: Layout, code: Assembled) -> None:
        length = -(-layout.size // mmap.PAGESIZE) * mmap.PAGESIZE
        with ExitStack() as stack:
            area = stack.enter_context(_area(layout.size))  # the mapping and the program keep it
            memory = kernel.current().mmap(area.fileno(), length, writable=True)
            undo = stack.enter_context(ExitStack())
            undo.callback(memory.close)
            self._program = undo.enter_context(_load(code, {"map": map_fd, "area": area.fileno()}))
            self._run = kernel.current().test_run(self._program.fileno())
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
        self._encode = key_codec.encode
        self._value_codec = value_codec
        self._keys = self._view(layout.keys_at, key_size * capacity)
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
            TypeError: Or ``ValueError``: a key that does not fit.
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
        if self._key_format is not None:
            self._keys[:count] = array(self._key_format, keys)
        else:
            self._keys[: count * self._layout.key_size] = b"".join(map(self._encode, keys))
        self._head[COUNT] = count
        if quiet_call(*self._run.arguments) if count <= _FEW else self._run():
            return None
        if self._value_format is not None:
            values = self._values[:count].tolist()
        else:
            values = column(self._value_codec, self._values, count)
        if not self._head[STATE]:
            return values
        flags = self._flags[:count].tobytes()
        return [value if flag else default for value, flag in zip(values, flags, strict=True)]

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
        key_size: Bytes of a key.
        value_size: Bytes of a value.
        capacity: Entries there can be.
        moves: They come and go (hashes), unlike those of arrays.

    Raises:
        EbpfError: The kernel refuses something of it.

    Since Linux 5.14.
    """

    def __init__(
        self, map_fd: int, *, key_size: int, value_size: int, capacity: int, moves: bool
    ) -> None:
        layout = Layout(key_size=key_size, value_size=value_size, capacity=capacity)
        super().__init__(map_fd, layout, bulk_code.all_entries(layout, moves=moves))
        self._keys = self._view(layout.keys_at, key_size * capacity)
        self._values = self._view(layout.values_at, value_size * capacity)

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


# The verifier wants types of functions that helpers call, static ones.
def _load(code: Assembled, descriptors: dict[str, int]) -> FD:
    names = [name for _, name in code.functions]
    types = [Int("int", 4, _SIGNED), FuncProto(1, ()), *(Func(name, 2) for name in names)]
    instructions = Slots(bytearray(code.code), sys.byteorder)
    for slot, name in code.symbols.items():
        instructions.set_immediate(slot, descriptors[name])
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
