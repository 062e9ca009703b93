"""Writing what a reference stands for into the 64-bit load that names it.

slot      | 0x18 | registers: source says what it is | 0 | low 32 bits  |     struct bpf_insn
slot + 1  |    0 |                                 0 | 0 | high 32 bits |
"""

from __future__ import annotations

import struct
import sys

__all__ = ["load_64"]

_SLOT = 8
_IMMEDIATE = struct.Struct("=I")


def load_64(code: bytearray, slot: int, source: int, low: int, high: int) -> None:
    """Fill in a 64-bit load, in place.

    Args:
        code: Instructions for this machine.
        slot: The load.
        source: ``BPF_PSEUDO_*``: what the immediates are.
        low: The first immediate; bits beyond 32 are cut.
        high: The second likewise.
    """
    at = slot * _SLOT
    # The source register is the high nibble on little-endian machines, the low one on others.
    if sys.byteorder == "little":
        code[at + 1] = code[at + 1] & 0x0F | source << 4
    else:
        code[at + 1] = code[at + 1] & 0xF0 | source
    _IMMEDIATE.pack_into(code, at + 4, low & 0xFFFFFFFF)
    _IMMEDIATE.pack_into(code, at + _SLOT + 4, high & 0xFFFFFFFF)
