"""Well-formed BTF of any shape, for property tests: types within types, as compilers make them.

    types("little").map(...) ──▶ (Btf, id of a type that has values)

Hypothesis is slow to import, so only tests that use it import this.
"""

from __future__ import annotations

from hypothesis import strategies as st

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode

INTS = [
    ("unsigned char", 1, 0),
    ("signed char", 1, 1),
    ("char", 1, 0),
    ("short", 2, 1),
    ("unsigned short", 2, 0),
    ("int", 4, 1),
    ("unsigned int", 4, 0),
    ("long", 8, 1),
    ("unsigned long", 8, 0),
    ("__int128", 16, 1),
    ("_Bool", 1, 4),
]
FLOATS = [("float", 4), ("double", 8)]
NAMES = [f"m{number}" for number in range(8)]


class _Builder:
    """Puts types one after another; a type's parts come before it."""

    def __init__(self, draw: st.DrawFn, floats: bool) -> None:
        self.draw = draw
        self.types: list[t.Type] = []
        self.sizes: dict[int, int] = {}
        self.kinds = ["int", "enum", "pointer"] + (["float"] if floats else [])

    def add(self, one: t.Type, size: int) -> int:
        self.types.append(one)
        self.sizes[len(self.types)] = size
        return len(self.types)

    def any(self, depth: int) -> int:
        parts = ["array", "struct", "union", "typedef", "const"] if depth else []
        kind = self.draw(st.sampled_from(self.kinds + parts))
        return getattr(self, kind)(depth - 1)

    def int(self, _: int) -> int:
        name, size, encoding = self.draw(st.sampled_from(INTS))
        return self.add(t.Int(name, size, encoding), size)

    def float(self, _: int) -> int:
        name, size = self.draw(st.sampled_from(FLOATS))
        return self.add(t.Float(name, size), size)

    def enum(self, _: int) -> int:
        size = self.draw(st.sampled_from([1, 2, 4, 8]))
        signed = self.draw(st.booleans())
        low = -(1 << size * 8 - 1) if signed else 0
        value = st.integers(low, low + (1 << size * 8) - 1)
        values = self.draw(st.lists(value, min_size=1, max_size=4, unique=True))
        items = tuple(t.Enumerator(f"E{n}", value) for n, value in enumerate(values))
        make = t.Enum64 if size == 8 else t.Enum
        return self.add(make("e", size, signed, items), size)

    def pointer(self, _: int) -> int:
        return self.add(t.Ptr(0), 8)

    def typedef(self, depth: int) -> int:
        inner = self.any(depth)
        return self.add(t.Typedef("alias", inner), self.sizes[inner])

    def const(self, depth: int) -> int:
        inner = self.any(depth)
        return self.add(t.Const(inner), self.sizes[inner])

    def array(self, depth: int) -> int:
        element = self.any(depth)
        index = self.add(t.Int("int", 4, 1), 4)
        length = self.draw(st.integers(0, 5))
        return self.add(t.Array(element, index, length), self.sizes[element] * length)

    def struct(self, depth: int) -> int:
        members, place = [], 0
        for name in NAMES[: self.draw(st.integers(0, 5))]:
            if self.draw(st.booleans()):
                width = self.draw(st.integers(1, 32))
                inner = self.add(t.Int("unsigned int", 4, self.draw(st.sampled_from([0, 1]))), 4)
                if place % 32 + width > 32:
                    place += -place % 32
                members.append(t.Member(name, inner, place, width))
                place += width
            else:
                inner = self.any(depth)
                place += -place % 8 + 8 * self.draw(st.sampled_from([0, 0, 1, 3]))
                members.append(t.Member(name, inner, place, 0))
                place += self.sizes[inner] * 8
        size = -(-place // 8) + self.draw(st.sampled_from([0, 0, 4]))
        return self.add(t.Struct("s", size, tuple(members), True), size)

    def union(self, depth: int) -> int:
        parts = [(name, self.any(depth)) for name in NAMES[: self.draw(st.integers(1, 3))]]
        size = max(self.sizes[inner] for _, inner in parts)
        members = tuple(t.Member(name, inner, 0, 0) for name, inner in parts)
        return self.add(t.Union("u", size, members, False), size)


@st.composite
def types(draw: st.DrawFn, byteorder: str = "little", *, floats: bool = True) -> tuple[Btf, int]:
    """Draw BTF and the id of a type in it."""
    builder = _Builder(draw, floats)
    wanted = builder.any(3)
    return Btf.decode(encode(builder.types, byteorder=byteorder)), wanted
