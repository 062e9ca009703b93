"""Declarations in C become the BTF that a compiler's layout has."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Composite, Enum, Fwd
from pyebpf.testing import c_types, kernel_types, tracepoints
from pyebpf.testing.c_types import Types
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.btf import BtfKind

STRUCTS = """
struct inner { char a; u16 b; char c; };
struct outer { char first; struct inner middle; u64 wide; char name[5]; struct inner many[3];
    struct other * pointer; long last; };
union either { u8 small; u64 large; struct inner both; };
struct bits { unsigned int a : 3; unsigned int b : 30; unsigned int c : 1; u8 d : 4; u64 e : 33; };
struct tail { u32 length; char data[0]; };
"""


def test_members_are_where_the_compiler_puts_them(tmp_path):
    """Offsets and sizes, of everything the made-up kernel declares as well."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    types = Types()
    types.declare(STRUCTS)
    types.declare(kernel_types.STRUCTS)
    places = [
        (name, member)
        for name, members in types.layouts.items()
        for member in members
        if name != "bits" and member not in ("sched_reset_on_fork", "in_execve")
    ]
    tag = {"either": "union either"}
    lines = [
        f'printf("{name}.{member} %zu %zu\\n",'
        f" offsetof({tag.get(name, f'struct {name}')}, {member}),"
        f" sizeof((({tag.get(name, f'struct {name}')} *)0)->{member}));"
        for name, member in places
    ]
    source = tmp_path / "layout.c"
    basics = c_types._TYPEDEFS.replace("typedef _Bool bool;", "")
    for name in ("size_t", "pid_t", "uid_t", "gid_t", "dev_t", "loff_t", "ktime_t"):
        basics = "\n".join(
            ";".join(part for part in line.split(";") if not part.strip().endswith(f" {name}"))
            for line in basics.splitlines()
        )
    more = "typedef u64 sector_t;" if "sector_t" not in basics else ""
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <sys/types.h>\n"
        f"typedef u_int32_t kernel_dev_t;\n#define dev_t kernel_dev_t\n{basics}\n{more}\n"
        f"{STRUCTS}\n{kernel_types.STRUCTS}\nint main(void) {{ {' '.join(lines)} return 0; }}\n"
    )
    program = tmp_path / "layout"
    subprocess.run(["gcc", "-w", "-o", program, source], check=True, capture_output=True)
    told = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    expected = {line.split()[0]: line.split()[1:] for line in told.splitlines()}
    found = {
        f"{name}.{member}": [str(place.offset), str(place.size)]
        for name, members in types.layouts.items()
        for member, place in members.items()
    }
    assert {name: found[name] for name in expected} == expected


def test_bits_are_packed_as_compilers_pack_them():
    """A field never crosses a boundary of what it is declared as."""
    types = Types()
    types.declare(STRUCTS)
    btf = Btf.decode(types.encode())
    found = btf.type(btf.find("bits", BtfKind.STRUCT))
    assert isinstance(found, Composite)
    places = {each.name: (each.bit_offset, each.bitfield_size) for each in found.members}
    assert places == {"a": (0, 3), "b": (32, 30), "c": (62, 1), "d": (64, 4), "e": (68, 33)}


def test_what_is_only_named_is_announced():
    """And what is declared later is the same type."""
    types = Types()
    types.declare("struct uses { struct later * a; struct never * b; };")
    types.declare("struct later { int x; };")
    btf = Btf.decode(types.encode())
    assert isinstance(btf.type(btf.find("never", BtfKind.FWD)), Fwd)
    assert btf.ids("later", BtfKind.FWD) == []


def test_functions_enums_and_tracepoints_have_types():
    """By their names."""
    types = Types()
    types.declare("int work(struct thing * it, const char * name);")
    types.declare_enum(MapType)
    types.declare_tracepoint("happens", "struct thing * it, int how")
    btf = Btf.decode(types.encode())
    assert types.functions == ["work"]
    assert btf.find("work", BtfKind.FUNC)
    assert btf.find("btf_trace_happens", BtfKind.TYPEDEF)
    found = btf.type(btf.find("bpf_map_type", BtfKind.ENUM))
    assert isinstance(found, Enum)
    assert ("BPF_MAP_TYPE_HASH", 1) in [tuple(each) for each in found.values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("struct a { nothing x; };", "unknown type: 'nothing'"),
        ("struct a { struct b x; };", "declared before its type"),
        ("struct a { int; };", "not a member"),
        ("typedef;", "not a typedef"),
        ("int f(int);", "not a parameter"),
        ("struct a { int x; } }", "not a declaration"),
    ],
)
def test_text_that_makes_no_sense_is_refused(text, message):
    """Saying what it is about."""
    with pytest.raises(ValueError, match=message):
        Types().declare(text)


def test_records_are_laid_out_as_tracefs_says():
    """Fields in order, aligned; the text of the format file agrees."""
    each = tracepoints.parse("a", "b", "char c; u64 d; __data_loc char[] e; short f[3]", 7)
    places = {field.name: (field.offset, field.size) for field in each.fields}
    assert places["common_pid"] == (4, 4)
    assert places["c"] == (8, 1)
    assert places["d"] == (16, 8)
    assert places["e"] == (24, 4)
    assert places["f"] == (28, 6)
    assert "field:short f[3];\toffset:28;\tsize:6;\tsigned:1;" in each.format
    data = tracepoints.record(each, 5, {"c": -1, "d": 1, "e": "text", "f": [1, 2]})
    assert data[8:9] == b"\xff"
    place = int.from_bytes(data[24:26], "little")
    assert data[place : place + 5] == b"text\0"
    assert len(data) == 40 + 5


@pytest.mark.usefixtures("real_kernel")
def test_the_usual_records_are_like_this_kernels(tracefs):
    """Of the tracepoints that both have: the same fields, as far as ours names them."""
    compared = 0
    for each in tracepoints.usual():
        path = tracefs / "events" / each.category / each.name / "format"
        if each.category == "syscalls" or not path.exists():
            continue
        text = path.read_text()
        for field in each.fields:
            assert f" {field.name}" in text, (each.name, field.name)
        compared += 1
    assert compared > 10
