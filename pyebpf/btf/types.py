"""BTF's types as Python objects: one small slotted class per kind.

Comes from `pyebpf.btf.btf.Btf.type`, which makes an object when somebody asks for it and keeps it.
References to other types are ids of the same `Btf`, so an object is cheap and never drags the
graph in. Treat them as immutable: the same object is handed to everybody.

Groups that belong together by meaning have a common class to test for: `Composite` (struct, union),
`Enumeration` (both widths), `Modifier` (what `Btf.strip` skips: typedef, const, ...).

A plain base class and ``__slots__`` instead of dataclasses: twenty of those cost more at import
than reading the whole type section of a kernel.
"""

from __future__ import annotations

from pyebpf.typed import ClassVar, NamedTuple
from pyebpf.uapi.btf import BtfKind

__all__ = [
    "Array",
    "Composite",
    "Const",
    "Datasec",
    "DeclTag",
    "Enum",
    "Enum64",
    "Enumeration",
    "Enumerator",
    "Float",
    "Func",
    "FuncProto",
    "Fwd",
    "Int",
    "Member",
    "Modifier",
    "Opaque",
    "Param",
    "Ptr",
    "Restrict",
    "SectionVariable",
    "Struct",
    "Type",
    "TypeTag",
    "Typedef",
    "Union",
    "Var",
    "Void",
    "Volatile",
]


class Member(NamedTuple):
    """A member of a struct or union.

    Attributes:
        name: ``""`` for an anonymous struct or union, or for padding bits.
        type: Id of its type.
        bit_offset: Bits from the start of the struct, counted as its byte order counts them.
        bitfield_size: Bits of a bit-field, 0 for an ordinary member.
    """

    name: str
    type: int
    bit_offset: int
    bitfield_size: int = 0


class Enumerator(NamedTuple):
    """A named value of an enumeration."""

    name: str
    value: int


class Param(NamedTuple):
    """A parameter of a function; ``name == "" and type == 0`` in last place stands for ``...``."""

    name: str
    type: int


class SectionVariable(NamedTuple):
    """A place in a data section: the `Var` (or, for externs, `Func`) *type*, its bytes."""

    type: int
    offset: int
    size: int


class Type:
    """What all kinds share; equal if of the same kind with equal fields.

    Attributes:
        kind: ``BTF_KIND_*``.
        name: The C name, ``""`` for what has none.
        fields: Names of the attributes, in order of the constructor's arguments.
    """

    __slots__ = ()

    kind: ClassVar[BtfKind]
    fields: ClassVar[tuple[str, ...]] = ()
    name: str

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self.fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, field) for field in self.fields)))

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={getattr(self, field)!r}" for field in self.fields)
        return f"{type(self).__name__}({fields})"


class Void(Type):
    """Type id 0, which no BTF stores: ``void``."""

    __slots__ = ()
    kind = BtfKind.UNKN
    name = ""


class Int(Type):
    """An integer, ``char`` or ``bool``.

    Attributes:
        size: Bytes of storage.
        encoding: ``BTF_INT_SIGNED`` 1, ``CHAR`` 2, ``BOOL`` 4; clang marks signed and bool only.
        bits: Bits in use; fewer than ``size * 8`` is how old pahole wrote bit-fields.
        offset: Bits to skip, then.
    """

    __slots__ = fields = ("name", "size", "encoding", "bits", "offset")
    kind = BtfKind.INT

    def __init__(
        self, name: str, size: int, encoding: int = 0, bits: int | None = None, offset: int = 0
    ) -> None:
        self.name = name
        self.size = size
        self.encoding = encoding
        self.bits = size * 8 if bits is None else bits
        self.offset = offset

    @property
    def signed(self) -> bool:
        """Whether the encoding says signed."""
        return bool(self.encoding & 1)

    @property
    def is_bool(self) -> bool:
        """Whether the encoding says ``bool``."""
        return bool(self.encoding & 4)


class Float(Type):
    """A floating-point number of *size* bytes (BTF since Linux 5.13)."""

    __slots__ = fields = ("name", "size")
    kind = BtfKind.FLOAT

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size


class Ptr(Type):
    """A pointer to *type* (0: ``void *``); its size is `Btf.pointer_size`."""

    __slots__ = fields = ("type",)
    kind = BtfKind.PTR
    name = ""

    def __init__(self, type: int) -> None:  # noqa: A002  the format's own word
        self.type = type


class Array(Type):
    """*length* elements of type *element*; *index* is the type of its index."""

    __slots__ = fields = ("element", "index", "length")
    kind = BtfKind.ARRAY
    name = ""

    def __init__(self, element: int, index: int, length: int) -> None:
        self.element = element
        self.index = index
        self.length = length


class Composite(Type):
    """A struct or union: *size* bytes, *members* in order.

    Attributes:
        kflag: Whether member offsets carry bit-field sizes (the format's ``kind_flag``).
    """

    __slots__ = fields = ("name", "size", "members", "kflag")

    def __init__(
        self, name: str, size: int, members: tuple[Member, ...], kflag: bool = False
    ) -> None:
        self.name = name
        self.size = size
        self.members = members
        self.kflag = kflag


class Struct(Composite):
    """A struct."""

    __slots__ = ()
    kind = BtfKind.STRUCT


