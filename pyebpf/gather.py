"""One set of types for a collection whose programs bring their own.

A `CollectionSpec` comes in and is changed: assembled programs have types of their own, and so have
those that were taken out of another object, but the kernel takes one set for all programs of a
load. Ids and strings in the tables of such programs are moved along.
"""

from __future__ import annotations

import struct

from pyebpf.btf.join import Joined, join
from pyebpf.plain import replace
from pyebpf.spec import CollectionSpec

__all__ = ["gather_types"]

_FUNC_INFO = {"little": struct.Struct("<II"), "big": struct.Struct(">II")}
_LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}


def gather_types(spec: CollectionSpec) -> None:
    """Put types that programs brought along behind the collection's own: all are loaded at once.

    Args:
        spec: The collection; its ``btf`` and the tables of such programs are changed.

    Raises:
        BtfError: Types are malformed, or of another byte order.
    """
    moved: dict[int, Joined] = {}
    own = spec.btf
    for program in spec.programs.values():
        types = program.btf
        if types is None or types is own or not (program.func_info or program.relocations):
            continue
        if id(types) not in moved:
            moved[id(types)] = Joined(types, 0, 0) if spec.btf is None else join(spec.btf, types)
            spec.btf = moved[id(types)].btf
        _, ids, strings = moved[id(types)]
        functions, lines = _FUNC_INFO[program.byteorder], _LINE_INFO[program.byteorder]
        program.func_info = b"".join(
            functions.pack(slot, type_id + ids)
            for slot, type_id in functions.iter_unpack(program.func_info)
        )
        program.line_info = b"".join(
            lines.pack(slot, file + strings, text + strings, column)
            for slot, file, text, column in lines.iter_unpack(program.line_info)
        )
        program.relocations = tuple(
            replace(each, type_id=each.type_id + ids) for each in program.relocations
        )
    if moved:
        for program in spec.programs.values():
            program.btf = spec.btf if program.btf is not None else None
