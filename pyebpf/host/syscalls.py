"""Names of the functions behind system calls: ``__x64_sys_bpf`` or plain ``sys_bpf``.

Since Linux 4.17 (x86; other machines later) an architecture may wrap system calls in functions that
take the registers. Programs learn it as ``LINUX_HAS_SYSCALL_WRAPPER``.
"""

from __future__ import annotations

import os

from pyebpf.errors import SyscallError
from pyebpf.host import kallsyms

__all__ = ["has_wrappers", "wrapper_prefix"]

# By uname's machine: arch/*/include/asm/syscall_wrapper.h. (powerpc's keep the plain names.)
_PREFIXES = {
    "x86_64": "__x64_",
    "i686": "__ia32_",
    "aarch64": "__arm64_",
    "s390x": "__s390x_",
    "riscv64": "__riscv_",
}


def wrapper_prefix(machine: str | None = None) -> str:
    """Return what wrappers' names start with here, ``""`` where there are none.

    Args:
        machine: As ``uname -m`` says; this one's if not given.
    """
    return _PREFIXES.get(machine or os.uname().machine, "")


def has_wrappers(root: str | None = None) -> bool:
    """Return whether the running kernel wraps its system calls.

    A kernel that does not list its symbols counts as one without.

    Args:
        root: The directory that stands for ``/``.
    """
    prefix = wrapper_prefix()
    if not prefix:
        return False
    name = f"{prefix}sys_bpf"
    try:
        return name in kallsyms.find([name], root).by_name
    except SyscallError:
        return False
