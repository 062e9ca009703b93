"""Which instructions can be reached at all, as far as constants tell.

Programs ask ``if (bpf_core_field_exists(…))`` or ``if (LINUX_KERNEL_VERSION < …)`` and hold behind
it what this kernel does not have. The answers are constants by the time they are loaded: numbers in
the code, or values in a frozen map. The verifier never looks at the dead side, and neither must a
check of structure.

    registers at a block's start ──each instruction──▶ at its end ──branches that can be taken──▶ …

A register is a known number, a known place in a frozen map, or anything.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from pyebpf.asm.instruction import Instruction
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.testing.interpreter import operations
from pyebpf.testing.interpreter.check import SIZES, written
from pyebpf.testing.interpreter.flow import Block, blocks
from pyebpf.testing.interpreter.program import Program
from pyebpf.testing.objects import Map
from pyebpf.typed import NamedTuple
from pyebpf.uapi import insn

__all__ = ["reachable"]

_MASK = (1 << 64) - 1
_VALUES = (insn.PSEUDO_MAP_VALUE, insn.PSEUDO_MAP_IDX_VALUE)


class _Place(NamedTuple):
    found: Map
    offset: int


_Known = dict[int, "int | _Place"]


def reachable(program: Program, maps: Mapping[int, Map]) -> set[int]:
    """Return the slots that can be reached.

    Args:
        program: The program.
        maps: By what its 64-bit loads call them.
    """
    reached: set[int] = set()
    for entry in program.entries:
        reached |= _function(program, entry, maps)
    return reached


def _function(program: Program, entry: int, maps: Mapping[int, Map]) -> set[int]:
    found = blocks(program, entry)
    states: dict[int, _Known] = {entry: {}}
    waiting = [entry]
    reached: set[int] = set()
    while waiting:
        start = waiting.pop()
        block = found[start]
        known = dict(states[start])
        for slot in block.slots:
            reached.add(slot)
            _step(program.instructions[slot], known, maps)
        for successor in _taken(program, block, known):
            before = states.get(successor)
            after = known if before is None else _both(before, known)
            if after != before:
                states[successor] = dict(after)
                waiting.append(successor)
    return reached


def _both(left: _Known, right: _Known) -> _Known:
    return {number: value for number, value in left.items() if right.get(number) == value}


def _step(each: Instruction, known: _Known, maps: Mapping[int, Map]) -> None:
    value = _result(each, known, maps)
    for register in range(6) if each.opcode == CALL else written(each):
        known.pop(register, None)
    if value is not None:
        known[each.dst] = value


# What an instruction puts into its destination, as far as that is known.
def _result(each: Instruction, known: _Known, maps: Mapping[int, Map]) -> int | _Place | None:
    if each.opcode == LOAD_IMMEDIATE_64:
        if each.src == 0:
            return each.immediate & _MASK
        owner = maps.get(each.immediate & 0xFFFFFFFF) if each.src in _VALUES else None
        return None if owner is None else _Place(owner, each.immediate >> 32 & 0xFFFFFFFF)
    kind, mode = each.opcode & 0x07, each.opcode & 0xE0
    if kind == insn.LDX and mode == insn.MEM:
        return _loaded(known.get(each.src), each)
    wide = kind == insn.ALU64
    if kind not in (insn.ALU, insn.ALU64) or each.opcode & 0xF0 == insn.END:
        return None
    source = known.get(each.src) if each.opcode & insn.X else each.immediate & _MASK
    if each.opcode & 0xF0 == insn.MOV and wide and not each.offset:
        return source
    before = known.get(each.dst, 0 if each.opcode & 0xF0 == insn.MOV else None)
    if isinstance(before, _Place) and isinstance(source, int) and wide:
        moved = each.opcode & 0xF0 == insn.ADD
        return before._replace(offset=before.offset + source & _MASK) if moved else None
    if not isinstance(before, int) or not isinstance(source, int):
        return None
    text = operations.arithmetic(each.opcode & 0xF0, each.offset, "d", "s", wide=wide)
    if text is None:
        return None
    number = eval(text, dict(operations.NAMESPACE), {"d": before, "s": source})
    return int(number) & _MASK


def _loaded(pointer: int | _Place | None, each: Instruction) -> int | None:
    if not isinstance(pointer, _Place) or not pointer.found.frozen:
        return None
    owner = pointer.found
    region = owner.contents.at(bytes(owner.definition.key_size), 0)
    start, size = pointer.offset + each.offset, SIZES[each.opcode & 0x18]
    if region is None or not 0 <= start <= len(region.data) - size:
        return None
    return int.from_bytes(bytes(region.data[start : start + size]), sys.byteorder)


def _taken(program: Program, block: Block, known: _Known) -> list[int]:
    each = program.instructions[block.slots[-1]]
    if block.jump is None or block.next is None or each.opcode & 0xF0 == insn.JCOND:
        return block.successors
    left = known.get(each.dst)
    right = known.get(each.src) if each.opcode & insn.X else each.immediate & _MASK
    if not isinstance(left, int) or not isinstance(right, int):
        return block.successors
    wide = each.opcode & 0x07 == insn.JMP
    text = operations.condition(each.opcode & 0xF0, "d", "s", wide=wide)
    if text is None:
        return block.successors
    jumps = eval(text, dict(operations.NAMESPACE), {"d": left, "s": right})
    return [block.jump if jumps else block.next]
