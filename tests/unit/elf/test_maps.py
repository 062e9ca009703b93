"""Maps declared in BTF; what `bpf_src` has is compared whole in `test_collect`."""

from __future__ import annotations

import copy

import pytest

from pyebpf.elf.functions import CodeSections
from pyebpf.elf.maps import Declared, fill_contents
from pyebpf.elf.reader import Elf
from pyebpf.errors import BtfError, ElfError
from pyebpf.spec import MapSpec, Pinning
from pyebpf.uapi.bpf import MapType
from pyebpf.uapi.elf import R_BPF_64_ABS64
from tests.support.elf_builder import EXIT, ElfBuilder

# A number as an enum's value. Headers of libbpf have had it with a pointer and without.
ULONG = "#define ulong(name, number) enum { name##_number = number } *name\n"
ARRAY = "__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1)"


def test_every_member_is_understood(compile_c):
    """Numbers of both spellings, types, sizes, pinning, tags."""
    spec = compile_c(
        ULONG
        + """
        struct key { __u32 a; __u64 b; };
        struct {
            __uint(type, BPF_MAP_TYPE_HASH);
            ulong(max_entries, 17);
            __uint(map_flags, 4);
            __uint(numa_node, 3);
            ulong(map_extra, 1ull << 40);
            __uint(pinning, 1);
            __type(key, struct key);
            __uint(key_size, 16);
            __uint(value_size, 9);
        } everything SEC(".maps") __attribute__((btf_decl_tag("one"), btf_decl_tag("two")));
        typedef struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(value, const __u16); } shape;
        shape renamed SEC(".maps");
        """
    )
    everything = spec.maps["everything"]
    assert everything.type is MapType.HASH
    assert (everything.key_size, everything.value_size) == (16, 9)
    assert (everything.max_entries, everything.flags, everything.numa_node) == (17, 4, 3)
    assert (everything.map_extra, everything.pinning) == (1 << 40, Pinning.BY_NAME)
    assert spec.btf.describe(everything.key_type_id) == "struct key"
    assert everything.value_type_id == 0
    assert sorted(everything.tags) == ["one", "two"]
    renamed = spec.maps["renamed"]
    assert (renamed.type, renamed.key_size, renamed.value_size) == (MapType.ARRAY, 0, 2)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_contents_are_named_by_slot(compile_c, byteorder):
    """Maps of maps and program arrays, by symbol and by place in a section, gaps included."""
    spec = compile_c(
        f"""
        struct inner {{ {ARRAY}; __type(key, __u32); __type(value, __u64); }};
        struct inner one SEC(".maps"), two SEC(".maps");
        struct {{
            __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 9); __type(key, __u32);
            __array(values, struct inner);
        }} outer SEC(".maps") = {{ .values = {{ [1] = (void *)&two, [4] = (void *)&one }} }};
        SEC("socket") int tail(void *ctx) {{ return 0; }}
        static SEC("socket") int quiet(void *ctx) {{ return 1; }}
        struct {{
            __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 9); __type(key, __u32);
            __array(values, int (void *));
        }} jumps SEC(".maps") = {{ .values = {{ [2] = (void *)&tail, [3] = (void *)&quiet }} }};
        """,
        byteorder=byteorder,
    )
    outer, jumps = spec.maps["outer"], spec.maps["jumps"]
    assert outer.entries == ((1, "two"), (4, "one"))
    assert (outer.inner.type, outer.inner.value_size) == (MapType.ARRAY, 8)
    assert (outer.value_size, jumps.value_size) == (4, 4)
    assert jumps.entries == ((2, "tail"), (3, "quiet"))
    assert jumps.inner is None
    assert sorted(spec.programs) == ["quiet", "tail"]


