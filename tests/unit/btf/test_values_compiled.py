"""Values against compilers: what C initialises is what Python reads, and writes back.

clang lays out initialised globals in both byte orders; gcc says where members are.
"""

from __future__ import annotations

import json

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.records import Record
from pyebpf.btf.types import Composite
from pyebpf.btf.values import codec
from pyebpf.uapi.btf import BtfKind
from tests.support import programs
from tests.support.c_types import compile_bpf, run_native

TYPES = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef signed char s8; typedef long long s64;
enum state { RUNNING = 1, SLEEPING = 2, DEAD = -1 };
enum plain { ZERO, ONE, MANY = 0x80000000 };
enum wide { SMALL = 1, HUGE = 0x123456789abcULL };
enum __attribute__((packed)) tiny { LOW = 3, HIGH = 200 };
struct scalars { u8 a; s8 b; u16 c; short d; u32 e; int f; u64 g; s64 h; _Bool on; char letter;
                 float x; double y; void *where; unsigned __int128 big; __int128 minus; };
struct texts { char comm[16]; char full[4]; char empty[8]; char two[2][4]; u8 mac[6]; s8 deltas[3];
               _Bool flags[3]; u16 ports[4]; long matrix[2][3]; char odd[4]; };
struct enums { enum state s; enum plain p; enum wide w; enum tiny t; enum state unknown;
               enum state both[2]; };
struct bits { u32 a:3, b:7; int c:5, d:9; u8 e:4; enum state st:4; _Bool f:1; u64 g:33; int h;
              u16 :3; u16 i:9; unsigned __int128 dummy; u64 j:63; };
struct in { short a; char b; };
struct nested { struct in one; struct in many[2]; union { u32 v4; u8 v6[16]; };
                struct { int x; struct { int y; }; }; union { struct in named; u64 whole; } u; };
