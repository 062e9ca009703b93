"""Helpers called from programs; packets, maps and text beside the kernel's are in tests/kernel."""

from __future__ import annotations

import errno
import random

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import ExecutionError
from pyebpf.testing.interpreter import (
    BytesContext,
    Machine,
    Program,
    RawTracepointContext,
    SkbContext,
    Task,
    World,
    XdpContext,
)
from pyebpf.testing.interpreter.arena import ArenaMap
from pyebpf.testing.interpreter.map_kinds import (
    ArrayMap,
    BloomFilter,
    HashMap,
    LpmTrie,
    PerfEventArray,
    QueueMap,
    RingBuffer,
    StackTraceMap,
)
from pyebpf.uapi import insn
from pyebpf.uapi.bpf import MapType, ProgType, UpdateFlag
from pyebpf.uapi.helpers import FuncId
from tests.support.code import add, call, load, map_pointer, mov, number, small, store

EXIT = Instruction(insn.JMP | insn.EXIT)
TEXT = 0x7000_0000_1000
CONTEXT = mov(1, 6)


def made(*code: Instruction, **more) -> Program:
    begin = mov(6, 1)
    return Program(encode_all([begin, *code, EXIT], "little"), byteorder="little", **more)


def run(*code: Instruction, machine=None, context=None, **more) -> int:
    """Run code with the context in r6 and return r0, signed."""
    machine = machine or Machine()
    r0 = machine.run(made(*code, **more), context or BytesContext(bytes(64))).r0
    return r0 - (1 << 64) if r0 >> 63 else r0


def argument(dst: int, value: int) -> list[Instruction]:
    return [number(dst, value)]


# --- the machine and the task ---------------------------------------------------------------------


def test_programs_see_the_world_that_a_test_made() -> None:
    """Clocks, CPU, node, random numbers, task."""
    task = Task(pid=7, tgid=5, uid=1000, gid=100, comm=b"daemon", cgroup_id=9, address=0xABC)
    world = World(clock=lambda: 12_000_000, random=random.Random(1), cpu=3, numa_node=1, task=task)
    machine = Machine(world)
    expected = {
        FuncId.ktime_get_ns: 12_000_000,
        FuncId.ktime_get_boot_ns: 12_000_000,
        FuncId.jiffies64: 3,
        FuncId.get_smp_processor_id: 3,
        FuncId.get_numa_node_id: 1,
        FuncId.get_current_pid_tgid: 5 << 32 | 7,
        FuncId.get_current_uid_gid: 100 << 32 | 1000,
        FuncId.get_current_cgroup_id: 9,
        FuncId.get_current_task: 0xABC,
        FuncId.get_prandom_u32: random.Random(1).getrandbits(32),
    }
    found = {helper: run(call(helper), machine=machine) for helper in expected}
    assert expected == found


@pytest.mark.parametrize(("size", "expected"), [(16, b"a-long-process-"), (4, b"a-l"), (1, b"")])
def test_the_name_is_cut_and_filled_with_zeros(size, expected) -> None:
    """Whatever the size, a NUL ends it."""
    machine = Machine(World(task=Task(comm=b"a-long-process-name")))
    room = HashMap("out", key_size=4, value_size=size, max_entries=1)
    code = [Instruction(insn.ST | insn.MEM | insn.W, 10, 0, -4, 1), mov(1, 10), add(1, -24)]
    code += [small(2, size), call(FuncId.get_current_comm), map_pointer(1, 1), mov(2, 10)]
    code += [add(2, -4), mov(3, 10), add(3, -24), small(4, 0), call(FuncId.map_update_elem)]
    assert run(*code, machine=machine, maps={1: room}) == 0
    assert bytes(room.lookup(b"\1\0\0\0", 0).data) == expected.ljust(size, b"\0")


def test_stacks_are_those_a_test_names() -> None:
    """Equal ones have one number; frames are skipped; there may be none."""
    machine = Machine(World(stacks={"kernel": [0x10, 0x20, 0x30], "user": []}))
    traces = StackTraceMap("traces", value_size=16, max_entries=4)

    def stack_id(flags: int) -> int:
        code = [CONTEXT, map_pointer(2, 1), small(3, flags), call(FuncId.get_stackid)]
        return run(*code, machine=machine, maps={1: traces})

    assert [stack_id(0), stack_id(1), stack_id(0)] == [0, 1, 0]
    assert stack_id(1 << 8) == -errno.EFAULT
    assert stack_id(1 << 20) == -errno.EINVAL
    assert traces.traces[1] == b"\x20" + bytes(7) + b"\x30" + bytes(7)


