"""Relocations of code: what each load and call refers to.

`CodeSections` come in with the names of maps and data sections, and leave with ``references`` (by
name, filled in by the loader) and ``calls`` (to functions, filled in by linking) on every function.
The instruction and the section of the symbol decide; the relocation's own type adds nothing:

    instruction  symbol in        becomes                      code afterwards
    load 64      map section      MAP, name                    src 1, immediates 0
    load 64      data section     MAP_VALUE, map + offset      src 2, second immediate the offset
    load 64      .jumptables      JUMP_TABLE, name + offset    src 2, second immediate the offset
    load 64      code             the function's address       src 4
    load 64      nowhere          KCONFIG, KSYM, UNDEFINED     as compiled
    call         code             the function                 src 1
    call         nowhere          KFUNC, UNDEFINED             as compiled

A symbol of a whole section leaves the place to the immediate, so an offset is always the symbol's
value plus what the immediate says; only maps are named by their symbols alone. Clang resolves calls
to static functions of the same section itself; they come without relocation and are found by their
opcode.

GNU as 2.40, which finishes what GCC 12 compiles, writes the symbol's value into the immediate too,
and counts calls in bytes. That is told from clang's ways where those lead to no function. Globals
are where libbpf finds them, which is behind their place unless they are the first of their section.
What leads nowhere is left to whoever loads the program: it need not be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyebpf.asm.opcode import CALL, LOAD_IMMEDIATE_64, SLOT_SIZE
from pyebpf.elf.externs import Externs
from pyebpf.elf.functions import CodeSection, CodeSections, Function
from pyebpf.elf.jump_tables import JumpTables
from pyebpf.elf.reader import Elf, Relocation, Symbol
from pyebpf.errors import ElfError
from pyebpf.spec import Reference, ReferenceKind
from pyebpf.uapi.elf import SHN_ABS, SHN_COMMON, SHN_UNDEF, STB_LOCAL, STB_WEAK
from pyebpf.uapi.insn import PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE

__all__ = ["Resolver"]


class Resolver:
    """Resolves the relocations of all code sections.

    Args:
        elf: The file.
        code: Its functions; they receive references and calls.
        maps: Names of maps, by section number and offset.
        data: Names of the maps that hold data sections, by section number.
        externs: What undefined symbols are.

    Attributes:
        used: Numbers of the data sections that code refers to.
    """

    def __init__(
        self,
        elf: Elf,
        code: CodeSections,
        *,
        maps: Mapping[int, Mapping[int, str]],
        data: Mapping[int, str],
        externs: Externs,
    ) -> None:
        self._elf = elf
        self._code = code
        self._maps = maps
        self._data = data
        self._externs = externs
        self._tables = JumpTables(elf)
        self.used: set[int] = set()

    def run(self) -> None:
        """Resolve everything.

        Raises:
            ElfError: A relocation makes no sense, or refers to what no program can use.
        """
        for home in self._code:
            relocated = set()
            for relocation in self._elf.relocations_of(home.section):
                relocated.add(relocation.offset)
                _Site(self, home, relocation).resolve()
            _resolve_direct(home, relocated)


class _Site:
    # One relocated instruction.

    def __init__(self, resolver: Resolver, home: CodeSection, relocation: Relocation) -> None:
        self._resolver = resolver
        self._home = home
        self._slots = home.slots
        self._offset = relocation.offset
        self._slot = relocation.offset // SLOT_SIZE
        self._relocation = relocation

    def resolve(self) -> None:
        if self._offset % SLOT_SIZE:
            raise self._error("relocation inside an instruction")
        function = self._home.at(self._offset)
        if function is None:
            return  # dead code without a name
        self._function = function
        symbol = self._resolver._elf.symbol(self._relocation.symbol)
        if self._slots.is_call(self._slot):
            self._resolve_call(symbol)
        elif self._slots.is_load_64(self._slot) and self._offset + 2 * SLOT_SIZE <= function.end:
            self._resolve_load(symbol)
        else:
            raise self._error(
                f'"{symbol.name}" relocates an instruction that is neither a call nor a 64-bit load'
            )

    def _resolve_call(self, symbol: Symbol) -> None:
        if self._slots.source(self._slot) != PSEUDO_CALL:
            raise self._error(f'call of "{symbol.name}" is not a call of a function')
        if symbol.section == SHN_UNDEF:
            self._refer(self._resolver._externs.reference(symbol, 0, call=True))
            return
        if symbol.section not in self._resolver._code.by_index:
            raise self._error(f'call of "{symbol.name}", {self._place(symbol)}')
        # The immediate counts slots from the next instruction; -1 stands for the symbol itself.
        distance = self._slots.immediate(self._slot) + 1
        self._refer_to_code(symbol, symbol.value + distance * SLOT_SIZE, distance)

    def _resolve_load(self, symbol: Symbol) -> None:
        addend = self._slots.immediate(self._slot)
        resolver = self._resolver
        if symbol.section == SHN_UNDEF:
            self._refer(resolver._externs.reference(symbol, addend, call=False))
        elif symbol.section == SHN_ABS:
            self._set_address(symbol.value + addend)
        elif symbol.section in resolver._maps:
            self._refer_to_map(symbol, addend)
        elif symbol.section in resolver._data:
            self._refer_to_value(symbol, addend)
        elif resolver._tables.holds(symbol):
            self._refer_to_table(symbol, addend)
        elif symbol.section in resolver._code.by_index:
            self._slots.set_source(self._slot, PSEUDO_FUNC)
            self._refer_to_code(symbol, symbol.value + addend, addend)
        else:
            raise self._error(f'load of "{symbol.name}", {self._place(symbol)}')

    def _refer_to_map(self, symbol: Symbol, addend: int) -> None:
        names = self._resolver._maps[symbol.section]
        if symbol.binding == STB_LOCAL:
            raise self._error(
                f'map "{names.get(symbol.value + addend, symbol.name)}" is referred to as a local'
                " symbol: is its definition wrongly static?"
            )
        name = names.get(symbol.value)
        if name is None:
            raise self._error(f'"{symbol.name}" is inside a map\'s definition')
        self._slots.set_source(self._slot, PSEUDO_MAP_FD)
        # Nothing stands there in sound code; what does is for the verifier to refuse.
        offset = self._slots.immediate(self._slot + 1)
        self._set_immediates(0, offset)
        self._refer(Reference(ReferenceKind.MAP, name, offset))

    def _refer_to_value(self, symbol: Symbol, addend: int) -> None:
        offset = symbol.value + addend
        self._resolver.used.add(symbol.section)
        self._slots.set_source(self._slot, PSEUDO_MAP_VALUE)
        self._set_immediates(0, offset)
        name = self._resolver._data[symbol.section]
        self._refer(Reference(ReferenceKind.MAP_VALUE, name, offset))

    def _refer_to_table(self, symbol: Symbol, addend: int) -> None:
        if not 0 <= addend < symbol.size:
            raise self._error(f'offset {addend:#x} is outside jump table "{symbol.name}"')
        targets = self._resolver._tables.targets(symbol, self._function)
        known = self._function.jump_tables.setdefault(symbol.name, targets)
        if known != targets:
            raise self._error(f'a second jump table "{symbol.name}"')
        self._slots.set_source(self._slot, PSEUDO_MAP_VALUE)
        self._set_immediates(0, addend)
        self._refer(Reference(ReferenceKind.JUMP_TABLE, symbol.name, addend))

    def _refer_to_code(self, symbol: Symbol, offset: int, gnu_offset: int) -> None:
        home = self._resolver._code.by_index[symbol.section]
        callee = home.starting_at(offset)
        if callee is None and symbol.value in (0, gnu_offset):
            callee = home.starting_at(gnu_offset)
        if callee is None:
            self._refer(_nowhere(home, offset))
        elif symbol.binding == STB_WEAK:
            self._call(self._resolver._code.definition(symbol.name) or callee)
        else:
            self._call(callee)

    def _set_address(self, value: int) -> None:
        self._set_immediates(value, value >> 32)

    def _set_immediates(self, low: int, high: int) -> None:
        self._slots.set_immediate(self._slot, low)
        self._slots.set_immediate(self._slot + 1, high)

    def _refer(self, reference: Reference) -> None:
        self._function.references[self._own_slot()] = reference

    def _call(self, callee: Function) -> None:
        self._function.calls[self._own_slot()] = callee

    def _own_slot(self) -> int:
        return self._slot - self._function.start // SLOT_SIZE

    def _place(self, symbol: Symbol) -> str:
        if symbol.section == SHN_ABS:
            return "an absolute address"
        if symbol.section == SHN_COMMON:
            return "a common symbol: initialise it, or compile with -fno-common"
        return f"which stands in section {self._resolver._elf.sections[symbol.section].name}"

    def _error(self, message: str) -> ElfError:
        return self._home.section.error(message, self._offset)


# Calls and function addresses that the compiler resolved itself become calls of functions too, so
# that they survive the functions being moved.
def _resolve_direct(home: CodeSection, relocated: set[int]) -> None:
    slots = home.slots
    for slot in slots.positions(CALL, LOAD_IMMEDIATE_64):
        pseudo = PSEUDO_CALL if slots.is_call(slot) else PSEUDO_FUNC
        offset = slot * SLOT_SIZE
        if slots.source(slot) != pseudo or offset in relocated:
            continue
        function = home.at(offset)
        if function is None:
            continue
        target = offset + (slots.immediate(slot) + 1) * SLOT_SIZE
        callee = home.starting_at(target)
        own_slot = slot - function.start // SLOT_SIZE
        if callee is None:
            function.references[own_slot] = _nowhere(home, target)
        else:
            function.calls[own_slot] = callee


# The way disassemblers write a place without a name.
def _nowhere(home: CodeSection, offset: int) -> Reference:
    return Reference(ReferenceKind.UNDEFINED, f"{home.section.name}{offset:+#x}")
