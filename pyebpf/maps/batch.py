"""Many elements in one system call: BPF_MAP_*_BATCH, with all its traps; bytes in, bytes out.

    in_batch ──▶ | count entries: keys ..., values ... | ──▶ out_batch: the next call's in_batch

*Traps.* The end of a map is ``ENOENT``, and the entries of that call count. ``ENOSPC`` is a bucket
of a hash with more entries than were asked for: ask for more, from the same place. ``EINTR`` and
``EAGAIN`` are entries that vanished too often under the kernel's own walk: ask again. A place is a
number of a bucket for hashes and a key for other kinds, so it takes the larger of 4 bytes and a
key; a kind that goes on from a key starts again from the beginning when that is gone, so there is a
bound. An update or delete that fails says how many went before; a delete of a missing key fails.

Kinds and kernels without such calls say 524, ``EINVAL`` or that there is no such command; `Batch`
says so by `NoBatchError`, and its caller takes the elements one by one.

Since Linux 5.6.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence

from pyebpf.errors import (
    ENOTSUPP,
    IterationAborted,
    KeyExistsError,
    KeyNotFoundError,
    KeyOutOfRangeError,
    MapFullError,
    NotSupportedError,
    PrivilegeError,
    SyscallError,
)
from pyebpf.sys import bpf
from pyebpf.typed import NamedTuple
from pyebpf.uapi.attrs import MapBatch
from pyebpf.uapi.bpf import Cmd

__all__ = ["Batch", "Chunk", "NoBatchError"]

# Bytes of keys and values in one call, and entries: from 256 on the number hardly matters.
_BYTES, _ENTRIES = 1 << 20, 4096
_WORD = 4
# Bytes to start with for a whole map; those that stay unused cost nothing.
_MOST = 64 << 20
# How often the kernel may lose entries before the walk is given up.
_TRIES = 64
# As for walks key by key: see `pyebpf.maps.iterate`.
_BOUND = 4


class NoBatchError(Exception):
    """This kernel or this kind of map has no such call; never leaves `pyebpf.maps`."""


class Chunk(NamedTuple):
    """Entries of one call.

    Attributes:
        keys: Of all entries, one after another.
        values: Likewise.
        entries: How many.
    """

    keys: bytearray
    values: bytearray
    entries: int


class _Walk:
    """One walk over a map: where it is, and what to do about errors.

    Args:
        fd: The map.
        place_size: Bytes of a place in it.
        delete: Remove what is met.
    """

    def __init__(self, fd: Callable[[], int], place_size: int, *, delete: bool) -> None:
        self._fd = fd
        self._call = bpf.map_lookup_and_delete_batch if delete else bpf.map_lookup_batch
        self._place_size = place_size
        self._here: bytearray | None = None
        self._tries, self._first = 0, True
        self.more = True

    def step(self, keys: bytearray | memoryview, values: bytearray | memoryview, room: int) -> int:
        """Take the next entries.

        Returns:
            How many; -1 if there is no room for all of the next bucket.

        Raises:
            NoBatchError: At the first step.
            SyscallError: Anything else.
        """
        while True:
            there = bytearray(self._place_size)
            attr = MapBatch(
                map_fd=self._fd(),
                in_batch=self._here,
                out_batch=there,
                keys=keys,
                values=values,
                count=room,
            )
            try:
                self.more = self._call(attr)
            except (NotSupportedError, SyscallError) as error:
                if self._first and _lacking(error):
                    raise NoBatchError from None
                self._tries += 1
                if isinstance(error, SyscallError) and self._tries <= _TRIES:
                    if error.errno == errno.ENOSPC:
                        return -1
                    if error.errno in (errno.EINTR, errno.EAGAIN):
                        continue
                raise
            self._first = False
            self._here = there
            return int(attr.count)


class Batch:
    """The batch calls of one map.

    Args:
        fd: The map; a function, since the map may be closed meanwhile.
        key_size: Bytes of a key.
        value_size: Bytes of a value; of all CPUs' for per-CPU kinds.
        max_entries: Its capacity, for the bound.
        array: The keys are indices.
    """

    def __init__(
        self,
        fd: Callable[[], int],
        *,
        key_size: int,
        value_size: int,
        max_entries: int,
        array: bool,
    ) -> None:
        self._fd = fd
        self._key_size, self._value_size = key_size, value_size
        self._max_entries = max_entries
        self._array = array
        self._entry_size = max(key_size + value_size, 1)
        fitting = _BYTES // self._entry_size
        self._size = max(1, min(_ENTRIES, fitting, max_entries or _ENTRIES))

    def chunks(self, size: int = 0, *, delete: bool = False) -> Iterator[Chunk]:
        """Yield the entries, some at a time.

        Args:
            size: Entries in a call, 0 for as many as seem right.
            delete: Remove them as well.

        Raises:
            NoBatchError: At the first chunk.
            IterationAborted: The map changes faster than it can be walked.
            SyscallError: Anything else.
        """
        # More than there can be would be room for nothing: memory that is not there, if too much.
        size = min(size or self._size, self._max_entries or self._size)
        walk = _Walk(self._fd, max(self._key_size, _WORD), delete=delete)
        visited = 0
        while walk.more:
            keys, values = bytearray(size * self._key_size), bytearray(size * self._value_size)
            entries = walk.step(keys, values, size)
            if entries < 0:
                size *= 2
                continue
            if entries:
                yield Chunk(keys, values, entries)
            visited += entries
            if self._max_entries and visited > _BOUND * self._max_entries:
                raise IterationAborted("it changes faster than it can be walked")

    def whole(self) -> Chunk:
        """Return the entries in one piece, which the kernel fills: nothing is copied again.

        For kinds that go on from a bucket or an index, and so end, however they change.

        Raises:
            NoBatchError: There is no such call.
            SyscallError: Anything else.
        """
        room = min(self._max_entries or self._size, max(_MOST // self._entry_size, self._size))
        keys, values = bytearray(room * self._key_size), bytearray(room * self._value_size)
        walk = _Walk(self._fd, max(self._key_size, _WORD), delete=False)
        number = entries = 0
        while walk.more:
            if entries < 0 or number == room:
                # More than the map holds have been met, as some went and others came; or there is
                # too little room for the next bucket.
                more = max(room // 4, self._size)
                keys.extend(bytes(more * self._key_size))
                values.extend(bytes(more * self._value_size))
                room += more
            with memoryview(keys) as all_keys, memoryview(values) as all_values:
                entries = walk.step(
                    all_keys[number * self._key_size :],
                    all_values[number * self._value_size :],
                    room - number,
                )
            number += max(entries, 0)
        del keys[number * self._key_size :], values[number * self._value_size :]
        return Chunk(keys, values, number)

    def update(self, keys: Sequence[bytes], values: Sequence[bytes], flags: int) -> None:
        """Set entries.

        Args:
            keys: Of all of them.
            values: As many.
            flags: ``BPF_F_LOCK`` or nothing.

        Raises:
            NoBatchError: Before anything is changed.
            MapFullError: And other errors of a single update; ``completed`` says how many entries
                were set before.
        """
        for start in range(0, len(keys), self._size):
            some = keys[start : start + self._size]
            attr = MapBatch(
                map_fd=self._fd(),
                keys=b"".join(some),
                values=b"".join(values[start : start + self._size]),
                count=len(some),
                elem_flags=flags,
            )
            try:
                bpf.map_update_batch(attr)
            except (NotSupportedError, SyscallError) as error:
                if not start and _lacking(error):
                    raise NoBatchError from None
                raise self._typed(Cmd.MAP_UPDATE_BATCH, error, start + attr.count) from None

    def delete(self, keys: Sequence[bytes]) -> int:
        """Remove entries; missing ones are passed over.

        Returns:
            How many there were.

        Raises:
            NoBatchError: Before anything is changed.
            SyscallError: ``completed`` says how many of the keys were dealt with before.
        """
        start = removed = 0
        while start < len(keys):
            some = keys[start : start + self._size]
            attr = MapBatch(map_fd=self._fd(), keys=b"".join(some), count=len(some))
            try:
                bpf.map_delete_batch(attr)
            except (NotSupportedError, SyscallError) as error:
                if not start and _lacking(error):
                    raise NoBatchError from None
                removed += attr.count
                start += attr.count
                if getattr(error, "errno", 0) != errno.ENOENT:
                    raise self._typed(Cmd.MAP_DELETE_BATCH, error, start) from None
                start += 1  # the one that is not there
                continue
            removed += len(some)
            start += len(some)
        return removed

    def _typed(
        self, cmd: Cmd, error: SyscallError | NotSupportedError, completed: int
    ) -> SyscallError | NotSupportedError:
        if not isinstance(error, SyscallError) or isinstance(error, PrivilegeError):
            return error
        number, kind, detail = error.errno or 0, SyscallError, error.detail
        if number == errno.E2BIG and self._array:
            kind, detail = KeyOutOfRangeError, "index not below max_entries"
        elif number in (errno.E2BIG, errno.ENOSPC):
            kind, detail = MapFullError, "map is full"
        elif number == errno.EEXIST:
            kind, detail = KeyExistsError, "key exists already"
        elif number == errno.ENOENT:
            kind, detail = KeyNotFoundError, "no such key"
        made = kind(cmd.c_name, number, detail)
        made.completed = completed
        return made


# EINVAL comes from kinds of maps that know the call and refuse it; a real mistake comes up again
# when the elements are taken one by one.
def _lacking(error: SyscallError | NotSupportedError) -> bool:
    if isinstance(error, NotSupportedError):
        return True
    return error.errno in (ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL)
