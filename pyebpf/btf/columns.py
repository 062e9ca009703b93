"""What numpy calls a dtype, for a BTF type, without numpy: plain strings, tuples and dicts.

    int, enum, pointer     "<i4", "<u8"                T[n]     (that of T, (n,))
    bool, float            "?", "<f8"                  char[n]  "S16": text up to the last zero
    struct, union          {"names", "formats", "offsets", "itemsize"}    unsigned char[n]: (n,) u1

Members of anonymous structs and unions are fields of their own; those of unions overlap. Bit-fields
are left out, since numpy has none, and so is what has no size. ``numpy.dtype`` takes the
result as it is.
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Array, Composite, Datasec, Enumeration, Float, Int, Ptr, Type, Var
from pyebpf.btf.values import codec, flat_members
from pyebpf.errors import BtfError
from pyebpf.typed import TypeAlias

__all__ = ["Columns", "columns"]

Columns: TypeAlias = "str | tuple[Columns, tuple[int, ...]] | dict[str, list[object] | int]"


def columns(btf: Btf, type_id: int) -> Columns:
    """Return the description of a type's values for ``numpy.dtype``.

    Raises:
        BtfError: The type has no values, or is malformed.
    """
    codec(btf, type_id)  # refuses what is malformed, endless or without values
    return _columns(btf, type_id)


def _columns(btf: Btf, type_id: int) -> Columns:
    found = _core(btf, type_id)
    order = "<" if btf.byteorder == "little" else ">"
    if isinstance(found, Int):
        return _integer(order, found)
    if isinstance(found, Enumeration):
        return f"{order}{'i' if found.signed else 'u'}{found.size}"
    if isinstance(found, Ptr):
        return f"{order}u{btf.pointer_size}"
    if isinstance(found, Float):
        return f"{order}f{found.size}" if found.size in (2, 4, 8) else f"V{found.size}"
    if isinstance(found, Array):
        element = _core(btf, found.element)
        if isinstance(element, Int) and element.size == 1 and element.name == "char":
            return f"S{found.length}" if found.length else "V0"
        return (_columns(btf, found.element), (found.length,))
    if isinstance(found, Composite):
        return _fields(btf, found)
    if isinstance(found, Datasec):
        parts = [(btf.type(each.type), each) for each in found.variables]
        return _struct(
            [(one.name, _columns(btf, each.type), each.offset) for one, each in parts], found.size
        )
    raise BtfError(f"{btf.describe(type_id)} has no values", f"type {type_id}")


def _core(btf: Btf, type_id: int) -> Type:
    found = btf.type(btf.strip(type_id))
    return btf.type(btf.strip(found.type)) if isinstance(found, Var) else found


def _integer(order: str, found: Int) -> str:
    if found.is_bool and found.size == 1:
        return "?"
    if found.size not in (1, 2, 4, 8):
        return f"V{found.size}"
    return f"{order}{'i' if found.signed else 'u'}{found.size}"


def _fields(btf: Btf, found: Composite) -> Columns:
    fields: dict[str, tuple[str, Columns, int]] = {}
    for member, offset in flat_members(btf, found):
        inner = _core(btf, member.type)
        narrow = isinstance(inner, Int) and (inner.offset or inner.bits < inner.size * 8)
        # Nothing to see in what has no size, and numpy would take it for "any size".
        if member.bitfield_size or narrow or offset % 8 or not btf.size_of(member.type):
            continue
        one = (member.name, _columns(btf, member.type), offset // 8)
        fields.setdefault(member.name, one)
    return _struct(list(fields.values()), found.size)


def _struct(fields: list[tuple[str, Columns, int]], size: int) -> Columns:
    if not fields:
        return f"V{size}"
    names, formats, offsets = zip(*fields, strict=True)
    return {
        "names": list(names),
        "formats": list(formats),
        "offsets": list(offsets),
        "itemsize": size,
    }
