"""Types of kernel modules: their split BTF, and the descriptors that stand for it.

    /sys/kernel/btf/nf_conntrack      the types, readable by everybody
    BTF_GET_NEXT_ID … name            the id, and by it a descriptor, for CAP_SYS_ADMIN only

Types alone do for CO-RE; a kernel function or an attach target of a module takes its descriptor
too, which must stay open until the program is loaded. Nothing is looked at before it is needed, and
a module with types that make no sense (built for another kernel) is skipped, not an error: see
`Modules.skipped`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from types import TracebackType

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, EbpfError, PrivilegeError, SyscallError, naming
from pyebpf.host.kernel_btf import read_btf
from pyebpf.sys import bpf, kernel
from pyebpf.sys.fd import FD
from pyebpf.uapi.btf import BtfKind

__all__ = ["ModuleBtf", "Modules"]

_DIRECTORY = "sys/kernel/btf"
_KERNEL = "vmlinux"
_NAME_SIZE = 64  # MODULE_NAME_LEN is 56


class ModuleBtf:
    """The types of one module.

    Args:
        name: The module.
        path: Where they can be read.
        base: The kernel's types.
        id: The kernel's id for them, or ``None`` where it is not told.

    Attributes:
        name: As given.
        id: As given.
    """

    def __init__(
        self,
        name: str,
        path: str,
        base: Callable[[], Btf],
        id: int | None = None,  # noqa: A002 - the kernel's word
    ) -> None:
        self.name = name
        self.id = id
        self._path = path
        self._base = base
        self._types: Btf | None = None
        self._fd: FD | None = None

    @property
    def types(self) -> Btf:
        """Its types, which continue the kernel's.

        Raises:
            BtfError: They are malformed.
            SyscallError: The module is gone.
        """
        if self._types is None:
            self._types = read_btf(self._path, base=self._base())
        return self._types

    def fileno(self) -> int:
        """Return a descriptor of its BTF, open until `close`.

        Raises:
            PrivilegeError: Without ``CAP_SYS_ADMIN``.
            SyscallError: ``ENOENT``, the module is gone.

        Since Linux 5.11.
        """
        if self._fd is None:
            with naming(f'BTF of module "{self.name}"'):
                if self.id is None:
                    detail = "the BTF of modules is handed out since Linux 5.11, to CAP_SYS_ADMIN"
                    raise PrivilegeError("BPF_BTF_GET_FD_BY_ID", errno.EPERM, detail)
                self._fd = bpf.btf_get_fd_by_id(self.id)
        return self._fd.fileno()

    def close(self) -> None:
        """Close the descriptor, if there is one."""
        if self._fd is not None:
            self._fd.close()

    def __repr__(self) -> str:
        return f'<ModuleBtf "{self.name}">'


class Modules:
    """The modules that have types, in the order the kernel loaded them.

    Looked up at the first use, and then the same until `close`. For one thread.

    Args:
        base: Gives the kernel's types.
        root: The directory that stands for ``/``.

    Attributes:
        skipped: Why modules were passed over, by name.
    """

    def __init__(self, base: Callable[[], Btf], *, root: str | None = None) -> None:
        self.skipped: dict[str, str] = {}
        self._base = base
        self._root = root
        self._modules: list[ModuleBtf] | None = None

    def __iter__(self) -> Iterator[ModuleBtf]:
        for module in self._found():
            if module.name not in self.skipped:
                yield module

    def types(self) -> Iterator[Btf]:
        """Iterate the types of all modules."""
        for module in self:
            with self._skipping(module):
                types = module.types
                yield types

    def find(
        self, name: str, kind: BtfKind, *, module: str | None = None
    ) -> Iterator[tuple[ModuleBtf, int]]:
        """Iterate the modules' own types of exactly this name and kind, with their ids.

        Args:
            name: The type's name.
            kind: Its kind.
            module: Look into this module only.
        """
        for each in self:
            if module is not None and each.name != module:
                continue
            with self._skipping(each):
                types = each.types
                own = [number for number in types.ids(name, kind) if number >= types.first_id]
                for number in own:
                    types.type(number)
                    yield each, number

    def remark(self) -> str:
        """Return words about `skipped` for the end of a message, ``""`` if there is nothing."""
        reasons = [f"module {name} was skipped: {why}" for name, why in self.skipped.items()]
        return f" ({'; '.join(reasons)})" if reasons else ""

    def close(self) -> None:
        """Close all descriptors."""
        for module in self._modules or ():
            module.close()
        self._modules = None

    def __enter__(self) -> Modules:  # noqa: PYI034 - typing.Self is Python 3.11's
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _skipping(self, module: ModuleBtf) -> Iterator[None]:
        try:
            yield
        except (BtfError, SyscallError) as error:
            self.skipped[module.name] = error.message

    def _found(self) -> list[ModuleBtf]:
        if self._modules is None:
            directory = os.path.join(self._root or kernel.current().root, _DIRECTORY)
            names = _names(directory)
            ids = _ids() if names else {}
            # The kernel's order first: libbpf takes the first of equal names, too.
            names.sort(key=lambda name: (ids.get(name, 1 << 32), name))
            self._modules = [
                ModuleBtf(name, os.path.join(directory, name), self._base, ids.get(name))
                for name in names
            ]
        return self._modules


def _names(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if name != _KERNEL]
    except OSError:
        return []


# Without the privilege, or on a kernel that has no names for BTF, nothing is known of the ids.
def _ids() -> dict[str, int]:
    ids: dict[str, int] = {}
    last = 0
    try:
        while (number := bpf.btf_get_next_id(last)) is not None:
            last = number
            name = _name(number)
            if name:
                ids[name] = number
    except EbpfError:
        return {}
    return ids


# Of the kernel's own BTF and what came with its modules; "" for what programs brought.
def _name(number: int) -> str:
    try:
        fd = bpf.btf_get_fd_by_id(number)
    except SyscallError as error:
        if error.errno == errno.ENOENT:
            return ""
        raise
    with fd:
        buffer = bytearray(_NAME_SIZE)
        from pyebpf.uapi.info import BtfInfo

        info = BtfInfo(name=buffer, name_len=len(buffer))
        bpf.obj_get_info_by_fd(fd.fileno(), info)
    return bytes(buffer).partition(b"\0")[0].decode(errors="replace") if info.kernel_btf else ""
