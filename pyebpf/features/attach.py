"""Probes of attachments: what a program can learn about its own, and newer kinds of links."""

from __future__ import annotations

import errno
import struct

from pyebpf.errors import NotSupportedError, PrivilegeError, SyscallError
from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import LinkCreateUprobeMulti, ProgLoad
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["attach_cookie", "uprobe_multi", "uprobe_multi_process", "uprobe_session"]

_GET_ATTACH_COOKIE = 174  # FuncId.get_attach_cookie, whose table takes 2 ms
_RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


# Asks for the cookie of its attachment, and exits. Opcodes are the same in either byte order.
def _try_attach_cookie() -> bool:
    code = struct.pack("=BBhi", insn.JMP | insn.CALL, 0, 0, _GET_ATTACH_COOKIE)
    code += struct.pack("=BBhi", insn.JMP | insn.EXIT, 0, 0, 0)
    attr = ProgLoad(
        prog_type=ProgType.TRACEPOINT,
        insns=code,
        insn_cnt=len(code) // 8,
        license=b"GPL\0",
    )
    return accepted(lambda: bpf.prog_load(attr).close())


# The path of such a link is no file, which only a kernel that has these links finds out.
def _try_uprobe_multi(kind: AttachType) -> bool:
    return _refusals(kind, 0) == [errno.EBADF]


# The first kernels with these links took a process's id for a thread's. Those that do not refuse an
# impossible one before they look at the path.
def _try_uprobe_multi_process() -> bool:
    return _refusals(AttachType.TRACE_UPROBE_MULTI, 0, 0xFFFFFFFF) == [errno.EBADF, errno.EINVAL]


def _refusals(kind: AttachType, *pids: int) -> list[int]:
    attr = ProgLoad(
        prog_type=ProgType.KPROBE,
        expected_attach_type=kind,
        insns=_RETURN_ZERO,
        insn_cnt=len(_RETURN_ZERO) // 8,
        license=b"GPL\0",
    )
    try:
        program = bpf.prog_load(attr)
    except PrivilegeError:
        raise
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        return []
    with program:
        return [_refusal(program.fileno(), kind, pid) for pid in pids]


def _refusal(program_fd: int, kind: AttachType, pid: int) -> int:
    attr = LinkCreateUprobeMulti(
        prog_fd=program_fd,
        attach_type=kind,
        path=b"/\0",
        offsets=bytes(8),
        cnt=1,
        pid=pid,
    )
    try:
        bpf.link_create(attr).close()
    except PrivilegeError:
        raise
    except SyscallError as error:
        return error.errno or 0
    except NotSupportedError:
        return errno.EINVAL
    return 0


uprobe_multi = Feature(
    "uprobe.multi", "6.6", lambda: _try_uprobe_multi(AttachType.TRACE_UPROBE_MULTI)
)
uprobe_session = Feature(
    "uprobe.session", "6.13", lambda: _try_uprobe_multi(AttachType.TRACE_UPROBE_SESSION)
)
uprobe_multi_process = Feature("uprobe.multi of one process", "6.10", _try_uprobe_multi_process)
attach_cookie = Feature("cookies of attachments", "5.15", _try_attach_cookie)
