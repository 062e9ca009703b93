"""The hot calls of one map: look up, update, delete, next key, with everything bound beforehand.

In: keys and values as bytes of exactly the map's sizes. Out: bytes, or ``None`` for "no such key".

A call costs what its system call costs plus half a microsecond, because the attr and its buffers
are made once: `pyebpf.sys.slots.Slot`. A slot belongs to one call at a time, taken from a free list
and put back; so threads, signal handlers and finalizers that come in between never share one.

Half of that costs what goes through `Cells`, if the memory is used as it is: numbers.

*Closing.* A number the process has given back is soon another file's, so no call may start with it
once `Elements.close` has returned. Calls that keep the GIL read the number from the slot, and
closing overwrites it there. Calls that release the GIL (they may wait, up to 16 ms for a map in a
map) use a descriptor of their own, which the last of them closes.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from pyebpf.errors import (
    ClosedError,
    EbpfError,
    KeyExistsError,
    KeyNotFoundError,
    KeyOutOfRangeError,
    MapFullError,
    PrivilegeError,
    SyscallError,
)
from pyebpf.sys.failures import told
from pyebpf.sys.fd import FD, duplicate
from pyebpf.typed import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, final
from pyebpf.uapi.bpf import Cmd

if TYPE_CHECKING:
    from pyebpf.sys.slots import Slot

__all__ = [
    "Buffer",
    "Cells",
    "ElementCalls",
    "Elements",
    "element_failure",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

# Without a GIL nothing keeps close() and a call apart, so every call takes the careful way.
_has_gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)

_KEY, _FLAGS = 1, 3  # words of the attr
_NO_FD = 0xFFFFFFFF


class ElementCalls(Protocol):
    """The calls on the elements of one map; what each does is told at `Elements`."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def lookup(self, key: Buffer, flags: int = 0) -> bytes | None:
        """Return the value of *key*, or ``None``."""

    def update(self, key: Buffer, value: Buffer, flags: int = 0) -> None:
        """Set the value of *key*."""

    def delete(self, key: Buffer) -> bool:
        """Remove *key*; return whether it was there."""

    def next_key(self, key: Buffer | None) -> bytes | None:
        """Return the key after *key*, or ``None``."""

    def lookup_and_delete(self, key: Buffer, flags: int = 0) -> bytes | None:
        """Remove *key* and return its value, or ``None``."""

    def close(self) -> None:
        """Make every later call a `ClosedError`."""


class Cells(NamedTuple):
    """Memory for one key and one value, and the call upon them.

    Whoever takes the call's arguments out of *free* may use the cells, and puts them back; everyone
    else, such as a signal handler that came in between, calls `Elements`. The call does not tell
    its errno: one that failed had no effect and is made again there. After `Elements.close` it
    always fails.

        arguments = cells.free.pop()                # IndexError: somebody is at them
        cells.key[:] = key
        failed = quiet_call(*arguments)
        value = cells.value.tobytes()
        cells.free.append(arguments)

    Attributes:
        free: Holds the arguments, while nobody is at the cells.
        key: The key; may be cast to a format of numbers.
        value: The value likewise.
    """

    free: list[tuple[object, ...]]
    key: memoryview
    value: memoryview


