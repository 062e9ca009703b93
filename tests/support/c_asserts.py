"""What a compiler must find when it reads types written as C: assertions from BTF.

Not for structs of which there are several of one name: only the first keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Composite, Enumeration, Int, Struct, Type
from pyebpf.uapi.btf import BtfKind

_TAGGED = (BtfKind.STRUCT, BtfKind.UNION, BtfKind.ENUM, BtfKind.ENUM64)


def assertions(btf: Btf) -> list[str]:
    """Return a static assertion for each size and each offset of a named member of *btf*'s own."""
    found = [
        btf.inflate(number)
        for number in range(btf.first_id, len(btf))
        if btf.kind(number) in _TAGGED and btf.name_offset(number)
    ]
    names = Counter(one.name for one in found)
    lines: list[str] = []
    for one in found:
        if names[one.name] == 1:
            lines += _of(btf, one)
    return lines


def _of(btf: Btf, found: Type) -> Iterator[str]:
    if isinstance(found, Enumeration):
        if found.values:
            yield f'_Static_assert(sizeof(enum {found.name}) == {found.size}, "");'
        return
    assert isinstance(found, Composite)  # as its kind says
    tag = f"{'struct' if isinstance(found, Struct) else 'union'} {found.name}"
    yield f'_Static_assert(sizeof({tag}) == {found.size}, "{tag}");'
    for member in found.members:
        inner = btf.inflate(btf.strip(member.type))
        # The bit-fields of old pahole have their bits with the integer.
        part = isinstance(inner, Int) and inner.bits != inner.size * 8
        if member.name and not member.bitfield_size and not part:
            place = f"__builtin_offsetof({tag}, {member.name})"
            yield f'_Static_assert({place} == {member.bit_offset // 8}, "{tag}");'
