"""Programs: what is refused for its structure, what runs, what is told about them."""

from __future__ import annotations

import struct

import pytest

import pyebpf
from pyebpf.errors import SyscallError, VerifierError
from pyebpf.sys import bpf
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgBindMap, ProgLoad, ProgTestRun
from pyebpf.uapi.bpf import AttachType, MapType, ProgFlag, ProgType
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.info import ProgInfo
from tests.support.contract import RETURN_TWO, create, load, outcome
from tests.support.kernel import parse_version
from tests.support.programs import built


def code(*instructions: tuple[int, int, int, int, int]) -> bytes:
    """Return instructions given as opcode, dst, src, offset, immediate."""
    return b"".join(
        struct.pack("=BBhi", opcode, dst | src << 4, offset, immediate)
        for opcode, dst, src, offset, immediate in instructions
    )


RETURN_ZERO = ((0xB7, 0, 0, 0, 0), (0x95, 0, 0, 0, 0))
WIDE = (0x18, 1, 0, 0, 0), (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (code(*RETURN_ZERO), None),
        (b"", "E2BIG"),
        (code((0xFF, 0, 0, 0, 0), *RETURN_ZERO), "EINVAL"),
        (code((0xB7, 11, 0, 0, 0), *RETURN_ZERO), "EINVAL"),
        (code((0x05, 0, 0, 7, 0), *RETURN_ZERO), "EINVAL"),
        (code((0x05, 0, 0, -9, 0), *RETURN_ZERO), "EINVAL"),
        (code((0xB7, 0, 0, 0, 0)), "EINVAL"),
        (code((0x05, 0, 0, 1, 0), *WIDE, *RETURN_ZERO), "EINVAL"),
        (code(*RETURN_ZERO, (0xB7, 0, 0, 0, 0)), "EINVAL"),
        (code((0x18, 1, 0, 0, 0)), "EINVAL"),
        (code((0x18, 1, 1, 0, 4242), (0, 0, 0, 0, 0), *RETURN_ZERO), "EBADF"),
        (code((0x85, 0, 0, 0, 99999), (0x95, 0, 0, 0, 0)), "EINVAL"),
        (code((0x85, 0, 0, 0, 0), (0x95, 0, 0, 0, 0)), "EINVAL"),
        (code((0xB7, 0, 0, 0, 0), (0x07, 10, 0, 0, 1), (0x95, 0, 0, 0, 0)), "EACCES"),
    ],
    ids=str,
)
def test_structure_is_checked(kernel, program, expected):
    """Opcodes, registers, jumps, ends, descriptors, helpers."""
    attr = ProgLoad(
        prog_type=ProgType.SOCKET_FILTER,
        insns=program or RETURN_TWO,
        insn_cnt=len(program) // 8,
        license=b"GPL\0",
    )
    assert outcome(lambda: bpf.prog_load(attr).close()) == expected


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        (ProgType.UNSPEC, {}, "EINVAL"),
        (ProgType(99), {}, "EINVAL"),
        (ProgType.XDP, {}, None),
        (ProgType.XDP, {"prog_flags": 1 << 30}, "EINVAL"),
        (ProgType.XDP, {"attach_btf_id": 1}, "EINVAL"),
        (ProgType.XDP, {"prog_btf_fd": 4242, "func_info_cnt": 1}, "EBADF"),
        (ProgType.CGROUP_SKB, {}, None),
        (ProgType.CGROUP_SKB, {"expected_attach_type": AttachType.XDP}, "EINVAL"),
        (ProgType.CGROUP_SOCK_ADDR, {}, "EINVAL"),
        (ProgType.CGROUP_SOCK_ADDR, {"expected_attach_type": 10}, None),
        (ProgType.SK_LOOKUP, {}, "EINVAL"),
        (ProgType.SYSCALL, {}, "EINVAL"),
        (ProgType.SYSCALL, {"prog_flags": ProgFlag.SLEEPABLE}, None),
        (ProgType.TRACING, {}, "EINVAL"),
        (ProgType.TRACEPOINT, {}, None),
        (ProgType.KPROBE, {}, None),
        (ProgType.PERF_EVENT, {}, None),
        (ProgType.RAW_TRACEPOINT, {}, None),
    ],
    ids=str,
)
def test_the_request_is_checked(kernel, age, kind, more, expected):
    """Types, flags, attach types, descriptors."""
    if kind.since and parse_version(kind.since) > age:
        expected = "EINVAL"
    program = code(*RETURN_ZERO)
    if kind == ProgType.CGROUP_SOCK_ADDR:
        program = code((0xB7, 0, 0, 0, 1), (0x95, 0, 0, 0, 0))
    assert outcome(lambda: load(kind, program, **more).close()) == expected


