"""From instructions with labels to code: `assemble`.

Instructions and labels come in, in order; code goes out, with the names it still refers to:

    [mov(R0, 1), jump("out"), …, label("out"), exit_()]    ──▶   code · labels · functions · symbols

Jumps and calls of functions that are labels here get their distances, counted in slots from the
next instruction. What is left are symbols by slot: maps, functions of the kernel, constants, and
functions that are to be linked in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pyebpf.asm.instruction import ByteOrder, Instruction, encode_all
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64, carries_jump, is_long_jump
from pyebpf.asm.operand import Label
from pyebpf.errors import AsmError
from pyebpf.plain import field, plain, replace
from pyebpf.uapi import insn

__all__ = ["Assembled", "Item", "assemble"]

Item = Instruction | Label


@plain(frozen=True, kw_only=True)
class Assembled:
    """Code and what is known about it.

    Attributes:
        code: Raw instructions.
        labels: Slots by name.
        functions: Slot and name of each function, in order.
        symbols: What instructions refer to outside of the code, by slot.
        instructions: Those of the code, their distances filled in; a ``symbol`` that is left is
            outside.
    """

    code: bytes
    labels: Mapping[str, int] = field(default_factory=dict)
    functions: tuple[tuple[int, str], ...] = ()
    symbols: Mapping[int, str] = field(default_factory=dict)
    instructions: tuple[Instruction, ...] = ()


def assemble(
    items: Iterable[Item],
    byteorder: ByteOrder,
    *,
    places: Sequence[object] | None = None,
    outside: Mapping[str, int] | None = None,
) -> Assembled:
    """Turn instructions and labels into code.

    Args:
        items: In order. A jump's or call's ``symbol`` is the label it goes to.
        byteorder: Of the code; ``sys.byteorder`` for this machine's kernel.
        places: Where each item was written, for messages; without them they name the slot.
        outside: Labels of code around this one, by slot from its start; what it may jump to.

    Raises:
        AsmError: An unknown or repeated label, a distance that does not fit, a jump out of the code
            or into the middle of a 64-bit load, a field that does not fit.
    """
    layout = _Layout(items, places, outside or {})
    symbols: dict[int, str] = {}
    resolved: dict[int, Instruction] = {}
    for slot, instruction in layout.instructions.items():
        resolved[slot] = layout.resolve(slot, instruction)
        if instruction.symbol is not None and not layout.inside(instruction):
            symbols[slot] = instruction.symbol
    code = encode_all(resolved.values(), byteorder)
    layout.check(resolved, symbols)
    return Assembled(
        code=code,
        labels=layout.labels,
        functions=layout.functions(),
        symbols=symbols,
        instructions=tuple(resolved.values()),
    )


class _Layout:
    # Where everything stands, in slots.

    def __init__(
        self,
        items: Iterable[Item],
        places: Sequence[object] | None,
        outside: Mapping[str, int],
    ) -> None:
        self._outside = outside
        self.labels: dict[str, int] = {}
        self.instructions: dict[int, Instruction] = {}
        self._functions: set[str] = set()
        self._places: dict[int, object] = {}
        slot = 0
        for index, item in enumerate(items):
            if places is not None:
                self._places[slot] = places[index]
            if isinstance(item, Label):
                if item.name in self.labels:
                    raise AsmError(f'a second label "{item.name}"', where=self._where(slot))
                self.labels[item.name] = slot
                if item.function:
                    self._functions.add(item.name)
            else:
                self.instructions[slot] = item
                slot += item.slots
        self._size = slot

    def inside(self, instruction: Instruction) -> bool:
        """Whether its symbol is a label, as far as it may be one."""
        if carries_jump(instruction.opcode):
            return True
        may_be = _takes_function(instruction) or _is_undecided(instruction)
        return may_be and self._slot_of(instruction.symbol or "") is not None

    def resolve(self, slot: int, instruction: Instruction) -> Instruction:
        name = instruction.symbol
        if name is None or not self.inside(instruction):
            return instruction
        target = self._slot_of(name)
        if target is None:
            raise AsmError(f'unknown label "{name}"', where=self._where(slot))
        distance = target - slot - 1
        if carries_jump(instruction.opcode):
            if is_long_jump(instruction.opcode):
                return replace(instruction, immediate=distance, symbol=None)
            if not -0x8000 <= distance <= 0x7FFF:
                message = f'label "{name}" is {distance} slots away, which do not fit 16 bits'
                raise AsmError(message, where=self._where(slot))
            return replace(instruction, offset=distance, symbol=None)
        if name in self.labels:
            self._functions.add(name)
        if instruction.opcode == CALL:
            return replace(instruction, immediate=distance, symbol=None)
        # Of the two halves of a load the upper one stays empty.
        low = distance & 0xFFFF_FFFF
        return replace(instruction, src=insn.PSEUDO_FUNC, immediate=low, symbol=None)

    def functions(self) -> tuple[tuple[int, str], ...]:
        return tuple(sorted((self.labels[name], name) for name in self._functions))

    def check(self, resolved: Mapping[int, Instruction], symbols: Mapping[int, str]) -> None:
        """Refuse jumps that land on no instruction; a label may stand behind the last one."""
        around = frozenset(self._outside.values())
        for slot, instruction in resolved.items():
            target = target_of(slot, instruction)
            if target is None or target in resolved or slot in symbols or target in around:
                continue
            if 0 <= target < self._size:
                raise AsmError("goes into the middle of a 64-bit load", where=self._where(slot))
            message = f"goes to slot {target}, outside of the code"
            raise AsmError(message, where=self._where(slot))

    def _slot_of(self, name: str) -> int | None:
        return self.labels.get(name, self._outside.get(name))

    def _where(self, slot: int) -> str:
        return str(self._places.get(slot, f"slot {slot}"))


def _takes_function(instruction: Instruction) -> bool:
    if instruction.opcode == CALL:
        return instruction.src == insn.PSEUDO_CALL
    return instruction.opcode == LOAD_IMMEDIATE_64 and instruction.src == insn.PSEUDO_FUNC


def _is_undecided(instruction: Instruction) -> bool:
    return instruction.opcode == LOAD_IMMEDIATE_64 and not instruction.src


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
