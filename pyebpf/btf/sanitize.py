"""BTF for kernels that lack some of its kinds: each rewritten to an older one of the same size.

The kernel refuses a whole blob for one kind it does not know, and with it types of maps and source
lines of programs. Ids do not move, so nothing that refers to them changes:

    lacking         becomes                           since
    FUNC            TYPEDEF; FUNC_PROTO an ENUM       5.0
    DATASEC, VAR    STRUCT and INT of one byte        5.2
    global FUNC     static                            5.6
    empty DATASEC   an empty STRUCT of its size       5.12
    FLOAT           an empty STRUCT of its size       5.13
    DECL_TAG        INT of one byte                   5.16
    TYPE_TAG        CONST                             5.17
    ENUM64          UNION of a placeholder            6.0
    "?" in a name   "_"                               6.9
    layout area     none                              7.1
    extern VAR      global
    extern FUNC     TYPEDEF
    later kinds     INT of one byte

After libbpf's ``bpf_object__sanitize_btf``, which has no answer to the last three: what is extern
and in no section (`pyebpf.btf.externs`), and kinds of later years, which no kernel takes, whatever
the layout area says. A placeholder type and its name are added at the end.
"""

from __future__ import annotations

import string
import struct
from collections.abc import Callable

from pyebpf.btf.btf import Btf
from pyebpf.btf.encode import assemble
from pyebpf.btf.types import Opaque
from pyebpf.plain import plain
from pyebpf.uapi.btf import BtfFuncLinkage, BtfKind, BtfVarLinkage

__all__ = ["BtfFeatures", "sanitize"]

# What old kernels accept in a name.
_IN_NAMES = string.ascii_letters.encode() + string.digits.encode() + b"_"
_IN_SECTIONS = _IN_NAMES + b"."
_PLACEHOLDER = b"enum64_placeholder\0"
_LAST_KIND = BtfKind.ENUM64
_BYTE = 8  # what follows an INT of one byte: 8 bits, no encoding


@plain(frozen=True, kw_only=True)
class BtfFeatures:
    """What a kernel's BTF knows; the default is everything.

    Attributes:
        func: Functions and their prototypes (Linux 5.0).
        datasec: Data sections and variables (Linux 5.2).
        func_global: Linkage of functions (Linux 5.6).
        float: Floating-point types (Linux 5.13).
        decl_tag: Tags of declarations (Linux 5.16).
        type_tag: Tags of types (Linux 5.17).
        enum64: 64-bit enumerations, and signs of all (Linux 6.0).
        question_mark: Names of data sections with a leading ``?`` (Linux 6.9).
        layout: A header with a layout area (Linux 7.1).
    """

    func: bool = True
    datasec: bool = True
    func_global: bool = True
    float: bool = True
    decl_tag: bool = True
    type_tag: bool = True
    enum64: bool = True
    question_mark: bool = True
    layout: bool = True


def sanitize(btf: Btf, features: BtfFeatures) -> bytes:
    """Return *btf* as a blob that a kernel with these features takes; ids stay the same.

    Args:
        btf: Without a base.
        features: What the kernel knows.

    Raises:
        BtfError: Malformed types.
    """
    return _Sanitizer(btf, features).run()


