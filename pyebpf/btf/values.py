"""Values by BTF type: which Python type stands for which C type.

    int, long, __u8 ...      int                  struct, union     Record (`pyebpf.btf.records`)
    bool                     bool                 char[n]           str, up to the zero
    float, double            float                unsigned char[n]  bytes
    enum                     IntEnum, or int      T[n]              tuple
    pointer                  int                  bit-field         int, bool or enum
    long double              bytes                data section      Record of its variables

Typedefs and qualifiers do not matter. Codecs are made once per type and kept with the `Btf`.
"""

from __future__ import annotations

from collections.abc import Callable

from pyebpf.btf import codec as scalars
from pyebpf.btf.btf import Btf
from pyebpf.btf.codec import Codec
from pyebpf.btf.records import Place, RecordCodec
from pyebpf.btf.types import (
    Array,
    Composite,
    Datasec,
    Enumeration,
    Float,
    Int,
    Member,
    Modifier,
    Ptr,
    Type,
    Var,
)
from pyebpf.errors import BtfError
from pyebpf.typed import cast

__all__ = ["Codec", "codec", "flat_members", "places", "record_codec"]

# A struct in a struct in a ...; and the fields one value may have, all levels counted. Both are far
# above any real type (the largest of a kernel has some thousand fields) and bound what a malformed
# BTF, where a struct may hold itself, can make of a small buffer.
_NESTING = 64
_FIELDS = 1 << 18


def codec(btf: Btf, type_id: int) -> Codec:
    """Return the codec of a type.

    Args:
        btf: Where the type is.
        type_id: Its id; of a variable or a data section too.

    Raises:
        BtfError: It has no values (``void``, functions, forward declarations), or is malformed.
    """
    key = ("codec", type_id)
    found = btf.memo.get(key)
    if found is None:
        _weigh(btf, type_id, 0)
        made = _make(btf, type_id)
        made.type_id = type_id
        found = btf.memo[key] = made
    return cast("Codec", found)


def record_codec(btf: Btf, name: str) -> RecordCodec:
    """Return the codec of the struct, union or typedef of one that is called *name*.

    Raises:
        BtfError: There is no such type, or several that differ in size.
    """
    found = [type_id for type_id in btf.ids(name) if _is_composite(btf, type_id)]
    if not found:
        raise BtfError(
            f"no struct {name!r}; a compiler drops types nothing refers to, "
            f"keep it with: struct {name} *unused __attribute__((unused));"
        )
    if len({btf.size_of(type_id) for type_id in found}) > 1:
        raise BtfError(f"{len(found)} different types of the name {name!r}")
    return cast("RecordCodec", codec(btf, found[0]))


def _is_composite(btf: Btf, type_id: int) -> bool:
    return isinstance(btf.type(btf.strip(type_id)), Composite)


def _strip(btf: Btf, type_id: int) -> int:
    found = btf.type(type_id)
    return btf.strip(found.type if isinstance(found, Var) else type_id)


def _make(btf: Btf, type_id: int) -> Codec:
    inner = _strip(btf, type_id)
    found, name, order = btf.type(inner), btf.describe(type_id), btf.byteorder
    if isinstance(found, Int):
        return _integer(name, btf, found)
    if isinstance(found, Enumeration):
        return scalars.enumeration(name, order, found)
    if isinstance(found, Ptr):
        return scalars.integer(name, order, btf.pointer_size, signed=False)
    if isinstance(found, Float):
        return scalars.floating(name, order, found.size)
    if isinstance(found, Array):
        return _array(btf, name, found)
    if isinstance(found, (Composite, Datasec)):
        fields = _variables(btf, found) if isinstance(found, Datasec) else places(btf, found)
        return RecordCodec(name, order, found.size, found.name or _typedef(btf, type_id), fields)
    raise BtfError(f"{name} has no values", f"type {type_id}")


def _typedef(btf: Btf, type_id: int) -> str:
    # The name a typedef gives to an anonymous struct.
    found = btf.type(type_id)
    while isinstance(found, Modifier) and not found.name:
        found = btf.type(found.type)
    return found.name


