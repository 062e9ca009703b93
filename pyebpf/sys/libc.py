"""The C library, for calls that set things up: system calls, mounts, namespaces, socket options.

In: integers and buffers; out: what C returned, and `error_number` when that was -1. Every call
releases the GIL. cffi's results are typed through the Protocols here and nowhere else. (The hot map
calls go through ctypes instead, see `pyebpf.sys.elements`: half a microsecond less each.)
"""

from __future__ import annotations

import sys

from pyebpf.sys._libc import ffi
from pyebpf.typed import Protocol

__all__ = ["MAP_FAILED", "ForeignFunctions", "Library", "address_of", "error_number", "libc"]

MAP_FAILED = sys.maxsize * 2 + 1


class Library(Protocol):
    """The functions ``libc_build.py`` declares; ``object`` stands for a buffer, bytes or null."""

    def syscall(self, number: int, a: int, b: int, c: int, d: int, e: int) -> int:
        """``syscall(2)``, its arguments as words."""

    def setsockopt(self, fd: int, level: int, name: int, value: object, length: int) -> int:
        """``setsockopt(2)``."""

    def getsockopt(self, fd: int, level: int, name: int, value: object, length: object) -> int:
        """``getsockopt(2)``."""

    def bind(self, fd: int, address: object, length: int) -> int:
        """``bind(2)``."""

    def send(self, fd: int, data: object, length: int, flags: int) -> int:
        """``send(2)``."""

    def recv(self, fd: int, data: object, length: int, flags: int) -> int:
        """``recv(2)``."""

    def mount(self, source: bytes, target: bytes, kind: bytes, flags: int, data: object) -> int:
        """``mount(2)``."""

    def umount2(self, target: bytes, flags: int) -> int:
        """``umount2(2)``."""

    def setns(self, fd: int, kind: int) -> int:
        """``setns(2)``."""

    def statfs(self, path: bytes, buffer: object) -> int:
        """``statfs(2)``; the buffer must take the largest struct."""

    def mmap(
        self, address: int, length: int, protection: int, flags: int, fd: int, offset: int
    ) -> int:
        """``mmap(2)``; `MAP_FAILED` for an error."""

    def munmap(self, address: int, length: int) -> int:
        """``munmap(2)``."""


class ForeignFunctions(Protocol):
    """What is used of cffi's ``FFI``."""

    errno: int
    NULL: object

    def dlopen(self, name: str | None) -> Library:
        """Open a library; ``None`` is the process itself."""

    def from_buffer(self, buffer: object) -> object:
        """Return cdata for the memory of a buffer object and keep that alive."""

    def cast(self, kind: str, value: object) -> int:
        """Convert to a C type."""

    def new(self, kind: str, value: object = ...) -> object:
        """Allocate a C object."""


libc: Library = ffi.dlopen(None)


def error_number() -> int:
    """Return the errno the last call of this thread left."""
    return ffi.errno


def address_of(buffer: object) -> tuple[object, int]:
    """Return a keeper and the address of *buffer*'s memory.

    Args:
        buffer: Anything with the buffer protocol, contiguous; read-only is fine.

    Returns:
        The address is good as long as the keeper lives. An empty buffer has address 0: the kernel
        wants length 0 and null together.

    Raises:
        TypeError: *buffer* is not a buffer.
    """
    keeper = ffi.from_buffer(buffer)
    if not memoryview(buffer).nbytes:  # type: ignore[arg-type]  # from_buffer has checked it
        return keeper, 0
    return keeper, int(ffi.cast("uintptr_t", keeper))
