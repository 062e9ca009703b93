"""What every map is, whatever its kind: `MapBase`, one descriptor with a spec and two codecs.

How to get one, and what is done with its elements, is in `pyebpf.maps.map`.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Callable, Iterator

from pyebpf.btf.btf import Btf
from pyebpf.errors import ENOTSUPP, EbpfError, SyscallError, naming
from pyebpf.handle import Handle
from pyebpf.maps.codec import Codec
from pyebpf.maps.kinds import ARRAYS, WAITS
from pyebpf.maps.types import key_codec, value_bytes, value_codec
from pyebpf.spec import MapSpec
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.typed import TYPE_CHECKING, Any, Generic, TypeVar, overload
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import MapFlag, MapType

if TYPE_CHECKING:
    from pyebpf.maps.info import MapDetails
    from pyebpf.maps.user_codec import CodecLike

__all__ = ["MISUSES", "MapBase"]

# What keys and values of a wrong type or size raise.
MISUSES = (TypeError, ValueError, OverflowError)

# Bytes whose copying takes so long, some microseconds, that other threads should run meanwhile.
LARGE_VALUE = 1 << 16

K = TypeVar("K")
V = TypeVar("V")


class _Late:
    """A codec that is made when it is first used, and is an attribute of the map from then on.

    To make those of all maps, data sections first of all, took a quarter of a load. Neither a
    property nor `__getattr__`: those make every access slower.
    """

    def __init__(self, make: Callable[[MapSpec], Codec]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owned: None, owner: type) -> _Late: ...

    @overload
    def __get__(self, owned: MapBase[Any, Any], owner: type) -> Codec: ...

    def __get__(self, owned: MapBase[Any, Any] | None, owner: type) -> Codec | _Late:
        if owned is None:
            return self
        found = owned.__dict__[self._name] = self._make(owned.spec)
        return found


class MapBase(Handle, Generic[K, V]):
    """A map in the kernel: see `pyebpf.maps.map.Map`.

    Args:
        fd: Its descriptor; this object owns it from now on.
        spec: What it is: kind, sizes, and types if they are known.
        key: Codec of keys; by default from the spec's BTF, else bytes.
        value: Codec of values (of one CPU's, for per-CPU kinds) likewise.
    """

    KIND = "map"

    key_codec = _Late(key_codec)
    value_codec = _Late(value_codec)

    def __init__(
        self, fd: FD, spec: MapSpec, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> None:
        super().__init__(fd)
        self.spec = spec
        if key is not None:
            self.key_codec = key_codec(spec, key)
        if value is not None:
            self.value_codec = value_codec(spec, value)
        size = value_bytes(spec)
        self._elements = kernel.current().elements(
            fd.fileno(),
            spec.key_size,
            size,
            waits=spec.type in WAITS or size > LARGE_VALUE,
            array=spec.type in ARRAYS,
        )

    # --- what it is

    @property
    def name(self) -> str:
        """Its name in the object file, or the kernel's copy, cut to 15 bytes."""
        return self.spec.name

    @property
    def type(self) -> MapType:
        """``enum bpf_map_type``."""
        return self.spec.type

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return self.spec.key_size

    @property
    def value_size(self) -> int:
        """Bytes of a value, of one CPU's for per-CPU kinds."""
        return self.spec.value_size

    @property
    def max_entries(self) -> int:
        """Capacity; bytes of a ring buffer."""
        return self.spec.max_entries

    @property
    def flags(self) -> MapFlag:
        """``BPF_F_*`` creation flags."""
        return MapFlag(self.spec.flags)

    @property
    def btf(self) -> Btf | None:
        """The BTF its types are in, or ``None``."""
        return self.spec.btf

    @property
    def value_type_id(self) -> int:
        """The value's type in `btf`, or 0."""
        return self.spec.value_type_id

    # --- the whole map

    def freeze(self) -> None:
        """Refuse changes by system calls from now on, for ever. Since Linux 5.2."""
        with naming(f'freeze map "{self.name}"'):
            bpf.map_freeze(MapElem(map_fd=self.fileno()))

    def memory(self, *, writable: bool = True) -> mmap.mmap:
        """Map the values of a ``BPF_F_MMAPABLE`` array into this process.

        Element *i* starts at ``i * round_up(value_size, 8)``. The mapping outlives the `Map`; close
        it yourself.

        Args:
            writable: A frozen map can only be mapped read-only.

        Raises:
            TypeError: A map without values, such as a ring buffer.
            SyscallError: ``EPERM`` for a frozen map, ``EINVAL`` without the flag, ``ENOTSUPP`` for
                other kinds.

        Since Linux 5.5.
        """
        length = (self.value_size + 7 & ~7) * self.max_entries
        if not length:
            hint = "; pyebpf.Arena maps it" if self.type == MapType.ARENA else ""
            raise TypeError(f'map "{self.name}" ({self.type}) has no values to be mapped{hint}')
        length = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
        with naming(f'map the memory of map "{self.name}"'):
            return kernel.current().mmap(self.fileno(), length, writable=writable)

    def info(self) -> MapDetails:
        """Return what the kernel knows about the map. Since Linux 4.13."""
        from pyebpf.maps.info import map_details

        with naming(f'info of map "{self.name}"'):
            return map_details(self.fileno())

    @property
    def id(self) -> int:
        """The kernel's id for it."""
        from pyebpf.maps.info import map_info

        return map_info(self.fileno()).id

    def close(self) -> None:
        """Close the descriptor; closing twice is fine.

        The kernel keeps the map as long as a pin, a program or another descriptor holds it.
        """
        try:
            self._elements.close()
        finally:
            super().close()

    def _label(self) -> str:
        return f'map "{self.name}"'

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            yield
        except EbpfError as error:
            self._name(what, error)
            raise

    @contextlib.contextmanager
    def _encoding(self, what: str) -> Iterator[None]:
        try:
            yield
        except MISUSES as error:
            self._name(what, error)
            raise

    # As `naming` does, at no cost while nothing fails; says the reason, where the map knows more.
    def _name(self, doing: str, error: Exception) -> None:
        if not isinstance(error, EbpfError):
            # What a codec refuses; others, such as UnicodeEncodeError, are made of more than text.
            if type(error) in MISUSES:
                error.args = (f'{doing} map "{self.name}": {error}',)
            return
        if isinstance(error, SyscallError):
            if error.errno in (ENOTSUPP, errno.EOPNOTSUPP):
                error.detail = f"{self.type} has no such operation"
            elif error.errno == errno.EPERM:
                error.detail = self._forbidding() or error.detail
        error.context.insert(0, f'{doing} map "{self.name}"')

    # Why the kernel lets nobody change (or read) it, by this descriptor or at all.
    def _forbidding(self) -> str:
        from pyebpf.host.fdinfo import fdinfo

        told = {} if self.closed else fdinfo("self", self.fileno())
        if told.get("frozen"):
            return "the map is frozen"
        modes = {
            os.O_RDONLY: "it was opened for reading only",
            os.O_WRONLY: "it was opened for writing only",
        }
        return modes.get(told.get("flags", os.O_RDWR) & os.O_ACCMODE, "")

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd {self.fileno()}"
        return f'<Map "{self.name}" {self.type} {self.max_entries} entries, {state}>'
