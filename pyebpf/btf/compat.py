"""Which types of two BTFs count as the same, by CO-RE's three measures.

    fields_compatible   a member found by name may stand for the local one: sizes may differ
    types_compatible    BPF_CORE_TYPE_EXISTS and _SIZE: same shape, names only at the root
    types_match         BPF_CORE_TYPE_MATCHES: names and members too, structs behind pointers
                        by kind only

Names are compared without their flavour (`pyebpf.btf.names.essential_name`). The rules are those of
libbpf and the kernel (tools/lib/bpf/relo_core.c), so that an object means the same in all loaders.
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.btf.names import essential_name
from pyebpf.btf.types import (
    Array,
    Composite,
    Enumeration,
    Float,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Struct,
    Type,
    Union,
    Void,
)
from pyebpf.errors import BtfError

__all__ = ["fields_compatible", "same_kind", "types_compatible", "types_match"]

# How many function prototypes or structs may be inside each other; libbpf's limit.
_DEPTH = 32


def same_kind(local: Type, target: Type) -> bool:
    """Return whether two types are of the same kind; both widths of enums are one."""
    if isinstance(local, Enumeration):
        return isinstance(target, Enumeration)
    return type(local) is type(target)


def _whole_int(found: Type) -> bool:
    # Not one of the bit-fields of old pahole.
    return isinstance(found, Int) and found.offset == 0


def fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Return whether a member of type *target_id* may stand for one of type *local_id*.

    Raises:
        BtfError: Malformed types.
    """
    for _ in range(_DEPTH):
        ours = local.type(local.strip(local_id))
        theirs = target.type(target.strip(target_id))
        if isinstance(ours, Composite) and isinstance(theirs, Composite):
            return True
        if not same_kind(ours, theirs):
            return False
        if not isinstance(ours, Array) or not isinstance(theirs, Array):
            return _scalars_compatible(ours, theirs)
        local_id, target_id = ours.element, theirs.element
    raise BtfError(f"arrays more than {_DEPTH} deep", f"type {local_id}")


def _scalars_compatible(ours: Type, theirs: Type) -> bool:
    if isinstance(ours, (Ptr, Float)):
        return True
    if isinstance(ours, (Enumeration, Fwd)):
        return (
            not ours.name
            or not theirs.name
            or essential_name(ours.name) == essential_name(theirs.name)
        )
    return _whole_int(ours) and _whole_int(theirs)


def types_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Return whether two types have the same shape; the caller compares the roots' names.

    Raises:
        BtfError: Malformed types.
    """
    if not same_kind(local.type(local_id), target.type(target_id)):
        return False
    return _Shapes(local, target).compatible(local_id, target_id, 0)


class _Shapes:
    # One comparison. Pairs under way or done are taken for compatible, which ends cycles and keeps
    # prototypes of prototypes from being compared over and over; a mismatch ends everything.

    def __init__(self, local: Btf, target: Btf) -> None:
        self._local = local
        self._target = target
        self._seen: set[tuple[int, int]] = set()

    def compatible(self, local_id: int, target_id: int, depth: int) -> bool:
        if depth > _DEPTH:
            raise BtfError(f"types more than {_DEPTH} deep", f"type {local_id}")
        while True:
            local_id, target_id = self._local.strip(local_id), self._target.strip(target_id)
            if (local_id, target_id) in self._seen:
                return True
            self._seen.add((local_id, target_id))
            ours, theirs = self._local.type(local_id), self._target.type(target_id)
            if not same_kind(ours, theirs):
                return False
            if isinstance(ours, Ptr) and isinstance(theirs, Ptr):
                local_id, target_id = ours.type, theirs.type
            elif isinstance(ours, Array) and isinstance(theirs, Array):
                local_id, target_id = ours.element, theirs.element
            elif isinstance(ours, FuncProto) and isinstance(theirs, FuncProto):
                if not self._parameters(ours, theirs, depth):
                    return False
                local_id, target_id = ours.return_type, theirs.return_type
            elif isinstance(ours, Int):
                return _whole_int(ours) and _whole_int(theirs)
            else:
                return isinstance(ours, (Void, Composite, Enumeration, Fwd))

    def _parameters(self, ours: FuncProto, theirs: FuncProto, depth: int) -> bool:
        return len(ours.params) == len(theirs.params) and all(
            self.compatible(mine.type, other.type, depth + 1)
            for mine, other in zip(ours.params, theirs.params, strict=True)
        )


def types_match(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Return whether the target's type is, by names and members, the local one or more.

    Raises:
        BtfError: Malformed types, or structs nested more than 32 deep.
    """
    return _Matches(local, target).match(local_id, target_id, False, 0)


