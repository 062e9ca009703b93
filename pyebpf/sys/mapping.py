"""`Mapping`: memory of a map at an address that matters, because pointers into it are stored there.

A descriptor, a length and perhaps an address come in, writable shared memory goes out. Python's own
``mmap`` neither takes an address nor tells it, so this one calls the C library.

The memory stays mapped as long as anything looks at it: a view taken before `Mapping.close` remains
good, and the last one to go unmaps it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import weakref

from pyebpf.errors import ClosedError, SyscallError
from pyebpf.sys.failures import failure
from pyebpf.sys.libc import MAP_FAILED, error_number, libc

__all__ = ["Mapping"]

# asm-generic/mman-common.h, since Linux 4.17. MAP_FIXED alone would silently replace whatever of
# this process is there; older kernels take it as a mere wish, which is checked.
MAP_FIXED_NOREPLACE = 0x100000


class Mapping:
    """Shared, writable memory of a map.

    Args:
        fd: The map; may be closed afterwards.
        length: Bytes, whole pages.
        address: Where it must be, or 0 to let the kernel choose.

    Raises:
        PrivilegeError: ``EPERM``.
        SyscallError: ``EEXIST`` if something of this process is at *address*; ``EBUSY`` if it is
            mapped elsewhere already; anything else.

    Attributes:
        address: Where it is.
    """

    def __init__(self, fd: int, length: int, *, address: int = 0) -> None:
        self.address = found = _map(fd, length, address)
        array = (ctypes.c_ubyte * length).from_address(found)
        # Views keep the array, so this runs when nothing can look at the memory any more.
        self._unmap = weakref.finalize(array, libc.munmap, found, length)
        self._unmap.atexit = False
        self._array: ctypes.Array[ctypes.c_ubyte] | None = array

    def view(self) -> memoryview:
        """Return the memory, writable; good even after `close`.

        Raises:
            ClosedError: The mapping is closed.
        """
        if self._array is None:
            raise ClosedError("mapping used after it was closed")
        return memoryview(self._array).cast("B")

    def renew(self, fd: int) -> None:
        """Map the memory again where it was, in a child of fork, if the kernel has not done so.

        Args:
            fd: The map.
        """
        if self._array is not None:
            with contextlib.suppress(SyscallError):  # EEXIST: it has
                _map(fd, len(self._array), self.address)

    def close(self) -> None:
        """Let go of the memory; closing twice is fine."""
        self._array = None

    def __repr__(self) -> str:
        state = "closed" if self._array is None else f"at {self.address:#x}"
        return f"<Mapping {state}>"


def _map(fd: int, length: int, address: int) -> int:
    flags = mmap.MAP_SHARED | (MAP_FIXED_NOREPLACE if address else 0)
    what = f"{length} bytes at {address:#x}" if address else f"{length} bytes"
    found = libc.mmap(address, length, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
    if found == MAP_FAILED:
        raise failure("mmap", error_number(), what)
    if address and found != address:
        libc.munmap(found, length)
        raise SyscallError("mmap", errno.EEXIST, what)
    return found
