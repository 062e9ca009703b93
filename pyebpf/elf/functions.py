"""Code sections split into functions by their symbols.

An `Elf` comes in, a `CodeSections` goes out. Compilers put several functions into one section and
call between sections; a program is one entry function and what it calls, so functions are the
units that linking moves:

    section xdp    | on_packet (global) | parse (local)  |
    section .text  | checksum (global)  | log (local) |

Entries are the global and weak functions outside ``.text``. A local function there is a subprogram
of the others, unless nothing calls it: then it can only be meant as an entry.
"""

from __future__ import annotations

import itertools
import warnings
from bisect import bisect_right
from collections.abc import Iterator

from pyebpf.asm.opcode import SLOT_SIZE
from pyebpf.asm.slots import Slots
from pyebpf.elf.reader import Elf, Section, Symbol
from pyebpf.elf.stripped import nameless_functions
from pyebpf.errors import ElfError
from pyebpf.plain import field, plain
from pyebpf.spec import Reference
from pyebpf.uapi.elf import STB_GLOBAL, STB_LOCAL, STB_WEAK, STT_NOTYPE, STT_OBJECT

__all__ = ["CodeSection", "CodeSections", "Function"]

LIBRARY_SECTION = ".text"


@plain(eq=False)
class Function:
    """One function of a code section; slots count from its own start.

    Attributes:
        name: The name it goes by; aliases are in *symbols*.
        home: The section it stands in.
        start: Byte offset in the section.
        end: Byte offset behind it.
        symbols: All its symbols, the one that names it first.
        references: Named references by slot.
        calls: Functions it calls or takes the address of, by slot.
        jump_tables: Targets of its indirect jumps as slots, by the table's symbol.
    """

    name: str
    home: CodeSection = field(repr=False)
    start: int
    end: int
    symbols: tuple[Symbol, ...] = field(repr=False)
    references: dict[int, Reference] = field(default_factory=dict, repr=False)
    calls: dict[int, Function] = field(default_factory=dict, repr=False)
    jump_tables: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def code(self) -> memoryview:
        """Its raw instructions."""
        return memoryview(self.home.slots.code)[self.start : self.end]


