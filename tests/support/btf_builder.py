"""A BTF writer for tests, put together by hand: it shares nothing with `pyebpf.btf`.

Types go in one at a time and get the next id; `BtfBuilder.build` gives the blob. What the format
allows and no compiler writes can be made with `BtfBuilder.add`, and the header's options.
"""

from __future__ import annotations

import struct

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)

SIGNED, CHAR, BOOL = 1, 2, 4


class BtfBuilder:
    """Collects types. For split BTF say how many ids and string bytes the base has."""

    def __init__(self, byteorder: str = "little", *, ids: int = 1, strings: int = 0) -> None:
        self.order = "<" if byteorder == "little" else ">"
        self.next_id = ids
        self.types = bytearray()
        self.strings = bytearray() if strings else bytearray(b"\0")
        self.strings_start = strings
        self.known = {"": 0}

    def string(self, text: str) -> int:
        """Return the offset of a string, added if it is new."""
        if text not in self.known:
            self.known[text] = self.strings_start + len(self.strings)
            self.strings += text.encode("utf-8", "surrogateescape") + b"\0"
        return self.known[text]

    def add(
        self,
        kind: int,
        name: str | int = "",
        value: int = 0,
        *extra: int,
        vlen: int = 0,
        kflag: bool = False,
    ) -> int:
        """Add a type: *value* is its size or type, *extra* the words behind; return its id."""
        offset = self.string(name) if isinstance(name, str) else name
        info = kflag << 31 | kind << 24 | vlen
        words = [word & 0xFFFFFFFF for word in (offset, info, value, *extra)]
        self.types += struct.pack(f"{self.order}{len(words)}I", *words)
        self.next_id += 1
        return self.next_id - 1

    def int(self, name: str, size: int, encoding: int = 0, bits: int = -1, offset: int = 0) -> int:
        bits = size * 8 if bits < 0 else bits
        return self.add(INT, name, size, encoding << 24 | offset << 16 | bits)

    def ptr(self, target: int) -> int:
        return self.add(PTR, "", target)

    def array(self, element: int, length: int, index: int = 1) -> int:
        return self.add(ARRAY, "", 0, element, index, length)

    def struct(self, name: str, size: int, *members: tuple, kind: int = STRUCT) -> int:
        """Members are (name, type, bit offset[, bits of a bit-field])."""
        kflag = any(len(member) == 4 for member in members)
        words = []
        for text, type_id, offset, *width in members:
            words += [self.string(text), type_id, (width[0] if width else 0) << 24 | offset]
        return self.add(kind, name, size, *words, vlen=len(members), kflag=kflag)

    def union(self, name: str, size: int, *members: tuple) -> int:
        return self.struct(name, size, *members, kind=UNION)

    def enum(self, name: str, values: dict[str, int], size: int = 4, signed: bool = False) -> int:
        words = [word for text, value in values.items() for word in (self.string(text), value)]
        return self.add(ENUM, name, size, *words, vlen=len(values), kflag=signed)

    def enum64(self, name: str, values: dict[str, int], signed: bool = False) -> int:
        words = []
        for text, value in values.items():
            words += [self.string(text), value, value >> 32]
        return self.add(ENUM64, name, 8, *words, vlen=len(values), kflag=signed)

    def typedef(self, name: str, target: int) -> int:
        return self.add(TYPEDEF, name, target)

    def func_proto(self, returns: int, *params: tuple[str, int]) -> int:
        words = [word for text, type_id in params for word in (self.string(text), type_id)]
        return self.add(FUNC_PROTO, "", returns, *words, vlen=len(params))

    def func(self, name: str, proto: int, linkage: int = 1) -> int:
        return self.add(FUNC, name, proto, vlen=linkage)

    def var(self, name: str, type_id: int, linkage: int = 1) -> int:
        return self.add(VAR, name, type_id, linkage)

    def datasec(self, name: str, size: int, *variables: tuple[int, int, int]) -> int:
        words = [word for variable in variables for word in variable]
        return self.add(DATASEC, name, size, *words, vlen=len(variables))

    def build(
        self,
        *,
        layout: list[tuple[int, int]] | None = None,
        header: int = 24,
        trailer: bytes = b"",
    ) -> bytes:
        """Return the blob; *layout* is (info_sz, elem_sz) by kind, *header* a longer length."""
        area = b""
        if layout is not None:
            header = max(header, 32)
            area = b"".join(struct.pack(f"{self.order}BBH", *sizes, 0) for sizes in layout)
        place = len(self.types)
        fields = [0, place, place + len(area), len(self.strings)]
        packed = struct.pack(f"{self.order}HBBI4I", 0xEB9F, 1, 0, header, *fields)
        if header >= 32:
            packed += struct.pack(f"{self.order}2I", place if area else 0, len(area))
        return bytes(packed.ljust(header, b"\0") + self.types + area + self.strings + trailer)
