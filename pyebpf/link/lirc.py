"""Infrared receivers: programs that decode pulses of a lirc device (``SEC("lirc_mode2")``)."""

from __future__ import annotations

import errno
import os

from pyebpf.errors import AttachError, SyscallError, naming
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.prog_attach import Hook, attach_to
from pyebpf.programs.program import Program
from pyebpf.sys import kernel
from pyebpf.sys.fd import FD
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["attach_lirc"]


def attach_lirc(program: Program, device: str | os.PathLike[str]) -> Link:
    """Attach *program* to an infrared receiver; the device keeps it.

    Args:
        program: Of type ``BPF_PROG_TYPE_LIRC_MODE2``; may be closed afterwards.
        device: Such as ``"/dev/lirc0"``.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program, or no such device.
        SyscallError: ``EBADF``: not a lirc device; ``EINVAL``: one that receives no pulses;
            ``EEXIST``: attached already; ``E2BIG``: 64 programs are attached.

    Since Linux 4.18.
    """
    check_type(program, ProgType.LIRC_MODE2)
    path = os.fspath(device)
    with naming(f'attach program "{program.name}" to {path}'):
        try:
            opened = FD(kernel.current().open(path, os.O_RDONLY))
        except SyscallError as error:
            if isinstance(error, PermissionError):
                raise
            raise AttachError(path, f"no lirc device {path}: {error}") from None
        hook = Hook(AttachType.LIRC_MODE2, number=os.fstat(opened.fileno()).st_ino, path=path)
        try:
            return attach_to(opened, program, hook, target=path)
        except SyscallError as error:
            if error.errno in (errno.EBADF, errno.EINVAL):
                error.detail = f"{path} is no lirc device that receives pulses"
            raise
