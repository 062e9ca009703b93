"""Types as C: every construct by hand, as text; and what malformed types come to.

The texts are compiled, too, where there is a clang, with the sizes and offsets they must have.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.dump import dump, vmlinux_h
from pyebpf.errors import BtfError
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder
from tests.support.c_asserts import assertions
from tests.support.c_types import clang

INT, CHAR, U64 = 1, 2, 3


class Builder(BtfBuilder):
    """Starts with int, char and unsigned long long, and has the rarer kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.int("int", 4, wire.SIGNED)
        self.int("char", 1, wire.SIGNED)
        self.int("unsigned long long", 8)

    def const(self, target: int) -> int:
        return self.add(wire.CONST, "", target)

    def volatile(self, target: int) -> int:
        return self.add(wire.VOLATILE, "", target)

    def restrict(self, target: int) -> int:
        return self.add(wire.RESTRICT, "", target)

    def tag(self, name: str, target: int, *, attribute: bool = False) -> int:
        return self.add(wire.TYPE_TAG, name, target, kflag=attribute)

    def fwd(self, name: str, *, union: bool = False) -> int:
        return self.add(wire.FWD, name, kflag=union)

    def float(self, name: str, size: int) -> int:
        return self.add(wire.FLOAT, name, size)


Make = Callable[[Builder], object]


def made(make: Make) -> Btf:
    builder = Builder()
    make(builder)
    return Btf.decode(builder.build())


def text(make: Make) -> str:
    return "".join(dump(made(make))).replace("\n\n", "\n")


def lines(*parts: str) -> str:
    return "".join(f"{part}\n" for part in parts)


def struct(name: str, *members: str, packed: bool = False, word: str = "struct") -> str:
    body = "".join(f"\t{member};\n" for member in members)
    return f"{word} {name} {{\n{body}}}{' __attribute__((packed))' * packed};\n"


# ---- declarators ------------------------------------------------------------------------------

DECLARED: dict[str, tuple[Callable[[Builder], int], str]] = {
    "int": (lambda _: INT, "int x"),
    "void pointer": (lambda b: b.ptr(0), "void *x"),
    "pointer to pointer": (lambda b: b.ptr(b.ptr(CHAR)), "char **x"),
    "pointer to const": (lambda b: b.ptr(b.const(CHAR)), "const char *x"),
    "const pointer": (lambda b: b.const(b.ptr(CHAR)), "char *const x"),
    "const pointer to pointer": (
        lambda b: b.ptr(b.const(b.ptr(b.volatile(CHAR)))),
        "volatile char *const *x",
    ),
    "const volatile": (lambda b: b.const(b.volatile(INT)), "const volatile int x"),
    "volatile const": (lambda b: b.volatile(b.const(INT)), "volatile const int x"),
    "const const": (lambda b: b.const(b.const(INT)), "const int x"),
    "restrict": (lambda b: b.restrict(b.ptr(INT)), "int *x"),
    "const restrict": (lambda b: b.const(b.restrict(b.ptr(INT))), "int *const x"),
    "type tag": (lambda b: b.ptr(b.tag("user", INT)), "int *x"),
    "attribute": (
        lambda b: b.ptr(b.tag("address_space(1)", b.const(0), attribute=True)),
        "__attribute__((address_space(1))) const void *x",
    ),
    "no attribute": (lambda b: b.ptr(b.tag("x))) y;", INT, attribute=True)), "int *x"),
    "array": (lambda b: b.array(INT, 3), "int x[3]"),
    "flexible array": (lambda b: b.array(INT, 0), "int x[0]"),
    "array of arrays": (lambda b: b.array(b.array(INT, 3), 2), "int x[2][3]"),
    "array of pointers": (lambda b: b.array(b.ptr(INT), 3), "int *x[3]"),
    "pointer to array": (lambda b: b.ptr(b.array(INT, 3)), "int (*x)[3]"),
    "pointer to const array": (lambda b: b.ptr(b.const(b.array(INT, 3))), "const int (*x)[3]"),
    "const array of pointers": (lambda b: b.const(b.array(b.ptr(INT), 3)), "int *const x[3]"),
    "array of const arrays": (lambda b: b.array(b.const(b.array(INT, 3)), 2), "const int x[2][3]"),
    "function": (lambda b: b.ptr(b.func_proto(INT, ("a", CHAR))), "int (*x)(char a)"),
    "no parameters": (lambda b: b.ptr(b.func_proto(0)), "void (*x)(void)"),
    "varargs": (
        lambda b: b.ptr(b.func_proto(INT, ("", b.ptr(CHAR)), ("", 0))),
        "int (*x)(char *, ...)",
    ),
    "varargs only": (lambda b: b.ptr(b.func_proto(INT, ("", 0))), "int (*x)(void)"),
    "parameters without names": (
        lambda b: b.ptr(b.func_proto(INT, ("", INT), ("", b.const(b.ptr(0))))),
        "int (*x)(int, void *const)",
    ),
    "function that returns a function": (
        lambda b: b.ptr(b.func_proto(b.ptr(b.func_proto(INT, ("", CHAR))), ("", INT))),
        "int (*(*x)(int))(char)",
    ),
    "function that returns an array": (
        lambda b: b.ptr(b.func_proto(b.ptr(b.array(INT, 4)), ("", INT))),
        "int (*(*x)(int))[4]",
    ),
    "function that does not return": (
        lambda b: b.ptr(b.volatile(b.func_proto(0, ("", INT)))),
        "void (*x)(int)",
    ),
    "array of functions": (
        lambda b: b.array(b.ptr(b.func_proto(INT, ("", INT))), 2),
        "int (*x[2])(int)",
    ),
    "functions of functions": (
        lambda b: b.ptr(b.func_proto(0, ("f", b.ptr(b.func_proto(INT))))),
        "void (*x)(int (*f)(void))",
    ),
    "pointer to struct": (lambda b: b.ptr(b.struct("s", 4, ("a", INT, 0))), "struct s *x"),
    "pointer to a forward declaration": (lambda b: b.ptr(b.fwd("s")), "struct s *x"),
    "pointer to a union's": (lambda b: b.ptr(b.fwd("u", union=True)), "union u *x"),
    "pointer to struct without name": (
        lambda b: b.ptr(b.struct("", 4, ("a", INT, 0))),
        "struct {\n\tint a;\n} *x",
    ),
    "struct without name": (lambda b: b.struct("", 0), "struct {} x"),
    "enum without name": (lambda b: b.ptr(b.enum("", {"A": 1})), "enum {\n\tA = 1,\n} *x"),
    "enum without anything": (lambda b: b.enum("", {}, size=2), "unsigned short x"),
    "enum of no size": (lambda b: b.enum("", {}, size=0), "unsigned int x"),
    "pointer to array of nothing": (lambda b: b.ptr(b.array(0, 4)), "void *x"),
    "pointer to a kind for functions": (
        lambda b: b.ptr(b.func("f", b.func_proto(0))),
        "void *x",
    ),
    "parameter of no type": (
        lambda b: b.ptr(b.func_proto(INT, ("a", 0), ("b", INT))),
        "int (*x)()",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), DECLARED.values(), ids=DECLARED)
