"""What instructions of a program refer to: by name and by slot, never by fd or id.

The loader fills in what they stand for. Slots are 8 bytes; a 64-bit immediate load takes two.
"""

from __future__ import annotations

import enum

from pyebpf.plain import plain

__all__ = ["CoreRelocation", "Reference", "ReferenceKind"]


class ReferenceKind(enum.Enum):
    """What a named reference in a program's code stands for."""

    MAP = "map"  # ldimm64 of a map's fd
    MAP_VALUE = "map value"  # ldimm64 of an address inside a data section's map
    KCONFIG = "kconfig"  # extern variable of .kconfig
    KSYM = "ksym"  # extern variable or function address of .ksyms
    KFUNC = "kfunc"  # call of a kernel function
    JUMP_TABLE = "jump table"  # ldimm64 of an address inside one of the program's jump tables
    UNDEFINED = "undefined"  # a symbol nothing defines: a named constant, if it is loaded
    CONSTANT = "constant"  # a named constant whose value stands in the code already


@plain(frozen=True)
class Reference:
    """A use of a symbol by one instruction.

    Attributes:
        kind: What the symbol stands for.
        symbol: The map's name (``MAP``, ``MAP_VALUE``), the table's, otherwise the extern's.
        offset: Bytes behind the start: of the map's value (``MAP_VALUE``), of the variable, of the
            table. Of an arena's, behind the start of its globals. Added to a named constant. A map
            (``MAP``) has nothing behind it: the verifier refuses all but 0.
        weak: The symbol may be missing.
    """

    kind: ReferenceKind
    symbol: str
    offset: int = 0
    weak: bool = False


@plain(frozen=True)
class CoreRelocation:
    """One ``struct bpf_core_relo``, its place counted in slots of the program's code.

    Attributes:
        slot: The instruction to patch.
        type_id: The local root type, in the object's BTF.
        access: The access string, such as ``"0:1:2"``.
        kind: ``enum bpf_core_relo_kind`` (0 to 12).
    """

    slot: int
    type_id: int
    access: str
    kind: int
