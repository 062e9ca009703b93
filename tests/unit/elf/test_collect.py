"""`load_spec`: whole objects."""

from __future__ import annotations

import io
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import pytest

from pyebpf.asm.instruction import decode_all
from pyebpf.btf.types import Func
from pyebpf.elf import load_spec
from pyebpf.elf.reader import Elf
from pyebpf.errors import BtfError, ElfError
from pyebpf.uapi.bpf import AttachType, ProgFlag, ProgType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.elf import SHF_ALLOC, SHF_EXECINSTR
from tests.support import programs
from tests.support.elf_builder import EXIT, MOV_0, ElfBuilder

OBJECTS = sorted(programs.DATA.glob("*.o"))
# Bit-fields, parts of integers and packets are compiled differently for each byte order.
ORDER_IN_CODE = {"core", "externs_kconfig", "globals", "probes", "xdp_drop"}
ORDER_IN_CODE |= {"hooks_cgroup", "hooks_usdt", "tc_egress"}


def test_any_source_of_the_bytes_gives_the_same_spec(tmp_path):
    """A path, bytes of any kind, an open file; only the name differs."""
    path = programs.built("globals")
    data = path.read_bytes()
    spec = load_spec(path)
    assert spec.name == "globals"
    assert load_spec(str(path)) == spec
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        found = load_spec(source)
        assert found.name == ""
        found.name = spec.name
        assert found == spec
    with path.open("rb") as file:
        assert load_spec(file) == spec


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.bpf.o", "a"), ("a", "a"), (".hidden.o", ".hidden"), ("two words.o", "two words")],
)
def test_a_spec_is_named_after_its_file(tmp_path, name, expected):
    """Without directories and suffixes."""
    path = tmp_path / name
    path.write_bytes(ElfBuilder().build())
    assert load_spec(path).name == expected


def test_a_missing_file_is_the_systems_error(tmp_path):
    """It is not the object's fault."""
    with pytest.raises(FileNotFoundError):
        load_spec(tmp_path / "nothing.o")


def test_errors_name_the_object(tmp_path):
    """Among several files it must be clear which one is bad."""
    path = tmp_path / "bad.bpf.o"
    path.write_bytes(b"no")
    with pytest.raises(ElfError, match=r'^object "bad": offset 0x0: not an ELF file$'):
        load_spec(path)


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_loading_twice_gives_equal_specs(path):
    """Nothing depends on what was done before."""
    assert load_spec(path) == load_spec(path)


@pytest.mark.parametrize("name", sorted(set(programs.names()) - ORDER_IN_CODE))
def test_byte_orders_differ_in_nothing_but_bytes(name):
    """Decoded, both objects of one source are the same program."""
    little = load_spec(programs.built(name, "little"))
    big = load_spec(programs.built(name, "big"))
    assert list(little.programs) == list(big.programs)
    for one, other in zip(little.programs.values(), big.programs.values(), strict=True):
        assert one.instructions == other.instructions
        assert one.references == other.references
        assert one.functions == other.functions
        assert _words(one.func_info, "<") == _words(other.func_info, ">")
        assert _words(one.line_info, "<") == _words(other.line_info, ">")
        assert [each.slot for each in one.relocations] == [each.slot for each in other.relocations]


