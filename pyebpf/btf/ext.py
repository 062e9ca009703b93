"""``.BTF.ext``: what clang says about single instructions.

    | header                              | func_info area | line_info area | core_relo area |
    | u16 magic, u8 version, u8 flags     |
    | u32 hdr_len (24; 32 with core_relo) |  area: u32 record_size, then per ELF section
    | u32 func_off func_len               |    u32 sec_name_off, u32 num_info,
    | u32 line_off line_len               |    num_info records of record_size bytes
    | [u32 core_off core_len]             |

Records may grow: the known front is read, the rest skipped. Offsets of instructions are bytes from
the start of the ELF section here (the kernel counts instructions).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError
from pyebpf.typed import NamedTuple, TypeVar, overload
from pyebpf.uapi.btf import BTF_MAGIC, BTF_VERSION

__all__ = ["CoreRelocationInfo", "Ext", "FuncInfo", "LineInfo", "LineTable", "decode_ext"]

_SHORT_HEADER = 24

_Record = TypeVar("_Record", bound=tuple[object, ...])
_Table = TypeVar("_Table")


class FuncInfo(NamedTuple):
    """A function starts at byte *offset*; *type_id* is its ``FUNC``."""

    offset: int
    type_id: int


class LineInfo(NamedTuple):
    """Source of the code from byte *offset* on; *column* is line << 10 | column, as stored.

    *file* and *line* are string offsets: the file's name and the line's text.
    """

    offset: int
    file: int
    line: int
    column: int


class LineTable(Sequence[LineInfo]):
    """The lines of one section; a `LineInfo` is made when it is looked at.

    A large program has 50 000 of them, which linking moves as plain numbers.

    Attributes:
        numbers: The fields of all records, four each.
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: array[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers) // 4

    @overload
    def __getitem__(self, index: int) -> LineInfo: ...
    @overload
    def __getitem__(self, index: slice) -> list[LineInfo]: ...
    def __getitem__(self, index: int | slice) -> LineInfo | list[LineInfo]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        at = range(len(self))[index] * 4
        return LineInfo(*self.numbers[at : at + 4])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class CoreRelocationInfo(NamedTuple):
    """``struct bpf_core_relo`` with the access string looked up; see `pyebpf.btf.relocate`."""

    offset: int
    type_id: int
    access: str
    kind: int


class Ext(NamedTuple):
    """The tables by name of the ELF section they are about, in order of the file."""

    func_info: dict[str, list[FuncInfo]]
    line_info: dict[str, LineTable]
    core_relocations: dict[str, list[CoreRelocationInfo]]


def decode_ext(
    data: bytes, btf: Btf, *, on_fault: Callable[[str, BtfError], object] | None = None
) -> Ext:
    """Read a ``.BTF.ext`` section.

    Args:
        data: The section.
        btf: The file's ``.BTF``, which has the strings.
        on_fault: Called with the name of a malformed table, as `Ext` has it, and its fault; that
            table is empty then, and the others are good. Without it the fault is raised.

    Raises:
        BtfError: Malformed.
    """
    order = "<" if btf.byteorder == "little" else ">"

    # Thousands of records share some dozens of strings.
    texts: dict[int, str] = {}

    def core(record: tuple[int, ...]) -> CoreRelocationInfo:
        offset, type_id, access, kind = record
        text = texts.get(access)
        if text is None:
            text = texts[access] = _access(btf, access)
        return CoreRelocationInfo(offset, type_id, text, kind)

    def table(name: str, read: Callable[[tuple[int, int]], dict[str, _Table]]) -> dict[str, _Table]:
        try:
            return read(_area(data, order, Ext._fields.index(name)))
        except BtfError as fault:
            if on_fault is None:
                raise
            on_fault(name, fault)
            return {}

    return Ext(
        table("func_info", lambda area: _tables(data, area, order, btf, "2I", FuncInfo._make)),
        table("line_info", lambda area: _line_tables(data, area, order, btf)),
        table("core_relocations", lambda area: _tables(data, area, order, btf, "4I", core)),
    )


# Where there is none, the one program that needs it cannot be relocated, and says so.
def _access(btf: Btf, offset: int) -> str:
    try:
        return btf.string(offset)
    except BtfError:
        return ""


# Start and end of one of the three areas.
def _area(data: bytes, order: str, number: int) -> tuple[int, int]:
    if len(data) < _SHORT_HEADER:
        raise BtfError(f"{len(data)} bytes are too few for a header")
    magic, version, length = struct.unpack_from(order + "HBxI", data)
    if magic != BTF_MAGIC:
        raise BtfError(f"no BTF magic, found 0x{magic:x}", "offset 0x0")
    if version != BTF_VERSION:
        raise BtfError(f"version {version}, expected {BTF_VERSION}", "offset 0x2")
    if not _SHORT_HEADER <= length <= len(data):
        raise BtfError(f"header length {length}", "offset 0x4")
    field = 8 + 8 * number
    # The fields for CO-RE came with clang 10.
    offset, size = struct.unpack_from(order + "2I", data, field) if field + 8 <= length else (0, 0)
    end: int = length + offset + size
    if end > len(data):
        raise BtfError(f"an area ends at {end} of {len(data)} bytes", f"offset 0x{field:x}")
    return length + offset, end


def _tables(
    data: bytes,
    area: tuple[int, int],
    order: str,
    btf: Btf,
    layout: str,
    make: Callable[[tuple[int, ...]], _Record],
) -> dict[str, list[_Record]]:
    tables: dict[str, list[_Record]] = {}
    known = struct.Struct(order + layout)
    for name, start, end, record_size in _sections(data, area, order, btf, known.size):
        # The rest of each record is skipped as padding.
        whole = struct.Struct(f"{order}{layout}{record_size - known.size}x")
        records = map(make, whole.iter_unpack(memoryview(data)[start:end]))
        tables.setdefault(name, []).extend(records)
    return tables


def _line_tables(data: bytes, area: tuple[int, int], order: str, btf: Btf) -> dict[str, LineTable]:
    tables: dict[str, LineTable] = {}
    for name, start, end, record_size in _sections(data, area, order, btf, 16):
        whole = struct.Struct(f"{order}4I{record_size - 16}x")
        records = whole.iter_unpack(memoryview(data)[start:end])
        table = tables.setdefault(name, LineTable(array("I")))
        table.numbers.extend(chain.from_iterable(records))
    return tables


def _sections(
    data: bytes, area: tuple[int, int], order: str, btf: Btf, known_size: int
) -> Iterator[tuple[str, int, int, int]]:
    # Name, start and end of the records, and their size, of each section in an area.
    place, end = area
    if place == end:
        return
    if end - place < 4:
        raise BtfError("area without a record size", f"offset 0x{place:x}")
    (record_size,) = struct.unpack_from(order + "I", data, place)
    if record_size < known_size or record_size % 4:
        raise BtfError(f"record size {record_size}", f"offset 0x{place:x}")
    place += 4
    while place < end:
        if end - place < 8:
            raise BtfError("section header is cut off", f"offset 0x{place:x}")
        name, count = struct.unpack_from(order + "2I", data, place)
        start = place + 8
        if not count:
            raise BtfError("section without records", f"offset 0x{place:x}")
        if count * record_size > end - start:
            raise BtfError(f"{count} records do not fit", f"offset 0x{place:x}")
        place = start + count * record_size
        yield btf.string(name), start, place, record_size
