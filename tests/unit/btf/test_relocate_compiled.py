"""CO-RE against clang: code compiled for one kernel and relocated is code compiled for the other.

Each function is compiled twice, once with the program's idea of the types and once with the
target's. Relocating the first against the types of the second must give what clang made of the
second, instruction by instruction.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.ext import decode_ext
from pyebpf.btf.patch import POISON
from pyebpf.btf.relocate import Relocated, relocate
from pyebpf.uapi.btf import BtfKind
from tests.support import programs
from tests.support.c_types import compile_bpf

ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])

PROLOGUE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef long long s64;
#define FUNCTION(name) __attribute__((section("code/" #name), used)) u64 name
#define INFO(field, what) __builtin_preserve_field_info(field, what)
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
"""
EPILOGUE = "\n#pragma clang attribute pop\n"


class Note(NamedTuple):
    slot: int
    type_id: int
    access: str
    kind: int


def build(types: str, functions: str, byteorder: str, compiler: str | None = None):
    """Compile functions with some types; return their BTF, code and notes by section."""
    made = compile_bpf(PROLOGUE + types + EPILOGUE + functions, byteorder, compiler)
    btf = Btf.decode(made.btf)
    ext = decode_ext(made.sections[".BTF.ext"], btf)
    notes = {
        name.removeprefix("code/"): [Note(note.offset // 8, *note[1:]) for note in table]
        for name, table in ext.core_relocations.items()
    }
    code = {name.removeprefix("code/"): made.sections[name] for name in ext.func_info}
    return btf, code, notes


def fit(
    local: str, target: str, functions: str, byteorder: str, compiler: str | None = None
) -> tuple[dict[str, Relocated], dict[str, bytes]]:
    """Return relocated functions, and the same compiled for the target."""
    theirs, wanted, _ = build(target, functions, byteorder, compiler)
    return fit_to(local, theirs, functions, byteorder, compiler), wanted


def fit_to(
    local: str, target: Btf, functions: str, byteorder: str, compiler: str | None = None
) -> dict[str, Relocated]:
    """Return functions relocated to a target's types."""
    ours, code, notes = build(local, functions, byteorder, compiler)
    return {
        name: relocate(code[name], notes.get(name, []), ours, [target], byteorder)  # type: ignore[arg-type]
        for name in code
    }


def constant(code: bytes, byteorder: str) -> int:
    """Return what a function that consists of a constant returns."""
    order = "<" if byteorder == "little" else ">"
    opcode, _, _, low = struct.unpack_from(order + "BBhi", code)
    assert opcode in {0x18, 0xB7, 0xB4}
    if opcode != 0x18:
        return low
    (high,) = struct.unpack_from(order + "i", code, 12)
    return high << 32 | low & 0xFFFFFFFF


# ---- identical code ---------------------------------------------------------------------------

LOCAL = """
struct inner { int first; int second; };
enum state { ALPHA = 1, BETA = 2, GAMMA };
enum big { WIDE = 0x123456789ULL };
struct task {
    int pid; u64 flags; char comm[16]; struct inner in; struct inner many[4];
    u32 grows; u64 shrinks; void *parent; union { u32 left; u32 right; };
    struct { int deep; }; enum state st; u8 byte; int tail[0];
};
typedef struct { int one; } alias;
union both { int number; char bytes[4]; };
"""
MOVED = """
struct inner { long before; int second; int first; };
enum state { ZERO, GAMMA = 30, BETA = 20, ALPHA = 10 };
enum big { NARROW, WIDE = 0xabcdef0123ULL };
struct task {
    void *parent; struct { union { struct { int deep; u32 right; }; }; u32 left; };
    struct inner many[8]; u8 byte; struct inner in; u64 grows; char comm[32]; u16 shrinks;
    u64 flags; enum state st; int pid; int more; int tail[0];
};
typedef struct { int zero; int one; } alias;
union both { char bytes[8]; int number; };
"""
FUNCTIONS = """
FUNCTION(load_int)(struct task *t) { return t->pid; }
FUNCTION(load_long)(struct task *t) { return t->flags; }
FUNCTION(load_byte)(struct task *t) { return t->byte; }
FUNCTION(load_pointer)(struct task *t) { return (u64)t->parent; }
FUNCTION(load_char)(struct task *t) { return t->comm[5]; }
FUNCTION(load_nested)(struct task *t) { return t->in.second; }
FUNCTION(load_element)(struct task *t) { return t->many[2].first; }
FUNCTION(load_left)(struct task *t) { return t->left; }
FUNCTION(load_right)(struct task *t) { return t->right; }
FUNCTION(load_deep)(struct task *t) { return t->deep; }
FUNCTION(load_enum)(struct task *t) { return t->st; }
FUNCTION(load_flexible)(struct task *t) { return t->tail[3]; }
FUNCTION(load_grown)(struct task *t) { return t->grows; }
FUNCTION(load_shrunk)(struct task *t) { return t->shrinks; }
FUNCTION(load_alias)(alias *t) { return t->one; }
FUNCTION(load_union)(union both *t) { return t->number; }
FUNCTION(store)(struct task *t) { t->pid = 7; return 0; }
FUNCTION(store_register)(struct task *t, u64 value) { t->flags = value; return 0; }
FUNCTION(store_shrunk)(struct task *t, u64 value) { t->shrinks = value; return 0; }
FUNCTION(address)(struct task *t) { return (u64)&t->in; }
FUNCTION(another)(struct task *t) { return INFO(t[2].flags, 0); }
FUNCTION(offset)(struct task *t) { return INFO(t->comm, 0); }
FUNCTION(offset_deep)(struct task *t) { return INFO(t->many[3].second, 0); }
FUNCTION(size)(struct task *t) { return INFO(t->comm, 1); }
FUNCTION(size_element)(struct task *t) { return INFO(t->many[1], 1); }
FUNCTION(exists)(struct task *t) { return INFO(t->many, 2); }
FUNCTION(is_signed)(struct task *t) { return INFO(t->pid, 3); }
FUNCTION(is_unsigned)(struct task *t) { return INFO(t->flags, 3); }
FUNCTION(left)(struct task *t) { return INFO(t->grows, 4); }
FUNCTION(right)(struct task *t) { return INFO(t->grows, 5); }
FUNCTION(size_of_struct)(void) { return __builtin_preserve_type_info(*(struct task *)0, 1); }
FUNCTION(size_of_alias)(void) { return __builtin_preserve_type_info(*(alias *)0, 1); }
FUNCTION(type_exists)(void) { return __builtin_preserve_type_info(*(struct task *)0, 0); }
FUNCTION(value)(void) { return __builtin_preserve_enum_value(*(enum state *)BETA, 1); }
FUNCTION(value_exists)(void) { return __builtin_preserve_enum_value(*(enum state *)BETA, 0); }
FUNCTION(value_wide)(void) { return __builtin_preserve_enum_value(*(enum big *)WIDE, 1); }
"""


@ORDERS
@pytest.mark.parametrize("version", programs.clang_versions())
def test_relocated_code_is_code_compiled_for_the_target(byteorder: str, version: int) -> None:
    """Moved, resized, renested: loads, stores, addresses, sizes, signs, enumerators, types."""
    done, wanted = fit(LOCAL, MOVED, FUNCTIONS, byteorder, f"clang-{version}")
    assert not any(one.poisoned for one in done.values())
    if version == 14:
        # Knows 64-bit enumerators no more than their kind of BTF.
        del done["value_wide"], wanted["value_wide"]
    for name, one in done.items():
        assert (name, one.code) == (name, wanted[name])


@ORDERS
def test_relocating_to_the_same_types_changes_nothing(byteorder: str) -> None:
    """Every local answer is what clang wrote."""
    done, wanted = fit(LOCAL, LOCAL, FUNCTIONS, byteorder)
    assert {name: one.code for name, one in done.items()} == wanted


# ---- bit-fields -------------------------------------------------------------------------------

BITS_LOCAL = """
struct bits { u32 a:3; u32 b:9; int c:5; u64 d:33; u8 e:2; int f; u16 g:9; int h:7; u64 w; };
"""
BITS_TARGETS = {
    "same": BITS_LOCAL,
    "moved": "struct bits { int h:7; u64 w:20; int x; u64 d:40; u16 g:10; int c:31; u8 e:7;"
    " u32 b:30; u32 a:5; int f:3; };",
    "no bit-fields": "struct bits { u8 a; u16 b; short c; u64 d; u32 e; int f; u32 g; s64 h;"
    " u64 w; };",
    "packed": "struct __attribute__((packed)) bits { u8 x:5; u32 a:29; u32 b:12; u8 e:3; u16 g:13;"
    " u8 y:2; int c:30; int f:17; int h:9; u8 z:8; u64 d:44; u32 more:20; u64 w; };",
}
BITS_VALUES = {"a": 5, "b": 257, "c": -9, "d": 0x1DEADBEEF, "e": 2, "f": -3, "g": 300, "h": -30}
BITS_VALUES["w"] = 0x54321
BITS_FUNCTIONS = "".join(
    f"FUNCTION({name}_{what})(struct bits *t) {{ return INFO(t->{name}, {what}); }}\n"
    for name in BITS_VALUES
    for what in range(6)
)


@ORDERS
@pytest.mark.parametrize("target", BITS_TARGETS)
def test_bit_fields_are_read_with_the_relocated_numbers(byteorder: str, target: str) -> None:
    """Load at the offset with the size, shift left, shift right: the value C put there."""
    types = BITS_TARGETS[target]
    ours, code, notes = build(BITS_LOCAL, BITS_FUNCTIONS, byteorder)
    made = compile_bpf(
        PROLOGUE
        + types
        + EPILOGUE
        + '__attribute__((section(".data"))) struct bits v = { '
        + ", ".join(f".{name} = {value}" for name, value in BITS_VALUES.items())
        + " };",
        byteorder,
    )
    theirs, data = Btf.decode(made.btf), made.sections[".data"]
    read = {}
    for name in BITS_VALUES:
        offset, size, exists, signed, left, right = (
            constant(
                relocate(code[key], notes.get(key, []), ours, [theirs], byteorder).code,  # type: ignore[arg-type]
                byteorder,
            )
            for key in (f"{name}_{what}" for what in range(6))
        )
        assert (exists, size in {1, 2, 4, 8}) == (1, True)
        assert offset % size == 0 or target == "packed"
        loaded = int.from_bytes(data.ljust(64, b"\0")[offset : offset + size], byteorder)  # type: ignore[arg-type]
        shifted = loaded << left & (1 << 64) - 1
        if signed and shifted >> 63:
            shifted -= 1 << 64
        read[name] = shifted >> right
    assert read == BITS_VALUES


# ---- what the target does not have ------------------------------------------------------------

POOR = """
struct inner { int first; };
enum state { BETA = 2 };
struct task { struct inner in; long grows; long shrinks; int comm; struct inner many[2]; };
struct task t; enum state s;
"""


@ORDERS
def test_missing_fields_are_poison_with_a_name(byteorder: str) -> None:
    """Reading them calls a helper that is not there; asking for them says no."""
    done = fit_to(LOCAL, Btf.decode(compile_bpf(POOR, byteorder).btf), FUNCTIONS, byteorder)
    poisoned = {name: list(one.poisoned.values()) for name, one in done.items() if one.poisoned}
    assert poisoned == {
        "load_int": ["struct task.pid"],
        "load_long": ["struct task.flags"],
        "load_byte": ["struct task.byte"],
        "load_pointer": ["struct task.parent"],
        "load_char": ["struct task.comm[5]"],
        "load_nested": ["struct task.in.second"],
        "load_element": ["struct task.many[2].first"],
        "load_left": ["struct task.left"],
        "load_right": ["struct task.right"],
        "load_deep": ["struct task.deep"],
        "load_enum": ["struct task.st"],
        "load_flexible": ["struct task.tail[3]"],
        "load_grown": ["struct task.grows of 4 bytes (it has 8)"],
        "load_alias": ["alias.one"],
        "load_union": ["union both.number"],
        "store": ["struct task.pid"],
        "store_register": ["struct task.flags"],
        "another": ["struct task[2].flags"],
        "offset": ["struct task.comm"],
        "offset_deep": ["struct task.many[3].second"],
        "size": ["size of struct task.comm"],
        "is_signed": ["sign of struct task.pid"],
        "is_unsigned": ["sign of struct task.flags"],
        "value_wide": ["enum big.WIDE"],
    }
    call = struct.pack("<BBhi" if byteorder == "little" else ">BBhi", 0x85, 0, 0, POISON)
    for name in poisoned:
        (slot,) = done[name].poisoned
        assert done[name].code[slot * 8 : slot * 8 + 8] == call
    slots = [name for name in ("value_wide",) if done[name].code[:16] == call + call]
    assert slots == ["value_wide"]
    numbers = ("size_of_alias", "exists", "value", "value_exists", "type_exists")
    assert {name: constant(done[name].code, byteorder) for name in numbers} == {
        "size_of_alias": 0,
        "exists": 1,
        "value": 2,
        "value_exists": 1,
        "type_exists": 1,
    }


@ORDERS
def test_nothing_of_the_name_answers_no_and_zero(byteorder: str) -> None:
    """Existence is 0, size and id are 0."""
    theirs = Btf.decode(compile_bpf("struct other { int x; } o;", byteorder).btf)
    done = fit_to(LOCAL, theirs, FUNCTIONS, byteorder)
    numbers = ("exists", "type_exists", "value_exists", "size_of_struct")
    assert [constant(done[name].code, byteorder) for name in numbers] == [0, 0, 0, 0]


# ---- ids, matches, flavours -------------------------------------------------------------------


@ORDERS
def test_type_ids_are_those_of_the_two_btfs(byteorder: str) -> None:
    """The local one in the object's BTF, the other in the target's."""
    functions = """
    FUNCTION(local)(void) { return __builtin_btf_type_id(*(struct task *)0, 0); }
    FUNCTION(target)(void) { return __builtin_btf_type_id(*(struct task *)0, 1); }
    FUNCTION(gone)(void) { return __builtin_btf_type_id(*(struct gone *)0, 1); }
    """
    local = "struct gone { int x; }; struct task { int pid; } t;"
    ours, code, notes = build(local, functions, byteorder)
    made = compile_bpf("int x; struct task { long pid; } t;", byteorder)
    theirs = Btf.decode(made.btf)
    found = {
        name: constant(relocate(code[name], notes[name], ours, [theirs], byteorder).code, byteorder)  # type: ignore[arg-type]
        for name in code
    }
    assert found == {
        "local": ours.find("task", BtfKind.STRUCT),
        "target": theirs.find("task", BtfKind.STRUCT),
        "gone": 0,
    }


MATCHES = {
    "same": ("struct t { int a; char b[4]; struct u *p; };", True),
    "more": ("struct t { long z; char b[4]; struct u *p; int a; };", True),
    "behind a pointer": ("struct u { int x; }; struct t { int a; char b[4]; struct u *p; };", True),
    "less": ("struct t { int a; char b[4]; };", False),
    "other size": ("struct t { long a; char b[4]; struct u *p; };", False),
    "other sign": ("struct t { unsigned a; char b[4]; struct u *p; };", False),
    "other length": ("struct t { int a; char b[5]; struct u *p; };", False),
    "other pointee": ("struct t { int a; char b[4]; union u *p; };", False),
    "other name": ("struct t { int a; char b[4]; struct v *p; };", False),
    "union": ("union t { int a; char b[4]; struct u *p; };", False),
}


@pytest.mark.parametrize(("types", "matches"), MATCHES.values(), ids=MATCHES)
def test_a_type_matches_if_it_has_all_the_local_one_has(types: str, matches: bool) -> None:
    """Names, sizes, signs and lengths; structs behind pointers by name and kind."""
    if programs.clang_versions()[-1:] < [15]:
        pytest.skip("clang 15, for BPF_TYPE_MATCHES")
    function = "FUNCTION(f)(void) { return __builtin_preserve_type_info(*(struct t *)0, 2); }"
    ours, code, notes = build(MATCHES["same"][0], function, "little")
    keyword = "union" if types.startswith("union t") else "struct"
    theirs = Btf.decode(compile_bpf(f"{types} {keyword} t v;", "little").btf)
    done = relocate(code["f"], notes["f"], ours, [theirs], "little")
    assert constant(done.code, "little") == matches


@ORDERS
def test_flavours_stand_for_the_kernel_s_type(byteorder: str) -> None:
    """``struct task___v2`` is the kernel's ``struct task``."""
    local = "struct task___v2 { int gone; int pid; }; struct task { int pid; };"
    functions = "FUNCTION(f)(struct task___v2 *t) { return t->pid; }"
    ours, code, notes = build(local, functions, byteorder)
    _, wanted, _ = build(
        local.replace("task___v2 { int gone;", "task___v2 {"), functions, byteorder
    )
    theirs = Btf.decode(compile_bpf("struct task { int pid; } t;", byteorder).btf)
    done = relocate(code["f"], notes["f"], ours, [theirs], byteorder)  # type: ignore[arg-type]
    assert (done.poisoned, done.code) == ({}, wanted["f"])
