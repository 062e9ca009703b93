"""All entries of an array whose values are mapped: no system call, as fast as memory is read.

memory  | value 0, to 8 bytes | value 1 … |   ──▶   keys 0, 1, 2 … · values, one after another
"""

from __future__ import annotations

import mmap
from array import array

from pyebpf.maps.bulk_choice import Entries

__all__ = ["mapped_entries"]

_FORMATS = {1: "B", 2: "H", 4: "I"}


def mapped_entries(memory: mmap.mmap, value_size: int, number: int) -> Entries:
    """Copy the entries.

    Args:
        memory: Of the values, as `Map.memory` returns it.
        value_size: Bytes of a value.
        number: Entries of the array.
    """
    apart = value_size + 7 & ~7
    with memoryview(memory)[: apart * number] as view:
        if apart == value_size:
            values = bytearray(view)
        elif value_size in _FORMATS:
            step = apart // value_size
            with view.cast(_FORMATS[value_size])[::step] as some:  # type: ignore[call-overload]
                values = bytearray(some.tobytes())
        else:
            pieces = (view[at : at + value_size] for at in range(0, apart * number, apart))
            values = bytearray().join(pieces)
    return Entries(bytearray(array("I", range(number)).tobytes()), values, number)
