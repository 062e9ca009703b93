"""C text of one type: declarators, and the bodies of structs and enumerations.

    PTR to FUNC_PROTO(int) of PTR to CONST char, named "f"      const char *(*f)(int)

A declarator grows around the name, from the outermost type to the one that stands in front. Structs
and enumerations without a name are written out where they are used. Everything is made an
identifier of C first: BTF from other languages, or from nobody's compiler, has other names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pyebpf.btf.layout import LONG, Layouts, Padding
from pyebpf.btf.types import (
    Array,
    Composite,
    Const,
    Enumeration,
    Float,
    FuncProto,
    Fwd,
    Int,
    Member,
    Modifier,
    Ptr,
    Type,
    Typedef,
    TypeTag,
    Union,
    Volatile,
)
from pyebpf.errors import BtfError

__all__ = ["Writer", "is_c_scalar", "stand_in"]

# Pointers, arrays and functions of functions in one declarator; structs without a name in another.
_DEPTH = 32
# Beyond this many bytes a hole is one array of char with a name instead of many bit-fields without.
_MAX_PADDING = 512

# Bytes of the scalars that C has, on eBPF; words of their names in alphabetical order.
_INTS = {"_Bool": 1} | {
    " ".join(sorted(f"{sign} {name}".split())): size
    for size, names in {
        1: ("char",),
        2: ("short", "short int"),
        4: ("int",),
        8: ("long", "long int", "long long", "long long int"),
        16: ("__int128",),
    }.items()
    for name in names
    for sign in ("", "signed", "unsigned")
}
_FLOATS = {"float": 4, "double": 8, "double long": 8}
_KEYWORD = re.compile(
    "asm|auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|"
    "inline|int|long|register|restrict|return|short|signed|sizeof|static|struct|switch|typedef|"
    "typeof|union|unsigned|void|volatile|while|_Alignas|_Alignof|_Atomic|_BitInt|_Bool|_Complex|"
    "_Decimal[0-9]+|_Float[0-9]+x?|_Generic|_Imaginary|_Noreturn|_Static_assert|_Thread_local|"
    "__(asm|attribute|const|inline|restrict|signed|typeof|volatile)(__)?|__(bf|fp)16|"
    "__(alignof|auto_type|complex|extension|float128|func|imag|int128|label|real|thread)(__)?"
)
# What an attribute may look like that is taken over from a type's tag.
_ATTRIBUTE = re.compile(r"\w+(\(\w*\))?", re.ASCII)
# Names compilers define themselves, not always as the kernel's did: va_list differs.
_BUILT_IN = ("__builtin_va_list", "__builtin_ms_va_list", "__int128_t", "__uint128_t")
_NOT_C = re.compile(r"[^A-Za-z0-9_]")
_BY_SIZE = {1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128"}
_ENUM_MODES = {1: "QI", 2: "HI", 4: "SI", 8: "DI"}


def is_c_scalar(found: Int | Float) -> bool:
    """Return whether a compiler has a type of this name and size."""
    known = _INTS if isinstance(found, Int) else _FLOATS
    return known.get(" ".join(sorted(found.name.split(" ")))) == found.size


def stand_in(found: Int | Float) -> tuple[str, str]:
    """Return what stands before and behind the name of a scalar C does not know, in a typedef."""
    if isinstance(found, Int) and found.is_bool and found.size == 1:
        return "_Bool", ""
    base = _BY_SIZE.get(found.size)
    if base is None:
        return "char", f"[{found.size}]"
    return ("signed " if isinstance(found, Int) and found.signed else "unsigned ") + base, ""


class Writer:
    """Writes types, and remembers the names it has given.

    Args:
        lookup: Returns the type of an id.
        resolve: Returns the id of the definition that a forward declaration stands for.
        pointer_size: Bytes.
        budget: Members, enumerators and parameters that may be written; what has no name is written
            where it is used, and a few lines of malformed BTF could unfold to any number.
    """

    def __init__(
        self,
        lookup: Callable[[int], Type],
        resolve: Callable[[int], int],
        *,
        pointer_size: int,
        budget: int,
    ) -> None:
        self._lookup = lookup
        self._resolve = resolve
        self._layouts = Layouts(lookup, pointer_size)
        self._budget = budget
        self._names: dict[int, str] = {}
        # C has one space of names for tags and one for everything else here.
        self._tags: dict[str, int] = {}
        self._identifiers: dict[str, int] = dict.fromkeys(_BUILT_IN, 1)
        #: Enumerations without a name that have been written out.
        self.unnamed: set[int] = set()

    # ---- names --------------------------------------------------------------------------------

    def tag(self, type_id: int, found: Type) -> str:
        """Return ``struct name`` and the like."""
        type_id = self._resolve(type_id)
        name = self._name(type_id, found.name, self._tags)
        if isinstance(found, Enumeration):
            return f"enum {name}"
        is_union = isinstance(found, Union) or (isinstance(found, Fwd) and found.union)
        return f"{'union' if is_union else 'struct'} {name}"

    def identifier(self, type_id: int, found: Type) -> str:
        """Return the name of a typedef, or of a scalar that C does not know."""
        return self._name(type_id, found.name, self._identifiers)

    def _name(self, type_id: int, name: str, space: dict[str, int]) -> str:
        known = self._names.get(type_id)
        if known is None:
            known = self._names[type_id] = _distinct(name, space)
        return known

    # ---- definitions --------------------------------------------------------------------------

    def definition(self, type_id: int, found: Type) -> str:
        """Return the definition of a struct, union or enumeration, without the semicolon."""
        if isinstance(found, Composite):
            return self._composite(self.tag(type_id, found), (type_id, found), "", 0)
        assert isinstance(found, Enumeration)  # there is nothing else to define
        return self._enumeration(type_id, found, "")

    def _composite(self, head: str, of: tuple[int, Composite], indent: str, depth: int) -> str:
        plan, found = self._layouts.plan(*of), of[1]
        lines = [head + " {"]
        inner = indent + "\t"
        for row in plan.rows:
            self._spend(of[0])
            if isinstance(row, Padding):
                lines += _padding(row, isinstance(found, Union), inner)
            else:
                lines.append(inner + self._member(row, inner, depth) + ";")
        packed = " __attribute__((packed))" if plan.packed else ""
        if len(lines) == 1:
            return f"{head} {{}}{packed}"
        return "\n".join(lines) + f"\n{indent}}}{packed}"

    def _member(self, member: Member, indent: str, depth: int) -> str:
        if not member.name and not member.bitfield_size:
            # A struct in place; with a tag, too, where -fms-extensions allow it (Linux 6.19), which
            # other compilations would take for a declaration of the tag.
            type_id, found = self._layouts.strip(member.type)
            assert isinstance(found, Composite)  # or there would be no such row
            self._check(type_id, depth)
            return self._composite(_composite_word(found), (type_id, found), indent, depth + 1)
        text = self._declare(member.type, _identifier(member.name), indent, depth + 1)
        return f"{text} : {member.bitfield_size}" if member.bitfield_size else text

    def _enumeration(self, type_id: int, found: Enumeration, indent: str) -> str:
        if not found.values:
            size = _BY_SIZE.get(found.size, "int")
            return self.tag(type_id, found) if found.name else f"unsigned {size}"
        if not found.name:
            self.unnamed.add(type_id)
        head = self.tag(type_id, found) if found.name else "enum"
        lines = [head + " {"]
        for name, value in found.values:
            self._spend(type_id)
            text = _distinct(name, self._identifiers)
            lines.append(f"{indent}\t{text} = {_number(value)},")
        mode = _ENUM_MODES.get(found.size, "SI")
        attribute = "" if found.size == _enum_size(found) else f" __attribute__((mode({mode})))"
        return "\n".join(lines) + f"\n{indent}}}{attribute}"

    # ---- declarations -------------------------------------------------------------------------

    def declare(self, type_id: int, name: str) -> str:
        """Return the declaration of something of this type, without the semicolon."""
        return self._declare(type_id, name, "", 0)

    def _declare(self, type_id: int, text: str, indent: str, depth: int) -> str:
        self._check(type_id, depth)
        qualifiers = ""
        pointer = False
        for _ in range(_DEPTH):
            found = self._lookup(type_id)
            if isinstance(found, Ptr):
                text = f"*{qualifiers}{text}".rstrip()
                qualifiers, pointer, type_id = "", True, found.type
            elif isinstance(found, Array):
                if not self._layouts.sized(found.element):
                    break
                text = f"({text})" if pointer else text
                text, pointer, type_id = f"{text}[{found.length}]", False, found.element
            elif isinstance(found, FuncProto):
                # Old compilers call functions that do not return volatile, or const.
                text = f"({text})" if pointer else text
                text += f"({self._parameters(found, indent, depth)})"
                qualifiers, pointer, type_id = "", False, found.return_type
            elif isinstance(found, Modifier) and not isinstance(found, Typedef):
                qualifiers = _qualified(qualifiers, found)
                type_id = found.type
            else:
                base = qualifiers + self._base(type_id, found, indent, depth)
                return f"{base} {text}" if text else base
        else:
            raise BtfError(f"declarator more than {_DEPTH} deep", f"type {type_id}")
        return f"void {text}"

    def _spend(self, type_id: int) -> None:
        self._budget -= 1
        if self._budget < 0:
            raise BtfError("types without a name unfold to too many members", f"type {type_id}")

    @staticmethod
    def _check(type_id: int, depth: int) -> None:
        if depth > _DEPTH:
            raise BtfError(f"unnamed types more than {_DEPTH} deep", f"type {type_id}")

    def _parameters(self, found: FuncProto, indent: str, depth: int) -> str:
        params = found.params
        more = bool(params) and not params[-1].type and not params[-1].name
        types = []
        for param in params[:-1] if more else params:
            self._spend(param.type)
            if not self._layouts.sized(param.type):
                return ""  # C can say no more of it
            # The name of a typedef would hide it from the parameters behind.
            name = _identifier(param.name)
            name = "" if name in self._identifiers else name
            types.append(self._declare(param.type, name, indent, depth + 1))
        return ", ".join([*types, "..."] if more and types else types) or "void"

    def _base(self, type_id: int, found: Type, indent: str, depth: int) -> str:
        if isinstance(found, Typedef):
            return self.identifier(type_id, found)
        if isinstance(found, (Int, Float)):
            return found.name if is_c_scalar(found) else self.identifier(type_id, found)
        if isinstance(found, Composite) and not found.name:
            return self._composite(_composite_word(found), (type_id, found), indent, depth)
        if isinstance(found, Enumeration) and not found.name:
            return self._enumeration(type_id, found, indent)
        if isinstance(found, (Composite, Enumeration, Fwd)):
            return self.tag(type_id, found)
        return "void"


def _composite_word(found: Composite) -> str:
    return "union" if isinstance(found, Union) else "struct"


def _qualified(qualifiers: str, found: Modifier) -> str:
    # Tags for BTF and restrict are nothing to miss.
    word = ""
    if isinstance(found, (Const, Volatile)):
        word = "const " if isinstance(found, Const) else "volatile "
    elif isinstance(found, TypeTag) and found.attribute and _ATTRIBUTE.fullmatch(found.name):
        word = f"__attribute__(({found.name})) "
    return qualifiers if word in qualifiers else qualifiers + word


def _identifier(name: str) -> str:
    if not name:
        return ""
    if not name.isidentifier() or not name.isascii():
        name = _NOT_C.sub("_", name)
        name = f"_{name}" if name[0].isdigit() else name
    return f"{name}_" if _KEYWORD.fullmatch(name) else name


def _distinct(name: str, space: dict[str, int]) -> str:
    # The second of a name gets a flavour, which CO-RE ignores.
    base = _identifier(name) or "unnamed"
    count = space[base] = space.get(base, 0) + 1
    if count == 1:
        return base
    text = f"{base}___{count}"
    while text in space:
        count = space[base] = count + 1
        text = f"{base}___{count}"
    space[text] = 1
    return text


def _padding(row: Padding, in_union: bool, indent: str) -> Iterator[str]:
    if row.bits > _MAX_PADDING * 8:
        # Up to a byte first; the name says where, so that two of them differ.
        start = -(-row.start // 8)
        if row.start % 8:
            yield f"{indent}long : {start * 8 - row.start};"
        count = (row.start + row.bits) // 8 - start
        yield f"{indent}char __padding_{start}[{count}];"
        if (row.start + row.bits) % 8:
            yield f"{indent}long : {(row.start + row.bits) % 8};"
        return
    fields = []
    start, end = row
    end += start
    while start < end:
        bits = min(LONG - start % LONG, end - start)
        fields.append(f"long : {bits};")
        start += bits
    if in_union:
        yield f"{indent}struct {{ {' '.join(fields)} }};"
    else:
        yield from (indent + field for field in fields)


def _number(value: int) -> str:
    if -(1 << 31) <= value < 1 << 32:
        return str(value)
    if value >= 1 << 63:
        return f"{value}ULL"
    # There is no literal for the smallest.
    return f"{value}LL" if value > -(1 << 63) else f"({value + 1}LL - 1)"


def _enum_size(found: Enumeration) -> int:
    # What compilers take for these values.
    low = min(value for _, value in found.values)
    high = max(value for _, value in found.values)
    return 4 if low >= -(1 << 31) and high < 1 << (31 if low < 0 else 32) else 8
