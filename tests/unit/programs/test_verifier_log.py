"""What the library makes of verifier logs."""

from __future__ import annotations

import struct

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.errors import SourceLine, VerifierError
from pyebpf.programs.verifier_log import last_instruction, source_line, summary

NO_READ = """\
0: R1=ctx() R10=fp0
; return *(int *)0; @ refused.bpf.c:10
0: (bf) r0 = r2
R2 !read_ok
processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
STATE = """\
5: (61) r2 = *(u32 *)(r1 +80)
invalid bpf_context access off=80 size=4
processed 6 insns (limit 1000000)
"""
REGISTERS = """\
3: (79) r1 = *(u64 *)(r10 -8)
reg type unsupported for arg#0
R1=inv(id=0)
"""

ADVICE = """\
0: R1=ctx() R10=fp0
0: (95) exit
R0 !read_ok

Verification failed: Register Type Safety: Unreadable register

Reason:
  R0 does not contain a readable value on this path.

At:
  p
  Instruction context:
  >>> 0 | (95) exit

Suggestion:
  Initialize R0 on every path before this instruction.

processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


@pytest.mark.parametrize(
    ("log", "text", "omitted"),
    [
        (NO_READ, "R2 !read_ok", 4),
        (STATE, "5: (61) r2 = *(u32 *)(r1 +80) invalid bpf_context access off=80 size=4", 1),
        (REGISTERS, "reg type unsupported for arg#0 R1=inv(id=0)", 1),
        (ADVICE, "R0 !read_ok", 12),
        ("", "", 0),
        ("processed 0 insns\n\n", "", 1),
        ("one line", "one line", 0),
    ],
    ids=[
        "reason",
        "needs its instruction",
        "register state",
        "advice",
        "empty",
        "only noise",
        "one line",
    ],
)
def test_the_summary_is_the_last_line_that_means_something(log, text, omitted):
    """Statistics and blank lines never hide the reason, and what is left out is counted."""
    assert summary(log) == (text, omitted)


def test_the_last_instruction_is_the_one_that_was_refused():
    """Instruction lines carry the slot; states and source lines do not."""
    assert last_instruction(NO_READ) == 0
    assert last_instruction(STATE) == 5
    assert last_instruction("from 3 to 5: R0=0\n") is None


def btf_with_strings(*texts: str) -> tuple[Btf, list[int]]:
    strings, offsets = b"\0", []
    for text in texts:
        offsets.append(len(strings))
        strings += text.encode() + b"\0"
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, len(strings))
    return Btf.decode(header + strings), offsets


def test_an_instruction_has_the_source_line_at_or_before_it():
    """Records cover from their slot up to the next record; the file loses its directories."""
    btf, (file, first, second) = btf_with_strings("/src/a.c", "int x;", "\treturn x;")
    records = struct.pack("<4I", 2, file, first, 7 << 10 | 5)
    records += struct.pack("<4I", 4, file, second, 9 << 10 | 2)

    def line(slot: int) -> SourceLine | None:
        return source_line(slot, records, btf, "little")

    assert line(1) is None
    assert line(2) == line(3) == SourceLine("a.c", 7, 5, "int x;")
    assert line(99) == SourceLine("a.c", 9, 2, "\treturn x;")


def test_a_source_line_that_names_no_string_is_no_source_line():
    """Explaining an error never raises another one."""
    btf, _ = btf_with_strings("a.c")
    records = struct.pack("<4I", 0, 5000, 1, 7 << 10)
    assert source_line(0, records, btf, "little") is None


def test_the_explanation_points_at_the_column():
    """The caret stands under the refused expression, also behind a tab."""
    error = VerifierError(
        "BPF_PROG_LOAD",
        13,
        "R2 !read_ok",
        log=NO_READ,
        source=SourceLine("a.c", 9, 9, "\treturn *value;"),
    )
    lines = error.explain().splitlines()
    assert lines[0] == "BPF_PROG_LOAD: EACCES: R2 !read_ok"
    assert lines[1] == "--> a.c:9:9"
    assert lines[2] == "     9 |         return *value;"
    assert lines[3].index("^") == lines[2].index("*")
