"""Programs and user space on the same maps: storage of tasks, arenas, redirects, jump tables."""

from __future__ import annotations

import os
import socket
import struct

import pytest

import pyebpf
from pyebpf.uapi.net import XdpAction
from tests.support.programs import built, only, only_used

PACKET = bytes(64)
# More than any kernel's struct __sk_buff, which is written back whole.
CONTEXT = 256


def test_storage_of_the_current_task_is_found_by_its_pidfd(kernel):
    """What a program counts there, user space reads and changes; what it removes is gone."""
    with pyebpf.load(only_used("map_kinds", "visit_task")) as bpf:
        program, storage = bpf.programs["visit_task"], bpf.maps["task_storage"]
        task = os.pidfd_open(os.getpid())
        try:
            assert storage.get(task) is None
            assert program.run(b"").retval == 0
            assert program.run(b"").retval == 1
            assert storage[task].count == 2
            storage[task] = {"count": 7, "last": 9, "unused": 0}
            assert program.run(b"").retval == 9
            assert storage[task].count == 8
            del storage[task]
            assert program.run(b"").retval == 0
        finally:
            os.close(task)


def test_programs_and_python_see_the_same_arena(kernel):
    """Globals, and a pointer that leads to the same node from both sides."""
    with pyebpf.load(built("arena")) as bpf:
        program, arena = bpf.programs["bump"], bpf.maps["arena"]
        assert [program.run(PACKET).retval for _ in range(2)] == [108, 110]
        assert bpf.variables["counter"].value == 7
        head = bpf.variables["head"].value
        with arena.memory() as memory:
            place = head.next - arena.address
            assert struct.unpack_from("=Qi", memory, place) == (0, 100)
            struct.pack_into("=i", memory, place + 8, 0)
        assert program.run(PACKET).retval == 12
        # Pages that nobody touched are zeros.
        assert bytes(arena.memory()[4096:8192]) == bytes(4096)


def test_an_arena_stands_where_it_was_asked_to(kernel):
    """In pointers and in this process; a program needs to know where."""
    spec = pyebpf.load_spec(built("arena"))
    spec.maps["arena"].map_extra = 1 << 44
    with pyebpf.load(spec) as bpf:
        assert bpf.programs["bump"].run(PACKET).retval == 108
        assert bpf.maps["arena"].address == 1 << 44
        assert 1 << 44 <= bpf.variables["head"].value.next < (1 << 44) + bpf.maps["arena"].size


@pytest.mark.parametrize("name", ["devices", "device_hash", "processors"])
def test_packets_go_where_a_map_says(kernel, name):
    """Without an entry the program's own verdict counts."""
    with pyebpf.load(only_used("map_kinds", f"to_{name}")) as bpf:
        program, targets = bpf.programs[f"to_{name}"], bpf.maps[name]
        number = 192 if name == "processors" else socket.if_nametoindex("lo")
        assert program.run(PACKET).retval == XdpAction.DROP
        targets[1] = number
        assert program.run(PACKET).retval == XdpAction.REDIRECT
        del targets[1]
        assert program.run(PACKET).retval == XdpAction.DROP


def test_stacks_that_programs_keep_are_read_by_number(kernel):
    """The same stack has the same number, until it is removed."""
    if kernel is not None:
        kernel.world.stacks["kernel"] = [0xFFFF0001, 0xFFFF0002]
    with pyebpf.load(only_used("map_kinds", "kernel_stack")) as bpf:
        program, stacks = bpf.programs["kernel_stack"], bpf.maps["stacks"]
        number = program.run(b"").retval
        assert number < 64
        assert list(stacks.keys()) == [number]
        assert stacks[number]
        if kernel is not None:
            assert list(stacks[number]) == [0xFFFF0001, 0xFFFF0002]
            assert program.run(b"").retval == number
        del stacks[number]
        assert list(stacks.keys()) == []


def picked(program: pyebpf.Program, mark: int) -> int:
    context = struct.pack("=III", 0, 0, mark).ljust(CONTEXT, b"\0")
    return program.run(PACKET, ctx=context).retval


def test_indirect_jumps_go_where_their_table_says(kernel):
    """In a table of the program's own, and in one of a function that it calls."""
    with pyebpf.load(built("jump_tables")) as bpf:
        alone, both = bpf.programs["alone"], bpf.programs["both"]
        assert [picked(alone, mark) for mark in (0, 1, 2, 3, 1000)] == [10, 20, 30, 7, 7]
        assert [picked(both, mark) for mark in (0, 1, 2, 3, 6)] == [11, 21, 31, 8, 31]


def test_a_jump_table_belongs_to_one_program(kernel):
    """While it is loaded."""
    with pyebpf.load(only("jump_tables", "alone")) as bpf:
        (number,) = bpf.programs["alone"].info().map_ids
        with pyebpf.Map.from_id(number) as table:
            assert (table.type, table.max_entries) == (pyebpf.MapType.INSN_ARRAY, 3)