def _integer(name: str, btf: Btf, found: Int) -> Codec:
    if found.is_bool and found.size == 1:
        return scalars.boolean(name, btf.byteorder)
    return scalars.integer(name, btf.byteorder, found.size, signed=found.signed)


def _is_char(found: Type) -> bool:
    # Compilers do not set the encoding for char, but only char is called so.
    return (
        isinstance(found, Int)
        and found.size == 1
        and (found.name == "char" or bool(found.encoding & 2))
    )


def _array(btf: Btf, name: str, found: Array) -> Codec:
    element = btf.type(btf.strip(found.element))
    if _is_char(element):
        return scalars.text(name, btf.byteorder, found.length)
    if isinstance(element, Int) and element.size == 1 and not element.encoding:
        return scalars.octets(name, btf.byteorder, found.length)
    return scalars.sequence(name, btf.byteorder, _inner(btf, found.element), found.length)


# ---- structs ----------------------------------------------------------------------------------


def places(btf: Btf, found: Composite) -> list[Place]:
    """Return where the fields of a struct are, those of anonymous parts in their place."""
    made: dict[str, Place] = {}
    for member, offset in flat_members(btf, found):
        width = member.bitfield_size
        inner = btf.type(btf.strip(member.type))
        if isinstance(inner, Int) and not width and (inner.offset or inner.bits < inner.size * 8):
            # How pahole before 1.11 wrote bit-fields: in the integer's type.
            width = inner.bits
            offset += inner.offset
        # Two fields of one name are not C; the first is what CO-RE takes too.
        made.setdefault(member.name, Place(member.name, _inner(btf, member.type), offset, width))
    return list(made.values())


def flat_members(btf: Btf, found: Composite) -> list[tuple[Member, int]]:
    """Return the named members with their bit offset, those of anonymous parts in their place."""
    return _flat(btf, found, 0)


def _flat(btf: Btf, found: Composite, base: int) -> list[tuple[Member, int]]:
    # Named members with their bit offset, those of anonymous structs and unions in their place.
    members: list[tuple[Member, int]] = []
    for member in found.members:
        offset = base + member.bit_offset
        if member.name:
            members.append((member, offset))
            continue
        inner = btf.type(btf.strip(member.type))
        if isinstance(inner, Composite):
            members += _flat(btf, inner, offset)
    return members


def _variables(btf: Btf, found: Datasec) -> list[Place]:
    places = []
    for variable in found.variables:
        name = btf.type(variable.type).name
        places.append(Place(name, _inner(btf, variable.type), variable.offset * 8))
    return places


def _inner(btf: Btf, type_id: int) -> Codec:
    # The codec of a part. That of a struct, or of an array of them, is made when it is looked at:
    # whoever reads three fields of a task_struct does not pay for the hundred structs inside.
    core = btf.type(_strip(btf, type_id))
    while isinstance(core, Array):
        core = btf.type(btf.strip(core.element))
    if not isinstance(core, Composite):
        return codec(btf, type_id)
    get: Callable[[bytes], object] = lambda raw: codec(btf, type_id).decode(raw)  # noqa: E731
    put: Callable[[object], bytes] = lambda value: codec(btf, type_id).encode(value)  # noqa: E731
    code = f"{btf.size_of(type_id)}s"
    return Codec(btf.describe(type_id), btf.byteorder, code, get=get, put=put)


def _weigh(btf: Btf, type_id: int, depth: int) -> int:
    # Fields of all levels of one value. Refuses what holds itself.
    key = ("fields", type_id)
    known = btf.memo.get(key)
    if known is not None:
        return cast("int", known)
    if depth > _NESTING:
        raise BtfError(f"structs more than {_NESTING} deep", f"type {type_id}")
    found = btf.type(_strip(btf, type_id))
    parts: list[int] = []
    if isinstance(found, Composite):
        parts = [member.type for member in found.members]
    elif isinstance(found, Array):
        parts = [found.element]
    elif isinstance(found, Datasec):
        parts = [variable.type for variable in found.variables]
    fields = 1
    for part in parts:
        fields += _weigh(btf, part, depth + 1)
        if fields > _FIELDS:
            raise BtfError(f"more than {_FIELDS} fields", f"type {type_id}")
    btf.memo[key] = fields
    return fields
