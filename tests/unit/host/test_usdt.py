"""USDT notes: their bytes, and rubbish in their place."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyebpf.errors import ElfError
from pyebpf.host import usdt


def note(desc: bytes, owner: bytes = b"stapsdt\0", kind: int = 3) -> bytes:
    data = struct.pack("<III", len(owner), len(desc), kind) + owner + bytes(-len(owner) % 4)
    return data + desc + bytes(-len(desc) % 4)


def desc(pc: int, base: int, semaphore: int, *texts: bytes) -> bytes:
    return struct.pack("<QQQ", pc, base, semaphore) + b"".join(text + b"\0" for text in texts)


def test_only_probes_notes_are_read():
    """Of other owners and kinds there may be some between them."""
    wanted = [desc(1, 2, 3, b"a", b"b", b""), desc(4, 5, 6, b"cc", b"d", b"8@%rdi")]
    data = note(wanted[0]) + note(b"abc", b"GNU\0") + note(b"x", kind=4) + note(wanted[1])
    assert list(usdt._descriptions(data, "<", "x")) == wanted
    assert usdt._split(wanted[1], "<", "Q", "x") == (4, 5, 6, ["cc", "d", "8@%rdi"])


@pytest.mark.parametrize(
    "data", [note(b"abcd")[:-4], note(b"abcd") + struct.pack("<III", 8, 99, 3)]
)
def test_a_note_that_is_cut_short_is_named(data):
    """With the section's name."""
    with pytest.raises(ElfError, match=r"stapsdt.*beyond"):
        list(usdt._descriptions(data, "<", "x"))


@given(st.binary(max_size=200))
def test_rubbish_is_an_elf_error(data):
    """Any bytes, in the section and as a whole file."""
    with contextlib.suppress(ElfError):
        for each in usdt._descriptions(data, "<", "x"):
            usdt._split(each, "<", "Q", "x")


def test_a_file_that_is_none_is_named(tmp_path):
    """And one without probes has none."""
    path = tmp_path / "text"
    path.write_bytes(b"\x7fELF" + bytes(60))
    with pytest.raises(ElfError, match="text"):
        usdt.usdt_notes(path)
