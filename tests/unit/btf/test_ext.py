"""``.BTF.ext``: records by section, growing records, and what is malformed."""

from __future__ import annotations

import struct

import pytest

from pyebpf.btf.btf import Btf
from pyebpf.btf.ext import CoreRelocationInfo, Ext, FuncInfo, LineInfo, decode_ext
from pyebpf.errors import BtfError
from tests.support.btf_builder import BtfBuilder
from tests.support.c_types import compile_bpf

ORDERS = pytest.mark.parametrize("byteorder", ["little", "big"])


def area(order: str, record_size: int, *sections: tuple[int, list[tuple[int, ...]]]) -> bytes:
    """Pack an area: sections of (name offset, records), each record padded with ones."""
    data = struct.pack(order + "I", record_size)
    for name, records in sections:
        data += struct.pack(order + "2I", name, len(records))
        for record in records:
            data += struct.pack(f"{order}{len(record)}I", *record).ljust(record_size, b"\1")
    return data


def blob(order: str, *areas: bytes, header: int = 32) -> bytes:
    fields, place = [], 0
    for one in areas:
        fields += [place, len(one)]
        place += len(one)
    packed = struct.pack(order + "HBBI", 0xEB9F, 1, 0, header)
    packed += struct.pack(f"{order}{len(fields)}I", *fields)
    return packed.ljust(header, b"\0") + b"".join(areas)


def strings(byteorder: str) -> tuple[Btf, dict[str, int]]:
    builder = BtfBuilder(byteorder)
    for text in ("xdp", ".text", "0:1", "a.c"):
        builder.string(text)
    return Btf.decode(builder.build()), builder.known


@ORDERS
@pytest.mark.parametrize("tail", [0, 4, 12])
def test_records_are_read_by_section_and_their_tails_skipped(byteorder: str, tail: int) -> None:
    """Records of newer compilers are longer; the front stays."""
    order = "<" if byteorder == "little" else ">"
    btf, at = strings(byteorder)
    data = blob(
        order,
        area(order, 8 + tail, (at["xdp"], [(0, 5)]), (at[".text"], [(0, 6), (16, 7)])),
        area(order, 16 + tail, (at["xdp"], [(0, at["a.c"], 9, 31 << 10 | 4)])),
        area(order, 16 + tail, (at["xdp"], [(8, 3, at["0:1"], 2)])),
    )
    ext = decode_ext(data, btf)
    assert ext.func_info == {"xdp": [FuncInfo(0, 5)], ".text": [FuncInfo(0, 6), FuncInfo(16, 7)]}
    assert ext.line_info == {"xdp": [LineInfo(0, at["a.c"], 9, 31 << 10 | 4)]}
    assert ext.core_relocations == {"xdp": [CoreRelocationInfo(8, 3, "0:1", 2)]}


def test_a_header_of_24_bytes_has_no_core_relocations() -> None:
    """As clang before 10 wrote it."""
    btf, at = strings("little")
    data = blob("<", area("<", 8, (at["xdp"], [(0, 5)])), b"", header=24)
    ext = decode_ext(data, btf)
    assert (len(ext.func_info), ext.line_info, ext.core_relocations) == (1, {}, {})


def test_lines_are_a_sequence() -> None:
    """By place, by slice, compared."""
    btf, at = strings("little")
    data = blob("<", b"", area("<", 16, (at["xdp"], [(8 * n, 1, 2, 3) for n in range(3)])), b"")
    table = decode_ext(data, btf).line_info["xdp"]
    assert (len(table), table[-1], table[::2]) == (3, table[2], [table[0], table[2]])
    assert table != 5


