"""Symbols the object uses and does not define: which of them the kernel is to provide.

The object's BTF comes in, a `Reference` for each undefined symbol goes out. ELF knows externs as
undefined symbols only; what they are stands in BTF, in data sections that have no ELF section:

    DATASEC .kconfig   VAR CONFIG_HZ, VAR LINUX_KERNEL_VERSION    values of the kernel's build
    DATASEC .ksyms     VAR runqueues                              addresses of kernel variables
                       FUNC bpf_task_acquire                      kernel functions

Values of the kernel's build are read from a map of their own, like any constants; the loader writes
them into it.
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.btf.externs import KCONFIG, KSYMS, config_variables
from pyebpf.btf.sections import entries_of
from pyebpf.btf.types import Func
from pyebpf.elf.reader import Symbol
from pyebpf.errors import BtfError
from pyebpf.spec import MapSpec, Reference, ReferenceKind
from pyebpf.uapi.bpf import MapFlag, MapType
from pyebpf.uapi.btf import BtfKind
from pyebpf.uapi.elf import STB_WEAK

__all__ = ["Externs", "config_map"]

_SECTIONS = {KCONFIG: ReferenceKind.KCONFIG, KSYMS: ReferenceKind.KSYM}
# Thousands of variables fit; an object of a hundred bytes can ask for any amount.
_CONTENTS_LIMIT = 1 << 20


class Externs:
    """What the BTF of an object says about its undefined symbols.

    Args:
        btf: The object's BTF, or ``None``: then every undefined symbol is just that.
    """

    __slots__ = ("_kinds",)

    def __init__(self, btf: Btf | None) -> None:
        self._kinds: dict[str, ReferenceKind] = {}
        if btf is None:
            return
        for section, kind in _SECTIONS.items():
            for _, found in entries_of(btf, section):
                is_function = isinstance(found, Func)
                self._kinds[found.name] = ReferenceKind.KFUNC if is_function else kind

    def reference(self, symbol: Symbol, addend: int, *, call: bool) -> Reference:
        """Return what an instruction that uses an undefined symbol refers to.

        Args:
            symbol: The undefined symbol.
            addend: Bytes behind the symbol that a load takes the address of.
            call: The instruction calls it.
        """
        kind = self._kinds.get(symbol.name, ReferenceKind.UNDEFINED)
        if kind is ReferenceKind.KFUNC and not call:
            kind = ReferenceKind.KSYM  # its address: programs ask whether it exists
        elif call and kind is not ReferenceKind.KFUNC:
            kind = ReferenceKind.UNDEFINED
        return Reference(kind, symbol.name, addend, symbol.binding == STB_WEAK)


def config_map(btf: Btf | None) -> MapSpec | None:
    """Return the map of ``.kconfig``, its contents zero so far; ``None`` if nothing is in it.

    Raises:
        BtfError: The section lists something else than variables, or takes too much.
    """
    variables = config_variables(btf) if btf is not None else ()
    size = max((each.offset + each.size for each in variables), default=0)
    if btf is None or not size:
        return None
    if size > _CONTENTS_LIMIT:
        raise BtfError(f"{size} bytes of configuration", f'section "{KCONFIG}"')
    return MapSpec(
        name=KCONFIG,
        type=MapType.ARRAY,
        key_size=4,
        value_size=size,
        max_entries=1,
        flags=MapFlag.RDONLY_PROG,
        value_type_id=btf.ids(KCONFIG, BtfKind.DATASEC)[0],
        btf=btf,
        contents=bytearray(size),
        frozen=True,
        section=KCONFIG,
    )
