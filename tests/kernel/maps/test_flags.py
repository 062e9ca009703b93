"""Creation flags do what they are for, each seen by what it changes."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest

import pyebpf
from pyebpf import Map, MapFlag, MapSpec, MapType
from pyebpf.host import cpus
from tests.support.children import fork

WRITE = """
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = numbers ll
    call bpf_map_lookup_elem
    if r0 == 0 goto out
    *(u64 *)(r0 + 0) = 7
out:
    w0 = 0
    exit
"""
READ = WRITE.replace("*(u64 *)(r0 + 0) = 7", "r1 = *(u64 *)(r0 + 0)")


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        (0, {"read", "write"}),
        (MapFlag.RDONLY_PROG, {"read"}),
        (MapFlag.WRONLY_PROG, {"write"}),
    ],
)
def test_programs_may_do_what_the_flags_leave(flags, allowed):
    """The verifier refuses the rest; this process may do both."""
    spec = MapSpec(
        name="numbers", type=MapType.ARRAY, key_size=4, value_size=8, max_entries=1, flags=flags
    )
    for what, text in (("read", READ), ("write", WRITE)):
        program = pyebpf.ProgramSpec.assemble(what, text, section="socket")
        collection = pyebpf.CollectionSpec(maps={"numbers": spec}, programs={what: program})
        if what not in allowed:
            with pytest.raises(pyebpf.VerifierError, match=f"{what} .*forbidden"):
                pyebpf.load(collection)
            continue
        with pyebpf.load(collection) as bpf:
            numbers = bpf.maps["numbers"]
            numbers[0] = (5).to_bytes(8, sys.byteorder)
            bpf.programs[what].run(bytes(64))
            wanted = 7 if what == "write" else 5
            assert int.from_bytes(numbers[0], sys.byteorder) == wanted


def test_inner_arrays_may_have_other_sizes():
    """With ``BPF_F_INNER_MAP``; without it all are like the model."""
    shape = {"type": MapType.ARRAY, "value": "I"}
    for flags in (MapFlag.INNER_MAP, 0):
        with (
            Map.create(**shape, max_entries=4, flags=flags) as model,
            Map.create(**shape, max_entries=9, flags=flags) as longer,
            Map.create(type=MapType.ARRAY_OF_MAPS, max_entries=1, inner=model, name="o") as outer,
        ):
            if flags:
                outer[0] = longer
                assert outer[0] == longer.id
            else:
                with pytest.raises(pyebpf.EbpfError, match='update map "o"'):
                    outer[0] = longer


def test_values_of_a_listening_socket_are_those_of_its_connections(netns):
    """With ``BPF_F_CLONE`` an accepted socket is born with a copy."""
    with netns.entered():
        for flags in (MapFlag.CLONE, 0):
            with (
                Map.create(type=MapType.SK_STORAGE, value="I", flags=flags) as storage,
                socket.create_server(("127.0.0.1", 0)) as listener,
            ):
                storage[listener] = 7
                with socket.create_connection(listener.getsockname()), listener.accept()[0] as one:
                    assert storage.get(one) == (7 if flags else None)
                    if flags:
                        storage[one] = 8
                    assert storage[listener] == 7


def test_without_common_lists_each_cpu_forgets_for_itself():
    """``BPF_F_NO_COMMON_LRU``: who writes on one CPU has that CPU's share of the entries."""
    number = cpus.possible()
    if number == 1:
        pytest.skip("there is one CPU")
    allowed = os.sched_getaffinity(0)
    shape = {"type": MapType.LRU_HASH, "key": "I", "value": "I", "max_entries": 1024 * number}
    kept = {}
    try:
        os.sched_setaffinity(0, {min(allowed)})
        for flags in (MapFlag.NO_COMMON_LRU, 0):
            with Map.create(**shape, flags=flags) as m:
                m.update_batch({key: key for key in range(1024 * number)})
                kept[flags] = len(m)
    finally:
        os.sched_setaffinity(0, allowed)
    assert kept[MapFlag.NO_COMMON_LRU] == 1024 < kept[0]


def test_a_seed_of_zero_gives_every_map_the_same_order():
    """Which hashes have by themselves only by chance."""
    orders = {}
    for flags in (MapFlag.ZERO_SEED, 0):
        orders[flags] = set()
        for _ in range(3):
            with Map.create(
                type=MapType.HASH, key="I", value="I", max_entries=300, flags=flags
            ) as m:
                m.update_batch({key: key for key in range(300)})
                orders[flags].add(tuple(m))
    assert len(orders[MapFlag.ZERO_SEED]) == 1
    assert len(orders[0]) == 3


@pytest.mark.parametrize("flags", [MapFlag.SEGV_ON_FAULT, 0], ids=str)
def test_a_page_of_an_arena_is_there_when_it_is_touched(flags):
    """Unless ``BPF_F_SEGV_ON_FAULT`` says that only programs make pages."""
    with pyebpf.Arena.create(type=MapType.ARENA, max_entries=4, flags=flags) as arena:
        memory = arena.memory()
        child = fork()
        if child == 0:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            memory[0] = 1
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        del memory
    assert os.WIFSIGNALED(status) == bool(flags)
    assert not flags or os.WTERMSIG(status) == signal.SIGSEGV
