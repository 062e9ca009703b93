"""Arguments of USDT probes: what compilers write, on each machine, and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import FormatError
from pyebpf.host.usdt_arguments import CONSTANT, INDEXED, MEMORY, REGISTER, Argument, arguments

# Text -> kind, value, register's offset in struct pt_regs, signed, shift, second register, scale.
X86 = {
    "8@%rdi": Argument(REGISTER, 0, 112, False, 0),
    "-4@%esi": Argument(REGISTER, 0, 104, True, 32),
    "2@%ax": Argument(REGISTER, 0, 80, False, 48),
    "-1@%bpl": Argument(REGISTER, 0, 32, True, 56),
    "8@%r15": Argument(REGISTER, 0, 0, False, 0),
    "4@%r9d": Argument(REGISTER, 0, 64, False, 32),
    "-4@$-7": Argument(CONSTANT, -7, 0, True, 32),
    "8@$0x10": Argument(CONSTANT, 16, 0, False, 0),
    "4@(%rbx)": Argument(MEMORY, 0, 40, False, 32),
    "-8@-20(%rbp)": Argument(MEMORY, -20, 32, True, 0),
    "1@8(%rax,%rbx,4)": Argument(INDEXED, 8, 80, False, 56, 40, 2),
    "8@(%rsp,%r8)": Argument(INDEXED, 0, 152, False, 0, 72, 0),
}
ARM64 = {
    "-4@[sp, 12]": Argument(MEMORY, 12, 248, True, 32),
    "8@[x19]": Argument(MEMORY, 0, 152, False, 0),
    "8@x3": Argument(REGISTER, 0, 24, False, 0),
    "4@w0": Argument(REGISTER, 0, 0, False, 32),
    "-4@5": Argument(CONSTANT, 5, 0, True, 32),
}
RISCV = {
    "8@a0": Argument(REGISTER, 0, 80, False, 0),
    "-4@-20(s0)": Argument(MEMORY, -20, 64, True, 32),
    "-4@5": Argument(CONSTANT, 5, 0, True, 32),
}
ALL = [
    (machine, text, expected)
    for machine, table in (("x86_64", X86), ("aarch64", ARM64), ("riscv64", RISCV))
    for text, expected in table.items()
]


@pytest.mark.parametrize(("machine", "text", "expected"), ALL)
def test_a_place_is_understood(machine, text, expected):
    """One of each form."""
    assert arguments(text, machine) == [expected]


@pytest.mark.parametrize(("machine", "table"), [("x86_64", X86), ("aarch64", ARM64)])
def test_several_are_separated_by_blanks(machine, table):
    """Also where a place has a blank of its own."""
    assert arguments(" ".join(table), machine) == list(table.values())
    assert arguments("", machine) == []


@pytest.mark.parametrize(
    "text",
    ["%rdi", "3@%rdi", "8@%nothing", "8@", "8@(%rdi", "8@%rdi%rsi", "8f@%xmm0", "x@%rdi", "8@$x"],
)
def test_what_is_not_understood_is_named(text):
    """It names the argument."""
    with pytest.raises(FormatError, match="USDT argument"):
        arguments(text, "x86_64")


def test_limits_and_other_machines():
    """Twelve are readable; a machine whose registers are not known has none."""
    with pytest.raises(FormatError, match="13 USDT arguments"):
        arguments(" ".join(["8@%rdi"] * 13), "x86_64")
    with pytest.raises(FormatError, match="not known on s390x"):
        arguments("8@%r2", "s390x")
    assert arguments("", "s390x") == []


@given(st.text(alphabet="0123456789@-%$()[], abcdefrspxw", max_size=60))
def test_any_text_is_read_or_refused(text):
    """Never another error."""
    for machine in ("x86_64", "aarch64", "riscv64"):
        with contextlib.suppress(FormatError):
            arguments(text, machine)
