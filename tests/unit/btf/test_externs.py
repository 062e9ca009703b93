"""Externs: where values of the configuration lie, and types as a kernel takes them."""

from __future__ import annotations

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.externs import ConfigVariable, config_variables, without_externs
from pyebpf.btf.sections import entries_of
from pyebpf.btf.types import Datasec, Func, FuncProto, Int, Param, SectionVariable, Var
from pyebpf.errors import BtfError
from tests.support.btf_builder import CHAR, SIGNED, BtfBuilder

ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])
EXTERN = 2


def config(byteorder: str = "little") -> Btf:
    builder = BtfBuilder(byteorder)
    builder.int("int", 4, SIGNED)
    builder.int("char", 1, CHAR)
    builder.int("long", 8)
    builder.array(2, 5)
    builder.add(10, "", 1)  # const int
    names = {"CONFIG_TEXT": 4, "CONFIG_B": 5, "CONFIG_LONG": 3, "CONFIG_A": 1, "CONFIG_CHAR": 2}
    ids = [builder.var(name, type_id, EXTERN) for name, type_id in names.items()]
    sizes = (5, 4, 8, 4, 1)
    entries = [(each, 0, size) for each, size in zip(ids, sizes, strict=True)]
    builder.datasec(".kconfig", 0, *entries)
    return Btf.decode(builder.build())


@ORDERS
def test_variables_lie_as_libbpf_puts_them(byteorder: str) -> None:
    """The strictest alignment first, then the smallest, then by name."""
    assert config_variables(config(byteorder)) == (
        ConfigVariable("CONFIG_LONG", 3, 0, 8),
        ConfigVariable("CONFIG_A", 1, 8, 4),
        ConfigVariable("CONFIG_B", 5, 12, 4),
        ConfigVariable("CONFIG_CHAR", 2, 16, 1),
        ConfigVariable("CONFIG_TEXT", 4, 17, 5),
    )


@ORDERS
def test_the_configuration_gets_its_layout(byteorder: str) -> None:
    """A size, entries in order, nothing extern; no id moves."""
    btf = config(byteorder)
    done = without_externs(btf)
    section = done.type(done.ids(".kconfig")[0])
    assert isinstance(section, Datasec)
    assert section.size == 22
    places = [(done.type(entry.type).name, *entry[1:]) for entry in section.variables]
    assert places == [
        ("CONFIG_LONG", 0, 8),
        ("CONFIG_A", 8, 4),
        ("CONFIG_B", 12, 4),
        ("CONFIG_CHAR", 16, 1),
        ("CONFIG_TEXT", 17, 5),
    ]
    assert done.type(7) == Var("CONFIG_B", 5, 1)
    assert len(done) == len(btf)


def symbols(*, with_int: bool = True, byteorder: str = "little") -> Btf:
    builder = BtfBuilder(byteorder)
    if with_int:
        builder.int("int", 4, SIGNED)
    else:
        builder.int("char", 1)
    builder.struct("rq", 8, ("x", 1, 0))
    builder.var("runqueues", 2, EXTERN)
    builder.func("f", builder.func_proto(0, ("", 1), ("named", 2), ("", 0)), EXTERN)
    builder.func("g", builder.func_proto(0), EXTERN)
    builder.datasec(".ksyms", 0, (3, 0, 8), (5, 0, 0), (7, 0, 0))
    return Btf.decode(builder.build())


@ORDERS
def test_symbols_become_variables_of_the_object(byteorder: str) -> None:
    """Functions stay, but a section may list variables only; parameters get names."""
    btf = symbols(byteorder=byteorder)
    done = without_externs(btf)
    dummy = len(btf)
    assert done.type(3) == Var("runqueues", 1, 1)
    parameters = (Param("dummy_ksym", 1), Param("named", 2), Param("", 0))
    assert done.type(4) == FuncProto(0, parameters)
    assert done.type(5) == Func("f", 4, 1)
    assert done.type(7) == Func("g", 6, 1)
    entries = [(3, 0, 4), (dummy, 4, 4), (dummy, 8, 4)]
    assert done.type(8) == Datasec(".ksyms", 12, tuple(SectionVariable(*each) for each in entries))
    assert done.type(dummy) == Var("dummy_ksym", 1, 1)
    assert len(done) == dummy + 1