def test_a_declarator_is_as_c_has_it(make: Callable[[Builder], int], expected: str) -> None:
    """Seen in a variable, with all that must stand before it."""
    builder = Builder()
    number = builder.var("x", make(builder))
    assert list(dump(Btf.decode(builder.build()), [number]))[-1] == f"extern {expected};\n\n"


# ---- scalars ----------------------------------------------------------------------------------

SCALARS = {
    "char": (1, wire.SIGNED, None),
    "unsigned char": (1, 0, None),
    "_Bool": (1, wire.BOOL, None),
    "long int": (8, wire.SIGNED, None),
    "long unsigned int": (8, 0, None),
    "short unsigned int": (2, 0, None),
    "long long unsigned int": (8, 0, None),
    "unsigned int": (4, 0, None),
    "__int128 unsigned": (16, 0, None),
    "ssizetype": (8, wire.SIGNED, "typedef signed long long ssizetype;"),
    "u8": (1, 0, "typedef unsigned char u8;"),
    "u128": (16, 0, "typedef unsigned __int128 u128;"),
    "u24": (3, 0, "typedef char u24[3];"),
    "bool": (
        *(1, wire.BOOL),
        "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\ntypedef _Bool bool;\n#endif",
    ),
    "wide_bool": (4, wire.BOOL, "typedef unsigned int wide_bool;"),
    "f16": (2, wire.SIGNED, "typedef signed short f16;"),
    # Of another machine; and what no compiler takes.
    "long": (4, wire.SIGNED, "typedef signed int long_;"),
    "long long long": (8, wire.SIGNED, "typedef signed long long long_long_long;"),
    "": (4, 0, "typedef unsigned int unnamed;"),
}


@pytest.mark.parametrize(("name", "given"), SCALARS.items(), ids=SCALARS)
def test_a_scalar_has_c_s_name_or_gets_one(name: str, given: tuple) -> None:
    """What a compiler knows stands as it is, and only if the size is right."""
    size, encoding, expected = given
    before, used = (f"{expected}\n", expected) if expected else ("", None)
    said = text(lambda b: b.struct("s", size, ("a", b.int(name, size, encoding), 0)))
    own = name if used is None else used.replace("\n#endif", "").rstrip(";").split()[-1]
    own = own.split("[")[0]
    assert said == before + struct("s", f"{own} a")


