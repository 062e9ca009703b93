"""Arenas: memory that programs share with the process, at an address that both count from."""

from __future__ import annotations

import contextlib
import errno
import mmap

from pyebpf.errors import SyscallError
from pyebpf.sys.mapping import Mapping
from pyebpf.testing.interpreter.arena import ArenaMap
from pyebpf.testing.interpreter.memory import Region
from pyebpf.testing.maps.contents import Contents
from pyebpf.testing.maps.definition import Definition
from pyebpf.testing.memory import SharedMemory
from pyebpf.testing.refusal import Refused

__all__ = ["Arena", "ProgramArena"]

_WINDOW = 1 << 32  # pointers are told by their lower half


class Arena(Contents):
    """``BPF_MAP_TYPE_ARENA``.

    Attributes:
        shared: Its memory; a page costs nothing before it is touched.
        user_base: Where the process sees it, or 0 if that is not known yet.
    """

    def __init__(self, definition: Definition) -> None:
        super().__init__(definition)
        self.size = definition.max_entries * mmap.PAGESIZE
        self.shared = SharedMemory(self.size, "bpf-arena")
        self.user_base = definition.map_extra

    @property
    def direct_size(self) -> int:
        return self.size

    def lookup(self, key: bytes) -> bytes:
        raise Refused(errno.EINVAL)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        raise Refused(errno.EOPNOTSUPP)

    def delete(self, key: bytes) -> None:
        raise Refused(errno.EOPNOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise Refused(errno.EOPNOTSUPP)

    def at(self, key: bytes, cpu: int) -> Region | None:
        return None

    def map(self, length: int, address: int) -> Mapping:
        """Map it into the process, always at the same place: arena_get_unmapped_area.

        Raises:
            Refused: ``E2BIG``, ``EINVAL``: another length or place than it has.
            SyscallError: Something of this process is there.
        """
        if length > self.size:
            raise Refused(errno.E2BIG)
        if self.user_base and (length != self.size or address != self.user_base):
            raise Refused(errno.EINVAL)
        mapped = self.shared.map_at(length, address)
        if mapped.address // _WINDOW != (mapped.address + length - 1) // _WINDOW:
            mapped = self._within_a_window(length, mapped.address // _WINDOW)
        self.user_base = mapped.address
        return mapped

    def close(self) -> None:
        self.shared.close()

    # What the system prefers crosses a border; below there is room.
    def _within_a_window(self, length: int, window: int) -> Mapping:
        for number in range(window - 1, 0, -1):
            with contextlib.suppress(SyscallError):
                return self.shared.map_at(length, number * _WINDOW)
        raise Refused(errno.ENOMEM)


class ProgramArena(ArenaMap):
    """An arena as programs see it.

    Args:
        contents: What it is.
    """

    def __init__(self, contents: Arena) -> None:
        definition = contents.definition
        super().__init__(
            definition.name.decode(errors="replace"),
            max_entries=definition.max_entries,
            memory=contents.shared.view,
            user_base=contents.user_base,
        )
        self._contents = contents

    def arena_memory(self) -> tuple[Region, int]:
        """Return the memory and where the process sees it."""
        self.user_base = self._contents.user_base
        return super().arena_memory()

    def is_free(self, page: int) -> bool:
        """Whether nobody has allocated a page, and the process has not touched it."""
        return super().is_free(page) and not self._contents.shared.has_page(page)

    def free(self, count: int, address: int) -> None:
        """Give pages back."""
        super().free(count, address)
        for page in self.pages(count, address):
            self._contents.shared.drop_page(page)
