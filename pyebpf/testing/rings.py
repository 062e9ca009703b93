"""Rings in memory that the process maps: the producer's side, as the kernel writes it.

BPF ring buffer   | consumer position | producer position | data | the same data once more |
perf ring         | head and tail, at 1024 and 1032       | data, which wraps             |

Who reads them is `pyebpf.readers`; the formats stand in its ``ring_format`` and ``perf_format``.
"""

from __future__ import annotations

import errno
import mmap
import struct

from pyebpf.testing.memory import SharedMemory
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.perf_records import RecordType

__all__ = ["BpfRing", "PerfRing", "Reservation"]

_PAGE = mmap.PAGESIZE
_U64 = struct.Struct("=Q")
_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER = 8
_PRODUCER = _PAGE
_DATA = 2 * _PAGE
_PAGES_BEFORE = 2  # of the kernel's own, which the page offset in headers counts

_PERF_HEADER = struct.Struct("=IHH")
_RAW_SIZE = struct.Struct("=I")
_LOST = struct.Struct("=IHHQQ")
_HEAD, _TAIL = 1024, 1032
_PERF_LARGEST = 1 << 16


class Reservation:
    """A record that is being written.

    Args:
        position: Where its header is, as positions count.
        data: Its memory, which is not the ring's: that shows it when it is committed.
    """

    __slots__ = ("data", "position")

    def __init__(self, position: int, data: bytearray) -> None:
        self.position = position
        self.data = data


class BpfRing:
    """The memory of a ``BPF_MAP_TYPE_RINGBUF``.

    Args:
        size: Bytes of data, a power of two and whole pages.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.shared = SharedMemory(_DATA + 2 * size, "bpf-ringbuf")
        self._view = self.shared.view

    def map(self, length: int, *, writable: bool, offset: int) -> mmap.mmap:
        """Map a part of it: of what may be written, only the first page.

        Raises:
            Refused: ``EPERM``, ``EINVAL``.
        """
        if writable and (offset or length != _PAGE):
            raise Refused(errno.EPERM)
        return self.shared.map(length, writable=writable, offset=offset)

    @property
    def consumer(self) -> int:
        """Up to where it was read."""
        return int(_U64.unpack_from(self._view, 0)[0])

    @property
    def producer(self) -> int:
        """Up to where it is taken."""
        return int(_U64.unpack_from(self._view, _PRODUCER)[0])

    @property
    def waiting(self) -> int:
        """Bytes that are taken and not read: ``BPF_RB_AVAIL_DATA``."""
        return self.producer - self.consumer

    def reserve(self, length: int) -> Reservation | None:
        """Take room for a record; ``None`` if there is none."""
        total = length + _HEADER + 7 & ~7
        position = self.producer
        # One byte always stays free: __bpf_ringbuf_reserve.
        if total > self.size or position + total - self.consumer >= self.size:
            return None
        self._put_header(position, length | _BUSY)
        _U64.pack_into(self._view, _PRODUCER, position + total)
        return Reservation(position, bytearray(length))

    def commit(self, reserved: Reservation, *, discard: bool = False) -> bool:
        """Finish a record; return whether a reader that has read all before it must be woken."""
        self._put(reserved.position + _HEADER, reserved.data)
        self._put_header(reserved.position, len(reserved.data) | (_DISCARD if discard else 0))
        return self.consumer == reserved.position

    def _put_header(self, position: int, word: int) -> None:
        page = ((position & self.size - 1) >> mmap.PAGESIZE.bit_length() - 1) + _PAGES_BEFORE
        self._put(position, struct.pack("=II", word, page))

    # Once in each copy: a mapping of the data twice in a row would take an address of choice.
    def _put(self, position: int, data: bytes | bytearray) -> None:
        start = position & self.size - 1
        for copy in (_DATA, _DATA + self.size):
            first = data[: 2 * self.size - start] if copy == _DATA else data[: self.size - start]
            self._view[copy + start : copy + start + len(first)] = first
        over = start + len(data) - self.size
        if over > 0:
            self._view[_DATA : _DATA + over] = data[len(data) - over :]


class PerfRing:
    """The memory of a perf event.

    Args:
        pages: Pages of data.

    Attributes:
        lost: Records there was no room for, since the event was opened.
    """

    def __init__(self, pages: int) -> None:
        self.size = pages * _PAGE
        self.shared = SharedMemory(_PAGE + self.size, "perf-ring")
        self._view = self.shared.view
        self._untold = 0

    def put(self, data: bytes, event_id: int) -> int:
        """Append a sample; return how many bytes it took, 0 if there was no room.

        A record about those lost before comes in front of the first that fits.
        """
        total = _PERF_HEADER.size + _RAW_SIZE.size + len(data) + 7 & ~7
        size = total & _PERF_LARGEST - 1
        record = _PERF_HEADER.pack(RecordType.SAMPLE, 0, size)
        padding = total - _PERF_HEADER.size - _RAW_SIZE.size - len(data)
        record += _RAW_SIZE.pack(len(data) + padding) + data + bytes(padding)
        # Nobody checks that the size fits its 16 bits: what does not is cut off, and so damaged.
        record = record[:size]
        if self._untold:
            record = _LOST.pack(RecordType.LOST, 0, _LOST.size, event_id, self._untold) + record
        head = int(_U64.unpack_from(self._view, _HEAD)[0])
        tail = int(_U64.unpack_from(self._view, _TAIL)[0])
        # perf_output_begin wants one byte to stay free: a full ring looks like an empty one.
        if head - tail + len(record) >= self.size:
            self._untold += 1
            return 0
        self._untold = 0
        start = head % self.size
        first = record[: self.size - start]
        self._view[_PAGE + start : _PAGE + start + len(first)] = first
        self._view[_PAGE : _PAGE + len(record) - len(first)] = record[len(first) :]
        _U64.pack_into(self._view, _HEAD, head + len(record))
        return max(len(record), 1)

    @property
    def waiting(self) -> int:
        """Bytes that were not read."""
        head, tail = (_U64.unpack_from(self._view, where)[0] for where in (_HEAD, _TAIL))
        return int(head - tail)
