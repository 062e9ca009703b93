"""Keys and values that stand for something in the kernel: programs, sockets, devices, cgroups.

prog array, maps of maps, perf events    value: a descriptor goes in, an id comes out
sockets (sockmap, reuseport, xsk)        value: a descriptor goes in, a cookie comes out
devmap, devmap_hash, cpumap              value: a number, or number and program
local storage                            key: descriptor of a socket, file, process or cgroup
old storage of cgroups                   key: a cgroup's id, perhaps with an attach type
"""

from __future__ import annotations

import os
import struct
import sys

from pyebpf.errors import SyscallError
from pyebpf.typed import NamedTuple, TypeAlias
from pyebpf.uapi.bpf import AttachType

__all__ = ["CgroupKey", "CgroupKeyCodec", "FdCodec", "OwnerCodec", "Target", "TargetCodec"]

Bytes: TypeAlias = bytes | bytearray | memoryview

_U32 = struct.Struct("=I")


def descriptor(value: object) -> int:
    """Return the descriptor of anything with ``fileno()``, or a plain number.

    Raises:
        TypeError: It is neither.
    """
    fileno = getattr(value, "fileno", None)
    number = fileno() if callable(fileno) else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"needs an open object or a descriptor, not {type(value).__name__}")
    return number


class FdCodec:
    """Values of maps that hold kernel objects: a descriptor goes in, an id comes out.

    Args:
        size: 4; or 8, which maps of sockets need to give cookies back.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size

    def decode(self, buffer: Bytes) -> int:
        """Return the id of the map or program in the slot, or a socket's cookie."""
        return int.from_bytes(buffer[: self.size], sys.byteorder)

    def encode(self, value: object) -> bytes:
        """Return the descriptor of anything with ``fileno()``, or of a plain number."""
        return _unsigned(descriptor(value), self.size, "a descriptor")


class OwnerCodec:
    """Keys of local storage: the descriptor of a socket, file, process (pidfd) or cgroup."""

    size = 4

    def decode(self, buffer: Bytes) -> int:
        """Return the descriptor."""
        number: int = _U32.unpack_from(buffer)[0]
        return number

    def encode(self, value: object) -> bytes:
        """Return the descriptor of anything with ``fileno()``, or of a plain number."""
        return _unsigned(descriptor(value), self.size, "a descriptor")


class Target(NamedTuple):
    """A slot of a devmap (``struct bpf_devmap_val``) or cpumap (``struct bpf_cpumap_val``).

    Attributes:
        number: Index of the interface; slots in the queue of the CPU.
        program: The XDP program that runs there: goes in as anything with ``fileno()``, comes out
            as its id; ``None`` without.
    """

    number: int
    program: object | None = None


class TargetCodec:
    """Values of devmaps and cpumaps.

    Args:
        size: 4 for the number alone, 8 for a `Target` (Linux 5.8, cpumap 5.9).
        devices: Numbers are interfaces and may be given by name.
    """

    def __init__(self, size: int, *, devices: bool) -> None:
        self.size = size
        self._devices = devices

    def decode(self, buffer: Bytes) -> int | Target:
        """Return the number; with a program's place a `Target`."""
        number: int = _U32.unpack_from(buffer)[0]
        if self.size == 4:
            return number
        (program,) = _U32.unpack_from(buffer, 4)
        return Target(number, program or None)

    def encode(self, value: object) -> bytes:
        """Return a number, an interface's name, or a pair of those and a program."""
        program: object | None = None
        if isinstance(value, tuple):
            value, program = value
        if isinstance(value, str) and self._devices:
            from socket import if_nametoindex

            try:
                value = if_nametoindex(value)
            except OSError as error:
                raise SyscallError("if_nametoindex", error.errno or 0, f'"{value}"') from None
        if not isinstance(value, int):
            raise TypeError(f"needs a number, not {type(value).__name__}")
        data = _unsigned(value, 4, "an interface or queue size")
        if self.size == 4:
            if program is not None:
                raise ValueError("values of 4 bytes have no place for a program; create it with 8")
            return data
        # The kernel takes what is not positive for "no program".
        return data + _U32.pack(descriptor(program) if program is not None else 0)


class CgroupKey(NamedTuple):
    """Key of the old storages of cgroups: ``struct bpf_cgroup_storage_key``.

    Attributes:
        cgroup: Its id: the inode number of its directory.
        attach_type: Where the program is attached.
    """

    cgroup: int
    attach_type: AttachType


class CgroupKeyCodec:
    """Keys of ``BPF_MAP_TYPE_CGROUP_STORAGE``.

    Args:
        size: 16 for a `CgroupKey`, 8 for the cgroup alone, whatever is attached (Linux 5.9).
    """

    _LAYOUT = struct.Struct("=QI4x")

    def __init__(self, size: int) -> None:
        self.size = size

    def decode(self, buffer: Bytes) -> int | CgroupKey:
        """Return the cgroup's id, or a `CgroupKey`."""
        if self.size == 8:
            return int.from_bytes(buffer[:8], sys.byteorder)
        cgroup, attach_type = self._LAYOUT.unpack_from(buffer)
        return CgroupKey(cgroup, AttachType(attach_type))

    def encode(self, value: object) -> bytes:
        """Return a cgroup given by id or by its directory, with an attach type if there is room."""
        attach_type: object = None
        if isinstance(value, tuple):
            value, attach_type = value
        if isinstance(value, (str, os.PathLike)):
            try:
                value = os.stat(directory := value).st_ino
            except OSError as error:
                raise SyscallError("stat", error.errno or 0, os.fspath(directory)) from None
        if not isinstance(value, int):
            raise TypeError(f"needs a cgroup's id or directory, not {type(value).__name__}")
        cgroup = _unsigned(value, 8, "a cgroup's id")
        if self.size == 8:
            return cgroup
        if not isinstance(attach_type, int):
            raise TypeError("needs a pair of cgroup and attach type")
        return self._LAYOUT.pack(value, attach_type)


def _unsigned(number: int, size: int, what: str) -> bytes:
    try:
        return number.to_bytes(size, sys.byteorder)
    except OverflowError:
        raise ValueError(f"{number} is not {what}") from None
