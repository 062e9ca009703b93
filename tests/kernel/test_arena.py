"""Arenas: memory that programs and processes share, with an object's globals in it."""

from __future__ import annotations

import os
import re
import struct

import pytest

import pyebpf
from pyebpf.maps.arena import Arena
from pyebpf.spec import Pinning
from tests.support import children
from tests.support.programs import built

PACKET = bytes(64)
# Far from anything a process has.
ADDRESS = 1 << 44
SEGV_ON_FAULT = 1 << 17
# What bump() of bpf_src/arena.bpf.c returns at first; it grows by two each time.
FIRST = 5 + 3 + 100


@pytest.fixture
def spec(real_kernel):
    return pyebpf.load_spec(built("arena"))


def bump(bpf: pyebpf.Collection) -> int:
    return bpf.programs["bump"].run(PACKET).retval


def followed(bpf: pyebpf.Collection, address: int) -> tuple[int, int]:
    """What Python finds where a pointer of the program's points: a node's next and value."""
    arena = bpf.maps["arena"]
    with arena.memory(writable=False) as memory:
        return struct.unpack_from("=Qi", memory, address - arena.address)


def test_programs_and_python_see_the_same_globals(spec):
    """What one writes the other reads, at once and both ways."""
    spec.variables["counter"].value = 7
    with pyebpf.load(spec) as bpf:
        variables = bpf.variables
        assert bump(bpf) == FIRST + 2
        assert variables["counter"].value == 8
        assert list(variables["history"].value) == [0, 0, 0, 7]
        variables["counter"].value = 1000
        variables["tail"].raw = struct.pack("=Qixxxx", 0, -900)
        assert bump(bpf) == 1000 + 4 - 900
        assert variables["counter"].value == 1001
        assert variables["head"].value.value == 5


def test_pointers_mean_the_same_to_both(spec):
    """A pointer that a program stored is an address in this process, which leads to the node."""
    with pyebpf.load(spec) as bpf:
        bump(bpf)
        arena = bpf.maps["arena"]
        assert isinstance(arena, Arena)
        head = bpf.variables["head"].value
        assert arena.address <= head.next < arena.address + arena.size
        assert followed(bpf, head.next) == (0, 100)
        # And the other way: the program follows what Python stored.
        place = bpf.variables["tail"].spec.offset - bpf.variables["history"].spec.offset
        with arena.memory() as memory:
            struct.pack_into("=i", memory, head.next - arena.address + 8, 7)
        assert bpf.variables["tail"].value.value == 7
        assert place < 0


def test_an_arena_stands_where_it_was_asked_to(spec):
    """``map_extra`` is its address, in pointers and in this process."""
    spec.maps["arena"].map_extra = ADDRESS
    with pyebpf.load(spec) as bpf:
        assert bump(bpf) == FIRST
        assert bpf.maps["arena"].address == ADDRESS
        assert ADDRESS <= bpf.variables["head"].value.next < ADDRESS + bpf.maps["arena"].size
        with pytest.raises(pyebpf.SyscallError, match="something of this process is at 0x1000000"):
            pyebpf.load(spec)
        assert bump(bpf) == FIRST + 2


@pytest.mark.parametrize("address", [0, ADDRESS], ids=["anywhere", "fixed"])
def test_a_pinned_arena_is_used_again_as_it_is(spec, bpffs, address):
    """Its globals are those of the programs that run, not the object's; old and new share it."""
    spec.maps["arena"].pinning = Pinning.BY_NAME
    spec.maps["arena"].map_extra = address
    try:
        with pyebpf.load(spec, pin_dir=bpffs) as old:
            assert bump(old) == FIRST
            with pyebpf.load(spec, pin_dir=bpffs) as new:
                assert new.maps["arena"].address == old.maps["arena"].address
                assert bump(new) == FIRST + 2
                assert bump(old) == FIRST + 4
                assert new.variables["counter"].value == 8
                assert followed(new, old.variables["head"].value.next) == (0, 100)
    finally:
        (bpffs / "arena").unlink(missing_ok=True)


def test_another_process_finds_an_arena_at_its_address(spec, bpffs):
    """One that came without an address cannot be found again, and says so."""
    arena = spec.maps["arena"]
    arena.pinning = Pinning.BY_NAME

    def reuse() -> int:
        with pyebpf.load(spec, pin_dir=bpffs) as bpf:
            return bump(bpf)

    for address, expected in (
        (ADDRESS, str(FIRST + 2)),
        (0, "SyscallError: .*it stands where another process chose; create it with map_extra"),
    ):
        arena.map_extra = address
        try:
            with pyebpf.load(spec, pin_dir=bpffs) as bpf:
                bump(bpf)
            assert re.match(expected, children.outcome(reuse))
        finally:
            (bpffs / "arena").unlink(missing_ok=True)