class CodeSection:
    """A section of instructions and the functions in it.

    Attributes:
        section: The ELF section.
        slots: Its code, patched in place while references are resolved.
        functions: In order; what lies between them is dead code, which linkers leave behind.
    """

    __slots__ = ("_starts", "functions", "section", "slots")

    def __init__(self, elf: Elf, section: Section) -> None:
        self.section = section
        whole = section.size - section.size % SLOT_SIZE
        self.slots = Slots(bytearray(section.data()[:whole]), elf.byteorder)
        symbols = elf.symbols_in(section)
        if not elf.has_symbols and not self.is_library:
            raise section.error("no symbol names the function at its start", 0)
        self.functions = self._split([*symbols, *nameless_functions(elf, section, symbols)])
        self._starts = [function.start for function in self.functions]

    @property
    def is_library(self) -> bool:
        """Whether it holds subprograms only."""
        return self.section.name == LIBRARY_SECTION

    def at(self, offset: int) -> Function | None:
        """Return the function whose code covers a byte offset, or ``None``."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0 or offset >= self.functions[index].end:
            return None
        return self.functions[index]

    def starting_at(self, offset: int) -> Function | None:
        """Return the function that starts at a byte offset, or ``None``."""
        function = self.at(offset)
        return function if function is not None and function.start == offset else None

    def _split(self, symbols: list[Symbol]) -> list[Function]:
        groups = self._by_offset(symbols)
        if not groups and not self.is_library:
            self._warn_of_nameless_code()
        starts = [*sorted(groups), len(self.slots.code)]
        functions = []
        for start, limit in itertools.pairwise(starts):
            group = groups[start]
            size = max(symbol.size for symbol in group)
            if start % SLOT_SIZE or size % SLOT_SIZE:
                raise self.section.error(
                    f'function "{group[0].name}" of {size} bytes is not whole instructions', start
                )
            end = start + size if size else limit
            if end > limit:
                raise self.section.error(f'function "{group[0].name}" overlaps the next', start)
            functions.append(Function(group[0].name, self, start, end, tuple(group)))
        return functions

    def _warn_of_nameless_code(self) -> None:
        warnings.warn(
            f"section {self.section.name} is left out: no symbol names a function in it",
            RuntimeWarning,
            stacklevel=2,
        )

    # The symbols of each function by its offset, the one that names it first. Assembly by hand may
    # lack a type; a global label then starts a function, if it is not inside one.
    def _by_offset(self, symbols: list[Symbol]) -> dict[int, list[Symbol]]:
        groups: dict[int, list[Symbol]] = {}
        covered = 0
        for symbol in sorted(symbols, key=lambda symbol: (symbol.value, -symbol.type)):
            if symbol.type == STT_OBJECT or symbol.value == self.section.size:
                continue
            inside = symbol.value < covered and symbol.value not in groups
            if symbol.type == STT_NOTYPE and inside:
                continue
            groups.setdefault(symbol.value, []).append(symbol)
            covered = max(covered, symbol.value + symbol.size)
        for group in groups.values():
            group.sort(key=lambda symbol: _NAMING_ORDER.get(symbol.binding, len(_NAMING_ORDER)))
        return groups


_NAMING_ORDER = {STB_GLOBAL: 0, STB_WEAK: 1, STB_LOCAL: 2}


class CodeSections:
    """All code sections of a file.

    Attributes:
        by_index: By the section's number.
    """

    __slots__ = ("_definitions", "by_index")

    def __init__(self, elf: Elf) -> None:
        self.by_index = {
            section.index: CodeSection(elf, section)
            for section in elf.sections
            if section.executable
        }
        self._definitions = self._find_definitions()

    def __iter__(self) -> Iterator[CodeSection]:
        return iter(self.by_index.values())

    def definition(self, name: str) -> Function | None:
        """Return the global or weak function of that name, a global one before a weak one."""
        found = self._definitions.get(name)
        return found[1] if found is not None else None

    def entries(self) -> dict[str, Function]:
        """Return the functions that are programs, by name.

        Call it when all calls are known.

        Raises:
            ElfError: Two have the same name.
        """
        called = {
            id(callee) for function in self._functions() for callee in function.calls.values()
        }
        found: dict[str, Function] = {}
        for code in self:
            if code.is_library:
                continue
            for function in code.functions:
                for name in self._entry_names(function, id(function) in called):
                    if name in found:
                        raise code.section.error(f'a second program "{name}"', function.start)
                    found[name] = function
        return found

    def _functions(self) -> Iterator[Function]:
        for code in self:
            yield from code.functions

    def _entry_names(self, function: Function, called: bool) -> list[str]:
        names = [
            symbol.name
            for symbol in function.symbols
            if symbol.binding != STB_LOCAL and self.definition(symbol.name) is function
        ]
        if names or called or function.symbols[0].binding != STB_LOCAL:
            return names
        return [function.name]

    def _find_definitions(self) -> dict[str, tuple[Symbol, Function]]:
        found: dict[str, tuple[Symbol, Function]] = {}
        for function in self._functions():
            for symbol in function.symbols:
                if symbol.binding == STB_LOCAL:
                    continue
                other, _ = found.get(symbol.name, (None, None))
                strong = symbol.binding != STB_WEAK
                if other is None or (strong and other.binding == STB_WEAK):
                    found[symbol.name] = (symbol, function)
                elif strong:
                    raise _duplicate(function, symbol)
        return found


def _duplicate(function: Function, symbol: Symbol) -> ElfError:
    return function.home.section.error(
        f'function "{symbol.name}" is defined a second time', function.start
    )