@final
class Elements:
    """The calls on the elements of one map; may be shared between threads.

    A child of ``fork`` may use it too: it has the same descriptors.

    Args:
        fd: The map. Without *waits* it must stay open until `close`; the caller goes on owning it.
        key_size: Bytes of a key, 0 for queues, stacks and bloom filters.
        value_size: Bytes of a value as the system call wants it: for per-CPU maps all CPUs'.
        waits: The calls may take long (maps of maps and programs, storage, struct_ops, large
            values): other threads run meanwhile. Costs 70 ns a call and one descriptor.
        array: The keys are indices, so that ``E2BIG`` is about the key, not about space.

    Raises:
        SyscallError: ``EMFILE``, with *waits*.
        NotSupportedError: An architecture whose system call numbers we do not know.
    """

    __slots__ = ("_array", "_fd", "_free", "_own", "_sizes", "_slots", "_waits")

    def __init__(
        self, fd: int, key_size: int, value_size: int, *, waits: bool, array: bool = False
    ) -> None:
        waits = waits or not _has_gil()
        self._own = FD(duplicate(fd)) if waits else None
        self._fd = self._own.fileno() if self._own else fd
        self._sizes = (key_size, value_size)
        self._waits = waits
        self._array = array
        self._slots: list[Slot] = []
        self._free: list[Slot] = []

    def lookup(self, key: Buffer, flags: int = 0) -> bytes | None:
        """Return a copy of the value of *key*, or ``None`` if there is none.

        Args:
            key: Exactly ``key_size`` bytes.
            flags: ``BPF_F_LOCK``, ``BPF_F_CPU`` with the CPU in the upper half.

        Raises:
            ValueError: *key* has another size.
            ClosedError: After `close`.
            SyscallError: Anything but ``ENOENT``.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._new_slot()
        try:
            try:
                slot.key[:] = key
            except (ValueError, TypeError):
                _copy("key", slot.key, key)
            if flags:
                slot.words[_FLAGS] = flags
            if not slot.lookup():
                return slot.value.tobytes()
            # A signal handler whose own map call fails right here could change what we read.
            number = slot.errno()
        finally:
            if flags:
                slot.words[_FLAGS] = 0
            self._put_back(slot)
        if number == errno.ENOENT:
            return None
        raise self._failure(Cmd.MAP_LOOKUP_ELEM, number)

    def update(self, key: Buffer, value: Buffer, flags: int = 0) -> None:
        """Set the value of *key*.

        Args:
            key: Exactly ``key_size`` bytes.
            value: Exactly ``value_size`` bytes.
            flags: ``BPF_NOEXIST``, ``BPF_EXIST``, ``BPF_F_LOCK``, …

        Raises:
            ValueError: *key* or *value* has another size.
            KeyExistsError: With ``BPF_NOEXIST``.
            KeyNotFoundError: With ``BPF_EXIST``.
            MapFullError: No room.
            KeyOutOfRangeError: The index is not below ``max_entries``.
            PrivilegeError: The map is frozen or was opened read-only.
            ClosedError: After `close`.
            SyscallError: Anything else.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._new_slot()
        try:
            try:
                slot.key[:] = key
                slot.value[:] = value
            except (ValueError, TypeError):
                _copy("key", slot.key, key)
                _copy("value", slot.value, value)
            if flags:
                slot.words[_FLAGS] = flags
            if not slot.update():
                return
            number = slot.errno()
        finally:
            if flags:
                slot.words[_FLAGS] = 0
            self._put_back(slot)
        raise self._failure(Cmd.MAP_UPDATE_ELEM, number)

    def delete(self, key: Buffer) -> bool:
        """Remove *key*; return whether it was there.

        Raises:
            ValueError: *key* has another size.
            ClosedError: After `close`.
            SyscallError: Anything but ``ENOENT``: ``EINVAL`` for arrays, …
        """
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._new_slot()
        try:
            try:
                slot.key[:] = key
            except (ValueError, TypeError):
                _copy("key", slot.key, key)
            if not slot.delete():
                return True
            number = slot.errno()
        finally:
            self._put_back(slot)
        if number == errno.ENOENT:
            return False
        raise self._failure(Cmd.MAP_DELETE_ELEM, number)

    def next_key(self, key: Buffer | None) -> bytes | None:
        """Return the key after *key* in the map's own order, or ``None`` after the last.

        Args:
            key: ``None`` for the first. A hash starts again from the first if *key* is not there.

        Raises:
            ValueError: *key* has another size.
            ClosedError: After `close`.
            SyscallError: Anything but ``ENOENT``; ``EFAULT`` for ``None`` before Linux 4.12.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._new_slot()
        here = slot.words[_KEY]
        try:
            if key is None:
                slot.next_words[_KEY] = 0
            else:
                try:
                    slot.key[:] = key
                except (ValueError, TypeError):
                    _copy("key", slot.key, key)
            if not slot.next_key():
                return slot.next_value.tobytes()
            number = slot.errno()
        finally:
            slot.next_words[_KEY] = here
            self._put_back(slot)
        if number == errno.ENOENT:
            return None
        raise self._failure(Cmd.MAP_GET_NEXT_KEY, number)

    def lookup_and_delete(self, key: Buffer, flags: int = 0) -> bytes | None:
        """Remove *key* and return its value, or ``None`` if there was none.

        Args:
            key: Exactly ``key_size`` bytes: none for queues and stacks.
            flags: ``BPF_F_LOCK``.

        Raises:
            ValueError: *key* has another size.
            ClosedError: After `close`.
            SyscallError: Anything but ``ENOENT``: 524 (``ENOTSUPP``) for map types without it.

        Since Linux 4.20 (queue, stack), 5.14 (hashes).
        """
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._new_slot()
        try:
            _copy("key", slot.key, key)
            slot.words[_FLAGS] = flags
            if not slot.lookup_and_delete():
                return slot.value.tobytes()
            number = slot.errno()
        finally:
            slot.words[_FLAGS] = 0
            self._put_back(slot)
        if number == errno.ENOENT:
            return None
        raise self._failure(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, number)

    def cells(self, cmd: Cmd) -> Cells | None:
        """Return the quickest way to elements, or ``None`` if there is none.

        There is one for maps whose calls do not wait, and an interpreter with a GIL.

        Args:
            cmd: ``BPF_MAP_LOOKUP_ELEM``, ``BPF_MAP_UPDATE_ELEM`` or ``BPF_MAP_DELETE_ELEM``.
        """
        if self._waits:
            return None
        slot = self._new_slot()  # which never enters the free list
        return Cells([slot.arguments(cmd)], slot.key, slot.value)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def close(self) -> None:
        """Make every later call a `ClosedError`; from any thread, twice is fine.

        Does not close the map's descriptor: do that after this. A call that is under way (only
        with *waits*) ends normally.
        """
        self._fd = -1  # first: a slot made from now on reads this
        for slot in list(self._slots):
            slot.aim(_NO_FD)
        self._release()

    # Taken out of the free list from the start; enters it when its first call ends.
    def _new_slot(self) -> Slot:
        from pyebpf.sys.slots import Slot  # ctypes takes 2 ms, and many maps are never looked into

        slot = Slot(*self._sizes, waits=self._waits)
        self._slots.append(slot)
        fd = self._fd
        slot.aim(fd if fd >= 0 else _NO_FD)
        # close() may have run since we read it, and have aimed this slot before we did.
        if self._fd < 0:
            slot.aim(_NO_FD)
        return slot

    def _put_back(self, slot: Slot) -> None:
        self._free.append(slot)
        if self._own is not None and self._fd < 0:
            self._release()

    # Whoever comes last, close() or a call, finds every slot free: each of them first does its
    # part (aims the slots elsewhere, puts its own back) and looks then.
    def _release(self) -> None:
        if self._own is not None and len(self._free) == len(self._slots):
            self._own.close()

    def _failure(self, cmd: Cmd, number: int) -> EbpfError:
        if self._fd < 0:
            return ClosedError("map used after close")
        return element_failure(cmd, number, array=self._array)


def element_failure(cmd: Cmd, number: int, *, array: bool) -> SyscallError:
    """Return the error for an errno of a map's element.

    Args:
        cmd: What was asked for.
        number: The errno.
        array: The keys are indices.
    """
    name = cmd.c_name
    if number == errno.ENOENT:
        return KeyNotFoundError(name, number, "no such key")
    if number == errno.EEXIST:
        return KeyExistsError(name, number, "key exists already")
    if number == errno.E2BIG and array:
        return KeyOutOfRangeError(name, number, "index not below max_entries")
    if number in (errno.E2BIG, errno.ENOSPC):
        return MapFullError(name, number, "map is full")
    if number == errno.EPERM:
        return PrivilegeError(name, number, told(lambda: _explain(cmd)))
    return SyscallError(name, number)


def _explain(cmd: Cmd) -> str:
    from pyebpf.sys import privileges

    return privileges.explain(cmd)


# The slow way in, for buffers of another item type than bytes; says what is wrong with a size.
def _copy(what: str, target: memoryview, source: Buffer) -> None:
    data = memoryview(source).tobytes()
    if len(data) != len(target):
        raise ValueError(f"{what} takes {len(target)} bytes, not {len(data)}")
    target[:] = data
