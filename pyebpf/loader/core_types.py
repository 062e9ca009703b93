"""What the programs of a load are relocated against: `CoreTypes`, the kernel's types and modules'.

kernel_btf=   module_btf=     iterated
-             -               the running kernel's, then its modules'
-             given           the running kernel's, then those given
given         -               those given
given         given           those given, kernel before modules
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from pyebpf.btf.btf import Btf
from pyebpf.errors import naming
from pyebpf.host.kernel_btf import kernel_btf, read_btf
from pyebpf.host.modules import Modules
from pyebpf.typed import TypeAlias

__all__ = ["CoreTypes", "Types"]

#: Types as a user may give them: decoded, as a file, or as bytes.
Types: TypeAlias = Btf | str | os.PathLike[str] | bytes


class CoreTypes:
    """The types of a kernel and of modules, read when they are iterated; for one thread.

    Args:
        kernel: Instead of the running kernel's, or ``None``.
        modules: Instead of the running modules', or ``None``.
        running: Modules of the running kernel.
    """

    def __init__(
        self, kernel: Types | None, modules: Mapping[str, Types] | None, running: Modules
    ) -> None:
        self._given = kernel
        self._modules = dict(modules) if modules is not None else None
        self._running = running
        self._kernel: Btf | None = None
        self._read: dict[str, Btf] = {}

    def __iter__(self) -> Iterator[Btf]:
        if self._kernel is None:
            self._kernel = kernel_btf() if self._given is None else _read(self._given, None)
        yield self._kernel
        if self._modules is not None:
            for name, given in self._modules.items():
                if name not in self._read:
                    with naming(f'types of module "{name}"'):
                        self._read[name] = _read(given, self._kernel)
                yield self._read[name]
        elif self._given is None:
            yield from self._running.types()


def _read(given: Types, base: Btf | None) -> Btf:
    if isinstance(given, Btf):
        return given
    if isinstance(given, bytes):
        return Btf.decode(given, base=base)
    return read_btf(given, base=base)