class Union(Composite):
    """A union."""

    __slots__ = ()
    kind = BtfKind.UNION


class Enumeration(Type):
    """Named integers: *size* bytes, *values* as Python integers with the sign applied."""

    __slots__ = fields = ("name", "size", "signed", "values")

    def __init__(self, name: str, size: int, signed: bool, values: tuple[Enumerator, ...]) -> None:
        self.name = name
        self.size = size
        self.signed = signed
        self.values = values


class Enum(Enumeration):
    """An enumeration stored as 32-bit values."""

    __slots__ = ()
    kind = BtfKind.ENUM


class Enum64(Enumeration):
    """An enumeration stored as 64-bit values (BTF since Linux 6.0)."""

    __slots__ = ()
    kind = BtfKind.ENUM64


class Fwd(Type):
    """A struct (or *union*) that is declared and never defined."""

    __slots__ = fields = ("name", "union")
    kind = BtfKind.FWD

    def __init__(self, name: str, union: bool = False) -> None:
        self.name = name
        self.union = union


class Modifier(Type):
    """Something that gives *type* a name or a quality and leaves its layout alone."""

    __slots__ = ("type",)
    fields: ClassVar[tuple[str, ...]] = ("type",)
    name = ""

    def __init__(self, type: int) -> None:  # noqa: A002  the format's own word
        self.type = type


class Typedef(Modifier):
    """Another *name* for *type*."""

    __slots__ = ("name",)
    fields = ("name", "type")
    kind = BtfKind.TYPEDEF

    def __init__(self, name: str, type: int) -> None:  # noqa: A002  the format's own word
        self.name = name
        self.type = type


class Volatile(Modifier):
    """``volatile``."""

    __slots__ = ()
    kind = BtfKind.VOLATILE


class Const(Modifier):
    """``const``."""

    __slots__ = ()
    kind = BtfKind.CONST


class Restrict(Modifier):
    """``restrict``."""

    __slots__ = ()
    kind = BtfKind.RESTRICT


class TypeTag(Modifier):
    """``__attribute__((btf_type_tag("name")))`` on *type* (BTF since Linux 5.17).

    Attributes:
        attribute: It is any other attribute, written out in *name* (``kind_flag``).
    """

    __slots__ = ("attribute", "name")
    fields = ("name", "type", "attribute")
    kind = BtfKind.TYPE_TAG

    def __init__(self, name: str, type: int, attribute: bool = False) -> None:  # noqa: A002
        self.name = name
        self.type = type
        self.attribute = attribute


class Func(Type):
    """A function; *type* is its `FuncProto`, *linkage* 0 static, 1 global, 2 extern."""

    __slots__ = fields = ("name", "type", "linkage")
    kind = BtfKind.FUNC

    def __init__(self, name: str, type: int, linkage: int = 0) -> None:  # noqa: A002
        self.name = name
        self.type = type
        self.linkage = linkage


class FuncProto(Type):
    """What a function takes and returns; a last parameter of type 0 stands for ``...``."""

    __slots__ = fields = ("return_type", "params")
    kind = BtfKind.FUNC_PROTO
    name = ""

    def __init__(self, return_type: int, params: tuple[Param, ...]) -> None:
        self.return_type = return_type
        self.params = params


class Var(Type):
    """A global variable; *linkage* 0 static, 1 global, 2 extern."""

    __slots__ = fields = ("name", "type", "linkage")
    kind = BtfKind.VAR

    def __init__(self, name: str, type: int, linkage: int = 0) -> None:  # noqa: A002
        self.name = name
        self.type = type
        self.linkage = linkage


class Datasec(Type):
    """A data section: *size* bytes holding *variables*.

    Compilers leave sizes and offsets 0; `pyebpf.btf.sections.fix_elf_btf` fills them in.
    """

    __slots__ = fields = ("name", "size", "variables")
    kind = BtfKind.DATASEC

    def __init__(self, name: str, size: int, variables: tuple[SectionVariable, ...]) -> None:
        self.name = name
        self.size = size
        self.variables = variables


class DeclTag(Type):
    """``__attribute__((btf_decl_tag("name")))`` on *type* (BTF since Linux 5.16).

    Attributes:
        component: Index of the member or parameter it marks; -1 for the whole.
        attribute: It is any other attribute, written out in *name* (``kind_flag``).
    """

    __slots__ = fields = ("name", "type", "component", "attribute")
    kind = BtfKind.DECL_TAG

    def __init__(
        self,
        name: str,
        type: int,  # noqa: A002  the format's own word
        component: int = -1,
        attribute: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.component = component
        self.attribute = attribute


class Opaque(Type):
    """A kind newer than this library, skipped by the layout area its file carries.

    Attributes:
        code: The kind's number.
        info: ``struct btf_type.info``, whole.
        size_or_type: As stored.
        data: The bytes that follow, as 32-bit words.
    """

    __slots__ = fields = ("name", "code", "info", "size_or_type", "data")
    kind = BtfKind.UNKN

    def __init__(
        self, name: str, code: int, info: int, size_or_type: int, data: tuple[int, ...]
    ) -> None:
        self.name = name
        self.code = code
        self.info = info
        self.size_or_type = size_or_type
        self.data = data
