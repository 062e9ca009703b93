"""An implementation of a kernel interface: `StructOps`, a map of one value that can be registered.

A spec fitted to the kernel's own struct and the programs of its functions come in; the map holds
nothing until it is registered (`pyebpf.link.struct_ops`), which hands the kernel the value below.

    value   | common: zero | data: numbers and text of the object, descriptors of the programs |
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from pyebpf import features
from pyebpf.errors import ENOTSUPP, SyscallError, naming
from pyebpf.maps.map import Map
from pyebpf.maps.user_codec import CodecLike
from pyebpf.names import kernel_name
from pyebpf.spec import MapSpec
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.typed import Any, Protocol
from pyebpf.uapi.attrs import MapCreate
from pyebpf.uapi.bpf import MapFlag, MapType, ProgType

__all__ = ["HasFileno", "StructOps"]

# The kernel reads a whole unsigned long where its own struct has a pointer.
_WORD = struct.Struct("@L")


class HasFileno(Protocol):
    """A program, or BTF."""

    def fileno(self) -> int:
        """Return the descriptor's number."""
        ...


class StructOps(Map[Any, Any]):
    """An implementation of a kernel interface.

    Closing it does not unregister it; that is the business of the link.

    Args:
        fd: The map's descriptor; this object owns it from now on.
        spec: As fitted to the kernel: its contents are the value without the programs.
        key: Codec of its only key.
        value: Codec of what the kernel tells of it.

    Since Linux 5.6.
    """

    def __init__(
        self, fd: FD, spec: MapSpec, *, key: CodecLike | None = None, value: CodecLike | None = None
    ) -> None:
        super().__init__(fd, spec, key=key, value=value)
        self._functions: tuple[tuple[int, HasFileno], ...] = ()

    @classmethod
    def create_fitted(
        cls, spec: MapSpec, *, btf_fd: int, module: HasFileno | None = None
    ) -> StructOps:
        """Make the map of an implementation.

        Args:
            spec: As fitted: ``value_type_id`` is the wrapper in the kernel's or module's types.
            btf_fd: The object's BTF; the kernel demands one, whatever it is.
            module: Whose types the spec's are, or ``None`` for the kernel's (Linux 6.9).

        Raises:
            NotSupportedError: The kernel has no implementations, or none with links.
            PrivilegeError: Without ``CAP_SYS_ADMIN``.
            SyscallError: Anything else.

        Since Linux 5.6 (``BPF_F_LINK``: 6.4).
        """
        attr = MapCreate(
            map_type=MapType.STRUCT_OPS,
            key_size=4,
            value_size=spec.value_size,
            max_entries=1,
            map_flags=spec.flags,
            map_name=kernel_name(spec.name),
            btf_fd=btf_fd,
            btf_vmlinux_value_type_id=spec.value_type_id,
        )
        if module is not None:
            attr.map_flags |= MapFlag.VTYPE_BTF_OBJ_FD
            attr.value_type_btf_obj_fd = module.fileno()
        with naming(f'create map "{spec.name}"'):
            try:
                fd = _create(attr)
            except SyscallError as error:
                if error.errno == errno.EINVAL:
                    _require(MapFlag(spec.flags))
                raise
        try:
            return cls(fd, spec)
        except BaseException:
            fd.close()
            raise

    def clone(self) -> StructOps:
        """Return another owner of the same map, with a descriptor of its own."""
        cloned = super().clone()
        assert isinstance(cloned, StructOps)
        cloned.bind(self._functions)
        return cloned

    def bind(self, functions: Sequence[tuple[int, HasFileno]]) -> None:
        """Say which programs its functions are.

        Args:
            functions: Offsets in the value, and programs; these must stay open until it is
                registered.
        """
        self._functions = tuple(functions)

    @property
    def implementation(self) -> bytes:
        """The value to register: numbers, text and the programs' descriptors.

        Raises:
            ClosedError: A program was closed.
        """
        value = bytearray(self.spec.contents or bytes(self.value_size))
        for offset, program in self._functions:
            _WORD.pack_into(value, offset, program.fileno())
        return bytes(value)


# Before Linux 6.0 the kernel looks at its own types only when a program is loaded, and answers
# ENOTSUPP to who comes earlier; a probe loads one.
def _create(attr: MapCreate) -> FD:
    try:
        return bpf.map_create(attr)
    except SyscallError as error:
        if error.errno != ENOTSUPP:
            raise
    features.program_type(ProgType.SOCKET_FILTER).available()
    return bpf.map_create(attr)


def _require(flags: MapFlag) -> None:
    unsupported = features.map_type(MapType.STRUCT_OPS).unsupported()
    if unsupported is None and flags & MapFlag.LINK:
        unsupported = features.map_flag(MapFlag.LINK).unsupported()
    if unsupported is not None:
        raise unsupported
