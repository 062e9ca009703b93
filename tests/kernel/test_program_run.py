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


def test_programs_of_objects_run_too():
    """What is loaded from a file, with what its source says."""
    with pyebpf.load(only("xdp_drop", "xdp_drop")) as bpf:
        assert bpf.programs["xdp_drop"].run(bytes(64)).retval == 2