def test_a_kind_of_pinning_that_is_not_known_is_kept(compile_c):
    """Projects with loaders of their own have some."""
    found = compile_c(f'struct {{ {ARRAY}; __uint(pinning, 100); }} m SEC(".maps");').maps["m"]
    assert (found.pinning, found.pinning.name) == (100, "UNKNOWN_100")
    assert copy.deepcopy(found.pinning) == found.pinning == found.copy().pinning
    with pytest.raises(ValueError, match="is not a valid Pinning"):
        Pinning("by name")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (f"static struct {{ {ARRAY}; }} m", "is static: maps must be global"),
        ("enum { A } m", "is void, not a struct"),
        ("struct { __uint(max_entries, 1); } m", "has no type"),
        (f"struct {{ {ARRAY}; __uint(colour, 3); }} m", 'has unknown member "colour"'),
        ("struct { int type; } m", 'has a member "type" that is no pointer: int'),
        ("struct { int *type; } m", 'has a member "type" that is no number: int *'),
        (
            f"struct {{ {ARRAY}; __type(key, int); __uint(key_size, 8); }} m",
            "has key_size 4 and 8",
        ),
        (
            "struct { ulong(type, 1ull << 32); } m",
            "has type 4294967296, more than 32 bits",
        ),
        (
            f"struct {{ struct {{ {ARRAY}; }} *values[1]; {ARRAY}; }} m",
            "must have values as its last member",
        ),
        (
            f"struct {{ {ARRAY};"
            f" __array(values, struct {{ {ARRAY}; __array(values, int(void)); }}); }} m",
            "has values inside the maps it holds",
        ),
        (
            f"struct {{ {ARRAY}; __array(values, struct {{ {ARRAY}; __uint(pinning, 1); }}); }} m",
            "pins the maps it holds",
        ),
        (f"struct {{ {ARRAY}; __array(values, int); }} m", "holds int: not maps, nor functions"),
    ],
)
def test_a_definition_that_makes_no_sense_is_an_error(compile_c, definition, message):
    """The error names map, section and offset."""
    with pytest.raises(ElfError) as caught:
        compile_c(f'{ULONG}{definition} SEC(".maps") __attribute__((used));')
    expected = f'object "test": map "m": section .maps, offset 0x0: {message}'
    assert str(caught.value).startswith(expected)


def test_a_type_without_a_size_is_an_error(compile_c):
    """A key of an undefined struct, say."""
    with pytest.raises(BtfError, match=r'map "m": .*struct nothing'):
        compile_c(f'struct {{ {ARRAY}; __type(key, struct nothing); }} m SEC(".maps");')


def test_a_number_may_be_the_value_of_an_enum(compile_c):
    """Without a pointer, as libbpf's __ulong() writes it; 64 bits wide if need be."""
    spec = compile_c(
        f'struct {{ {ARRAY}; enum {{ extra = 1ull << 44 }} map_extra; }} wide SEC(".maps");'
        f'struct {{ {ARRAY}; enum {{ flags = 4 }} map_flags; }} narrow SEC(".maps");'
    )
    assert (spec.maps["wide"].map_extra, spec.maps["narrow"].flags) == (1 << 44, 4)


def test_other_values_of_a_definition_mean_nothing(compile_c):
    """Libbpf takes such objects, too."""
    plain = compile_c(f'struct {{ {ARRAY}; int *key; }} m SEC(".maps");')
    valued = compile_c(f'struct {{ {ARRAY}; int *key; }} m SEC(".maps") = {{ .key = (int *)5 }};')
    assert plain.maps == valued.maps


def test_definitions_hold_no_foreign_pointers(compile_c):
    """Pointers into other places would be lost."""
    with pytest.raises(ElfError, match=r'offset 0x10: map "m" has contents outside its values'):
        compile_c(f'int x; struct {{ {ARRAY}; int *key; }} m SEC(".maps") = {{ .key = &x }};')
    with pytest.raises(ElfError, match=r'offset 0x10: "x" in map "m" is not a map'):
        compile_c(
            f"int x; struct {{ {ARRAY}; __array(values, struct {{ {ARRAY}; }}); }} m"
            ' SEC(".maps") = { .values = { (void *)&x } };'
        )


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_contents_are_what_their_symbols_are(byteorder):
    """GNU as writes the values of symbols into the slots, too; of sections, slots say the place."""
    builder = ElfBuilder(byteorder)
    code = builder.code("xdp", [EXIT] * 4)
    slots = [8, 8, 24, 64]
    data = bytes(32) + b"".join(slot.to_bytes(8, byteorder) for slot in slots) + bytes(32)
    section = builder.section(".maps", data)
    functions = [builder.symbol(name, code, 8 * at, 8) for at, name in enumerate("pqrs")]
    for at, symbol in enumerate([functions[1], functions[2], builder.section_symbol(code)]):
        builder.relocate(section, 32 + 8 * at, symbol, R_BPF_64_ABS64)
    builder.relocate(section, 56, builder.object("held", section, 64, 32), R_BPF_64_ABS64)
    elf = Elf(builder.build())
    jumps, outer, held = (MapSpec(name=name, type=MapType.UNSPEC) for name in ("j", "o", "h"))
    outer.inner = held
    maps = {0: Declared(jumps, 32), 56: Declared(outer, 0), 64: Declared(held, None)}
    fill_contents(elf, elf.sections[section], maps, CodeSections(elf))
    assert jumps.entries == ((0, "q"), (1, "r"), (2, "s"))
    assert outer.entries == ((0, "h"),)


def test_declared_maps_need_btf(compile_c):
    """Without it the section says nothing."""
    with pytest.raises(ElfError, match=r"section .maps: maps are declared in BTF, and the object"):
        compile_c(f'struct {{ {ARRAY}; }} m SEC(".maps");', "-g0")
