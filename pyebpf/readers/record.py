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

import functools
import struct
from collections.abc import Callable, Iterator

from pyebpf.btf.btf import Btf
from pyebpf.btf.columns import columns
from pyebpf.btf.values import record_codec
from pyebpf.errors import BtfError, FormatError
from pyebpf.maps import dtypes
from pyebpf.readers.block import Block, Cursor, Few, Run, cursor, spaced
from pyebpf.typed import Any, NamedTuple

__all__ = ["Decode", "Decoder", "decoder"]

Decode = Callable[[bytes], Any]
# A whole run at once: an iterator over what is wanted, and the one it takes from, which knows how
# many are left. None if the records are too short for that: then each speaks for itself.
DecodeRun = Callable[["bytes | memoryview", Run], "tuple[Iterator[Any], Iterator[Any]] | None"]

_FORMAT_STARTS = frozenset("<>=!@")


class Decoder(NamedTuple):
    """From records to what the user wants.

    Attributes:
        one: From the bytes of one; ``None`` leaves them as they are. Raises `FormatError` for a
            record that is too short; a callable of the user's is here as it is.
        run: From records of one size, without a line of Python per record.
        dtype: Returns what numpy calls it; ``None`` if it has no word for that.
    """

    one: Decode | None = None
    run: DecodeRun | None = None
    dtype: Callable[[], object] | None = None

    def cursor(self, block: Block | Few, spoilt: Callable[[], object] | None = None) -> Cursor:
        """Return a cursor over the decoded records of *block*.

        Args:
            block: The records.
            spoilt: Called for each that cannot be decoded.
        """
        if self.run is not None and isinstance(block, Block) and isinstance(block.shape, Run):
            made = self.run(block.data, block.shape)
            if made is not None:
                return Cursor(block, *made)
        return cursor(block, self.one, spoilt)


def decoder(record: object, *, btf: Btf | None, name: str) -> Decoder:
    """Return what turns records into what the user wants.

    Args:
        record: As the module's text lists.
        btf: Where types are looked up by name.
        name: The map's name, for messages.

    Raises:
        BtfError: No such type in the map's BTF.
        ValueError: Neither a type's name nor a struct format.
        TypeError: Nothing a record can be.
    """
    if record is None:
        return Decoder()
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
        return Decoder(record)
    raise TypeError(f"record= must be None, a str, a type or a callable, not {record!r}")


def _struct_format(text: str, name: str) -> Decoder:
    try:
        layout = struct.Struct(text)
    except struct.error as error:
        raise ValueError(f"record={text!r}: {error}") from None

    def decode(data: bytes) -> tuple[Any, ...]:
        try:
            return layout.unpack_from(data)
        except struct.error:
            raise _too_short(data, layout.size, f"format {text!r}", name) from None

    # What "@" aligns depends on what is in front of it.
    rows = None if text[0] == "@" else functools.partial(_rows, layout, None)
    return Decoder(decode, rows, lambda: dtypes.format_dtype(text))


def _btf_type(text: str, btf: Btf | None, name: str) -> Decoder:
    word = text.removeprefix("struct ").removeprefix("union ").strip()
    if not word:
        raise ValueError(f"record={text!r} names no type")
    if btf is None:
        raise BtfError(
            f'record type "{text}" for map "{name}", which has no BTF: compile with -g, or give'
            ' a struct format that starts with "<", ">", "=", "!" or "@"'
        )
    # Says itself how to keep a type the compiler dropped, and which record is too short.
    codec = record_codec(btf, word)
    return Decoder(
        codec.decode,
        functools.partial(_rows, codec.layout.struct, codec.make),
        lambda: columns(btf, codec.type_id),
    )


# Unpacks a whole run in C, payloads' surroundings as padding.
def _rows(
    layout: struct.Struct,
    make: Callable[[tuple[Any, ...]], object] | None,
    data: bytes | memoryview,
    run: Run,
) -> tuple[Iterator[Any], Iterator[Any]] | None:
    whole = spaced(layout.format, run.first, run.stride) if layout.size <= run.length else None
    if whole is None:
        return None
    rows = whole.iter_unpack(data)
    return (rows if make is None else map(make, rows)), rows


def _ctypes_type(record: type, name: str) -> Decoder:
    copy: Callable[..., object] = record.from_buffer_copy  # type: ignore[attr-defined]  # asked for
    # ctypes.sizeof, without importing ctypes: the user has.
    size = len(memoryview(record()).cast("B"))

    def decode(data: bytes) -> object:
        try:
            return copy(data)
        except ValueError as error:
            raise FormatError(
                f"{record.__name__}: {error}", where=f'record of map "{name}"'
            ) from None

    def decode_run(
        data: bytes | memoryview, run: Run
    ) -> tuple[Iterator[Any], Iterator[Any]] | None:
        if run.length < size:
            return None
        places = iter(range(run.first, run.first + run.number * run.stride, run.stride))
        return map(functools.partial(copy, data), places), places

    return Decoder(decode, decode_run, lambda: record)


def _numpy_dtype(record: object, name: str) -> Decoder:
    # The user has numpy loaded: the dtype is from it.
    import numpy as np

    dtype = np.dtype(record)  # type: ignore[call-overload]  # one already
    if dtype.hasobject:  # the records' bytes would be taken for addresses
        raise TypeError(f"record={dtype!r} has Python objects, which no record has")
    size = dtype.itemsize

    def decode(data: bytes) -> object:
        if len(data) < size:
            raise _too_short(data, size, f"dtype {dtype}", name)
        return np.frombuffer(data, dtype, 1)[0]

    def decode_run(
        data: bytes | memoryview, run: Run
    ) -> tuple[Iterator[Any], Iterator[Any]] | None:
        if run.length < size:
            return None
        items = iter(np.ndarray((run.number,), dtype, data, run.first, (run.stride,)))
        return items, items

    return Decoder(decode, decode_run, lambda: dtype)


def _too_short(data: bytes, size: int, what: str, name: str) -> FormatError:
    return FormatError(
        f"{len(data)} bytes where {what} has {size}", where=f'record of map "{name}"'
    )
