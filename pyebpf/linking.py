"""Functions of other objects linked into programs, and symbols that nothing refers to.

A `CollectionSpec` whose programs call functions that it does not define comes in, with others that
do; the programs leave with those functions, and whatever those call, behind their own code:

    | program ... call later | later ... call more | more ... |

Maps, variables and types that the functions use come along, lines of source too. Functions are
defined by programs: each entry, and each function that stands in a program's code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pyebpf.asm.assemble import target_of
from pyebpf.asm.instruction import decode_all
from pyebpf.asm.opcode import SLOT_SIZE, carries_jump
from pyebpf.asm.slots import Slots
from pyebpf.btf.btf import Btf
from pyebpf.btf.join import Joined, join
from pyebpf.errors import LoadError
from pyebpf.gather import gather_types
from pyebpf.plain import replace
from pyebpf.spec import CollectionSpec, MapSpec, ProgramSpec, ReferenceKind
from pyebpf.typed import NamedTuple
from pyebpf.uapi.insn import PSEUDO_CALL, PSEUDO_FUNC

__all__ = ["link_functions", "unreferenced"]

_FUNC_INFO = {"little": struct.Struct("<II"), "big": struct.Struct(">II")}
_LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}
# What a call of a function that is not there yet may be taken for.
_OPEN = frozenset({ReferenceKind.UNDEFINED, ReferenceKind.KFUNC})
_DATA = frozenset({ReferenceKind.MAP, ReferenceKind.MAP_VALUE})
_CHANGED = (
    "code", "references", "jump_tables", "relocations", "functions", "func_info", "line_info",
)  # fmt: skip


def unreferenced(spec: CollectionSpec) -> frozenset[str]:
    """Return the names of maps and variables that no program uses.

    A map counts as used if another one holds it, and a variable if a program refers to its place
    or to the start of its section, which code may count from.
    """
    references = {
        (each.symbol, each.offset)
        for program in spec.programs.values()
        for each in program.references.values()
    }
    used = {symbol for symbol, _ in references}
    used |= {name for each in spec.maps.values() for _, name in each.entries}
    maps = {name for name in spec.maps if name not in used}
    variables = {
        name
        for name, each in spec.variables.items()
        if name not in used
        and not any(
            symbol == each.map.name
            and (offset == 0 or each.offset <= offset < each.offset + max(each.size, 1))
            for symbol, offset in references
        )
    }
    return frozenset(maps | variables)


def link_functions(spec: CollectionSpec, library: CollectionSpec) -> None:
    """Link functions that programs call, or take the address of, and do not have.

    Args:
        spec: The collection, changed in place. What it cannot find stays as it is, so that another
            library may have it.
        library: Where functions are taken from; it stays as it is.

    Raises:
        LoadError: Both have a map of one name, and differ; or a byte order is another.
        BtfError: The types of one are malformed.
        AsmError: Code of one is malformed.
    """
    if spec.byteorder != library.byteorder:
        raise LoadError(library.name, f"a {library.byteorder}-endian object is linked in")
    library = library.copy()
    for each in (spec, library):
        gather_types(each)
    joined = _joined(spec, library)
    linked: dict[str, _Linker] = {}
    for name, program in spec.programs.items():
        linker = _Linker(program.copy(), library, joined)
        if linker.run():
            linked[name] = linker
    if not linked:
        return
    maps = _needed(spec, library, {each for linker in linked.values() for each in linker.maps})
    for name, linker in linked.items():
        for attribute in _CHANGED:
            setattr(spec.programs[name], attribute, getattr(linker.program, attribute))
    _add(spec, library, maps, joined)


class _Part(NamedTuple):
    # A function in the code of a program of the library.
    program: ProgramSpec
    name: str
    start: int
    end: int


def _functions(library: CollectionSpec) -> dict[str, _Part]:
    found: dict[str, _Part] = {}
    for program in library.programs.values():
        for part in _parts(program):
            # The entry itself before a copy that was linked into another program.
            if part.name not in found or not part.start:
                found[part.name] = part
    return found


def _parts(program: ProgramSpec) -> Iterator[_Part]:
    functions = program.functions or ((0, program.name),)
    ends = [slot for slot, _ in functions[1:]] + [len(program.code) // SLOT_SIZE]
    for (start, name), end in zip(functions, ends, strict=True):
        yield _Part(program, name, start, end)


class _Linker:
    # Links one program. Afterwards ``maps`` has the names of those that come along.

    def __init__(
        self, program: ProgramSpec, library: CollectionSpec, joined: Joined | None
    ) -> None:
        self.program = program
        self.maps: set[str] = set()
        self._functions = _functions(library)
        self._ids = joined.ids if joined is not None else 0
        self._strings = joined.strings if joined is not None else 0
        self._slots = Slots(bytearray(program.code), program.byteorder)
        self._places: dict[tuple[int, int], int] = {}
        self._parts: list[_Part] = []

    def run(self) -> bool:
        for slot, reference in list(self.program.references.items()):
            part = self._functions.get(reference.symbol)
            if reference.kind in _OPEN and part is not None and not reference.offset:
                self._point(slot, self._place(part))
                del self.program.references[slot]
        for part in self._parts:  # grows while it is walked
            self._bring(part)
        if self._parts:
            self.program.code = bytes(self._slots.code)
            self._bring_types()
        return bool(self._parts)

    # Where a function is, after it has been appended if it was not there yet.
    def _place(self, part: _Part) -> int:
        key = id(part.program), part.start
        if key not in self._places:
            self._places[key] = len(self._slots)
            self.program.functions += ((len(self._slots), part.name),)
            self._slots.code += part.program.code[part.start * SLOT_SIZE : part.end * SLOT_SIZE]
            self._parts.append(part)
        return self._places[key]

    def _point(self, slot: int, target: int) -> None:
        call = self._slots.is_call(slot)
        self._slots.set_source(slot, PSEUDO_CALL if call else PSEUDO_FUNC)
        self._slots.set_immediate(slot, target - slot - 1)
        if not call:
            self._slots.set_immediate(slot + 1, 0)

    # What an appended function refers to, and what it calls.
    def _bring(self, part: _Part) -> None:
        shift = self._places[id(part.program), part.start] - part.start
        entries = {each.start: each for each in _parts(part.program)}
        inside = range(part.start, part.end)
        slot = 0
        for instruction in decode_all(part.program.code, part.program.byteorder):
            target = None if carries_jump(instruction.opcode) else target_of(slot, instruction)
            if slot in inside and target is not None and slot not in part.program.references:
                self._point(slot + shift, self._place(entries[target]))
            slot += instruction.slots
        for slot, reference in part.program.references.items():
            if slot not in inside:
                continue
            found = self._functions.get(reference.symbol)
            if reference.kind in _OPEN and found is not None and not reference.offset:
                self._point(slot + shift, self._place(found))
            else:
                self.program.references[slot + shift] = reference
                self.maps |= {reference.symbol} if reference.kind in _DATA else set()
        for name, targets in part.program.jump_tables.items():
            if targets and targets[0] in inside:
                self.program.jump_tables[name] = tuple(each + shift for each in targets)
        self.program.relocations += tuple(
            replace(each, slot=each.slot + shift, type_id=each.type_id and each.type_id + self._ids)
            for each in part.program.relocations
            if each.slot in inside
        )

    # Types and lines of functions: the kernel takes those of all or of none.
    def _bring_types(self) -> None:
        program = self.program
        if not program.func_info or not all(each.program.func_info for each in self._parts):
            program.func_info = program.line_info = b""
            return
        types, lines = _FUNC_INFO[program.byteorder], _LINE_INFO[program.byteorder]
        for part in self._parts:
            shift = self._places[id(part.program), part.start] - part.start
            inside = range(part.start, part.end)
            for slot, type_id in types.iter_unpack(part.program.func_info):
                if slot == part.start:
                    program.func_info += types.pack(slot + shift, type_id + self._ids)
            brought = b"".join(
                lines.pack(slot + shift, file + self._strings, text + self._strings, column)
                for slot, file, text, column in lines.iter_unpack(part.program.line_info)
                if slot in inside
            )
            if program.line_info and not brought:  # a line for the start of each, or none at all
                *_, last = lines.iter_unpack(program.line_info)
                brought = lines.pack(part.start + shift, *last[1:])
            program.line_info += brought if program.line_info else b""


def _joined(spec: CollectionSpec, library: CollectionSpec) -> Joined | None:
    if library.btf is None or library.btf is spec.btf:
        return None
    if spec.btf is None:
        return Joined(library.btf, 0, 0)
    return join(spec.btf, library.btf)


# Maps of the library that linked functions use and the collection lacks, and those they hold.
def _needed(spec: CollectionSpec, library: CollectionSpec, used: set[str]) -> dict[str, MapSpec]:
    found: dict[str, MapSpec] = {}
    waiting = dict.fromkeys(sorted(used & library.maps.keys()))
    while waiting:
        name, _ = waiting.popitem()
        theirs = library.maps[name]
        if name not in spec.maps:
            found[name] = theirs.copy()
            held = (each for _, each in theirs.entries)
            waiting |= dict.fromkeys(each for each in held if each in library.maps.keys() - found)
        elif _untyped(theirs) != _untyped(spec.maps[name]):
            raise LoadError(name, f'both collections have a map "{name}", and they differ')
    return found


# A map without its types, whose ids differ from object to object.
def _untyped(spec: MapSpec) -> MapSpec:
    inner = _untyped(spec.inner) if spec.inner is not None else None
    return replace(spec, key_type_id=0, value_type_id=0, inner=inner)


def _add(
    spec: CollectionSpec,
    library: CollectionSpec,
    maps: dict[str, MapSpec],
    joined: Joined | None,
) -> None:
    shift = joined.ids if joined is not None else 0
    btf = joined.btf if joined is not None else spec.btf
    for each in maps.values():
        _retype(each, shift, btf)
    spec.maps |= maps
    added = {
        name: replace(each, map=maps[each.map.name], type_id=each.type_id and each.type_id + shift)
        for name, each in library.variables.items()
        if each.map.name in maps and name not in spec.variables
    }
    spec.variables = {**spec.variables, **added}
    spec.btf = btf
    for program in spec.programs.values():
        program.btf = btf


def _retype(spec: MapSpec, shift: int, btf: Btf | None) -> None:
    spec.btf = btf
    spec.key_type_id += shift if spec.key_type_id else 0
    spec.value_type_id += shift if spec.value_type_id else 0
    if spec.inner is not None:
        _retype(spec.inner, shift, btf)