# --- reading memory -------------------------------------------------------------------------------


def read_string(memory: bytes, size: int, helper=FuncId.probe_read_user_str) -> tuple[int, bytes]:
    machine = Machine()
    machine.memory.map(TEXT, memory)
    out = ArrayMap("out", value_size=16, max_entries=1, contents=b"x" * 16)
    fetch = Instruction(insn.LD | insn.IMM | insn.DW, 1, insn.PSEUDO_MAP_VALUE, 0, 1)
    code = [fetch, small(2, size), number(3, TEXT), call(helper)]
    found = run(*code, machine=machine, maps={1: out})
    return found, bytes(out.lookup(bytes(4), 0).data)


@pytest.mark.parametrize(
    ("memory", "size", "length", "expected"),
    [
        (b"name\0rest", 16, 5, b"name\0"),
        (b"longer than that\0", 8, 8, b"longer \0"),
        (b"\0", 8, 1, b"\0"),
        (b"no end", 16, -errno.EFAULT, bytes(16)),
        (b"no end", 4, 4, b"no \0"),
        (b"any\0", 0, 0, b""),
    ],
)
def test_strings_are_read_up_to_their_end(memory, size, length, expected) -> None:
    """The length counts the NUL; bytes behind it stay; what cannot be read becomes zeros."""
    found, out = read_string(memory, size)
    assert (length, expected.ljust(16, b"x")[:16]) == (found, out)


def test_what_is_not_there_is_an_error_and_zeros() -> None:
    """EFAULT of user space; of the kernel, an address of user space is out of range."""
    for helper, expected in (
        (FuncId.probe_read, -errno.EFAULT),
        (FuncId.probe_read_user, -errno.EFAULT),
        (FuncId.probe_read_kernel, -errno.ERANGE),
        (FuncId.copy_from_user, -errno.EFAULT),
    ):
        code = [Instruction(insn.ST | insn.MEM | insn.DW, 10, 0, -8, 1), mov(1, 10), add(1, -8)]
        code += [small(2, 8), number(3, 0x1234_0000), call(helper), load(8, 1, 10, -8)]
        assert run(*code) == expected
        assert run(*code, mov(0, 1)) == 0


def test_user_memory_is_written_if_it_is_there() -> None:
    """probe_write_user changes what the test placed."""
    machine = Machine()
    region = machine.memory.map(TEXT, bytearray(8))
    code = [Instruction(insn.ST | insn.MEM | insn.DW, 10, 0, -8, 0x41), number(1, TEXT), mov(2, 10)]
    code += [add(2, -8), small(3, 8), call(FuncId.probe_write_user)]
    assert run(*code, machine=machine) == 0
    assert bytes(region.data) == b"A" + bytes(7)


# --- events ---------------------------------------------------------------------------------------


def test_perf_events_carry_the_packet_they_ask_for() -> None:
    """Data of the program, then as many bytes of the packet as the flags say."""
    events = PerfEventArray("events", max_entries=2, room=100)

    def output(flags: int, context) -> int:
        code = [Instruction(insn.ST | insn.MEM | insn.DW, 10, 0, -8, 0x41), CONTEXT]
        code += [map_pointer(2, 1), number(3, flags), mov(4, 10), add(4, -8), small(5, 4)]
        code.append(call(FuncId.perf_event_output))
        machine = Machine(World(cpu=1))
        return run(*code, machine=machine, context=context, maps={1: events})

    packet = bytes(range(64))
    assert output(0xFFFF_FFFF, BytesContext(b"")) == 0
    assert output(3 << 32, XdpContext(packet)) == 0
    assert output(5 << 32 | 0xFFFF_FFFF, SkbContext(packet)) == 0
    assert events.events == [
        (1, b"A\0\0\0"), (0, b"A\0\0\0\0\1\2"), (1, b"A\0\0\0\0\1\2\3\4"),
    ]  # fmt: skip
    assert output(65 << 32, XdpContext(packet)) == -errno.EFAULT
    assert output(1 << 32, BytesContext(b"")) == -errno.EINVAL
    assert output(2, BytesContext(b"")) == -errno.E2BIG
    assert output(60 << 32, XdpContext(packet)) == -errno.ENOSPC


