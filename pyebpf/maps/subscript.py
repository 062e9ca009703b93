"""``m[key]``, ``m.get(key)``, ``m[key] = value``, ``del m[key]``: what is done by the million.

    m[5] ──▶ cell of the key ──BPF_MAP_LOOKUP_ELEM──▶ cell of the value ──▶ 7
      └────▶ lookup(5): codecs, Elements ──▶ kernel

The first way is that of `pyebpf.sys.elements.Cells`: for numbers in this machine's layout, which
are stored and read without a codec, it costs the system call and a quarter of a microsecond. The
second one, `lookup`, `update` and `delete`, is for calls that wait, for whoever comes while another
thread or the code below a signal handler is at the cells, and for whatever failed: to fail again,
with its reason.
"""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Callable

from pyebpf.errors import EbpfError
from pyebpf.maps.base import MapBase
from pyebpf.maps.codec import Codec, PerCpuCodec
from pyebpf.spec import MapSpec
from pyebpf.sys.elements import Elements
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING, Any, Generic, TypeVar, overload
from pyebpf.uapi.bpf import Cmd

if TYPE_CHECKING:
    from pyebpf.maps.user_codec import CodecLike

__all__ = ["Subscript"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

# What the quick way stumbles over: somebody at the cells, a key or value of a wrong type or size.
_NOT_HERE = (IndexError, TypeError, ValueError, OverflowError)


# Taken from `pyebpf.sys.slots` with the first cells, before which none is called: that brings
# ctypes, 2 ms, and not every load looks into a map.
call: Callable[..., int]
quiet_call: Callable[..., int]
last_errno: Callable[[], int]


class Subscript(MapBase[K, V], Generic[K, V]):
    """The operations in square brackets, and `get`."""

    # Attributes of the map itself, because each further dot costs 2 ns at every access.
    _lookup_key: Any
    _lookup_value: Any
    _update_key: Any
    _update_value: Any
    _delete_key: Any

    def __init__(
        self, fd: FD, spec: MapSpec, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> None:
        super().__init__(fd, spec, key=key, value=value)
        # `Cells.free` of each operation; empty also while there are no cells.
        self._lookups: list[tuple[object, ...]] = []
        self._updates: list[tuple[object, ...]] = []
        self._deletes: list[tuple[object, ...]] = []
        self._unprepared = [None]

    @abstractmethod
    def lookup(self, key: K, *, flags: int = 0) -> V:
        """Return the value at *key*."""

    @abstractmethod
    def update(self, key: K, value: V, *, flags: int = 0) -> None:
        """Set the value at *key*."""

    @abstractmethod
    def delete(self, key: K) -> None:
        """Remove *key*."""

    def __getitem__(self, key: K) -> V:
        try:
            arguments = self._lookups.pop()
            try:
                self._lookup_key[0] = key
                if not quiet_call(*arguments):
                    return self._lookup_value[0]  # type: ignore[no-any-return]
            finally:
                self._lookups.append(arguments)
        except _NOT_HERE:
            self._prepare()
        return self.lookup(key)

    @overload
    def get(self, key: K) -> V | None: ...

    @overload
    def get(self, key: K, default: D) -> V | D: ...

    def get(self, key: K, default: object = None) -> object:
        """Return the value at *key*, or *default* if there is none."""
        try:
            arguments = self._lookups.pop()
            try:
                self._lookup_key[0] = key
                if not call(*arguments):
                    return self._lookup_value[0]
                if last_errno() == errno.ENOENT:
                    return default
            finally:
                self._lookups.append(arguments)
        except _NOT_HERE:
            self._prepare()
        data = self._find(self.key_codec.encode(key))
        return default if data is None else self.value_codec.decode(data)

    def __setitem__(self, key: K, value: V) -> None:
        try:
            arguments = self._updates.pop()
            try:
                self._update_key[0] = key
                self._update_value[0] = value
                if not quiet_call(*arguments):
                    return
            finally:
                self._updates.append(arguments)
        except _NOT_HERE:
            self._prepare()
        self.update(key, value)

    def __delitem__(self, key: K) -> None:
        try:
            arguments = self._deletes.pop()
            try:
                self._delete_key[0] = key
                if not quiet_call(*arguments):
                    return
            finally:
                self._deletes.append(arguments)
        except _NOT_HERE:
            self._prepare()
        self.delete(key)

    def _find(self, key: bytes) -> bytes | None:
        try:
            return self._elements.lookup(key, 0)
        except EbpfError as error:
            self._name("lookup in", error)
            raise

    # At the first access, when the codecs are needed anyway. Only one thread may do it: arguments
    # of one set of cells must not go with the cells of another set.
    def _prepare(self) -> None:
        if not self._unprepared:
            return
        try:
            self._unprepared.pop()
        except IndexError:
            return
        if not isinstance(self._elements, Elements):
            return  # another kernel's, which need not be quick
        lookup = self._elements.cells(Cmd.MAP_LOOKUP_ELEM)
        update = self._elements.cells(Cmd.MAP_UPDATE_ELEM)
        delete = self._elements.cells(Cmd.MAP_DELETE_ELEM)
        if lookup is None or update is None or delete is None:
            return
        global call, last_errno, quiet_call
        from pyebpf.sys.slots import call, last_errno, quiet_call

        self._lookup_key = _cell(self.key_codec, lookup.key)
        self._lookup_value = _cell(self.value_codec, lookup.value)
        self._update_key = _cell(self.key_codec, update.key)
        self._update_value = _cell(self.value_codec, update.value)
        self._delete_key = _cell(self.key_codec, delete.key)
        self._lookups, self._updates, self._deletes = lookup.free, update.free, delete.free


class _Cell:
    """Memory of one value of any codec, used as if it were a memoryview of one item."""

    __slots__ = ("_decode", "_encode", "_memory")

    def __init__(self, codec: Codec, memory: memoryview) -> None:
        self._memory = memory
        self._decode: Callable[[bytes], object] = codec.decode
        self._encode: Callable[[object], bytes] = codec.encode

    def __getitem__(self, index: int) -> object:
        return self._decode(self._memory.tobytes())

    def __setitem__(self, index: int, value: object) -> None:
        self._memory[:] = self._encode(value)


class _NumberOfEachCpu(_Cell):
    """Memory of one number per CPU, read as a list at once."""

    __slots__ = ("_numbers",)

    def __init__(self, codec: PerCpuCodec, number: str, memory: memoryview) -> None:
        super().__init__(codec, memory)
        numbers = memory.cast(number)  # type: ignore[call-overload]  # a literal, to mypy
        self._numbers: memoryview = numbers[:: codec.stride // codec.inner.size]

    def __getitem__(self, index: int) -> object:
        return self._numbers.tolist()


def _cell(codec: Codec, memory: memoryview) -> object:
    from pyebpf.maps.native import native_format

    number = native_format(codec)
    if number is not None:
        return memory.cast(number)  # type: ignore[call-overload]
    if isinstance(codec, PerCpuCodec):
        number = native_format(codec.inner)
        if number is not None:
            return _NumberOfEachCpu(codec, number, memory)
    return _Cell(codec, memory)
