"""BTF as the kernel takes it: whole, and rewritten for older kernels."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.sanitize import BtfFeatures, sanitize
from pyebpf.btf_object import BtfObject, load, loaded_btfs
from pyebpf.elf import load_spec
from pyebpf.features.btf import btf_features
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import BtfLoad
from tests.support import kernel, programs
from tests.support.bpftool import bpftool_json, missed

FEATURES = [field.name for field in dataclasses.fields(BtfFeatures)]
TYPES = [
    t.Int("int", 4, 1),
    t.Ptr(1),
    t.Struct("s", 8, (t.Member("a", 1, 0, 3), t.Member("b", 1, 32, 0)), True),
    t.Enum("e", 4, True, (t.Enumerator("A", -1),)),
    t.Enum64("e64", 8, False, (t.Enumerator("B", 1 << 40),)),
    t.Typedef("alias", 3),
    t.TypeTag("user", 1),
    t.Ptr(7),
    t.Float("double", 8),
    t.DeclTag("tag", 3, 0),
    t.FuncProto(1, (t.Param("p", 2),)),
    t.Func("f", 11, 1),
    t.Var("v", 3, 1),
    t.Datasec(".data", 8, (t.SectionVariable(13, 0, 8),)),
]


def accepted(blob: bytes) -> None:
    log = bytearray(1 << 16)
    attr = BtfLoad(
        btf=blob, btf_size=len(blob), btf_log_buf=log, btf_log_size=len(log), btf_log_level=1
    )
    bpf.btf_load(attr).close()


def known(*lacking: str) -> BtfFeatures:
    """What this kernel knows, but for what a test takes away."""
    return dataclasses.replace(btf_features(), **dict.fromkeys(lacking, False))


LAYOUT = [(0, 0), (4, 0), (0, 0), (12, 0), (0, 12), (0, 12), (0, 8), *[(0, 0)] * 6, (0, 8)]
LAYOUT += [(4, 0), (0, 12), (0, 0), (4, 0), (0, 0), (0, 12)]


def test_a_layout_area_stops_no_kernel() -> None:
    """Those before Linux 7.1 get the types without it."""
    load(Btf.decode(encode(TYPES, byteorder=sys.byteorder, layout=LAYOUT))).close()


def test_kinds_no_kernel_knows_stop_none() -> None:
    """They become something else; what refers to them stays valid."""
    types = [
        t.Int("int", 4, 1),
        t.Opaque("new", 100, 100 << 24 | 1, 4, (1, 2)),
        t.Ptr(2),
        t.Struct("s", 16, (t.Member("a", 1, 0), t.Member("b", 2, 32), t.Member("p", 3, 64))),
        t.Opaque("", 100, 100 << 24, 1, (1,)),
        t.Typedef("alias", 5),
    ]
    layout = [*LAYOUT, *[(0, 0)] * 80, (4, 4)]
    load(Btf.decode(encode(types, byteorder=sys.byteorder, layout=layout))).close()


def test_the_kernel_takes_what_is_encoded() -> None:
    """Every kind a program can have, the kernel's age permitting."""
    accepted(sanitize(Btf.decode(encode(TYPES)), known()))


@pytest.mark.parametrize("feature", FEATURES)
def test_the_kernel_takes_each_rewriting(feature: str) -> None:
    """A newer kernel knows the older kinds too."""
    accepted(sanitize(Btf.decode(encode(TYPES)), known(feature)))


@pytest.mark.parametrize("name", ["count", "trace_exec", "globals", "subprogs", "core"])
def test_the_kernel_takes_what_clang_wrote_and_its_oldest_form(name: str) -> None:
    """With sections and offsets filled in from the ELF."""
    btf = load_spec(programs.built(name)).btf
    assert btf is not None
    accepted(sanitize(btf, known()))
    accepted(sanitize(btf, BtfFeatures(**dict.fromkeys(FEATURES, False))))


def test_all_types_the_kernel_holds_are_listed() -> None:
    """loaded_btfs() opens each that bpftool shows; ours is among them, as long as it says."""
    kernel.needs("5.4", "BPF_BTF_GET_NEXT_ID")
    with BtfObject(load(Btf.decode(sanitize(Btf.decode(encode(TYPES)), known())))) as ours:
        assert missed("btf", loaded_btfs(), ours) == set()
        shown = bpftool_json("btf", "show", "id", str(ours.id))
        assert shown["size"] == len(ours.read().raw)
