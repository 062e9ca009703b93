"""Many elements at once: in few system calls where kernel and kind have batches, one by one else.

What comes out is the same either way; each element is read in one step, the whole is no snapshot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping

from pyebpf.errors import ENOTSUPP, EbpfError, NotSupportedError, SyscallError
from pyebpf.maps import iterate
from pyebpf.maps.base import MapBase
from pyebpf.maps.batch import Batch, NoBatchError
from pyebpf.maps.bulk_choice import (
    NOT_NOW,
    Choice,
    Entries,
    EntriesChoice,
    EntriesProgram,
    Few,
    KeysProgram,
)
from pyebpf.maps.kinds import (
    ARRAYS,
    BULK,
    HASHES,
    KEYLESS,
    LRU,
    OF_MAPS,
    SPARSE,
    SPARSE_WITH_COOKIES,
)
from pyebpf.maps.types import value_bytes
from pyebpf.spec import MapSpec
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload
from pyebpf.uapi.bpf import Cmd, MapFlag, MapType, UpdateFlag

if TYPE_CHECKING:
    from pyebpf.maps.user_codec import CodecLike

__all__ = ["ManyElements"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_COOKIE_SIZE = 8

# Entries that are decoded at once.
_DECODED = 2048

# Bytes of kernel memory that copies of a map may take, as long as the `Map` is open.
_MOST_COPIED = 32 << 20


class ManyElements(MapBase[K, V], Generic[K, V]):
    """What is done with many elements of a map."""

    def __init__(
        self, fd: FD, spec: MapSpec, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> None:
        super().__init__(fd, spec, key=key, value=value)
        self._many: Choice[KeysProgram] = Choice()
        self._few: dict[int, Few] = {}  # by number of keys, while there is a program
        self._all = EntriesChoice()

    # Calls that this kernel has not for this kind of map, found out by trying.
    _without: frozenset[Cmd] = frozenset()

    @overload
    @abstractmethod
    def get(self, key: K) -> V | None: ...

    @overload
    @abstractmethod
    def get(self, key: K, default: D) -> V | D: ...

    @abstractmethod
    def get(self, key: K, default: object = None) -> object:
        """Return the value at *key*, or *default* if there is none."""

    @abstractmethod
    def update(self, key: K, value: V, *, flags: int = 0) -> None:
        """Set the value at *key*."""

    def get_many(
        self, keys: Iterable[K], default: D | None = None, *, in_kernel: bool | None = None
    ) -> list[V | D | None]:
        """Return the values at several keys, in their order, *default* for those not there.

        Args:
            keys: As the key codec takes them.
            default: For missing ones.
            in_kernel: Let a program in the kernel look them up, at a tenth of the cost, which takes
                some milliseconds to make; by default once that pays. ``False``: never. In LRU maps
                only if asked for: that makes entries young, as all that programs look up.

        Raises:
            SyscallError: As `lookup`, but for missing keys.
            NotSupportedError: *in_kernel* is wanted and not to be had.
        """
        if in_kernel is not False:
            try:
                program, fill, run, values, state = self._few[len(keys)]  # type: ignore[arg-type]
                token = program.free.pop()
                try:
                    fill(*keys)
                    if not run():
                        found = values()
                        if not state[0] or program.complete(found, default):
                            return found
                finally:
                    program.free.append(token)
                    if program.closed:
                        program.let_go()
            except NOT_NOW:  # an iterator has no len()
                pass
        return self._get_any(list(keys), default, in_kernel)

    def _get_any(self, keys: list[K], default: object, in_kernel: bool | None) -> list[Any]:
        program = self._choose_many(len(keys), in_kernel)
        found = program.get(keys, default) if program is not None else None
        # What is wrong with a key, encoding it alone says best.
        return [self.get(key, default) for key in keys] if found is None else found

    def lookup_batch(self, *, size: int = 0) -> list[tuple[K, V]]:
        """Return all entries.

        Args:
            size: Entries in one system call, as many as seem right by default.

        Raises:
            ValueError: *size* is negative.
            IterationAborted: The map changes faster than it can be walked.
            SyscallError: Anything the kernel says.

        Since Linux 5.6; one by one before.
        """
        _check_size(size)
        return [self._decoded(key, value) for key, value in self._raw_items(size)]

    def lookup_and_delete_batch(self, *, size: int = 0) -> list[tuple[K, V]]:
        """Remove all entries, and return them.

        Each entry that is removed is returned: should a later step fail, what was removed before
        is returned and the rest is still there.

        Args:
            size: Entries in one system call, as many as seem right by default.

        Raises:
            ValueError: *size* is negative.
            SyscallError: Nothing was removed; for kinds whose elements cannot be.

        Since Linux 5.6; one by one before.
        """
        _check_size(size)
        taken: list[tuple[bytes, bytes]] = []
        with self._doing("lookup and delete in"):
            try:
                for key, value in self._taken(size):
                    taken.append((key, value))
            except EbpfError:
                if not taken:
                    raise
        return [self._decoded(key, value) for key, value in taken]

    def update_batch(
        self, entries: Mapping[K, V] | Iterable[tuple[K, V]], *, flags: int = 0
    ) -> None:
        """Set many entries.

        Everything is encoded first, so a value that does not fit changes nothing.

        Args:
            entries: A mapping, or pairs of key and value.
            flags: ``BPF_F_LOCK``; with others entries are set one by one.

        Raises:
            MapFullError: And other errors of `update`; ``completed`` says how many of the entries
                were set before.

        Since Linux 5.6; one by one before.
        """
        pairs = entries.items() if isinstance(entries, Mapping) else entries
        encode_key, encode_value = self.key_codec.encode, self.value_codec.encode
        with self._encoding("update"):
            encoded = [(encode_key(key), encode_value(value)) for key, value in pairs]
        keys, values = [key for key, _ in encoded], [value for _, value in encoded]
        with self._doing("update"):
            if not flags & ~UpdateFlag.LOCK and self._has(Cmd.MAP_UPDATE_BATCH):
                try:
                    self._batch().update(keys, values, flags)
                except NoBatchError:
                    self._lacks(Cmd.MAP_UPDATE_BATCH)
                else:
                    return
            for done, (key, value) in enumerate(encoded):
                try:
                    self._elements.update(key, value, flags)
                except EbpfError as error:
                    error.completed = done
                    raise

    def delete_batch(self, keys: Iterable[K]) -> int:
        """Remove many keys; those that are not there are passed over.

        Returns:
            How many there were.

        Raises:
            SyscallError: ``completed`` says how many of the keys were dealt with before.

        Since Linux 5.6; one by one before.
        """
        with self._encoding("delete from"):
            encoded = [self.key_codec.encode(key) for key in keys]
        with self._doing("delete from"):
            return self._delete_raw(encoded)

    def to_dict(self, *, in_kernel: bool | None = None) -> dict[K, V]:
        """Return all entries as a dict, in few system calls; keys must be hashable.

        Args:
            in_kernel: Let a program in the kernel copy them; by default where that has proven to be
                quicker. ``False``: never.

        Raises:
            IterationAborted: The map changes faster than it can be walked.
            NotSupportedError: *in_kernel* is wanted and not to be had.
        """
        from pyebpf.maps.native import column

        keys, values, number = self._entries(in_kernel)
        found: dict[K, V] = {}
        # Some at a time, so that what is made on the way stays in the CPU's caches.
        with memoryview(keys) as all_keys, memoryview(values) as all_values:
            for start in range(0, number, _DECODED):
                count = min(_DECODED, number - start)
                some = (
                    column(self.key_codec, all_keys[start * self.key_codec.size :], count),
                    column(self.value_codec, all_values[start * self.value_codec.size :], count),
                )
                found.update(zip(*some, strict=True))
        return found

    def to_numpy(self, *, in_kernel: bool | None = None) -> tuple[Any, Any]:
        """Return all entries as two arrays, of keys and of values.

        Their dtypes are those of the types: numbers, structured ones for structs, ``S`` for text;
        bytes without a type are ``V``. Values of per-CPU kinds have a column for each possible CPU.
        Bit-fields have no dtype and are left out.

        Args:
            in_kernel: As for `to_dict`.

        Raises:
            ImportError: There is no numpy.
            TypeError: A codec of the user's own, of which no dtype is known.
            IterationAborted: The map changes faster than it can be walked.
            NotSupportedError: *in_kernel* is wanted and not to be had.
        """
        from pyebpf.maps import dtypes

        keys, values, _ = self._entries(in_kernel)
        return (
            dtypes.array(self.key_codec, keys, self.btf),
            dtypes.array(self.value_codec, values, self.btf),
        )

    def close(self) -> None:
        """Close the descriptor; closing twice is fine.

        The kernel keeps the map as long as a pin, a program or another descriptor holds it.
        """
        try:
            super().close()
        finally:
            self._many.close()
            self._all.close()

    # --- bytes

    def _delete_raw(self, keys: list[bytes]) -> int:
        if self._has(Cmd.MAP_DELETE_BATCH):
            try:
                return self._batch().delete(keys)
            except NoBatchError:
                self._lacks(Cmd.MAP_DELETE_BATCH)
        removed = 0
        for done, key in enumerate(keys):
            try:
                removed += self._elements.delete(key)
            except EbpfError as error:
                error.completed = done
                raise
        return removed

    def _decoded(self, key: bytes, value: bytes) -> tuple[K, V]:
        return cast("K", self.key_codec.decode(key)), cast("V", self.value_codec.decode(value))

    # Not maps of descriptors, whose values are something else to programs.
    def _choose_many(self, number: int, wanted: bool | None) -> KeysProgram | None:
        if wanted is False:
            return None
        may = self.type in BULK or (wanted and self.type in LRU)
        if not may:
            if wanted:
                raise NotSupportedError("in-kernel bulk access", None, str(self.type))
            return None
        bulk = self._many.bulk(self._make_many, number, wanted=wanted)
        if bulk is None:
            self._many.spend(number)
        return bulk

    def _make_many(self) -> KeysProgram:
        from pyebpf.maps.bulk import ManyKeys

        with self._fd.dup() as fd:
            made = ManyKeys.of(_readable(fd), self.type, self.key_codec, self.value_codec)
        if self.type not in LRU:  # which nobody takes there without being asked
            self._few = made.few
        return made

    def _make_all(self) -> EntriesProgram:
        from pyebpf.maps.bulk import AllEntries

        with self._fd.dup() as fd:
            return AllEntries.of(
                _readable(fd),
                self.type,
                key_size=self.key_size,
                value_size=self.value_size,
                capacity=self.max_entries,
            )

    def _entries(self, wanted: bool | None) -> Entries:
        if not wanted and self.type == MapType.ARRAY and self.flags & MapFlag.MMAPABLE:
            from pyebpf.maps.mapped import mapped_entries

            # What cannot be mapped says why the plain way.
            with contextlib.suppress(EbpfError), self.memory(writable=False) as memory:
                return mapped_entries(memory, self.value_size, self.max_entries)
        size = self.max_entries * (self.key_size + value_bytes(self.spec))
        copied = self.type in BULK or self.type == MapType.LRU_HASH  # whose walks change nothing
        copied = copied and size <= _MOST_COPIED
        if wanted and not copied:
            raise NotSupportedError("in-kernel bulk access", None, f"{self.type}, {size} bytes")
        if wanted is False or not copied:
            return self._plain_entries()
        return self._all.entries(self._make_all, self._plain_entries, wanted=wanted)

    def _plain_entries(self) -> Entries:
        if self._never_restarts and self._has(Cmd.MAP_LOOKUP_BATCH):
            with self._doing("lookup in"):
                try:
                    return Entries(*self._batch().whole())
                except NoBatchError:
                    self._lacks(Cmd.MAP_LOOKUP_BATCH)
        keys, values = bytearray(), bytearray()
        for some_keys, some_values in self._distinct_chunks():
            keys += some_keys
            values += some_values
        return Entries(keys, values, len(keys) // self.key_size)

    # Keys and values of each entry, once.
    def _raw_items(self, size: int = 0) -> Iterator[tuple[bytes, bytes]]:
        key_size, value_size = self.key_size, value_bytes(self.spec)
        seen: set[bytes] | None = None if self._never_restarts else set()
        for keys, values, count in self._chunks(size):
            for index in range(count):
                key = bytes(keys[index * key_size : (index + 1) * key_size])
                if seen is not None:
                    if key in seen:
                        continue
                    seen.add(key)
                yield key, bytes(values[index * value_size : (index + 1) * value_size])

    # Whether slots may be empty, and a lookup tells.
    @property
    def _is_sparse(self) -> bool:
        cookies = self.type in SPARSE_WITH_COOKIES and self.value_size == _COOKIE_SIZE
        return self.type in SPARSE or cookies

    # Hashes go on from a bucket, arrays from an index, wherever entries come and go.
    @property
    def _never_restarts(self) -> bool:
        return self.type in HASHES or self.type in ARRAYS

    def _distinct_chunks(self) -> Iterator[tuple[bytes | bytearray, bytes | bytearray]]:
        if self._never_restarts:
            for keys, values, _ in self._chunks():
                yield keys, values
        else:
            yield from self._raw_items()

    def _chunks(self, size: int = 0) -> Iterator[tuple[bytes | bytearray, bytes | bytearray, int]]:
        if self._has(Cmd.MAP_LOOKUP_BATCH):
            with self._doing("lookup in"):
                try:
                    for keys, values, count in self._batch().chunks(size):
                        end = count * self.key_size, count * value_bytes(self.spec)
                        yield keys[: end[0]], values[: end[1]], count
                except NoBatchError:
                    self._lacks(Cmd.MAP_LOOKUP_BATCH)
                else:
                    return
        for key in self._raw_keys():
            with self._doing("lookup in"):
                value = self._elements.lookup(key, 0)
            if value is not None:
                yield key, value, 1

    def _taken(self, size: int) -> Iterator[tuple[bytes, bytes]]:
        key_size, value_size = self.key_size, value_bytes(self.spec)
        if self._has(Cmd.MAP_LOOKUP_AND_DELETE_BATCH):
            try:
                for keys, values, count in self._batch().chunks(size, delete=True):
                    for index in range(count):
                        key = bytes(keys[index * key_size : (index + 1) * key_size])
                        yield key, bytes(values[index * value_size : (index + 1) * value_size])
            except NoBatchError:
                self._lacks(Cmd.MAP_LOOKUP_AND_DELETE_BATCH)
            else:
                return
        for key in list(self._raw_keys()):
            value = self._take(key)
            if value is not None:
                yield key, value

    def _take(self, key: bytes) -> bytes | None:
        try:
            return self._elements.lookup_and_delete(key)
        except SyscallError as error:
            if self.type in HASHES - OF_MAPS and error.errno == ENOTSUPP:
                raise NotSupportedError("lookup and delete in hashes", "5.14") from None
            raise

    def _raw_keys(self) -> Iterator[bytes]:
        if self.type in KEYLESS or not self.key_size:
            raise TypeError(f'map "{self.name}" has no keys ({self.type})')
        if self.type in ARRAYS and self.key_size == 4:
            return iterate.array_keys(self.max_entries)
        return iterate.keys(self._elements, self.max_entries, self.name)

    def _batch(self) -> Batch:
        return Batch(
            self.fileno,
            key_size=self.key_size,
            value_size=value_bytes(self.spec),
            max_entries=self.max_entries,
            array=self.type in ARRAYS,
        )

    # Kinds without keys have no batches, and empty slots of some arrays stop the kernel's walk.
    def _has(self, cmd: Cmd) -> bool:
        return bool(self.key_size) and not self._is_sparse and cmd not in self._without

    def _lacks(self, cmd: Cmd) -> None:
        self._without |= {cmd}


# A program would read it all the same.
def _readable(fd: FD) -> int:
    if fcntl.fcntl(fd.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise NotSupportedError("reading", None, "the map was opened for writing alone")
    return fd.fileno()


def _check_size(size: int) -> None:
    if size < 0:
        raise ValueError(f"size= is negative: {size}")
