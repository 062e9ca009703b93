"""Data sections: sizes and offsets from the ELF, hidden functions."""

from __future__ import annotations

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.sections import fix_elf_btf
from pyebpf.btf.types import Datasec, Func, SectionVariable
from pyebpf.errors import BtfError
from tests.support.btf_builder import BtfBuilder

ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])


def unfixed(byteorder: str = "little") -> Btf:
    builder = BtfBuilder(byteorder)
    builder.int("int", 4)
    builder.var("b", 1)
    builder.var("a", 1)
    builder.var("local", 1, 0)
    builder.datasec(".data", 0, (2, 0, 4), (3, 0, 4), (4, 8, 4))
    builder.datasec(".kconfig", 0, (2, 0, 4))
    builder.func("f", builder.func_proto(0), 1)
    builder.func("g", 7, 1)
    return Btf.decode(builder.build())


@ORDERS
def test_sizes_and_offsets_come_from_the_elf(byteorder: str) -> None:
    """Variables end up in order; sections the ELF does not have stay as they are."""
    btf = unfixed(byteorder)
    fixed = fix_elf_btf(btf, {".data": 12}, {".data": {"b": 4, "a": 0, "local": 0}})
    assert fixed.type(5) == Datasec(
        ".data",
        12,
        (SectionVariable(3, 0, 4), SectionVariable(2, 4, 4), SectionVariable(4, 8, 4)),
    )
    assert fixed.type(6) == btf.type(6)
    assert len(fixed) == len(btf)


def test_nothing_to_do_gives_the_same_btf() -> None:
    """What is right already is not copied."""
    btf = unfixed()
    assert fix_elf_btf(btf, {}, {}) is btf
    fixed = fix_elf_btf(btf, {".data": 12}, {".data": {"b": 4}})
    assert fix_elf_btf(fixed, {".data": 12}, {".data": {"b": 4}}) is fixed


@ORDERS
def test_hidden_functions_become_static(byteorder: str) -> None:
    """So that the verifier looks at them with their callers."""
    fixed = fix_elf_btf(unfixed(byteorder), {}, {}, hidden={"f"})
    found = fixed.type(8)
    assert isinstance(found, Func)
    assert found.linkage == 0
    assert fixed.type(9) == Func("g", 7, 1)


def test_a_variable_outside_its_section_is_an_error() -> None:
    """The message has both ends."""
    with pytest.raises(BtfError, match=r'section "\.data": variable .b. ends at 14 of 12 bytes'):
        fix_elf_btf(unfixed(), {".data": 12}, {".data": {"b": 10}})
