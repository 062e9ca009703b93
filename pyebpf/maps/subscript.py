"""``m[key]``, ``m[key] = value``, ``del m[key]``: the operations programs make by the million.

    m[5] ──▶ the cell for keys ──BPF_MAP_LOOKUP_ELEM──▶ the cell for values ──▶ 7      numbers
      └────▶ lookup(5) ──codecs, Elements──▶ kernel                                   all the rest

Numbers in this machine's layout go through `pyebpf.sys.elements.Cells`, at the cost of the system
call and a quarter of a microsecond. All else goes through `lookup`, `update` and `delete`: other
types, calls that wait, whoever comes while another thread or the code below a signal handler is at
the cells, and whatever failed, to fail again with its reason.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pyebpf.maps.base import MapBase
from pyebpf.maps.native import native_format
from pyebpf.maps.user_codec import CodecLike
from pyebpf.spec import MapSpec
from pyebpf.sys.fd import FD

__all__ = ["Subscript"]

K = TypeVar("K")
V = TypeVar("V")

# What the quick way stumbles over: not its turn, a key or value of a wrong type or size.
_NOT_HERE = (IndexError, TypeError, ValueError, OverflowError)


class Subscript(MapBase[K, V], Generic[K, V]):
    """The three operations in square brackets."""

    # What `Cells` says; attributes of the map itself, because each further dot costs 2 ns.
    _key_cell: Any
    _value_cell: Any
    _call: Callable[..., int]
    _lookup_call: tuple[object, ...]
    _update_call: tuple[object, ...]
    _delete_call: tuple[object, ...]

    def __init__(
        self, fd: FD, spec: MapSpec, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> None:
        super().__init__(fd, spec, key=key, value=value)
        # None: not known yet. Empty: somebody is at the cells, or there are none.
        self._turn: list[None] | None = None
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
        turn = self._turn
        if turn:
            try:
                token = turn.pop()
                try:
                    self._key_cell[0] = key
                    if not self._call(*self._lookup_call):
                        return self._value_cell[0]  # type: ignore[no-any-return]  # as the codec
                finally:
                    turn.append(token)
            except _NOT_HERE:
                pass
        elif turn is None:
            self._prepare()
        return self.lookup(key)

    def __setitem__(self, key: K, value: V) -> None:
        turn = self._turn
        if turn:
            try:
                token = turn.pop()
                try:
                    self._key_cell[0] = key
                    self._value_cell[0] = value
                    if not self._call(*self._update_call):
                        return
                finally:
                    turn.append(token)
            except _NOT_HERE:
                pass
        elif turn is None:
            self._prepare()
        self.update(key, value)

    def __delitem__(self, key: K) -> None:
        turn = self._turn
        if turn:
            try:
                token = turn.pop()
                try:
                    self._key_cell[0] = key
                    if not self._call(*self._delete_call):
                        return
                finally:
                    turn.append(token)
            except _NOT_HERE:
                pass
        elif turn is None:
            self._prepare()
        self.delete(key)

    # Not before the codecs are needed anyway. Only one thread may do it: the token of one set of
    # cells must not go with another set.
    def _prepare(self) -> None:
        try:
            self._unprepared.pop()
        except IndexError:
            return
        key, value = native_format(self.key_codec), native_format(self.value_codec)
        cells = self._elements.cells(key, value) if key and value else None
        if cells is None:
            self._turn = []
            return
        self._key_cell, self._value_cell, self._call = cells.key, cells.value, cells.call
        self._lookup_call, self._update_call = cells.lookup, cells.update
        self._delete_call = cells.delete
        self._turn = cells.turn
