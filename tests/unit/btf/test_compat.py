"""Which types count as the same, by each of the three measures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.compat import fields_compatible, types_compatible, types_match
from pyebpf.errors import BtfError
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder

Make = Callable[[BtfBuilder], int]


def proto(*params: int, returns: int = 1) -> Make:
    return lambda b: b.func_proto(returns, *((f"p{n}", kind) for n, kind in enumerate(params)))


# Types by name; 1 is int, 2 is unsigned, 3 is long in each BTF.
TYPES: dict[str, Make] = {
    "int": lambda _: 1,
    "unsigned": lambda _: 2,
    "long": lambda _: 3,
    "old bit-field": lambda b: b.int("int", 4, wire.SIGNED, 3, 2),
    "pointer to int": lambda b: b.ptr(1),
    "pointer to long": lambda b: b.ptr(3),
    "pointer to struct": lambda b: b.ptr(b.struct("s", 4, ("a", 1, 0))),
    "pointer to larger struct": lambda b: b.ptr(b.struct("s", 8, ("b", 3, 0))),
    "pointer to forward": lambda b: b.ptr(b.add(wire.FWD, "s")),
    "pointer to forward union": lambda b: b.ptr(b.add(wire.FWD, "s", kflag=True)),
    "pointer to union": lambda b: b.ptr(b.union("s", 4, ("a", 1, 0))),
    "forward": lambda b: b.add(wire.FWD, "s"),
    "forward union": lambda b: b.add(wire.FWD, "s", kflag=True),
    "forward of another": lambda b: b.add(wire.FWD, "other"),
    "struct": lambda b: b.struct("s", 4, ("a", 1, 0)),
    "struct of flavour": lambda b: b.struct("s___old", 4, ("a", 1, 0)),
    "larger struct": lambda b: b.struct("s", 8, ("b", 3, 0), ("a", 1, 64)),
    "union": lambda b: b.union("s", 4, ("a", 1, 0)),
    "enum": lambda b: b.enum("e", {"A": 1, "B": 2}),
    "larger enum": lambda b: b.enum("e", {"C": 0, "B": 5, "A___x": 6}),
    "anonymous enum": lambda b: b.enum("", {"A": 1, "B": 2}),
    "another enum": lambda b: b.enum("f", {"A": 1, "B": 2}),
    "64-bit enum": lambda b: b.enum64("e", {"A": 1, "B": 2}),
    "array": lambda b: b.array(1, 4),
    "longer array": lambda b: b.array(1, 5),
    "array of longs": lambda b: b.array(3, 4),
    "float": lambda b: b.add(wire.FLOAT, "float", 4),
    "void": lambda _: 0,
    "function": proto(1, 2),
    "function of one": proto(1),
    "function of longs": proto(3, 2),
    "function of a pointer": lambda b: b.func_proto(1, ("a", b.ptr(1)), ("b", 2)),
    "function that returns long": proto(1, 2, returns=3),
    "datasec": lambda b: b.datasec(".data", 0),
}

SAME = {(name, name) for name in TYPES}


def group(*names: str) -> set[tuple[str, str]]:
    return {(a, b) for a in names for b in names}


INTS = group("int", "unsigned", "long")
POINTERS = group(*(name for name in TYPES if name.startswith("pointer")))
ARRAYS = group("array", "longer array", "array of longs")
STRUCTS = group("struct", "struct of flavour", "larger struct")
FUNCTIONS = {name for name in TYPES if name.startswith("function")}
NAMED_ENUMS = group("enum", "larger enum", "64-bit enum")
ENUMS = NAMED_ENUMS | {
    pair
    for other in ("enum", "larger enum", "another enum", "64-bit enum", "anonymous enum")
    for pair in (("anonymous enum", other), (other, "anonymous enum"))
}

COMPATIBLE_FIELDS = (
    (SAME - {(name, name) for name in (*FUNCTIONS, "void", "old bit-field", "datasec")})
    | INTS
    | POINTERS
    | ARRAYS
    | group("struct", "struct of flavour", "larger struct", "union")
    | ENUMS
    | group("forward", "forward union")
)
COMPATIBLE_TYPES = (
    (SAME - {(name, name) for name in ("old bit-field", "float", "datasec")})
    | INTS
    | ARRAYS
    | STRUCTS
    | group("pointer to int", "pointer to long")
    | group("pointer to struct", "pointer to larger struct")
    | group("pointer to forward", "pointer to forward union")
    | group("enum", "larger enum", "anonymous enum", "another enum", "64-bit enum")
    | group("forward", "forward union", "forward of another")
    | group("function", "function of longs", "function that returns long")
)
POINTED = group("pointer to struct", "pointer to larger struct", "pointer to forward")
MATCHING = (
    (SAME - {("float", "float"), ("datasec", "datasec")})
    | POINTED
    | group("pointer to union", "pointer to forward union")
    | group("struct", "struct of flavour")
    | {("struct", "larger struct"), ("struct of flavour", "larger struct")}
    | {("enum", "larger enum"), ("int", "old bit-field"), ("old bit-field", "int")}
)


def pairs(measure: Callable[[Btf, int, Btf, int], bool]) -> set[tuple[str, str]]:
    builder = BtfBuilder()
    for name, size, encoding in (("int", 4, 1), ("unsigned int", 4, 0), ("long", 8, 1)):
        builder.int(name, size, encoding)
    ids = {name: make(builder) for name, make in TYPES.items()}
    btf = Btf.decode(builder.build())
    return {
        (ours, theirs)
        for ours, local in ids.items()
        for theirs, target in ids.items()
        if measure(btf, local, btf, target)
    }


def test_members_are_compatible_by_kind() -> None:
    """Sizes and signs may differ, names of enumerations and forward declarations may not."""
    assert pairs(fields_compatible) == COMPATIBLE_FIELDS


def test_types_are_compatible_by_shape() -> None:
    """Pointers, arrays and prototypes part by part, the rest by kind."""
    assert pairs(types_compatible) == COMPATIBLE_TYPES


def test_types_match_by_name_and_members() -> None:
    """The target has everything the local type has."""
    assert pairs(types_match) == MATCHING


@pytest.mark.parametrize("measure", [fields_compatible, types_compatible, types_match])
def test_qualifiers_and_typedefs_do_not_matter(
    measure: Callable[[Btf, int, Btf, int], bool],
) -> None:
    """Below the root, where kinds are compared as they are."""
    builder = BtfBuilder()
    builder.int("int", 4)
    plain = builder.ptr(1)
    qualified = builder.ptr(builder.typedef("t", builder.add(wire.CONST, "", 1)))
    btf = Btf.decode(builder.build())
    assert measure(btf, plain, btf, qualified)


def test_deep_types_are_errors() -> None:
    """Prototypes in prototypes, arrays in arrays, more than 32 levels."""
    builder = BtfBuilder()
    for number in range(1, 80, 2):
        builder.func_proto(0, ("f", number + 1))
        builder.ptr(number + 2)
    builder.func_proto(0)
    arrays = builder.next_id
    for number in range(arrays, arrays + 40):
        builder.array(number + 1, 1)
    builder.int("int", 4)
    btf = Btf.decode(builder.build())
    for measure in (types_compatible, types_match):
        with pytest.raises(BtfError, match="deep"):
            measure(btf, 1, btf, 1)
    with pytest.raises(BtfError, match="deep"):
        fields_compatible(btf, arrays, btf, arrays)
