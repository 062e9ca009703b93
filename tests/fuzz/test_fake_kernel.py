"""Hostile programs and types for the made-up kernel: an errno or a descriptor, nothing else."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import EbpfError, SyscallError
from pyebpf.sys import bpf
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import BtfLoad, ProgLoad
from pyebpf.uapi.bpf import MapFlag, MapType, ProgType
from tests.support.contract import RETURN_TWO, create, delete, lookup, next_key, take, u32, update

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


# Kind, bytes of a key, of a value, entries, flags.
SENSIBLE = [
    (MapType.HASH, 4, 4, 2, 0),
    (MapType.LRU_PERCPU_HASH, 4, 4, 2, 0),
    (MapType.ARRAY, 4, 4, 2, 0),
    (MapType.PERCPU_ARRAY, 4, 4, 2, 0),
    (MapType.LPM_TRIE, 8, 4, 2, MapFlag.NO_PREALLOC),
    (MapType.QUEUE, 0, 4, 2, 0),
    (MapType.BLOOM_FILTER, 0, 4, 2, 0),
    (MapType.RINGBUF, 0, 0, 4096, 0),
    (MapType.PROG_ARRAY, 4, 4, 2, 0),
    (MapType.PERF_EVENT_ARRAY, 4, 4, 2, 0),
    (MapType.CGROUP_ARRAY, 4, 4, 2, 0),
    (MapType.DEVMAP, 4, 8, 2, 0),
    (MapType.DEVMAP_HASH, 4, 8, 2, 0),
    (MapType.CPUMAP, 4, 8, 2, 0),
    (MapType.SOCKMAP, 4, 8, 2, 0),
    (MapType.SOCKHASH, 4, 4, 2, 0),
    (MapType.REUSEPORT_SOCKARRAY, 4, 8, 2, 0),
    (MapType.XSKMAP, 4, 4, 2, 0),
    (MapType.STACK_TRACE, 4, 8, 2, 0),
    (MapType.CGROUP_STORAGE, 16, 4, 0, 0),
    (MapType.ARENA, 0, 0, 1, MapFlag.MMAPABLE),
    (MapType.INSN_ARRAY, 4, 16, 2, 0),
]
SIZES = st.integers(0, 1 << 20)
DEFINITIONS = st.one_of(
    st.sampled_from(SENSIBLE),
    st.tuples(st.sampled_from([each for each in MapType if each]), SIZES, SIZES, SIZES, SIZES),
)
SHORT = st.one_of(st.integers(0, 3).map(u32), st.binary(max_size=16))
OPERATIONS = st.tuples(
    st.sampled_from([lookup, update, delete, take, next_key]),
    SHORT,
    SHORT,
    st.sampled_from([0, 0, 1, 2, 3, 4, 1 << 40]),
)


@given(DEFINITIONS, st.lists(OPERATIONS, max_size=12))
def test_elements_of_any_map_are_there_or_not(definition, operations):
    """An errno for everything else."""
    kind, key_size, value_size, entries, flags = definition
    with contextlib.ExitStack() as stack:
        stack.enter_context(FakeKernel("7.3"))
        try:
            fd = stack.enter_context(create(kind, key_size, value_size, entries, int(flags)))
        except (EbpfError, NotImplementedError):
            return
        size = value_size * 2 + 16  # for two CPUs
        for operation, key, value, number in operations:
            given_key = key[:key_size].ljust(key_size, b"\0") or None
            with contextlib.suppress(NotImplementedError):
                if operation is update:
                    update(fd, given_key, value.ljust(size, b"\0"), number)
                elif operation is delete:
                    delete(fd, given_key)
                elif operation is next_key:
                    next_key(fd, given_key, key_size)
                else:
                    operation(fd, given_key, size, number)


@given(st.binary(max_size=200), st.booleans())
def test_types_load_or_are_refused(data, prefixed):
    """Whatever the bytes."""
    blob = (b"\x9f\xeb\1\0\x18\0\0\0" if prefixed else b"") + data
    with FakeKernel(), contextlib.suppress(SyscallError):
        bpf.btf_load(BtfLoad(btf=blob or b"\0", btf_size=len(blob))).close()
