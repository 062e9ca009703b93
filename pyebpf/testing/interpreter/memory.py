"""The memory that a program sees: regions at addresses, every access within bounds.

Each region has 4 GiB of addresses for itself, so the upper half of an address tells the region and
the lower half is the offset in it. An access before the start or past the end of a region falls
between regions, never into another one:

    address  |1............31-bit region number|........32-bit offset into its data|

Regions that a test places itself (what a tracing program reads, for example) stand at the
addresses the test says; those share a window if their upper halves are equal.
"""

from __future__ import annotations

import bisect
import itertools
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyebpf.errors import MemoryAccessError
from pyebpf.typed import Literal

__all__ = ["ByteOrder", "Memory", "Region"]

ByteOrder = Literal["little", "big"]
Load = Callable[[int], int]
Store = Callable[[int, int], None]

WINDOW = 32  # bits of an address that are an offset
OFFSET = (1 << WINDOW) - 1
ADDRESS = (1 << 64) - 1

# As kernel addresses, these have the top bit set. The numbers are never used again: a stale address
# means nothing rather than something else.
_numbers = itertools.count(1 << 31)
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Region:
    """Bytes at an address of their own.

    Args:
        data: The bytes; programs change them in place, if they may. Its length must stay.
        name: What it is, for messages: ``"packet"``, ``"value of map counts"``.
        writable: Whether programs may write.
    """

    __slots__ = ("base", "data", "name", "writable")

    # Loads and stores of a subclass go through its `load` and `store`, not straight to the bytes.
    plain = True

    def __init__(
        self, data: bytes | bytearray | memoryview, name: str, *, writable: bool = True
    ) -> None:
        self.base = next(_numbers) << WINDOW
        self.data = data if writable else memoryview(data).toreadonly()
        self.name = name
        self.writable = writable

    def load(self, offset: int, size: int, byteorder: ByteOrder) -> int:
        """Return the number of *size* bytes at *offset*."""
        return int.from_bytes(self.view(offset, size, write=False), byteorder)

    def store(self, offset: int, size: int, value: int, byteorder: ByteOrder) -> None:
        """Write a number of *size* bytes at *offset*."""
        self.view(offset, size, write=True)[:] = value.to_bytes(size, byteorder)

    def view(self, offset: int, size: int, *, write: bool) -> memoryview:
        """Return the bytes themselves.

        Raises:
            MemoryAccessError: Some lie outside, or may not be written.
        """
        if offset < 0 or offset + size > len(self.data) or (write and not self.writable):
            raise self.fault(offset, size, write=write)
        return memoryview(self.data)[offset : offset + size]

    def text(self, offset: int, limit: int) -> bytes:
        """Return the bytes at *offset* up to a NUL, *limit* or the end of the region."""
        length = min(limit, max(1, len(self.data) - offset))
        return bytes(self.view(offset, length, write=False)).partition(b"\0")[0]

    def fault(self, offset: int, size: int, *, write: bool) -> MemoryAccessError:
        """Return the error for an access at *offset*."""
        length = len(self.data)
        if offset >= 0 and offset + size <= length:
            why = f"{self.name} is read-only"
        else:
            why = f"offset {offset} of {self.name}, which has {length} bytes"
        return _fault(self.base + offset & ADDRESS, size, write=write, why=why, name=self.name)


