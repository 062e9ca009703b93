"""Prog arrays: programs go in, and are reached by tail calls."""

from __future__ import annotations

import pytest

import pyebpf
from pyebpf import Map, MapType, ProgType
from tests.support.programs import built


def test_a_tail_call_is_taken_to_the_program_in_the_slot():
    """An empty slot falls through; the slot's id is the program's; deleting empties it again."""
    spec = pyebpf.load_spec(built("map_contents"))
    spec.maps["jump_table"].entries = ()
    with pyebpf.load(spec) as bpf:
        jump, table, target = (
            bpf.programs["jump"],
            bpf.maps["jump_table"],
            bpf.programs["target"],
        )
        assert (jump.run(bytes(64)).retval, len(table)) == (1, 0)
        table[1] = target
        assert (jump.run(bytes(64)).retval, dict(table)) == (42, {1: target.id})
        assert table.info().owner_type == jump.type
        assert table.info().owner_jited
        del table[1]
        assert jump.run(bytes(64)).retval == 1
        with pytest.raises(pyebpf.KeyOutOfRangeError, match='update map "jump_table"'):
            table[table.max_entries] = target


def test_a_program_of_another_type_is_refused():
    """Once a program uses it, a prog array takes only the like; the slot stays empty."""
    spec = pyebpf.load_spec(built("map_contents"))
    spec.maps["jump_table"].entries = ()
    with pyebpf.load(spec) as bpf, pyebpf.load(built("xdp_drop")) as other:
        (program,) = other.programs.values()
        assert program.type == ProgType.XDP
        with pytest.raises(pyebpf.SyscallError, match='update map "jump_table"'):
            bpf.maps["jump_table"][1] = program
        assert dict(bpf.maps["jump_table"]) == {}


def test_what_is_no_program_is_refused():
    """A map's descriptor, a number that is none."""
    with (
        Map.create(type=MapType.PROG_ARRAY, max_entries=1, name="p") as table,
        Map.create(type=MapType.ARRAY, value="I", max_entries=1) as other,
        pytest.raises(pyebpf.SyscallError, match=r'update map "p".*EINVAL'),
    ):
        table[0] = other
