"""Symbols the object uses and does not define: which of them the kernel is to provide.

The object's BTF comes in, a `Reference` for each undefined symbol goes out. ELF knows externs as
undefined symbols only; what they are stands in BTF, in data sections that have no ELF section:

    DATASEC .kconfig   VAR CONFIG_HZ, VAR LINUX_KERNEL_VERSION    values of the kernel's build
    DATASEC .ksyms     VAR runqueues                              addresses of kernel variables
                       FUNC bpf_task_acquire                      kernel functions
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.btf.types import Func
from pyebpf.elf.datasec import entries_of
from pyebpf.elf.reader import Symbol
from pyebpf.spec import Reference, ReferenceKind
from pyebpf.uapi.elf import STB_WEAK

__all__ = ["Externs"]

_SECTIONS = {".kconfig": ReferenceKind.KCONFIG, ".ksyms": ReferenceKind.KSYM}


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
