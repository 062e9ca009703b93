"""``key=`` and ``value=``: from what the user says keys or values are to a `Codec`.

    a Codec                   as it is: anything with ``size``, ``decode`` and ``encode``
    bytes                     bytes, as they are
    "I", "<IQ16s"             struct format; of one item the item itself, of several a tuple
    "struct flow", "__u32"    a type of the map's BTF; with its keyword if it could be a format
    ctypes.Structure          an instance with its own copy; of c_uint64 and the like the number
    numpy.dtype               a scalar of that dtype (a void with fields for a structured one)
    (decode, encode)          two functions: from bytes to a value, and back

Struct formats mean what the `struct` module says: without a prefix they are padded as C pads, but
not at the end. A size that is not the map's is an error that states both; nothing is cut or padded.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Composite, Enumeration, Type, Typedef
from pyebpf.errors import BtfError
from pyebpf.maps.codec import BytesCodec, Codec
from pyebpf.typed import Any, Protocol, TypeAlias

__all__ = ["CodecLike", "as_codec", "type_named"]

Bytes: TypeAlias = bytes | bytearray | memoryview


class Dtype(Protocol):
    """A numpy dtype, by what it has: numpy need not be imported."""

    @property
    def itemsize(self) -> int:
        """Bytes."""
        ...

    @property
    def names(self) -> tuple[str, ...] | None:
        """Fields."""
        ...


Pair: TypeAlias = tuple[Callable[[bytes], object], Callable[[Any], Bytes]]
CodecLike: TypeAlias = Codec | str | type[object] | Dtype | Pair


def as_codec(given: CodecLike, size: int, *, btf: Btf | None, what: str) -> Codec:
    """Return the codec that *given* stands for.

    Args:
        given: As the module's text lists.
        size: Bytes of the map's keys or values; 0 if that is for the codec to say.
        btf: Where types are looked up by name.
        what: ``"key"`` or ``"value"``, for messages.

    Raises:
        ValueError: The sizes differ, or neither side knows one, or no such format.
        BtfError: No such type.
        TypeError: Nothing a codec can be.
    """
    found = _made(given, size, btf, what)
    if size and found.size != size:
        raise ValueError(f"{what} is {size} bytes, its codec's {found.size}")
    return found


def type_named(btf: Btf | None, text: str) -> int:
    """Return the id of the type that *text* names, or 0 if it is a struct format.

    Raises:
        BtfError: Neither, or types of several sizes have the name.
    """
    word, _, name = text.rpartition(" ")
    kinds: dict[str, type] = {
        "struct": Composite,
        "union": Composite,
        "enum": Enumeration,
        "typedef": Typedef,
    }
    if word not in kinds:
        if _is_format(text):
            return 0
        name = text
    wanted = kinds.get(word, Type)
    if btf is None:
        raise BtfError(f'type "{text}" of a map that has no BTF')
    found: dict[int, int] = {}  # by size
    for one in btf.ids(name):
        if isinstance(btf.type(one), (wanted, Typedef)):
            with contextlib.suppress(BtfError):  # a function, a forward declaration
                found.setdefault(btf.size_of(one), one)
    if not found:
        raise BtfError(f'no type "{text}" in the map\'s BTF')
    if len(found) > 1:
        raise BtfError(f'{len(found)} different types "{text}" in the map\'s BTF')
    return next(iter(found.values()))


def _made(given: CodecLike, size: int, btf: Btf | None, what: str) -> Codec:
    if isinstance(given, str):
        type_id = type_named(btf, given)
        if type_id and btf is not None:
            from pyebpf.btf.values import codec

            return codec(btf, type_id)
        return StructCodec(given, what)
    if given is bytes:
        return BytesCodec(_known(size, what), what)
    # ctypes types and numpy dtypes are told by what they have, so that neither need be imported.
    if isinstance(given, type):
        if hasattr(given, "from_buffer_copy"):
            return CtypesCodec(given, what)
        if not hasattr(given, "dtype"):
            raise TypeError(f"{what}= cannot be {given!r}")
    if isinstance(given, tuple):
        decode, encode = given
        return PairCodec(decode, encode, _known(size, what), what)
    if hasattr(given, "itemsize") or isinstance(given, type):
        return DtypeCodec(given, what)
    if hasattr(given, "decode") and hasattr(given, "encode") and hasattr(given, "size"):
        return given
    raise TypeError(f"{what}= cannot be {given!r}")


def _known(size: int, what: str) -> int:
    if not size:
        raise ValueError(f"{what}_size must be given: this codec has no size of its own")
    return size


def _is_format(text: str) -> bool:
    try:
        return struct.calcsize(text) > 0
    except struct.error:
        return False


class StructCodec:
    """Values as the `struct` module packs them.

    Args:
        text: The format; of one item for plain values, of several for tuples.
        what: ``"key"`` or ``"value"``, for messages.
    """

    def __init__(self, text: str, what: str) -> None:
        self._layout = struct.Struct(text)
        self._what = what
        self.text = text
        self.size = self._layout.size
        self._single = len(self._layout.unpack(bytes(self.size))) == 1

    def decode(self, buffer: Bytes) -> object:
        """Return the item, or the tuple of items."""
        items = self._layout.unpack_from(buffer)
        return items[0] if self._single else items

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  what it takes is the format's business
        """Return an item or a tuple of items as bytes."""
        items = (value,) if self._single else tuple(value)
        try:
            return self._layout.pack(*items)
        except struct.error as error:
            raise ValueError(f"{self._what} {value!r}, format {self.text!r}: {error}") from None


class CtypesCodec:
    """Values as instances of a ctypes type, each with its own copy; of a simple type, plain values.

    Args:
        kind: The type.
        what: ``"key"`` or ``"value"``, for messages.
    """

    def __init__(self, kind: Any, what: str) -> None:  # noqa: ANN401  ctypes belongs to sys
        self.kind = kind
        self._what = what
        self.size = memoryview(kind()).nbytes
        self._simple = isinstance(getattr(kind, "_type_", None), str)  # such as c_uint64

    def decode(self, buffer: Bytes) -> object:
        """Return an instance, or its value."""
        found: Any = self.kind.from_buffer_copy(buffer)
        return found.value if self._simple else found

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  an instance, or what makes one
        """Return the bytes of an instance, or of a plain value that makes one."""
        if not isinstance(value, self.kind):
            if isinstance(value, (tuple, list)):
                value = self.kind(*value)
            elif self._simple:
                value = self.kind(value)
            else:
                name = self.kind.__name__
                raise TypeError(f"{self._what} must be a {name}, not {type(value).__name__}")
        return bytes(value)


class DtypeCodec:
    """Values as scalars of a numpy dtype.

    Args:
        dtype: The dtype, or a scalar type of numpy's such as ``numpy.uint32``.
        what: ``"key"`` or ``"value"``, for messages.
    """

    def __init__(self, dtype: object, what: str) -> None:
        # The user has numpy loaded: the dtype is from it.
        import numpy as np

        self.dtype = np.dtype(dtype)  # type: ignore[call-overload]  # one already, or its type
        self._what = what
        self.size = int(self.dtype.itemsize)

    def decode(self, buffer: Bytes) -> object:
        """Return a scalar, or an array for a dtype with a shape; a copy."""
        import numpy as np

        found: object = np.frombuffer(bytes(buffer[: self.size]), self.dtype, 1)[0]
        return found

    def encode(self, value: object) -> bytes:
        """Return what numpy makes of *value* as bytes."""
        import numpy as np

        try:
            data = np.array(value, self.dtype).tobytes()
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"{self._what} {value!r}, dtype {self.dtype}: {error}") from None
        if len(data) != self.size:
            raise ValueError(f"{self._what} takes {self.size} bytes, not {len(data)}")
        return data


class PairCodec:
    """Values as two functions of the user's make them.

    Args:
        decode: From bytes to a value.
        encode: From a value to bytes.
        size: Bytes.
        what: ``"key"`` or ``"value"``, for messages.
    """

    def __init__(
        self,
        decode: Callable[[bytes], object],
        encode: Callable[[Any], Bytes],
        size: int,
        what: str,
    ) -> None:
        self._decode, self._encode = decode, encode
        self._what = what
        self.size = size

    def decode(self, buffer: Bytes) -> object:
        """Return what the user's function makes of the bytes."""
        return self._decode(bytes(buffer[: self.size]))

    def encode(self, value: object) -> bytes:
        """Return what the user's function makes of *value*."""
        data = bytes(self._encode(value))
        if len(data) != self.size:
            raise ValueError(f"{self._what} takes {self.size} bytes, not {len(data)}")
        return data
