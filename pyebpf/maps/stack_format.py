"""Values of stack trace maps: addresses, or build ids with offsets.

    u64 address, u64 address, ... 0 ...                      innermost first, zero behind the last
    | status s32 | build id 20 bytes | offset or address u64 |    with BPF_F_STACK_BUILD_ID

In: bytes of a value. Out: a tuple of addresses (int) or of `BuildIdFrame`.
"""

from __future__ import annotations

import struct

from pyebpf.typed import NamedTuple, TypeAlias

__all__ = ["BuildIdFrame", "StackCodec"]

Bytes: TypeAlias = bytes | bytearray | memoryview

# enum bpf_stack_build_id_status
_EMPTY, _VALID, _IP = 0, 1, 2
_BUILD_ID = struct.Struct("=i20sQ")


class BuildIdFrame(NamedTuple):
    """A frame of a user stack (``struct bpf_stack_build_id``).

    Attributes:
        build_id: Of the file the code is from, 20 bytes, zero-padded; ``b""`` if the kernel did not
            find one, as for code that was made at run time.
        offset: In that file; without a build id the address in the process.
    """

    build_id: bytes
    offset: int


class StackCodec:
    """One stack of a stack trace map.

    Args:
        size: Bytes of a value.
        build_ids: The map was created with ``BPF_F_STACK_BUILD_ID``.
    """

    def __init__(self, size: int, *, build_ids: bool) -> None:
        self.size = size
        self._build_ids = build_ids
        self._addresses = struct.Struct(f"={size // 8}Q")

    def decode(self, buffer: Bytes) -> tuple[int, ...] | tuple[BuildIdFrame, ...]:
        """Return the frames, innermost first."""
        if not self._build_ids:
            addresses: tuple[int, ...] = self._addresses.unpack_from(buffer)
            return addresses[: addresses.index(0)] if 0 in addresses else addresses
        frames = []
        whole = len(buffer) // _BUILD_ID.size * _BUILD_ID.size
        for status, build_id, offset in _BUILD_ID.iter_unpack(buffer[:whole]):
            if status == _EMPTY:
                break
            frames.append(BuildIdFrame(build_id if status == _VALID else b"", offset))
        return tuple(frames)

    def encode(self, value: object) -> bytes:
        """Return frames as bytes; no kernel lets user space write stacks, but a fake one may."""
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"needs a sequence of frames, not {type(value).__name__}")
        if self._build_ids:
            each = (_BUILD_ID.pack(_VALID if found else _IP, found, at) for found, at in value)
            data = b"".join(each)
        else:
            data = struct.pack(f"={len(value)}Q", *value)
        if len(data) > self.size:
            raise ValueError(f"{len(value)} frames do not fit {self.size} bytes")
        return data.ljust(self.size, b"\0")
