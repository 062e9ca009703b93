"""A kernel that is nothing but files in a directory: its types, its symbols."""

from __future__ import annotations

import errno
import pathlib

from pyebpf.errors import PrivilegeError
from pyebpf.sys import kernel


class MadeKernel(kernel.LinuxKernel):
    """It answers no call."""

    def __init__(self, root: pathlib.Path) -> None:
        super().__init__()
        self._directory = str(root)

    @property
    def root(self) -> str:
        return self._directory

    def bpf(self, cmd: object, attr: object, *, common: object = None) -> int:
        raise PrivilegeError(str(cmd), errno.EPERM)
