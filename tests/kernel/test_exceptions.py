"""Programs that throw (Linux 6.7), seen by what they return."""

from __future__ import annotations

import pyebpf
from tests.support.externs import require_function
from tests.support.programs import built


def test_what_is_thrown_is_what_is_returned():
    """By way of the callback that the program names, or as it is."""
    require_function("bpf_throw", "6.7")
    short, long = bytes(64), bytes(200)
    with pyebpf.load(built("exceptions")) as bpf:
        found = {
            name: [program.run(packet).retval for packet in (short, long)]
            for name, program in bpf.programs.items()
        }
    assert found == {"with_callback": [1, 42], "without": [2, 3]}
