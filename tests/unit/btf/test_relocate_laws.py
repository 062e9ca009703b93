"""CO-RE by laws, over types nobody thought of.

Structs are drawn twice with members of the same names, as a program knows them and as a kernel has
them: in another order, of other types, some in anonymous structs and unions. Where a number is the
answer, it is held against what clang says of the kernel's, in both byte orders.
"""

from __future__ import annotations

import random
import struct
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pyebpf.btf.btf import Btf
from pyebpf.btf.ext import decode_ext
from pyebpf.btf.relocate import relocate
from pyebpf.uapi.btf import CoreReloKind as Kind
from tests.support import btf_wire
from tests.support.c_types import Object, compile_bpf

# Two compilations for each example: few of them, and no search for a smaller one.
RUNS_CLANG = settings(max_examples=3, phases=[Phase.explicit, Phase.generate])
ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])


class Note(NamedTuple):
    slot: int
    type_id: int
    access: str
    kind: int


class Function(NamedTuple):
    """A compiled function and what clang noted about it."""

    code: bytes
    notes: list[Note]


def functions(made: Object) -> dict[str, Function]:
    """Return the functions of an object by section, those without notes left out."""
    btf = Btf.decode(made.btf)
    tables = decode_ext(made.sections[".BTF.ext"], btf).core_relocations
    return {
        name.removeprefix("f/"): Function(
            made.sections[name], [Note(note.offset // 8, *note[1:]) for note in table]
        )
        for name, table in tables.items()
    }


# ---- structs of clang's, as a program and as a kernel has them -----------------------------------

# What C calls them, bits and sign; any of these may stand for any other.
NUMBERS = {
    "unsigned char {}": (8, False),
    "signed char {}": (8, True),
    "unsigned short {}": (16, False),
    "int {}": (32, True),
    "unsigned {}": (32, False),
    "long {}": (64, True),
    "unsigned long {}": (64, False),
    "unsigned {}:1": (1, False),
    "unsigned char {}:3": (3, False),
    "unsigned short {}:9": (9, False),
    "int {}:13": (13, True),
    "long {}:2": (2, True),
    "unsigned long {}:33": (33, False),
    "int {}:32": (32, True),
}
FAMILIES = (
    tuple(NUMBERS),
    tuple(NUMBERS),
    ("void *{}", "struct other *{}", "int (*{})(int)"),
    ("int {}[2]", "unsigned char {}[5]", "long {}[1]", "short {}[7]"),
    ("struct inner {}", "union {{ int x; long y; }} {}", "struct {{ char z[3]; }} {}"),
    ("enum state {}",),
)
WRAPS = (
    "{}",
    "struct {{ {} }};",
    "union {{ {} }};",
    "char p{}; struct {{ long q{}; union {{ {} }}; }};",
)
PROLOGUE = """
struct inner { short a; char b; }; enum state { RUNNING = 1, DEAD = -1 };
#define FUNCTION(name) __attribute__((section("f/" #name), used)) unsigned long name
#define INFO(field, what) __builtin_preserve_field_info(field, what)
#define AT(name) __attribute__((section("v/" #name)))
#pragma clang diagnostic ignored "-Weverything"
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
"""
POP = "\n#pragma clang attribute pop\n"
VALUE = 0x5A3C_96F0_0FC3_5A7B


class Drawn(NamedTuple):
    """Declarations by member in a program, the same in a kernel, and the kernel's whole body."""

    local: dict[str, str]
    target: dict[str, str]
    body: str


@st.composite
def structs(draw: st.DrawFn) -> Drawn:
    families = {name: draw(st.sampled_from(FAMILIES)) for name in "abcdef"}
    local, target = (
        {name: draw(st.sampled_from(family)) for name, family in families.items()} for _ in "12"
    )
    order = draw(st.permutations(list(target)))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1), max_size=3)))
    body = ""
    for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        members = " ".join(f"{target[name].format(name)};" for name in order[start:end])
        wrap = draw(st.sampled_from(WRAPS))
        body += wrap.format(*[start] * (wrap.count("{}") - 1), members)
    return Drawn(local, target, body)


