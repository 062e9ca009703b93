"""Values that there are of each possible CPU: one CPU's alone, and what all of them make together.

lookup(key)            | CPU 0 | CPU 1 | CPU 2 |     a list
sum(key), max(key)     CPU 0 + CPU 1 + CPU 2         numbers
lookup_on(key, 1)              | CPU 1 |             BPF_F_CPU, since Linux 6.19
update_on(key, v, ...) |   v   |   v   |   v   |     BPF_F_ALL_CPUS
"""

from __future__ import annotations

import errno

from pyebpf import features
from pyebpf.errors import EbpfError, KeyNotFoundError, NotSupportedError, SyscallError
from pyebpf.host import cpus
from pyebpf.maps.base import MapBase
from pyebpf.maps.codec import PerCpuCodec
from pyebpf.sys import bpf
from pyebpf.typed import Any, Generic, TypeVar, cast
from pyebpf.uapi.attrs import MapElem
from pyebpf.uapi.bpf import Cmd, UpdateFlag

__all__ = ["PerCpuOperations"]

K = TypeVar("K")
V = TypeVar("V")


class PerCpuOperations(MapBase[K, V], Generic[K, V]):
    """What can be done with a map that has a value for each CPU."""

    def sum(self, key: K) -> int:
        """Return the sum over all CPUs of a number.

        Raises:
            KeyNotFoundError: No such key.
            TypeError: The map is not per-CPU, or its values are not numbers.
        """
        return sum(self._values(key))

    def max(self, key: K) -> int:
        """Return the largest over all CPUs of a number.

        Raises:
            KeyNotFoundError: No such key.
            TypeError: The map is not per-CPU.
        """
        return max(self._values(key))

    def lookup_on(self, key: K, cpu: int) -> Any:  # noqa: ANN401  an item of V, which is a list
        """Return one CPU's value.

        Older kernels hand out those of all CPUs, of which this one is taken.

        Args:
            key: As the key codec takes it.
            cpu: Its number.

        Raises:
            KeyNotFoundError: No such key.
            ValueError: No such CPU.
            TypeError: The map is not per-CPU.
        """
        codec = self._per_cpu()
        index = _place(cpu)
        encoded = self.key_codec.encode(key)
        if not features.one_cpu_values.available():
            data = self._elements.lookup(encoded, 0)
            if data is None:
                raise self._absent(Cmd.MAP_LOOKUP_ELEM, key)
            return codec.inner.decode(data[index * codec.stride :])
        value = bytearray(codec.stride)
        flags = UpdateFlag.CPU | cpu << 32
        self._element(Cmd.MAP_LOOKUP_ELEM, encoded, value, flags, key)
        return codec.inner.decode(value)

    def update_on(self, key: K, value: object, *, cpu: int | None = None) -> None:
        """Set one CPU's value, or that of all of them to the same.

        Args:
            key: As the key codec takes it.
            value: Of one CPU.
            cpu: Its number, ``None`` for all.

        Raises:
            NotSupportedError: One CPU's alone cannot be set before Linux 6.19.
            MapFullError: A hash holds ``max_entries`` already.
            ValueError: No such CPU.
            TypeError: The map is not per-CPU.
        """
        codec = self._per_cpu()
        encoded, data = self.key_codec.encode(key), codec.inner.encode(value)
        if features.one_cpu_values.available():
            flags = UpdateFlag.ALL_CPUS if cpu is None else UpdateFlag.CPU | cpu << 32
            padded = data.ljust(codec.stride, b"\0")
            self._element(Cmd.MAP_UPDATE_ELEM, encoded, padded, flags, key)
        elif cpu is None:
            self._elements.update(encoded, data.ljust(codec.stride, b"\0") * codec.cpus)
        else:
            _place(cpu)
            raise NotSupportedError("setting the value of one CPU", "6.19")

    def _element(
        self, cmd: Cmd, key: bytes, value: bytes | bytearray, flags: int, asked: object
    ) -> None:
        attr = MapElem(map_fd=self.fileno(), key=key, value=value, flags=flags)
        call = bpf.map_lookup_elem if cmd is Cmd.MAP_LOOKUP_ELEM else bpf.map_update_elem
        try:
            call(attr)
        except EbpfError as error:
            if isinstance(error, SyscallError) and error.errno == errno.ENOENT:
                raise self._absent(cmd, asked) from None
            error.context.insert(0, f'map "{self.name}"')
            raise

    def _absent(self, cmd: Cmd, key: object) -> KeyNotFoundError:
        return KeyNotFoundError(str(cmd), errno.ENOENT, f'no key {key!r} in map "{self.name}"')

    def _values(self, key: K) -> list[int]:
        codec = self._per_cpu()
        data = self._elements.lookup(self.key_codec.encode(key), 0)
        if data is None:
            raise self._absent(Cmd.MAP_LOOKUP_ELEM, key)
        return cast("list[int]", codec.decode(data))

    def _per_cpu(self) -> PerCpuCodec:
        codec = self.value_codec
        if not isinstance(codec, PerCpuCodec):
            raise TypeError(f'map "{self.name}" has one value for all CPUs')
        return codec


# Where a CPU's value is among those of the possible ones.
def _place(cpu: int) -> int:
    numbers = cpus.possible_numbers()
    if cpu not in numbers:
        raise ValueError(f"no CPU {cpu}; possible are {', '.join(map(str, numbers))}")
    return numbers.index(cpu)