def test_ring_records_come_in_the_order_of_reservation() -> None:
    """A record that is still open holds back the later ones; discarded ones never come."""
    ring = RingBuffer("ring", max_entries=4096)
    first, second, third = (ring.ring_reserve(8) for _ in range(3))
    second.data[:1] = b"2"
    third.data[:1] = b"3"
    ring.ring_commit(third, 0, discard=False)
    ring.ring_commit(second, 0, discard=False)
    assert ring.records == []
    ring.ring_commit(first, 0, discard=True)
    assert ring.consume() == [b"2" + bytes(7), b"3" + bytes(7)]


def test_a_full_ring_takes_nothing_until_it_is_read() -> None:
    """4096 bytes hold 127 records of 24 and their headers, and a few bytes."""
    ring = RingBuffer("ring", max_entries=4096)
    assert [ring.ring_output(bytes(24), 0) for _ in range(128)] == [0] * 127 + [-errno.EAGAIN]
    assert len(ring.consume()) == 127
    assert ring.ring_output(bytes(24), 0) == 0


def test_a_record_is_gone_once_it_is_submitted() -> None:
    """Its pointer cannot be used again, nor submitted twice."""
    ring = RingBuffer("ring", max_entries=4096)
    begin = [map_pointer(1, 1), small(2, 8), small(3, 0), call(FuncId.ringbuf_reserve), mov(7, 0)]
    submit = [mov(1, 7), small(2, 0), call(FuncId.ringbuf_submit)]
    with pytest.raises(ExecutionError, match=r"\(r7\): 8-byte read .* no memory is there"):
        run(*begin, *submit, load(8, 0, 7, 0), maps={1: ring})
    with pytest.raises(ExecutionError, match="is not the address of a reserved record"):
        run(*begin, *submit, *submit, maps={1: ring})
    with pytest.raises(ExecutionError, match=r"\(r7 \+8\): 1-byte write .* of record of ring"):
        run(*begin, store(1, 7, 7, 8), maps={1: ring})


# --- maps -----------------------------------------------------------------------------------------


def test_a_value_is_the_map_s_own() -> None:
    """What is written through a pointer is in the map; the next byte is nobody's."""
    counts = ArrayMap("counts", value_size=8, max_entries=4)
    code = [Instruction(insn.ST | insn.MEM | insn.W, 10, 0, -4, 2), mov(2, 10), add(2, -4)]
    code += [map_pointer(1, 1), call(FuncId.map_lookup_elem), small(1, 77)]
    run(*code, store(8, 0, 1, 0), maps={1: counts})
    assert counts.lookup(b"\2\0\0\0", 0).data[0] == 77
    with pytest.raises(ExecutionError, match="offset 8 of value of map counts, which has 8 bytes"):
        run(*code, store(1, 0, 1, 8), maps={1: counts})


def test_a_pointer_to_something_else_is_no_map() -> None:
    """The error says so, and where."""
    with pytest.raises(ExecutionError, match=r"instruction 4: 0x.* is not the address of a map"):
        run(mov(2, 10), add(2, -4), mov(1, 10), call(FuncId.map_lookup_elem))


