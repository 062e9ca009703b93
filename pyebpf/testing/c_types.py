"""Types of the made-up kernel, from declarations in a small part of C to BTF.

    struct task_struct { int pid; struct task_struct * real_parent; char comm[16]; };
    typedef unsigned int gfp_t;
    int do_unlinkat(int dfd, struct filename * name);

Structs and unions with members of any type declared anywhere, arrays, bit-fields (``int x : 3``),
typedefs, and prototypes of functions, which become functions of the kernel. A struct that is only
named is announced (``FWD``). Laid out as compilers of 64-bit machines do.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from pyebpf.btf.encode import encode
from pyebpf.btf.types import (
    Array,
    Const,
    Enum,
    Enum64,
    Enumerator,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from pyebpf.typed import NamedTuple
from pyebpf.uapi.cenum import CEnum

__all__ = ["Layout", "Types"]

# Name in C: bytes, BTF encoding (1 signed, 2 char, 4 bool).
_BASIC = {
    "char": (1, 1),
    "signed char": (1, 1),
    "unsigned char": (1, 0),
    "short": (2, 1),
    "unsigned short": (2, 0),
    "int": (4, 1),
    "unsigned int": (4, 0),
    "long": (8, 1),
    "unsigned long": (8, 0),
    "long long": (8, 1),
    "unsigned long long": (8, 0),
    "_Bool": (1, 4),
}
_TYPEDEFS = """
typedef _Bool bool; typedef unsigned char __u8; typedef __u8 u8; typedef signed char __s8;
typedef unsigned short __u16; typedef __u16 u16; typedef short __s16; typedef __s16 s16;
typedef unsigned int __u32; typedef __u32 u32; typedef int __s32; typedef __s32 s32;
typedef unsigned long long __u64; typedef __u64 u64; typedef long long __s64; typedef __s64 s64;
typedef unsigned long size_t; typedef int pid_t; typedef unsigned int uid_t; typedef u32 dev_t;
typedef unsigned int gid_t; typedef u64 sector_t; typedef unsigned short umode_t;
typedef long long loff_t; typedef u64 ktime_t;
"""
_STATEMENT = re.compile(r"(struct|union)\s+(\w+)\s*\{([^}]*)\}\s*;|([^;{}]+);")
_DECLARATOR = re.compile(
    r"(?P<type>.*?[\s*])(?P<name>\w+)(?:\[(?P<length>\d+)\])?(?:\s*:\s*(?P<bits>\d+))?"
)
_PROTOTYPE = re.compile(r"(?P<returns>.*?[\s*])(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)")
_POINTER = 8
_INDEX = "unsigned int"


class Layout(NamedTuple):
    """Where a member of a struct is.

    Attributes:
        offset: Bytes from its start.
        size: Bytes; of a bit-field, of what it is declared as.
    """

    offset: int
    size: int


class Types:
    """All types of a kernel: declare them, then `encode`.

    Attributes:
        layouts: Members by name, of every struct by name.
        functions: Names of the functions declared.
    """

    def __init__(self) -> None:
        self.layouts: dict[str, dict[str, Layout]] = {}
        self.functions: list[str] = []
        self._types: list[Type | None] = []
        self._sizes: dict[int, tuple[int, int]] = {}  # bytes and alignment
        self._ids: dict[str, int] = {}
        for name, (size, encoding) in _BASIC.items():
            self._ids[name] = self._add(Int(name, size, encoding=encoding), size, size)
        self.declare(_TYPEDEFS)

    def declare(self, text: str) -> None:
        """Add types and functions.

        Raises:
            ValueError: Text that makes no sense, or a type of unknown size.
        """
        for match in _STATEMENT.finditer(text):
            kind, name, body, statement = match.groups()
            if kind:
                self._composite(f"{kind} {name}", body)
            elif statement.strip().startswith("typedef"):
                self._typedef(statement.strip().removeprefix("typedef").strip())
            elif statement.strip():
                self._function(statement.strip())
        rest = _STATEMENT.sub("", text).strip()
        if rest:
            raise ValueError(f"not a declaration: {rest[:60]!r}")

    def declare_enum(self, enum: type[CEnum]) -> None:
        """Add an enumeration of the kernel."""
        members = {each.c_name: int(each) for each in enum.__members__.values()}
        values = tuple(Enumerator(name, value) for name, value in members.items())
        wide = any(value >> 32 for value in members.values())
        found = (
            Enum64(enum.C_NAME, 8, False, values) if wide else Enum(enum.C_NAME, 4, False, values)
        )
        self._ids[f"enum {enum.C_NAME}"] = self._add(found, found.size, found.size)

    def declare_tracepoint(self, name: str, parameters: str) -> None:
        """Add the type that ``SEC("tp_btf/name")`` looks for.

        Args:
            name: The tracepoint.
            parameters: Of its TP_PROTO, as C has them.
        """
        prototype = self._prototype("void", f"void * __data, {parameters}".rstrip(", "))
        pointer = self._add(Ptr(prototype), _POINTER, _POINTER)
        self._ids[f"btf_trace_{name}"] = self._add(
            Typedef(f"btf_trace_{name}", pointer), _POINTER, _POINTER
        )

    def encode(self) -> bytes:
        """Return the BTF; what is announced and never declared becomes a ``FWD``."""
        types = []
        names = {number: name for name, number in self._ids.items()}
        for number, each in enumerate(self._types, 1):
            kind, _, name = names.get(number, "").partition(" ")
            types.append(each if each is not None else Fwd(name, kind == "union"))
        return encode(types, byteorder=sys.byteorder)

    # --- declarations

    def _composite(self, name: str, body: str) -> None:
        number = self._announce(name)
        union = name.startswith("union ")
        members, layout, end, alignment = [], {}, 0, 1
        for declaration in _parts(body, ";"):
            match = _DECLARATOR.fullmatch(declaration)
            if match is None:
                raise ValueError(f"not a member: {declaration!r}")
            type_id = self._declared(match)
            size, own = self._size_of(type_id, declaration)
            alignment = max(alignment, own)
            bits = int(match["bits"] or 0)
            start = 0 if union else _place(end, size, own, bits)
            members.append(Member(match["name"], type_id, start, bits))
            layout[match["name"]] = Layout(start // 8 // size * size if bits else start // 8, size)
            end = max(end, start + (bits or size * 8))
        size = -(-end // (8 * alignment)) * alignment
        kflag = any(each.bitfield_size for each in members)
        kind = Union if union else Struct
        self._types[number - 1] = kind(name.partition(" ")[2], size, tuple(members), kflag)
        self._sizes[number] = (size, alignment)
        self.layouts[name.partition(" ")[2]] = layout

    def _typedef(self, text: str) -> None:
        match = _DECLARATOR.fullmatch(text)
        if match is None:
            raise ValueError(f"not a typedef: {text!r}")
        target = self._declared(match)
        size, alignment = self._sizes.get(target, (0, 1))
        self._ids[match["name"]] = self._add(Typedef(match["name"], target), size, alignment)

    def _function(self, text: str) -> None:
        match = _PROTOTYPE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a declaration: {text!r}")
        prototype = self._prototype(match["returns"].strip(), match["parameters"])
        self._add(Func(match["name"], prototype), 0, 1)
        self.functions.append(match["name"])

    def _prototype(self, returns: str, parameters: str) -> int:
        params = []
        for each in _parts(parameters, ","):
            if each == "void":
                continue
            match = _DECLARATOR.fullmatch(each)
            if match is None:
                raise ValueError(f"not a parameter: {each!r}")
            params.append(Param(match["name"], self._declared(match)))
        return self._add(FuncProto(self._named(returns), tuple(params)), 0, 1)

    # --- types by what C calls them

    def _declared(self, match: re.Match[str]) -> int:
        type_id = self._named(match["type"].strip())
        if match["length"] is None:
            return type_id
        size, alignment = self._size_of(type_id, match[0])
        length = int(match["length"])
        key = f"{match['type'].strip()}[{length}]"
        if key not in self._ids:
            array = Array(type_id, self._ids[_INDEX], length)
            self._ids[key] = self._add(array, size * length, alignment)
        return self._ids[key]

    def _named(self, text: str) -> int:
        text = " ".join(text.replace("*", " * ").split())
        if text == "void":
            return 0
        if text in self._ids:
            return self._ids[text]
        if text.endswith("*"):
            target = self._named(text[:-1].strip())
            self._ids[text] = self._add(Ptr(target), _POINTER, _POINTER)
        elif text.startswith("const "):
            target = self._named(text.removeprefix("const "))
            size, alignment = self._sizes.get(target, (0, 1))
            self._ids[text] = self._add(Const(target), size, alignment)
        elif re.fullmatch(r"(struct|union) \w+", text):
            return self._announce(text)
        else:
            raise ValueError(f"unknown type: {text!r}")
        return self._ids[text]

    def _announce(self, name: str) -> int:
        if name not in self._ids:
            self._types.append(None)
            self._ids[name] = len(self._types)
        return self._ids[name]

    def _add(self, one: Type, size: int, alignment: int) -> int:
        self._types.append(one)
        self._sizes[len(self._types)] = (size, alignment)
        return len(self._types)

    def _size_of(self, type_id: int, what: str) -> tuple[int, int]:
        found = self._sizes.get(type_id)
        if found is None or not found[1]:
            raise ValueError(f"declared before its type: {what!r}")
        return found


def _parts(text: str, separator: str) -> Iterator[str]:
    for part in text.split(separator):
        if part.strip():
            yield " ".join(part.split())


# In bits; a bit-field stays within what it is declared as.
def _place(end: int, size: int, alignment: int, bits: int) -> int:
    if bits and end // (8 * size) == (end + bits - 1) // (8 * size):
        return end
    return -(-end // (8 * alignment)) * 8 * alignment
