"""What BTF says about a section: its variables, and their tags.

A `Btf` and a section's name come in, variables go out. ELF has places and sizes, BTF has types; the
variable's name joins them.
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.btf.sections import entries_of
from pyebpf.btf.types import DeclTag, Var
from pyebpf.uapi.btf import BtfKind

__all__ = ["tags_of", "variables_of"]

_STATIC = 0  # BTF_VAR_STATIC


def variables_of(btf: Btf, section: str) -> dict[str, tuple[int, Var]]:
    """Return the variables of a section by name, with their ids; a global one before a static one.

    Raises:
        BtfError: Something else is listed.
    """
    variables: dict[str, tuple[int, Var]] = {}
    for type_id, found in entries_of(btf, section):
        if isinstance(found, Var) and (found.name not in variables or found.linkage != _STATIC):
            variables[found.name] = (type_id, found)
    return variables


def tags_of(btf: Btf) -> dict[int, tuple[str, ...]]:
    """Return the ``btf_decl_tag`` texts of each type that has any, without those of members."""
    found: dict[int, list[str]] = {}
    for type_id in btf.of_kind(BtfKind.DECL_TAG):
        tag = btf.type(type_id)
        assert isinstance(tag, DeclTag)
        if tag.component == -1:
            found.setdefault(tag.type, []).append(tag.name)
    return {type_id: tuple(names) for type_id, names in found.items()}