@pytest.mark.parametrize("helper", [FuncId.trace_printk, FuncId.get_current_task])
def test_helpers_for_the_gpl_want_a_licence(kernel, helper):
    """EINVAL, before anything else is looked at."""
    program = code((0x85, 0, 0, 0, int(helper)), (0x95, 0, 0, 0, 0))
    attr = ProgLoad(prog_type=ProgType.KPROBE, insns=program, insn_cnt=2, license=b"Proprietary\0")
    log = bytearray(4096)
    attr.log_buf, attr.log_size, attr.log_level = log, len(log), 1
    assert outcome(lambda: bpf.prog_load(attr).close()) == "EINVAL"
    assert b"cannot call GPL-restricted function from non-GPL compatible program" in log


def test_the_verifiers_words_reach_the_error(kernel):
    """The instruction is named."""
    spec = pyebpf.load_spec(built("count"))
    program = next(iter(spec.programs.values()))
    broken = bytearray(program.code)
    broken[0] = 0xFF
    program.code = bytes(broken)
    for each in list(spec.programs.values())[1:]:
        each.autoload = False
    with pytest.raises(VerifierError) as caught, pyebpf.load(spec):
        pass
    assert caught.value.log


def test_what_is_behind_a_known_no_is_not_looked_at(kernel):
    """A helper that no kernel has, where the condition is a constant; otherwise it is refused."""
    guarded = code(
        (0xB7, 0, 0, 0, 0),
        (0x15, 0, 0, 1, 0),
        (0x85, 0, 0, 0, 99999),
        (0x95, 0, 0, 0, 0),
    )
    assert outcome(lambda: load(code=guarded).close()) is None
    unguarded = code(
        (0x61, 0, 1, 0, 0),
        (0x15, 0, 0, 1, 0),
        (0x85, 0, 0, 0, 99999),
        (0x95, 0, 0, 0, 0),
    )
    assert outcome(lambda: load(code=unguarded).close()) == "EINVAL"


def test_a_constant_of_a_frozen_map_is_known(kernel):
    """As of ``const volatile``: the dead side is not looked at."""
    with create(MapType.ARRAY, 4, 4, 1, 1 << 7) as fd:
        map_value = insn.PSEUDO_MAP_VALUE
        program = code(
            (0x18, 1, map_value, 0, fd.fileno()),
            (0, 0, 0, 0, 0),
            (0x61, 0, 1, 0, 0),
            (0x15, 0, 0, 1, 0),
            (0x85, 0, 0, 0, 99999),
            (0x95, 0, 0, 0, 0),
        )
        assert outcome(lambda: load(code=program).close()) == "EINVAL"
        bpf.map_freeze(pyebpf_attr(fd.fileno()))
        assert outcome(lambda: load(code=program).close()) is None


def pyebpf_attr(fd: int) -> object:
    from pyebpf.uapi.attrs import MapElem

    return MapElem(map_fd=fd)


