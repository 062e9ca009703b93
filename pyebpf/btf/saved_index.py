"""The index of a large `Btf` as bytes, for whoever will read the same BTF in another process.

    | u32 magic, u32 version | u32 checksum of all that follows     |
    | 16 bytes stamp                                                |
    | u32 checksum of the BTF, u32 its size                         |
    | u32 number of types, u32 number of strings with a flavour     |
    | u32 per type: its place, in words of the type area            |
    | u32 per type: the numbers of the types sorted by name offset  |
    | u32 per such string: its place in the string area             |

All in the machine's byte order. The index of a kernel takes 1 MB and is read in a tenth of the time
that it takes to make. It says where to look and nothing of what is there: names and types are taken
from the BTF, and an index of another BTF, which the checksum (of every byte of it) tells, is none.

Half of that time is the checksum. A stamp saves it: something that cannot be the same when the BTF
is another, as the number the kernel gives itself when it boots. Other stamp, and the checksum
decides; so an index outlives the boot.
"""

from __future__ import annotations

import struct
from array import array

from pyebpf.btf.btf import Btf

__all__ = ["NO_STAMP", "largest", "restore", "save", "stamped"]

_MAGIC = 0xEB9F1DE8
_VERSION = 2
_HEADER = struct.Struct("=3I16s4I")
_CHECKED = 12  # where the bytes start that the first checksum is of
NO_STAMP = bytes(16)


def save(btf: Btf, stamp: bytes = NO_STAMP) -> bytes:
    """Return the index of *btf*, which has no base; sorting it takes some 50 ms.

    Raises:
        BtfError: Malformed types.
    """
    places, offsets, flavoured = btf.index()
    ordered = array("I", sorted(range(len(offsets)), key=offsets.__getitem__))
    body = b"".join(part.tobytes() for part in (places, ordered, flavoured))
    numbers = (_checksum(btf.raw), len(btf.raw), len(places), len(flavoured))
    return _checked(_HEADER.pack(_MAGIC, _VERSION, 0, stamp, *numbers) + body)


def restore(btf: Btf, data: bytes, stamp: bytes = NO_STAMP) -> bool:
    """Give *btf* the index that `save` made of the same BTF.

    Args:
        btf: Without an index.
        data: What `save` or `stamped` returned, perhaps.
        stamp: 16 bytes; if the index has this one it is of *btf*. `NO_STAMP` never counts.

    Returns:
        False, and nothing has changed, if *data* is something else or damaged.
    """
    if len(data) < _HEADER.size:
        return False
    magic, version, checksum, of_index, *identity, types, flavoured = _HEADER.unpack_from(data)
    if (magic, version) != (_MAGIC, _VERSION) or identity[1] != len(btf.raw):
        return False
    view = memoryview(data)
    if len(data) != _HEADER.size + (2 * types + flavoured) * 4:
        return False
    if checksum != _checksum(view[_CHECKED:]):
        return False
    known = of_index == stamp != NO_STAMP
    if not known and identity[0] != _checksum(btf.raw):
        return False
    numbers = view[_HEADER.size :].cast("I")
    btf.use_index(numbers[:types], numbers[types : 2 * types], numbers[2 * types :])
    return True


def stamped(data: bytes, stamp: bytes) -> bytes | None:
    """Return an index that `restore` took with that stamp, ``None`` if it has it."""
    if data[_CHECKED : _CHECKED + len(stamp)] == stamp:
        return None
    return _checked(data[:_CHECKED] + stamp + data[_CHECKED + len(stamp) :])


def largest(btf: Btf) -> int:
    """Return how many bytes `save` makes at most."""
    return _HEADER.size + len(btf.raw)


def _checked(data: bytes) -> bytes:
    return data[: _CHECKED - 4] + struct.pack("=I", _checksum(data[_CHECKED:])) + data[_CHECKED:]


def _checksum(data: bytes | memoryview) -> int:
    from binascii import crc32

    return crc32(data)
