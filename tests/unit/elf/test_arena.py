"""Globals in an arena."""

from __future__ import annotations

import pytest

from pyebpf.elf import load_spec
from pyebpf.errors import ElfError
from pyebpf.spec import ReferenceKind
from pyebpf.uapi.bpf import MapType
from tests.support import programs

GLOBALS = """
    #define __arena __attribute__((address_space(1)))
    struct arena {
        __uint(type, BPF_MAP_TYPE_ARENA);
        __uint(map_flags, BPF_F_MMAPABLE);
        __uint(max_entries, 1);
    };
    int __arena counter = 5;
    SEC("socket") int bump(void *ctx) { return ++counter; }
"""


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_globals_are_the_contents_of_the_one_arena(byteorder):
    """No map of their own: variables and references are those of the declared arena."""
    spec = load_spec(programs.built("arena", byteorder))
    arena = spec.maps["arena"]
    assert (arena.type, arena.max_entries, arena.key_size, arena.value_size) == (
        MapType.ARENA,
        16,
        0,
        0,
    )
    assert set(spec.maps) == {"arena"}
    assert set(spec.variables) == {"counter", "history", "head", "tail"}
    assert all(each.map is arena for each in spec.variables.values())
    assert spec.variables["counter"].value == 5
    assert spec.variables["tail"].value.value == 100
    spec.variables["counter"].value = 6
    place = spec.variables["counter"].offset
    assert arena.contents[place : place + 4] == (6).to_bytes(4, byteorder)
    references = spec.programs["bump"].references.values()
    assert {(each.kind, each.symbol) for each in references} == {(ReferenceKind.MAP_VALUE, "arena")}
    offsets = {each.offset for each in references}
    assert {each.offset for each in spec.variables.values()} - offsets <= {0}


def test_a_copy_has_globals_of_its_own():
    """What is set in a copied spec stays there."""
    spec = load_spec(programs.built("arena"))
    copied = spec.copy()
    copied.variables["counter"].value = 9
    assert spec.variables["counter"].value == 5


@pytest.mark.parametrize(
    ("arenas", "found"),
    [("", "found none"), ('struct arena a SEC(".maps"), b SEC(".maps");', 'found "a", "b"')],
    ids=["none", "two"],
)
def test_globals_need_exactly_one_arena(compile_c, arenas, found):
    """Without one there is no memory to put them into; of two nobody could say which."""
    with pytest.raises(ElfError, match=f"section .addr_space.1: .*{found}"):
        compile_c(GLOBALS + arenas)


def test_uninitialised_globals_are_zeros(compile_c):
    """Also where the compiler leaves the bytes out of the file."""
    spec = compile_c(GLOBALS.replace("= 5", "") + 'struct arena a SEC(".maps");')
    assert spec.variables["counter"].value == 0