def test_a_child_of_fork_has_the_same_memory(spec):
    """Globals, views taken before, and new ones: what one writes the other reads."""
    with pyebpf.load(spec) as bpf, bpf.maps["arena"].clone() as clone:
        before, seen = bpf.maps["arena"].memory(), clone.memory()
        before[100] = 1

        def in_child():
            found = before[100], seen[100], clone.memory()[100], bpf.variables["counter"].value
            seen[101] = 2
            bpf.variables["counter"].value = 77
            return found

        bpf.variables["counter"].value = 5
        assert children.outcome(in_child) == "(1, 1, 1, 5)"
        assert before[101] == 2
        assert bpf.variables["counter"].value == 77
        assert bump(bpf) == 77 + 100 + 3


def test_a_replacement_need_not_be_opened_as_an_arena(spec):
    """By id and plainly, it serves the same."""
    with (
        pyebpf.load(spec) as old,
        pyebpf.Map.from_id(old.maps["arena"].id) as opened,
        pyebpf.load(spec, map_replacements={"arena": opened}) as new,
    ):
        assert isinstance(new.maps["arena"], Arena)
        assert [bump(old), bump(new)] == [FIRST, FIRST + 2]
        assert new.variables["counter"].value == 7
        new.variables["counter"].value = 0
        assert old.variables["counter"].value == 0


def test_all_owners_look_at_the_same_memory(spec):
    """A clone works on when the first one is closed, and a view when all are."""
    with pyebpf.load(spec) as bpf:
        clone = bpf.maps["arena"].clone()
        assert isinstance(clone, Arena)
        assert clone.address == bpf.maps["arena"].address
        start = bpf.variables["counter"].spec.offset
        place = bpf.variables["head"]
        bump(bpf)
        at = place.value.next - clone.address - bpf.variables["tail"].spec.offset + start
    with clone:
        view = clone.memory()
        assert struct.unpack_from("=i", view, at) == (6,)
    with view:
        assert struct.unpack_from("=i", view, at) == (6,)
        struct.pack_into("=i", view, at, 9)
        assert struct.unpack_from("=i", view, at) == (9,)


def test_a_closed_arena_has_no_memory(spec):
    """Nor have the variables of a closed collection; a read-only view cannot be written."""
    with pyebpf.load(spec) as bpf:
        arena, counter = bpf.maps["arena"], bpf.variables["counter"]
        with arena.memory(writable=False) as view, pytest.raises(TypeError):
            view[0] = 1
    with pytest.raises(pyebpf.ClosedError, match=r'map "arena".* used after close'):
        arena.memory()
    with pytest.raises(pyebpf.ClosedError):
        arena.address  # noqa: B018
    with pytest.raises(pyebpf.ClosedError, match='variable "counter" of a closed collection'):
        counter.value  # noqa: B018
    with pytest.raises(pyebpf.ClosedError, match='variable "counter" of a closed collection'):
        counter.value = 1


def test_globals_that_cannot_be_placed_are_refused_first(spec):
    """Before anything is made: too many for the arena, or in pages that no process can make."""
    arena = spec.maps["arena"]
    arena.max_entries = 1
    arena.contents.extend(bytes(1 << 16))
    with pytest.raises(pyebpf.LoadError, match=r'map "arena": \d+ bytes of globals in an arena of'):
        pyebpf.load(spec)
    del arena.contents[-(1 << 16) :]
    arena.flags |= SEGV_ON_FAULT
    with pytest.raises(pyebpf.LoadError, match=r'map "arena": .*BPF_F_SEGV_ON_FAULT'):
        pyebpf.load(spec)
    arena.autocreate = False
    with pytest.raises(pyebpf.LoadError, match=r'map "arena" .*is not part of the load'):
        pyebpf.load(spec)


def test_an_arena_needs_no_globals(real_kernel):
    """Made by hand: memory from the first touch, no elements."""
    flags = pyebpf.MapFlag.MMAPABLE
    with Arena.create(type=pyebpf.MapType.ARENA, max_entries=2, flags=flags, name="mine") as arena:
        assert isinstance(arena, Arena)
        assert arena.size == 2 * os.sysconf("SC_PAGESIZE")
        with arena.memory() as memory:
            assert len(memory) == arena.size
            memory[-1] = 255
            assert memory[-2:] == b"\0\xff"
        with pytest.raises(pyebpf.EbpfError):
            arena[b""]
