"""BTF as C declarations: `dump` for any types, `vmlinux_h` for a header of a whole kernel.

Text comes in pieces, in an order a compiler takes:

    struct b;                       a pointer needs the name only
    typedef int (*f)(struct b *);   a typedef needs the names it uses
    struct a { int x; };            a member needs all of its type
    struct b { struct a a; f g; };

so each piece is a node with other nodes that must stand before it, and they are walked depth first,
in the order of ids. Types are read as they are needed and forgotten again: what is kept for a
kernel is one byte a type and the names it has used.

Sizes and offsets of structs are those in the BTF when the text is compiled for eBPF
(`pyebpf.btf.layout`), if the BTF is of a 64-bit machine. Alignment asked for by attributes, tags
and ``restrict`` are not kept, nor are members of a kind this library does not know: their bytes
are. Names that are none in C are changed; the second of a name gets a flavour (``name___2``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from pyebpf.btf.btf import Btf
from pyebpf.btf.declare import Writer, is_c_scalar, stand_in
from pyebpf.btf.types import (
    Array,
    Composite,
    Datasec,
    DeclTag,
    Enumeration,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Modifier,
    Ptr,
    Type,
    Typedef,
    Var,
)
from pyebpf.errors import BtfError
from pyebpf.uapi.btf import BtfKind

__all__ = ["dump", "vmlinux_h"]

# Types kept while walking: neighbours use the same ones.
_KEPT = 1 << 13
# Members and the like that may be written, besides one for every four bytes of BTF, of which
# kernels take a tenth.
_BUDGET = 1 << 16

_C_KINDS = frozenset(
    {
        BtfKind.STRUCT,
        BtfKind.UNION,
        BtfKind.ENUM,
        BtfKind.FWD,
        BtfKind.TYPEDEF,
        BtfKind.ENUM64,
    }
)

_HEADER = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

"""
_KFUNCS = """\
#ifndef BPF_NO_KFUNC_PROTOTYPES
#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

"""
_KFUNCS_END = """\
#endif

"""
_FOOTER = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""

# From C23 on these names are keywords.
_C23 = "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\n{}#endif\n\n"


def dump(btf: Btf, ids: Iterable[int] | None = None) -> Iterator[str]:
    """Yield C declarations, piece by piece.

    Args:
        btf: The types; for split BTF those of the base are declared as far as they are needed.
        ids: Types to declare, with everything they need; functions and variables become
            ``extern`` declarations. Without: all structs, unions, enumerations and typedefs that
            are *btf*'s own.

    Raises:
        BtfError: No such type, or malformed types.
    """
    return _Dump(btf).run(ids)


def vmlinux_h(btf: Btf) -> Iterator[str]:
    """Yield the text of a header with all types, relocated by CO-RE, and prototypes of kfuncs.

    A program may define ``BPF_NO_PRESERVE_ACCESS_INDEX`` or ``BPF_NO_KFUNC_PROTOTYPES`` before it
    includes the header, as it may with bpftool's.

    Raises:
        BtfError: Malformed types.
    """
    yield _HEADER
    declarations = _Dump(btf)
    yield from declarations.run(None)
    kfuncs = _kfuncs(btf)
    if kfuncs:
        yield _KFUNCS
        for type_id in kfuncs:
            yield from declarations.kfunc(type_id)
        yield _KFUNCS_END
    yield _FOOTER


# Functions for programs; tagged so since Linux 6.10 and pahole 1.27.
def _kfuncs(btf: Btf) -> list[int]:
    found = set()
    for type_id in btf.ids("bpf_kfunc", BtfKind.DECL_TAG):
        tag = btf.type(type_id)
        assert isinstance(tag, DeclTag)  # as its kind says
        if tag.type >= btf.first_id and btf.kind(tag.type) == BtfKind.FUNC:
            found.add(tag.type)
    return sorted(found)


def _guarded(name: str, text: str) -> str:
    return _C23.format(text) if name == "bool" else text


def _bytes_of(btf: Btf) -> int:
    return len(btf.raw) + (_bytes_of(btf.base) if btf.base is not None else 0)


