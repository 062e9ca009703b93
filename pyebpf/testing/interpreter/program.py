"""A program as the interpreter takes it: raw code, and what its references stand for.

Raw instruction bytes of either byte order come in. Nothing is compiled here; that happens when a
machine first runs the program, because the code depends on the machine's helpers.
"""

from __future__ import annotations

import bisect
import sys
from collections.abc import Mapping
from functools import cached_property

from pyebpf.asm.instruction import Instruction, decode_all
from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64
from pyebpf.asm.slots import Slots
from pyebpf.btf.types import DeclTag, Func
from pyebpf.errors import AsmError
from pyebpf.spec import ProgramSpec, ReferenceKind
from pyebpf.testing.interpreter.check import check
from pyebpf.testing.interpreter.maps import Map
from pyebpf.testing.interpreter.memory import ByteOrder, Region
from pyebpf.uapi import insn
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.btf import BtfKind

__all__ = ["Operand", "Program"]

# What a 64-bit load gives: a number, a map's pointer, the address of memory, or of the place this
# many bytes into the only value of a map.
Operand = int | Map | Region | tuple[Map, int]

EXCEPTION_TAG = "exception_callback:"
# BPF_COMPLEXITY_LIMIT_INSNS: the longest program that a privileged user may load.
MOST_INSTRUCTIONS = 1_000_000
MOST_FUNCTIONS = 256  # BPF_MAX_SUBPROGS
_VALUES = (insn.PSEUDO_MAP_VALUE, insn.PSEUDO_MAP_IDX_VALUE)