def test_programs_keep_their_maps(kernel):
    """Those in the code, and those that are bound to them."""
    bound = create(MapType.ARRAY, 4, 4, 1)
    with load() as program:
        attr = ProgBindMap(prog_fd=program.fileno(), map_fd=bound.fileno())
        bpf.prog_bind_map(attr)
        bound.close()
        info = ProgInfo()
        bpf.obj_get_info_by_fd(program.fileno(), info)
        assert info.nr_map_ids == 1
        words = bytearray(4)
        again = ProgInfo(nr_map_ids=1, map_ids=words)
        bpf.obj_get_info_by_fd(program.fileno(), again)
        bpf.map_get_fd_by_id(struct.unpack("=I", words)[0]).close()


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        (ProgType.SOCKET_FILTER, {"data_in": bytes(14), "data_size_in": 14}, 2),
        (ProgType.SOCKET_FILTER, {"data_in": bytes(13), "data_size_in": 13}, "EINVAL"),
        (ProgType.SOCKET_FILTER, {}, "EINVAL"),
        (ProgType.XDP, {"data_in": bytes(64), "data_size_in": 64}, 2),
        (ProgType.XDP, {"data_in": bytes(64), "data_size_in": 64, "cpu": 1}, 2),
        (ProgType.XDP, {"data_in": bytes(64), "data_size_in": 64, "flags": 1}, "EINVAL"),
        (ProgType.XDP, {"data_in": bytes(64), "data_size_in": 64, "batch_size": 1}, "EINVAL"),
        (ProgType.TRACEPOINT, {}, "524"),
        (ProgType.KPROBE, {}, "524"),
        (ProgType.RAW_TRACEPOINT, {}, 2),
        (ProgType.RAW_TRACEPOINT, {"repeat": 1}, "EINVAL"),
        (ProgType.RAW_TRACEPOINT, {"data_in": bytes(14), "data_size_in": 14}, "EINVAL"),
        (ProgType.RAW_TRACEPOINT, {"ctx_in": bytes(16), "ctx_size_in": 16}, 2),
        (ProgType.RAW_TRACEPOINT, {"ctx_in": bytes(104), "ctx_size_in": 104}, "EINVAL"),
        (ProgType.RAW_TRACEPOINT, {"cpu": 1}, "EINVAL"),
        (ProgType.RAW_TRACEPOINT, {"cpu": 9999, "flags": 1}, "ENXIO"),
        (ProgType.RAW_TRACEPOINT, {"ctx_size_in": 16}, "EINVAL"),
        (ProgType.SYSCALL, {"ctx_in": bytes(16), "ctx_size_in": 16}, 2),
        (ProgType.SYSCALL, {"repeat": 1}, "EINVAL"),
    ],
    ids=str,
)
def test_test_runs_are_checked_and_run(kernel, age, kind, more, expected):
    """Packets, contexts, and kinds that cannot be run so."""
    if kind == ProgType.XDP and "flags" in more and age < (5, 18):
        expected = 2  # nobody looked at them
    flags = ProgFlag.SLEEPABLE if kind == ProgType.SYSCALL else 0

    def attempt() -> int:
        given = {
            name: bytearray(value) if isinstance(value, bytes) else value
            for name, value in more.items()
        }
        attr = ProgTestRun(prog_fd=program.fileno(), **given)
        bpf.prog_test_run(attr)
        return int(attr.retval)

    with load(kind, prog_flags=flags) as program:
        assert outcome(attempt) == expected


def test_a_packet_comes_back_as_far_as_there_is_room(kernel):
    """ENOSPC says how much it takes."""
    with load() as program:
        out = bytearray(20)
        attr = ProgTestRun(
            prog_fd=program.fileno(),
            data_in=bytes(range(14)) + bytes(50),
            data_size_in=64,
            data_out=out,
            data_size_out=20,
        )
        with pytest.raises(SyscallError, match="ENOSPC"):
            bpf.prog_test_run(attr)
        assert (attr.data_size_out, attr.retval) == (64, 2)
        # Socket filters never saw the link-layer header.
        assert bytes(out) == bytes(20)


def test_objects_of_ours_run_alike(kernel):
    """A packet to the blocked port is dropped, another is not, and both are counted."""
    udp = bytearray(64)
    udp[12:14], udp[14], udp[23], udp[36:38] = b"\x08\0", 0x45, 17, b"\0\x09"
    with pyebpf.load(built("xdp_drop")) as collection:
        program, counts = collection.programs["xdp_drop"], collection.maps["counts"]
        assert program.run(bytes(udp)).retval == 1
        assert program.run(bytes(udp), repeat=3).retval == 1
        udp[37] = 10
        assert program.run(bytes(udp)).retval == 2
        assert [counts.sum(n) for n in range(3)] == [0, 4, 1]