def test_hashes_have_the_kernel_s_errnos() -> None:
    """Flags, capacity, absence."""
    table = HashMap("table", key_size=1, value_size=1, max_entries=2)
    steps = [
        (table.update, (b"a", b"1", UpdateFlag.EXIST, 0), -errno.ENOENT),
        (table.update, (b"a", b"1", UpdateFlag.NOEXIST, 0), 0),
        (table.update, (b"a", b"2", UpdateFlag.NOEXIST, 0), -errno.EEXIST),
        (table.update, (b"a", b"3", UpdateFlag.EXIST, 0), 0),
        (table.update, (b"a", b"3", 8, 0), -errno.EINVAL),
        (table.update, (b"b", b"1", UpdateFlag.ANY, 0), 0),
        (table.update, (b"c", b"1", UpdateFlag.ANY, 0), -errno.E2BIG),
        (table.update, (b"b", b"2", UpdateFlag.ANY, 0), 0),
        (table.delete, (b"c",), -errno.ENOENT),
        (table.delete, (b"b",), 0),
    ]
    assert [expected for *_, expected in steps] == [do(*args) for do, args, _ in steps]
    array = ArrayMap("array", value_size=1, max_entries=1)
    assert array.update(bytes(4), b"1", UpdateFlag.NOEXIST, 0) == -errno.EEXIST
    assert array.update(b"\1\0\0\0", b"1", 0, 0) == -errno.E2BIG
    assert array.delete(bytes(4)) == -errno.EINVAL


def test_the_least_recently_used_goes_first() -> None:
    """A look-up counts as use."""
    table = HashMap("table", MapType.LRU_HASH, key_size=1, value_size=1, max_entries=2)
    for key in (b"a", b"b"):
        table.update(key, b"1", 0, 0)
    table.lookup(b"a", 0)
    table.update(b"c", b"1", 0, 0)
    assert list(table.keys()) == [b"a", b"c"]


def test_each_cpu_has_its_own_value() -> None:
    """What one writes another does not see."""
    for made_map in (
        ArrayMap("array", MapType.PERCPU_ARRAY, value_size=1, max_entries=1),
        HashMap("hash", MapType.PERCPU_HASH, key_size=4, value_size=1, max_entries=1),
    ):
        for cpu in range(3):
            assert made_map.update(bytes(4), bytes([cpu + 1]), 0, cpu) == 0
        assert [made_map.lookup(bytes(4), cpu).data[0] for cpu in range(4)] == [1, 2, 3, 0]


def test_the_longest_prefix_wins() -> None:
    """And a prefix is found by what it covers only; a length must fit."""
    routes = LpmTrie("routes", key_size=8, value_size=1, max_entries=3, byteorder="little")

    def key(length: int, *parts: int) -> bytes:
        return length.to_bytes(4, "little") + bytes(parts)

    assert routes.update(key(8, 10, 9, 9, 9), b"A", 0, 0) == 0
    assert routes.update(key(24, 10, 1, 2, 77), b"B", 0, 0) == 0
    assert routes.update(key(0, 0, 0, 0, 0), b"*", 0, 0) == 0
    assert routes.update(key(16, 1, 2, 0, 0), b"C", 0, 0) == -errno.ENOSPC
    assert routes.update(key(33, 1, 2, 0, 0), b"C", 0, 0) == -errno.EINVAL
    found = [
        routes.lookup(key(32, *host), 0).data for host in ((10, 1, 2, 3), (10, 2, 2, 3), (9,) * 4)
    ]
    assert [bytes(each) for each in found] == [b"B", b"A", b"*"]
    assert routes.delete(key(24, 10, 1, 2, 0)) == 0
    assert bytes(routes.lookup(key(32, 10, 1, 2, 3), 0).data) == b"A"


def test_queues_stacks_and_bloom_filters() -> None:
    """Order, capacity, and BPF_EXIST that makes room."""
    queue, stack = (
        QueueMap(str(kind), kind, value_size=1, max_entries=2)
        for kind in (MapType.QUEUE, MapType.STACK)
    )
    for each in (queue, stack):
        statuses = [each.push(value, 0) for value in (b"1", b"2", b"3")]
        assert statuses == [0, 0, -errno.E2BIG]
        assert each.push(b"4", UpdateFlag.EXIST) == 0
    assert [queue.peek(b""), queue.pop(), queue.pop(), queue.pop()] == [
        b"2",
        b"2",
        b"4",
        -errno.ENOENT,
    ]
    assert [stack.peek(b""), stack.pop(), stack.pop(), stack.peek(b"")] == [
        b"4",
        b"4",
        b"2",
        -errno.ENOENT,
    ]
    seen = BloomFilter("seen", value_size=1, max_entries=4)
    assert seen.push(b"1", 0) == 0
    assert (seen.peek(b"1"), seen.peek(b"2")) == (b"1", -errno.ENOENT)