class Program:
    """Code and what it refers to. It may be run by any number of machines, one after another.

    Args:
        code: Raw instructions, as the kernel is given them.
        name: For messages.
        type: The kind, which says what context it expects; ``None`` for bare code.
        byteorder: Of the code and of all numbers in memory that it loads and stores.
        maps: Maps by the descriptor in the code (``BPF_PSEUDO_MAP_FD`` and ``_MAP_VALUE``).
        fd_array: Maps by their place in the array (``BPF_PSEUDO_MAP_IDX`` and ``_IDX_VALUE``).
        kfuncs: Names of kernel functions by the immediate of their calls.
        symbols: Values or memory of kernel variables by BTF id (``BPF_PSEUDO_BTF_ID``).
        operands: What single 64-bit loads give, by slot: a map, a value, or memory. They win over
            what the code says.
        kfunc_slots: Names of kernel functions by the slot of single calls.
        exception_callback: The slot of the function that gets what the program throws.
        jump_tables: The slots that indirect jumps lead to, by the slot of the 64-bit load of a
            table's address; a load may be of the middle: slots and an offset in bytes.

    Raises:
        AsmError: Malformed instructions, or such that the kernel does not know.
    """

    def __init__(
        self,
        code: bytes | bytearray | memoryview,
        *,
        name: str = "",
        type: ProgType | None = None,  # noqa: A002 - the kernel's word
        byteorder: ByteOrder = "little" if sys.byteorder == "little" else "big",
        maps: Mapping[int, Map] | None = None,
        fd_array: Mapping[int, Map] | None = None,
        kfuncs: Mapping[int, str] | None = None,
        symbols: Mapping[int, int | Region] | None = None,
        operands: Mapping[int, Operand] | None = None,
        kfunc_slots: Mapping[int, str] | None = None,
        exception_callback: int | None = None,
        jump_tables: Mapping[int, tuple[tuple[int, ...], int]] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.byteorder: ByteOrder = byteorder
        self.maps = maps or {}
        self.fd_array = fd_array or {}
        self.kfuncs = kfuncs or {}
        self.symbols = symbols or {}
        self.operands = operands or {}
        self.kfunc_slots = kfunc_slots or {}
        self.exception_callback = exception_callback
        self.code = bytes(code)
        if not self.code or len(self.code) // 8 > MOST_INSTRUCTIONS:
            raise AsmError(f"{len(self.code) // 8} instructions; 1 to {MOST_INSTRUCTIONS} may be")
        # Where functions are: callbacks are called by address.
        self.text = Region(b"", f"code of {name or 'the program'}", writable=False)
        self.instructions = self._decode()
        self.tables = self._tables({**self._arrays(), **(jump_tables or {})})
        check(self.instructions, self.length)
        if len(self.entries) > MOST_FUNCTIONS:
            raise AsmError(f"{len(self.entries)} functions; {MOST_FUNCTIONS} may be")

    @classmethod
    def from_spec(
        cls,
        spec: ProgramSpec,
        maps: Mapping[str, Map],
        symbols: Mapping[str, Operand] | None = None,
    ) -> Program:
        """Make a program from an object file's, without a kernel and without relocation.

        Args:
            spec: The program.
            maps: Maps by the names that the spec's references use, data sections included.
            symbols: What externs and other symbols are, by name: numbers or memory. Weak ones are
                0 if they are missing.

        Raises:
            AsmError: Malformed instructions.
            KeyError: A map or symbol is missing.
        """
        operands: dict[int, Operand] = {}
        kfuncs: dict[int, str] = {}
        tables: dict[int, tuple[tuple[int, ...], int]] = {}
        code = bytearray(spec.code)
        slots = Slots(code, spec.byteorder)
        known = {} if symbols is None else symbols
        for slot, reference in spec.references.items():
            if reference.kind is ReferenceKind.KFUNC:
                kfuncs[slot] = reference.symbol
                slots.set_source(slot, insn.PSEUDO_KFUNC_CALL)  # in files it looks like one's own
            elif reference.kind is ReferenceKind.MAP:
                operands[slot] = maps[reference.symbol]
            elif reference.kind is ReferenceKind.MAP_VALUE:
                operands[slot] = (maps[reference.symbol], reference.offset)
            elif reference.kind is ReferenceKind.JUMP_TABLE:
                tables[slot] = (spec.jump_tables[reference.symbol], reference.offset)
            elif reference.kind is not ReferenceKind.CONSTANT:
                operands[slot] = (
                    known[reference.symbol]
                    if not reference.weak
                    else known.get(reference.symbol, 0)
                )
        return cls(
            code,
            name=spec.name,
            type=spec.type,
            byteorder=spec.byteorder,
            operands=operands,
            kfunc_slots=kfuncs,
            exception_callback=_exception_callback(spec),
            jump_tables=tables,
        )

    @property
    def length(self) -> int:
        """How many slots the code has."""
        return len(self.code) // 8

    @cached_property
    def entries(self) -> tuple[int, ...]:
        """The slots where functions begin, the main function's 0 first."""
        found = {0}
        for slot, each in self.instructions.items():
            if each.opcode == CALL and each.src == insn.PSEUDO_CALL:
                found.add(slot + 1 + each.immediate)
        if self.exception_callback is not None:
            found.add(self.exception_callback)
        return tuple(sorted(found | self.callbacks))

    @cached_property
    def callbacks(self) -> frozenset[int]:
        """The slots of functions whose address is taken."""
        return frozenset(
            slot + 1 + _low(each.immediate)
            for slot, each in self.instructions.items()
            if each.opcode == LOAD_IMMEDIATE_64 and each.src == insn.PSEUDO_FUNC
        )

    def operand(self, slot: int) -> Operand:
        """Return what the 64-bit load at *slot* gives: a value, a map or memory.

        Raises:
            AsmError: It refers to a map or symbol that is not known.
        """
        if slot in self.operands:
            return self.operands[slot]
        each = self.instructions[slot]
        low, high = _low(each.immediate), each.immediate >> 32
        if each.src == 0:
            return each.immediate
        if each.src == insn.PSEUDO_FUNC:
            return self.text.base + 8 * (slot + 1 + low)
        if each.src == insn.PSEUDO_BTF_ID:
            if low in self.symbols:
                return self.symbols[low]
            raise AsmError(f"no symbol has BTF id {low}", where=f"instruction {slot}")
        by_index = each.src in (insn.PSEUDO_MAP_IDX, insn.PSEUDO_MAP_IDX_VALUE)
        found = (self.fd_array if by_index else self.maps).get(low)
        if found is None:
            what = "index" if by_index else "descriptor"
            raise AsmError(f"no map has {what} {low}", where=f"instruction {slot}")
        if each.src in (insn.PSEUDO_MAP_FD, insn.PSEUDO_MAP_IDX):
            return found
        return found, high & 0xFFFF_FFFF

    def targets(self, slot: int) -> tuple[int, ...]:
        """Return where the indirect jump at *slot* may lead: what tables have of its function."""
        at = bisect.bisect(self.entries, slot)
        end = self.entries[at] if at < len(self.entries) else self.length
        inside = range(self.entries[at - 1], end)
        known = self._targets.intersection(inside, self.instructions)
        return tuple(sorted(known))

    # The jump tables that the code refers to as maps.
    def _arrays(self) -> dict[int, tuple[tuple[int, ...], int]]:
        found = {}
        for slot, each in self.instructions.items():
            if each.opcode == LOAD_IMMEDIATE_64 and each.src in _VALUES:
                maps = self.maps if each.src == insn.PSEUDO_MAP_VALUE else self.fd_array
                map_ = maps.get(_low(each.immediate))
                targets = None if map_ is None else map_.instructions()
                if targets is not None:
                    found[slot] = targets, each.immediate >> 32 & 0xFFFF_FFFF
        return found

    # Addresses of instructions, as programs load them from a table.
    def _tables(self, tables: Mapping[int, tuple[tuple[int, ...], int]]) -> list[Region]:
        self._targets: set[int] = set()
        made: dict[tuple[int, ...], Region] = {}
        for slot, (targets, offset) in tables.items():
            if targets not in made:
                addresses = (self.text.base + 8 * target for target in targets)
                data = b"".join(each.to_bytes(8, self.byteorder) for each in addresses)
                made[targets] = Region(data, "jump table", writable=False)
            self._targets.update(targets)
            self.operands = {**self.operands, slot: made[targets].base + offset}
        return list(made.values())

    def kfunc(self, slot: int) -> str:
        """Return the name of the kernel function that is called at *slot*."""
        number = self.instructions[slot].immediate
        return self.kfunc_slots.get(slot) or self.kfuncs.get(number, f"kfunc {number}")

    def _decode(self) -> dict[int, Instruction]:
        slot = 0
        found = {}
        for each in decode_all(self.code, self.byteorder):
            found[slot] = each
            slot += each.slots
        return found

    def __repr__(self) -> str:
        return f'<Program "{self.name}" {self.length} instructions>'


# The function that the program's tag names; see `pyebpf.elf.exceptions`.
def _exception_callback(spec: ProgramSpec) -> int | None:
    if spec.btf is None:
        return None
    slots = {name: slot for slot, name in spec.functions}
    for type_id in spec.btf.of_kind(BtfKind.DECL_TAG):
        tag = spec.btf.type(type_id)
        assert isinstance(tag, DeclTag)
        target = spec.btf.type(tag.type)
        named = tag.name.removeprefix(EXCEPTION_TAG)
        if named != tag.name and isinstance(target, Func) and target.name == spec.name:
            return slots.get(named)
    return None


def _low(immediate: int) -> int:
    return (immediate & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
