"""Instructions of -mcpu=v4 (Linux 6.6) and may_goto (6.9), seen by what they compute."""

from __future__ import annotations

import pytest

import pyebpf
from tests.support import kernel
from tests.support.programs import only

PACKET = bytes(64)


@pytest.mark.parametrize(
    ("program", "expected", "since"),
    [
        ("signed_numbers", -3 - 2 - 3, "6.6"),
        ("swapped", 8, "6.6"),
        ("far", 3, "6.6"),
        ("loop", 1000, "6.9"),
    ],
)
def test_a_program_returns_what_its_source_says(program, expected, since):
    """Signed division and loads, byte swaps, long jumps, loops that the kernel may end."""
    if kernel.version() < kernel.parse_version(since):
        raise pyebpf.NotSupportedError(f"the instructions of {program}", since)
    with pyebpf.load(only("isa_v4", program)) as bpf:
        found = bpf.programs[program].run(PACKET).retval
    assert found == expected & 0xFFFFFFFF