def test_arenas_give_pages() -> None:
    """Allocated where asked or anywhere; used through a cast; null stays null."""
    arena = ArenaMap("arena", max_entries=4)
    kfuncs = {1: "bpf_arena_alloc_pages"}
    allocate = [map_pointer(1, 1), small(2, 0), small(3, 2), small(4, -1), small(5, 0)]
    allocate.append(Instruction(insn.JMP | insn.CALL, 0, 2, 0, 1))
    cast = Instruction(insn.ALU64 | insn.MOV | insn.X, 1, 0, 1, 1)
    use = [cast, store(8, 1, 10, 8), Instruction(insn.ST | insn.MEM | insn.W, 1, 0, 4095, 65)]
    assert run(*allocate, *use, maps={1: arena}, kfuncs=kfuncs) == arena.user_base
    assert bytes(arena.memory.view(4095, 1, write=False)) == b"A"
    assert run(*allocate, maps={1: arena}, kfuncs=kfuncs) == arena.user_base + 2 * 4096
    assert run(*allocate, maps={1: arena}, kfuncs=kfuncs) == 0
    back = Instruction(insn.ALU64 | insn.MOV | insn.X, 0, 1, 1, 1 << 16)
    there = [map_pointer(1, 1), number(0, arena.user_base + 5), cast, back]
    assert run(*there, maps={1: arena}) == arena.user_base + 5
    assert run(map_pointer(1, 1), small(0, 0), cast, mov(0, 1), maps={1: arena}) == 0
    with pytest.raises(ExecutionError, match="and no arena"):
        run(small(0, 1), cast)


# --- control, tracing -----------------------------------------------------------------------------


def test_there_is_one_lock_at_a_time() -> None:
    """A second one, and one that is not held, end the program."""
    lock = [mov(1, 10), add(1, -8), call(FuncId.spin_lock)]
    unlock = [mov(1, 10), add(1, -8), call(FuncId.spin_unlock)]
    assert run(*lock, *unlock, *lock, *unlock) == 0
    with pytest.raises(ExecutionError, match="a second spin lock is taken"):
        run(*lock, *lock)
    with pytest.raises(ExecutionError, match="released that was not taken"):
        run(*unlock)


def test_traced_functions_are_what_the_context_says() -> None:
    """Arguments by number, the return value, cookie; tracepoint arguments from memory."""
    context = RawTracepointContext([5, -1], "little")
    context.traced_arguments, context.traced_return, context.cookie = [8, 9], -2, 0xC0
    place = [mov(3, 10), add(3, -8)]
    code = [CONTEXT, small(2, 1), *place, call(FuncId.get_func_arg), load(8, 0, 10, -8)]
    assert run(*code, context=context) == 9
    code[1] = small(2, 2)
    assert run(*code[:-1], context=context) == -errno.EINVAL
    ret = [CONTEXT, mov(2, 10), add(2, -8), call(FuncId.get_func_ret), load(8, 0, 10, -8)]
    assert run(*ret, context=context) == -2
    assert run(CONTEXT, call(FuncId.get_attach_cookie), context=context) == 0xC0
    assert run(load(8, 0, 6, 8), context=context) == -1
    run(CONTEXT, small(2, -13), call(FuncId.override_return), context=context)
    assert context.overridden_return == (1 << 64) - 13


def test_pointers_are_exchanged() -> None:
    """What was there comes back, what was given stays."""
    first = [mov(1, 10), add(1, -8), small(2, 5), store(8, 10, 2, -8), small(2, 6)]
    code = [*first, call(FuncId.kptr_xchg), Instruction(insn.ALU64 | insn.MUL, 0, 0, 0, 10)]
    assert run(*code, load(8, 1, 10, -8), Instruction(insn.ALU64 | insn.ADD | insn.X, 0, 1)) == 56


def test_threads_are_numbered_in_their_namespace() -> None:
    """Both numbers, into a struct of just that size."""
    machine = Machine(World(task=Task(pid=7, tgid=5)))
    code = [small(1, 3), small(2, 4), mov(3, 10), add(3, -8), small(4, 8)]
    code += [call(FuncId.get_ns_current_pid_tgid), load(8, 0, 10, -8)]
    assert run(*code, machine=machine) == 5 << 32 | 7
    assert run(*code[:4], small(4, 4), *code[5:6], machine=machine) == -errno.EINVAL


