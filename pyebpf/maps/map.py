"""A map in the kernel, as a typed mapping: `Map`.

    m[key] = value ──key codec, value codec──▶ bytes ──Elements──▶ kernel

    create, from_spec                ──▶ BPF_MAP_CREATE ─┐
    from_fd, from_id, from_pin       ──▶ an existing one ┼─▶ FD + MapSpec + codecs
    clone, raw, with_types, new_like ──▶ of another Map ─┘

Owns one descriptor. Keys and values are bytes unless their types are known: from the object's BTF,
from the BTF the kernel keeps with the map, or from codecs the user gives.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator

from pyebpf import btf_object
from pyebpf.btf.btf import Btf
from pyebpf.errors import (
    BtfError,
    EbpfError,
    KeyNotFoundError,
    SyscallError,
    naming,
)
from pyebpf.maps.base import MISUSES
from pyebpf.maps.codec import BytesCodec, Codec, PerCpuCodec
from pyebpf.maps.create import completed, create, with_defaults
from pyebpf.maps.kinds import ARRAYS, LOCAL_STORAGE, OF_MAPS
from pyebpf.maps.many import ManyElements
from pyebpf.maps.per_cpu import PerCpuOperations
from pyebpf.maps.queue import QueueOperations
from pyebpf.maps.subscript import Subscript
from pyebpf.spec import Descriptor, MapSpec
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING, Any, Generic, TypeVar, cast
from pyebpf.uapi.bpf import Cmd, MapType, OpenFlag

if TYPE_CHECKING:
    from pyebpf.abi import MapAbi
    from pyebpf.btf.records import RecordCodec
    from pyebpf.maps.user_codec import CodecLike

__all__ = ["Map", "loaded_maps"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Map(
    Subscript[K, V],
    ManyElements[K, V],
    PerCpuOperations[K, V],
    QueueOperations[K, V],
    Generic[K, V],
):
    """A map in the kernel.

    May be shared between threads. Use it with ``with``, or call `close`.

    Args:
        fd: Its descriptor; this object owns it from now on.
        spec: What it is: kind, sizes, and types if they are known.
        key: Codec of keys; by default from the spec's BTF, else bytes.
        value: Codec of values (of one CPU's, for per-CPU kinds) likewise.

    Since Linux 3.19.
    """

    # --- a new map

    @classmethod
    def create(
        cls,
        *,
        type: MapType,  # noqa: A002 - the kernel's word
        key_size: int = 0,
        value_size: int = 0,
        max_entries: int = 0,
        flags: int = 0,
        name: str = "",
        map_extra: int = 0,
        numa_node: int | None = None,
        inner: MapSpec | Map[Any, Any] | None = None,
        btf: Btf | None = None,
        token: Descriptor | None = None,
        key: CodecLike | None = None,
        value: CodecLike | None = None,
    ) -> Map[Any, Any]:
        """Make a new map.

        What the kind decides may be left out: sizes of keys and values that have only one (arrays,
        maps of descriptors, local storage), flags it cannot do without, the number of CPUs.

        Args:
            type: ``enum bpf_map_type``.
            key_size: Bytes of a key; by default the codec's.
            value_size: Bytes of a value, of one CPU's for per-CPU kinds; by default the codec's.
            max_entries: Capacity; bytes of a ring buffer, pages of an arena.
            flags: ``BPF_F_*``.
            name: For people; the kernel keeps 15 bytes of it.
            map_extra: Kind-specific (Linux 5.16): hash functions of a bloom filter, address of an
                arena.
            numa_node: Node to allocate on.
            inner: What a map of maps will hold: a spec, or a map to take as the model.
            btf: Types that *key* and *value* may name; loaded into the kernel with the map. Kinds
                that the kernel makes only with types get plain ones by default.
            token: A BPF token that allows it (Linux 6.9).
            key: Codec of keys; bytes by default: see `pyebpf.maps.user_codec`.
            value: Codec of values; bytes by default.

        Raises:
            NotSupportedError: This kernel has no such map type.
            PrivilegeError: A capability, sysctl or limit stands in the way.
            ValueError: A codec's size is not the one given; *inner* for a kind that holds no maps.
            SyscallError: Anything else.
        """
        spec = MapSpec(
            name=name,
            type=MapType(type),
            key_size=key_size,
            value_size=value_size,
            max_entries=max_entries,
            flags=flags,
            map_extra=map_extra,
            numa_node=numa_node,
            btf=btf,
        )
        from pyebpf.maps.user_codec import as_codec, type_named

        if isinstance(key, str):
            spec.key_type_id = type_named(btf, key)
        if isinstance(value, str):
            spec.value_type_id = type_named(btf, value)
        if key is not None:
            spec.key_size = as_codec(key, key_size, btf=btf, what="key").size
        if value is not None:
            spec.value_size = as_codec(value, value_size, btf=btf, what="value").size
        with_defaults(spec)
        if inner is not None and spec.type not in OF_MAPS:
            raise ValueError(f'map "{name}" ({spec.type}) holds no maps')
        spec.inner = inner.spec if isinstance(inner, Map) else inner
        model = inner if isinstance(inner, Map) else None
        return cls.from_spec(spec, model=model, token=token, typed=True, key=key, value=value)

    @classmethod
    def from_spec(
        cls,
        spec: MapSpec,
        *,
        btf_fd: int | None = None,
        typed: bool = False,
        model: Descriptor | None = None,
        token: Descriptor | None = None,
        key: CodecLike | None = None,
        value: CodecLike | None = None,
    ) -> Map[Any, Any]:
        """Make a new map from a spec; its contents and pinning are the loader's business.

        Args:
            spec: Left unchanged.
            btf_fd: The spec's BTF, loaded into the kernel; ``None`` creates the map without types,
                if its kind allows that.
            typed: Load the spec's BTF for it.
            model: A map like those that a map of maps will hold; by default one is made from
                ``spec.inner``.
            token: A BPF token that allows it (Linux 6.9).
            key: Codec of keys; from the spec's BTF by default.
            value: Codec of values likewise.

        Raises:
            SyscallError: As `create`.
        """
        spec = completed(spec)
        asked = spec.copy()
        needed = typed or spec.type in LOCAL_STORAGE
        loaded = _load_types(asked) if btf_fd is None and needed else None
        made: FD | None = None
        try:
            if loaded is not None:
                btf_fd = loaded.fileno()
            inner_fd = model.fileno() if model is not None else None
            if inner_fd is None and spec.inner is not None:
                made = create(completed(spec.inner), btf_fd=btf_fd)
                inner_fd = made.fileno()
            token_fd = token.fileno() if token is not None else None
            fd = create(asked, btf_fd=btf_fd, inner_fd=inner_fd, token_fd=token_fd)
        finally:
            for each in (loaded, made):
                if each is not None:
                    each.close()
        return cls._owning(fd, spec, key, value)

    # --- an existing one

    @classmethod
    def from_fd(
        cls, fd: int, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> Map[Any, Any]:
        """Open the map behind a descriptor; the caller keeps *fd*.

        Raises:
            ValueError: *fd* is not a map's, or a codec's size is not its.
            SyscallError: No such descriptor.

        Since Linux 4.13.
        """
        return cls._opened(cls._fd_of(fd), key, value)

    @classmethod
    def from_id(
        cls, map_id: int, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> Map[Any, Any]:
        """Open a map by the kernel's id.

        Raises:
            SyscallError: ``ENOENT`` if there is none.
            PrivilegeError: Without ``CAP_SYS_ADMIN``.

        Since Linux 4.13.
        """
        return cls._opened(bpf.map_get_fd_by_id(map_id), key, value)

    @classmethod
    def from_pin(
        cls,
        path: str | os.PathLike[str],
        *,
        expect: MapSpec | MapAbi | None = None,
        read_only: bool = False,
        key: CodecLike | None = None,
        value: CodecLike | None = None,
    ) -> Map[Any, Any]:
        """Open the map pinned at *path*.

        Args:
            path: The pin.
            expect: What it must be. A spec gives it its name and types, too.
            read_only: Open it for reading only.
            key: Codec of keys; by its types by default.
            value: Codec of values likewise.

        Raises:
            SyscallError: ``ENOENT``, ``EACCES``, …
            ValueError: Something else is pinned there.
            MapIncompatibleError: It is not as expected.

        Since Linux 4.4 (``read_only``: 4.15).
        """
        fd = cls._fd_at(path, OpenFlag.RDONLY if read_only else 0)
        with naming(f'map pinned at "{os.fspath(path)}"'):
            return cls._opened(fd, key, value, expect)

    @classmethod
    def _opened(
        cls,
        fd: FD,
        key: CodecLike | None,
        value: CodecLike | None,
        expect: MapSpec | MapAbi | None = None,
    ) -> Map[Any, Any]:
        from pyebpf.maps.info import spec_of

        try:
            spec = spec_of(fd.fileno())
            if isinstance(expect, MapSpec):
                expect = completed(expect)
            if expect is not None:
                from pyebpf.abi import check_map

                check_map(expect, spec)
            if isinstance(expect, MapSpec):
                spec, expect.flags = expect, spec.flags
        except BaseException:
            fd.close()
            raise
        return cls._owning(fd, spec, key, value)

    # __init__ may refuse a codec whose size does not fit; the descriptor must not outlive that.
    @classmethod
    def _owning(
        cls, fd: FD, spec: MapSpec, key: CodecLike | None, value: CodecLike | None
    ) -> Map[Any, Any]:
        try:
            return cast("Map[Any, Any]", cls(fd, spec, key=key, value=value))
        except BaseException:
            fd.close()
            raise

    # --- from another Map

    def clone(self) -> Map[K, V]:
        """Return another owner of the same map, with a descriptor of its own."""
        return self._owning(self._fd.dup(), self.spec, self.key_codec, self.one_value_codec)

    def with_types(
        self, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> Map[Any, Any]:
        """Return another owner of the same map that sees keys and values as other types.

        Args:
            key: Codec of keys; ``None`` keeps the present one. See `pyebpf.maps.user_codec`.
            value: Codec of values (of one CPU's) likewise.

        Raises:
            ValueError: A codec's size is not the map's.
            BtfError: No such type.
        """
        chosen_key = self.key_codec if key is None else key
        chosen_value = self.one_value_codec if value is None else value
        return self._owning(self._fd.dup(), self.spec, chosen_key, chosen_value)

    def with_addresses(self, *fields: str) -> Map[Any, Any]:
        """Return another owner of the same map, with IP addresses in some fields of its records.

        Args:
            fields: Names of fields of 4 or 16 bytes, of the key's struct, the value's, or both;
                they become `ipaddress` objects.

        Raises:
            BtfError: Neither has such a field, or it has another size.
        """
        codecs = [self._with_addresses(type_id, fields) for type_id in self._type_ids]
        known = {name for each in codecs if each is not None for name in each.record._fields}
        if not known.issuperset(fields):
            raise BtfError(f'map "{self.name}" has no field {min({*fields} - known)!r}')
        return self.with_types(key=codecs[0], value=codecs[1])

    def _with_addresses(self, type_id: int, fields: tuple[str, ...]) -> RecordCodec | None:
        if self.btf is None or not type_id:
            return None
        from pyebpf.btf.addresses import with_addresses
        from pyebpf.btf.records import RecordCodec
        from pyebpf.btf.values import codec

        if not isinstance(codec(self.btf, type_id), RecordCodec):
            return None
        return with_addresses(self.btf, type_id, fields)

    # Of keys and of one CPU's values: what they are seen as, so those given by name, too.
    @property
    def _type_ids(self) -> list[int]:
        from pyebpf.btf.codec import Codec

        seen = (self.key_codec, self.one_value_codec)
        return [each.type_id if isinstance(each, Codec) else 0 for each in seen]

    def new_like(self) -> Map[K, V]:
        """Make a fresh, empty map from the same definition, with the same types."""
        known = self.spec.btf is not None and bool(self.spec.value_type_id)
        return self.from_spec(
            self.spec, typed=known, key=self.key_codec, value=self.one_value_codec
        )

    @property
    def raw(self) -> Map[bytes, bytes]:
        """Another owner of the same map that takes and gives bytes; close it like any other."""
        fd = self._fd.dup()
        key, value = BytesCodec(self.key_size, "key"), BytesCodec(self.value_size)
        return self._owning(fd, self.spec, key, value)

    @property
    def one_value_codec(self) -> Codec:
        """The codec of values; of one CPU's for per-CPU kinds."""
        codec = self.value_codec
        return codec.inner if isinstance(codec, PerCpuCodec) else codec

    # --- elements

    def lookup(self, key: K, *, flags: int = 0) -> V:
        """Return the value at *key*.

        Args:
            key: As the key codec takes it.
            flags: ``BPF_F_LOCK`` takes the value's spin lock (Linux 5.1).

        Returns:
            The value; a list with one per possible CPU for per-CPU kinds; the id of what a
            map-in-map or prog array holds.

        Raises:
            KeyNotFoundError: No such key (a ``KeyError``).
            SyscallError: Anything else.
        """
        try:
            data = self._elements.lookup(self.key_codec.encode(key), flags)
        except (EbpfError, *MISUSES) as error:
            self._name("lookup in", error)
            raise
        if data is None:
            raise self._missing(Cmd.MAP_LOOKUP_ELEM, key)
        return cast("V", self.value_codec.decode(data))

    def update(self, key: K, value: V, *, flags: int = 0) -> None:
        """Set the value at *key*.

        Args:
            key: As the key codec takes it.
            value: As the value codec takes it; a list with one per possible CPU for per-CPU kinds;
                a map, program or descriptor for maps that hold those.
            flags: ``BPF_NOEXIST``, ``BPF_EXIST``, ``BPF_F_LOCK``.

        Raises:
            MapFullError: A hash or LPM trie holds ``max_entries`` already.
            KeyOutOfRangeError: An array index is not below ``max_entries``.
            KeyExistsError: The key exists and ``BPF_NOEXIST`` was given.
            KeyNotFoundError: It does not and ``BPF_EXIST`` was given.
            SyscallError: Anything else; ``EPERM`` for a frozen map.
        """
        try:
            self._elements.update(self.key_codec.encode(key), self.value_codec.encode(value), flags)
        except (EbpfError, *MISUSES) as error:
            self._name("update", error)
            raise

    def delete(self, key: K) -> None:
        """Remove *key*.

        Raises:
            KeyNotFoundError: No such key.
            SyscallError: ``EINVAL`` for arrays, whose elements always exist.
        """
        try:
            encoded = self.key_codec.encode(key)
        except MISUSES as error:
            self._name("delete from", error)
            raise
        if not self._remove(encoded):
            raise self._missing(Cmd.MAP_DELETE_ELEM, key)

    def lookup_and_delete(self, key: K) -> V:
        """Remove *key* and return its value, in one step.

        Raises:
            KeyNotFoundError: No such key.
            NotSupportedError: A hash, in a kernel that has it for queues and stacks only.
            SyscallError: ``ENOTSUPP`` where the kind has no such operation.

        Since Linux 5.14 (hashes).
        """
        with self._doing("lookup and delete in"):
            data = self._take(self.key_codec.encode(key))
        if data is None:
            raise self._missing(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, key)
        return cast("V", self.value_codec.decode(data))

    def next_key(self, key: K | None = None) -> K | None:
        """Return the key after *key*, the first one for ``None``, or ``None`` at the end.

        A key that is gone restarts hashes at the beginning; iterating over the map is safe.
        """
        encoded = None if key is None else self.key_codec.encode(key)
        with self._doing("next key of"):
            following = self._elements.next_key(encoded)
        return None if following is None else cast("K", self.key_codec.decode(following))

    def keys(self) -> Iterator[K]:
        """Iterate over the keys; over the full slots of arrays of maps, programs, devices and CPUs.

        Keys inserted or deleted meanwhile may be missed or met; none that stays is missed.

        Raises:
            IterationAborted: The map changes faster than it can be walked.
        """
        for key in self._present_keys():
            yield cast("K", self.key_codec.decode(key))

    def items(self) -> Iterator[tuple[K, V]]:
        """Iterate over keys and values, in few system calls where kernel and kind allow that.

        Each entry is as it was when the walk came by: one that is changed or deleted meanwhile may
        be met as it was. None is met twice, and none that stays is missed.

        Raises:
            IterationAborted: The map changes faster than it can be walked.
        """
        for key, value in self._raw_items():
            yield self._decoded(key, value)

    def values(self) -> Iterator[V]:
        """Iterate over the values; entries deleted meanwhile are left out."""
        for _, value in self.items():  # noqa: PERF102 - this is what values() is made of
            yield value

    def clear(self) -> None:
        """Remove every entry that is there when the walk starts.

        Raises:
            SyscallError: ``EINVAL`` for arrays, whose elements always exist.
        """
        with self._doing("delete from"):
            self._delete_raw(list(self._raw_keys()))

    def _remove(self, key: bytes) -> bool:
        try:
            return self._elements.delete(key)
        except EbpfError as error:
            self._name("delete from", error)
            raise

    # Those of slots that hold something, where that can be told.
    def _present_keys(self) -> Iterable[bytes]:
        keys = self._raw_keys()
        if self._is_sparse:
            return (key for key in keys if self._find(key) is not None)
        return keys

    def _missing(self, cmd: Cmd, key: object) -> KeyNotFoundError:
        return KeyNotFoundError(str(cmd), errno.ENOENT, f'no key {key!r} in map "{self.name}"')

    def __contains__(self, key: object) -> bool:
        """Whether there is such a key; of a bloom filter, whether it may hold that value."""
        if not self.spec.key_size:
            return self._may_hold(key)
        return self._find(self.key_codec.encode(key)) is not None

    def __iter__(self) -> Iterator[K]:
        return self.keys()

    def __len__(self) -> int:
        """Count the entries, by walking over them; those of an array are all its slots."""
        if self.type in ARRAYS and not self._is_sparse:
            return self.max_entries
        return sum(1 for _ in self._present_keys())

    def __bool__(self) -> bool:
        # A map is an object, not a collection to be tested for emptiness by a walk over it.
        return True


def loaded_maps() -> Iterator[Map[Any, Any]]:
    """Open every map the kernel holds, one after another; the caller closes each.

    Maps that vanish meanwhile are left out.

    Raises:
        PrivilegeError: Without ``CAP_SYS_ADMIN``.

    Since Linux 4.13.
    """
    last = 0
    while (map_id := bpf.map_get_next_id(last)) is not None:
        last = map_id
        try:
            opened = Map.from_id(map_id)
        except SyscallError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        yield opened


# The spec's BTF in the kernel, plain types where the kind cannot do without any, or nothing.
def _load_types(spec: MapSpec) -> FD | None:
    if spec.type in LOCAL_STORAGE and not (spec.btf and spec.value_type_id and spec.key_type_id):
        from pyebpf.maps.own_types import plain_types

        btf, spec.key_type_id, spec.value_type_id = plain_types(spec.value_size)
        return btf_object.load(btf)
    if spec.btf is None or not spec.value_type_id:
        return None
    return btf_object.load(spec.btf)
