"""Maps that come with contents: maps in maps, programs in program arrays."""

from __future__ import annotations

import struct

import pytest

import pyebpf
from pyebpf.spec import Pinning
from tests.support.programs import built

PACKET = bytes(64)
NOTHING = 0xFFFFFFFF
# More than any kernel's struct __sk_buff, which is written back whole.
CONTEXT = 256


@pytest.fixture
def spec(real_kernel):
    return pyebpf.load_spec(built("map_contents"))


def jump(bpf: pyebpf.Collection) -> int:
    return bpf.programs["jump"].run(PACKET).retval


def look(bpf: pyebpf.Collection, slot: int) -> int:
    """What a program finds in the inner map of a slot, which the packet's mark says."""
    context = struct.pack("=III", 0, 0, slot).ljust(CONTEXT, b"\0")
    return bpf.programs["look"].run(PACKET, ctx=context).retval


def test_a_tail_call_lands_in_the_program_that_the_object_names(spec):
    """And not where a slot is empty."""
    with pyebpf.load(spec) as bpf:
        assert jump(bpf) == 42
        assert dict(bpf.maps["jump_table"]) == {1: bpf.programs["target"].id}
        del bpf.maps["jump_table"][1]
        assert jump(bpf) == 1


def test_a_program_finds_both_inner_maps(spec):
    """Each in its slot, none in the others."""
    with pyebpf.load(spec) as bpf:
        bpf.maps["left"][0] = 11
        bpf.maps["right"][0] = 22
        assert [look(bpf, slot) for slot in range(5)] == [11, NOTHING, 22, NOTHING, NOTHING]
        assert dict(bpf.maps["outer"]) == {0: bpf.maps["left"].id, 2: bpf.maps["right"].id}


def test_contents_can_be_changed_before_the_load(spec):
    """Slots of the spec are what the kernel gets."""
    spec.maps["outer"].entries = ((3, "left"), (1, "left"))
    spec.maps["jump_table"].entries = ((0, "target"),)
    with pyebpf.load(spec) as bpf:
        bpf.maps["left"][0] = 5
        assert [look(bpf, slot) for slot in range(4)] == [NOTHING, 5, NOTHING, 5]
        assert jump(bpf) == 1


def test_a_pinned_map_of_maps_keeps_what_it_holds(spec, bpffs):
    """Programs that run look into it; the new object's maps do not take the old ones' place."""
    spec.maps["outer"].pinning = Pinning.BY_NAME
    try:
        with pyebpf.load(spec, pin_dir=bpffs) as old, pyebpf.load(spec, pin_dir=bpffs) as new:
            old.maps["left"][0] = 11
            new.maps["left"][0] = 99
            assert [look(old, 0), look(new, 0)] == [11, 11]
            assert new.maps["left"].id != old.maps["left"].id
    finally:
        (bpffs / "outer").unlink()


def test_a_pinned_program_array_gets_the_new_programs(spec, bpffs):
    """As libbpf has it: old and new jump into the new one from then on."""
    spec.maps["jump_table"].pinning = Pinning.BY_NAME
    try:
        with pyebpf.load(spec, pin_dir=bpffs) as old:
            with pyebpf.load(spec, pin_dir=bpffs) as new:
                assert old.maps["jump_table"][1] == new.programs["target"].id
            assert jump(old) == 42
    finally:
        (bpffs / "jump_table").unlink()


def test_a_replaced_inner_map_is_the_one_in_the_slot(spec):
    """Whoever gives a map wants it used wherever the object names it."""
    with (
        pyebpf.load(spec) as old,
        pyebpf.load(spec, map_replacements={"left": old.maps["left"]}) as new,
    ):
        old.maps["left"][0] = 7
        assert look(new, 0) == 7


@pytest.mark.parametrize(
    ("leave_out", "message"),
    [
        ("left", 'map "outer", slot 0: map "left" is not part of the load'),
        ("target", 'map "jump_table", slot 1: program "target" is not part of the load'),
    ],
)
def test_a_slot_that_names_what_is_left_out_is_refused(spec, leave_out, message):
    """Before anything is made; without the slot the rest loads."""
    if leave_out in spec.maps:
        spec.maps[leave_out].autocreate = False
    else:
        spec.programs[leave_out].autoload = False
    with pytest.raises(pyebpf.LoadError, match=message) as caught:
        pyebpf.load(spec)
    assert caught.value.name == leave_out
    for name in ("outer", "jump_table"):
        entries = spec.maps[name].entries
        spec.maps[name].entries = tuple(each for each in entries if each[1] != leave_out)
    with pyebpf.load(spec) as bpf:
        assert leave_out not in {*bpf.maps, *bpf.programs}


@pytest.mark.parametrize(("name", "held"), [("outer", "right"), ("jump_table", "target")])
def test_a_slot_beyond_the_map_is_named(spec, name, held):
    """With what was to be put there; nothing stays of the load."""
    spec.maps[name].max_entries = 1
    spec.maps[name].entries = ((4, held),)
    with pytest.raises(
        pyebpf.KeyOutOfRangeError, match=rf'map "{name}": put "{held}" into slot 4: .*E2BIG'
    ):
        pyebpf.load(spec)


def test_a_map_unlike_the_others_is_the_kernels_to_refuse(spec):
    """The outer map was made for maps of one shape."""
    spec.maps["right"].value_size = 8
    spec.maps["right"].value_type_id = 0
    with pytest.raises(
        pyebpf.SyscallError, match=r'map "outer": put "right" into slot 2: .*EINVAL'
    ):
        pyebpf.load(spec)


def test_an_address_in_data_warns_the_caller(real_kernel):
    """Nobody knows what to put there; the load goes on, and the warning points at who asked."""
    spec = pyebpf.load_spec(built("globals"))
    spec.maps[".data"].entries = ((8, "shapes"), (16, "total"))
    with (
        pytest.warns(RuntimeWarning, match=r'section ".data" holds .* "shapes" at .* 1 more') as no,
        pyebpf.load(spec) as bpf,
    ):
        assert bpf.variables["total"].value == 1000
    assert [each.filename for each in no] == [__file__]