def test_an_int_is_added_where_there_is_none() -> None:
    """Behind everything else."""
    btf = symbols(with_int=False)
    done = without_externs(btf)
    new = len(btf)
    added = [done.type(number) for number in range(new, len(done))]
    assert added == [Int("int", 4, 1, 32), Var("dummy_ksym", new, 1)]
    assert done.type(3) == Var("runqueues", new, 1)


def test_types_without_externs_are_not_copied() -> None:
    """Most objects have none."""
    builder = BtfBuilder()
    builder.int("int", 4)
    btf = Btf.decode(builder.build())
    assert without_externs(btf) is btf
    assert config_variables(btf) == ()


def test_an_int_of_another_size_is_none() -> None:
    """Four bytes are what an entry takes."""
    builder = BtfBuilder()
    builder.int("int", 2, SIGNED)
    builder.datasec(".ksyms", 0, (builder.var("runqueues", 1, EXTERN), 0, 0))
    done = without_externs(Btf.decode(builder.build()))
    assert done.type(4) == Int("int", 4, 1, 32)
    assert done.type(2) == Var("runqueues", 4, 1)


def test_only_variables_and_functions_are_symbols() -> None:
    """Anything else among them is malformed."""
    builder = BtfBuilder()
    builder.int("int", 4, SIGNED)
    builder.datasec(".ksyms", 0, (1, 0, 4))
    btf = Btf.decode(builder.build())
    with pytest.raises(BtfError, match="int is neither a variable nor a function"):
        without_externs(btf)
    with pytest.raises(BtfError, match="int is neither a variable nor a function"):
        list(entries_of(btf, ".ksyms"))


def test_only_variables_are_values() -> None:
    """A function among them is malformed."""
    builder = BtfBuilder()
    builder.func("f", builder.func_proto(0), EXTERN)
    builder.datasec(".kconfig", 0, (2, 0, 4))
    with pytest.raises(BtfError, match=r"kconfig.*no variable"):
        config_variables(Btf.decode(builder.build()))


def test_a_type_without_size_takes_no_place() -> None:
    """Nothing can be its value; the object's other parts load all the same."""
    builder = BtfBuilder()
    builder.add(7, "hidden")
    builder.var("CONFIG_X", 1, EXTERN)
    builder.datasec(".kconfig", 0, (2, 0, 0))
    found = config_variables(Btf.decode(builder.build()))
    assert found == (ConfigVariable("CONFIG_X", 1, 0, 0),)


def test_a_function_needs_a_prototype() -> None:
    """Types that make no sense are refused here, not by the kernel."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.func("f", 1, EXTERN)
    builder.datasec(".ksyms", 0, (2, 0, 0))
    with pytest.raises(BtfError, match="no prototype"):
        without_externs(Btf.decode(builder.build()))


def test_a_layout_area_survives() -> None:
    """It says how to skip kinds, and those do not change."""
    builder = BtfBuilder()
    builder.int("int", 4)
    builder.func("f", builder.func_proto(0), EXTERN)
    builder.datasec(".ksyms", 0, (3, 0, 0))
    sizes = {1: (4, 0), 12: (0, 0), 13: (0, 8), 14: (4, 0), 15: (0, 12)}
    layout = [sizes.get(kind, (0, 0)) for kind in range(20)]
    done = without_externs(Btf.decode(builder.build(layout=layout)))
    assert [done.type(number).name for number in range(1, len(done))] == [
        "int", "", "f", ".ksyms", "dummy_ksym",
    ]  # fmt: skip
    assert done.areas[2]