FLOATS = {
    ("float", 4): "",
    ("double", 8): "",
    ("long double", 8): "",
    ("long double", 16): "typedef unsigned __int128 long_double;\n",
    ("_Float16", 2): "typedef unsigned short _Float16_;\n",
    ("__float128", 16): "typedef unsigned __int128 __float128_;\n",
    ("int", 4): "typedef unsigned int int_;\n",
    ("x87", 12): "typedef char x87[12];\n",
}


@pytest.mark.parametrize(("given", "before"), FLOATS.items(), ids=str)
def test_a_float_has_c_s_name_or_gets_one(given: tuple[str, int], before: str) -> None:
    """Of eBPF's floating-point types; others are bytes."""
    name, size = given
    said = text(lambda b: b.struct("s", size, ("a", b.float(name, size), 0)))
    own = before.rstrip(";\n").split()[-1].split("[")[0] if before else name
    assert said == before + struct("s", f"{own} a")


# ---- structs and unions -----------------------------------------------------------------------


def nested(b: Builder) -> None:
    inner = b.struct("", 8, ("a", INT, 0), ("b", INT, 32))
    outer = b.union("", 8, ("", inner, 0), ("whole", U64, 0))
    b.struct("s", 16, ("", outer, 0), ("named", inner, 64))


def old_pahole(b: Builder) -> None:
    # Before Linux 5.0: bits and place with the integer.
    b.struct("s", 4, ("a", b.int("int", 4, bits=3), 0), ("b", b.int("int", 4, bits=5, offset=3), 0))


