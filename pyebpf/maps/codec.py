"""Between Python objects and the bytes of a key or value.

    Python object ──encode()──▶ bytes of exactly .size ──kernel──▶ bytes ──decode()──▶ Python object

A codec never guesses: bytes that do not fit are an error stating both sizes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pyebpf.typed import Protocol

__all__ = ["BytesCodec", "Codec", "IndexCodec", "PerCpuCodec"]


class Codec(Protocol):
    """Turns values into bytes of one size and back.

    Attributes:
        size: Bytes.
    """

    @property
    def size(self) -> int:  # noqa: D102 - the attribute above
        ...

    def decode(self, buffer: bytes | bytearray | memoryview) -> object:
        """Return the value that the first ``size`` bytes of *buffer* hold."""
        ...

    def encode(self, value: object) -> bytes:
        """Return *value* as ``size`` bytes."""
        ...


class BytesCodec:
    """Bytes in, bytes out.

    Args:
        size: Bytes.
        what: ``"key"`` or ``"value"``, for messages.
    """

    def __init__(self, size: int, what: str = "value") -> None:
        self.size = size
        self._what = what

    def decode(self, buffer: bytes | bytearray | memoryview) -> bytes:
        """Return the first ``size`` bytes."""
        return bytes(buffer[: self.size])

    def encode(self, value: object) -> bytes:
        """Return *value*, which must be bytes of the right size."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"{self._what} without a known type must be bytes, not {type(value).__name__}"
            )
        data = bytes(value)
        if len(data) != self.size:
            raise ValueError(f"{self._what} takes {self.size} bytes, not {len(data)}")
        return data


class PerCpuCodec:
    """One value per possible CPU, each padded to 8 bytes.

    Args:
        inner: Codec of one CPU's value.
        cpus: Number of possible CPUs.
    """

    def __init__(self, inner: Codec, cpus: int) -> None:
        self.inner = inner
        self.cpus = cpus
        # The kernel lays the values out at round_up(value_size, 8): bpf_percpu_hash_copy().
        self.stride = inner.size + 7 & ~7
        self.size = self.stride * cpus

    def decode(self, buffer: bytes | bytearray | memoryview) -> list[object]:
        """Return the values, in order of CPU number."""
        view = memoryview(buffer)
        inner, stride = self.inner, self.stride
        return [
            inner.decode(view[at : at + inner.size]) for at in range(0, stride * self.cpus, stride)
        ]

    def encode(self, value: object) -> bytes:
        """Return a sequence of one value per CPU as bytes."""
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
            raise TypeError(f"needs a sequence of {self.cpus} values, not {type(value).__name__}")
        if len(value) != self.cpus:
            raise ValueError(f"takes one value for each of {self.cpus} CPUs, not {len(value)}")
        pad = bytes(self.stride - self.inner.size)
        return b"".join(self.inner.encode(each) + pad for each in value)


class IndexCodec:
    """Keys of arrays: unsigned 32-bit numbers in native order."""

    size = 4
    _u32 = struct.Struct("=I")

    def decode(self, buffer: bytes | bytearray | memoryview) -> int:
        """Return the index."""
        number: int = self._u32.unpack_from(buffer)[0]
        return number

    def encode(self, value: object) -> bytes:
        """Return an index, or 4 bytes as they are."""
        if isinstance(value, int) and 0 <= value < 1 << 32:
            return self._u32.pack(value)
        if isinstance(value, (bytes, bytearray)) and len(value) == self.size:
            return bytes(value)
        raise ValueError(f"an index is a number from 0 to {(1 << 32) - 1}, not {value!r}")