def _words(data, order):
    return struct.unpack(f"{order}{len(data) // 4}I", data)


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_instructions_are_where_llvm_sees_them(path: pathlib.Path):
    """Boundaries, opcodes and calls agree with llvm-objdump, section by section."""
    objdump = shutil.which("llvm-objdump-19") or shutil.which("llvm-objdump")
    if objdump is None:
        pytest.skip("llvm-objdump is not installed")
    command = [objdump, "-d", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    elf = Elf(path.read_bytes())
    parts = re.split(r"Disassembly of section (.+):\n", text)[1:]
    assert parts[::2] == [each.name for each in elf.sections if each.executable]
    for name, listing in zip(parts[::2], parts[1::2], strict=True):
        rows = re.findall(r"^ *(\d+):\t((?:[0-9a-f]{2} ?)+)\t", listing, re.MULTILINE)
        expected = [(int(slot), bytes.fromhex(raw)) for slot, raw in rows]
        code = bytes(elf.section(name).data())
        slot = 0
        found = []
        for instruction in decode_all(code, elf.byteorder):
            end = slot + instruction.slots
            found.append((slot, code[slot * 8 : end * 8]))
            assert instruction.opcode == code[slot * 8]
            slot = end
        assert found == expected


def test_sections_give_programs_their_kind():
    """Type, attach type, target, flags and whether to load, from the section's name."""
    builder = ElfBuilder()
    for index, name in enumerate(["?xdp.frags", "mystery/of/life", "fentry/do_unlinkat"]):
        builder.symbol(f"f{index}", builder.code(name, [MOV_0, EXIT]), 0, 16)
    builder.license("Dual MIT/GPL")
    spec = load_spec(builder.build())
    frags, unknown, traced = spec.programs.values()
    assert (frags.type, frags.attach_type) == (ProgType.XDP, AttachType.XDP)
    assert (frags.flags, frags.autoload) == (ProgFlag.XDP_HAS_FRAGS, False)
    assert frags.section == "xdp.frags"
    assert (unknown.type, unknown.attach_type, unknown.section) == (
        ProgType.UNSPEC,
        None,
        "mystery/of/life",
    )
    assert (traced.attach_to, traced.autoload) == ("do_unlinkat", True)
    assert {each.license for each in spec.programs.values()} == {"Dual MIT/GPL"}


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_licence_and_version_are_read(byteorder):
    """A missing licence is empty: then the kernel allows no helpers of the GPL."""
    builder = ElfBuilder(byteorder)
    builder.section("version", (0x50F00).to_bytes(4, byteorder))
    assert load_spec(builder.build()).license == ""
    builder.license("GPL\0rest")
    spec = load_spec(builder.build())
    assert (spec.license, spec.kernel_version, spec.byteorder) == ("GPL", 0x50F00, byteorder)


def test_any_kernel_is_no_kernel():
    """The number that asks for the running kernel's is the same as none."""
    builder = ElfBuilder()
    builder.section("version", (0xFFFFFFFE).to_bytes(4, "little"))
    assert load_spec(builder.build()).kernel_version == 0


def test_a_licence_that_is_no_text_is_none_that_counts():
    """The file is read all the same, as libbpf does."""
    builder = ElfBuilder()
    builder.section("license", b"\xffGPL\0")
    assert load_spec(builder.build()).license == "\ufffdGPL"


@pytest.mark.parametrize("name", [".BTF", ".BTF.ext", "license", "version", ".debug_info"])
def test_names_say_more_than_flags(name):
    """A section that is known by its name holds no code, whatever its flags say."""
    builder = ElfBuilder()
    builder.symbol("main", builder.code("xdp", [EXIT]), 0, 8)
    types = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"
    builder.section(name, types if name.startswith(".BTF") else bytes(5), flags=SHF_EXECINSTR)
    assert list(load_spec(builder.build()).programs) == ["main"]


@pytest.mark.parametrize(
    ("section", "data", "message"),
    [
        ("version", b"\1\0", "section version, offset 0x0: a version takes 4 bytes, not 2"),
        (
            ".BTF",
            struct.pack(">HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0",
            "section .BTF: big-endian types in a little-endian file",
        ),
    ],
)
def test_special_sections_that_make_no_sense_are_errors(section, data, message):
    """Each error names the section."""
    builder = ElfBuilder()
    builder.section(section, data)
    with pytest.raises((ElfError, BtfError)) as caught:
        load_spec(builder.build())
    assert str(caught.value) == message


NO_TYPES = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"


@pytest.mark.parametrize("declaring", [".maps", ".struct_ops", "?.struct_ops.link"])
def test_malformed_types_are_errors_where_something_is_declared_by_them(declaring):
    """Maps and implementations are; everything else loads without, with a warning, as libbpf."""
    builder = ElfBuilder()
    builder.section(".BTF", b"no types")
    message = "section .BTF: 8 bytes are too few for a BTF header"
    with pytest.warns(RuntimeWarning, match=f"without types.*{message}"):
        assert load_spec(builder.build()).btf is None
    builder.section(declaring, bytes(8))
    with pytest.raises(BtfError, match=message):
        load_spec(builder.build())


def test_what_types_say_about_code_may_be_malformed():
    """Types that declare maps are still there then; libbpf goes on, too."""
    builder = ElfBuilder()
    builder.section(".BTF", NO_TYPES)
    builder.section(".BTF.ext", b"short")
    builder.symbol("main", builder.code("xdp", [EXIT]), 0, 8)
    with pytest.warns(RuntimeWarning, match="5 bytes are too few") as warned:
        spec = load_spec(builder.build())
    assert [str(each.message).partition(":")[0] for each in warned] == [
        f"section .BTF.ext is read without its {table}"
        for table in ("func_info", "line_info", "CO-RE relocations")
    ]
    assert spec.btf is not None
    assert spec.programs["main"].line_info == b""


def test_maps_and_sections_share_one_space_of_names():
    """Two maps of one name could not be told apart."""
    builder = ElfBuilder()
    for section in ("maps", "maps/more"):
        builder.object("m", builder.section(section, struct.pack("<5I", 1, 4, 4, 1, 0)), 0, 20)
    with pytest.raises(ElfError, match='section maps/more: a second map "m"'):
        load_spec(builder.build())


def test_hidden_functions_are_static_in_btf(compile_c):
    """The verifier then looks at them with their callers, as libbpf has it."""
    spec = compile_c("""
        __hidden __noinline int hidden(int x) { barrier_var(x); return x; }
        __noinline int open(int x) { barrier_var(x); return x; }
        SEC("socket") int run(void *ctx) { return hidden(1) + open(2); }
    """)
    linkage = {}
    for type_id in spec.btf.of_kind(BtfKind.FUNC):
        function = spec.btf.type(type_id)
        assert isinstance(function, Func)
        linkage[function.name] = function.linkage
    assert linkage == {"hidden": 0, "open": 1, "run": 1}


def test_a_large_program_makes_few_objects():
    """A hundred thousand instructions stay bytes, on the way in and in the spec."""
    builder = ElfBuilder()
    mov = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0])
    code = builder.section("xdp", mov * 100_000, flags=SHF_ALLOC | SHF_EXECINSTR)
    builder.symbol("main", code, 0, 800_000)
    data = builder.build()
    load_spec(data)
    before = sys.getallocatedblocks()
    spec = load_spec(data)
    assert sys.getallocatedblocks() - before < 1000
    assert len(spec.programs["main"].code) == 800_000