def kinds(declaration: str) -> range:
    """Return what clang lets ask of such a member: sign and shifts only of numbers."""
    return range(6 if declaration in NUMBERS else 3)


def as_program(drawn: list[Drawn]) -> str:
    """Return C with a function for each question about each member."""
    text = PROLOGUE
    for number, one in enumerate(drawn):
        # clang refuses some bit-fields that do not begin where a word does.
        members = "".join(
            f"long before_{name}; {declaration.format(name)}; "
            for name, declaration in one.local.items()
        )
        text += f"struct t{number} {{ {members}}};\n"
    text += POP
    for number, one in enumerate(drawn):
        for name in one.local:
            for kind in kinds(one.local[name]):
                text += (
                    f"FUNCTION(t{number}_{name}_{kind})(struct t{number} *t)"
                    f" {{ return INFO(t->{name}, {kind}); }}\n"
                )
        where = f"*(struct t{number} *)0"
        for name, question in (("size", "preserve_type_info"), ("id", "btf_type_id")):
            text += (
                f"FUNCTION(t{number}_{name})(void) {{ return __builtin_{question}({where}, 1); }}\n"
            )
    return text


def as_kernel(drawn: list[Drawn]) -> str:
    """Return C with a value for each number, and offset and size of each other member."""
    text = PROLOGUE + POP
    for number, one in enumerate(drawn):
        text += f"struct t{number} {{ {one.body} }};\n"
        text += f"AT(t{number}) struct t{number} v{number} = {{ 0 }};\n"
        for name, declaration in one.target.items():
            where = f"AT(t{number}_{name})"
            if declaration in NUMBERS:
                text += f"{where} struct t{number} v{number}{name} = {{ .{name} = {VALUE} }};\n"
                continue
            numbers = (
                f"__builtin_offsetof(struct t{number}, {name}),"
                f" sizeof(((struct t{number} *)0)->{name})"
            )
            text += f"struct t{number} s{number}{name};\n"
            text += f"{where} unsigned long n{number}{name}[2] = {{ {numbers} }};\n"
    return text


def constant(code: bytes, byteorder: str) -> int:
    """Return the immediate a function begins with."""
    found: int = struct.unpack_from("<i" if byteorder == "little" else ">i", code, 4)[0]
    return found


def read(data: bytes, byteorder: str, answers: list[int]) -> int:
    """Read a number as a program does with the six answers about it."""
    offset, size, _, signed, left, right = answers
    loaded = int.from_bytes(data.ljust(256, b"\0")[offset : offset + size], byteorder)  # type: ignore[arg-type]
    shifted = loaded << left & (1 << 64) - 1
    if signed and shifted >> 63:
        shifted -= 1 << 64
    return shifted >> right


