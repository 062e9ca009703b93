"""`Btf`: a set of C types, read lazily from a BTF blob.

In: the bytes of an ELF's ``.BTF`` section, or an mmap of ``/sys/kernel/btf/vmlinux``. Out: types by
id, ids by name. What is done when (a kernel has 130 000 types in 5.5 MB):

    decode()      header checks only
    first use     types are walked, as far as is asked           1 ms for those of CO-RE, 12 for all
    first name    strings with a flavour are looked for          2 ms
    each name     found in the string area, then its ids         0.1 ms, 0.5 in a large blob
    each type     made into an object, and kept                  a few µs

Split BTF (a kernel module's) continues the ids and string offsets of its *base*.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from mmap import mmap

from pyebpf.btf import decode
from pyebpf.btf.names import (
    LARGE,
    NameIndex,
    NameSearch,
    SortedNames,
    Strings,
    essential_name,
    name_offsets,
)
from pyebpf.btf.places import Places
from pyebpf.btf.types import (
    Array,
    Composite,
    Datasec,
    Enumeration,
    Float,
    FuncProto,
    Fwd,
    Int,
    Modifier,
    Opaque,
    Ptr,
    Type,
    TypeTag,
    Var,
    Void,
)
from pyebpf.errors import BtfError
from pyebpf.uapi.btf import BtfKind

__all__ = ["Btf"]


# How many typedefs, qualifiers and array dimensions may be stacked; as the kernel's and libbpf's.
_DEPTH = 32
_VOID = Void()


# The kernel cuts symbols at 512 bytes, and no name of 2000 real objects has more than 111. Without
# a limit one long name, borne by each member of a struct, makes gigabytes of half a megabyte.
_NAME_LIMIT = 4096


class Btf:
    """Types by id and by name. Immutable; may be shared between threads.

    Attributes:
        byteorder: Of the blob, ``"little"`` or ``"big"``.
        base: What a split BTF continues, or ``None``.
        memo: What other modules derive from it and want to live as long as it does.
    """

    __slots__ = (
        "__weakref__", "_data", "_first", "_found", "_header", "_ids", "_names", "_places",
        "_pointer_size", "_strings", "_strings_start", "_types", "_words", "base", "byteorder",
        "memo",
    )  # fmt: skip

    def __init__(self, data: bytes | mmap, header: decode.Header, base: Btf | None) -> None:
        self._data = data
        self._header = header
        self.base = base
        self.byteorder = header.byteorder
        self.memo: dict[object, object] = {}
        self._words = decode.type_words(data, header)
        self._strings = Strings(data, *header.strings)
        self._strings_start = base.strings_length if base is not None else 0
        self._first = len(base) if base is not None else 1
        self._places = Places(self._words, self.layout, self._first)
        # Where the types start, as far as is known.
        self._found: Sequence[int] = self._places.found
        self._names: NameIndex | NameSearch | SortedNames | None = None
        self._types: dict[int, Type] = {}
        self._ids: dict[str, list[int]] = {}
        self._pointer_size = 0

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview | mmap, *, base: Btf | None = None) -> Btf:
        """Read a BTF blob; types are looked at when they are asked for.

        Args:
            data: The blob. ``bytes`` and a read-only ``mmap`` are kept without a copy; an mmap must
                stay open as long as the result.
            base: The BTF that a split one continues (vmlinux for a module's).

        Raises:
            BtfError: Not BTF, or one whose areas do not fit. Malformed types are found later, when
                they are looked at.
        """
        if not isinstance(data, (bytes, mmap)):
            data = bytes(data)
        header = decode.read_header(data)
        start, end = header.strings
        if base is None and (start == end or data[start]):
            raise BtfError("string area does not start with an empty string", f"offset 0x{start:x}")
        if start != end and data[end - 1]:
            raise BtfError("string area does not end with a zero", f"offset 0x{end - 1:x}")
        if base is not None and base.byteorder != header.byteorder:
            raise BtfError(f"byte order is {header.byteorder}, its base's {base.byteorder}")
        return cls(data, header, base)

    @property
    def raw(self) -> memoryview:
        """The blob itself, as ``BPF_BTF_LOAD`` wants it."""
        return memoryview(self._data)

    @property
    def areas(self) -> tuple[bytes, bytes, bytes]:
        """Copies of the areas of types, strings and (if it has one) layout."""
        header, data = self._header, self._data
        return (
            data[slice(*header.types)],
            data[slice(*header.strings)],
            data[slice(*header.layout)],
        )

    @property
    def layout(self) -> list[tuple[int, int]]:
        """Bytes behind a type of each kind, and for each of its elements; empty if not told.

        Split BTF without a layout area has its base's.
        """
        layout = decode.read_layout(self._data, self._header)
        return self.base.layout if self.base is not None and not layout else layout

    @property
    def strings_length(self) -> int:
        """Bytes of strings, the base's included."""
        return self._strings_start + len(self._strings)

    def __len__(self) -> int:
        return self._first + len(self._index())

    def __repr__(self) -> str:
        return f"<Btf {len(self._data)} bytes, {self.byteorder} endian>"

    # ---- by id --------------------------------------------------------------------------------

    def type(self, type_id: int) -> Type:
        """Return the type of this id; id 0 is `Void`.

        Raises:
            BtfError: No such id, or the type is malformed.
        """
        if type_id < self._first and self.base is not None:
            return self.base.type(type_id)
        found = self._types.get(type_id)
        if found is None:
            found = self._types[type_id] = self.inflate(type_id)
        return found

    def inflate(self, type_id: int) -> Type:
        """Make the object for a type, as `type` does, but do not keep it.

        For those who look at all types of a kernel: kept, they take 200 MB.

        Raises:
            BtfError: No such id, or the type is malformed.
        """
        if type_id <= 0:
            if type_id == 0:
                return _VOID
            raise BtfError(f"no type {type_id}")
        if type_id < self._first:
            assert self.base is not None  # only a base moves the first id
            return self.base.inflate(type_id)
        start = self._place(type_id)
        number = type_id - self._first + 1
        found = self._found
        end = found[number] if number < len(found) or self._reach(number) else len(self._words)
        try:
            return decode.inflate(self._words, start, end, self._name)
        except BtfError as error:
            raise BtfError(error.message, f"type {type_id}, offset 0x{start * 4:x}") from None

    # Of a type, a member or the like.
    def _name(self, offset: int) -> str:
        text = self.string(offset)
        if len(text) > _NAME_LIMIT:
            raise BtfError(f"a name of {len(text)} characters, at string offset 0x{offset:x}")
        return text

    def string(self, offset: int) -> str:
        """Return the string at this offset of the string area.

        Bytes that are not UTF-8 become surrogates, so that nothing is lost.

        Raises:
            BtfError: Outside the area.
        """
        start = offset - self._strings_start
        if start < 0:
            assert self.base is not None  # only a base moves the start
            return self.base.string(offset)
        text = self._strings.at(start)
        if text is None:
            raise BtfError(f"string offset 0x{offset:x} is outside {self.strings_length} bytes")
        return text

    def kind(self, type_id: int) -> int:
        """Return the kind's number (`BtfKind`, or one newer than it) without making the object.

        Raises:
            BtfError: No such id.
        """
        if type_id < self._first:
            return self.base.kind(type_id) if self.base is not None and type_id > 0 else 0
        return int(self._words[self._place(type_id) + 1]) >> 24 & 0x7F

    def name_offset(self, type_id: int) -> int:
        """Return the string offset of the type's name.

        Raises:
            BtfError: No such id, or one of the base.
        """
        return int(self._words[self._place(type_id)])

    def position(self, type_id: int) -> int:
        """Return where in `raw` the ``struct btf_type`` of this id starts.

        Raises:
            BtfError: No such id, or one of the base.
        """
        return self._header.types[0] + self._place(type_id) * 4

    @property
    def first_id(self) -> int:
        """The first id that is its own: 1, or for split BTF the number of the base's."""
        return self._first

    def of_kind(self, kind: BtfKind) -> Iterator[int]:
        """Iterate the ids of all types of *kind*, the base's first."""
        if self.base is not None:
            yield from self.base.of_kind(kind)
        words, first = self._words, self._first
        for number, place in enumerate(self._index()):
            if words[place + 1] >> 24 & 0x7F == kind:
                yield first + number

    # ---- by name ------------------------------------------------------------------------------

    def ids(self, name: str, kind: BtfKind | None = None) -> list[int]:
        """Return the ids of all types of exactly this name, in order.

        Args:
            name: Without ``struct``; several types of one name are normal.
            kind: Only those of this kind.
        """
        found = self._ids.get(name)
        if found is None:
            found = self._ids[name] = self._find_ids(name)
        if kind is None:
            return found.copy()
        return [type_id for type_id in found if self.kind(type_id) == kind]

    def find(self, name: str, kind: BtfKind) -> int:
        """Return the id of the one type of this name and kind.

        Raises:
            BtfError: There is none, or more than one.
        """
        found = self.ids(name, kind)
        if len(found) != 1:
            count = "no" if not found else str(len(found))
            raise BtfError(f"{count} {kind.name.lower()} of the name {name!r}")
        return found[0]

    def flavours(self, name: str) -> list[int]:
        """Return the ids of all types whose `essential_name` is *name*, in order."""
        found = set(self.ids(name)) if name and essential_name(name) == name else set()
        for offset in self._flavour_offsets(name):
            found.update(self._ids_named(offset))
        return sorted(found)

    def _find_ids(self, name: str) -> list[int]:
        if not name:
            return list(self._anonymous())
        found: set[int] = set()
        for offset in self._string_offsets(name):
            found.update(self._ids_named(offset))
        return sorted(found)

    def _anonymous(self) -> Iterator[int]:
        if self.base is not None:
            yield from self.base._anonymous()
        for number in self._name_index().find(0):
            yield self._first + number

    def _string_offsets(self, name: str) -> Iterator[int]:
        if self.base is not None:
            yield from self.base._string_offsets(name)
        for start in self._strings.find(name):
            yield self._strings_start + start

    def _flavour_offsets(self, name: str) -> Iterator[int]:
        if self.base is not None:
            yield from self.base._flavour_offsets(name)
        for start in self._strings.flavours().get(name, ()):
            yield self._strings_start + start

    def _ids_named(self, offset: int) -> Iterator[int]:
        if self.base is not None and offset < self._strings_start:
            yield from self.base._ids_named(offset)
        for number in self._name_index().find(offset):
            yield self._first + number

    # ---- questions ----------------------------------------------------------------------------

    @property
    def pointer_size(self) -> int:
        """Bytes of a pointer: what ``long`` has here, else the base's, else 8 (BPF's)."""
        if not self._pointer_size:
            self._pointer_size = self._find_pointer_size()
        return self._pointer_size

    def _find_pointer_size(self) -> int:
        for name in ("long unsigned int", "unsigned long", "long int", "long"):
            # Not all ids of the name: the first is among the first types.
            for offset in self._string_offsets(name):
                for type_id in self._ids_named(offset):
                    if self.kind(type_id) == BtfKind.INT and self.size_of(type_id) in {4, 8}:
                        return self.size_of(type_id)
        return 8

    def strip(self, type_id: int) -> int:
        """Return the id behind typedefs, ``const``, ``volatile``, ``restrict`` and type tags.

        Raises:
            BtfError: They are stacked more than 32 deep, as a malformed cycle is.
        """
        start = type_id
        for _ in range(_DEPTH):
            found = self.type(type_id)
            if not isinstance(found, Modifier):
                return type_id
            type_id = found.type
        raise BtfError(f"typedefs and qualifiers more than {_DEPTH} deep", f"type {start}")

    def size_of(self, type_id: int) -> int:
        """Return the bytes a value of this type takes.

        Raises:
            BtfError: It has no size (``void``, a function, a forward declaration), or not one
                below 4 GiB.
        """
        start, count = type_id, 1
        for _ in range(_DEPTH):
            found = self.type(type_id)
            if isinstance(found, (Int, Composite, Enumeration, Float, Datasec)):
                return self._bounded(start, found.size * count)
            if isinstance(found, Ptr):
                return self._bounded(start, self.pointer_size * count)
            if isinstance(found, Array):
                count = self._bounded(start, count * found.length)
                type_id = found.element
            elif isinstance(found, (Modifier, Var)):
                type_id = found.type
            else:
                raise BtfError(f"{self.describe(type_id)} has no size", f"type {start}")
        raise BtfError(f"arrays and typedefs more than {_DEPTH} deep", f"type {start}")

    @staticmethod
    def _bounded(type_id: int, size: int) -> int:
        if size >> 32:
            raise BtfError(f"{size} bytes are too large", f"type {type_id}")
        return size

    def describe(self, type_id: int) -> str:
        """Return a short C-like text for messages: ``"struct task_struct *"``, ``"char[16]"``."""
        return self._describe(type_id, 0)

    def _describe(self, type_id: int, depth: int) -> str:
        if depth > _DEPTH:
            return "..."
        try:
            found = self.type(type_id)
        except BtfError:
            return f"<bad type {type_id}>"
        say = _DESCRIBE.get(found.kind)
        if say is not None:
            return say(found)
        if isinstance(found, Array):
            return self._describe_array(found, depth)
        if isinstance(found, FuncProto):
            return f"{self._describe(found.return_type, depth + 1)} (*)()"
        if isinstance(found, Ptr):
            target = self._describe(found.type, depth + 1)
            # A function's text has the star already.
            return target if target.endswith("(*)()") else f"{target} *"
        if isinstance(found, Var):
            return f"{self._describe(found.type, depth + 1)} {found.name}"
        if isinstance(found, TypeTag):
            return self._describe(found.type, depth + 1)
        if isinstance(found, Modifier):
            return f"{found.kind.name.lower()} {self._describe(found.type, depth + 1)}"
        return found.name or f"<type {type_id}>"

    def _describe_array(self, found: Array, depth: int) -> str:
        # Dimensions in the order C has them: the outermost first.
        dimensions = ""
        while depth <= _DEPTH:
            dimensions += f"[{found.length}]"
            element = self.type(found.element)
            if not isinstance(element, Array):
                break
            found, depth = element, depth + 1
        return self._describe(found.element, depth + 1) + dimensions

    # ---- the index ----------------------------------------------------------------------------

    def index(self) -> tuple[array[int], array[int], array[int]]:
        """Return, for `pyebpf.btf.saved_index`, what is found by looking at all of the blob.

        Returns:
            The place of every type in the words of the type area, the offset of its name, and where
            in the string area the strings with a flavour stand.

        Raises:
            BtfError: Malformed types.
        """
        flavours = self._strings.flavours().values()
        starts = array("I", sorted(start for found in flavours for start in found))
        places = self._places.all()
        return places, name_offsets(self._words, places), starts

    def use_index(
        self, places: Sequence[int], ordered: Sequence[int], flavoured: Sequence[int]
    ) -> None:
        """Take over an index made before, of this very blob: types are not looked for again.

        Args:
            places: As of `index`.
            ordered: Numbers of the types, counted from the first, by the offsets of their names.
            flavoured: As of `index`.
        """
        self._strings.use_flavours(flavoured)
        self._names = SortedNames(self._words, places, ordered)
        self._found = places

    def _index(self) -> Sequence[int]:
        # Where all types start.
        if self._found is self._places.found:
            self._places.all()
        return self._found

    def _reach(self, number: int) -> bool:
        # Whether there is a type of this number; it is in _found then.
        return self._found is self._places.found and self._places.reach(number)

    def _name_index(self) -> NameIndex | NameSearch | SortedNames:
        if self._names is None:
            if len(self._words) >= LARGE // 4:
                column = partial(decode.type_bytes, self._data, self._header)
                self._names = NameSearch(self._words, column, self._places)
            else:
                self._names = NameIndex(name_offsets(self._words, self._places.all()))
        return self._names

    def _place(self, type_id: int) -> int:
        number = type_id - self._first
        found = self._found
        if not (number >= 0 and (number < len(found) or self._reach(number))):
            raise BtfError(f"no type {type_id}, there are {len(self)}")
        return found[number]


def _named(prefix: str) -> Callable[[Type], str]:
    return lambda found: f"{prefix} {found.name or '{...}'}"


_DESCRIBE: dict[int, Callable[[Type], str]] = {
    Void.kind: lambda found: (
        f"kind {found.code} {found.name!r}" if isinstance(found, Opaque) else "void"
    ),
    BtfKind.STRUCT: _named("struct"),
    BtfKind.UNION: _named("union"),
    BtfKind.ENUM: _named("enum"),
    BtfKind.ENUM64: _named("enum"),
    BtfKind.TYPEDEF: lambda found: found.name,
    BtfKind.FUNC: lambda found: f"{found.name}()",
    BtfKind.FWD: lambda found: (
        f"{'union' if isinstance(found, Fwd) and found.union else 'struct'} {found.name}"
    ),
    BtfKind.DECL_TAG: lambda found: f'btf_decl_tag("{found.name}")',
    BtfKind.DATASEC: lambda found: f'section "{found.name}"',
}
