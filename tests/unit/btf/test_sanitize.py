"""BTF for older kernels: each kind replaced, ids where they were."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess

import pytest

from pyebpf.btf import types as t
from pyebpf.btf.btf import Btf
from pyebpf.btf.sanitize import BtfFeatures, sanitize
from pyebpf.errors import BtfError
from tests.support import btf_builder as wire
from tests.support.btf_builder import BtfBuilder

ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])
NOTHING = BtfFeatures(**{field.name: False for field in dataclasses.fields(BtfFeatures)})


def newest(byteorder: str = "little") -> BtfBuilder:
    builder = BtfBuilder(byteorder)
    builder.int("int", 4)  # 1
    builder.func_proto(1, ("p", 1), ("q", 1))  # 2
    builder.func("f", 2, 1)  # 3
    builder.var("v", 1)  # 4
    builder.datasec("?.data.x", 8, (4, 4, 4))  # 5
    builder.add(wire.FLOAT, "double", 8)  # 6
    builder.add(wire.DECL_TAG, "tag", 1, -1)  # 7
    builder.add(wire.TYPE_TAG, "user", 1)  # 8
    builder.enum64("big", {"A": 1 << 40, "B": 2}, signed=True)  # 9
    builder.enum("small", {"C": -1}, signed=True)  # 10
    builder.ptr(9)  # 11
    builder.enum64("more", {"D": 1})  # 12
    return builder


PLACEHOLDER = t.Int("enum64_placeholder", 1)
BYTE = 1
REPLACED: dict[str, dict[int, t.Type]] = {
    "func": {
        2: t.Enum("", 4, False, (t.Enumerator("p", 1), t.Enumerator("q", 1))),
        3: t.Typedef("f", 2),
    },
    "func_global": {3: t.Func("f", 2, 0)},
    "datasec": {
        4: t.Int("v", BYTE),
        5: t.Struct("__data_x", 8, (t.Member("v", 4, 32),)),
    },
    "question_mark": {5: t.Datasec("_.data.x", 8, (t.SectionVariable(4, 4, 4),))},
    "float": {6: t.Struct("", 8, ())},
    "decl_tag": {7: t.Int("tag", BYTE)},
    "type_tag": {8: t.Const(1)},
    "enum64": {
        9: t.Union("big", 8, (t.Member("A", 13, 0), t.Member("B", 13, 0))),
        10: t.Enum("small", 4, False, (t.Enumerator("C", 0xFFFFFFFF),)),
        12: t.Union("more", 8, (t.Member("D", 13, 0),)),
        13: PLACEHOLDER,
    },
    "layout": {},
}


def everything(btf: Btf) -> dict[int, t.Type]:
    return {number: btf.type(number) for number in range(len(btf))}


@ORDERS
@pytest.mark.parametrize("feature", REPLACED)
def test_what_one_feature_lacks_is_replaced(feature: str, byteorder: str) -> None:
    """Only that, and no id moves."""
    btf = Btf.decode(newest(byteorder).build())
    reduced = Btf.decode(sanitize(btf, BtfFeatures(**{feature: False})))
    assert everything(reduced) == {**everything(btf), **REPLACED[feature]}


def test_no_kernel_takes_externs_in_no_section() -> None:
    """A function becomes a type, as its parameters need not have names; a variable is global."""
    builder = newest()
    builder.var("away", 1, 2)
    builder.func("elsewhere", 2, 2)
    reduced = Btf.decode(sanitize(Btf.decode(builder.build()), BtfFeatures()))
    assert reduced.type(13) == t.Var("away", 1, 1)
    assert reduced.type(14) == t.Typedef("elsewhere", 2)


def test_sections_without_variables_are_newer_than_sections() -> None:
    """Linux 5.12; the nearest thing with a probe is FLOAT, of 5.13."""
    builder = newest()
    builder.datasec(".rodata.str", 40)
    btf = Btf.decode(builder.build())
    reduced = Btf.decode(sanitize(btf, BtfFeatures(float=False)))
    assert (reduced.type(5), reduced.type(13)) == (btf.type(5), t.Struct("_rodata_str", 40, ()))
    assert Btf.decode(sanitize(btf, BtfFeatures(datasec=False))).type(13) == reduced.type(13)


def test_names_of_sections_have_characters_an_old_kernel_knows() -> None:
    """Any the ELF allows, since Linux 6.9; before, those of names and a dot."""
    builder = newest()
    builder.datasec(".data.a-b/c", 4, (4, 0, 4))
    btf = Btf.decode(builder.build())
    assert Btf.decode(sanitize(btf, BtfFeatures())).type(13).name == ".data.a-b/c"
    old = Btf.decode(sanitize(btf, BtfFeatures(question_mark=False)))
    assert (old.type(13).name, old.type(5).name) == (".data.a_b_c", "_.data.x")
    assert Btf.decode(sanitize(btf, BtfFeatures(datasec=False))).type(13).name == "_data_a_b_c"


def test_a_kernel_that_knows_everything_gets_everything() -> None:
    """The default changes no type."""
    btf = Btf.decode(newest().build())
    assert everything(Btf.decode(sanitize(btf, BtfFeatures()))) == everything(btf)


def test_the_layout_area_stays_or_goes() -> None:
    """Strings stand behind the types again without it."""
    btf = Btf.decode(newest().build(layout=[(0, 0)] * 20))
    kept = sanitize(btf, BtfFeatures())
    assert (kept[4], Btf.decode(kept).areas[2]) == (32, btf.areas[2])
    cut = sanitize(btf, BtfFeatures(layout=False))
    assert (cut[4], Btf.decode(cut).areas[2]) == (24, b"")
    assert everything(Btf.decode(cut)) == everything(btf)


def test_btf_without_types_gets_one() -> None:
    """Kernels refuse strings alone."""
    btf = Btf.decode(BtfBuilder().build())
    assert len(Btf.decode(sanitize(btf, BtfFeatures()))) == 2


def test_a_name_outside_the_strings_is_a_btf_error() -> None:
    """Hostile input ends as everywhere."""
    builder = BtfBuilder()
    builder.add(wire.DATASEC, 1 << 20, 0)
    with pytest.raises(BtfError):
        sanitize(Btf.decode(builder.build()), NOTHING)


def test_the_oldest_form_has_old_kinds_only() -> None:
    """What Linux 4.18 knows: up to RESTRICT."""
    reduced = Btf.decode(sanitize(Btf.decode(newest().build()), NOTHING))
    assert max(reduced.kind(number) for number in range(len(reduced))) <= t.Restrict.kind


def test_bpftool_reads_the_oldest_form(tmp_path: pathlib.Path) -> None:
    """Another reader finds nothing wrong with it."""
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool")
    path = tmp_path / "x.btf"
    path.write_bytes(sanitize(Btf.decode(newest().build()), NOTHING))
    command = ["bpftool", "btf", "dump", "file", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "STRUCT '__data_x' size=8 vlen=1" in text
