"""From instructions with labels to code: `assemble`.

Instructions and labels come in, in order; code goes out, with the names it still refers to:

    [mov(R0, 1), jump("out"), …, label("out"), exit_()]    ──▶   code · labels · functions · symbols

Jumps and calls of functions that are labels here get their distances, counted in slots from the
next instruction. What is left are symbols by slot: maps, functions of the kernel, constants, and
functions that are to be linked in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pyebpf.asm.build import Label
from pyebpf.asm.instruction import ByteOrder, Instruction, encode_all
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64, carries_jump, is_long_jump
from pyebpf.errors import AsmError
from pyebpf.uapi import insn

__all__ = ["Assembled", "Item", "assemble"]

Item = Instruction | Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """Code and what is known about it.

    Attributes:
        code: Raw instructions.
        labels: Slots by name.
        functions: Slot and name of each function, in order.
        symbols: What instructions refer to outside of the code, by slot.
        instructions: Those of the code, their distances filled in.
    """

    code: bytes
    labels: Mapping[str, int] = field(default_factory=dict)
    functions: tuple[tuple[int, str], ...] = ()
    symbols: Mapping[int, str] = field(default_factory=dict)
    instructions: tuple[Instruction, ...] = ()


def assemble(items: Iterable[Item], byteorder: ByteOrder) -> Assembled:
    """Turn instructions and labels into code.

    Args:
        items: In order. A jump's or call's ``symbol`` is the label it goes to.
        byteorder: Of the code; ``sys.byteorder`` for this machine's kernel.

    Raises:
        AsmError: An unknown or repeated label, a distance that does not fit, a jump out of the code
            or into the middle of a 64-bit load, a field that does not fit.
    """
    labels, functions, placed = _place(items)
    functions_by_name = {name: slot for slot, name in functions}
    symbols: dict[int, str] = {}
    resolved = []
    for slot, instruction in placed.items():
        if instruction.symbol is not None:
            if carries_jump(instruction.opcode):
                instruction = _jump(slot, instruction, labels)
            elif _takes_function(instruction) and instruction.symbol in labels:
                instruction = _call(slot, instruction, labels[instruction.symbol])
            elif _is_undecided(instruction) and instruction.symbol in functions_by_name:
                instruction = replace(instruction, src=insn.PSEUDO_FUNC)
                instruction = _call(slot, instruction, functions_by_name[instruction.symbol or ""])
            else:
                symbols[slot] = instruction.symbol or ""
        resolved.append(instruction)
    code = encode_all(resolved, byteorder)
    _check_targets(placed.keys(), zip(placed, resolved, strict=True), symbols)
    return Assembled(
        code=code,
        labels=labels,
        functions=functions,
        symbols=symbols,
        instructions=tuple(resolved),
    )


# Labels and functions by their slots, and each instruction by its own.
def _place(
    items: Iterable[Item],
) -> tuple[dict[str, int], tuple[tuple[int, str], ...], dict[int, Instruction]]:
    labels: dict[str, int] = {}
    functions = []
    placed: dict[int, Instruction] = {}
    slot = 0
    for item in items:
        if isinstance(item, Label):
            if item.name in labels:
                raise AsmError(f'a second label "{item.name}"', where=f"slot {slot}")
            labels[item.name] = slot
            if item.function:
                functions.append((slot, item.name))
        else:
            placed[slot] = item
            slot += item.slots
    return labels, tuple(functions), placed


def _takes_function(instruction: Instruction) -> bool:
    if instruction.opcode == CALL:
        return instruction.src == insn.PSEUDO_CALL
    return instruction.opcode == LOAD_IMMEDIATE_64 and instruction.src == insn.PSEUDO_FUNC


def _is_undecided(instruction: Instruction) -> bool:
    return instruction.opcode == LOAD_IMMEDIATE_64 and not instruction.src


def _jump(slot: int, instruction: Instruction, labels: Mapping[str, int]) -> Instruction:
    name = instruction.symbol or ""
    if name not in labels:
        raise AsmError(f'unknown label "{name}"', where=f"slot {slot}")
    distance = labels[name] - slot - 1
    if is_long_jump(instruction.opcode):
        return replace(instruction, immediate=distance)
    if not -0x8000 <= distance <= 0x7FFF:
        raise AsmError(
            f'label "{name}" is {distance} slots away, which do not fit 16 bits',
            where=f"slot {slot}",
        )
    return replace(instruction, offset=distance)


def _call(slot: int, instruction: Instruction, target: int) -> Instruction:
    distance = target - slot - 1
    if instruction.opcode == LOAD_IMMEDIATE_64:
        distance &= 0xFFFF_FFFF  # of its two halves the upper one stays empty
    return replace(instruction, immediate=distance)


# Every jump must land on an instruction; a label may stand behind the last one, a jump must not.
def _check_targets(
    starts: Iterable[int], placed: Iterable[tuple[int, Instruction]], symbols: Mapping[int, str]
) -> None:
    known = frozenset(starts)
    size = max((slot + 1 for slot in known), default=0)
    for slot, instruction in placed:
        target = target_of(slot, instruction)
        if target is None or target in known or slot in symbols:
            continue
        if 0 <= target < size:
            raise AsmError("goes into the middle of a 64-bit load", where=f"slot {slot}")
        raise AsmError(f"goes to slot {target}, outside of the code", where=f"slot {slot}")


def target_of(slot: int, instruction: Instruction) -> int | None:
    """Return the slot that an instruction jumps to, calls or takes the address of, or ``None``."""
    if carries_jump(instruction.opcode):
        distance = instruction.offset
        if is_long_jump(instruction.opcode):
            distance = instruction.immediate
    elif _takes_function(instruction):
        distance = (instruction.immediate + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
    else:
        return None
    return slot + 1 + distance
