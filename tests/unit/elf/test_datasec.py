"""What BTF lists in sections, well formed or not."""

from __future__ import annotations

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.sections import entries_of
from pyebpf.elf import load_spec
from pyebpf.elf.datasec import tags_of, variables_of
from pyebpf.errors import BtfError, ElfError
from pyebpf.uapi.elf import R_BPF_64_ABS64, STT_NOTYPE
from tests.support.btf_builder import DECL_TAG, BtfBuilder
from tests.support.elf_builder import ElfBuilder


@pytest.fixture
def types():
    """Types with an int as number 1."""
    builder = BtfBuilder()
    builder.int("int", 4)
    return builder


def test_a_global_variable_hides_a_static_one(types):
    """Linked objects may have both under one name; only the global one is exposed."""
    own, shared = types.var("x", 1, 0), types.var("x", 1, 1)
    types.datasec(".data", 8, (shared, 0, 4), (own, 4, 4))
    types.datasec(".bss", 8, (own, 0, 4), (shared, 4, 4))
    btf = Btf.decode(types.build())
    assert variables_of(btf, ".data")["x"][0] == shared
    assert variables_of(btf, ".bss")["x"][0] == shared
    assert variables_of(btf, ".rodata") == {}


def test_anything_but_variables_and_functions_is_an_error(types):
    """The error names the section."""
    types.datasec(".data", 4, (1, 0, 4))
    with pytest.raises(BtfError, match=r'section ".data", type 2: int is neither a variable nor'):
        list(entries_of(Btf.decode(types.build()), ".data"))


def test_tags_of_members_are_not_the_variables(types):
    """Tags come in order; those of a struct's member belong to the member."""
    variable = types.var("x", 1)
    for text, component in (("one", -1), ("member", 0), ("two", -1)):
        types.add(DECL_TAG, text, variable, component)
    assert tags_of(Btf.decode(types.build())) == {variable: ("one", "two")}


def _maps_object(types, names=("m",), size=16, section=".maps"):
    builder = ElfBuilder()
    maps = builder.section(section, bytes(size * max(1, len(names))))
    for index, name in enumerate(names):
        builder.object(name, maps, index * size, size)
    builder.section(".BTF", types.build())
    return builder, maps


def _map_struct(types, *members):
    """A map definition of these members, an array by its type."""
    kind = types.ptr(types.array(1, 2))
    rows = [
        ("type", kind, 0),
        *((name, target, 64 * at + 64) for at, (name, target) in enumerate(members)),
    ]
    return types.struct("", 8 * len(rows), *rows)


def test_maps_must_be_in_both_tables(types):
    """A symbol without a definition, a definition without a symbol, two for one place."""
    types.datasec(".maps", 16, (types.var("m", _map_struct(types)), 0, 16))
    builder, maps = _maps_object(types, ("m", "n"))
    with pytest.raises(ElfError, match=r'section .maps, offset 0x10: map "n" has no definition'):
        load_spec(builder.build())
    builder, maps = _maps_object(types, ())
    with pytest.raises(ElfError, match=r'section .maps: no symbol for map "m"'):
        load_spec(builder.build())
    types = BtfBuilder()
    types.int("int", 4)
    shape = _map_struct(types)
    types.datasec(".maps", 0, (types.var("m", shape), 0, 0), (types.var("n", shape), 0, 0))
    builder, maps = _maps_object(types)
    builder.object("n", maps, 0, 16)
    with pytest.raises(ElfError, match=r'section .maps, offset 0x0: a second map "n"'):
        load_spec(builder.build())


@pytest.mark.parametrize(
    ("member", "target", "message"),
    [
        ("type", lambda types: types.ptr(types.array(1, 1)), 'has two members "type"'),
        ("values", lambda types: types.ptr(1), "has values that are not an array"),
        ("values", lambda types: types.array(1, 1), "has values that are not pointers"),
    ],
)
def test_members_no_compiler_writes_are_errors(types, member, target, message):
    """Macros make maps, so only a broken or hostile file has these."""
    shape = _map_struct(types, (member, target(types)))
    types.datasec(".maps", 16, (types.var("m", shape), 0, 16))
    builder, _ = _maps_object(types)
    with pytest.raises(ElfError, match=f'map "m": section .maps, offset 0x0: {message}'):
        load_spec(builder.build())