# What has become of a type: bits, one byte a type.
_DECLARED = 1  # struct x;
_BUSY = 2  # what it needs is being written
_DONE = 4  # it stands there
_WHOLE_BUSY, _WHOLE = 8, 16  # the same for what is behind a typedef

_Node = tuple[int, bool]  # a type's id; whether all of it is needed or only the name


class _Dump:
    # One text: what stands in it already, and the names it uses.

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._type = functools.lru_cache(_KEPT)(btf.inflate)
        self._state = bytearray(len(btf))
        self._definitions: dict[tuple[str, bool], int] = {}
        self._writer = Writer(
            self._type,
            self._definition_of,
            pointer_size=btf.pointer_size,
            budget=_BUDGET + _bytes_of(btf) // 4,
        )

    def run(self, ids: Iterable[int] | None) -> Iterator[str]:
        if ids is not None:
            for type_id in ids:
                yield from self._asked(type_id)
            return
        own = range(self._btf.first_id, len(self._btf))
        for type_id in own:
            kind = self._btf.kind(type_id)
            if kind in _C_KINDS and self._btf.name_offset(type_id):
                whole = kind != BtfKind.FWD
                yield from self._write([(self._definition_of(type_id), whole)])
        yield from self._constants(own)

    def _asked(self, type_id: int) -> Iterator[str]:
        found = self._type(type_id)
        if isinstance(found, (Func, Var)):
            yield from self._extern(type_id, found)
        elif isinstance(found, Datasec):
            for place in found.variables:
                variable = self._type(place.type)
                if not isinstance(variable, (Func, Var)):
                    raise BtfError(f"section {found.name!r} has no variable at {place.offset}")
                yield from self._extern(place.type, variable)
        elif isinstance(found, (Composite, Enumeration)) and not found.name:
            if isinstance(found, Enumeration) and not found.values:
                return
            yield from self._write(self._needs([(type_id, True)]))
            yield f"{self._writer.declare(type_id, '')};\n\n"
        else:
            yield from self._write(self._needs([(type_id, True)]))

    def kfunc(self, type_id: int) -> Iterator[str]:
        found = self._type(type_id)
        assert isinstance(found, Func)  # as its kind says
        yield from self._extern(type_id, found, " __weak __ksym")

    def _extern(self, type_id: int, found: Func | Var, attributes: str = "") -> Iterator[str]:
        yield from self._write(self._needs([(found.type, True)]))
        text = self._writer.declare(found.type, self._writer.identifier(type_id, found))
        yield f"extern {text}{attributes};\n\n"

    def _constants(self, own: range) -> Iterator[str]:
        # Enumerations that nothing refers to: their values are what they are for.
        for type_id in own:
            if self._btf.kind(type_id) in {BtfKind.ENUM, BtfKind.ENUM64}:
                found = self._type(type_id)
                assert isinstance(found, Enumeration)  # as its kind says
                if not found.name and found.values and type_id not in self._writer.unnamed:
                    text = f"{self._writer.declare(type_id, '')};\n\n"
                    values = {name for name, _ in found.values}
                    yield _C23.format(text) if values == {"false", "true"} else text

    def _definition_of(self, type_id: int) -> int:
        # What a forward declaration declares: tools that merge types leave some of them over.
        found = self._type(type_id)
        if not isinstance(found, Fwd):
            return type_id
        known = self._definitions.get((found.name, found.union))
        if known is None:
            kind = BtfKind.UNION if found.union else BtfKind.STRUCT
            # The first of its forward declarations stands for all that have none.
            defined = self._btf.ids(found.name, kind) if found.name else []
            known = defined[0] if defined else type_id
            self._definitions[found.name, found.union] = known
        return known

    # ---- the order ----------------------------------------------------------------------------

    def _write(self, nodes: Iterable[_Node]) -> Iterator[str]:
        # Depth first, on a stack of our own: malformed types may be nested deeper than Python's.
        stack: list[tuple[_Node, Iterator[_Node]]] = [((0, False), iter(nodes))]
        while stack:
            owner, pending = stack[-1]
            for type_id, whole in pending:
                found = self._type(type_id)
                if self._is_forward(type_id, found, whole):
                    # Inside its own definition a struct is known.
                    if type_id != owner[0]:
                        yield from self._forward(type_id, found)
                elif self._begin(type_id, found, whole):
                    stack.append(((type_id, whole), iter(self._before(type_id, found, whole))))
                    break
            else:
                stack.pop()
                yield from self._finished(*owner)

    def _is_forward(self, type_id: int, found: Type, whole: bool) -> bool:
        # Whether to declare a struct only: to point at, or because it is being defined.
        if isinstance(found, Composite):
            return not whole or self._state[type_id] & (_BUSY | _DONE) == _BUSY
        return isinstance(found, Fwd)

    def _forward(self, type_id: int, found: Type) -> Iterator[str]:
        if not self._state[type_id] & (_DECLARED | _DONE):
            self._state[type_id] |= _DECLARED
            yield f"{self._writer.tag(type_id, found)};\n\n"

    def _begin(self, type_id: int, found: Type, whole: bool) -> bool:
        # False if it has begun, or is done.
        behind = whole and isinstance(found, Typedef)
        busy, done = (_WHOLE_BUSY, _WHOLE) if behind else (_BUSY, _DONE)
        if self._state[type_id] & (busy | done):
            return False
        self._state[type_id] |= busy
        return True

    def _before(self, type_id: int, found: Type, whole: bool) -> Iterable[_Node]:
        if isinstance(found, Composite):
            return self._needs((member.type, True) for member in found.members)
        if isinstance(found, Typedef):
            needs = self._needs([(found.type, whole)])
            return [(type_id, False), *needs] if whole else needs
        return ()

    def _finished(self, type_id: int, whole: bool) -> Iterator[str]:
        if not type_id:
            return
        found = self._type(type_id)
        if isinstance(found, Typedef):
            if whole:
                self._state[type_id] |= _WHOLE
                return
            yield from self._typedef(type_id, found)
        elif isinstance(found, (Int, Float)):
            base, suffix = stand_in(found)
            name = self._writer.identifier(type_id, found)
            yield _guarded(name, f"typedef {base} {name}{suffix};\n\n")
        else:
            yield f"{self._writer.definition(type_id, found)};\n\n"
        self._state[type_id] |= _DONE

    def _typedef(self, type_id: int, found: Typedef) -> Iterator[str]:
        name = self._writer.identifier(type_id, found)
        yield _guarded(name, f"typedef {self._writer.declare(found.type, name)};\n\n")

    def _needs(self, roots: Iterable[_Node]) -> list[_Node]:
        # What must stand before a use of these types, through pointers, arrays, prototypes and
        # structs without a name.
        work = list(roots)
        work.reverse()
        seen: set[_Node] = set()
        needs: dict[_Node, None] = {}
        while work:
            node = type_id, whole = work.pop()
            found = self._type(type_id)
            if node in seen or self._state[type_id] & _WHOLE:
                continue
            seen.add(node)
            if isinstance(found, Typedef):
                needs[node] = None
            elif isinstance(found, Modifier):
                work.append((found.type, whole))
            elif isinstance(found, Ptr):
                work.append((found.type, False))
            elif isinstance(found, Array):
                work.append((found.element, True))
            elif isinstance(found, FuncProto):
                params = ((param.type, False) for param in reversed(found.params))
                work += [*params, (found.return_type, False)]
            elif isinstance(found, (Composite, Enumeration)) and not found.name:
                members = found.members if isinstance(found, Composite) else ()
                work += [(member.type, True) for member in reversed(members)]
            elif isinstance(found, (Composite, Enumeration)):
                needs[node] = None
            elif isinstance(found, Fwd):
                needs[self._definition_of(type_id), False] = None
            elif isinstance(found, (Int, Float)):
                if is_c_scalar(found):
                    self._state[type_id] |= _WHOLE
                else:
                    needs[node] = None
        return list(needs)
