"""Kinds that exist here in name only."""

from __future__ import annotations

from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.contents import Contents
from pyebpf.typed import NoReturn

__all__ = ["Unmodelled"]


class Unmodelled(Contents):
    """A map whose elements cannot be used."""

    def lookup(self, key: bytes) -> bytes:
        self._refuse("BPF_MAP_LOOKUP_ELEM")

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        self._refuse("BPF_MAP_UPDATE_ELEM")

    def delete(self, key: bytes) -> None:
        self._refuse("BPF_MAP_DELETE_ELEM")

    def next_key(self, key: bytes | None) -> bytes:
        self._refuse("BPF_MAP_GET_NEXT_KEY")

    def pop(self, key: bytes) -> bytes:
        self._refuse("BPF_MAP_LOOKUP_AND_DELETE_ELEM")

    def at(self, key: bytes, cpu: int) -> Region | None:
        self._refuse("bpf_map_lookup_elem")

    def _refuse(self, what: str) -> NoReturn:
        raise NotImplementedError(f"{what} of {self.definition.type}")
