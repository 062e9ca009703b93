"""The C library: declarations and their generated module agree; addresses are real."""

from __future__ import annotations

import array
import ctypes
import errno
import importlib.util
import re

import pytest

from pyebpf.sys import libc_build
from pyebpf.sys.libc import address_of, error_number, libc


def data_of(text: str) -> dict[str, object]:
    """Types and functions of a generated module; how they are laid out is up to cffi's version."""
    return dict(re.findall(r"^    (_\w+) = (.*)$", text, re.MULTILINE))


def test_the_generated_module_is_up_to_date() -> None:
    """Generating it anew gives what is checked in."""
    if importlib.util.find_spec("pycparser") is None:
        pytest.skip("pycparser, which cffi needs to generate, is not installed")
    checked_in = libc_build.TARGET.read_text("utf-8")
    assert data_of(libc_build.generate()) == data_of(checked_in)
    assert len(data_of(checked_in)) == 3


def test_a_failed_call_leaves_its_errno() -> None:
    """Here of statfs, on nothing."""
    assert libc.statfs(b"/nonexistent", address_of(bytearray(256))[0]) == -1
    assert error_number() == errno.ENOENT


@pytest.mark.parametrize(
    "buffer",
    [
        b"content!",
        bytearray(b"content!"),
        memoryview(b"content!"),
        array.array("I", b"content!"),
        (ctypes.c_char * 8)(*b"content!"),
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "ctypes"],
)
def test_an_address_is_where_the_buffer_is(buffer: bytes) -> None:
    """Read back by ctypes; of any buffer, read-only ones included."""
    keeper, address = address_of(buffer)
    assert ctypes.string_at(address, 8) == b"content!"
    del keeper


def test_an_empty_buffer_is_null() -> None:
    """The kernel wants length 0 and null together."""
    assert address_of(b"")[1] == 0
    assert address_of(bytearray())[1] == 0


@pytest.mark.parametrize("thing", [None, 5, "text", object()])
def test_what_is_no_buffer_is_refused(thing: object) -> None:
    """TypeError, not some address."""
    with pytest.raises(TypeError):
        address_of(thing)
