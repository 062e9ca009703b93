r"""Records: the values of structs and unions, as tuples with named fields.

For each struct one subclass of `Record` is generated, over one `struct.Struct`:

    struct event { u32 pid; char comm[16]; u32 a:3, b:5; union { u32 v4; u8 v6[16]; }; };
    bytes   |pid    |comm            |a b, pad|v4 / v6         |
    format   I       16s              B  xxx   16s                 one slot per run of bytes
    tuple   (pid,    b"bash\0..." ,    0x2a,    b"...")             what the object holds
    fields   .pid    .comm            .a .b    .v4 .v6             what is seen

Decoding is one ``unpack``; text, enums, bit-fields, arrays and nested structs are worked out when a
field is looked at. Members of anonymous structs and unions are fields of their own, as in C.
Members that overlap (unions, bit-fields) share a slot.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence

from pyebpf.btf.codec import Buffer, Codec, bits, too_short
from pyebpf.btf.decode import ByteOrder
from pyebpf.errors import BtfError
from pyebpf.typed import Any, ClassVar, NamedTuple, TypeVar, cast

__all__ = ["Layout", "Place", "Record", "RecordCodec"]


class Place(NamedTuple):
    """Where a field is.

    Attributes:
        name: The C name.
        codec: Of its type (the whole type, for a bit-field).
        bit_offset: From the start of the struct, counted as the byte order counts bits.
        width: Bits of a bit-field, 0 for an ordinary member.
    """

    name: str
    codec: Codec
    bit_offset: int
    width: int = 0

    @property
    def start(self) -> int:
        """First byte it touches."""
        return self.bit_offset // 8

    @property
    def end(self) -> int:
        """The byte behind the last it touches."""
        if self.width:
            return (self.bit_offset + self.width + 7) // 8
        return self.start + self.codec.size


class Field(NamedTuple):
    """How a field is read and written.

    Attributes:
        name: The C name.
        slot: Which item of the tuple holds it.
        read: From that item to the value; ``None`` if it is the value.
        write: Puts a value into the bytes of a whole struct.
    """

    name: str
    slot: int
    read: Callable[[Any], object] | None
    write: Callable[[bytearray, object], None]


class Layout(NamedTuple):
    """A struct's places worked out.

    Attributes:
        struct: From bytes to the tuple's items, padding skipped.
        fields: In order of declaration.
        plain: The items are the values, one for each field in order.
    """

    struct: struct.Struct
    fields: tuple[Field, ...]
    plain: bool


def plan(type_name: str, byteorder: ByteOrder, size: int, places: Sequence[Place]) -> Layout:
    """Work out the slots of a struct of *size* bytes whose fields are at *places*.

    Raises:
        BtfError: A field outside the struct, or one that is not at a whole byte.
    """
    code = "<" if byteorder == "little" else ">"
    position = 0
    fields: list[Field | None] = [None] * len(places)
    for slot, (start, end, numbers) in enumerate(_runs(places)):
        if end > size:
            raise BtfError(f"{type_name} has {size} bytes, a field ends at {end}")
        group = [places[number] for number in numbers]
        slot_code, made = _share(byteorder, start, end, group)
        code += _padding(start - position) + slot_code
        position = end
        for number, (read, write) in zip(numbers, made, strict=True):
            fields[number] = Field(places[number].name, slot, read, write)
    complete = tuple(field for field in fields if field is not None)
    plain = all(field.read is None and field.slot == i for i, field in enumerate(complete))
    return Layout(struct.Struct(code + _padding(size - position)), complete, plain)


def _padding(count: int) -> str:
    return f"{count}x" if count else ""


def _runs(places: Sequence[Place]) -> Iterator[tuple[int, int, list[int]]]:
    # Runs of bytes that no field leaves, with the numbers of the fields in each.
    run: tuple[int, int, list[int]] | None = None
    for number in sorted(range(len(places)), key=lambda n: (places[n].start, places[n].end)):
        place = places[number]
        if run is not None and place.start < run[1]:
            run[2].append(number)
            run = (run[0], max(run[1], place.end), run[2])
            continue
        if run is not None:
            yield run
        run = (place.start, place.end, [number])
    if run is not None:
        yield run


_Access = tuple[Callable[[Any], object] | None, Callable[[bytearray, object], None]]


def _share(
    byteorder: ByteOrder, start: int, end: int, group: Sequence[Place]
) -> tuple[str, list[_Access]]:
    # The format code of one slot, and how each field of the group uses it.
    size = end - start
    if all(place.width for place in group):
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(size)
        if code is not None:
            return code, [_bit_field(byteorder, place, start, end, whole=True) for place in group]
    elif len(group) == 1:
        codec = group[0].codec
        return codec.code, [(codec.get, _writer(codec, group[0]))]
    made = []
    for place in group:
        if place.width:
            made.append(_bit_field(byteorder, place, start, end, whole=False))
        else:
            made.append((_slice(place, start), _shared_writer(place)))
    return f"{size}s", made


def _writer(codec: Codec, place: Place) -> Callable[[bytearray, object], None]:
    if place.bit_offset % 8:
        raise BtfError(f"{place.name!r} is at bit {place.bit_offset} and not a bit-field")
    start, end = place.start, place.end

    def write(buffer: bytearray, value: object) -> None:
        buffer[start:end] = codec.encode(value)

    return write


def _shared_writer(place: Place) -> Callable[[bytearray, object], None]:
    # Of several members that overlap the last one written wins; but if it is there already, its
    # padding must not wipe out what another has put there. So all members of a union, as its own
    # record has them, encode to the bytes they came from.
    write, decode = _writer(place.codec, place), place.codec.decode
    start, end = place.start, place.end

    def write_if_new(buffer: bytearray, value: object) -> None:
        if decode(buffer[start:end]) != value:
            write(buffer, value)

    return write_if_new


def _slice(place: Place, base: int) -> Callable[[bytes], object]:
    start, end, decode = place.start - base, place.end - base, place.codec.decode
    return lambda raw: decode(raw[start:end])


def _bit_field(byteorder: ByteOrder, place: Place, start: int, end: int, *, whole: bool) -> _Access:
    # Big-endian counts bits from the most significant one, so the distance is to the end.
    if byteorder == "little":
        shift = place.bit_offset - start * 8
    else:
        shift = end * 8 - place.bit_offset - place.width
    mask = (1 << place.width) - 1
    get, put = bits(place.codec, place.width)

    def read_number(raw: int) -> object:
        return get(raw >> shift & mask)

    def read_bytes(raw: bytes) -> object:
        return get(int.from_bytes(raw, byteorder) >> shift & mask)

    def write(buffer: bytearray, value: object) -> None:
        number = int.from_bytes(buffer[start:end], byteorder) & ~(mask << shift)
        buffer[start:end] = (number | put(value) << shift).to_bytes(end - start, byteorder)

    return read_number if whole else read_bytes, write


# ---- the tuple --------------------------------------------------------------------------------


# Lets a class be called with keywords. That would be `Record.__new__`, but with one in Python every
# record takes twice as long to make: so tuple's own stays in place, for `RecordCodec.make`.
class _RecordType(type):
    def __call__(cls: type[_R], **values: object) -> _R:  # type: ignore[misc]  # classes of records
        made = cls._codec.decode(cls._codec.encode(values))
        assert isinstance(made, cls)  # the codec of this record
        return made


_R = TypeVar("_R", bound="Record")


class Record(tuple[object, ...], metaclass=_RecordType):
    """The value of a C struct or union: an immutable tuple with the members as attributes.

    Made by decoding, or with keywords (what is left out is zero): ``event(pid=1, comm="bash")``.
    Iterates, compares and hashes by the fields' values. ``_asdict()``, ``_replace()`` and
    ``_fields`` are as in `collections.namedtuple`; a member whose name is not a Python name is
    in ``_asdict()``.
    """

    __slots__ = ()

    _fields: ClassVar[tuple[str, ...]] = ()
    _codec: ClassVar[RecordCodec]

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **values: object) -> Record:
        made = self._codec.decode(self._codec.change(self, values))
        assert isinstance(made, Record)  # the codec of a record
        return made

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({fields})"

    def __copy__(self) -> Record:
        return self

    def __deepcopy__(self, memo: object) -> Record:
        return self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  the fields are known at run time only
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")


class _LazyRecord(Record):
    # Some items are not the values yet: everything that looks at items converts first.
    __slots__ = ()

    def __iter__(self) -> Iterator[object]:
        item = tuple.__getitem__
        for _, slot, read, _ in self._codec.layout.fields:
            raw = item(self, slot)
            yield raw if read is None else read(raw)

    def __len__(self) -> int:
        return len(self._fields)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401  an index or a slice, as in tuple
        return tuple(self)[key]

    def __contains__(self, value: object) -> bool:
        return value in tuple(self)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, tuple) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return tuple(self) != tuple(other) if isinstance(other, tuple) else NotImplemented

    # Against another tuple only, as tuples are; Python asks the other side first for a subclass.
    def __lt__(self, other: tuple[object, ...]) -> bool:
        return tuple(self) < tuple(other)

    def __le__(self, other: tuple[object, ...]) -> bool:
        return tuple(self) <= tuple(other)

    def __gt__(self, other: tuple[object, ...]) -> bool:
        return tuple(self) > tuple(other)

    def __ge__(self, other: tuple[object, ...]) -> bool:
        return tuple(self) >= tuple(other)


# What namedtuple uses for its attributes: reads an item of a tuple in C, whatever __getitem__ says.
_Probe = namedtuple("_Probe", "item")  # noqa: PYI024  only for its attribute
_ItemGetter: Any = type(vars(_Probe)["item"])
# Names that stay what they are in every record.
_RESERVED = frozenset(name for name in dir(_LazyRecord) if name.startswith("_"))


def _attribute(field: Field) -> object:
    slot, read = field.slot, field.read
    if read is None:
        return _ItemGetter(slot, field.name)
    item, convert = tuple.__getitem__, read
    return property(lambda self: convert(item(self, slot)))


class RecordCodec(Codec):
    """The codec of a struct or union.

    Accepts for encoding: its own records, mappings by field name and other records (what is left
    out is zero), tuples and lists of all fields in order, and bytes of the whole size.

    Attributes:
        layout: Its slots.
        record: The generated class.
        make: Makes one of the items that ``layout.struct`` unpacks, all in C.
    """

    __slots__ = ("layout", "make", "record")

    def __init__(
        self, type_name: str, byteorder: ByteOrder, size: int, name: str, places: Sequence[Place]
    ) -> None:
        layout = plan(type_name, byteorder, size, places)
        self.layout = layout
        self.record = self._generate(name)
        self.make: Callable[[tuple[Any, ...]], Record] = type.__call__.__get__(self.record)
        super().__init__(type_name, byteorder, f"{size}s", put=self._bytes)
        self.decode = self.get = _record_decoder(type_name, self.make, layout.struct)
        self.encode = self._bytes

    def _generate(self, name: str) -> type[Record]:
        fields = self.layout.fields
        names = tuple(field.name for field in fields)
        namespace: dict[str, object] = {"__slots__": (), "_fields": names, "__match_args__": names}
        namespace["_codec"] = self
        namespace.update((f.name, _attribute(f)) for f in fields if f.name not in _RESERVED)
        parent = Record if self.layout.plain else _LazyRecord
        printable = name.encode("utf-8", "backslashreplace").decode() or "record"
        return cast("type[Record]", _RecordType(printable, (parent,), namespace))

    def _bytes(self, value: object) -> bytes:
        if isinstance(value, self.record):
            return self.layout.struct.pack(*tuple.__iter__(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            if len(value) != self.size:
                raise ValueError(f"{self.type_name} takes {self.size} bytes, not {len(value)}")
            return bytes(value)
        if isinstance(value, Record):
            value = value._asdict()
        if isinstance(value, Mapping):
            return self._write(bytearray(self.size), value)
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{self.type_name} takes a record, mapping or tuple, not {value!r}")
        fields = self.layout.fields
        if len(value) != len(fields):
            raise ValueError(f"{self.type_name} takes {len(fields)} fields, not {len(value)}")
        names = [field.name for field in fields]
        return self._write(bytearray(self.size), dict(zip(names, value, strict=True)))

    def change(self, record: Record, values: Mapping[str, object]) -> bytes:
        """Return the bytes of *record* with some fields given new *values*."""
        return self._write(bytearray(self._bytes(record)), values)

    def _write(self, buffer: bytearray, values: Mapping[str, object]) -> bytes:
        writers = {field.name: field.write for field in self.layout.fields}
        for name, value in values.items():
            write = writers.get(name)
            if write is None:
                raise TypeError(f"{self.type_name} has no field {name!r}")
            try:
                write(buffer, value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"field {name!r}: {error}") from None
        return bytes(buffer)


def _record_decoder(
    type_name: str, make: Callable[[tuple[Any, ...]], Record], packer: struct.Struct
) -> Callable[[Buffer], object]:
    unpack = packer.unpack_from

    def decode(buffer: Buffer) -> object:
        try:
            return make(unpack(buffer))
        except struct.error:
            raise too_short(type_name, packer.size, buffer) from None

    return decode
