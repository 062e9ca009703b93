"""Names that programs leave open, found among what their collection defines.

A `CollectionSpec` comes in and is changed: references to symbols that nothing defines become
references to a map, to the contents of a data section, or to a variable of one, if the collection
has something of that name. Compilers do that for a file; programs that are assembled, or that were
compiled apart from their maps, meet them only here.
"""

from __future__ import annotations

from collections.abc import Container

from pyebpf.asm.slots import Slots
from pyebpf.references import Reference, ReferenceKind
from pyebpf.spec import CollectionSpec, ProgramSpec
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.insn import PSEUDO_MAP_FD, PSEUDO_MAP_VALUE

__all__ = ["resolve"]

# What has contents and stands for itself all the same.
_NO_SECTIONS = frozenset({MapType.ARENA, MapType.STRUCT_OPS})


def resolve(spec: CollectionSpec, *, maps: Container[str] = ()) -> None:
    """Resolve what can be; the rest stays open.

    Args:
        spec: The collection; code and references of its programs are changed.
        maps: Names of more maps, which are loaded already.
    """
    for program in spec.programs.values():
        _resolve(program, spec, maps)


def _resolve(program: ProgramSpec, spec: CollectionSpec, maps: Container[str]) -> None:
    undefined = {
        slot: reference
        for slot, reference in program.references.items()
        if reference.kind is ReferenceKind.UNDEFINED
    }
    if not undefined:
        return
    slots = Slots(bytearray(program.code), program.byteorder)
    for slot, reference in undefined.items():
        found = _defined(reference, spec, maps) if slots.is_load_64(slot) else None
        if found is None:
            continue
        value = found.kind is ReferenceKind.MAP_VALUE
        slots.set_source(slot, PSEUDO_MAP_VALUE if value else PSEUDO_MAP_FD)
        slots.set_immediate(slot, 0)
        slots.set_immediate(slot + 1, found.offset)
        program.references[slot] = found
    program.code = bytes(slots.code)


def _defined(reference: Reference, spec: CollectionSpec, maps: Container[str]) -> Reference | None:
    name, offset = reference.symbol, reference.offset
    variable = spec.variables.get(name)
    if variable is not None:
        place = variable.offset + offset
        return Reference(ReferenceKind.MAP_VALUE, variable.map.name, place, reference.weak)
    found = spec.maps.get(name)
    if found is not None and found.contents is not None and found.type not in _NO_SECTIONS:
        return Reference(ReferenceKind.MAP_VALUE, name, offset, reference.weak)
    if (found is not None or name in maps) and not offset:
        return Reference(ReferenceKind.MAP, name, 0, reference.weak)
    return None
