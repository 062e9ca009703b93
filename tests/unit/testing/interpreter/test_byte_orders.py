"""Objects of either byte order, interpreted without a kernel: the same source, the same results."""

from __future__ import annotations

from collections import defaultdict

import pytest

from pyebpf.elf import load_spec
from pyebpf.errors import MemoryAccessError, NotModelledError
from pyebpf.testing.interpreter import Machine, Program, SkbContext, World, make_map
from pyebpf.testing.interpreter.prog_test_run import prog_test_run
from pyebpf.uapi.bpf import ProgType
from tests.support.programs import built, names

PACKET = bytes(12) + b"\x08\x00" + bytes(range(150))
RUNNABLE = {ProgType.SOCKET_FILTER, ProgType.XDP, ProgType.SCHED_CLS, ProgType.SCHED_ACT}
# Objects whose programs need what only a kernel has, or are wrong on purpose.
NEED_A_KERNEL = {
    "core", "core_matches", "core_missing", "externs", "externs_ksyms", "externs_kconfig",
    "refused",
}  # fmt: skip


def programs() -> list[str]:
    return [
        f"{name}.{program.name}"
        for name in names()
        if name not in NEED_A_KERNEL
        for program in load_spec(built(name, "little")).programs.values()
        if program.type in RUNNABLE
    ]


def retvals(name: str, program_name: str, order: str) -> list[int]:
    """What three runs of a program return, which may count in its maps."""
    spec = load_spec(built(name, order))
    maps = defaultdict(lambda: None)
    for each in spec.maps.values():
        try:
            maps[each.name] = make_map(each, order)
        except NotModelledError:
            continue
    program = Program.from_spec(spec.programs[program_name], maps, defaultdict(int))
    machine = Machine(World(clock=lambda: 7))
    return [prog_test_run(machine, program, PACKET).retval for _ in range(3)]


@pytest.mark.parametrize("which", programs())
def test_both_byte_orders_give_the_same(which) -> None:
    """And a result at all: no pointer is wrong, whatever the order of its bytes."""
    name, _, program_name = which.partition(".")
    assert retvals(name, program_name, "little") == retvals(name, program_name, "big")


def test_globals_are_those_of_the_object() -> None:
    """Variables of five sections, added up as the source says."""
    expected = 1000 + 10 + 42 + 43 + 7 - 2 - 1 + 4 + ord("l")
    for order in ("little", "big"):
        assert [expected] * 3 == retvals("globals", "add_up", order)


def test_functions_of_several_sections_are_called() -> None:
    """Digits of a number, each from a function of its own."""
    assert retvals("subprogs", "first", "big") == [4321] * 3
    assert retvals("subprogs", "packets", "big") == [2] * 3


def test_what_is_thrown_is_what_is_returned() -> None:
    """By way of the callback that a tag names, or as it is."""
    for order in ("little", "big"):
        assert retvals("exceptions", "with_callback", order) == [42] * 3
        assert retvals("exceptions", "without", order) == [3] * 3


@pytest.mark.parametrize("order", ["little", "big"])
def test_indirect_jumps_lead_through_tables(order) -> None:
    """In a table of the program's own, and in one of a function that it calls."""
    spec = load_spec(built("jump_tables", order))
    found = {}
    for name, marks in (("alone", (0, 1, 2, 3, 1000)), ("both", (0, 1, 2, 3, 6))):
        program = Program.from_spec(spec.programs[name], {})
        contexts = [SkbContext(PACKET, ProgType.SOCKET_FILTER, mark=mark) for mark in marks]
        found[name] = [Machine().run(program, context).r0 for context in contexts]
    assert found == {"alone": [10, 20, 30, 7, 7], "both": [11, 21, 31, 8, 31]}


def test_what_the_verifier_refuses_ends_with_a_name() -> None:
    """A pointer that was not compared with null; memory outside of a packet."""
    with pytest.raises(MemoryAccessError, match=r"\(r0\): 8-byte read at 0x0: a null pointer"):
        retvals("refused", "unchecked_lookup", "little")
