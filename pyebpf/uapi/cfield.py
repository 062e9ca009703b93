"""Fields of C structs, as class bodies declare them: ``u32()``, ``pointer(since="5.14")``.

In: what C says about one member. Out: a `Field`; where it lies is worked out by ``cstruct``, which
also hands on all these names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyebpf.typed import cast

__all__ = [
    "Address",
    "Field",
    "Pointer",
    "array",
    "bits",
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

# What a pointer field may hold: nothing, an address, or a buffer (bytes, ctypes array, mmap, ...).
Pointer = object  # None | int | bytes | bytearray | memoryview | ctypes array
# How a buffer becomes an address.
Address = Callable[[object], int]

# What struct calls a kind, and its bytes.
CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "s32": "i", "s64": "q", "pointer": "Q"}
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "s32": 4, "s64": 8, "pointer": 8}


class Field:
    """One member of a C struct; as a class attribute it also is the declaration.

    Attributes:
        name: The attribute's name.
        kind: ``"u8"`` to ``"s64"``, ``"pointer"``, ``"chars"`` (text, cut at NUL), ``"octets"``
            (bytes of fixed length), ``"array"``, ``"bits"`` or ``"padding"``.
        offset: Bytes from the start of the whole struct (or union); of the unit that holds it for
            a bit-field.
        size: Bytes.
        since: The kernel release it came with, or ``None``.
        path: How C reaches it in its struct: ``"link_create.tracing.cookie"``.
        bit_offset: Bits from the start of the unit as C counts them, for bit-fields.
        bit_size: Bits, 0 if it is no bit-field.
    """

    __slots__ = (
        "at",
        "bit_offset",
        "bit_size",
        "c_name",
        "count",
        "default",
        "element",
        "kind",
        "name",
        "offset",
        "path",
        "since",
        "size",
    )

    def __init__(
        self,
        kind: str,
        size: int,
        default: object,
        at: int | None,
        since: str | None,
        c_name: str | None,
        count: int = 1,
        element: str = "",
        bit_size: int = 0,
    ) -> None:
        self.kind = kind
        self.size = size
        self.default = default
        self.at = at
        self.since = since
        self.c_name = c_name
        self.count = count
        self.element = element
        self.bit_size = bit_size
        self.bit_offset = 0
        self.offset = -1
        self.path = ""
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    # Reached only while the object has no value of its own under this name.
    def __get__(self, instance: object, owner: type) -> object:
        if instance is None:
            return self
        # A field at another's place (C unions) reads the value kept under the other's name.
        kept = owner._TABLE.storage[self.name]  # type: ignore[attr-defined]
        return instance.__dict__.get(kept, self.default)

    def __repr__(self) -> str:
        return f"<Field {self.path or self.name} {self.kind} at {self.offset}>"

    @property
    def alignment(self) -> int:
        """Bytes, as C aligns it."""
        if self.kind == "array":
            return SIZES[self.element]
        return 1 if self.kind in ("chars", "octets", "padding") else self.size


def _number(kind: str, at: int | None, since: str | None, name: str | None) -> int:
    # The annotation is what a type checker shall see in objects; the class holds the declaration.
    return cast("int", Field(kind, SIZES[kind], 0, at, since, name))


def u8(*, at: int | None = None, since: str | None = None, name: str | None = None) -> int:
    """Declare a ``__u8``.

    Args:
        at: Offset in the whole struct, where the order of the fields does not say it.
        since: The kernel release the field came with.
        name: The C name, if the attribute must be named differently.
    """
    return _number("u8", at, since, name)


def u16(*, at: int | None = None, since: str | None = None, name: str | None = None) -> int:
    """Declare a ``__u16``; arguments as for `u8`."""
    return _number("u16", at, since, name)


def u32(*, at: int | None = None, since: str | None = None, name: str | None = None) -> int:
    """Declare a ``__u32``; arguments as for `u8`."""
    return _number("u32", at, since, name)


def u64(*, at: int | None = None, since: str | None = None, name: str | None = None) -> int:
    """Declare a ``__u64``; arguments as for `u8`."""
    return _number("u64", at, since, name)


def s32(*, at: int | None = None, since: str | None = None, name: str | None = None) -> int:
    """Declare a ``__s32``; arguments as for `u8`."""
    return _number("s32", at, since, name)


def s64(*, at: int | None = None, since: str | None = None, name: str | None = None) -> int:
    """Declare a ``__s64``; arguments as for `u8`."""
    return _number("s64", at, since, name)


def chars(
    count: int, *, at: int | None = None, since: str | None = None, name: str | None = None
) -> bytes:
    """Declare a ``char[count]`` that holds text, cut at the first NUL when read."""
    return cast("bytes", Field("chars", count, b"", at, since, name, count))


def octets(
    count: int, *, at: int | None = None, since: str | None = None, name: str | None = None
) -> bytes:
    """Declare a ``__u8[count]`` that holds exactly *count* bytes."""
    return cast("bytes", Field("octets", count, bytes(count), at, since, name, count))


def pointer(*, at: int | None = None, since: str | None = None, name: str | None = None) -> Pointer:
    """Declare an ``__aligned_u64`` that holds an address; arguments as for `u8`."""
    return cast("Pointer", Field("pointer", 8, None, at, since, name))


def array(
    kind: str,
    count: int,
    *,
    at: int | None = None,
    since: str | None = None,
    name: str | None = None,
) -> Sequence[int]:
    """Declare an array of *count* integers of *kind* (``"u32"``); other arguments as for `u8`."""
    size = SIZES[kind] * count
    return cast("Sequence[int]", Field("array", size, (0,) * count, at, since, name, count, kind))


def bits(
    width: int, *, unit: str = "u64", since: str | None = None, name: str | None = None
) -> int:
    """Declare a bit-field of *width* bits; successive ones share a *unit* while they fit."""
    return cast("int", Field("bits", SIZES[unit], 0, None, since, name, bit_size=width))


def padding(count: int, *, at: int | None = None) -> None:
    """Declare *count* bytes that are zero and have no name."""
    return cast("None", Field("padding", count, None, at, None, None))