ONE = area("<", 8, (1, [(0, 5)]))
MALFORMED = {
    "empty": b"",
    "short": blob("<", ONE, b"")[:20],
    "magic": b"\0\0" + blob("<", ONE, b"", b"")[2:],
    "version": blob("<", ONE, b"", b"").replace(b"\x9f\xeb\x01", b"\x9f\xeb\x02"),
    "header length": blob("<", ONE, b"", b"", header=32).replace(b"\x20", b"\xff", 1),
    "area outside": blob("<", ONE, b"", b"")[:-1],
    "no record size": blob("<", b"\0\0", b"", b""),
    "record too small": blob("<", area("<", 4, (1, [(0,)])), b"", b""),
    "record in odd bytes": blob("<", area("<", 9, (1, [(0, 5)])), b"", b""),
    "no records": blob("<", area("<", 8, (1, [])), b"", b""),
    "records do not fit": blob("<", ONE[:8] + b"\xff\xff\xff\xff" + ONE[12:], b"", b""),
    "section header cut off": blob("<", ONE + b"\0\0\0\0", b"", b""),
    "name outside the strings": blob("<", area("<", 8, (1 << 20, [(0, 5)])), b"", b""),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_tables_are_btf_errors(data: bytes) -> None:
    """Nothing else comes out."""
    with pytest.raises(BtfError):
        decode_ext(data, strings("little")[0])


def test_one_malformed_table_leaves_the_others() -> None:
    """What it is, and its fault, are told."""
    relocations = area("<", 16, (1, [(8, 1, strings("little")[1]["0:1"], 0)]))
    lines = area("<", 16, (1, [(0, 1, 2, 3)]))
    data = blob("<", area("<", 4, (1, [(0,)])), lines, relocations)
    faults: list[str] = []
    ext = decode_ext(data, strings("little")[0], on_fault=lambda name, _: faults.append(name))
    assert faults == ["func_info"]
    assert ext.func_info == {}
    assert [len(table) for table in ext.line_info.values()] == [1]
    assert [table[0].access for table in ext.core_relocations.values()] == ["0:1"]


@pytest.mark.parametrize("length", range(24, 32))
def test_any_length_of_the_header_is_read_within_the_section(length: int) -> None:
    """Fields count when they are whole."""
    data = struct.pack("<HBBI4I", 0xEB9F, 1, 0, length, 0, 0, 0, 0).ljust(length, b"\xff")
    assert decode_ext(data, strings("little")[0]) == Ext({}, {}, {})


def test_an_access_outside_the_strings_is_none() -> None:
    """The other relocations of the file are still good, and libbpf applies them."""
    records = [(0, 1, 1 << 20, 0), (8, 1, strings("little")[1]["0:1"], 0)]
    data = blob("<", b"", b"", area("<", 16, (1, records)))
    (found,) = decode_ext(data, strings("little")[0]).core_relocations.values()
    assert [record.access for record in found] == ["", "0:1"]


SOURCE = """
struct task { int pid; char comm[16]; } __attribute__((preserve_access_index));
__attribute__((section("first"), used)) int one(struct task *t) { return t->pid; }
__attribute__((section("second"), used)) int two(struct task *t) { return t->comm[3]; }
"""


@ORDERS
def test_clang_s_tables_are_read(byteorder: str) -> None:
    """One function, its lines and its relocation in each section."""
    compiled = compile_bpf(SOURCE, byteorder)
    btf = Btf.decode(compiled.btf)
    ext = decode_ext(compiled.sections[".BTF.ext"], btf)
    functions = {name: btf.type(info[0].type_id).name for name, info in ext.func_info.items()}
    assert functions == {"first": "one", "second": "two"}
    accesses = {
        name: [(btf.type(note.type_id).name, note.access, note.kind) for note in notes]
        for name, notes in ext.core_relocations.items()
    }
    assert accesses == {"first": [("task", "0:0", 0)], "second": [("task", "0:1:3", 0)]}
    lines = {btf.string(line.line) for line in ext.line_info["first"]}
    assert lines == {SOURCE.splitlines()[2]}
    assert {line.column >> 10 for line in ext.line_info["second"]} == {4}
