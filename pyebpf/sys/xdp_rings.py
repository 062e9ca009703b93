"""The four rings of an AF_XDP socket: indices, entries, loads and stores in the right order.

    ring         who writes entries     an entry
    fill         we, `ProducerRing`     u64: a frame for the kernel to receive into
    RX           the kernel             `DESCRIPTOR`: a packet it has received
    TX           we                     `DESCRIPTOR`: a packet to send
    completion   the kernel, `ConsumerRing`   u64: a frame it has sent

A ring lies in a mapping of its own: producer u32, consumer u32, flags u32, entries, each at an
offset that the kernel tells. The indices count entries and wrap at 2^32; an entry's place is its
index modulo the size, a power of two. What either side does:

    producer   load consumer · write entries · store producer    (the kernel: store-release)
    consumer   load producer · read entries · store consumer     (the kernel: load-acquire)

so the entries' loads and stores must not leave the space between the two indices': the `fence` of
`pyebpf.sys.rings`, which tells the whole story, stands before and after. The third order is store
producer, then load the flags: the kernel may fall asleep in between, hence the full fence.

What the kernel writes is checked before it is used: indices further apart than the ring is long
are a `FormatError`. One thread at a time may use a ring.
"""

from __future__ import annotations

import contextlib
import mmap
import struct

from pyebpf.errors import FormatError
from pyebpf.sys.rings import distance, fence
from pyebpf.typed import NamedTuple, final
from pyebpf.uapi.if_xdp import XDP_RING_NEED_WAKEUP

__all__ = ["ADDRESS", "DESCRIPTOR", "ConsumerRing", "Layout", "ProducerRing"]

ADDRESS = struct.Struct("=Q")
"""An entry of the fill and completion rings: where a frame is."""
DESCRIPTOR = struct.Struct("=QII")
"""An entry of the RX and TX rings: where a packet is, its length, options."""

_U32 = (1 << 32) - 1


class Layout(NamedTuple):
    """Offsets in a ring's mapping.

    Attributes:
        producer: Of the producer's index.
        consumer: Of the consumer's.
        entries: Of the first entry.
        flags: Of the flags; ``None`` before Linux 5.4, which has none.
    """

    producer: int
    consumer: int
    entries: int
    flags: int | None

    def length(self, size: int, entry: int) -> int:
        """Return the bytes of a mapping with *size* entries of *entry* bytes."""
        return self.entries + size * entry


# What both sides share.
class _Memory:
    __slots__ = ("consumer", "entries", "flags", "mapping", "producer", "views")

    def __init__(self, mapping: mmap.mmap | bytearray, layout: Layout, length: int) -> None:
        self.mapping = mapping
        whole = memoryview(mapping)
        self.views = [whole]
        self.producer = self._index(whole, layout.producer)
        self.consumer = self._index(whole, layout.consumer)
        self.flags = None if layout.flags is None else self._index(whole, layout.flags)
        self.entries = whole[layout.entries : layout.entries + length]
        self.views.append(self.entries)

    # One aligned word: read and written with one instruction (see `pyebpf.sys.rings`).
    def _index(self, whole: memoryview[int], offset: int) -> memoryview[int]:
        octets = whole[offset : offset + 4]
        word = octets.cast("I")
        self.views += [octets, word]
        return word

    def close(self) -> None:
        for view in reversed(self.views):
            view.release()
        if isinstance(self.mapping, mmap.mmap):
            with contextlib.suppress(BufferError):
                self.mapping.close()


@final
class ProducerRing:
    """A ring into which we write: fill or TX.

    Args:
        mapping: Its memory.
        layout: Where things are in it.
        size: Entries, a power of two.
        entry: `ADDRESS` or `DESCRIPTOR`.
        name: For messages.

    Attributes:
        size: Entries.
    """

    def __init__(
        self,
        mapping: mmap.mmap | bytearray,
        layout: Layout,
        size: int,
        entry: struct.Struct,
        *,
        name: str,
    ) -> None:
        self.size = size
        self._entry = entry.size
        self._name = name
        self._memory = _Memory(mapping, layout, size * entry.size)
        self._position = self._memory.producer[0]
        self._fence = fence()
        self._full_fence = fence(full=True)

    def waiting(self) -> int:
        """Return how many entries the kernel has not taken yet.

        Raises:
            FormatError: The kernel's index is nowhere in the ring.
        """
        consumer = self._memory.consumer[0]
        self._fence()
        found = distance(self._position, consumer, bits=32)
        if found > self.size:
            raise FormatError(f"{found} entries wait in a ring of {self.size}", self._name)
        return found

    def put(self, entries: bytes) -> None:
        """Hand entries over; there must be room: at most `size` less those `waiting`."""
        memory = self._memory.entries
        start = self._position % self.size * self._entry
        first = len(memory) - start
        if len(entries) <= first:
            memory[start : start + len(entries)] = entries
        else:
            memory[start:] = entries[:first]
            memory[: len(entries) - first] = entries[first:]
        self._position = self._position + len(entries) // self._entry & _U32
        self._fence()
        self._memory.producer[0] = self._position

    def needs_wakeup(self) -> bool:
        """Return whether the kernel looks into the ring only when it is woken by a system call."""
        flags = self._memory.flags
        if flags is None:
            return True
        self._full_fence()
        return bool(flags[0] & XDP_RING_NEED_WAKEUP)

    def take_back(self) -> bytes:
        """Return the entries that the kernel has not taken, once it cannot take them any more."""
        count = self.waiting()
        self._position = self._position - count & _U32
        return _copy(self._memory.entries, self._position % self.size, count, self._entry)

    def close(self) -> None:
        """Unmap it; it must not be used afterwards."""
        self._memory.close()


@final
class ConsumerRing:
    """A ring from which we read: RX or completion; arguments as for `ProducerRing`."""

    def __init__(
        self,
        mapping: mmap.mmap | bytearray,
        layout: Layout,
        size: int,
        entry: struct.Struct,
        *,
        name: str,
    ) -> None:
        self.size = size
        self._entry = entry.size
        self._name = name
        self._memory = _Memory(mapping, layout, size * entry.size)
        self._position = self._memory.consumer[0]
        self._fence = fence()

    def available(self) -> int:
        """Return how many entries wait to be read; a snapshot.

        Raises:
            FormatError: The kernel's index is nowhere near ours. Everything up to there is skipped.
        """
        producer = self._memory.producer[0]
        self._fence()
        found = distance(producer, self._position, bits=32)
        if found > self.size:
            self.advance(found)
            raise FormatError(f"{found} entries wait in a ring of {self.size}", self._name)
        return found

    def peek(self, count: int) -> bytes:
        """Return copies of the next entries, of those `available`."""
        return _copy(self._memory.entries, self._position % self.size, count, self._entry)

    def advance(self, count: int) -> None:
        """Give the next entries' places back to the kernel."""
        self._position = self._position + count & _U32
        self._fence()
        self._memory.consumer[0] = self._position

    def close(self) -> None:
        """Unmap it; it must not be used afterwards."""
        self._memory.close()


def _copy(memory: memoryview[int], index: int, count: int, entry: int) -> bytes:
    start, length = index * entry, count * entry
    first = bytes(memory[start : start + length])
    return first if len(first) == length else first + memory[: length - len(first)]
