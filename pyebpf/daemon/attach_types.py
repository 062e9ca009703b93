"""Whether this kernel takes an attach type of cgroup programs: asked, not looked up by version.

A program of two instructions is loaded and attached to descriptor 0, which is no cgroup: a kernel
that knows the attach type finds that out (``EBADF``, ``ENOTDIR``), one that does not says
``EINVAL`` first.
"""

from __future__ import annotations

import errno
import sys

from pyebpf import features
from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import ProgAttach, ProgLoad
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["attach_type_available"]

# r0 = 1; exit: what every cgroup program may return.
_RETURN_ONE = bytes([0xB7, 0, 0, 0])
_EXIT = bytes([0x95, 0, 0, 0, 0, 0, 0, 0])


def attach_type_available(program_type: ProgType, attach_type: AttachType) -> bool:
    """Return whether programs of a type can be attached with an attach type.

    Args:
        program_type: One that is attached by BPF_PROG_ATTACH, such as ``CGROUP_SOCK_ADDR``.
        attach_type: Such as ``CGROUP_INET4_CONNECT``.

    Raises:
        PrivilegeError: Without ``CAP_BPF`` and what the type needs.
        SyscallError: The kernel cannot say.

    Since Linux 4.10.
    """
    if not features.program_type(program_type).available():
        return False
    code = _RETURN_ONE + (1).to_bytes(4, sys.byteorder) + _EXIT
    attr = ProgLoad(
        prog_type=program_type,
        expected_attach_type=attach_type,
        insns=code,
        insn_cnt=2,
        license=b"GPL\0",
    )
    try:
        program = bpf.prog_load(attr)
    except PrivilegeError:
        raise
    except SyscallError as error:
        if error.errno in (errno.EINVAL, errno.E2BIG):
            return False
        raise
    with program:
        try:
            bpf.prog_attach(ProgAttach(attach_bpf_fd=program.fileno(), attach_type=attach_type))
        except PrivilegeError:
            raise
        except SyscallError as error:
            return error.errno != errno.EINVAL
    return True
