"""`Codec`: bytes to a Python value and back, for one C type; and the codecs of scalars and arrays.

    bytes --struct--> raw --get--> value          decode
    bytes <--struct-- raw <--put-- value          encode

*raw* is what the `struct` module gives for the type's one format code: an integer, float or bool,
or ``Ns`` bytes for everything wider. Records put the codes of their members into one format and
keep the raws; ``get`` runs when a member is looked at (see `pyebpf.btf.records`).
"""

from __future__ import annotations

import enum
import operator
import struct
from collections.abc import Callable, Iterable
from mmap import mmap

from pyebpf.btf.decode import ByteOrder
from pyebpf.btf.types import Enumeration
from pyebpf.errors import BtfError
from pyebpf.typed import Any, cast

__all__ = [
    "Buffer",
    "Codec",
    "bits",
    "boolean",
    "enumeration",
    "floating",
    "integer",
    "octets",
    "sequence",
    "text",
    "too_short",
]

Buffer = bytes | bytearray | memoryview | mmap

_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIGNED = {1: "b", 2: "h", 4: "i", 8: "q"}
_FLOATS = {2: "e", 4: "f", 8: "d"}


class Codec:
    """Converts one C type; made by `pyebpf.btf.values.codec`, may be shared between threads.

    Attributes:
        type_name: As a message says it, such as ``"struct exec_event"``.
        size: Bytes of a value.
        byteorder: Of the bytes.
        code: Its `struct` format code, without byte order.
        get: From what `struct` gives for *code* to the value; ``None`` if that is the value.
        put: The other way.
        decode: From any buffer that has at least *size* bytes to the value. Raises `BtfError` if
            it is shorter.
        encode: From a value to *size* bytes. Raises ``TypeError`` or ``ValueError`` for a value
            that does not fit.
        type_id: Of the type in its BTF, 0 if it is not known.
    """

    __slots__ = (
        "byteorder",
        "code",
        "decode",
        "encode",
        "get",
        "put",
        "size",
        "type_id",
        "type_name",
    )

    def __init__(
        self,
        type_name: str,
        byteorder: ByteOrder,
        code: str,
        *,
        get: Callable[[Any], object] | None = None,
        put: Callable[[Any], object],
    ) -> None:
        packer = struct.Struct(("<" if byteorder == "little" else ">") + code)
        self.type_id = 0
        self.type_name = type_name
        self.byteorder = byteorder
        self.code = code
        self.size = packer.size
        self.get = get
        self.put = put
        # Functions in slots, not methods: a map calls them for every element.
        self.decode: Callable[[Buffer], object] = _decoder(type_name, packer, get)
        self.encode: Callable[[object], bytes] = _encoder(type_name, packer, put)

    def __repr__(self) -> str:
        return f"<Codec {self.type_name}, {self.size} bytes>"


def _decoder(
    type_name: str, packer: struct.Struct, get: Callable[[Any], object] | None
) -> Callable[[Buffer], object]:
    unpack = packer.unpack_from

    def decode(buffer: Buffer) -> object:
        try:
            (raw,) = unpack(buffer)
        except struct.error:
            raise too_short(type_name, packer.size, buffer) from None
        return raw if get is None else get(raw)

    return decode


def _encoder(
    type_name: str, packer: struct.Struct, put: Callable[[Any], object]
) -> Callable[[object], bytes]:
    pack = packer.pack

    def encode(value: object) -> bytes:
        raw = put(value)
        try:
            return pack(raw)
        except (struct.error, OverflowError):
            raise ValueError(f"{value!r} does not fit {type_name}") from None

    return encode


def too_short(type_name: str, size: int, buffer: Buffer) -> BtfError:
    """Return the error for a buffer that does not hold a whole value."""
    return BtfError(f"{type_name} takes {size} bytes, not {memoryview(buffer).nbytes}")


# ---- scalars ----------------------------------------------------------------------------------


def integer(type_name: str, byteorder: ByteOrder, size: int, *, signed: bool) -> Codec:
    """Return the codec of an integer of any size; 128 bits and the odd ones go through bytes."""
    code = (_SIGNED if signed else _UNSIGNED).get(size)
    if code is not None:
        return Codec(type_name, byteorder, code, put=operator.index)

    def get(raw: bytes) -> int:
        return int.from_bytes(raw, byteorder, signed=signed)

    def put(value: int) -> bytes:
        try:
            return operator.index(value).to_bytes(size, byteorder, signed=signed)
        except OverflowError:
            raise ValueError(f"{value!r} does not fit {type_name}") from None

    return Codec(type_name, byteorder, f"{size}s", get=get, put=put)


def boolean(type_name: str, byteorder: ByteOrder) -> Codec:
    """Return the codec of a one-byte ``bool``."""
    return Codec(type_name, byteorder, "?", put=bool)


def floating(type_name: str, byteorder: ByteOrder, size: int) -> Codec:
    """Return the codec of a float; ``long double`` stays bytes."""
    code = _FLOATS.get(size)
    if code is None:
        return octets(type_name, byteorder, size)
    return Codec(type_name, byteorder, code, put=float)


class _Named(enum.IntEnum):
    # Its names are the C names, and tell more than the class. IntEnum.__str__ changed in 3.11.
    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


