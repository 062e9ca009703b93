"""Whole objects as text; `tests/unit/asm/test_text.py` compares it with LLVM's."""

from __future__ import annotations

import pytest

from pyebpf.elf.listing import listing
from pyebpf.errors import AsmError, ElfError
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_function_goes_before_a_label_and_symbols_between_instructions_have_no_place(byteorder):
    """Of several names for one place one is shown; without types there are no lines."""
    builder = ElfBuilder(byteorder)
    section = builder.code("xdp", [MOV_0, EXIT, MOV_0, EXIT])
    builder.symbol("entry", section, size=16)
    builder.symbol("label", section, type=0)
    builder.symbol("odd", section, 12, type=0)
    builder.symbol("behind", section, 16, size=16)
    builder.symbol("end", section, 32, type=0)
    assert listing(builder.build(), sources=True, files=True) == (
        "\nDisassembly of section xdp:\n\n"
        "0000000000000000 <entry>:\n"
        "       0:\tr0 = 0x0\n"
        "       1:\texit\n"
        "\n"
        "0000000000000010 <behind>:\n"
        "       2:\tr0 = 0x0\n"
        "       3:\texit\n"
    )


def test_a_section_without_symbols_starts_with_its_own_name():
    """As LLVM has it."""
    builder = ElfBuilder()
    builder.code("xdp", [EXIT])
    assert "0000000000000000 <xdp>:\n" in listing(builder.build())


def test_what_is_no_object_or_no_code_is_an_error():
    """With the section."""
    with pytest.raises(ElfError):
        listing(b"nothing")
    builder = ElfBuilder()
    builder.section("xdp", bytes(12), flags=6)
    with pytest.raises(AsmError, match=r"section xdp: .*12 bytes are not whole instructions"):
        listing(builder.build())