def test_contents_that_fit_nowhere_are_errors(types):
    """Before the first map, not at a slot, in a map without values, of the wrong kind."""
    proto = types.ptr(types.func_proto(1))
    plain = types.var("plain", _map_struct(types))
    jumps = types.var("jumps", _map_struct(types, ("values", types.array(proto, 0))))
    types.datasec(".maps", 0, (plain, 0, 16), (jumps, 0, 16))

    def attempt(offset, message, section=None):
        builder = ElfBuilder()
        maps = builder.section(".maps", bytes(48))
        builder.object("plain", maps, 8, 16)
        builder.object("jumps", maps, 24, 24)
        target = builder.symbol(
            "x", maps if section is None else section, type=STT_NOTYPE, binding=0
        )
        builder.relocate(maps, offset, target, R_BPF_64_ABS64)
        builder.section(".BTF", types.build())
        with pytest.raises(ElfError, match=f"section .maps, offset {offset:#x}: {message}"):
            load_spec(builder.build())

    attempt(0, "relocation outside every map")
    attempt(16, 'map "plain" has contents outside its values')
    attempt(36, 'map "jumps" has contents outside its values')
    attempt(32, '"x" in map "jumps" is not a program')


def test_implementations_must_be_in_both_tables(types):
    """One without a type, two at one place, a pointer outside all of them."""
    types.datasec(".struct_ops", 0, (types.var("m", types.struct("ops", 16)), 0, 16))
    builder, _ = _maps_object(types, ("m", "n"), section=".struct_ops")
    with pytest.raises(ElfError, match=r'section .struct_ops, offset 0x10: "n" has no type in BTF'):
        load_spec(builder.build())
    builder, section = _maps_object(types, section=".struct_ops")
    builder.object("m", section, 0, 16)
    with pytest.raises(ElfError, match=r"section .struct_ops, offset 0x0: a second implementation"):
        load_spec(builder.build())
    builder, section = _maps_object(types, (), section=".struct_ops")
    builder.symbol("label", section, type=STT_NOTYPE)
    builder.relocate(section, 0, builder.symbol("x"), R_BPF_64_ABS64)
    with pytest.raises(
        ElfError, match=r"section .struct_ops, offset 0x0: relocation outside every"
    ):
        load_spec(builder.build())


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_a_section_of_more_than_32_bits_is_an_error(byteorder):
    """BTF cannot express it, and nobody has the memory."""
    builder = ElfBuilder(byteorder)
    builder.zeros(".bss", 1 << 32)
    types = BtfBuilder(byteorder)
    types.datasec(".bss", 0)
    builder.section(".BTF", types.build())
    with pytest.raises(ElfError, match=r"section .bss: 4294967296 bytes are more than BTF"):
        load_spec(builder.build())


def test_the_size_of_a_section_that_no_type_is_about_does_not_matter():
    """A damaged header of debug information is no reason to refuse the rest."""
    builder = ElfBuilder()
    builder.zeros(".debug_str", 1 << 40)
    builder.section(".BTF", BtfBuilder().build())
    assert load_spec(builder.build()).programs == {}


def test_a_definition_can_be_made_without_a_compiler(types):
    """What the errors above are variations of."""
    key = types.ptr(1)
    definition = _map_struct(types, ("key", key), ("max_entries", types.ptr(types.array(1, 7))))
    types.datasec(".maps", 0, (types.var("m", definition), 0, 24))
    builder, _ = _maps_object(types, size=24)
    found = load_spec(builder.build()).maps["m"]
    assert (found.type, found.key_size, found.max_entries) == (2, 4, 7)
    assert found.key_type_id == 1
