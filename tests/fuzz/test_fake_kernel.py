"""Hostile programs and types for the made-up kernel: an errno or a descriptor, nothing else."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import SyscallError
from pyebpf.sys import bpf
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import BtfLoad, ProgLoad
from pyebpf.uapi.bpf import ProgType
from tests.support.contract import RETURN_TWO

OPCODES = [0x05, 0x07, 0x15, 0x18, 0x61, 0x62, 0x7B, 0x85, 0x95, 0xB4, 0xB7, 0xBF, 0xC3, 0xDB]
INSTRUCTION = st.builds(
    lambda opcode, registers, offset, immediate: struct.pack(
        "=BBhi", opcode, registers, offset, immediate
    ),
    st.one_of(st.sampled_from(OPCODES), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 0x10, 0x21, 0x2A]), st.integers(0, 255)),
    st.one_of(st.integers(-3, 3), st.integers(-32768, 32767)),
    st.one_of(st.integers(-1, 6), st.integers(-(1 << 31), (1 << 31) - 1)),
)


@given(st.lists(INSTRUCTION, max_size=12), st.booleans(), st.sampled_from(list(ProgType)))
def test_programs_load_or_are_refused_with_a_reason(code, ends, kind):
    """The log says why."""
    data = b"".join(code) + (RETURN_TWO if ends else b"")
    log = bytearray(4096)
    attr = ProgLoad(
        prog_type=kind,
        insns=data or b"\0",
        insn_cnt=len(data) // 8,
        license=b"GPL\0",
        log_level=1,
        log_buf=log,
        log_size=len(log),
    )
    # Functions of modules are what it does not model.
    with FakeKernel(), contextlib.suppress(SyscallError, NotImplementedError):
        bpf.prog_load(attr).close()


@given(st.binary(max_size=200), st.booleans())
def test_types_load_or_are_refused(data, prefixed):
    """Whatever the bytes."""
    blob = (b"\x9f\xeb\1\0\x18\0\0\0" if prefixed else b"") + data
    with FakeKernel(), contextlib.suppress(SyscallError):
        bpf.btf_load(BtfLoad(btf=blob or b"\0", btf_size=len(blob))).close()
