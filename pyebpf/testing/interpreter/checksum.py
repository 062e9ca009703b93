"""The Internet checksum: ones' complement sums of 16-bit words (RFC 1071).

A 32-bit sum of the kernel is any number that folds to the right 16 bits; which one matters once its
complement is taken. So sums are computed here as x86 does, and as `include/net/checksum.h` says.
"""

from __future__ import annotations

from pyebpf.testing.interpreter.memory import ByteOrder

__all__ = ["add", "fold", "negate", "partial", "replace_2", "replace_4", "subtract"]

MASK = 0xFFFF_FFFF


def add(left: int, right: int) -> int:
    """Add two 32-bit sums: ``csum_add``."""
    total = left + right
    return (total & MASK) + (total >> 32) & MASK


def subtract(left: int, right: int) -> int:
    """Take one from the other: ``csum_sub``."""
    return add(left, right ^ MASK)


def partial(data: bytes, start: int, byteorder: ByteOrder) -> int:
    """Add *data* to a sum: ``csum_partial``, which adds 32 bits at a time as far as it shows."""
    data += bytes(-len(data) % 4)
    total = start
    for at in range(0, len(data), 4):
        total += int.from_bytes(data[at : at + 4], byteorder)
    while total >> 32:
        total = (total & MASK) + (total >> 32)
    return total


def fold(total: int) -> int:
    """Return the 16-bit checksum of a sum: ``csum_fold``."""
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def negate(checksum: int) -> int:
    """Return the 32-bit sum that a checksum stands for: ``~csum_unfold``."""
    return checksum ^ MASK


def replace_4(checksum: int, old: int, new: int) -> int:
    """Change a checksum for 4 bytes that change: ``csum_replace4``."""
    return fold(add(subtract(negate(checksum), old), new))


def replace_2(checksum: int, old: int, new: int) -> int:
    """Change a checksum for 2 bytes that change: ``csum_replace2``, by RFC 1624."""
    total = (checksum ^ 0xFFFF) + (old ^ 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total += new
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
