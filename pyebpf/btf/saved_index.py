"""The index of a large `Btf` as bytes, for whoever will read the same BTF in another process.

    | u32 magic, u32 version | u32 checksum of all that follows     |
    | u32 checksum of the BTF, u32 its size                         |
    | u32 number of types, u32 number of strings with a flavour     |
    | u32 per type: its place, in words of the type area            |
    | u32 per type: the numbers of the types sorted by name offset  |
    | u32 per such string: its place in the string area             |

All in the machine's byte order. The index of a kernel takes 1 MB and is read in a tenth of the time
that it takes to make. It says where to look and nothing of what is there: names and types are taken
from the BTF, and an index of another BTF, which the checksum (of every byte of it) tells, is none.
"""

from __future__ import annotations

import struct
from array import array

from pyebpf.btf.btf import Btf

__all__ = ["largest", "restore", "save"]

_MAGIC = 0xEB9F1DE8
_VERSION = 1
_HEADER = struct.Struct("=7I")
_CHECKED = 12  # where the bytes start that the first checksum is of


def save(btf: Btf) -> bytes:
    """Return the index of *btf*, which has no base; sorting it takes some 50 ms.

    Raises:
        BtfError: Malformed types.
    """
    places, offsets, flavoured = btf.index()
    ordered = array("I", sorted(range(len(offsets)), key=offsets.__getitem__))
    body = b"".join(part.tobytes() for part in (places, ordered, flavoured))
    numbers = (_checksum(btf.raw), len(btf.raw), len(places), len(flavoured))
    data = _HEADER.pack(_MAGIC, _VERSION, 0, *numbers) + body
    return data[: _CHECKED - 4] + struct.pack("=I", _checksum(data[_CHECKED:])) + data[_CHECKED:]


def restore(btf: Btf, data: bytes) -> bool:
    """Give *btf* the index that `save` made of the same BTF.

    Returns:
        False, and nothing has changed, if *data* is something else or damaged.
    """
    if len(data) < _HEADER.size:
        return False
    magic, version, checksum, *identity, types, flavoured = _HEADER.unpack_from(data)
    if (magic, version) != (_MAGIC, _VERSION) or identity[1] != len(btf.raw):
        return False
    view = memoryview(data)
    if len(data) != _HEADER.size + (2 * types + flavoured) * 4:
        return False
    if checksum != _checksum(view[_CHECKED:]) or identity[0] != _checksum(btf.raw):
        return False
    numbers = view[_HEADER.size :].cast("I")
    btf.use_index(numbers[:types], numbers[types : 2 * types], numbers[2 * types :])
    return True


def largest(btf: Btf) -> int:
    """Return how many bytes `save` makes at most."""
    return _HEADER.size + len(btf.raw)


def _checksum(data: bytes | memoryview) -> int:
    from binascii import crc32

    return crc32(data)
