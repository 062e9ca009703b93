"""The public suite bpf_conformance, where ``BPF_CONFORMANCE`` names a copy of it.

Whole and step by step, every case gives its result, or is listed here with the reason.
"""

from __future__ import annotations

import os
import pathlib

import pytest

from pyebpf.errors import AsmError
from pyebpf.testing.interpreter import BytesContext, Machine, Program, ValuesContext
from pyebpf.testing.interpreter.contexts import Context
from tests.support import conformance

FOLDER = os.environ.get("BPF_CONFORMANCE", "")
CASES = sorted(pathlib.Path(FOLDER, "tests").glob("*.data")) if FOLDER else []

# Refused for good, as by Linux.
REFUSED = {
    "callx": "the kernel has no call of a helper whose number is in a register (opcode 0x8d)",
}


class Mem(BytesContext):
    """The suite's memory in r1 and its size in r2."""

    def enter(self, memory, byteorder):
        return (*super().enter(memory, byteorder), len(self.data))


MISSING = pytest.mark.skip(reason="BPF_CONFORMANCE names no copy of the bpf_conformance suite")


@pytest.mark.parametrize(
    "path",
    CASES or [pytest.param(pathlib.Path("suite"), marks=MISSING)],
    ids=lambda path: path.stem,
)
def test_conformance(path: pathlib.Path) -> None:
    """Each case ends with the value it names."""
    case = conformance.read(path)
    if case.raw:
        expected = b"".join(slot.to_bytes(8, "little") for slot in case.raw)
        assert expected == case.code
    if case.name in REFUSED:
        with pytest.raises(AsmError, match="unknown instruction"):
            Program(case.code)
        return
    program = Program(case.code, name=case.name, byteorder="little")
    machine = Machine()
    assert case.result == machine.run(program, context(case)).r0
    steps = machine.steps(program, context(case))
    taken = sum(1 for _ in steps)
    assert steps.result is not None
    assert (case.result, taken) == (steps.result.r0, steps.result.instructions)


def context(case: conformance.Case) -> Context:
    if case.memory is None:
        return ValuesContext(0, 0)
    return Mem(case.memory, writable=True)
