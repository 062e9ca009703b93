"""Shared ring memory: positions, loads and stores in the right order, copies.

Two rings, one idea: the kernel writes records and moves its position, we copy records and move
ours; both positions lie in memory that the kernel and this process share. What the bytes mean is
told by ``readers/ring_format.py`` and ``readers/perf_format.py``.

    BPF ring buffer, mapped from the map's fd:        perf ring, mapped from the event's fd:

    page 0        consumer position   (we write)      page 0   1024: data_head  (the kernel writes)
    page 1        producer position   (read-only)              1032: data_tail  (we write)
    page 2 ...    data, then the same data again      page 1 ...     data, once: it wraps

A position counts bytes and only ever grows; its place in the data is position modulo size. On
32-bit systems it wraps at 2^32, so distances are taken modulo the machine word.

One thread at a time may use a ring.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

from pyebpf.errors import SyscallError
from pyebpf.sys import kernel
from pyebpf.typed import final

__all__ = ["WORD_BITS", "BackwardRing", "BpfRing", "PerfRing", "distance", "fence", "read_counts"]

WORD_BITS = struct.calcsize("L") * 8
"""Bits of ``unsigned long``, in which the kernel counts positions."""

_PAGE = mmap.PAGESIZE
_HEAD = 1024 // 8  # perf_event_mmap_page.data_head and .data_tail, in u64
_TAIL = 1032 // 8
_U64 = (1 << 64) - 1
_WORD = (1 << WORD_BITS) - 1
_NOT_DATA = 1 << 30  # BPF_RINGBUF_DISCARD_BIT; above it is BPF_RINGBUF_BUSY_BIT
_COUNTS = struct.Struct("=QQQ")  # value, time enabled, lost


def distance(ahead: int, behind: int, *, bits: int = WORD_BITS) -> int:
    """Return how far *ahead* is in front of *behind*, for positions that wrap at 2**bits."""
    return (ahead - behind) & ((1 << bits) - 1)


# --- order of loads and stores: the one place
#
# The kernel stores record, then position (smp_store_release, or smp_wmb in perf); for a BPF ring
# also payload, then header without BUSY (xchg). We therefore must not let
#   1. a load of data overtake the load of the producer's position,
#   2. a load of payload overtake the load of the header that says it is finished,
#   3. the store of our position overtake the loads of the data it gives back.
# 1 and 2 are load-load, 3 is load-store. A single position is one aligned word: memoryview's "L"
# and "Q" items are read and written with one memcpy of constant size, which compilers turn into
# one instruction (measured: no torn read in millions, x86-64). Never use a "<" or ">" format here:
# those go byte by byte.
#
# x86 keeps load-load and load-store order by itself (TSO; s390 too) and the interpreter's
# evaluation of one bytecode after the other keeps the compiler from moving them: nothing to do.
#
# Elsewhere (arm64, riscv64, ppc64) all three may be reordered and Python offers no fence, but it
# offers a lock. Releasing it orders everything before against the unlocking store; taking it again
# orders everything after against the locking load; and the taking reads what the releasing wrote,
# with an atomic read-modify-write, so the two cannot swap (on arm64 store-release followed by
# load-acquire are never reordered). The other order, taking and then releasing, would not do: both
# sides may move *into* a critical section. Cost: 65 ns, once per batch and never per record. A
# private lock, as another thread's release in between would let us take it without waiting for our
# own. Not tested on such hardware.
#
# One store-load order (our position, then "is there more?" before going to sleep) is the kernel's
# business: poll takes locks, and looks at the positions after that. The other one is AF_XDP's: our
# position, then the flag that says whether the kernel wants to be woken. Even x86 would let that
# load go first, so there the lock is used everywhere: taking it is a locked instruction.
_ORDERED_MACHINES = frozenset({"x86_64", "i386", "i486", "i586", "i686", "s390x"})


def fence(*, full: bool = False) -> Callable[[], object]:
    """Return a function that keeps loads and stores before it from those after it.

    Args:
        full: Also stores from later loads, the only order that x86 does not keep by itself.
    """
    if os.uname().machine in _ORDERED_MACHINES and not full:
        return bool  # does nothing, and without a frame: it is called with every batch
    lock = threading.Lock()
    lock.acquire()

    def release_and_acquire() -> None:
        # A signal handler that raises between the two leaves the lock free.
        if lock.locked():
            lock.release()
        lock.acquire()

    return release_and_acquire


@final
class BpfRing:
    """The consumer's side of a ``BPF_MAP_TYPE_RINGBUF``.

    Args:
        fd: The map's descriptor; needed during this call only.
        size: The map's ``max_entries``.

    Attributes:
        size: Bytes of data the ring holds.
        words: The data as native 32-bit words, mapped twice in a row.
        offset: Where the next record starts in the data.

    Raises:
        SyscallError: ``mmap`` failed, ``EPERM`` if the map may not be written.
    """

    def __init__(self, fd: int, size: int) -> None:
        host = kernel.current()
        self.size = size
        with ExitStack() as stack:
            self._consumer_page = host.mmap(fd, _PAGE, writable=True)
            stack.callback(self._consumer_page.close)
            self._producer_pages = host.mmap(fd, _PAGE + 2 * size, writable=False, offset=_PAGE)
            stack.pop_all()
        consumer, pages = memoryview(self._consumer_page), memoryview(self._producer_pages)
        self._views = [consumer, pages]
        # Stored as 64 bits where that is right for every kernel: a 32-bit process on a 64-bit
        # kernel must not leave the upper half behind, and on a 32-bit kernel the upper half is
        # unused memory. On big-endian machines the halves are the other way round.
        self._store = self._view(consumer.cast("Q" if sys.byteorder == "little" else "L"))
        self._producer = self._view(self._view(pages[:_PAGE]).cast("L"))
        self._data = self._view(pages[_PAGE:])
        self.words = self._view(self._data.cast("I"))
        self._fence = fence()
        # Where the last reader of this map stopped.
        self._position: int = self._store[0]
        self.offset = self._position % size

    def available(self) -> int:
        """Return the bytes from `offset` on that the producer has reserved; a snapshot."""
        producer = self._producer[0]
        self._fence()
        return (producer - self._position) & _WORD  # `distance`, of every wake-up

    def copy(self, size: int, into: memoryview[int] | None = None) -> bytes | memoryview[int]:
        """Copy the next *size* bytes, after their headers were read from `words`.

        Args:
            size: Bytes.
            into: So many writable bytes to copy them to, and to return; otherwise new ``bytes``.
        """
        self._fence()
        start = self.offset
        if into is None:
            return self._data[start : start + size].tobytes()
        into[:] = self._data[start : start + size]
        return into

    def take_few(self, most: int, payloads: list[bytes]) -> tuple[int, int, int]:
        """Look, copy the finished records in front of any other, and give them back.

        All in one, as this is most of the way from a wake-up to the user's function, and a call
        more takes a microsecond after a sleep.

        Args:
            most: Bytes; where more wait nothing is done.
            payloads: Get a copy of each.

        Returns:
            How many bytes were given back, how many of those seen wait behind them, and how many
            records were copied.
        """
        fence, position, first = self._fence, self._position, self.offset
        waiting = (self._producer[0] - position) & _WORD
        if not 0 < waiting <= most or waiting & 7:
            return 0, 0, 0
        fence()
        words, data = self.words, self._data
        number, places, place, end = 0, [], first, first + waiting
        while place < end:
            length = words[place >> 2]
            begin = place + 8
            stop = begin + length
            if length >= _NOT_DATA or stop > end:
                break
            places.append((begin, stop))
            place = (stop + 7) & ~7
            number += 1
        if number:
            fence()
            for begin, stop in places:
                payloads.append(data[begin:stop].tobytes())
            fence()
            self._store[0] = self._position = (position + place - first) & _U64
            self.offset = place % self.size
        return place - first, end - place, number

    def lend(self, size: int) -> memoryview[int]:
        """Return the next *size* bytes themselves, after their headers were read from `words`.

        They may be read until `advance`.
        """
        self._fence()
        start = self.offset
        return self._data[start : start + size]

    def advance(self, size: int) -> None:
        """Give the next *size* bytes back to the producer; whole, if a signal handler raises."""
        self._fence()
        position = (self._position + size) & _U64
        self._store[0] = self._position = position
        self.offset = position % self.size

    def close(self) -> None:
        """Unmap the ring; it must not be used afterwards."""
        _unmap(self._views, self._consumer_page, self._producer_pages)
        # Whoever still has a view that was lent holds the memory; we do not.
        del self._data, self.words, self._producer_pages

    def _view(self, view: memoryview[int]) -> memoryview[int]:
        self._views.append(view)
        return view


@final
class PerfRing:
    """The reader's side of a perf event's ring.

    Args:
        fd: The event's descriptor; needed during this call only.
        pages: Pages of data, a power of two.

    Attributes:
        size: Bytes of data the ring holds.

    Raises:
        SyscallError: ``mmap`` failed: ``EINVAL`` for a *pages* that is no power of two, ``EPERM``
            over the limit of ``perf_event_mlock_kb``.
    """

    def __init__(self, fd: int, pages: int) -> None:
        self.size = pages * _PAGE
        self._process = os.getpid()
        self._pages = kernel.current().mmap(fd, _PAGE + self.size, writable=True)
        whole = memoryview(self._pages)
        control = whole[:_PAGE]
        self._control = control.cast("Q")
        self._data = whole[_PAGE:]
        self._views = [whole, control, self._control, self._data]
        self._fence = fence()
        self._position: int = self._control[_TAIL]

    def available(self) -> int:
        """Return the bytes of finished records that wait; a snapshot."""
        head = self._control[_HEAD]
        self._fence()
        return (head - self._position) & _WORD

    def copy(self, size: int, into: memoryview[int] | None = None) -> bytes | memoryview[int]:
        """Copy the next *size* bytes, at most `size` of them, made linear.

        Args:
            size: Bytes.
            into: So many writable bytes to copy them to, and to return; otherwise new ``bytes``.
        """
        start = self._position % self.size
        first = self._data[start : start + size]
        if into is not None:
            into[: len(first)] = first
            if len(first) < size:
                into[len(first) :] = self._data[: size - len(first)]
            return into
        if len(first) == size:
            return first.tobytes()
        return b"".join((first, self._data[: size - len(first)]))

    def lend(self, size: int) -> memoryview[int]:
        """Return the next *size* bytes themselves, or those up to the end of the data.

        They may be read until `advance`, and not be written.
        """
        start = self._position % self.size
        return self._data[start : start + size].toreadonly()

    def advance(self, size: int) -> None:
        """Give the next *size* bytes back to the kernel."""
        self._fence()
        position = (self._position + size) & _U64
        self._control[_TAIL] = self._position = position

    def close(self) -> None:
        """Unmap the ring; it must not be used afterwards."""
        if os.getpid() != self._process:
            _forget(self._pages)
        _unmap(self._views, self._pages)
        del self._data, self._pages


@final
class BackwardRing:
    """A perf event's ring that is written from the end to the front, over its oldest records.

    Mapped read-only, which is what makes the kernel overwrite; the event has to be opened with
    ``write_backward``, so that the newest record is the first and leads to those before it.

    Args:
        fd: The event's descriptor; needed during this call only.
        pages: Pages of data, a power of two.

    Attributes:
        size: Bytes of data.

    Raises:
        SyscallError: ``mmap`` failed.
    """

    def __init__(self, fd: int, pages: int) -> None:
        self.size = pages * _PAGE
        self._process = os.getpid()
        self._pages = kernel.current().mmap(fd, _PAGE + self.size, writable=False)
        whole = memoryview(self._pages)
        control = whole[:_PAGE]
        self._control = control.cast("Q")
        self._data = whole[_PAGE:]
        self._views = [whole, control, self._control, self._data]
        self._fence = fence()

    def copy(self) -> bytes:
        """Return what is in it, the newest record first; the event has to be paused.

        At the end there may be the front part of a record that was overwritten.
        """
        head = self._control[_HEAD]
        self._fence()
        used = min(self.size, distance(0, head, bits=64))
        start = head % self.size
        return b"".join(
            (self._data[start : start + used], self._data[: max(0, start + used - self.size)])
        )

    def close(self) -> None:
        """Unmap the ring; it must not be used afterwards."""
        if os.getpid() != self._process:
            _forget(self._pages)
        _unmap(self._views, self._pages)


# In a child of fork: the kernel does not hand the mappings of perf events down, and what was mapped
# since may lie where they were. So the object stays for ever, with a view on it that keeps it from
# being unmapped.
def _forget(pages: mmap.mmap) -> None:
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(memoryview(pages)))


# A mapping with views on it cannot be closed. Some may be the user's, if he keeps what a lease lent
# him: then the last of them unmaps it.
def _unmap(views: list[memoryview[int]], *mappings: mmap.mmap) -> None:
    for view in reversed(views):
        with contextlib.suppress(BufferError):
            view.release()
    views.clear()
    for mapping in mappings:
        with contextlib.suppress(BufferError):
            mapping.close()


def read_counts(fd: int) -> tuple[int, int] | None:
    """Read how long a perf event has been enabled, and how many records it has lost.

    Args:
        fd: An event opened with ``read_format`` ``PERF_FORMAT_TOTAL_TIME_ENABLED``, and with
            ``PERF_FORMAT_LOST`` or without.

    Returns:
        Nanoseconds, which stand still once its CPU has gone offline; and the count, 0 without
        ``PERF_FORMAT_LOST``. ``None`` if the kernel does not tell: the event is in an error state,
        then it answers with nothing.

    Since Linux 2.6.31, the count since 6.0.
    """
    try:
        answer = kernel.current().read(fd, _COUNTS.size)
    except SyscallError:
        return None
    if len(answer) < 16:
        return None
    _, enabled, lost = _COUNTS.unpack(answer.ljust(_COUNTS.size, b"\0"))
    return enabled, lost
