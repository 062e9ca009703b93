"""Where C would put the members of a struct, and what it takes to put them where BTF says.

BTF has offsets but not the attributes that caused them. A compiler reading the members alone comes
to the same offsets if padding stands as bit-fields without a name, which change no alignment in the
ABIs that matter, and if a struct that breaks the alignment of its members is packed:

    struct { char a; int b; }      a 0, b 32 bits     as it is
                                   a 0, b 64 bits     char a; long : 24; long : 32; int b;
                                   a 0, b 8 bits      packed

A member that C has no words for (of a kind that is not known, or of type ``void``) is padding.

The ABI is the one of eBPF, x86-64 and other 64-bit machines: a scalar is aligned to its size, a
bit-field lies within a unit of its declared type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyebpf.btf.types import (
    Array,
    Composite,
    Enumeration,
    Float,
    Int,
    Member,
    Modifier,
    Ptr,
    Type,
    Union,
)
from pyebpf.typed import NamedTuple, TypeGuard

__all__ = ["LONG", "Layouts", "Padding", "Plan"]

#: Bits of the unit of padding.
LONG = 64

# Arrays, typedefs and unnamed structs inside each other.
_DEPTH = 64
_ALIGNED = frozenset({1, 2, 4, 8, 16})


class Padding(NamedTuple):
    """Bits that belong to no member.

    Attributes:
        start: Bits from the start of the struct.
        bits: How many.
    """

    start: int
    bits: int


class Plan(NamedTuple):
    """How to write a struct or union down.

    Attributes:
        rows: Members and paddings in order; a member's offset and width as C would say them.
        packed: Whether it needs ``__attribute__((packed))``.
        alignment: Bytes, of what is written.
    """

    rows: tuple[Member | Padding, ...]
    packed: bool
    alignment: int


class _Extent(NamedTuple):
    # Bytes that a value of a type takes, and its alignment.
    size: int
    alignment: int


class Layouts:
    """Plans for the structs of one set of types; what members need is remembered.

    Args:
        lookup: Returns the type of an id.
        pointer_size: Bytes.
    """

    def __init__(self, lookup: Callable[[int], Type], pointer_size: int) -> None:
        self._lookup = lookup
        self._pointer_size = pointer_size
        self._alignments: dict[int, int] = {}

    def plan(self, type_id: int, found: Composite) -> Plan:
        """Plan the struct or union *found*; those it contains by name have been planned before.

        Raises:
            BtfError: Malformed types.
        """
        return self._plan(type_id, found, 0)

    def strip(self, type_id: int) -> tuple[int, Type]:
        """Return what is behind typedefs and qualifiers: its id and it."""
        for _ in range(_DEPTH):
            found = self._lookup(type_id)
            if not isinstance(found, Modifier):
                break
            type_id = found.type
        return type_id, found

    def _plan(self, type_id: int, found: Composite, depth: int) -> Plan:
        # Until it is known: for a struct that contains itself, as a malformed one does.
        self._alignments.setdefault(type_id, 1)
        placed = list(self._place(found, depth))
        # All count but bit-fields without a name.
        counted = (one for member, one in placed if member.name or not member.bitfield_size)
        alignment = max((extent.alignment for extent in counted), default=1)
        packed = found.size % alignment != 0 or any(_breaks(*each) for each in placed)
        alignment = self._alignments[type_id] = 1 if packed else alignment
        rows = _union_rows if isinstance(found, Union) else _struct_rows
        return Plan(tuple(rows(found.size, placed, packed, alignment)), packed, alignment)

    def sized(self, type_id: int) -> bool:
        """Return whether C has values of this type."""
        found = self._element(type_id)[2]
        return isinstance(found, (Composite, Ptr, Int, Float, Enumeration))

    def _place(self, found: Composite, depth: int) -> Iterator[tuple[Member, _Extent]]:
        for member in found.members:
            inner_id, inner = self.strip(member.type)
            extent = self._extent(inner_id, depth + 1)
            if not found.kflag and _is_part(inner):
                # How pahole wrote bit-fields before Linux 5.0: offset and bits with the integer.
                place = member.bit_offset + inner.offset
                member = member._replace(bit_offset=place, bitfield_size=inner.bits)
            if extent is not None and _is_member(member, inner):
                yield member, extent

    def _extent(self, type_id: int, depth: int) -> _Extent | None:
        count, type_id, found = self._element(type_id)
        if isinstance(found, Composite):
            return _Extent(found.size * count, self._alignment(type_id, found, depth))
        if isinstance(found, Ptr):
            return _Extent(self._pointer_size * count, self._pointer_size)
        if isinstance(found, (Int, Float, Enumeration)):
            return _Extent(found.size * count, _scalar_alignment(found.size))
        return None

    def _element(self, type_id: int) -> tuple[int, int, Type]:
        # What is behind typedefs, qualifiers and arrays: how many, their id and type.
        count = 1
        for _ in range(_DEPTH):
            found = self._lookup(type_id)
            if isinstance(found, Modifier):
                type_id = found.type
            elif isinstance(found, Array):
                count, type_id = count * found.length, found.element
            else:
                break
        return count, type_id, found

    def _alignment(self, type_id: int, found: Composite, depth: int) -> int:
        known = self._alignments.get(type_id)
        if known is None:
            known = 1 if depth > _DEPTH else self._plan(type_id, found, depth).alignment
        return known


def _scalar_alignment(size: int) -> int:
    # What has another size is written as an array.
    return size if size in _ALIGNED else 1


def _is_part(found: Type) -> TypeGuard[Int]:
    return isinstance(found, Int) and bool(found.offset or found.bits != found.size * 8)


def _is_member(member: Member, inner: Type) -> bool:
    # What C allows in a struct; only malformed BTF has anything else there.
    if member.bitfield_size:
        return isinstance(inner, (Int, Enumeration)) and member.bitfield_size <= inner.size * 8
    return bool(member.name) or isinstance(inner, Composite)


def _breaks(member: Member, extent: _Extent) -> bool:
    # Whether the member cannot be where it is in a struct that is not packed.
    alignment = extent.alignment * 8
    if member.bitfield_size:
        return member.bit_offset % alignment + member.bitfield_size > extent.size * 8
    return member.bit_offset % alignment != 0


def _struct_rows(
    size: int, placed: list[tuple[Member, _Extent]], packed: bool, alignment: int
) -> list[Member | Padding]:
    rows: list[Member | Padding] = []
    cursor = 0
    for member, extent in placed:
        if member.bit_offset > _next(cursor, member, extent, packed):
            rows.append(Padding(cursor, member.bit_offset - cursor))
        rows.append(member)
        cursor = max(cursor, member.bit_offset + (member.bitfield_size or extent.size * 8))
    if size * 8 > _round_up(cursor, alignment * 8):
        rows.append(Padding(cursor, size * 8 - cursor))
    return rows


def _next(cursor: int, member: Member, extent: _Extent, packed: bool) -> int:
    # Where C puts the member.
    alignment = extent.alignment * 8
    if not member.bitfield_size:
        return _round_up(cursor, 8 if packed else alignment)
    if packed or cursor % alignment + member.bitfield_size <= extent.size * 8:
        return cursor
    return _round_up(cursor, alignment)


def _union_rows(
    size: int, placed: list[tuple[Member, _Extent]], packed: bool, alignment: int
) -> list[Member | Padding]:
    rows: list[Member | Padding] = [member for member, _ in placed]
    sizes = (
        -(-member.bitfield_size // 8) if member.bitfield_size else extent.size
        for member, extent in placed
    )
    if size > _round_up(max(sizes, default=0), alignment):
        rows.append(Padding(0, size * 8))
    return rows


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
