"""Memory at an address of one's choosing."""

from __future__ import annotations

import errno
import mmap
import os
import pathlib

import pytest

from pyebpf.errors import ClosedError, SyscallError
from pyebpf.sys.mapping import Mapping

PAGE = mmap.PAGESIZE


@pytest.fixture
def memory():
    fd = os.memfd_create("test")
    os.truncate(fd, 4 * PAGE)
    yield fd
    os.close(fd)


def mapped(address: int) -> bool:
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return any(line.startswith((f"{address:x}-", f"{address:08x}-")) for line in lines)


def test_what_is_written_is_in_the_file(memory):
    """The memory is shared, and as long as asked for."""
    mapping = Mapping(memory, 4 * PAGE)
    view = mapping.view()
    view[PAGE : PAGE + 3] = b"abc"
    assert len(view) == 4 * PAGE
    assert os.pread(memory, 3, PAGE) == b"abc"
    assert mapped(mapping.address)
    view.release()
    mapping.close()
    assert not mapped(mapping.address)


def test_a_view_keeps_the_memory(memory):
    """Closing never pulls it away from under somebody; the last view unmaps it."""
    mapping = Mapping(memory, PAGE)
    view = mapping.view()
    part = view[10:20]
    view.release()
    mapping.close()
    mapping.close()
    part[:3] = b"xyz"
    assert os.pread(memory, 3, 10) == b"xyz"
    assert mapped(mapping.address)
    part.release()
    del view, part
    assert not mapped(mapping.address)
    with pytest.raises(ClosedError):
        mapping.view()
    assert "closed" in repr(mapping)


def test_an_address_is_taken_exactly(memory):
    """Here one that has just become free."""
    first = Mapping(memory, PAGE)
    address = first.address
    first.close()
    again = Mapping(memory, PAGE, address=address)
    assert again.address == address
    assert f"{address:#x}" in repr(again)
    again.close()


def test_what_is_mapped_already_is_never_replaced(memory):
    """An address in use is an error that names it, not silent damage."""
    first = Mapping(memory, PAGE)
    with pytest.raises(SyscallError, match=f"at {first.address:#x}") as caught:
        Mapping(memory, PAGE, address=first.address)
    assert caught.value.errno == errno.EEXIST
    first.view()[0] = 1
    first.close()


def test_failures_have_their_errno():
    """Of a descriptor that cannot be mapped."""
    with pytest.raises(SyscallError) as caught:
        Mapping(0xFFFF, PAGE)
    assert caught.value.errno == errno.EBADF
