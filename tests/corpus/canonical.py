"""Two loaders' instructions for one program, brought into a form in which equal means equal.

Three things may differ without a difference in meaning, and are named instead of numbered:

    descriptors   ldimm64 of a map        -> the map's name
    order         functions behind the    -> each function's text, in the order in which they are
                  entry, and so distances    first called or pointed to
    padding       code that nothing reaches stays part of the function in front of it

A program becomes a list of functions, a function a list of lines, one for each instruction.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pyebpf.uapi.insn import (
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
)

__all__ = ["canonical", "first_difference"]

SLOT = 8
INSN = struct.Struct("=BBhi")
LOAD_IMM64, CALL = 0x18, 0x85


def canonical(code: bytes, maps: Mapping[int, str]) -> list[list[str]]:
    """Return *code* as functions of lines.

    Args:
        code: Instructions as they go to the kernel, in this machine's byte order.
        maps: Names of maps by descriptor.
    """
    slots = list(INSN.iter_unpack(code))
    targets = _targets(slots)
    starts = sorted({0, *targets.values()})
    ends = dict(zip(starts, [*starts[1:], len(slots)], strict=True))
    order, functions = {0: 0}, []
    for start in _reached(starts, targets, ends):
        for slot in range(start, ends[start]):
            if slot in targets:
                order.setdefault(targets[slot], len(order))
        lines = _lines(slots, start, ends[start], targets, order, maps)
        functions.append(lines)
    return functions


def first_difference(ours: list[list[str]], theirs: list[list[str]]) -> str:
    """Say where two canonical programs differ, or ``""`` if they do not."""
    if len(ours) != len(theirs):
        return f"{len(ours)} functions, and libbpf makes {len(theirs)}"
    for index, (left, right) in enumerate(zip(ours, theirs, strict=True)):
        if len(left) != len(right):
            return f"function {index}: {len(left)} instructions, and libbpf makes {len(right)}"
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return f"function {index}, instruction {at}: {one}, and libbpf makes {other}"
    return ""


# Where calls and function pointers lead, by slot.
def _targets(slots: list[tuple[int, ...]]) -> dict[int, int]:
    targets = {}
    for slot, (opcode, registers, _, immediate) in enumerate(slots):
        source = _source(registers)
        if (opcode == CALL and source == PSEUDO_CALL) or (
            opcode == LOAD_IMM64 and source == PSEUDO_FUNC
        ):
            target = slot + 1 + immediate
            if 0 <= target < len(slots):
                targets[slot] = target
    return targets


# The functions in the order in which they are first named, from the entry on; then the others.
def _reached(starts: list[int], targets: dict[int, int], ends: dict[int, int]) -> list[int]:
    queue = [0]
    for start in queue:
        for slot in range(start, ends[start]):
            if slot in targets and targets[slot] not in queue:
                queue.append(targets[slot])
    return queue + [start for start in starts if start not in queue]


def _lines(
    slots: list[tuple[int, ...]],
    start: int,
    end: int,
    targets: dict[int, int],
    order: dict[int, int],
    maps: Mapping[int, str],
) -> list[str]:
    lines = []
    for slot in range(start, end):
        opcode, registers, offset, immediate = slots[slot]
        what: object = immediate
        if slot in targets:
            what = f"function {order[targets[slot]]}"
        elif opcode == LOAD_IMM64 and _source(registers) in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            what = f"map {maps.get(immediate, '?')}"
        lines.append(f"{opcode:02x} {registers:02x} {offset} {what}")
    return lines


def _source(registers: int) -> int:
    low, high = registers & 0x0F, registers >> 4
    return high if struct.pack("=H", 1)[0] else low
