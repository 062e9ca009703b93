"""Which codecs are those of plain numbers, laid out as this machine lays them out.

    codec ──native_format()──▶ "I", "q", "d" ... for memoryview.cast and array, or None

Memory of such values needs no codec: a cast memoryview reads and writes it at the speed of C.
"""

from __future__ import annotations

import struct
import sys

from pyebpf.btf.codec import Codec as BtfCodec
from pyebpf.maps.codec import Codec, IndexCodec
from pyebpf.maps.user_codec import StructCodec

__all__ = ["native_format"]

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