class Memory:
    """All regions that a program can reach now.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self.regions: dict[int, Region] = {}  # by the upper half of their addresses
        self._plain: dict[int, bytes | bytearray | memoryview] = {}
        self._placed: list[int] = []
        self._loads = {order: self._loaders(order) for order in ("little", "big")}
        self._stores = {order: self._storers(order) for order in ("little", "big")}

    def place(self, region: Region) -> int:
        """Make *region* reachable, if it is not yet, and return its address."""
        number = region.base >> WINDOW
        if number not in self.regions:
            self.regions[number] = region
            if region.plain:
                self._plain[number] = region.data
            self._placed.append(number)
        return region.base

    def allocate(self, size: int, name: str) -> Region:
        """Place a new region of *size* zero bytes."""
        region = Region(bytearray(size), name)
        self.place(region)
        return region

    def remove(self, region: Region) -> None:
        """Make *region* unreachable."""
        number = region.base >> WINDOW
        self.regions.pop(number, None)
        self._plain.pop(number, None)

    def map(
        self,
        address: int,
        data: bytes | bytearray | memoryview,
        *,
        name: str = "memory",
        writable: bool = True,
    ) -> Region:
        """Place *data* at *address*, such as a string in user space that a program will read.

        Raises:
            ValueError: Other memory lies there, or it crosses a multiple of 4 GiB.
        """
        if not 0 <= address <= ADDRESS or (address & OFFSET) + len(data) > OFFSET + 1:
            raise ValueError(f"{len(data)} bytes at {address:#x} do not fit into one window")
        region = Region(data, name, writable=writable)
        region.base = address
        number = address >> WINDOW
        shared = self.regions.get(number)
        if shared is None:
            shared = self.regions[number] = SharedWindow(number)
        if not isinstance(shared, SharedWindow):
            raise ValueError(f"{address:#x} belongs to {shared.name}")  # noqa: TRY004
        shared.add(region)
        return region

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """Forget afterwards what is placed in the block."""
        before = len(self._placed)
        try:
            yield
        finally:
            for number in self._placed[before:]:
                self.regions.pop(number, None)
                self._plain.pop(number, None)
            del self._placed[before:]

    def view(self, address: int, size: int, *, write: bool = False) -> memoryview:
        """Return *size* bytes at *address* themselves; changes to them are seen by programs.

        Raises:
            MemoryAccessError: Not all of it is memory, or it may not be written.
        """
        region = self.regions.get(address >> WINDOW)
        if region is None:
            raise _nowhere(address, size, write=write)
        return region.view(address & OFFSET, size, write=write)

    def read(self, address: int, size: int) -> bytes:
        """Return a copy of *size* bytes at *address*."""
        return bytes(self.view(address, size)) if size else b""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write *data* at *address*."""
        if data:
            self.view(address, len(data), write=True)[:] = data

    def text(self, address: int, limit: int) -> bytes:
        """Return the bytes at *address* up to a NUL, *limit* or the end of the region."""
        region = self.regions.get(address >> WINDOW)
        if region is None:
            raise _nowhere(address, 1, write=False)
        return region.text(address & OFFSET, limit)

    def load(self, address: int, size: int, byteorder: ByteOrder) -> int:
        """Return the unsigned number of *size* bytes (1, 2, 4, 8) at *address*."""
        return self._loads[byteorder][size](address)

    def store(self, address: int, size: int, value: int, byteorder: ByteOrder) -> None:
        """Write the low *size* bytes (1, 2, 4, 8) of *value* at *address*."""
        self._stores[byteorder][size](address, value)

    def loads(self, byteorder: ByteOrder) -> dict[int, Load]:
        """Return the functions that load numbers, by size: address to value."""
        return self._loads[byteorder]

    def stores(self, byteorder: ByteOrder) -> dict[int, Store]:
        """Return the functions that store numbers, by size: address and value."""
        return self._stores[byteorder]

    # Two dictionary look-ups and no comparison: the struct module itself refuses what lies outside.
    def _loaders(self, byteorder: ByteOrder) -> dict[int, Load]:
        plain = self._plain
        slowly = self._load_slowly

        def loader(size: int) -> Load:
            unpack = _struct(size, byteorder).unpack_from

            def load(address: int) -> int:
                try:
                    value: int = unpack(plain[address >> 32], address & 0xFFFF_FFFF)[0]
                except (KeyError, struct.error):
                    return slowly(address & ADDRESS, size, byteorder)
                return value

            return load

        return {size: loader(size) for size in _CODES}

    def _storers(self, byteorder: ByteOrder) -> dict[int, Store]:
        plain = self._plain
        slowly = self._store_slowly

        def storer(size: int) -> Store:
            pack = _struct(size, byteorder).pack_into
            mask = (1 << 8 * size) - 1

            def store(address: int, value: int) -> None:
                try:
                    pack(plain[address >> 32], address & 0xFFFF_FFFF, value & mask)
                except (KeyError, TypeError, struct.error):  # TypeError: it is read-only
                    slowly(address & ADDRESS, size, value & mask, byteorder)

            return store

        return {size: storer(size) for size in _CODES}

    def _load_slowly(self, address: int, size: int, byteorder: ByteOrder) -> int:
        region = self.regions.get(address >> WINDOW)
        if region is None:
            raise _nowhere(address, size, write=False)
        return region.load(address & OFFSET, size, byteorder)

    def _store_slowly(self, address: int, size: int, value: int, byteorder: ByteOrder) -> None:
        region = self.regions.get(address >> WINDOW)
        if region is None:
            raise _nowhere(address, size, write=True)
        region.store(address & OFFSET, size, value, byteorder)


class SharedWindow(Region):
    """Regions at addresses that a test chose, within one window."""

    __slots__ = ("_regions",)

    plain = False

    def __init__(self, number: int) -> None:
        super().__init__(b"", "memory", writable=False)
        self.base = number << WINDOW
        self._regions: list[Region] = []

    def add(self, region: Region) -> None:
        """Take *region* in, between the others."""
        end = region.base + len(region.data)
        for other in self._regions:
            if region.base < other.base + len(other.data) and other.base < end:
                raise ValueError(f"{region.base:#x} belongs to {other.name}")
        bisect.insort(self._regions, region, key=lambda each: each.base)

    def view(self, offset: int, size: int, *, write: bool) -> memoryview:
        """Return bytes of the region that begins last before them."""
        region = self._before(offset)
        if region is None:
            raise _nowhere(self.base + offset, size, write=write)
        return region.view(self.base + offset - region.base, size, write=write)

    def text(self, offset: int, limit: int) -> bytes:
        """Return bytes up to a NUL, a limit or the end of the region."""
        region = self._before(offset)
        if region is None:
            raise _nowhere(self.base + offset, 1, write=False)
        return region.text(self.base + offset - region.base, limit)

    def _before(self, offset: int) -> Region | None:
        at = bisect.bisect(self._regions, self.base + offset, key=lambda each: each.base)
        return self._regions[at - 1] if at else None


def _struct(size: int, byteorder: ByteOrder) -> struct.Struct:
    return struct.Struct(("<" if byteorder == "little" else ">") + _CODES[size])


def _nowhere(address: int, size: int, *, write: bool) -> MemoryAccessError:
    why = "a null pointer" if address < 4096 else "no memory is there"
    return _fault(address & ADDRESS, size, write=write, why=why, name="")


def _fault(address: int, size: int, *, write: bool, why: str, name: str) -> MemoryAccessError:
    verb = "write" if write else "read"
    return MemoryAccessError(
        f"{size}-byte {verb} at {address:#x}: {why}",
        address=address,
        size=size,
        write=write,
        region=name,
    )
