"""Memory that attrs point to: bytes out of it, bytes into it, structs.

A pointer field holds a Python buffer, a `CStruct`, or nothing. (A bare address cannot be followed
by a kernel that is made up.)
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from pyebpf.sys.elements import Buffer
from pyebpf.testing.refusal import Refused
from pyebpf.uapi.cstruct import CStruct

__all__ = ["fill", "given", "read", "read_string", "write", "write_words"]

_LONGEST_PATH = 4096


def read(pointer: object, size: int) -> bytes:
    """Return *size* bytes from the start of a buffer.

    Raises:
        Refused: ``EFAULT``: null, or a shorter buffer.
    """
    view = _view(pointer)
    if len(view) < size:
        raise Refused(errno.EFAULT)
    return bytes(view[:size])


def read_string(pointer: object, limit: int = _LONGEST_PATH) -> bytes:
    """Return the bytes up to a NUL.

    Raises:
        Refused: ``EFAULT``: there is none.
    """
    data = bytes(_view(pointer)[:limit])
    text, end, _ = data.partition(b"\0")
    if not end:
        raise Refused(errno.EFAULT)
    return text


def write(pointer: object, data: Buffer) -> None:
    """Put bytes at the start of a buffer.

    Raises:
        Refused: ``EFAULT``: null, read-only or shorter.
    """
    if not len(data):
        return
    view = _view(pointer)
    if len(view) < len(data) or view.readonly:
        raise Refused(errno.EFAULT)
    view[: len(data)] = data


def write_words(pointer: object, numbers: Sequence[int]) -> None:
    """Put 32-bit numbers at the start of a buffer; errors as for `write`."""
    write(pointer, struct.pack(f"={len(numbers)}I", *numbers))


def given(pointer: object) -> bool:
    """Whether a pointer is not null."""
    return pointer is not None and pointer != 0


def fill(target: object, source: CStruct, *, size: int) -> None:
    """Put a struct into what a pointer field holds: into another struct, by position, or memory.

    Args:
        target: A struct, or a buffer.
        source: What the kernel says; its pointers are not handed out.
        size: Bytes there is room for.
    """
    data = source.pack(lambda _: 0)[:size]
    if isinstance(target, CStruct):
        target.unpack_into(data)
    else:
        write(target, data)


def _view(pointer: object) -> memoryview:
    if not given(pointer):
        raise Refused(errno.EFAULT)
    if isinstance(pointer, int):
        raise NotImplementedError("bpf(2) with addresses instead of buffers")
    try:
        return memoryview(pointer).cast("B")  # type: ignore[arg-type]  # refused if it is none
    except TypeError:
        raise TypeError(f"a pointer takes a buffer, not {type(pointer).__name__}") from None
