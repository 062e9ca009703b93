"""BTF_LOAD: types that programs and maps bring."""

from __future__ import annotations

import errno

from pyebpf.btf.btf import Btf as Types
from pyebpf.btf.types import Datasec, DeclTag, Enum64, Float, Func, FuncProto, Type, TypeTag, Var
from pyebpf.errors import BtfError
from pyebpf.testing import buffers
from pyebpf.testing.objects import Btf
from pyebpf.testing.refusal import Refused
from pyebpf.testing.system import System
from pyebpf.uapi.attrs import BtfLoad
from pyebpf.uapi.btf import BtfFuncLinkage

__all__ = ["btf_of", "load"]

_LARGEST = 16 << 20  # BTF_MAX_SIZE
# By the names of the features and their releases.
_KINDS: tuple[tuple[tuple[type[Type], ...], str, str], ...] = (
    ((Func, FuncProto), "BTF functions", "5.0"),
    ((Datasec, Var), "BTF data sections", "5.2"),
    ((Float,), "BTF floating-point types", "5.13"),
    ((DeclTag,), "BTF tags of declarations", "5.16"),
    ((TypeTag,), "BTF tags of types", "5.17"),
    ((Enum64,), "BTF 64-bit enumerations", "6.0"),
)


def btf_of(system: System, fd: int) -> Btf:
    """Return the BTF behind a descriptor: btf_get_by_fd.

    Raises:
        Refused: ``EBADF``; ``EINVAL``: it is something else.
    """
    what = system.holding(fd)
    if not isinstance(what, Btf):
        raise Refused(errno.EINVAL)
    return what


def load(system: System, attr: BtfLoad) -> int:
    """Load types: their form is checked, and that the kernel knows the kinds."""
    if attr.btf_size > _LARGEST:
        raise Refused(errno.E2BIG)
    data = buffers.read(attr.btf, attr.btf_size)
    problem = _problem(system, data)
    if problem:
        if attr.btf_log_level and attr.btf_log_size:
            buffers.write(attr.btf_log_buf, problem.encode()[: attr.btf_log_size - 1] + b"\0")
        raise Refused(errno.EINVAL)
    return system.files.open(system.btfs.add(Btf(data=data)))


def _problem(system: System, data: bytes) -> str:
    try:
        types = Types.decode(data)
        for number in range(1, len(types)):
            problem = _unknown(system, types.type(number))
            if problem:
                return f"[{number}] {problem}\n"
    except BtfError as error:
        return f"{error}\n"
    return ""


def _unknown(system: System, found: Type) -> str:
    for classes, name, since in _KINDS:
        if isinstance(found, classes) and not system.age.has_ability(name, since):
            return "Invalid kind"
    ability = system.age.has_ability
    linked = isinstance(found, Func) and found.linkage != BtfFuncLinkage.STATIC
    if linked and not ability("BTF linkage of functions", "5.6"):
        return "Invalid func linkage"
    optional = isinstance(found, Datasec) and found.name.startswith("?")
    if optional and not ability("BTF optional data sections", "6.9"):
        return "Invalid name"
    return ""
