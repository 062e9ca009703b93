"""The producer's side of a ``BPF_MAP_TYPE_USER_RINGBUF``: memory, positions and waiting for room.

As the ring of `pyebpf.sys.rings`, with the sides changed: we write records and the producer's
position, the kernel reads and moves the consumer's.

    page 0        consumer position (read-only)
    page 1        producer position (we write)
    page 2 ...    data, then the same data again (we write)

One thread at a time may reserve.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import sys
from contextlib import ExitStack

from pyebpf.sys import kernel
from pyebpf.sys.fd import FD
from pyebpf.sys.rings import distance, fence
from pyebpf.typed import final

__all__ = ["UserBpfRing"]

_PAGE = mmap.PAGESIZE
_HEADER = 8
_BUSY = 1 << 31
_DISCARD = 1 << 30
_LENGTH = _DISCARD - 1
_U64 = (1 << 64) - 1


@final
class UserBpfRing:
    """A user ring buffer's memory.

    Args:
        fd: The map's descriptor; must stay open until `close`.
        size: The map's ``max_entries``.

    Attributes:
        size: Bytes of data the ring holds.

    Raises:
        SyscallError: ``mmap`` failed.
    """

    def __init__(self, fd: int, size: int) -> None:
        host = kernel.current()
        self.size = size
        with ExitStack() as stack:
            self._consumer_page = host.mmap(fd, _PAGE, writable=False)
            stack.callback(self._consumer_page.close)
            self._pages = host.mmap(fd, _PAGE + 2 * size, writable=True, offset=_PAGE)
            stack.callback(self._pages.close)
            self._flag = FD(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            stack.callback(self._flag.close)
            self._epoll = select.epoll()
            stack.callback(self._epoll.close)
            self._epoll.register(self._flag.fileno(), select.EPOLLIN)
            # Edges only: the map counts as writable while a single byte is free.
            self._epoll.register(fd, select.EPOLLOUT | select.EPOLLET)
            stack.pop_all()
        consumer, pages = memoryview(self._consumer_page), memoryview(self._pages)
        self._consumer = consumer.cast("L")
        self._producer = pages[:_PAGE].cast("Q" if sys.byteorder == "little" else "L")
        self._data = pages[_PAGE:]
        self._words = self._data.cast("I")
        self._views = [self._words, self._producer, self._consumer, self._data, pages, consumer]
        self._fence = fence()
        self._position: int = self._producer[0]
        self._give_up()

    def reserve(self, length: int) -> tuple[int, memoryview[int]] | None:
        """Take room for a sample; what is behind it waits until it is finished.

        Args:
            length: Bytes, with its header and padding at most `size`.

        Returns:
            Its place for `finish` and its memory, or ``None`` if there is no room now.
        """
        total = (length + _HEADER + 7) & ~7
        consumer = self._consumer[0]
        self._fence()
        if total > self.size - distance(self._position, consumer):
            return None
        place = self._position % self.size
        self._words[place >> 2] = length | _BUSY
        self._words[(place >> 2) + 1] = 0
        self._position = (self._position + total) & _U64
        self._fence()
        self._producer[0] = self._position
        return place, self._data[place + _HEADER : place + _HEADER + length]

    def finish(self, place: int, *, discard: bool) -> None:
        """Hand a sample over to the kernel, or give it up; one store does it."""
        header = self._words[place >> 2] & ~_BUSY
        self._fence()
        self._words[place >> 2] = header | (_DISCARD if discard else 0)

    # What was left unfinished by a process that died, from the consumer's position on.
    def _give_up(self) -> None:
        place = self._consumer[0]
        self._fence()
        waiting = distance(self._position, place)
        while 0 < waiting <= self.size:
            header = self._words[place % self.size >> 2]
            if header & _BUSY:
                self.finish(place % self.size, discard=True)
            size = ((header & _LENGTH) + _HEADER + 7) & ~7
            place, waiting = place + size, waiting - size

    def wake(self) -> None:
        """End the sleep of whoever waits, and any later one."""
        os.eventfd_write(self._flag.fileno(), 1)

    def wait(self, timeout: float) -> None:
        """Sleep until a program has taken something out, or `wake`, or the time is over.

        Args:
            timeout: Seconds.
        """
        self._epoll.poll(timeout)

    def close(self) -> None:
        """Unmap the ring; it must not be used afterwards."""
        for view in self._views:
            with contextlib.suppress(BufferError):  # memory of a sample is still in use
                view.release()
        self._views.clear()
        for mapping in (self._pages, self._consumer_page):
            with contextlib.suppress(BufferError):
                mapping.close()
        self._epoll.close()
        self._flag.close()
        del self._data, self._words, self._producer, self._pages