@pytest.mark.parametrize("name", ["bloom", "legacy_goebpf"])
def test_a_file_cut_off_anywhere_is_an_error(name):
    """At every byte: a spec or an error of ours, nothing else."""
    data = programs.built(name).read_bytes()
    for size in range(len(data)):
        with pytest.raises((ElfError, BtfError)):
            load_spec(data[:size])


def test_sections_may_share_a_name_where_nobody_asks_for_them():
    """Groups of sections of one name are legal; the first one counts for BTF."""
    builder = ElfBuilder()
    builder.section(".group", b"1")
    builder.section(".group", b"22")
    types = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"
    builder.section(".BTF", types)
    assert load_spec(builder.build()).maps == {}


def test_statically_linked_objects_are_read(compile_c, tmp_path):
    """The linker of bpftool leaves dead code, static names twice, and places filled in already."""
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if bpftool is None:
        pytest.skip("bpftool is not installed")
    sources = (
        """
        int shared = 3; static int own = 5;
        __weak __noinline int value(int x) { barrier_var(x); return x + 100; }
        static __noinline int helper(int x) { barrier_var(x); return x + own++; }
        SEC("socket") int one(void *ctx) { return helper(1) + value(3) + shared; }
        """,
        """
        extern int shared; static int own = 7;
        static __noinline int helper(int x) { barrier_var(x); return x * own++; }
        __noinline int value(int x) { return helper(x) + 200; }
        SEC("socket") int two(void *ctx) { return value(5) + shared; }
        """,
    )
    objects = []
    for number, source in enumerate(sources):
        compile_c(source)
        objects.append(str((tmp_path / "test.bpf.o").rename(tmp_path / f"{number}.o")))
    linked = tmp_path / "linked.o"
    subprocess.run([bpftool, "gen", "object", str(linked), *objects], check=True)
    spec = load_spec(linked)
    assert {name: [part for _, part in each.functions] for name, each in spec.programs.items()} == {
        "one": ["one", "helper", "value", "helper"],
        "two": ["two", "value", "helper"],
    }
    # The weak function, which adds 100, is gone from both.
    added = {each.immediate for each in spec.programs["one"].instructions if each.opcode == 0x04}
    assert 200 in added
    assert 100 not in added
    datasec = spec.btf.type(spec.maps[".data"].value_type_id)
    assert [entry.offset for entry in datasec.variables] == [0, 4, 8]
    assert spec.variables["shared"].value == 3
