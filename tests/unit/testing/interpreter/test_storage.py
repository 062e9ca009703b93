"""Values that belong to a struct or a control group, and packets in several pages."""

from __future__ import annotations

import errno

import pytest

from pyebpf.asm.instruction import Instruction, encode_all
from pyebpf.errors import ExecutionError, NotModelledError
from pyebpf.spec import MapSpec
from pyebpf.testing.interpreter import (
    Context,
    Machine,
    Program,
    ValuesContext,
    XdpContext,
    make_map,
)
from pyebpf.testing.interpreter.map_kinds import ArrayMap, LocalStorageMap
from pyebpf.uapi import insn
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.helpers import FuncId
from tests.support.code import Code, call, load, map_pointer, mov, number, small, store

EXIT = Instruction(insn.JMP | insn.EXIT)
OWNER, OTHER = 0xFFFF_1000, 0xFFFF_2000
CREATE = 1


def run(code: Code, maps=None, context: Context | None = None) -> int:
    raw = encode_all([mov(6, 1), *code, EXIT], "little")
    program = Program(raw, maps=maps or {}, byteorder="little")
    r0 = Machine().run(program, context or ValuesContext(0)).r0
    return r0 - (1 << 64) if r0 >> 63 else r0


def get(owner: int, flags: int, value: Code) -> Code:
    return [
        map_pointer(1, 0),
        number(2, owner),
        *value,
        small(4, flags),
        call(FuncId.task_storage_get),
    ]


def test_storage_is_made_when_it_is_asked_for():
    """Of zeros or of what is given; each owner has its own, until it is removed."""
    storage = LocalStorageMap("tasks", MapType.TASK_STORAGE, value_size=8)
    none, given = [small(3, 0)], [small(5, 7), store(8, 10, 5, -8), mov(3, 10)]
    given.append(Instruction(insn.ALU64 | insn.ADD, 3, 0, 0, -8))
    loaded = [load(8, 0, 0, 0)]
    maps = {0: storage}
    assert run(get(OWNER, 0, none), maps) == 0
    assert run([*get(OWNER, CREATE, none), *loaded], maps) == 0
    assert run([*get(OTHER, CREATE, given), *loaded], maps) == 7
    assert run([*get(OTHER, CREATE, none), *loaded], maps) == 7
    assert run(get(OWNER, 2, none), maps) == 0
    assert run(get(0, CREATE, none), maps) == 0
    remove = [map_pointer(1, 0), number(2, OWNER), call(FuncId.task_storage_delete)]
    assert [run(remove, maps) for _ in range(2)] == [0, -errno.ENOENT]
    nobody = [map_pointer(1, 0), small(2, 0), call(FuncId.task_storage_delete)]
    assert run(nobody, maps) == -errno.EINVAL


def test_storage_of_a_group_lasts_for_the_context_where_there_is_no_group():
    """In all maps each of its own; another kind of map has none."""
    spec = MapSpec(name="groups", type=MapType.CGROUP_STORAGE, key_size=16, value_size=8)
    maps = {0: make_map(spec), 1: ArrayMap("array", value_size=8, max_entries=1)}
    add = [small(1, 1), Instruction(insn.STX | insn.ATOMIC | insn.DW, 0, 1), load(8, 0, 0, 0)]
    code = [map_pointer(1, 0), small(2, 0), call(FuncId.get_local_storage), *add]
    context = ValuesContext(0)
    assert [run(code, maps, context) for _ in range(2)] == [1, 2]
    assert run(code, maps) == 1
    with pytest.raises(ExecutionError, match="no storage of control groups"):
        run([map_pointer(1, 1), small(2, 0), call(FuncId.get_local_storage)], maps)


def test_a_packet_in_pages_is_whole_to_helpers_only():
    """Loads see the frame; writes cross the border; the end moves back over it."""
    context = XdpContext(bytes(range(60)), fragments=bytes(range(60, 100)))
    assert context.packet == bytes(range(100))
    assert run([mov(1, 6), call(FuncId.xdp_get_buff_len)], context=context) == 100
    size = [load(4, 2, 6, 0), load(4, 0, 6, 4), Instruction(insn.ALU64 | insn.SUB | insn.X, 0, 2)]
    assert run(size, context=context) == 60
    place = [mov(3, 10), Instruction(insn.ALU64 | insn.ADD, 3, 0, 0, -8), small(4, 8)]
    text = [number(5, 0x1122334455667788), store(8, 10, 5, -8)]
    written = [*text, mov(1, 6), small(2, 56), *place, call(FuncId.xdp_store_bytes)]
    assert run(written, context=context) == 0
    assert context.packet[56:64] == (0x1122334455667788).to_bytes(8, "little")

    def move(delta: int) -> int:
        return run([mov(1, 6), small(2, delta), call(FuncId.xdp_adjust_tail)], context=context)

    assert move(-30) == 0
    assert (len(context.fragments), len(context.packet)) == (10, 70)
    assert move(4086) == 0
    assert move(1) == -errno.EINVAL
    assert move(-4100) == 0
    assert (len(context.fragments), len(context.packet)) == (0, 56)
    assert move(-50) == -errno.EINVAL


def test_a_packet_in_pages_has_no_dynptr():
    """It is said so."""
    dynptr = [mov(3, 10), Instruction(insn.ALU64 | insn.ADD, 3, 0, 0, -16)]
    kfunc = Instruction(insn.JMP | insn.CALL, 0, insn.PSEUDO_KFUNC_CALL, 0, 5)
    raw = encode_all([mov(6, 1), small(2, 0), *dynptr, kfunc, EXIT], "little")
    program = Program(raw, kfuncs={5: "bpf_dynptr_from_xdp"}, byteorder="little")
    with pytest.raises(NotModelledError, match="several pages"):
        Machine().run(program, XdpContext(bytes(60), fragments=bytes(4)))
