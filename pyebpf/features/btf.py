"""Probes of BTF: which kinds of types the kernel takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pyebpf.btf.encode import encode
from pyebpf.btf.sanitize import BtfFeatures
from pyebpf.btf.types import (
    Datasec,
    DeclTag,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Int,
    Param,
    Ptr,
    SectionVariable,
    Type,
    TypeTag,
    Var,
)
from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import BtfLoad

__all__ = ["BTF_KINDS", "btf_features"]

_INT = Int("int", 4, encoding=1)
_PROTOTYPE = FuncProto(0, (Param("a", 1),))
_VARIABLE = [_INT, Var("x", 1, linkage=1)]


def _kind(name: str, since: str, types: Sequence[Type]) -> Feature:
    def attempt() -> None:
        blob = encode(types, byteorder=sys.byteorder)
        bpf.btf_load(BtfLoad(btf=blob, btf_size=len(blob))).close()

    return Feature(f"BTF {name}", since, lambda: accepted(attempt))


#: By the names of `BtfFeatures`; each a small blob that is fine but for the kind in question.
BTF_KINDS = {
    "func": _kind("functions", "5.0", [_INT, _PROTOTYPE, Func("f", 2)]),
    "datasec": _kind(
        "data sections", "5.2", [*_VARIABLE, Datasec(".data", 4, (SectionVariable(2, 0, 4),))]
    ),
    "func_global": _kind("linkage of functions", "5.6", [_INT, _PROTOTYPE, Func("f", 2, 1)]),
    "float": _kind("floating-point types", "5.13", [Float("float", 4)]),
    "decl_tag": _kind("tags of declarations", "5.16", [*_VARIABLE, DeclTag("tag", 2, -1)]),
    "type_tag": _kind("tags of types", "5.17", [_INT, TypeTag("tag", 1), Ptr(2)]),
    "enum64": _kind("64-bit enumerations", "6.0", [Enum64("e", 8, True, (Enumerator("A", -1),))]),
    "question_mark": _kind(
        "optional data sections",
        "6.9",
        [*_VARIABLE, Datasec("?.data", 4, (SectionVariable(2, 0, 4),))],
    ),
}


def btf_features() -> BtfFeatures:
    """Return which kinds of types the running kernel takes.

    The layout area counts as unknown: it only helps readers, so nothing is lost without it.

    Raises:
        PrivilegeError: It cannot be told.
    """
    known = {name: feature.available() for name, feature in BTF_KINDS.items()}
    return BtfFeatures(**known, layout=False)