def test_numbers_are_iterated() -> None:
    """bpf_for: from the first to below the last, in memory of the program."""
    kfuncs = {1: "bpf_iter_num_new", 2: "bpf_iter_num_next", 3: "bpf_iter_num_destroy"}

    def kfunc(which: int) -> list[Instruction]:
        return [mov(1, 10), add(1, -8), Instruction(insn.JMP | insn.CALL, 0, 2, 0, which)]

    code = [small(7, 0), small(2, -2), small(3, 4), *kfunc(1), *kfunc(2)]
    body = [load(4, 1, 0, 0), Instruction(insn.ALU | insn.ADD | insn.X, 7, 1)]
    leave = Instruction(insn.JMP | insn.JEQ, 0, 0, 3, 0)
    back = Instruction(insn.JMP | insn.JA, 0, 0, -7)
    code += [leave, *body, back, *kfunc(3), mov(0, 7)]
    assert run(*code, kfuncs=kfuncs) == -2 - 1 + 0 + 1 + 2 + 3


# --- packets --------------------------------------------------------------------------------------


def test_old_pointers_are_invalid_once_the_packet_moved() -> None:
    """As for the verifier, though they might still work in a kernel."""
    code = [load(4, 7, 6, 0), CONTEXT, small(2, 4), call(FuncId.xdp_adjust_head)]
    with pytest.raises(ExecutionError, match=r"\(r7\): 1-byte read .* no memory is there"):
        run(*code, load(1, 0, 7, 0), context=XdpContext(bytes(64)))
    context = XdpContext(bytes(range(64)))
    assert run(*code, load(4, 7, 6, 0), load(1, 0, 7, 0), context=context) == 4
    assert context.packet == bytes(range(4, 64))


def test_contexts_are_written_only_where_the_kernel_allows() -> None:
    """Marks by programs of tc, the control buffer by all, the length by none."""
    for kind, offset, allowed in (
        (ProgType.SCHED_CLS, 8, True),
        (ProgType.SOCKET_FILTER, 8, False),
        (ProgType.SOCKET_FILTER, 48, True),
        (ProgType.SCHED_CLS, 0, False),
    ):
        code = [small(1, 5), store(4, 6, 1, offset), load(4, 0, 6, offset)]
        if allowed:
            assert run(*code, context=SkbContext(bytes(64), kind)) == 5
        else:
            with pytest.raises(ExecutionError, match=f"offset {offset} of __sk_buff|read-only"):
                run(*code, context=SkbContext(bytes(64), kind))


def test_packet_helpers_want_their_context() -> None:
    """Another pointer, or another kind of context, ends the program."""
    skb = [mov(1, 10), small(2, 4), call(FuncId.skb_pull_data)]
    with pytest.raises(ExecutionError, match="not the address of the context"):
        run(*skb, context=SkbContext(bytes(64)))
    with pytest.raises(ExecutionError, match="needs a socket buffer"):
        run(*skb, context=XdpContext(bytes(64)))
    with pytest.raises(ExecutionError, match="needs an XDP packet"):
        run(CONTEXT, small(2, 4), call(FuncId.xdp_adjust_head), context=SkbContext(bytes(64)))
    with pytest.raises(ExecutionError, match="loads from the packet need a socket buffer"):
        run(Instruction(insn.LD | insn.ABS | insn.B))


def test_redirects_are_told_to_who_started_the_program() -> None:
    """An interface, or a map and a key if it has one; otherwise the flags are the answer."""
    context = XdpContext(bytes(64))
    assert run(small(1, 4), small(2, 0), call(FuncId.redirect), context=context) == 4
    assert (context.redirect.map, context.redirect.key) == (None, 4)
    ports = HashMap("ports", MapType.DEVMAP, key_size=4, value_size=4, max_entries=4)
    ports.update(b"\1\0\0\0", bytes(4), 0, 0)
    for key, expected in ((1, 4), (2, 2)):
        code = [map_pointer(1, 1), small(2, key), small(3, 2), call(FuncId.redirect_map)]
        assert run(*code, context=context, maps={1: ports}) == expected
    assert (context.redirect.map, context.redirect.key) == (ports, 1)