def _members(source: Enumeration) -> dict[int, enum.IntEnum]:
    # The functional form, which its type does not show.
    make = cast("Callable[[str, dict[str, int]], Iterable[enum.IntEnum]]", _Named)
    try:
        made = make(source.name or "enum", {item.name: item.value for item in source.values})
    except (ValueError, TypeError):
        return {}  # a name that Python's enum keeps for itself: the values stay plain integers
    return {member.value: member for member in made}


def enumeration(type_name: str, byteorder: ByteOrder, source: Enumeration) -> Codec:
    """Return the codec of an enumeration: an ``IntEnum`` made from *source* on first use.

    A value it does not name stays an ``int``; a name is accepted for encoding.
    """
    code = (_SIGNED if source.signed else _UNSIGNED).get(source.size)
    if code is None:
        raise BtfError(f"{type_name} has {source.size} bytes")
    members: dict[int, enum.IntEnum] | None = None

    def get(raw: int) -> int:
        nonlocal members
        if members is None:
            members = _members(source)
        return members.get(raw, raw)

    def put(value: int | str) -> int:
        if isinstance(value, str):
            for item in source.values:
                if item.name == value:
                    return item.value
            raise ValueError(f"{type_name} has no {value!r}")
        return operator.index(value)

    return Codec(type_name, byteorder, code, get=get, put=put)


# ---- bytes and arrays -------------------------------------------------------------------------


def octets(type_name: str, byteorder: ByteOrder, size: int) -> Codec:
    """Return the codec of bytes that stay bytes, such as ``unsigned char[6]``."""

    def put(value: Buffer | Iterable[int]) -> bytes:
        if isinstance(value, (str, int)):
            raise TypeError(f"{type_name} takes bytes, not {type(value).__name__}")
        raw = bytes(value)
        if len(raw) != size:
            raise ValueError(f"{type_name} takes {size} bytes, not {len(raw)}")
        return raw

    return Codec(type_name, byteorder, f"{size}s", put=put)


def text(type_name: str, byteorder: ByteOrder, size: int) -> Codec:
    """Return the codec of ``char[size]``: ``str`` up to the first zero byte.

    Bytes that are not UTF-8 become surrogates, and encode to the same bytes again. All *size*
    bytes may be used, the kernel's own names do not always end with a zero.
    """

    def get(raw: bytes) -> str:
        return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

    def put(value: str | Buffer) -> bytes:
        if isinstance(value, str):
            raw = value.encode("utf-8", "surrogateescape")
        elif isinstance(value, int):
            raise TypeError(f"{type_name} takes str or bytes, not {type(value).__name__}")
        else:
            raw = bytes(value)
        if len(raw) > size:
            raise ValueError(f"{type_name} takes {size} bytes, not {len(raw)}")
        return raw

    return Codec(type_name, byteorder, f"{size}s", get=get, put=put)


def sequence(type_name: str, byteorder: ByteOrder, element: Codec, count: int) -> Codec:
    """Return the codec of an array: a tuple of *count* elements.

    Raw bytes of the whole size are accepted for encoding.
    """
    if not element.size:
        # Nothing to see in any of them, and their number may be anything.
        count = 0
    size = element.size * count
    split = _splitter(byteorder, element, count)
    element_get = element.get

    def get(raw: bytes) -> tuple[object, ...]:
        items = split(raw)
        return items if element_get is None else tuple(map(element_get, items))

    def put(value: Buffer | Iterable[object]) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)):
            raw = bytes(value)
            if len(raw) != size:
                raise ValueError(f"{type_name} takes {size} bytes, not {len(raw)}")
            return raw
        items = tuple(value)
        if len(items) != count:
            raise ValueError(f"{type_name} takes {count} elements, not {len(items)}")
        return b"".join(map(element.encode, items))

    return Codec(type_name, byteorder, f"{size}s", get=get, put=put)


def _splitter(
    byteorder: ByteOrder, element: Codec, count: int
) -> Callable[[bytes], tuple[Any, ...]]:
    # From the array's bytes to its elements' raws.
    if len(element.code) == 1:
        order = "<" if byteorder == "little" else ">"
        return struct.Struct(f"{order}{count}{element.code}").unpack
    size = element.size

    def split(raw: bytes) -> tuple[bytes, ...]:
        return tuple([raw[start : start + size] for start in range(0, size * count, size)])

    return split if count else lambda _: ()


# ---- bit-fields -------------------------------------------------------------------------------


def bits(codec: Codec, width: int) -> tuple[Callable[[int], object], Callable[[object], int]]:
    """Return ``get`` and ``put`` for a bit-field of *width* bits of the type of *codec*.

    Both deal in the field's bits as an unsigned number.

    Raises:
        BtfError: Not a type that bit-fields have.
    """
    if codec.code not in "?bBhHiIqQ" or width > 64:
        raise BtfError(f"{codec.type_name} cannot be a bit-field of {width} bits")
    sign = 1 << width >> 1 if codec.code in "bhiq" else 0
    low, high = -sign, (1 << width) - 1 - sign
    convert = bool if codec.code == "?" else codec.get
    mask, put_whole = (1 << width) - 1, codec.put

    def get(raw: int) -> object:
        number = (raw ^ sign) - sign
        return number if convert is None else convert(number)

    def put(value: object) -> int:
        number = put_whole(value)
        assert isinstance(number, int)  # as its code says
        if not low <= number <= high:
            raise ValueError(f"{value!r} does not fit {width} bits of {codec.type_name}")
        return number & mask

    return get, put