STRUCTS: dict[str, tuple[Make, str]] = {
    "plain": (
        lambda b: b.struct("s", 16, ("a", CHAR, 0), ("b", INT, 32), ("c", U64, 64)),
        struct("s", "char a", "int b", "unsigned long long c"),
    ),
    "empty": (lambda b: b.struct("s", 0), "struct s {};\n"),
    "only bytes": (lambda b: b.struct("s", 8), struct("s", "long : 64")),
    "union": (
        lambda b: b.union("u", 8, ("a", INT, 0), ("b", U64, 0)),
        struct("u", "int a", "unsigned long long b", word="union"),
    ),
    "long union": (
        lambda b: b.union("u", 16, ("a", INT, 0)),
        struct("u", "int a", "struct { long : 64; long : 64; }", word="union"),
    ),
    "union of bit-fields": (
        lambda b: b.union("u", 4, ("a", INT, 0, 3), ("b", INT, 0, 17)),
        struct("u", "int a : 3", "int b : 17", word="union"),
    ),
    "longer union of bit-fields": (
        lambda b: b.union("u", 8, ("a", INT, 0, 3)),
        struct("u", "int a : 3", "struct { long : 64; }", word="union"),
    ),
    "hole": (
        lambda b: b.struct("s", 16, ("a", CHAR, 0), ("b", INT, 64)),
        struct("s", "char a", "long : 56", "int b", "long : 32"),
    ),
    "hole over words": (
        lambda b: b.struct("s", 24, ("a", CHAR, 0), ("b", CHAR, 160)),
        struct("s", "char a", "long : 56", "long : 64", "long : 32", "char b", "long : 24"),
    ),
    "end": (
        lambda b: b.struct("s", 64, ("a", INT, 0)),
        struct("s", "int a", "long : 32", *["long : 64"] * 7),
    ),
    "wide hole": (
        lambda b: b.struct("s", 4096, ("a", CHAR, 0), ("b", INT, 32000)),
        struct("s", "char a", "char __padding_1[3999]", "int b", "long : 32", *["long : 64"] * 11),
    ),
    "wide hole between bits": (
        lambda b: b.struct("s", 1028, ("a", INT, 0, 3), ("b", INT, 8197, 27)),
        struct("s", "int a : 3", "long : 5", "char __padding_1[1023]", "long : 5", "int b : 27"),
    ),
    "packed": (
        lambda b: b.struct("s", 5, ("a", CHAR, 0), ("b", INT, 8)),
        struct("s", "char a", "int b", packed=True),
    ),
    "packed by size": (
        lambda b: b.struct("s", 6, ("a", INT, 0), ("b", CHAR, 32), ("c", CHAR, 40)),
        struct("s", "int a", "char b", "char c", packed=True),
    ),
    "packed with a hole": (
        lambda b: b.struct("s", 9, ("a", CHAR, 0), ("b", INT, 24)),
        struct("s", "char a", "long : 16", "int b", "long : 8", "long : 8", packed=True),
    ),
    "packed union": (
        lambda b: b.union("u", 5, ("a", INT, 0), ("b", b.array(CHAR, 5), 0)),
        struct("u", "int a", "char b[5]", packed=True, word="union"),
    ),
    "packed empty": (
        lambda b: b.struct("s", 3, ("a", b.array(INT, 0), 0)),
        struct("s", "int a[0]", "long : 24", packed=True),
    ),
    "inside packed": (
        lambda b: b.struct("t", 6, ("x", b.struct("s", 5, ("a", CHAR, 0), ("b", INT, 8)), 8)),
        struct("s", "char a", "int b", packed=True) + struct("t", "long : 8", "struct s x"),
    ),
    "bit-fields": (
        lambda b: b.struct("s", 8, ("a", INT, 0, 3), ("b", INT, 3, 5), ("c", INT, 32, 32)),
        struct("s", "int a : 3", "int b : 5", "int c : 32"),
    ),
    "bit-fields of the next unit": (
        lambda b: b.struct("s", 8, ("a", INT, 0, 30), ("b", INT, 32, 5)),
        struct("s", "int a : 30", "int b : 5"),
    ),
    "bit-fields over units": (
        lambda b: b.struct("s", 5, ("a", INT, 0, 30), ("b", INT, 30, 10)),
        struct("s", "int a : 30", "int b : 10", packed=True),
    ),
    "hole of bits": (
        lambda b: b.struct("s", 4, ("a", INT, 0, 3), ("b", INT, 10, 5)),
        struct("s", "int a : 3", "long : 7", "int b : 5"),
    ),
    "bit-fields without a name": (
        lambda b: b.struct("s", 4, ("a", CHAR, 0), ("", INT, 8, 5), ("b", INT, 13, 3)),
        struct("s", "char a", "int : 5", "int b : 3"),
    ),
    "old bit-fields": (old_pahole, struct("s", "int a : 3", "int b : 5")),
    "flexible array": (
        lambda b: b.struct("s", 4, ("n", INT, 0), ("tail", b.array(CHAR, 0), 32)),
        struct("s", "int n", "char tail[0]"),
    ),
    "without names": (
        nested,
        lines(
            "struct s {",
            "\tunion {",
            "\t\tstruct {",
            "\t\t\tint a;",
            "\t\t\tint b;",
            "\t\t};",
            "\t\tunsigned long long whole;",
            "\t};",
            "\tstruct {",
            "\t\tint a;",
            "\t\tint b;",
            "\t} named;",
            "};",
        ),
    ),
    "with a tag in place": (
        lambda b: b.struct("s", 4, ("", b.struct("t", 4, ("a", INT, 0)), 0)),
        struct("t", "int a") + lines("struct s {", "\tstruct {", "\t\tint a;", "\t};", "};"),
    ),
    "padding in place": (
        lambda b: b.struct("s", 8, ("", b.struct("", 8, ("a", INT, 0)), 0)),
        lines("struct s {", "\tstruct {", "\t\tint a;", "\t\tlong : 32;", "\t};", "};"),
    ),
    "what C has no words for": (
        lambda b: b.struct(
            "s",
            24,
            *[("none", 0, 0, 0), ("f", b.func_proto(0), 32, 0), ("", INT, 64, 0)],
            ("p", b.ptr(0), 64),
            *[("wide", INT, 128, 33), ("bits", b.ptr(0), 128, 3), ("n", b.array(0, 9), 128, 0)],
            ("last", INT, 160, 0),
        ),
        struct("s", "long : 64", "void *p", "long : 32", "int last"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), STRUCTS.values(), ids=STRUCTS)
def test_a_struct_has_its_bytes_where_btf_has_them(make: Make, expected: str) -> None:
    """By padding, or packed; nothing else can be said in C without attributes on members."""
    assert text(make) == expected


# ---- enumerations -----------------------------------------------------------------------------


def enum(name: str, *values: str, mode: str = "") -> str:
    body = "".join(f"\t{value},\n" for value in values)
    return f"enum {name}{{\n{body}}}{f' __attribute__((mode({mode})))' if mode else ''};\n"


ENUMS: dict[str, tuple[Make, str]] = {
    "plain": (lambda b: b.enum("e", {"A": 0, "B": 7}), enum("e ", "A = 0", "B = 7")),
    "negative": (
        lambda b: b.enum("e", {"A": -1, "B": -(1 << 31)}, signed=True),
        enum("e ", "A = -1", "B = -2147483648"),
    ),
    "unsigned": (lambda b: b.enum("e", {"A": 0xFFFFFFFF}), enum("e ", "A = 4294967295")),
    "wide": (
        lambda b: b.enum64("e", {"A": 1 << 63, "B": 1 << 32}),
        enum("e ", "A = 9223372036854775808ULL", "B = 4294967296LL"),
    ),
    "wide and negative": (
        lambda b: b.enum64("e", {"A": -(1 << 63), "B": -(1 << 40)}, signed=True),
        enum("e ", "A = (-9223372036854775807LL - 1)", "B = -1099511627776LL"),
    ),
    "small": (lambda b: b.enum("e", {"A": 1}, size=1), enum("e ", "A = 1", mode="QI")),
    "short": (lambda b: b.enum("e", {"A": 1}, size=2), enum("e ", "A = 1", mode="HI")),
    "wide without need": (lambda b: b.enum64("e", {"A": 1}), enum("e ", "A = 1", mode="DI")),
    "narrow without need": (
        lambda b: b.enum("e", {"A": -1, "B": 0x7FFFFFFF}, signed=True),
        enum("e ", "A = -1", "B = 2147483647"),
    ),
    "declared only": (lambda b: b.enum("e", {}), "enum e;\n"),
    "without a name": (lambda b: b.enum("", {"A": 1}), enum("", "A = 1")),
    "without a name or values": (lambda b: b.enum("", {}), ""),
    "without a name, used": (
        lambda b: b.struct("s", 4, ("a", b.enum("", {"A": 1}), 0)),
        lines("struct s {", "\tenum {", "\t\tA = 1,", "\t} a;", "};"),
    ),
    "bool": (
        lambda b: b.enum("", {"false": 0, "true": 1}),
        "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\n"
        + enum("", "false = 0", "true = 1")
        + "#endif\n",
    ),
}


@pytest.mark.parametrize(("make", "expected"), ENUMS.values(), ids=ENUMS)
def test_an_enumeration_has_its_size_and_values(make: Make, expected: str) -> None:
    """Of any width; what nothing refers to is there for its values."""
    assert text(make) == expected


# ---- names ------------------------------------------------------------------------------------

NAMES: dict[str, tuple[Make, str]] = {
    "typedef": (lambda b: b.typedef("t", INT), "typedef int t;\n"),
    "typedef of void": (lambda b: b.typedef("t", 0), "typedef void t;\n"),
    "typedef of an array": (lambda b: b.typedef("t", b.array(INT, 2)), "typedef int t[2];\n"),
    "typedef of a function": (
        lambda b: b.typedef("t", b.func_proto(INT, ("a", INT))),
        "typedef int t(int a);\n",
    ),
    "tags and typedefs of one name": (
        lambda b: b.typedef("s", b.struct("s", 4, ("a", INT, 0))),
        struct("s", "int a") + "typedef struct s s;\n",
    ),
    "two structs of one name": (
        lambda b: (b.struct("s", 4, ("a", INT, 0)), b.struct("s", 1, ("a", CHAR, 0))),
        struct("s", "int a") + struct("s___2", "char a"),
    ),
    "all tags are of one space": (
        lambda b: (b.struct("s", 0), b.union("s", 0), b.enum("s", {"A": 1})),
        "struct s {};\nunion s___2 {};\n" + enum("s___3 ", "A = 1"),
    ),
    "a flavour that is taken": (
        lambda b: (b.struct("s___2", 0), b.struct("s", 0), b.struct("s", 0), b.struct("s", 0)),
        "struct s___2 {};\nstruct s {};\nstruct s___3 {};\nstruct s___4 {};\n",
    ),
    "enumerators and typedefs": (
        lambda b: (b.enum("e", {"A": 1}), b.enum("f", {"A": 2}), b.typedef("A", INT)),
        enum("e ", "A = 1") + enum("f ", "A___2 = 2") + "typedef int A___3;\n",
    ),
    "a compiler's own": (
        lambda b: b.typedef("__builtin_va_list", b.array(INT, 1)),
        "typedef int __builtin_va_list___2[1];\n",
    ),
    "keywords": (
        lambda b: b.struct("int", 8, ("while", INT, 0), ("_Alignas", INT, 32)),
        struct("int_", "int while_", "int _Alignas_"),
    ),
    "other languages": (
        lambda b: b.struct("core::Option<u8>", 8, ("0", INT, 0), ("größe", INT, 32)),
        struct("core__Option_u8_", "int _0", "int gr__e"),
    ),
    "bytes that are no text": (
        lambda b: b.struct("a\udcff", 4, ("a-b", INT, 0)),
        struct("a_", "int a_b"),
    ),
    "a parameter that hides a type": (
        lambda b: b.typedef("f", b.func_proto(0, ("u32", b.typedef("u32", INT)), ("b", 4))),
        "typedef int u32;\ntypedef void f(u32, u32 b);\n",
    ),
    "no name at all": (
        lambda b: b.struct("s", 8, ("a", b.ptr(b.fwd("")), 0)),
        "struct unnamed;\n" + struct("s", "struct unnamed *a"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), NAMES.values(), ids=NAMES)
def test_names_are_c_s_and_differ(make: Make, expected: str) -> None:
    """The first of a name keeps it, the second gets a flavour that CO-RE does not see."""
    assert text(make) == expected


# ---- order ------------------------------------------------------------------------------------


def cycle(b: Builder) -> None:
    # struct a { struct b *b; }; struct b { struct a a; a_t *more; }; typedef struct a a_t;
    b.struct("a", 8, ("b", 7, 0))
    b.struct("b", 16, ("a", 4, 0), ("more", 8, 64))
    b.typedef("a_t", 4)
    b.ptr(5)
    b.ptr(6)


def late(b: Builder) -> None:
    # Needs come behind those who need them.
    b.struct("outer", 8, ("x", 5, 0), ("e", 7, 32))
    b.typedef("inner_t", 6)
    b.struct("inner", 4, ("a", INT, 0))
    b.enum("e", {"A": 1})


def left_over(b: Builder) -> None:
    # Declarations that tools did not merge with their definition.
    b.struct("s", 24, ("p", b.ptr(b.fwd("t")), 0), ("q", b.ptr(b.fwd("t")), 64), ("r", 11, 128))
    b.struct("t", 4, ("a", INT, 0))
    b.ptr(b.fwd("t", union=True))


ORDER: dict[str, tuple[Make, str]] = {
    "cycle": (
        cycle,
        "struct b;\n"
        + struct("a", "struct b *b")
        + "typedef struct a a_t;\n"
        + struct("b", "struct a a", "a_t *more"),
    ),
    "itself": (
        lambda b: b.struct("list", 8, ("next", b.ptr(5), 0)),
        struct("list", "struct list *next"),
    ),
    "late": (
        late,
        "struct inner;\ntypedef struct inner inner_t;\n"
        + struct("inner", "int a")
        + enum("e ", "A = 1")
        + struct("outer", "inner_t x", "enum e e"),
    ),
    "typedef of a typedef of a struct": (
        lambda b: (
            b.typedef("t", b.typedef("u", 6)),
            b.struct("s", 4, ("a", INT, 0)),
            b.struct("o", 8, ("x", 5, 0), ("y", b.array(5, 0), 64)),
        ),
        "struct s;\ntypedef struct s u;\n" + struct("s", "int a") + "typedef u t;\n"
        + struct("o", "t x", "long : 32", "t y[0]"),
    ),
    "behind functions": (
        lambda b: b.struct(
            "s", 8, ("f", b.ptr(b.func_proto(b.ptr(b.fwd("r")), ("", b.ptr(b.fwd("p"))))), 0)
        ),
        "struct r;\nstruct p;\n" + struct("s", "struct r *(*f)(struct p *)"),
    ),
    "left over": (
        left_over,
        "struct t;\nunion t___2;\n"
        + struct("s", "struct t *p", "struct t *q", "union t___2 *r")
        + struct("t", "int a"),
    ),
    "declared": (lambda b: (b.fwd("s"), b.fwd("u", union=True)), "struct s;\nunion u;\n"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), ORDER.values(), ids=ORDER)
def test_what_is_needed_stands_before(make: Make, expected: str) -> None:
    """A name for a pointer, all of it for a member; in the order of ids otherwise."""
    assert text(make) == expected


# ---- what to write ----------------------------------------------------------------------------


def test_asked_for_some_it_writes_those_and_their_needs() -> None:
    """Functions, variables and whole sections too; what has no declaration brings its needs."""
    builder = Builder()
    first = builder.struct("s", 4, ("a", INT, 0))
    other = builder.struct("other", 4, ("a", INT, 0))
    proto = builder.func_proto(INT, ("s", builder.ptr(first)))
    func = builder.func("f", proto, 2)
    var = builder.var("v", first)
    section = builder.datasec(".ksyms", 4, (var, 0, 4), (func, 0, 0))
    unnamed = builder.union("", 4, ("a", INT, 0))
    nothing = builder.enum("", {})
    pointer = builder.ptr(other)
    btf = Btf.decode(builder.build())
    declared = "extern struct s v;\n\n"
    defined = "struct s {\n\tint a;\n};\n\n"
    assert list(dump(btf, [func])) == ["struct s;\n\n", "extern int f(struct s *s);\n\n"]
    assert list(dump(btf, [var])) == [defined, declared]
    assert list(dump(btf, [section]))[1:] == [declared, "extern int f(struct s *s);\n\n"]
    assert list(dump(btf, [unnamed])) == ["union {\n\tint a;\n};\n\n"]
    assert list(dump(btf, [nothing, INT, 0])) == []
    assert list(dump(btf, [pointer])) == ["struct other;\n\n"]
    assert list(dump(btf, [first, first])) == [defined]
    with pytest.raises(BtfError, match="no type 99"):
        list(dump(btf, [99]))


def test_split_btf_is_written_with_what_it_needs_of_its_base() -> None:
    """And nothing else of the base."""
    base = Builder()
    base.struct("needed", 4, ("a", INT, 0))
    base.struct("not_needed", 4, ("a", INT, 0))
    kernel = Btf.decode(base.build())
    module = BtfBuilder(ids=len(kernel), strings=kernel.strings_length)
    pointer = module.ptr(module.add(wire.FWD, "not_needed"))
    module.struct("of_module", 16, ("x", 4, 0), ("p", pointer, 64))
    split = Btf.decode(module.build(), base=kernel)
    assert "".join(dump(split)).replace("\n\n", "\n") == (
        "struct not_needed;\n"
        + struct("needed", "int a")
        + struct("of_module", "struct needed x", "struct not_needed *p")
    )


def kernel(b: Builder) -> None:
    proto = b.func_proto(INT, ("t", b.ptr(b.struct("task", 4, ("pid", INT, 0)))))
    function = b.func("get_task", proto)
    b.add(wire.DECL_TAG, "bpf_kfunc", function, -1)
    b.add(wire.DECL_TAG, "bpf_kfunc", 6, -1)  # not a function
    b.add(wire.DECL_TAG, "bpf_kfunc", function, -1)
    b.func("not_tagged", proto)


def test_a_header_has_the_functions_for_programs() -> None:
    """Each once; and only what is tagged so."""
    header = "".join(vmlinux_h(made(kernel)))
    assert header.count("extern") == 1
    assert "extern int get_task(struct task *t) __weak __ksym;\n" in header
    assert header.startswith("#ifndef __VMLINUX_H__\n")
    assert header.endswith("#endif /* __VMLINUX_H__ */\n")


def test_a_header_without_such_functions_has_no_room_for_them() -> None:
    """As those of kernels before Linux 6.10; nor has a module's for the kernel's own."""
    assert "__ksym" not in "".join(vmlinux_h(made(lambda b: b.struct("s", 0))))
    base = made(kernel)
    module = BtfBuilder(ids=len(base), strings=base.strings_length)
    module.struct("s", 0)
    assert "__ksym" not in "".join(vmlinux_h(Btf.decode(module.build(), base=base)))


def test_kinds_of_tomorrow_are_bytes() -> None:
    """Members, and what they are behind; the rest is written."""
    builder = Builder()
    new = builder.add(100, "new", 4, 1, vlen=1)
    function = builder.ptr(builder.func_proto(INT, ("", new)))
    members = [("a", CHAR, 0), ("b", new, 32), ("p", builder.ptr(new), 64), ("f", function, 128)]
    builder.struct("s", 24, *members)
    layout = [(0, 0), (4, 0), *[(0, 0)] * 98, (0, 4)]
    assert "".join(dump(Btf.decode(builder.build(layout=layout)))).replace("\n\n", "\n") == struct(
        "s", "char a", "void *p", "int (*f)()"
    )


# ---- compiled ---------------------------------------------------------------------------------


# Of "what C has no words for".
NO_MEMBER = re.compile("struct s, (none|f|n|wide|bits)\\)")


def scalar(kind: str, name: str, size: int, *encoding: int) -> Btf:
    builder = Builder()
    builder.struct("s", size, ("a", getattr(builder, kind)(name, size, *encoding), 0))
    return Btf.decode(builder.build())


def all_texts() -> Iterator[str]:
    """Declarations with what must hold for them."""
    for make, _ in [*STRUCTS.values(), *ENUMS.values(), *ORDER.values()]:
        btf = made(make)
        checks = [line for line in assertions(btf) if not NO_MEMBER.search(line)]
        yield "".join(dump(btf)) + "\n".join(checks)
    for make, _ in NAMES.values():
        yield text(make)
    for number, (declared, _) in enumerate(DECLARED.values()):
        builder = Builder()
        variable = builder.var(f"x{number}", declared(builder))
        yield "".join(dump(Btf.decode(builder.build()), [variable]))
    for name, (size, encoding, _) in SCALARS.items():
        btf = scalar("int", name, size, encoding)
        yield "".join(dump(btf)) + "\n".join(assertions(btf))
    for name, size in FLOATS:
        btf = scalar("float", name, size)
        yield "".join(dump(btf)) + "\n".join(assertions(btf))


def test_a_compiler_takes_all_of_it(tmp_path: pathlib.Path) -> None:
    """With the sizes and offsets of the BTF, by C11 and C23; each text is a block of its own."""
    path = tmp_path / "x.c"
    blocks = [f"void f{number}(void)\n{{\n{one}\n}}\n" for number, one in enumerate(all_texts())]
    path.write_text("".join(blocks))
    for standard in ("gnu11", "gnu2x"):
        command = [clang(), "-target", "bpf", "-fsyntax-only", f"-std={standard}", "-Werror"]
        command += ["-Wno-missing-declarations", "-Wno-visibility", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stderr == ""


# ---- malformed --------------------------------------------------------------------------------


def many(b: Builder) -> None:
    b.struct("s", 4 * 65535, *[(f"m{number}", INT, number * 32) for number in range(65535)])


def chain(b: Builder) -> None:
    for _ in range(5000):
        b.struct("s", 8, ("a", b.next_id + 1, 0))


def deep_pointers(b: Builder) -> None:
    for _ in range(5000):
        b.ptr(b.next_id + 1)
    b.struct("s", 8, ("a", 4, 0))


def tree(b: Builder, width: int = 9, depth: int = 20) -> None:
    # Each prototype takes the next, several times: 9 ** 20 parameters.
    inner = INT
    for _ in range(depth):
        inner = b.ptr(b.func_proto(INT, *[("", inner)] * width))
    b.typedef("t", inner)


def unnamed_tree(b: Builder) -> None:
    inner = b.struct("", 4, *[("", INT, 0, 1)] * 9)
    for _ in range(20):
        inner = b.struct("", 4, *[("", inner, 0)] * 9)
    b.struct("s", 4, ("", inner, 0))


def unnamed_enums(b: Builder) -> None:
    wide = b.enum("", {f"E{number}": 0 for number in range(5000)})
    b.struct("s", 20000, *[(f"m{number}", wide, number * 32) for number in range(5000)])


def wide_in_many(b: Builder) -> None:
    # A struct without a name with many members, in many structs.
    wide = b.struct("", 0, *[("m", INT, 0)] * 5000)
    for _ in range(200):
        b.struct("s", 0, ("a", wide, 0))


def forward(b: Builder) -> None:
    for number in range(5000):
        b.fwd("same", union=number % 2 == 0)
        b.typedef("t", b.next_id - 1)


HOSTILE: dict[str, tuple[Make, str | None]] = {
    "65535 members": (many, None),
    "a struct that is its own member": (lambda b: b.struct("s", 8, ("a", 4, 0)), None),
    "its own nameless member": (lambda b: b.struct("s", 8, ("", 4, 0)), "more than 32 deep"),
    "nameless in itself": (
        lambda b: (b.struct("", 8, ("", 4, 0)), b.struct("s", 8, ("a", 4, 0))),
        "more than 32 deep",
    ),
    "structs in each other": (
        lambda b: (b.struct("a", 8, ("x", 5, 0)), b.struct("b", 8, ("x", 4, 0))),
        None,
    ),
    "a struct in a struct in a ...": (chain, "no type"),
    "typedef of itself": (lambda b: b.typedef("t", 4), None),
    "typedefs of each other": (lambda b: (b.typedef("t", 5), b.typedef("u", 4)), None),
    "typedef of itself in a struct": (
        lambda b: (b.typedef("t", 4), b.struct("s", 4, ("a", 4, 0))),
        None,
    ),
    "const of itself": (
        lambda b: (b.const(4), b.struct("s", 4, ("a", b.ptr(4), 0))),
        "more than 32 deep",
    ),
    "array of itself": (
        lambda b: (b.array(4, 1 << 31), b.struct("s", 4, ("a", b.ptr(4), 0), ("b", 4, 0))),
        None,
    ),
    "pointer to itself": (
        lambda b: (b.ptr(4), b.struct("s", 8, ("a", 4, 0))),
        "more than 32 deep",
    ),
    "function of itself": (
        lambda b: (b.func_proto(5, ("a", 5)), b.ptr(4), b.typedef("t", 5)),
        "more than 32 deep",
    ),
    "pointers without end": (deep_pointers, "more than 32 deep"),
    "functions of functions": (tree, "unfold to too many"),
    "structs of structs": (unnamed_tree, "unfold to too many"),
    "enumerators everywhere": (unnamed_enums, "unfold to too many"),
    "members everywhere": (wide_in_many, "unfold to too many"),
    "declarations of one name": (forward, None),
    "no such type": (lambda b: b.struct("s", 8, ("a", 99, 0)), "no type 99"),
    "a function that is none": (lambda b: b.func("f", INT), None),
    "a variable of nothing": (lambda b: b.var("v", 0), None),
    "a section of itself": (lambda b: b.datasec(".x", 4, (4, 0, 4)), None),
    "members over each other": (
        lambda b: b.struct("s", 2, ("a", U64, 64), ("b", U64, 0), ("c", INT, 7)),
        None,
    ),
    "the largest array": (
        lambda b: b.struct("s", 4, ("a", b.array(b.array(U64, (1 << 32) - 1), (1 << 32) - 1), 0)),
        None,
    ),
    "an enum of three bytes": (lambda b: b.enum("e", {"A": 1}, size=3), None),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_malformed_types_end_as_text_or_an_error(make: Make, expected: str | None) -> None:
    """Soon, and without Python's own limits."""
    btf = made(make)
    started = time.process_time()
    if expected is None:
        "".join(vmlinux_h(btf))
    else:
        with pytest.raises(BtfError, match=expected):
            "".join(vmlinux_h(btf))
    assert time.process_time() - started < 20


def test_a_section_in_a_section_is_an_error() -> None:
    """It has variables and functions only."""
    btf = made(lambda b: b.datasec(".x", 4, (4, 0, 4)))
    with pytest.raises(BtfError, match=r"section '\.x' has no variable at 0"):
        list(dump(btf, [4]))