def truncated(value: int, bits: int, signed: bool) -> int:
    """Return what C keeps of a value in so many bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> bits - 1 else value


@ORDERS
@RUNS_CLANG
@given(st.lists(structs(), min_size=8, max_size=8))
def test_answers_are_the_compilers(byteorder: str, drawn: list[Drawn]) -> None:
    """Numbers are read with them, offsets and sizes are what C computes."""
    ours, theirs = (compile_bpf(make(drawn), byteorder) for make in (as_program, as_kernel))
    local, target = Btf.decode(ours.btf), Btf.decode(theirs.btf)
    made = functions(ours)
    for number, one in enumerate(drawn):
        code, notes = made[f"t{number}_size"]
        size = constant(relocate(code, notes, local, [target], byteorder).code, byteorder)  # type: ignore[arg-type]
        assert size == len(theirs.sections[f"v/t{number}"])
        for name, declaration in one.target.items():
            answers = []
            for kind in kinds(declaration):
                code, notes = made[f"t{number}_{name}_{kind}"]
                done = relocate(code, notes, local, [target], byteorder)  # type: ignore[arg-type]
                assert not done.poisoned
                answers.append(constant(done.code, byteorder))
            data = theirs.sections[f"v/t{number}_{name}"]
            assert answers[2] == 1
            if declaration in NUMBERS:
                bits, signed = NUMBERS[declaration]
                assert read(data, byteorder, answers) == truncated(VALUE, bits, signed)
                assert answers[3] == signed
            else:
                wanted = struct.unpack("<2Q" if byteorder == "little" else ">2Q", data)
                assert tuple(answers[:2]) == wanted


@ORDERS
@RUNS_CLANG
@given(st.lists(structs(), min_size=8, max_size=8))
def test_its_own_types_change_nothing(byteorder: str, drawn: list[Drawn]) -> None:
    """But for what to read of a bit-field, which compilers choose as they like."""
    ours = compile_bpf(as_program(drawn), byteorder)
    local = Btf.decode(ours.btf)
    for name, (code, notes) in functions(ours).items():
        number, member, *_ = name[1:].split("_")
        if ":" not in drawn[int(number)].local.get(member, ""):
            done = relocate(code, notes, local, [local], byteorder)  # type: ignore[arg-type]
            assert done == (code, {})


def together(made: Object) -> Function:
    """Return all functions of an object as one."""
    code, notes = b"", []
    for function in functions(made).values():
        notes += [note._replace(slot=note.slot + len(code) // 8) for note in function.notes]
        code += function.code
    return Function(code, notes)


@ORDERS
@RUNS_CLANG
@given(st.lists(structs(), min_size=8, max_size=8), st.randoms())
def test_code_is_a_function_of_the_types_alone(
    byteorder: str, drawn: list[Drawn], chance: random.Random
) -> None:
    """Not of their ids, nor of the order of the notes."""
    ours, theirs = (compile_bpf(make(drawn), byteorder) for make in (as_program, as_kernel))
    local, target = Btf.decode(ours.btf), Btf.decode(theirs.btf)
    ids = list(range(1, len(target)))
    chance.shuffle(ids)
    other = Btf.decode(btf_wire.renumbered(theirs.btf, ids, byteorder))
    code, notes = together(ours)
    done = relocate(code, notes, local, [target], byteorder)  # type: ignore[arg-type]
    chance.shuffle(notes)
    again = relocate(code, notes, local, [other], byteorder)  # type: ignore[arg-type]
    assert again.poisoned == done.poisoned == {}
    wanted = bytearray(done.code)
    for slot, *_, kind in notes:
        if kind == Kind.TYPE_ID_TARGET:
            place = struct.Struct("<i" if byteorder == "little" else ">i")
            (number,) = place.unpack_from(wanted, slot * 8 + 4)
            place.pack_into(wanted, slot * 8 + 4, ids[number - 1])
    assert again.code == wanted


@RUNS_CLANG
@given(st.lists(structs(), min_size=8, max_size=8))
def test_byte_order_is_only_how_numbers_are_written(drawn: list[Drawn]) -> None:
    """Swapped code against swapped types is the result, swapped; but for shifts of bit-fields."""
    ours, theirs = (compile_bpf(make(drawn)).btf for make in (as_program, as_kernel))
    code, notes = together(compile_bpf(as_program(drawn)))
    notes = [note for note in notes if note.kind != Kind.FIELD_LSHIFT_U64]
    little = relocate(code, notes, Btf.decode(ours), [Btf.decode(theirs)], "little")
    local, target = (Btf.decode(btf_wire.swapped_btf(data)) for data in (ours, theirs))
    big = relocate(btf_wire.swapped_code(code), notes, local, [target], "big")
    assert big == (btf_wire.swapped_code(little.code), little.poisoned)
