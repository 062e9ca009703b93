"""Which codecs are those of plain numbers, laid out as this machine lays them out.

    codec ──native_format()──▶ "I", "q", "d" ... for memoryview.cast and array, or None
    codec, bytes of many values ──column()──▶ [5, 6, 7]

Memory of such values needs no codec: a cast memoryview reads and writes it at the speed of C.
"""

from __future__ import annotations

import struct
import sys

from pyebpf.btf.codec import Codec as BtfCodec
from pyebpf.maps.codec import Codec, IndexCodec, PerCpuCodec
from pyebpf.maps.user_codec import StructCodec
from pyebpf.typed import Any

__all__ = ["column", "native_format"]

_FORMATS = frozenset("?bBhHiIqQfd")
# Prefixes of struct formats that mean the bytes of this machine.
_NATIVE = "@=" + ("<" if sys.byteorder == "little" else ">!")


def native_format(codec: Codec) -> str | None:
    """Return the format of the numbers that *codec* stands for, or ``None`` for anything else.

    What such a memoryview takes the codec takes too, and the other way round but for what the codec
    converts first (names, text); what it gives is what the codec gives.
    """
    if isinstance(codec, IndexCodec):
        return "I"
    found = None
    if isinstance(codec, BtfCodec):
        if codec.get is None and (codec.byteorder == sys.byteorder or codec.size == 1):
            found = codec.code
    elif isinstance(codec, StructCodec):
        found = codec.text.lstrip(_NATIVE)
    return found if found in _FORMATS and struct.calcsize(found) == codec.size else None


def column(codec: Codec, data: bytearray | memoryview, count: int) -> list[Any]:
    """Return the first *count* values of *data*, where they stand one after another."""
    view = memoryview(data)[: codec.size * count]
    number = native_format(codec)
    if number is not None:
        return view.cast(number).tolist()  # type: ignore[call-overload, no-any-return]
    if isinstance(codec, PerCpuCodec):
        number = native_format(codec.inner)
        if number is not None:
            # A column for each CPU, then the rows of all of them.
            numbers = view.cast(number)  # type: ignore[call-overload]
            apart = codec.stride // codec.inner.size
            step = apart * codec.cpus
            columns = [numbers[first::step].tolist() for first in range(0, step, apart)]
            return [list(row) for row in zip(*columns, strict=True)]
    decode, size = codec.decode, codec.size
    return [decode(view[at : at + size]) for at in range(0, size * count, size)]