class _Sanitizer:
    # Words of the type area are changed in place.

    def __init__(self, btf: Btf, features: BtfFeatures) -> None:
        self._btf = btf
        self._features = features
        self._order = "<" if btf.byteorder == "little" else ">"
        types, strings, layout = btf.areas
        self._types, self._strings, self._layout = bytearray(types), bytearray(strings), layout
        self._placeholder = 0
        # Bytes of the type area that are in the way, by where they start.
        self._surplus: dict[int, int] = {}
        self._rules = self._choose()

    def run(self) -> bytes:
        start = self._btf.position(1) if len(self._btf) > 1 else 0
        for type_id in range(1, len(self._btf)):
            kind = self._btf.kind(type_id)
            rule = self._rules.get(kind) if kind <= _LAST_KIND else self._unknown
            if rule is not None:
                self._btf.type(type_id)  # finds a name outside the strings
                rule(type_id, self._btf.position(type_id) - start)
        if len(self._btf) == 1:
            # Kernels refuse BTF with strings only.
            self._add_byte(0)
        return self._assemble()

    def _choose(self) -> dict[int, Callable[[int, int], None]]:
        has = self._features
        rules: dict[int, Callable[[int, int], None]] = {}
        rules[BtfKind.FUNC] = self._function
        if not has.func:
            rules[BtfKind.FUNC_PROTO] = self._prototype
        rules[BtfKind.VAR] = self._variable
        rules[BtfKind.DATASEC] = self._section
        if not has.float:
            rules[BtfKind.FLOAT] = lambda _, place: self._set_kind(place, BtfKind.STRUCT, name=0)
        if not has.decl_tag:
            rules[BtfKind.DECL_TAG] = lambda _, place: self._byte(place)
        if not has.type_tag:
            rules[BtfKind.TYPE_TAG] = lambda _, place: self._set_kind(place, BtfKind.CONST, name=0)
        if not has.enum64:
            rules[BtfKind.ENUM] = self._unsigned
            rules[BtfKind.ENUM64] = self._union
        return rules

    # ---- one type each ------------------------------------------------------------------------

    def _function(self, _: int, place: int) -> None:
        linkage = self._count(place)
        if not self._features.func or linkage == BtfFuncLinkage.EXTERN:
            self._set_kind(place, BtfKind.TYPEDEF)
        elif not self._features.func_global:
            self._set_kind(place, BtfKind.FUNC)

    def _prototype(self, _: int, place: int) -> None:
        # Parameters are as long as enumerators; the size stands where the return type was.
        self._set_kind(place, BtfKind.ENUM, self._count(place))
        self._set(place + 8, 4)

    def _variable(self, _: int, place: int) -> None:
        if not self._features.datasec:
            self._byte(place)
        elif self._get(place + 12) == BtfVarLinkage.GLOBAL_EXTERN:
            self._set(place + 12, BtfVarLinkage.GLOBAL_ALLOCATED)

    def _byte(self, place: int) -> None:
        # One byte: a longer stand-in might not fit where the variable is.
        self._set_kind(place, BtfKind.INT)
        self._set(place + 8, 1)
        self._set(place + 12, _BYTE)

    def _unknown(self, type_id: int, place: int) -> None:
        # Whatever it is, it is longer or shorter than that.
        found = self._btf.type(type_id)
        assert isinstance(found, Opaque)  # as its kind says
        self._surplus[place] = 12 + len(found.data) * 4

    def _section(self, _: int, place: int) -> None:
        count = self._count(place)
        # Those without variables came one version before FLOAT, for which there is a probe.
        if self._features.datasec and (count or self._features.float):
            if not self._features.question_mark:
                self._rename(place, _IN_SECTIONS)
            return
        # {type, offset, size} become {name, type, offset in bits}.
        self._rename(place, _IN_NAMES)
        self._set_kind(place, BtfKind.STRUCT, count)
        for entry in range(place + 12, place + 12 + count * 12, 12):
            type_id, offset = self._get(entry), self._get(entry + 4)
            name = self._btf.name_offset(type_id)
            self._set(entry, name)
            self._set(entry + 4, type_id)
            self._set(entry + 8, offset * 8 & 0xFFFFFFFF)

    def _unsigned(self, _: int, place: int) -> None:
        self._set_kind(place, BtfKind.ENUM, self._count(place))

    def _union(self, _: int, place: int) -> None:
        # {name, low, high} become {name, type, offset}.
        if not self._placeholder:
            self._placeholder = len(self._btf)
        count = self._count(place)
        self._set_kind(place, BtfKind.UNION, count)
        for entry in range(place + 12, place + 12 + count * 12, 12):
            self._set(entry + 4, self._placeholder)
            self._set(entry + 8, 0)

    def _rename(self, place: int, allowed: bytes) -> None:
        start = self._get(place)
        end = self._strings.find(b"\0", start)
        name = self._strings[start:end]
        self._strings[start:end] = bytes(byte if byte in allowed else ord("_") for byte in name)

    # ---- the blob -----------------------------------------------------------------------------

    def _assemble(self) -> bytes:
        if self._placeholder:
            self._add_byte(len(self._strings))
            self._strings += _PLACEHOLDER
        for place, length in reversed(self._surplus.items()):
            self._types[place : place + length] = self._one_byte(0)
        layout = self._layout if self._features.layout else b""
        return assemble(self._types, self._strings, layout, self._btf.byteorder)

    def _add_byte(self, name: int) -> None:
        self._types += self._one_byte(name)

    def _one_byte(self, name: int) -> bytes:
        return struct.pack(self._order + "4I", name, BtfKind.INT << 24, 1, _BYTE)

    def _get(self, place: int) -> int:
        (word,) = struct.unpack_from(self._order + "I", self._types, place)
        return int(word)

    def _set(self, place: int, word: int) -> None:
        struct.pack_into(self._order + "I", self._types, place, word)

    def _count(self, place: int) -> int:
        return self._get(place + 4) & 0xFFFFFF

    def _set_kind(self, place: int, kind: BtfKind, count: int = 0, name: int | None = None) -> None:
        if name is not None:
            self._set(place, name)
        self._set(place + 4, kind << 24 | count)
