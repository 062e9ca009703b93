"""Indirect jumps through tables (Linux 6.19): every case of a switch goes where the source says."""

from __future__ import annotations

import struct

import pyebpf
from tests.support.programs import built, only

PACKET = bytes(64)
# More than any kernel's struct __sk_buff, which is written back whole.
CONTEXT = 256


def picked(program: pyebpf.Program, mark: int) -> int:
    context = struct.pack("=III", 0, 0, mark).ljust(CONTEXT, b"\0")
    return program.run(PACKET, ctx=context).retval


def test_each_case_is_its_own():
    """In a table of the program's own, and in one of a function that it calls."""
    with pyebpf.load(built("jump_tables")) as bpf:
        alone, both = bpf.programs["alone"], bpf.programs["both"]
        assert [picked(alone, mark) for mark in (0, 1, 2, 3, 1000)] == [10, 20, 30, 7, 7]
        assert [picked(both, mark) for mark in (0, 1, 2, 3, 6)] == [11, 21, 31, 8, 31]


def test_tables_belong_to_their_program():
    """No map of the collection is one; they live as long as the program."""
    with pyebpf.load(only("jump_tables", "alone")) as bpf:
        assert set(bpf.maps) == set()
        (number,) = bpf.programs["alone"].info().map_ids
        with pyebpf.Map.from_id(number) as table:
            assert (table.type, table.max_entries) == (pyebpf.MapType.INSN_ARRAY, 3)
