"""One system call: buffers that stay where they are, results that are not lost."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

import pytest

from pyebpf.sys.call import Memory, Result
from pyebpf.uapi.attrs import CommonAttr, ObjInfo
from pyebpf.uapi.info import MapInfo

# dup(2) and close(2): calls without side effects on memory, for any user.
NUMBERS = {"x86_64": (32, 3), "aarch64": (23, 57), "riscv64": (23, 57)}


@pytest.fixture
def dup() -> int:
    if platform.machine() not in NUMBERS:
        pytest.skip(f"the numbers of system calls on {platform.machine()} are not known here")
    return NUMBERS[platform.machine()][0]


def test_buffers_are_where_the_struct_says() -> None:
    """A pointer field's buffer, and a struct within a struct with a buffer of its own."""
    log = bytearray(b"log text")
    memory = Memory()
    packed = memory.pack(CommonAttr(log_buf=log, log_size=8))
    (address,) = struct.unpack_from("=Q", packed)
    assert ctypes.string_at(address, 8) == b"log text"
    hash_ = bytearray(32)
    outer = memory.pack(ObjInfo(info=MapInfo(id=77, hash=hash_), info_len=MapInfo.SIZE))
    (inner,) = struct.unpack_from("=Q", outer, 8)
    assert MapInfo.unpack(ctypes.string_at(inner, MapInfo.SIZE)).id == 77


def test_what_was_written_comes_back_to_every_struct() -> None:
    """Into numbers; pointers stay the buffers they were."""
    info = MapInfo(hash=bytearray(32))
    attr = ObjInfo(info=info, info_len=MapInfo.SIZE)
    memory = Memory()
    packed = memory.pack(attr)
    (inner,) = struct.unpack_from("=Q", packed, 8)
    ctypes.memmove(inner + 4, struct.pack("=I", 1234), 4)
    struct.pack_into("=I", packed, 4, 99)
    memory.refresh()
    assert (attr.info_len, info.id) == (99, 1234)
    assert attr.info is info


def test_a_buffer_in_use_cannot_move() -> None:
    """While the memory lives, Python refuses to resize it."""
    buffer = bytearray(4)
    memory = Memory()
    memory.address(buffer)
    with pytest.raises(BufferError):
        buffer.extend(bytes(10_000))
    del memory
    buffer.extend(bytes(10_000))


def interrupted(result: Result, number: int) -> None:
    with result:
        result.call(number, 1)
        raise KeyboardInterrupt


def test_a_block_left_by_an_error_closes_the_new_descriptor(dup: int) -> None:
    """Otherwise it is the caller's."""
    with Result(closes=True) as kept:
        kept.call(dup, 1)
    os.close(kept.value)
    lost = Result(closes=True)
    with pytest.raises(KeyboardInterrupt):
        interrupted(lost, dup)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lost.value)


def test_a_second_call_replaces_the_first(dup: int) -> None:
    """Its result and its errno."""
    with Result(closes=True) as result:
        result.call(dup, -1)
        assert (result.value, result.number) == (-1, errno.EBADF)
        result.call(dup, 1)
        assert result.value >= 0
        assert result.number == 0
    os.close(result.value)
