"""``func_info`` and ``line_info`` of a loaded program: names of functions and lines by slot.

What the kernel said there is comes in, together with the next request, which gets the room for the
tables; after that call they are decoded here. Records may grow in newer kernels: their front is
what is known. The types they refer to are those of the program, by its BTF id.
"""

from __future__ import annotations

import struct
import sys

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Func
from pyebpf.btf_object import btf_by_id
from pyebpf.errors import BtfError, SourceLine, SyscallError
from pyebpf.program_text import lines_of
from pyebpf.uapi.info import ProgInfo

__all__ = ["SourceTables"]

_FUNC_INFO = struct.Struct("=II")
_LINE_INFO_SIZE = 16


class SourceTables:
    """The tables of one program.

    Args:
        known: What the kernel said when it was asked for nothing.
        asked: The request to come, which gets the room.
    """

    def __init__(self, known: ProgInfo, asked: ProgInfo) -> None:
        self._known = known
        self._functions = bytearray(known.nr_func_info * known.func_info_rec_size)
        self._lines = bytearray(known.nr_line_info * known.line_info_rec_size)
        if self._functions:
            asked.nr_func_info, asked.func_info = known.nr_func_info, self._functions
            asked.func_info_rec_size = known.func_info_rec_size
        if self._lines:
            asked.nr_line_info, asked.line_info = known.nr_line_info, self._lines
            asked.line_info_rec_size = known.line_info_rec_size
        self._types: Btf | None = None

    def functions(self) -> dict[int, str]:
        """Return names by slot, in the order of the code, as far as there are types."""
        found: dict[int, str] = {}
        types = self._read_types()
        if types is None:
            return found
        records = _fronts(self._functions, self._known.func_info_rec_size, _FUNC_INFO.size)
        for slot, type_id in _FUNC_INFO.iter_unpack(records):
            try:
                function = types.type(type_id)
            except BtfError:
                continue
            if isinstance(function, Func):
                found[slot] = function.name
        return found

    def lines(self) -> dict[int, SourceLine]:
        """Return lines of source by slot."""
        records = _fronts(self._lines, self._known.line_info_rec_size, _LINE_INFO_SIZE)
        return lines_of(records, self._read_types(), sys.byteorder)

    def line_slots(self) -> list[int]:
        """Return the slots of all records of lines, one after another."""
        records = _fronts(self._lines, self._known.line_info_rec_size, _LINE_INFO_SIZE)
        return [slot for slot, *_ in struct.iter_unpack("=IIII", records)]

    def _read_types(self) -> Btf | None:
        if self._types is None and self._known.btf_id:
            try:
                self._types = btf_by_id(self._known.btf_id)
            except SyscallError:
                self._known.btf_id = 0  # shown is the program to whoever holds it, its types not
        return self._types


def _fronts(records: bytes | bytearray, size: int, front: int) -> bytes:
    if size < front:
        return b""
    return b"".join(records[at : at + front] for at in range(0, len(records), size))