class _Matches:
    # One comparison; results are kept, as the same member types come up again and again.

    def __init__(self, local: Btf, target: Btf) -> None:
        self._local = local
        self._target = target
        self._known: dict[tuple[int, int, bool], bool] = {}

    def match(self, local_id: int, target_id: int, behind: bool, depth: int) -> bool:
        if depth > _DEPTH:
            raise BtfError(f"types more than {_DEPTH} deep", f"type {local_id}")
        key = (self._local.strip(local_id), self._target.strip(target_id), behind)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compare(*key, depth)
        return known

    def _compare(self, local_id: int, target_id: int, behind: bool, depth: int) -> bool:
        ours, theirs = self._local.type(local_id), self._target.type(target_id)
        if essential_name(ours.name) != essential_name(theirs.name):
            return False
        if isinstance(ours, (Composite, Fwd)):
            if behind:
                return _is_union(ours) == _is_union(theirs)
            if isinstance(ours, Composite) and isinstance(theirs, Composite):
                return ours.kind == theirs.kind and self._members(ours, theirs, depth)
            return same_kind(ours, theirs) and _is_union(ours) == _is_union(theirs)
        if isinstance(ours, Enumeration) and isinstance(theirs, Enumeration):
            return _enums_match(ours, theirs)
        if isinstance(ours, Int) and isinstance(theirs, Int):
            return ours.size == theirs.size and ours.signed == theirs.signed
        if isinstance(ours, Ptr) and isinstance(theirs, Ptr):
            return self.match(ours.type, theirs.type, True, depth + 1)
        if isinstance(ours, Array) and isinstance(theirs, Array):
            same = ours.length == theirs.length
            return same and self.match(ours.element, theirs.element, behind, depth + 1)
        if isinstance(ours, FuncProto) and isinstance(theirs, FuncProto):
            return self._prototypes(ours, theirs, behind, depth)
        return isinstance(ours, Void) and isinstance(theirs, Void)

    def _prototypes(self, ours: FuncProto, theirs: FuncProto, behind: bool, depth: int) -> bool:
        return (
            len(ours.params) == len(theirs.params)
            and all(
                self.match(mine.type, other.type, behind, depth + 1)
                for mine, other in zip(ours.params, theirs.params, strict=True)
            )
            and self.match(ours.return_type, theirs.return_type, behind, depth + 1)
        )

    def _members(self, ours: Composite, theirs: Composite, depth: int) -> bool:
        if len(ours.members) > len(theirs.members):
            return False
        by_name: dict[str, list[int]] = {}
        for member in theirs.members:
            by_name.setdefault(essential_name(member.name), []).append(member.type)
        return all(
            any(
                self.match(member.type, target_id, False, depth + 1)
                for target_id in by_name.get(essential_name(member.name), ())
            )
            for member in ours.members
        )


def _is_union(found: Type) -> bool | None:
    # What a forward declaration says and a definition is; None for everything else.
    if isinstance(found, Fwd):
        return found.union
    if isinstance(found, Struct):
        return False
    return True if isinstance(found, Union) else None


def _enums_match(ours: Enumeration, theirs: Enumeration) -> bool:
    if ours.size != theirs.size or len(ours.values) > len(theirs.values):
        return False
    names = {essential_name(item.name) for item in theirs.values}
    return all(essential_name(item.name) in names for item in ours.values)
