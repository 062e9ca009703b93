"""Implementations of kernel interfaces."""

from __future__ import annotations

import pytest

from pyebpf.errors import ElfError
from pyebpf.uapi.bpf import MapFlag, MapType, ProgType

SOURCE = """
    struct ops { int (*init)(void *); unsigned flags; void (*done)(void *); char name[8]; };
    SEC("struct_ops/init") int on_init(void *ctx) { return 0; }
    SEC("struct_ops.s") int on_done(void *ctx) { return 0; }
    SEC("%s") struct ops mine = {
        .init = (void *)on_init, .flags = 7, .done = (void *)on_done, .name = "mine",
    };
    SEC("%s") struct ops other = { .name = "other" };
"""


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("section", [".struct_ops", ".struct_ops.link", "?.struct_ops.link"])
def test_an_implementation_is_a_map_that_names_its_programs(compile_c, byteorder, section):
    """Contents are the object's own struct, entries its functions by their offset."""
    spec = compile_c(SOURCE % (section, section), byteorder=byteorder)
    mine = spec.maps["mine"]
    assert (mine.type, mine.key_size, mine.value_size, mine.max_entries) == (
        MapType.STRUCT_OPS,
        4,
        32,
        1,
    )
    assert mine.entries == ((0, "on_init"), (16, "on_done"))
    assert int.from_bytes(mine.contents[8:12], byteorder) == 7
    assert bytes(mine.contents[24:29]) == b"mine\0"
    assert spec.btf.describe(mine.value_type_id) == "struct ops"
    assert mine.flags == (MapFlag.LINK if "link" in section else 0)
    assert mine.autocreate is not section.startswith("?")
    assert mine.section == section.removeprefix("?")
    assert spec.maps["other"].entries == ()
    programs = spec.programs
    assert {each.type for each in programs.values()} == {ProgType.STRUCT_OPS}
    assert [each.attach_to for each in programs.values()] == ["", ""]


def test_pointers_to_something_else_are_errors(compile_c):
    """A member that points to data could not be carried over to the kernel."""
    with pytest.raises(ElfError, match=r'section .struct_ops, offset 0x8: "x" is not a program'):
        compile_c("""
            int x = 3;
            struct ops { long a; int *pointer; };
            SEC(".struct_ops") struct ops mine = { .pointer = &x };
        """)


def test_implementations_need_btf(compile_c):
    """Without it nobody knows which interface they are of."""
    with pytest.raises(ElfError, match=r"section .struct_ops: implementations are declared in BTF"):
        compile_c(SOURCE % (".struct_ops", ".struct_ops"), "-g0")
