"""The base of all C structs that go into or come out of the kernel: `CStruct`.

In: a class body that declares fields in C order; offsets follow from C's rules of alignment:

    @c_struct("bpf_attr", arm="batch", size=168)        0      8       16   24      32    36
    class MapBatch(CStruct):                            |------|-------|----|-------|-----|------|--
        in_batch: Pointer = pointer()                   in     out     keys values  count map_fd ...
        out_batch: Pointer = pointer()
        ...
        count: int = u32()

Out: objects with plain attributes, `CStruct.pack` to bytes and `CStruct.unpack` from bytes, both
native-endian. A pointer field holds a Python buffer until it is packed; the caller of `pack` says
how a buffer becomes an address (and keeps it alive), so nothing here touches memory.

Declaring costs next to nothing: the table of offsets is worked out when a class is first used.
Fields at the same place (C unions) share one value: setting one sets the other.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence

from pyebpf.typed import TYPE_CHECKING, ClassVar, TypeVar, cast
from pyebpf.uapi.cfield import (
    CODES,
    Address,
    Field,
    Pointer,
    array,
    bits,
    chars,
    octets,
    padding,
    pointer,
    s32,
    s64,
    u8,
    u16,
    u32,
    u64,
)

if TYPE_CHECKING:
    # Not installed and not needed: it lets a type checker see the keywords of the constructors.
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


__all__ = [
    "Address",
    "CStruct",
    "Field",
    "Pointer",
    "array",
    "bits",
    "c_struct",
    "chars",
    "octets",
    "padding",
    "pointer",
    "s32",
    "s64",
    "u8",
    "u16",
    "u32",
    "u64",
]

_BIG = sys.byteorder == "big"


class _Table:
    """Offsets of one class, and what packing needs, worked out once."""

    __slots__ = (
        "encoded",
        "end",
        "fields",
        "layout",
        "names",
        "pointers",
        "size",
        "slots",
        "storage",
        "units",
    )

    def __init__(self, cls: type[CStruct]) -> None:
        placed = _place(cls)
        self.fields = tuple(field for field in placed if field.kind != "padding")
        self.end = max((field.offset + field.size for field in placed), default=0)
        alignment = max((field.alignment for field in placed), default=1)
        self.size = max(cls._WHOLE, -(-self.end // alignment) * alignment)
        # Attribute name -> name its value is kept under.
        self.storage: dict[str, str] = {}
        self.slots: list[tuple[str, object]] = []
        self.pointers: list[int] = []
        self.encoded: list[tuple[int, Field]] = []
        self.units: list[tuple[int, list[tuple[str, int, int]]]] = []
        self.layout = struct.Struct(self._lay_out())
        self.names = [name for name, _ in self.slots]

    # The struct format of all values in order of their offsets; fills the lists beside it.
    def _lay_out(self) -> str:
        parts = ["="]
        end = 0
        first: Field | None = None
        for field in sorted(self.fields, key=lambda field: field.offset):
            if first is not None and (field.offset, field.size) == (first.offset, first.size):
                self._share(field, first)
                continue
            if field.offset < end:
                raise TypeError(f"{field.path} overlaps the field before it")
            parts.append(f"{field.offset - end}x" if field.offset > end else "")
            parts.append(CODES.get(field.kind) or _code(field))
            self._enter(field)
            first = field
            end = field.offset + field.size
        return "".join(parts)

    def _enter(self, field: Field) -> None:
        index = len(self.slots)
        self.storage[field.name] = field.name
        if field.kind == "bits":
            self.units.append((index, [_bit_place(field)]))
            self.slots.append((f"@{field.offset}", 0))
            return
        self.slots.append((field.name, field.default))
        if field.kind == "pointer":
            self.pointers.append(index)
        elif field.kind in ("chars", "octets", "array"):
            self.encoded.append((index, field))

    # A second field at the same place: another bit-field of the unit, or a union.
    def _share(self, field: Field, first: Field) -> None:
        if field.kind == "bits":
            self.storage[field.name] = field.name
            self.units[-1][1].append(_bit_place(field))
            return
        self.storage[field.name] = first.name
        index = len(self.slots) - 1
        if field.kind == "pointer" and index not in self.pointers:
            self.pointers.append(index)


# Copies of the declared fields of a class and its bases, with offset and path.
def _place(cls: type[CStruct]) -> list[Field]:
    placed: list[Field] = []
    cursor = 0
    bit = 0  # bits used in the unit that ends at the cursor, 0 if it takes no more
    for owner in reversed(cls.__mro__):
        for declared in list(vars(owner).values()):
            if not isinstance(declared, Field):
                continue
            field = _copy(declared)
            arm = cast("type[CStruct]", owner).ARM
            field.path = f"{arm}." * bool(arm) + (field.c_name or field.name)
            if field.kind == "bits" and 0 < bit <= field.size * 8 - field.bit_size:
                field.offset = cursor - field.size
            elif field.at is not None:
                field.offset = field.at
            else:
                field.offset = -(-cursor // field.alignment) * field.alignment
            if field.kind == "bits":
                field.bit_offset = bit if field.offset == cursor - field.size else 0
                bit = field.bit_offset + field.bit_size
            else:
                bit = 0
            cursor = max(cursor, field.offset + field.size)
            placed.append(field)
    return placed


def _copy(declared: Field) -> Field:
    field = Field.__new__(Field)
    for slot in Field.__slots__:
        setattr(field, slot, getattr(declared, slot))
    return field


def _code(field: Field) -> str:
    if field.kind == "bits":
        return {1: "B", 2: "H", 4: "I", 8: "Q"}[field.size]
    return f"{field.size}s"


# Name, shift and mask in the unit's value: C fills units from the lowest bit on little-endian
# machines and from the highest on big-endian ones.
def _bit_place(field: Field) -> tuple[str, int, int]:
    shift = field.bit_offset
    if _BIG:
        shift = field.size * 8 - field.bit_offset - field.bit_size
    return field.name, shift, (1 << field.bit_size) - 1


# Class data that is worked out when it is first asked for.
class _Lazy:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type[CStruct]) -> object:
        table = _Table(owner)
        owner._TABLE = table
        owner.FIELDS = table.fields
        owner.SIZE = table.size
        owner.EXTENT = table.end
        return getattr(owner, self.name)


_LAZY = cast(
    "tuple[tuple[Field, ...], int, int, _Table]",
    tuple(_Lazy(name) for name in ("FIELDS", "SIZE", "EXTENT", "_TABLE")),
)

_Struct = TypeVar("_Struct", bound="CStruct")


@dataclass_transform(kw_only_default=True)
class CStruct:
    """A C struct with keyword arguments for its fields; what is not given is zero.

    Two are equal if they are of one class and all fields are equal. Not hashable: fields change.

    Attributes:
        C_NAME: The C struct's (or union's) name.
        ARM: The member of the union it stands for, ``""`` for all of it or an unnamed member.
        HEADER: The header it stands in.
        SINCE: The kernel release the whole struct or arm came with, or ``None``.
        FIELDS: Its fields in order.
        SIZE: Bytes that `pack` makes: the whole struct or union.
        EXTENT: Bytes up to the end of the last field.
    """

    C_NAME: ClassVar[str] = ""
    ARM: ClassVar[str] = ""
    HEADER: ClassVar[str] = ""
    SINCE: ClassVar[str | None] = None
    FIELDS: ClassVar[tuple[Field, ...]]
    SIZE: ClassVar[int]
    EXTENT: ClassVar[int]
    _TABLE: ClassVar[_Table]
    _WHOLE: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        # A class must not inherit the table its base has worked out.
        cls.FIELDS, cls.SIZE, cls.EXTENT, cls._TABLE = _LAZY

    def __init__(self, **values: object) -> None:
        if values:
            storage = self._TABLE.storage
            stored = self.__dict__
            for name, value in values.items():
                kept = storage.get(name)
                if kept is None:
                    raise TypeError(f"{type(self).__name__} has no field {name!r}")
                if kept in stored:
                    raise TypeError(f"{type(self).__name__}: {name} and {kept} are one field")
                stored[kept] = value

    def __setattr__(self, name: str, value: object) -> None:
        kept = self._TABLE.storage.get(name)
        if kept is None:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        self.__dict__[kept] = value

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, field.name), getattr(other, field.name)) for field in self.FIELDS
        )

    __hash__ = None  # type: ignore[assignment]  # fields change

    def __repr__(self) -> str:
        shown = []
        for field in self.FIELDS:
            value = getattr(self, field.name)
            if value != field.default and self._TABLE.storage[field.name] == field.name:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def pack(self, address: Address) -> bytearray:
        """Return the whole struct as the kernel wants it.

        Args:
            address: Called with each buffer a pointer field holds; returns its address. The caller
                keeps the buffers alive as long as the kernel may use them.

        Returns:
            `SIZE` bytes; everything that is not a field that was set is zero.

        Raises:
            ValueError: A value does not fit its field.
            TypeError: A value is of the wrong type.
        """
        table = self._TABLE
        stored = self.__dict__
        values = [stored.get(name, zero) for name, zero in table.slots]
        for index in table.pointers:
            value = values[index]
            if value is None:
                values[index] = 0
            elif not isinstance(value, int):
                values[index] = address(value)
        for index, field in table.encoded:
            values[index] = _encode(self, field, values[index])
        for index, members in table.units:
            values[index] = _join_bits(self, members)
        buffer = bytearray(table.size)
        try:
            table.layout.pack_into(buffer, 0, *values)
        except struct.error:
            raise _misfit(self, values) from None
        return buffer

    @classmethod
    def unpack(  # noqa: PYI019  # Self is Python 3.11's
        cls: type[_Struct], buffer: bytes | bytearray | memoryview
    ) -> _Struct:
        """Return the struct these bytes hold.

        Args:
            buffer: May be longer (a newer kernel's struct) or shorter (an older one's: the missing
                fields are zero). Pointers come out as addresses, null as ``None``.
        """
        self = cls.__new__(cls)
        _read(self, buffer, pointers=True)
        return self

    @classmethod
    def offset_of(cls, name: str) -> int:
        """Return where the field *name* starts, in bytes from the start of the whole struct.

        Raises:
            KeyError: No such field.
        """
        return {field.name: field.offset for field in cls.FIELDS}[name]

    def unpack_into(self, buffer: bytes | bytearray | memoryview) -> None:
        """Take over all fields but pointers: what the kernel wrote into an in/out struct.

        Args:
            buffer: As for `unpack`; usually what `pack` returned, after the call.
        """
        _read(self, buffer, pointers=False)


def _read(target: CStruct, buffer: bytes | bytearray | memoryview, *, pointers: bool) -> None:
    table = target._TABLE
    layout = table.layout
    if len(buffer) < layout.size:
        buffer = bytes(buffer).ljust(layout.size, b"\0")
    values = layout.unpack_from(buffer)
    stored: dict[str, object] = {
        name: value for (name, _), value in zip(table.slots, values, strict=True)
    }
    for index, field in table.encoded:
        stored[field.name] = _decode(field, values[index])
    for index in table.pointers:
        name = table.names[index]
        if not pointers or not values[index]:
            # Null is not stored as 0 nor None: a field that shares the place has another zero.
            del stored[name]
    for index, members in table.units:
        del stored[table.names[index]]
        for name, shift, mask in members:
            stored[name] = values[index] >> shift & mask
    target.__dict__.update(stored)


# None and 0 are both the null pointer.
def _same(left: object, right: object) -> bool:
    return left == right or (left in (None, 0) and right in (None, 0))


def _encode(target: CStruct, field: Field, value: object) -> bytes:
    where = f"{type(target).__name__}.{field.name}"
    if field.kind == "array":
        numbers = tuple(cast("Sequence[int]", value))
        if len(numbers) != field.count:
            raise ValueError(f"{where} takes {field.count} numbers, not {len(numbers)}")
        try:
            return struct.pack(f"={field.count}{CODES[field.element]}", *numbers)
        except struct.error as error:
            raise ValueError(f"{where}: {error}") from None
    if not isinstance(value, (bytes, bytearray)):
        raise TypeError(f"{where} takes bytes, not {type(value).__name__}")
    if len(value) > field.size or (field.kind == "octets" and len(value) != field.size):
        raise ValueError(f"{where} takes {field.size} bytes, not {len(value)}")
    return bytes(value)


def _decode(field: Field, value: bytes) -> object:
    if field.kind == "array":
        return struct.unpack(f"={field.count}{CODES[field.element]}", value)
    return value.partition(b"\0")[0] if field.kind == "chars" else value


def _join_bits(target: CStruct, members: list[tuple[str, int, int]]) -> int:
    stored = target.__dict__
    unit = 0
    for name, shift, mask in members:
        value = stored.get(name, 0)
        if value:
            if not isinstance(value, int) or not 0 < value <= mask:
                raise ValueError(f"{type(target).__name__}.{name}: {value!r} is not 0 to {mask}")
            unit |= value << shift
    return unit


# Only after struct refused: says which field it was.
def _misfit(target: CStruct, values: list[object]) -> Exception:
    for (name, _), value in zip(target._TABLE.slots, values, strict=True):
        kind = next((field.kind for field in target.FIELDS if field.name == name), "")
        if kind not in CODES:
            continue
        where = f"{type(target).__name__}.{name}"
        if not isinstance(value, int):
            return TypeError(f"{where} takes an integer, not {type(value).__name__}")
        try:
            struct.pack("=" + CODES[kind], value)
        except struct.error:
            return ValueError(f"{where}: {value} does not fit {kind}")
    return ValueError(f"{type(target).__name__} cannot be packed: {values!r}")


def c_struct(
    c_name: str,
    *,
    arm: str = "",
    size: int = 0,
    since: str | None = None,
    header: str = "linux/bpf.h",
) -> Callable[[type[_Struct]], type[_Struct]]:
    """Say which C struct, or which arm of a C union, a class stands for.

    Args:
        c_name: The struct's or union's name.
        arm: How C reaches the fields declared in this class: ``"link_create.tracing"``; ``""`` if
            they are members of the struct itself, or of an unnamed member.
        size: Bytes of the whole union or struct where that is more than the fields take.
        since: The kernel release the struct or arm came with.
        header: Where it is declared.

    Returns:
        The class decorator.
    """

    def declare(cls: type[_Struct]) -> type[_Struct]:
        cls.C_NAME = c_name
        cls.ARM = arm
        cls._WHOLE = size
        cls.SINCE = since
        cls.HEADER = header
        return cls

    return declare
