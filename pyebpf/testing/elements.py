"""The hot calls of one map on the made-up kernel: what `pyebpf.sys.elements` is on the real one."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyebpf.errors import ClosedError
from pyebpf.sys.elements import Buffer, element_failure
from pyebpf.testing.commands import elements
from pyebpf.testing.files import OpenFile
from pyebpf.testing.objects import Map
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.typed import TypeVar
from pyebpf.uapi.bpf import Cmd

__all__ = ["FakeElements"]

T = TypeVar("T")


class FakeElements:
    """The calls on the elements of one map; they do and raise what `Elements` does and raises.

    Args:
        system: The kernel.
        file: The map's open file.
        found: The map.
        sizes: Bytes of a key, and of a value as system calls pass it.
        array: Whether keys are indices.
    """

    def __init__(
        self, system: System, file: OpenFile, found: Map, sizes: tuple[int, int], *, array: bool
    ) -> None:
        self._system = system
        # Together, and gone together: the map must not live on because of us.
        self._held: tuple[Map, OpenFile] | None = (found, file)
        self._key_size, self._value_size = sizes
        self._array = array

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._held is None

    def lookup(self, key: Buffer, flags: int = 0) -> bytes | None:
        """Return a copy of the value of *key*, or ``None``."""
        data = _sized("key", key, self._key_size)
        return self._absent(
            Cmd.MAP_LOOKUP_ELEM, lambda found, file: elements.lookup(found, file, data, flags)
        )

    def update(self, key: Buffer, value: Buffer, flags: int = 0) -> None:
        """Set the value of *key*."""
        data = _sized("key", key, self._key_size)
        content = _sized("value", value, self._value_size)
        self._call(
            Cmd.MAP_UPDATE_ELEM,
            lambda found, file: elements.update(found, file, data, content, flags),
        )

    def delete(self, key: Buffer) -> bool:
        """Remove *key*; return whether it was there."""
        data = _sized("key", key, self._key_size)

        def remove(found: Map, file: OpenFile) -> bool:
            elements.delete(found, file, data)
            return True

        return self._absent(Cmd.MAP_DELETE_ELEM, remove) or False

    def next_key(self, key: Buffer | None) -> bytes | None:
        """Return the key after *key*, or ``None``."""
        data = None if key is None else _sized("key", key, self._key_size)
        return self._absent(
            Cmd.MAP_GET_NEXT_KEY, lambda found, file: elements.next_key(found, file, data)
        )

    def lookup_and_delete(self, key: Buffer, flags: int = 0) -> bytes | None:
        """Remove *key* and return its value, or ``None``."""
        data = _sized("key", key, self._key_size)
        return self._absent(
            Cmd.MAP_LOOKUP_AND_DELETE_ELEM,
            lambda found, file: elements.lookup_and_delete(found, file, data, flags),
        )

    def close(self) -> None:
        """Make every later call a `ClosedError`."""
        self._held = None

    def _absent(self, cmd: Cmd, call: Callable[[Map, OpenFile], T]) -> T | None:
        try:
            return self._call(cmd, call, passing=errno.ENOENT)
        except Refused:
            return None

    def _call(self, cmd: Cmd, call: Callable[[Map, OpenFile], T], passing: int = 0) -> T:
        held = self._held
        if held is None:
            raise ClosedError("map used after close")
        system = self._system
        with system.lock:
            try:
                if not system.age.has_command(cmd):
                    raise Refused(errno.EINVAL)
                system.faults.check(cmd)
                return call(*held)
            except Refused as refused:
                if refused.number == passing:
                    raise
                failure = element_failure(cmd, refused.number, array=self._array)
                failure.detail = refused.detail or failure.detail
                raise failure from None


def _sized(what: str, given: Buffer, size: int) -> bytes:
    data = memoryview(given).tobytes()
    if len(data) != size:
        raise ValueError(f"{what} takes {size} bytes, not {len(data)}")
    return data
