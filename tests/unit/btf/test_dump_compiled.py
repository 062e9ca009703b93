r"""Structs of any shape, through clang, our text and clang again: the same sizes and places.

C, drawn --clang--> BTF --dump--> C --clang--> BTF
                     \______ must be equal _____/
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from pyebpf.btf.btf import Btf
from pyebpf.btf.dump import dump
from pyebpf.btf.types import Composite, Enumeration, Type
from pyebpf.uapi.btf import BtfKind
from tests.support.c_types import compile_bpf

SCALARS = {
    "char": 8, "signed char": 8, "short": 16, "unsigned short": 16, "int": 32,
    "unsigned": 32, "long": 64, "unsigned long long": 64, "_Bool": 1,
}  # fmt: skip
WIDE = ("float", "double", "__int128", "unsigned __int128", "void *", "tiny", "odd")
PROLOGUE = """
typedef int odd __attribute__((aligned(2)));
typedef unsigned char tiny;
enum byte { LOW = 1 } __attribute__((mode(QI)));
enum minus { MINUS = -5 };
enum wide { WIDE = 1LL << 40 };
struct nobody;
"""
SHAPES = ("{} {}", "{} {}[3]", "{} *{}", "{} *{}[2]", "{} (*{})[2]", "const {} {}")
FUNCTIONS = ("int (*{})(int, char *)", "struct nobody *(*{})(struct nobody *, ...)")
ENUMS = ("enum byte", "enum minus", "enum wide")


class Source:
    """Draws C structs; names are counted, as only shapes matter."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.names = 0
        self.structs: list[str] = []

    def name(self) -> str:
        self.names += 1
        return f"m{self.names}"

    def member(self, depth: int) -> str:
        kinds = ["scalar"] * 3 + ["bits"] * 3 + ["wide", "enum", "function", "zero"]
        kinds += ["struct"] * bool(self.structs) + ["nested"] * 2 * (depth < 3)
        kind = self.draw(st.sampled_from(kinds))
        if kind == "bits":
            scalar = self.draw(st.sampled_from(sorted(SCALARS)))
            width = self.draw(st.integers(1, SCALARS[scalar]))
            return f"{scalar} {self.name()} : {width};"
        if kind == "zero":
            scalar = self.draw(st.sampled_from(sorted(SCALARS)))
            return f"{scalar} : {self.draw(st.integers(0, SCALARS[scalar]))};"
        if kind == "nested":
            name = self.name() if self.draw(st.booleans()) else ""
            return f"{self.body(depth + 1)} {name};"
        if kind == "function":
            return self.draw(st.sampled_from(FUNCTIONS)).format(self.name()) + ";"
        choices = {"scalar": tuple(SCALARS), "wide": WIDE, "enum": ENUMS}.get(kind, self.structs)
        shape = self.draw(st.sampled_from(SHAPES))
        text = shape.format(self.draw(st.sampled_from(choices)), self.name())
        if self.draw(st.integers(0, 5)) == 0:
            text += f" __attribute__((aligned({self.draw(st.sampled_from([1, 2, 16, 64]))})))"
        return f"{text};"

    def body(self, depth: int, tag: str = "") -> str:
        word = self.draw(st.sampled_from(["struct", "struct", "union"]))
        count = self.draw(st.integers(1, 5))
        members = " ".join(self.member(depth) for _ in range(count))
        attributes = "__attribute__((packed))" if self.draw(st.integers(0, 4)) == 0 else ""
        if self.draw(st.integers(0, 4)) == 0:
            attributes += " __attribute__((aligned(32)))"
        return f"{word} {attributes} {tag} {{ {members} }}"

    def text(self) -> str:
        lines = [PROLOGUE]
        for number in range(self.draw(st.integers(5, 15))):
            body = self.body(0, f"s{number}")
            lines.append(f"{body};")
            self.structs.append(f"{body.split()[0]} s{number}")
        return "\n".join(lines) + "\n" + variables(self.structs)


def variables(tags: list[str]) -> str:
    """Return what makes clang write these types to BTF."""
    return "".join(f"{tag} v{number};\n" for number, tag in enumerate(tags))


@st.composite
def sources(draw: st.DrawFn) -> str:
    return Source(draw).text()


def places(btf: Btf, found: Composite, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, place and bits of all members, those of nameless structs too."""
    for member in found.members:
        place = start + member.bit_offset
        inner = btf.type(btf.strip(member.type))
        if isinstance(inner, Composite) and not inner.name:
            yield from places(btf, inner, place)
        if member.name and not member.name.startswith("__padding_"):
            size = 0 if member.bitfield_size else btf.size_of(member.type)
            yield member.name, place, member.bitfield_size or size


def shapes(btf: Btf) -> dict[str, object]:
    """Return what must be the same: of all types with a name of ours, by name."""
    found: dict[str, object] = {}
    for number in range(1, len(btf)):
        one: Type = btf.type(number)
        if isinstance(one, Composite) and one.name:
            found[one.name] = (one.kind, one.size, list(places(btf, one, 0)))
        if isinstance(one, Enumeration) and one.name:
            found[one.name] = (one.size, one.values)
    return found


def tags(btf: Btf) -> list[str]:
    kinds = {BtfKind.STRUCT: "struct", BtfKind.UNION: "union"}
    found = [btf.type(number) for number in range(1, len(btf)) if btf.kind(number) in kinds]
    return [f"{kinds[one.kind]} {one.name}" for one in found if one.name]


@given(sources(), st.sampled_from(["little", "big"]))
@settings(max_examples=15)
def test_what_clang_reads_in_our_text_is_what_it_wrote(source: str, byteorder: str) -> None:
    """Bit-fields, packed and aligned structs, each in each; both byte orders."""
    first = Btf.decode(compile_bpf(source, byteorder).btf)
    second = Btf.decode(compile_bpf("".join(dump(first)) + variables(tags(first)), byteorder).btf)
    assert shapes(second) == shapes(first)
