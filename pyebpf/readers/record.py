"""``record=``: from what the user says a record is to a function from bytes to that.

    None                   bytes, as they are
    "exec_event"           a struct, union or typedef of the map's BTF
    "<IQ16s"               struct format; starts with one of < > = ! @, so it is never a type's name
    ctypes.Structure       an instance with its own copy
    numpy.dtype            a scalar of that dtype (a void with fields for a structured one)
    any other callable     what it returns for the bytes

All but the callable decode the front of a record: perf pads records at the end, and a program may
append to a struct later. A record that is too short is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pyebpf.btf.btf import Btf
from pyebpf.btf.values import record_codec
from pyebpf.errors import BtfError, FormatError

__all__ = ["Decode", "decoder"]

Decode = Callable[[bytes], Any]

_FORMAT_STARTS = frozenset("<>=!@")


def decoder(record: object, *, btf: Btf | None, name: str) -> Decode | None:
    """Return the function that turns a record's bytes into what the user wants.

    Args:
        record: As the module's text lists.
        btf: Where types are looked up by name.
        name: The map's name, for messages.

    Returns:
        The function, or ``None`` if records stay bytes. It raises `FormatError` for a record that
        is too short; a callable of the user's is returned as it is.

    Raises:
        BtfError: No such type in the map's BTF.
        ValueError: Neither a type's name nor a struct format.
        TypeError: Nothing a record can be.
    """
    if record is None:
        return None
    if isinstance(record, str):
        if record[:1] in _FORMAT_STARTS:
            return _struct_format(record, name)
        return _btf_type(record, btf, name)
    # ctypes types and numpy dtypes are told by what they have, so that neither need be imported.
    if isinstance(record, type) and hasattr(record, "from_buffer_copy"):
        return _ctypes_type(record, name)
    if hasattr(record, "itemsize") and hasattr(record, "newbyteorder"):
        return _numpy_dtype(record, name)
    if callable(record):
        return record
    raise TypeError(f"record= must be None, a str, a type or a callable, not {record!r}")


def _struct_format(text: str, name: str) -> Decode:
    try:
        layout = struct.Struct(text)
    except struct.error as error:
        raise ValueError(f"record={text!r}: {error}") from None

    def decode(data: bytes) -> tuple[Any, ...]:
        try:
            return layout.unpack_from(data)
        except struct.error:
            raise _too_short(data, layout.size, f"format {text!r}", name) from None

    return decode


def _btf_type(text: str, btf: Btf | None, name: str) -> Decode:
    word = text.removeprefix("struct ").removeprefix("union ").strip()
    if not word:
        raise ValueError(f"record={text!r} names no type")
    if btf is None:
        raise BtfError(
            f'record type "{text}" for map "{name}", which has no BTF: compile with -g, or give'
            ' a struct format that starts with "<", ">", "=", "!" or "@"'
        )
    # Says itself how to keep a type the compiler dropped, and which record is too short.
    return record_codec(btf, word).decode


def _ctypes_type(record: type, name: str) -> Decode:
    copy: Decode = record.from_buffer_copy  # type: ignore[attr-defined]  # asked for above

    def decode(data: bytes) -> object:
        try:
            return copy(data)
        except ValueError as error:
            raise FormatError(
                f"{record.__name__}: {error}", where=f'record of map "{name}"'
            ) from None

    return decode


def _numpy_dtype(record: object, name: str) -> Decode:
    # The user has numpy loaded: the dtype is from it.
    import numpy as np

    dtype = np.dtype(record)  # type: ignore[call-overload]  # one already
    size = dtype.itemsize

    def decode(data: bytes) -> object:
        if len(data) < size:
            raise _too_short(data, size, f"dtype {dtype}", name)
        return np.frombuffer(data, dtype, 1)[0]

    return decode


def _too_short(data: bytes, size: int, what: str, name: str) -> FormatError:
    return FormatError(
        f"{len(data)} bytes where {what} has {size}", where=f'record of map "{name}"'
    )
