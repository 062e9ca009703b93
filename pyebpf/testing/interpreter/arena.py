"""Arenas: memory that programs and processes share, and the kernel functions that give its pages.

A program keeps pointers as the process sees them and casts each before it uses it:

    user space   user_base + offset  ──cast to kernel──▶  memory.base + offset   what loads take
                                     ◀──cast to user────

Pages that nobody allocated are zeros here and take what is written; in the kernel they swallow it.
"""

from __future__ import annotations

import errno
import mmap

from pyebpf.testing.interpreter.calls import Function
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.interpreter.run import Run
from pyebpf.uapi.bpf import MapType

__all__ = ["KFUNCS", "ArenaMap"]

PAGE = 4096


class ArenaMap(Map):
    """An arena.

    Args:
        name: For messages.
        max_entries: Pages.
        memory: Its bytes, such as a mapping that something else looks at, too; zeros by default.
        user_base: Where processes see it.
        contents: What it starts with.
    """

    def __init__(
        self,
        name: str,
        *,
        max_entries: int,
        memory: bytearray | memoryview | None = None,
        user_base: int = 0x1_0001_0000,
        contents: bytes = b"",
    ) -> None:
        super().__init__(name, MapType.ARENA, key_size=0, value_size=0, max_entries=max_entries)
        if memory is None:
            # Anonymous memory: an arena of 4 GiB costs what is touched.
            memory = memoryview(mmap.mmap(-1, max_entries * PAGE))
        self.memory = Region(memory, f"arena {name}")
        self.memory.view(0, len(contents), write=True)[:] = contents
        self.user_base = user_base
        self.allocated: set[int] = set(range(-(-len(contents) // PAGE)))

    def arena_memory(self) -> tuple[Region, int]:
        """Return the memory and where user space sees it."""
        return self.memory, self.user_base

    def to_kernel(self, address: int) -> int:
        """Cast a pointer of user space; null stays null, unless the arena begins there."""
        offset = address - self.user_base & 0xFFFF_FFFF
        if not address & 0xFFFF_FFFF and offset:
            return 0
        return self.memory.base + offset

    def to_user(self, address: int) -> int:
        """Cast a pointer of the kernel; null stays null."""
        if address >> 32 == self.memory.base >> 32:
            return self.user_base + (address & 0xFFFF_FFFF)
        low = address & 0xFFFF_FFFF
        return self.user_base & ~0xFFFF_FFFF | low if low else 0

    def allocate(self, count: int, address: int) -> int:
        """Take *count* pages at *address*, or anywhere if it is 0; return where, or 0."""
        wanted = [(address - self.user_base) // PAGE] if address else range(self.max_entries)
        for first in wanted:
            pages = range(first, first + count)
            inside = first >= 0 and first + count <= self.max_entries
            if inside and all(self.is_free(page) for page in pages):
                self.allocated.update(pages)
                return self.user_base + first * PAGE
        return 0

    def is_free(self, page: int) -> bool:
        """Whether nobody has a page."""
        return page not in self.allocated

    def free(self, count: int, address: int) -> None:
        """Give pages back; they become zeros."""
        for page in self.pages(count, address):
            self.allocated.discard(page)
            self.memory.view(page * PAGE, PAGE, write=True)[:] = bytes(PAGE)

    def pages(self, count: int, address: int) -> range:
        """Return the numbers of pages from an address of user space on, as far as there are."""
        first = (address - self.user_base & 0xFFFF_FFFF) // PAGE
        return range(first, min(first + count, self.max_entries))


def bpf_arena_alloc_pages(
    run: Run, pointer: int, address: int, count: int, node: int, flags: int
) -> int:
    """Allocate pages of an arena and return their address in user space, or 0."""
    arena, count = run.map_at(pointer), count & 0xFFFF_FFFF
    if not isinstance(arena, ArenaMap) or flags or not 0 < count <= arena.max_entries:
        return 0
    return arena.allocate(count, address)


def bpf_arena_free_pages(run: Run, pointer: int, address: int, count: int) -> int:
    """Free pages of an arena."""
    arena = run.map_at(pointer)
    if isinstance(arena, ArenaMap):
        arena.free(count & 0xFFFF_FFFF, address)
    return 0


def bpf_arena_reserve_pages(run: Run, pointer: int, address: int, count: int) -> int:
    """Take a range of pages so that nothing else gets them."""
    arena, count = run.map_at(pointer), count & 0xFFFF_FFFF
    if not isinstance(arena, ArenaMap) or address % PAGE:
        return -errno.EINVAL
    if count == 0:
        return 0
    return 0 if arena.allocate(count, address) else -errno.EBUSY


KFUNCS: dict[str, Function] = {
    "bpf_arena_alloc_pages": bpf_arena_alloc_pages,
    "bpf_arena_free_pages": bpf_arena_free_pages,
    "bpf_arena_reserve_pages": bpf_arena_reserve_pages,
}
