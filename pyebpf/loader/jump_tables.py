"""Jump tables of a program: each becomes a map of its own that only this program can use.

    table (9, 11, 13) ──▶ BPF_MAP_TYPE_INSN_ARRAY, frozen:  | 9 0 0 0 | 11 0 0 0 | 13 0 0 0 |

The value is ``struct bpf_insn_array_value``: the slot in the code as loaded, and what the kernel
makes of it when the verifier and the JIT have moved the instructions.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping

from pyebpf.errors import naming
from pyebpf.maps.map import Map
from pyebpf.spec import MapSpec
from pyebpf.typed import Any
from pyebpf.uapi.bpf import MapType

__all__ = ["create_tables"]

_VALUE = struct.Struct("=IIII")


def create_tables(
    tables: Mapping[str, tuple[int, ...]], owned: contextlib.ExitStack
) -> dict[str, Map[Any, Any]]:
    """Make the maps of a program's jump tables.

    Args:
        tables: Slots by the table's symbol.
        owned: Receives the maps; they may be closed as soon as the program is loaded.

    Returns:
        The maps by the table's symbol.

    Raises:
        NotSupportedError: This kernel has no indirect jumps.
        SyscallError: Anything else.

    Since Linux 6.19.
    """
    created = {}
    for name, slots in tables.items():
        with naming(f'jump table "{name}"'):
            spec = MapSpec(
                name=name,
                type=MapType.INSN_ARRAY,
                key_size=4,
                value_size=_VALUE.size,
                max_entries=len(slots),
            )
            table = owned.enter_context(Map.from_spec(spec))
            for index, slot in enumerate(slots):
                table[index] = _VALUE.pack(slot, 0, 0, 0)
            table.freeze()
        created[name] = table
    return created
