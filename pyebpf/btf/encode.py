"""The wire format of BTF, written: from types to a blob. `pyebpf.btf.decode` draws the bytes.

For probes, for types a program makes up, and as the other half of a round trip in tests.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from pyebpf.btf.btf import Btf
from pyebpf.btf.decode import ByteOrder
from pyebpf.btf.types import (
    Array,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Modifier,
    Opaque,
    Ptr,
    Type,
    TypeTag,
    Var,
)
from pyebpf.uapi.btf import BTF_MAGIC, BTF_VERSION

__all__ = ["assemble", "encode"]


def encode(
    types: Sequence[Type],
    *,
    byteorder: ByteOrder = "little",
    base: Btf | None = None,
    layout: Sequence[tuple[int, int]] = (),
) -> bytes:
    """Return a BTF blob of *types*; the first gets id 1, or the first after those of *base*.

    Args:
        types: In order of ids.
        byteorder: Of the blob; that of *base*, if there is one.
        base: What a split BTF continues; its byte order is used, its strings are not.
        layout: As `Btf.layout` has it. With it the header is that of 2026 (Linux 7.1), which other
            readers need for types of kinds they do not know (`pyebpf.btf.types.Opaque`).

    Raises:
        ValueError: A number does not fit its place in the format.
    """
    strings = _Strings(base.strings_length if base is not None else 0)
    byteorder = base.byteorder if base is not None else byteorder
    order = "<" if byteorder == "little" else ">"
    body = bytearray()
    for number, one in enumerate(types, 1):
        words = _words(one, strings.add)
        try:
            body += struct.pack(f"{order}{len(words)}I", *words)
        except struct.error:
            raise ValueError(f"type {number} does not fit the format: {one!r}") from None
    return assemble(body, strings.data, _layout_area(layout, order), byteorder)


def assemble(
    types: bytes | bytearray, strings: bytes | bytearray, layout: bytes, byteorder: ByteOrder
) -> bytes:
    """Return a BTF blob of these areas; an empty *layout* makes it one of before 2026."""
    order = "<" if byteorder == "little" else ">"
    header = struct.pack(
        order + "HBBIIIII",
        *(BTF_MAGIC, BTF_VERSION, 0, 32 if layout else 24),
        *(0, len(types), len(types) + len(layout), len(strings)),
    )
    if layout:
        # Between types and strings, or neither libbpf nor the kernel takes it.
        header += struct.pack(order + "II", len(types), len(layout))
    return b"".join((header, types, layout, strings))


def _layout_area(layout: Sequence[tuple[int, int]], order: str) -> bytes:
    try:
        return b"".join(struct.pack(order + "BBH", *sizes, 0) for sizes in layout)
    except struct.error:
        raise ValueError(f"layout does not fit the format: {layout!r}") from None


class _Strings:
    # The string area, each string once.

    def __init__(self, start: int) -> None:
        # Split BTF has the base's empty string.
        self.data = bytearray() if start else bytearray(b"\0")
        self._places = {"": 0}
        self._start = start

    def add(self, text: str) -> int:
        place = self._places.get(text)
        if place is None:
            if "\0" in text:
                raise ValueError(f"{text!r} has a zero byte")
            place = self._places[text] = self._start + len(self.data)
            self.data += text.encode("utf-8", "surrogateescape") + b"\0"
        return place


def _words(one: Type, string: Callable[[str], int]) -> list[int]:
    # name_off, info, size or type, and what follows.
    name = string(one.name)
    if isinstance(one, Opaque):
        return [name, one.info, one.size_or_type, *one.data]
    kflag, count, value, extra = _parts(one, string)
    if count > 0xFFFFFF:
        raise ValueError(f"{count} elements do not fit the format")
    return [name, kflag << 31 | one.kind << 24 | count, value, *extra]


_Parts = tuple[bool, int, int, list[int]]  # kind_flag, vlen, size or type, what follows


def _parts(one: Type, string: Callable[[str], int]) -> _Parts:
    if isinstance(one, Int):
        return False, 0, one.size, [one.encoding << 24 | one.offset << 16 | one.bits]
    if isinstance(one, Array):
        return False, 0, 0, [one.element, one.index, one.length]
    if isinstance(one, Composite):
        members = (_member(member, one.kflag, string) for member in one.members)
        return one.kflag, len(one.members), one.size, _flat(members)
    if isinstance(one, Enum):
        values = ((string(item.name), item.value & 0xFFFFFFFF) for item in one.values)
        return one.signed, len(one.values), one.size, _flat(values)
    if isinstance(one, Enum64):
        wide = (
            (string(item.name), item.value & 0xFFFFFFFF, item.value >> 32 & 0xFFFFFFFF)
            for item in one.values
        )
        return one.signed, len(one.values), one.size, _flat(wide)
    if isinstance(one, FuncProto):
        params = ((string(param.name), param.type) for param in one.params)
        return False, len(one.params), one.return_type, _flat(params)
    if isinstance(one, Datasec):
        return False, len(one.variables), one.size, _flat(one.variables)
    return _simple(one)


def _simple(one: Type) -> _Parts:
    if isinstance(one, Float):
        return False, 0, one.size, []
    if isinstance(one, Fwd):
        return one.union, 0, 0, []
    if isinstance(one, Func):
        return False, one.linkage, one.type, []
    if isinstance(one, Var):
        return False, 0, one.type, [one.linkage]
    if isinstance(one, DeclTag):
        return one.attribute, 0, one.type, [one.component & 0xFFFFFFFF]
    if isinstance(one, TypeTag):
        return one.attribute, 0, one.type, []
    if isinstance(one, (Modifier, Ptr)):
        return False, 0, one.type, []
    raise ValueError(f"{one!r} is never stored")


def _member(member: Member, kflag: bool, string: Callable[[str], int]) -> tuple[int, int, int]:
    offset = member.bit_offset
    if kflag:
        if offset >> 24 or member.bitfield_size >> 8:
            raise ValueError(f"{member!r} does not fit the format")
        offset |= member.bitfield_size << 24
    elif member.bitfield_size:
        raise ValueError(f"{member!r} in a struct without kflag")
    return string(member.name), member.type, offset


def _flat(rows: Iterable[tuple[int, ...]]) -> list[int]:
    return [word for row in rows for word in row]
