"""BTF of compiled objects, against bpftool."""

from __future__ import annotations

import pathlib

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.elf import load_spec
from tests.support import programs
from tests.support.bpftool_btf import described, dump
from tests.support.c_types import compile_bpf

SOURCE = """
typedef unsigned int u32;
enum small { MINUS = -1, A = 1 }; enum wide { BIG = 1ULL << 40 };
struct fwd; union other { int x; char y[4]; };
struct task { volatile int pid; const char *name; u32 a:3, b:7; struct fwd *f; union { long l; };
              enum small s; enum wide w; float x; double d; _Bool on; int tail[]; };
int zeroed; static int initialised = 5; const int constant = 6;
int (*callback)(struct task *restrict, union other, ...);
int __attribute__((section("code"))) function(struct task *t) { return initialised++ + zeroed; }
"""


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_every_type_of_an_object_is_as_bpftool_says(byteorder: str, tmp_path: pathlib.Path) -> None:
    """All kinds clang writes, in both byte orders."""
    data = compile_bpf(SOURCE, byteorder).btf
    path = tmp_path / "x.btf"
    path.write_bytes(data)
    assert described(Btf.decode(data)) == dump(path)


@pytest.mark.parametrize("name", programs.names())
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_types_of_an_object_survive_being_written(name: str, byteorder: str) -> None:
    """All of them, in as many bytes as the compiler took."""
    btf = load_spec(programs.built(name, byteorder)).btf
    if btf is None:
        return  # compiled before objects had types
    types = [btf.type(number) for number in range(1, len(btf))]
    again = Btf.decode(encode(types, byteorder=btf.byteorder))
    assert [again.type(number) for number in range(1, len(again))] == types
    assert len(again.areas[0]) == len(btf.areas[0])
