"""Globals of arenas: which fit, and where they are."""

from __future__ import annotations

import mmap

import pytest

from pyebpf.errors import LoadError
from pyebpf.loader.arena import ArenaGlobals, check
from pyebpf.spec import MapSpec
from pyebpf.uapi.bpf import MapFlag, MapType

PAGE = mmap.PAGESIZE


def spec(size: int | None, *, pages: int = 2, flags: int = 0) -> MapSpec:
    contents = None if size is None else bytearray(size)
    return MapSpec(name="a", type=MapType.ARENA, max_entries=pages, flags=flags, contents=contents)


@pytest.mark.parametrize("size", [None, 0, 1, 2 * PAGE])
def test_globals_may_fill_an_arena(size):
    """To the last byte."""
    check(spec(size))


def test_globals_that_no_process_can_write_are_refused():
    """More than the arena, or in pages that only programs make; without globals both are fine."""
    with pytest.raises(LoadError, match=f'map "a": {2 * PAGE + 1} bytes .* of {2 * PAGE}; raise'):
        check(spec(2 * PAGE + 1))
    with pytest.raises(LoadError, match=r'map "a": globals .*BPF_F_SEGV_ON_FAULT'):
        check(spec(4, flags=MapFlag.SEGV_ON_FAULT))
    check(spec(None, flags=MapFlag.SEGV_ON_FAULT))


class Memory:
    """What variables need of an arena."""

    name = "a"

    def __init__(self) -> None:
        self.bytes = bytearray(64)

    def memory(self) -> memoryview:
        return memoryview(self.bytes)


def test_variables_are_where_the_globals_start():
    """Reads and writes are counted from there; closed, there is nothing to read."""
    arena = Memory()
    section = ArenaGlobals(arena, 16)  # type: ignore[arg-type]
    section.write(4, b"abc")
    assert arena.bytes.index(b"abc") == 20
    assert (section.read(3, 5), section.name, section.frozen) == (b"\0abc\0", "a", False)
    section.close()
    section.close()
    with pytest.raises(ValueError, match="released"):
        section.read(0, 1)
