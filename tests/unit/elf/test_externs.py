"""Symbols the kernel is to provide."""

from __future__ import annotations

import pytest

from pyebpf.spec import Reference, ReferenceKind
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.btf import BtfKind

KCONFIG, KSYM = ReferenceKind.KCONFIG, ReferenceKind.KSYM
KFUNC, UNDEFINED = ReferenceKind.KFUNC, ReferenceKind.UNDEFINED


def test_btf_says_what_an_undefined_symbol_is(compile_c):
    """Values of the kernel's build, its variables and functions; the rest is undefined."""
    spec = compile_c("""
        extern int CONFIG_HZ __kconfig;
        extern const char CONFIG_NAME[8] __kconfig __weak;
        extern const void address __ksym;
        extern const int typed __ksym __weak;
        extern void function(void) __ksym;
        extern void maybe(void) __ksym __weak;
        extern int nowhere;
        extern int elsewhere(void);
        volatile long sink;
        SEC("socket") int run(void *ctx)
        {
            sink = CONFIG_HZ + CONFIG_NAME[3];
            sink = (long)&address;
            if (&typed)
                sink = typed;
            function();
            if (maybe)
                maybe();
            return nowhere + elsewhere();
        }
    """)
    found = set(spec.programs["run"].references.values())
    found = {each for each in found if each.kind is not ReferenceKind.MAP_VALUE}
    assert found == {
        Reference(KCONFIG, "CONFIG_HZ"),
        Reference(KCONFIG, "CONFIG_NAME", 0, weak=True),
        Reference(KSYM, "address"),
        Reference(KSYM, "typed", weak=True),
        Reference(KFUNC, "function"),
        Reference(KFUNC, "maybe", weak=True),
        Reference(KSYM, "maybe", weak=True),
        Reference(UNDEFINED, "nowhere"),
        Reference(UNDEFINED, "elsewhere"),
    }


def test_a_place_inside_an_extern_keeps_its_offset(compile_c):
    """An offset folded into the load's immediate is not lost."""
    spec = compile_c("""
        extern const int table[8] __ksym;
        SEC("socket") int run(void *ctx)
        {
            long at;
            asm volatile("%0 = table + 12 ll" : "=r"(at));
            return at + (long)&table;
        }
    """)
    offsets = [each.offset for each in spec.programs["run"].references.values()]
    assert sorted(offsets) == [0, 12]


def test_without_btf_every_undefined_symbol_is_just_that(compile_c):
    """Nothing tells a kernel function from a missing one."""
    source = 'extern void f(void) __ksym; SEC("socket") int run(void *ctx) { f(); return 0; }'
    (reference,) = compile_c(source, "-g0").programs["run"].references.values()
    assert reference == Reference(UNDEFINED, "f")


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_values_of_the_configuration_have_a_map(compile_c, byteorder):
    """Constants of one size, zero until a load; none of the object's own variables."""
    spec = compile_c(
        """
        extern int CONFIG_HZ __kconfig;
        extern const char CONFIG_NAME[8] __kconfig __weak;
        extern bool CONFIG_YES __kconfig;
        extern long CONFIG_LONG __kconfig;
        SEC("socket") int run(void *ctx)
        {
            return CONFIG_HZ + CONFIG_NAME[3] + CONFIG_YES + CONFIG_LONG;
        }
        """,
        byteorder=byteorder,
    )
    assert list(spec.maps) == [".kconfig"]
    found = spec.maps[".kconfig"]
    assert (found.type, found.key_size, found.value_size) == (MapType.ARRAY, 4, 8 + 4 + 1 + 8)
    assert (found.flags, found.max_entries, found.frozen) == (MapFlag.RDONLY_PROG, 1, True)
    assert found.contents == bytearray(found.value_size)
    assert spec.btf is not None
    assert spec.btf.kind(found.value_type_id) == BtfKind.DATASEC
    assert spec.variables == {}


def test_symbols_alone_need_no_map(compile_c):
    """Their addresses stand in the code."""
    spec = compile_c("""
        extern const void address __ksym;
        SEC("socket") int run(void *ctx) { return (long)&address; }
    """)
    assert spec.maps == {}
