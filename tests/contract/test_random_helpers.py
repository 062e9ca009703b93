"""Random calls of map helpers by programs, on both kernels at once: one answers as the other."""

from __future__ import annotations

import contextlib
import struct
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyebpf.host import cpus
from pyebpf.sys import bpf
from pyebpf.sys import kernel as seam
from pyebpf.sys.fd import FD
from pyebpf.testing import FakeKernel
from pyebpf.uapi.attrs import ProgTestRun
from pyebpf.uapi.bpf import MapType, ProgType
from pyebpf.uapi.helpers import FuncId
from tests.support.amount import amount
from tests.support.contract import NO_PREALLOC, create, load, lookup, prefix, u32, walk
from tests.support.producers import on_cpu

KINDS = {
    "hash": (MapType.HASH, 4, 3, 0),
    "per_cpu_hash": (MapType.PERCPU_HASH, 4, 3, 0),
    "array": (MapType.ARRAY, 4, 3, 0),
    "per_cpu_array": (MapType.PERCPU_ARRAY, 4, 3, 0),
    "trie": (MapType.LPM_TRIE, 5, 3, NO_PREALLOC),
    "queue": (MapType.QUEUE, 0, 2, 0),
    "stack": (MapType.STACK, 0, 2, 0),
}
KEYED = ["lookup", "update", "delete", "change"]
UNKEYED = ["push", "pop", "peek"]
FUNCTIONS = {
    "lookup": FuncId.map_lookup_elem,
    "change": FuncId.map_lookup_elem,
    "update": FuncId.map_update_elem,
    "delete": FuncId.map_delete_elem,
    "push": FuncId.map_push_elem,
    "pop": FuncId.map_pop_elem,
    "peek": FuncId.map_peek_elem,
}
PACKET = bytes(64)
KEY, VALUE = -16, -8  # on the stack


def insn(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


def program(fd: int, what: str, key: bytes, value: int, flags: int) -> bytes:
    """Return the code that makes one call and returns what it gave."""
    words = struct.unpack("=2i", key.ljust(8, b"\0"))
    code = [insn(0x62, 10, 0, KEY, words[0]), insn(0x62, 10, 0, KEY + 4, words[1])]
    code += [insn(0x7A, 10, 0, VALUE, value)]
    code += [insn(0x18, 1, 1, 0, fd), insn(0)]
    place = VALUE if what in UNKEYED else KEY
    code += [insn(0xBF, 2, 10), insn(0x07, 2, 0, 0, place)]
    if what == "update":
        code += [insn(0xBF, 3, 10), insn(0x07, 3, 0, 0, VALUE), insn(0xB7, 4, 0, 0, flags)]
    if what == "push":
        code += [insn(0xB7, 3, 0, 0, flags)]
    code += [insn(0x85, 0, 0, 0, int(FUNCTIONS[what]))]
    if what in ("pop", "peek"):
        # The value if there was one.
        code += [insn(0x55, 0, 0, 1, 0), insn(0x61, 0, 10, VALUE)]
    elif what in ("lookup", "change"):
        missing = insn(0xB7, 0, 0, 0, -1)
        found = [insn(0xBF, 1, 0), insn(0x61, 0, 1, 0)]
        if what == "change":
            found += [insn(0x62, 1, 0, 0, value)]
        code += [insn(0x55, 0, 0, 2, 0), missing, insn(0x05, 0, 0, len(found)), *found]
    return b"".join([*code, insn(0x95)])


def call(fd: FD, step: tuple[Any, ...]) -> int:
    with load(ProgType.SCHED_CLS, program(fd.fileno(), *step)) as loaded:
        attr = ProgTestRun(prog_fd=loaded.fileno(), data_in=PACKET, data_size_in=len(PACKET))
        bpf.prog_test_run(attr)
        return int(attr.retval)


def answers(name: str, steps: list[Any]) -> list[Any]:
    kind, size, entries, flags = KINDS[name]
    with create(kind, size, 4, entries, flags) as fd:
        found: list[Any] = [call(fd, step) for step in steps]
        if size:
            per_cpu = name.startswith("per_cpu")
            length = 8 * cpus.possible() if per_cpu else 4
            # What the first CPU has: the two kernels differ in how many there are.
            left = [(key, lookup(fd, key, length)[:4]) for key in walk(fd, size)]
            found.append(sorted(left))
        return found


def steps_of(name: str) -> st.SearchStrategy[list[Any]]:
    if name in ("queue", "stack"):
        operations, keys = UNKEYED, st.just(b"")
        flags = st.sampled_from([0, 0, 2])
    else:
        operations = KEYED
        keys = st.integers(0, 4).map(u32)
        if name == "trie":
            keys = st.tuples(st.integers(0, 9), st.sampled_from([0, 128, 255])).map(
                lambda parts: prefix(parts[0], bytes(parts[1:]))
            )
        flags = st.sampled_from([0, 0, 1, 2, 3])
    one = st.tuples(st.sampled_from(operations), keys, st.integers(0, 3), flags)
    return st.lists(one, max_size=12)


@pytest.mark.usefixtures("like_this_kernel")
@pytest.mark.parametrize("name", KINDS)
def test_random_helpers_are_answered_alike(name: str, age: tuple[int, int]) -> None:
    """Values and errnos, of the same calls on the same kind of map."""

    @settings(
        max_examples=amount(25),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(steps_of(name))
    def compare(steps: list[Any]) -> None:
        with seam.use(fake):
            made_up = answers(name, steps)
        with on_cpu(0):
            assert made_up == answers(name, steps)

    with contextlib.closing(FakeKernel("{}.{}".format(*age))) as fake:
        compare()
