"""Sections in an object's BTF: what is in them, and what a compiler leaves open about them.

Sizes of data sections and offsets of the variables in them are 0 in what clang writes (offsets of
static variables are right in newer ones), and functions with hidden visibility look global. A new
blob goes out; ids do not move.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Datasec, Func, Var
from pyebpf.errors import BtfError
from pyebpf.uapi.btf import BtfKind

__all__ = ["entries_of", "fix_elf_btf"]

_STATIC, _GLOBAL = 0, 1


def entries_of(btf: Btf, section: str) -> Iterator[tuple[int, Var | Func]]:
    """Iterate what BTF lists in a section: ids with variables, or functions among the externs.

    Raises:
        BtfError: Something else is listed.
    """
    for datasec_id in btf.ids(section, BtfKind.DATASEC):
        datasec = btf.type(datasec_id)
        assert isinstance(datasec, Datasec)
        for entry in datasec.variables:
            found = btf.type(entry.type)
            if not isinstance(found, (Var, Func)):
                raise BtfError(
                    f"{btf.describe(entry.type)} is neither a variable nor a function",
                    f'section "{section}", type {datasec_id}',
                )
            yield entry.type, found


def fix_elf_btf(
    btf: Btf,
    sizes: Mapping[str, int],
    offsets: Mapping[str, Mapping[str, int]],
    hidden: Collection[str] = (),
) -> Btf:
    """Fill in the sizes of data sections and the offsets of their variables.

    Args:
        btf: From the ELF's ``.BTF``.
        sizes: Bytes of ELF sections by name. Sections that are not in it (``.kconfig`` and
            ``.ksyms`` exist in BTF only) stay as they are.
        offsets: By section, the ``st_value`` of its symbols by name. Static variables need not be
            in it if the compiler gave their offsets.
        hidden: Functions with hidden or internal visibility: they become static, so that the
            verifier looks at them together with their callers, as libbpf has it.

    Returns:
        The same BTF if there was nothing to do.

    Raises:
        BtfError: A variable that is not in its section, or malformed types.
    """
    raw = bytearray(btf.raw)
    for type_id in btf.of_kind(BtfKind.DATASEC):
        found = btf.type(type_id)
        if isinstance(found, Datasec) and found.name in sizes:
            where = btf.position(type_id)
            _fix_section(raw, where, btf, found, sizes[found.name], offsets.get(found.name, {}))
    if hidden:
        _fix_functions(raw, btf, hidden)
    return btf if raw == btf.raw else Btf.decode(bytes(raw), base=btf.base)


def _fix_section(
    raw: bytearray, where: int, btf: Btf, found: Datasec, size: int, offsets: Mapping[str, int]
) -> None:
    entries = []
    for variable in found.variables:
        target = btf.type(variable.type)
        offset = variable.offset
        # A static variable may share its name with a symbol of another scope; if the compiler
        # gave its place, that is the right one.
        if target.name in offsets and not (
            isinstance(target, Var) and target.linkage == _STATIC and offset
        ):
            offset = offsets[target.name]
        if offset + variable.size > size:
            message = f"variable {target.name!r} ends at {offset + variable.size} of {size} bytes"
            raise BtfError(message, f'section "{found.name}"')
        entries.append((offset, variable.type, variable.size))
    # The kernel wants them in order.
    entries.sort()
    order = "<" if btf.byteorder == "little" else ">"
    struct.pack_into(order + "I", raw, where + 8, size)
    for number, (offset, type_id, bytes_) in enumerate(entries):
        struct.pack_into(order + "3I", raw, where + 12 + number * 12, type_id, offset, bytes_)


def _fix_functions(raw: bytearray, btf: Btf, hidden: Collection[str]) -> None:
    order = "<" if btf.byteorder == "little" else ">"
    for type_id in btf.of_kind(BtfKind.FUNC):
        found = btf.type(type_id)
        if isinstance(found, Func) and found.linkage == _GLOBAL and found.name in hidden:
            info = BtfKind.FUNC << 24 | _STATIC
            struct.pack_into(order + "I", raw, btf.position(type_id) + 4, info)