struct __attribute__((packed)) packed { u8 a; u32 b; u16 c:4, d:12; u64 e; u8 f:1; u32 g:30; };
struct empty {};
struct tail { int n; struct empty nothing; int more[0]; };
typedef struct { int only; } anonymous;
union onion { u32 word; u8 bytes[4]; struct in part; };
"""

# name: (C initialiser, what Python must see)
VALUES = {
    "scalars": (
        "{ 255, -128, 65535, -32768, 4000000000u, -2000000000, 0xffffffffffffffffull,"
        " -9000000000000000000ll, 1, 'x', 1.5f, -2.25, (void *)0x1234,"
        " ((unsigned __int128)1 << 100) + 5, -((__int128)1 << 90) }",
        {
            "a": 255,
            "b": -128,
            "c": 65535,
            "d": -32768,
            "e": 4000000000,
            "f": -2000000000,
            "g": (1 << 64) - 1,
            "h": -9000000000000000000,
            "on": True,
            "letter": ord("x"),
            "x": 1.5,
            "y": -2.25,
            "where": 0x1234,
            "big": (1 << 100) + 5,
            "minus": -(1 << 90),
        },
    ),
    "texts": (
        r'{ "bash\0junk", {"full"[0], "full"[1], "full"[2], "full"[3]}, "", {"ab", "cde"},'
        r" {1,2,3,4,5,255}, {-1,0,1}, {1,0,1}, {1,2,3,65535}, {{1,-2,3},{4,5,-6}},"
        r' "\xff\xc3\xa9" }',
        {
            "comm": "bash",
            "full": "full",
            "empty": "",
            "two": ("ab", "cde"),
            "mac": bytes([1, 2, 3, 4, 5, 255]),
            "deltas": (-1, 0, 1),
            "flags": (True, False, True),
            "ports": (1, 2, 3, 65535),
            "matrix": ((1, -2, 3), (4, 5, -6)),
            "odd": "\udcffé",
        },
    ),
    "enums": (
        "{ DEAD, MANY, HUGE, HIGH, 77, { SLEEPING, RUNNING } }",
        {
            "s": -1,
            "p": 0x80000000,
            "w": 0x123456789ABC,
            "t": 200,
            "unknown": 77,
            "both": (2, 1),
        },
    ),
    "bits": (
        "{ .a = 5, .b = 100, .c = -16, .d = 255, .e = 9, .st = DEAD, .f = 1, .g = 0x1ffffffffull,"
        " .h = -7, .i = 300, .dummy = 3, .j = 0x7000000000000001ull }",
        {
            "a": 5,
            "b": 100,
            "c": -16,
            "d": 255,
            "e": 9,
            "st": -1,
            "f": True,
            "g": 0x1FFFFFFFF,
            "h": -7,
            "i": 300,
            "dummy": 3,
            "j": 0x7000000000000001,
        },
    ),
    "nested": (
        "{ {1, 'a'}, {{2, 'b'}, {-3, 'c'}}, { .v6 = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16} },"
        " {10, {20}}, { .named = {-5, 'z'} } }",
        {
            "one": (1, ord("a")),
            "many": ((2, ord("b")), (-3, ord("c"))),
            "v4": {"little": 0x04030201, "big": 0x01020304},
            "v6": bytes(range(1, 17)),
            "x": 10,
            "y": 20,
            "u": {
                "little": ((-5, ord("z")), 0x7AFFFB),
                "big": ((-5, ord("z")), 0xFFFB7A0000000000),
            },
        },
    ),
    "packed": (
        "{ 1, 0xdeadbeef, 10, 3000, 0x1122334455667788ull, 1, 0x3fffffff }",
        {
            "a": 1,
            "b": 0xDEADBEEF,
            "c": 10,
            "d": 3000,
            "e": 0x1122334455667788,
            "f": 1,
            "g": 0x3FFFFFFF,
        },
    ),
    "tail": ("{ 4 }", {"n": 4, "nothing": (), "more": ()}),
}
OTHERS = {
    "anonymous": ("anonymous", "{ -4 }", {"only": -4}),
    "onion": (
        "union onion",
        "{ .bytes = {1,2,3,4} }",
        {
            "word": {"little": 0x04030201, "big": 0x01020304},
            "bytes": b"\1\2\3\4",
            "part": {"little": (0x0201, 3), "big": (0x0102, 3)},
        },
    ),
}
ALL = {
    **{name: (f"struct {name}", *rest) for name, rest in VALUES.items()},
    **OTHERS,
}
SOURCE = TYPES + "".join(
    f'__attribute__((section(".data.{name}"))) {c_type} v_{name} = {value};\n'
    for name, (c_type, value, _) in ALL.items()
)
ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])
NAMES = pytest.mark.parametrize("name", ALL)


def compiled(name: str, byteorder: str, compiler: str | None = None) -> tuple[Btf, int, bytes]:
    made = compile_bpf(SOURCE, byteorder, compiler)
    btf = Btf.decode(made.btf)
    return btf, btf.find(f"v_{name}", BtfKind.VAR), made.sections[f".data.{name}"]


def expected(name: str, byteorder: str) -> dict[str, object]:
    return {
        field: value[byteorder] if isinstance(value, dict) else value
        for field, value in ALL[name][2].items()
    }


@ORDERS
@NAMES
def test_python_sees_what_c_initialised(name: str, byteorder: str) -> None:
    """Field by field, in both byte orders."""
    btf, type_id, data = compiled(name, byteorder)
    record = codec(btf, type_id).decode(data)
    assert isinstance(record, Record)
    assert record._asdict() == expected(name, byteorder)


@ORDERS
@NAMES
def test_encoding_gives_the_bytes_of_the_compiler(name: str, byteorder: str) -> None:
    """From a mapping, a tuple and the record itself; texts lose what is behind their zero."""
    btf, type_id, data = compiled(name, byteorder)
    values = codec(btf, type_id)
    record = values.decode(data)
    assert isinstance(record, Record)
    wanted = data.replace(b"bash\0junk", b"bash\0\0\0\0\0")
    assert values.encode(expected(name, byteorder)) == wanted
    assert values.encode(list(record)) == wanted
    assert values.encode(record) == data
    assert type(record)(**expected(name, byteorder)) == record
    assert values.encode(data) == data


@pytest.mark.parametrize("version", programs.clang_versions())
def test_every_clang_describes_the_same_values(version: int) -> None:
    """Old compilers mark no signed enums and write no 64-bit ones."""
    for name in ALL:
        btf, type_id, data = compiled(name, "little", f"clang-{version}")
        record = codec(btf, type_id).decode(data)
        assert isinstance(record, Record)
        wanted = expected(name, "little")
        if version == 14 and name in {"enums", "bits"}:
            wanted |= {"s": 0xFFFFFFFF} if name == "enums" else {"st": 15}
            record = record._replace(**({"w": wanted["w"]} if name == "enums" else {}))
        assert record._asdict() == wanted


def test_members_are_where_gcc_has_them() -> None:
    """``offsetof`` and ``sizeof`` of every ordinary member."""
    btf = Btf.decode(compile_bpf(SOURCE).btf)
    ours: dict[str, int] = {}
    for name in VALUES:
        found = btf.type(btf.find(name, BtfKind.STRUCT))
        assert isinstance(found, Composite)
        ours[f"sizeof(struct {name})"] = found.size
        for member in found.members:
            if member.name and not member.bitfield_size:
                offset = f"__builtin_offsetof(struct {name}, {member.name})"
                ours[offset] = member.bit_offset // 8
                ours[f"sizeof ((struct {name} *)0)->{member.name}"] = btf.size_of(member.type)
    program = f"""{TYPES}
    int printf(const char *, ...);
    int main(void) {{
        unsigned long all[] = {{ {", ".join(ours)} }};
        for (int i = 0; i < sizeof(all) / sizeof(*all); i++) printf("%s%lu", i ? "," : "[", all[i]);
        printf("]");
    }}"""
    assert dict(zip(ours, json.loads(run_native(program)), strict=True)) == ours
