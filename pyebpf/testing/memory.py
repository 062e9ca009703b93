"""Memory that this kernel shares with the process: a memory file, mapped by both.

Python's ``mmap`` keeps the pages alive, so whoever maps it may outlive the map or event it is of.
"""

from __future__ import annotations

import errno
import mmap
import os
import weakref

from pyebpf.sys.mapping import Mapping
from pyebpf.testing.refusal import Refused

__all__ = ["SharedMemory", "page_aligned", "zeros"]


def page_aligned(size: int) -> int:
    """Return *size* rounded up to whole pages."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def zeros(size: int) -> memoryview:
    """Return writable memory of the kernel's own; a page costs nothing before it is touched.

    Raises:
        Refused: ``ENOMEM``.
    """
    try:
        return memoryview(bytearray(size) if size <= mmap.PAGESIZE else mmap.mmap(-1, size))
    except (MemoryError, OSError, OverflowError):
        raise Refused(errno.ENOMEM) from None


class SharedMemory:
    """A piece of memory, zero at first.

    Args:
        size: Bytes, whole pages.
        name: For ``/proc/self/maps``.

    Attributes:
        view: All of it, writable.
    """

    def __init__(self, size: int, name: str) -> None:
        try:
            fd = os.memfd_create(name, os.MFD_CLOEXEC)
        except OSError as error:
            raise Refused(error.errno or errno.ENOMEM) from None
        self._fd = fd
        self._close = weakref.finalize(self, os.close, fd)
        try:
            os.ftruncate(fd, size)
        except (OSError, OverflowError):
            raise Refused(errno.ENOMEM) from None
        self._size = size
        # Not Python's mmap, which may keep a descriptor of its own as long as views of it are used.
        self.view = Mapping(fd, size).view()
        self._written: list[weakref.ref[mmap.mmap]] = []

    def map(self, length: int, *, writable: bool, offset: int = 0) -> mmap.mmap:
        """Map a part of it once more.

        Raises:
            Refused: ``EINVAL``: it is not that long.
        """
        if offset + page_aligned(length) > self._size or length <= 0 or offset % mmap.PAGESIZE:
            raise Refused(errno.EINVAL)
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        mapped = mmap.mmap(self._fd, length, mmap.MAP_SHARED, protection, offset=offset)
        if writable:
            self._written.append(weakref.ref(mapped))
        return mapped

    def map_at(self, length: int, address: int) -> Mapping:
        """Map its beginning at an address that matters, or anywhere if it is 0.

        Raises:
            SyscallError: Something of this process is there.
        """
        return Mapping(self._fd, length, address=address)

    def has_page(self, page: int) -> bool:
        """Whether a page has been touched since the start, or since `drop_page`."""
        start = page * mmap.PAGESIZE
        try:
            return os.lseek(self._fd, start, os.SEEK_DATA) < start + mmap.PAGESIZE
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False

    def drop_page(self, page: int) -> None:
        """Make a page as if it had never been touched, wherever it is mapped."""
        with mmap.mmap(self._fd, mmap.PAGESIZE, offset=page * mmap.PAGESIZE) as mapped:
            mapped.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Close the file; what is mapped stays."""
        self._close()

    @property
    def mapped_writable(self) -> bool:
        """Whether the process has it mapped for writing now."""
        self._written = [each for each in self._written if _is_open(each())]
        return bool(self._written)


def _is_open(mapped: mmap.mmap | None) -> bool:
    return mapped is not None and not mapped.closed
