"""Test runs with all that they take: which CPU, how often, real frames in batches."""

from __future__ import annotations

import os
import socket
import struct
import time

import pytest

import pyebpf
from pyebpf import MapSpec, MapType, ProgramSpec
from pyebpf.spec import CollectionSpec
from pyebpf.uapi import bpf as uapi
from tests.support import kernel
from tests.support.programs import only

COUNT = """
    r1 = map[hits][0] ll
    r2 = 1
    lock *(u64 *)(r1 + 0) += r2
"""


def load(section: str, code: str) -> pyebpf.Collection:
    program = ProgramSpec.assemble("p", code, section=section, license="GPL")
    hits = MapSpec(name="hits", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1)
    return pyebpf.load(CollectionSpec(maps={"hits": hits}, programs={"p": program}))


def hits(bpf: pyebpf.Collection) -> int:
    with bpf.maps["hits"].raw as raw:
        return int(struct.unpack("=Q", raw[bytes(4)])[0])


@pytest.mark.parametrize("cpu", sorted(os.sched_getaffinity(0)))
def test_a_run_is_on_the_cpu_that_is_asked_for(cpu):
    """The program says where it is."""
    kernel.needs("5.10", "test runs of raw tracepoints")
    with load("raw_tp/sys_enter", "call bpf_get_smp_processor_id; exit") as bpf:
        result = bpf.programs["p"].run(flags=uapi.TestRunFlag.RUN_ON_CPU, cpu=cpu)
        assert result.retval == cpu


def test_repeated_runs_are_all_real():
    """Counted one by one; the mean of their time is told."""
    with load("xdp", f"{COUNT} r0 = 2; exit") as bpf:
        result = bpf.programs["p"].run(bytes(64), repeat=1000)
        assert (result.retval, hits(bpf)) == (2, 1000)
        assert result.duration_ns < 1_000_000


def test_frames_really_travel_in_batches(veth):
    """Sent out of the cable by the program; the other end's program sees each of them."""
    kernel.needs("5.18", "BPF_F_TEST_XDP_LIVE_FRAMES")
    index = socket.if_nametoindex(veth.name)
    sends = f"r1 = {index}; r2 = 0; call bpf_redirect; exit"
    with load("xdp", sends) as sender, load("xdp", f"{COUNT} r0 = 1; exit") as receiver:
        with veth.peer.entered():
            attached = pyebpf.link.attach_xdp(receiver.programs["p"], veth.peer_name)
        with attached:
            result = sender.programs["p"].run(
                bytes(64), repeat=100, flags=uapi.TestRunFlag.XDP_LIVE_FRAMES, batch_size=16
            )
            # The last of them are delivered in a softirq that may still be on its way.
            deadline = time.monotonic() + 10
            while hits(receiver) < 100 and time.monotonic() < deadline:
                os.sched_yield()
            assert hits(receiver) >= 100
        assert result.data == b""


def test_a_context_goes_in_and_comes_out():
    """A classifier reads its mark and writes its priority."""
    with load("tc", "r0 = *(u32 *)(r1 + 8); r2 = 77; *(u32 *)(r1 + 32) = r2; r0 += 1; exit") as bpf:
        context = bytearray(192)
        struct.pack_into("=I", context, 8, 41)
        result = bpf.programs["p"].run(bytes(64), ctx=context)
        assert result.retval == 42
        assert struct.unpack_from("=I", result.ctx, 32) == (77,)


def test_a_context_may_be_shorter_than_the_kernels():
    """What is missing is zero; as much as was given comes back, and the run is no failure."""
    with load("tc", f"r6 = r1; {COUNT} r0 = *(u32 *)(r6 + 8); exit") as bpf:
        given = struct.pack("=III", 0, 0, 41)  # up to the mark
        result = bpf.programs["p"].run(bytes(64), ctx=given)
        assert (result.retval, hits(bpf)) == (41, 1)
        assert (len(result.ctx), struct.unpack_from("=I", result.ctx, 8)) == (12, (41,))
    kernel.needs("5.16", "contexts of XDP")
    with load("xdp", "r0 = 2; exit") as bpf:
        result = bpf.programs["p"].run(bytes(64), ctx=struct.pack("=II", 0, 64))
        assert result.ctx == struct.pack("=II", 0, 64)


# struct bpf_sk_lookup: TCP over IPv4 to port 80.
LOOKUP = struct.pack("=Q15I", 0, socket.AF_INET, socket.IPPROTO_TCP, *[0] * 11, 80, 0)
IPV4 = struct.pack("!12xH", 0x0800) + b"\x45" + bytes(49)


@pytest.mark.parametrize(
    ("section", "since", "data", "ctx", "size"),
    [
        ("socket", "4.12", IPV4, None, 64),
        ("action", "4.12", IPV4, None, 64),
        ("cgroup_skb/egress", "4.12", IPV4, None, 64),
        ("lwt_xmit", "4.12", IPV4, None, 64),
        # struct bpf_flow_keys; before 6.1, 1 was no answer of these.
        ("flow_dissector", "6.1", IPV4, None, 56),
        ("sk_lookup", "5.14", b"", LOOKUP, 0),
        ("netfilter", "6.4", IPV4, None, 0),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_every_kind_that_can_be_run_runs(section, since, data, ctx, size):
    """Its value, and what becomes of the packet."""
    kernel.needs(since, f'test runs of SEC("{section}")')
    with load(section, "r0 = 1; exit") as bpf:
        result = bpf.programs["p"].run(data, ctx=ctx, repeat=3)
        assert (result.retval, len(result.data)) == (1, size)
        assert result.ctx == (ctx or b"")


@pytest.mark.parametrize(
    ("section", "given", "said"),
    [
        ("xdp", {"data": bytes(13)}, "a packet has 14 bytes at least, not 13"),
        ("syscall", {"repeat": 5}, "BPF_PROG_TYPE_SYSCALL is run once, not 5 times"),
        ("raw_tp/sys_enter", {"data": bytes(64)}, "takes a context and no packet"),
        ("tp_btf/sched_switch", {}, "of tracing programs only those of functions"),
        ("tracepoint/sched/sched_switch", {}, "no test runs of BPF_PROG_TYPE_TRACEPOINT"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_refusal_says_what_is_wrong(section, given, said):
    """The kernel's errno, and what it is about."""
    kernel.needs("5.14", "all of these kinds")
    with load(section, "r0 = 0; exit") as bpf, pytest.raises(pyebpf.SyscallError, match=said):
        bpf.programs["p"].run(**given)


def test_programs_of_objects_run_too():
    """What is loaded from a file, with what its source says."""
    with pyebpf.load(only("xdp_drop", "xdp_drop")) as bpf:
        assert bpf.programs["xdp_drop"].run(bytes(64)).retval == 2
