"""Two objects' types in one: what programs of both need to be loaded together.

    first   | types 1..n | strings |                  keeps its ids and offsets of strings
    second               | types 1..m | strings |     is moved behind: ids by n, strings likewise
    joined  | types 1..n | n+1..n+m   | strings | its strings |

Nothing is made one that stands in both: the kernel does not mind, and ids stay what they were.
"""

from __future__ import annotations

import copy

from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import assemble, encode
from pyebpf.btf.types import Composite, Datasec, FuncProto, Opaque, Type
from pyebpf.errors import BtfError
from pyebpf.typed import NamedTuple

__all__ = ["Joined", "join"]

_IDS = ("type", "element", "index", "return_type")


class Joined(NamedTuple):
    """Types of two objects.

    Attributes:
        btf: All of them.
        ids: What to add to ids of the second one, but for 0.
        strings: What to add to its offsets of strings.
    """

    btf: Btf
    ids: int
    strings: int


def join(first: Btf, second: Btf) -> Joined:
    """Put the types of *second* behind those of *first*.

    Raises:
        BtfError: One is split or malformed, or they differ in byte order.
    """
    if first.base is not None or second.base is not None:
        raise BtfError("split BTF cannot be joined with another")
    if first.byteorder != second.byteorder:
        raise BtfError(f"{first.byteorder}-endian types joined with {second.byteorder}-endian ones")
    shift = len(first) - 1
    moved = [_moved(second.type(type_id), shift) for type_id in range(1, len(second))]
    added = Btf.decode(encode(moved, base=first), base=first)
    types, strings, layout = first.areas
    more_types, more_strings, _ = added.areas
    kept = strings + more_strings
    blob = assemble(types + more_types, kept + second.areas[1], layout, first.byteorder)
    return Joined(Btf.decode(blob), shift, len(kept))


def _moved(found: Type, shift: int) -> Type:
    if isinstance(found, Opaque):
        raise BtfError(f"a type of a kind that is not known: {found!r}")
    moved = copy.copy(found)
    for name in _IDS:
        if name in moved.fields:
            type_id = getattr(moved, name)
            setattr(moved, name, type_id + shift if type_id else 0)
    if isinstance(moved, Composite):
        moved.members = tuple(each._replace(type=each.type + shift) for each in moved.members)
    elif isinstance(moved, FuncProto):
        moved.params = tuple(
            each._replace(type=each.type + shift) if each.type else each for each in moved.params
        )
    elif isinstance(moved, Datasec):
        moved.variables = tuple(each._replace(type=each.type + shift) for each in moved.variables)
    return moved
