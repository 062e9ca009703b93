"""What a CO-RE relocation points at: a local access, and the same access in a target type.

    access string "0:1:2"  of  struct outer *     &p[0].second[2]
                   | | '- element 2 of the array
                   | '- member 1 of the struct
                   '- element 0 of what the pointer points at

A local access follows the indices; in the target the *names* found on the way are looked up, so
members may have moved, also into or out of anonymous structs and unions. For kinds about types the
access is the root type itself, for kinds about enumerators one index into the enumeration.
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.btf.compat import fields_compatible, types_compatible, types_match
from pyebpf.btf.names import essential_name
from pyebpf.btf.types import Array, Composite, Enumeration
from pyebpf.errors import BtfError
from pyebpf.typed import NamedTuple
from pyebpf.uapi.btf import CoreReloKind

__all__ = ["ENUM_KINDS", "FIELD_KINDS", "Access", "Step", "find_access", "read_access"]

FIELD_KINDS = frozenset(
    {
        CoreReloKind.FIELD_BYTE_OFFSET,
        CoreReloKind.FIELD_BYTE_SIZE,
        CoreReloKind.FIELD_EXISTS,
        CoreReloKind.FIELD_SIGNED,
        CoreReloKind.FIELD_LSHIFT_U64,
        CoreReloKind.FIELD_RSHIFT_U64,
    }
)
ENUM_KINDS = frozenset({CoreReloKind.ENUMVAL_EXISTS, CoreReloKind.ENUMVAL_VALUE})

# Indices in one access, those into anonymous structs and unions counted; libbpf's limit.
_LENGTH = 64
_TOO_DEEP = f"structs, unions and arrays more than {_LENGTH} deep"


class Step(NamedTuple):
    """One index of an access.

    Attributes:
        type_id: With a name, the struct, union or enumeration that is looked into; without one,
            the type of the element. Never a typedef or qualifier.
        number: Index of the member, enumerator or element.
        name: Of the member or enumerator; ``""`` for elements of arrays.
    """

    type_id: int
    number: int
    name: str


class Access(NamedTuple):
    """An access, local or found in a target.

    Attributes:
        btf: Whose types the ids are of.
        root: The root type's id, as given.
        steps: Without those through anonymous structs and unions; empty for kinds about types.
        bit_offset: Of the field from the start of what the first index counts from.
    """

    btf: Btf
    root: int
    steps: tuple[Step, ...] = ()
    bit_offset: int = 0

    def describe(self) -> str:
        """Return a text for messages: ``"struct task_struct.mm"``."""
        text = self.btf.describe(self.root)
        for position, step in enumerate(self.steps):
            if step.name:
                text += f".{step.name}"
            elif position or step.number:
                text += f"[{step.number}]"
        return text


def read_access(btf: Btf, type_id: int, text: str, kind: int) -> Access:
    """Read an access string.

    Args:
        btf: The object's types.
        type_id: The root.
        text: Indices with colons between them.
        kind: ``enum bpf_core_relo_kind``.

    Raises:
        BtfError: It does not fit the types.
    """
    where = f'access "{text}" of {btf.describe(type_id)}'
    indices = _indices(text, where)
    if kind in FIELD_KINDS:
        return _read_field(btf, type_id, indices, where)
    if kind in ENUM_KINDS:
        found = btf.type(btf.strip(type_id))
        if not isinstance(found, Enumeration) or len(indices) != 1:
            raise BtfError("not an enumerator", where)
        if indices[0] >= len(found.values):
            raise BtfError(f"only {len(found.values)} enumerators", where)
        step = Step(btf.strip(type_id), indices[0], found.values[indices[0]].name)
        return Access(btf, type_id, (step,))
    if indices != [0]:
        raise BtfError('not "0", as for a relocation about a type', where)
    btf.type(type_id)
    return Access(btf, type_id)


def _indices(text: str, where: str) -> list[int]:
    parts = text.split(":", _LENGTH)
    if len(parts) > _LENGTH:
        raise BtfError(f"more than {_LENGTH} indices", where)
    # Ten digits: more than any index, and never a slow conversion.
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise BtfError("not indices with colons between", where)
    return [int(part) for part in parts]


def _read_field(btf: Btf, type_id: int, indices: list[int], where: str) -> Access:
    current = btf.strip(type_id)
    steps = [Step(current, indices[0], "")]
    bit_offset = indices[0] * btf.size_of(current) * 8 if indices[0] else 0
    for index in indices[1:]:
        found = btf.type(current)
        if isinstance(found, Composite):
            if index >= len(found.members):
                raise BtfError(f"{btf.describe(current)} has no member {index}", where)
            member = found.members[index]
            bit_offset += member.bit_offset
            if member.name:
                steps.append(Step(current, index, member.name))
            current = btf.strip(member.type)
        elif isinstance(found, Array):
            if index >= found.length and not _is_flexible(btf, found, steps[-1]):
                raise BtfError(f"{btf.describe(current)} has no element {index}", where)
            current = btf.strip(found.element)
            steps.append(Step(current, index, ""))
            bit_offset += index * btf.size_of(current) * 8
        else:
            raise BtfError(f"{btf.describe(current)} has no parts", where)
    return Access(btf, type_id, tuple(steps), bit_offset)


def _is_flexible(btf: Btf, found: Array, before: Step) -> bool:
    # A C99 flexible array: without a length, and the named last member of its struct.
    if found.length or not before.name:
        return False
    outer = btf.type(before.type_id)
    return isinstance(outer, Composite) and before.number == len(outer.members) - 1


# ---- in the target ----------------------------------------------------------------------------


def find_access(local: Access, kind: int, target: Btf, target_id: int) -> Access | None:
    """Find *local*'s access in a type of the target, ``None`` if it has no such thing.

    Raises:
        BtfError: Malformed types.
    """
    if kind in FIELD_KINDS:
        return _FieldSearch(local, target).run(target_id)
    if kind in ENUM_KINDS:
        return _find_enumerator(local, target, target_id)
    fits = types_match if kind == CoreReloKind.TYPE_MATCHES else types_compatible
    return Access(target, target_id) if fits(local.btf, local.root, target, target_id) else None


def _find_enumerator(local: Access, target: Btf, target_id: int) -> Access | None:
    inner = target.strip(target_id)
    found = target.type(inner)
    if not isinstance(found, Enumeration):
        return None
    name = essential_name(local.steps[0].name)
    for index, item in enumerate(found.values):
        if essential_name(item.name) == name:
            return Access(target, target_id, (Step(inner, index, item.name),))
    return None


class _FieldSearch:
    # Walks the target type along the local steps.

    def __init__(self, local: Access, target: Btf) -> None:
        self._local = local
        self._target = target
        self._steps: list[Step] = []
        self._length = 0
        self._bit_offset = 0

    def run(self, target_id: int) -> Access | None:
        current = target_id
        for position, step in enumerate(self._local.steps):
            if step.name:
                following = self._member(step, current)
            else:
                following = self._element(step, current, first=position == 0)
            if following is None:
                return None
            current = following
        return Access(self._target, target_id, tuple(self._steps), self._bit_offset)

    def _element(self, step: Step, current: int, *, first: bool) -> int | None:
        target = self._target
        current = target.strip(current)
        # The first index counts whole root types: there is no array to enter.
        if not first:
            found = target.type(current)
            if not isinstance(found, Array):
                return None
            if step.number >= found.length and not _is_flexible(target, found, self._steps[-1]):
                return None
            current = target.strip(found.element)
        if self._length == _LENGTH:
            raise BtfError(_TOO_DEEP, f"type {current}")
        self._length += 1
        self._steps.append(Step(current, step.number, ""))
        if step.number:
            self._bit_offset += step.number * target.size_of(current) * 8
        return current

    def _member(self, step: Step, current: int) -> int | None:
        outer = self._local.btf.type(step.type_id)
        assert isinstance(outer, Composite)  # as reading the access made sure
        self._name, self._wanted = step.name, outer.members[step.number].type
        self._failed: set[int] = set()
        return self._search(current, self._bit_offset, self._length)

    def _search(self, current: int, base: int, length: int) -> int | None:
        # Type of the member called so, its step and offset taken down. Anonymous structs and
        # unions are searched in their place; one that has been in vain is not searched again.
        target = self._target
        current = target.strip(current)
        found = target.type(current)
        if not isinstance(found, Composite) or current in self._failed:
            return None
        if found.members and length == _LENGTH:
            raise BtfError(_TOO_DEEP, f"type {current}")
        self._failed.add(current)
        for number, member in enumerate(found.members):
            offset = base + member.bit_offset
            if not member.name:
                following = self._search(member.type, offset, length + 1)
                if following is not None:
                    return following
            elif member.name == self._name:
                if not fields_compatible(self._local.btf, self._wanted, target, member.type):
                    return None
                self._steps.append(Step(current, number, member.name))
                self._bit_offset, self._length = offset, length + 1
                return member.type
        return None
