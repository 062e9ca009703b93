"""BTF made here, for maps that the kernel creates only with types: ``int`` keys, bytes as values.

1  int                      the key: a descriptor
2  unsigned char
3  unsigned char[size]      the value
"""

from __future__ import annotations

import sys

from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import encode
from pyebpf.btf.types import Array, Int

__all__ = ["plain_types"]

_SIGNED = 1


def plain_types(value_size: int) -> tuple[Btf, int, int]:
    """Return BTF, the type id of a descriptor and that of *value_size* bytes."""
    types = [Int("int", 4, _SIGNED), Int("unsigned char", 1), Array(2, 1, value_size)]
    return Btf.decode(encode(types, byteorder=sys.byteorder)), 1, 3
