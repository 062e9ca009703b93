"""Functions of ELF files by address: as nm has them; and whatever else a file may hold."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import ElfError, SyscallError
from pyebpf.host import libraries
from pyebpf.host.functions import Functions
from tests.support import properties as properties

LIBC = libraries.find("c")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
@pytest.mark.parametrize("path", [LIBC, sys.executable], ids=["libc", "python"])
def test_every_function_has_the_name_that_readelf_shows(path):
    """At its first byte and at its last; and the build id."""
    functions = Functions.read(path)
    shown = subprocess.run(
        ["readelf", "-W", "--dyn-syms", "-s", path], capture_output=True, text=True, check=True
    ).stdout
    names: dict[int, set[str]] = {}
    ends: dict[int, int] = {}
    for line in shown.splitlines():
        words = line.split()
        if len(words) < 8 or words[3] not in ("FUNC", "IFUNC") or words[6] == "UND":
            continue
        address = int(words[1], 16)
        names.setdefault(address, set()).add(words[7].partition("@")[0])
        ends[address] = max(ends.get(address, 0), int(words[2], 0))
    assert len(functions) == len(set(names) - {0})
    for address in sorted(names)[:: max(len(names) // 500, 1)]:
        if not address:
            continue
        assert functions.at_address(address)[0] in names[address]
        found = functions.at_address(address + 1)
        if address + 1 not in names and ends[address] > 1:
            assert found[1] == 1
            assert found[0] in names[address]
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True)
    if "Build ID" in notes.stdout:
        assert functions.build_id.hex() in notes.stdout


def test_offsets_are_taken_for_addresses_by_the_segments():
    """What is in no segment is nothing."""
    functions = Functions([(0x100, 0x5000, 0x50)], {0x5010: (4, b"f"), 0x5020: (0, b"g")}, b"")
    assert functions.at(0x111) == ("f", 1)
    assert functions.at(0x114) is None
    assert functions.at(0x12F) == ("g", 15)
    assert functions.at(0x10F) is None
    assert functions.at(0x150) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", b"\x7fELF" + bytes(60), b"\x7fELF\2\1" + bytes(20), bytes(100)],
    ids=range(5),
)
def test_what_is_no_elf_file_is_refused(tmp_path, data):
    """By name; no other error comes out."""
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ElfError, match="file"):
        Functions.read(path)
    with pytest.raises(SyscallError, match="ENOENT"):
        Functions.read(tmp_path / "nothing")


# A library cut to what fits into a small test: headers, notes, and the start of its tables.
IMAGE = pathlib.Path(LIBC or sys.executable).read_bytes()[: 1 << 14]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=8), st.integers(0))
def test_any_damage_is_an_elf_error_or_harmless(tmp_path_factory, damage, cut):
    """Headers changed at will, the file cut anywhere."""
    data = bytearray(IMAGE[: cut % len(IMAGE)])
    for place, value in damage:
        if place < len(data):
            data[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    with contextlib.suppress(ElfError):
        Functions.read(path).at(0x1000)


def test_a_narrow_file_is_read_as_well(tmp_path):
    """32 bits, big-endian: one segment, one symbol, one build id, put together by hand."""
    note = struct.pack(">III", 4, 3, 3) + b"GNU\0" + b"\1\2\3\0"
    strings = b"\0main\0"
    symbols = bytes(16) + struct.pack(">IIIBBH", 1, 0x1010, 8, 0x12, 0, 1)
    start = 52 + 2 * 32 + 3 * 40
    places = [start, start + len(note), start + len(note) + len(strings)]
    header = (
        b"\x7fELF\1\2\1"
        + bytes(9)
        + struct.pack(">HHIIIIIHHHHHH", 2, 8, 1, 0, 52, 52 + 64, 0, 52, 32, 2, 40, 3, 0)
    )
    segments = struct.pack(">8I", 1, 0, 0x1000, 0, 0x100, 0x100, 5, 4)
    segments += struct.pack(">8I", 4, places[0], 0, 0, len(note), len(note), 4, 4)
    sections = bytes(40)
    sections += struct.pack(">10I", 0, 2, 0, 0, places[2], len(symbols), 2, 0, 4, 16)
    sections += struct.pack(">10I", 0, 3, 0, 0, places[1], len(strings), 0, 0, 1, 0)
    path = tmp_path / "narrow"
    path.write_bytes(header + segments + sections + note + strings + symbols)
    functions = Functions.read(path)
    assert functions.at(0x12) == ("main", 2)
    assert functions.build_id == b"\1\2\3"
