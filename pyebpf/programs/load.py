"""BPF_PROG_LOAD with the verifier's log: one program in, an owned descriptor and its log out.

A first try asks for no log, which is the fast case. When it fails the same program is offered again
with a log buffer that grows until the kernel's log fits; the second failure is the one reported.

Errors: `VerifierError` (log and C line) when the verifier looked at the code (`refusal`);
`PrivilegeError`, `NotSupportedError` and the like when it never came to that (`silence`).
"""

from __future__ import annotations

import errno

from pyebpf.errors import SyscallError
from pyebpf.programs.request import LoadRequest
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD

__all__ = ["LoadRequest", "load"]

FIRST_LOG_SIZE = 64 << 10
# u32 max >> 2: the kernel refuses larger buffers (bpf_verifier_log_attr_valid, since Linux 5.2).
MAX_LOG_SIZE = (1 << 32) - 1 >> 2
# From 64 KiB, fourteen doublings reach the limit.
MAX_LOG_TRIES = 30
FUNC_INFO_SIZE = 8
LINE_INFO_SIZE = 16
LOG_LEVEL_BRANCHES = 1
# Bits that make the log say where the verifier was: BPF_LOG_LEVEL. Others are about its form.
LOG_LEVELS = 3
# The verifier was stopped, whatever it had written by then.
INTERRUPTED = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOMEM})


def load(request: LoadRequest) -> tuple[FD, str]:
    """Load a program.

    Returns:
        The descriptor and the verifier's log, ``""`` unless ``log_level`` asked for it.

    Raises:
        VerifierError: The verifier refused it.
        PrivilegeError: A capability, sysctl or lockdown stands in the way.
        NotSupportedError: This kernel has no such program type.
        SyscallError: Anything else.

    Since Linux 3.18.
    """
    attr = request.attr
    attr.insn_cnt = len(request.code) // 8
    attr.insns = request.code
    if request.func_info:
        attr.func_info = request.func_info
        attr.func_info_rec_size = FUNC_INFO_SIZE
        attr.func_info_cnt = len(request.func_info) // FUNC_INFO_SIZE
    if request.line_info:
        attr.line_info = request.line_info
        attr.line_info_rec_size = LINE_INFO_SIZE
        attr.line_info_cnt = len(request.line_info) // LINE_INFO_SIZE
    level, first = request.log_level, None
    try:
        if not level & LOG_LEVELS:
            try:
                return _offer(request, level)
            except SyscallError as error:
                first, level = error, level | LOG_LEVEL_BRANCHES
        return _offer(request, level)
    except SyscallError as error:
        log, truncated = _text(attr.log_buf), error.errno == errno.ENOSPC
        error = first if truncated and first else error
        if error.errno in INTERRUPTED:
            raise error from None
        from pyebpf.programs import refusal, silence

        if not log or log.isspace():
            raise silence.explain(request, error) from None
        raise refusal.explain(request, error, log, truncated=truncated) from None
    finally:
        attr.log_buf, attr.log_size, attr.log_level = None, 0, 0


# Offers the program until the log fits; the last error leaves with the log in attr.log_buf.
def _offer(request: LoadRequest, level: int) -> tuple[FD, str]:
    attr = request.attr
    if not level:
        return bpf.prog_load(attr), ""
    attr.log_level = level
    size = min(max(request.log_size or FIRST_LOG_SIZE, 128), MAX_LOG_SIZE)
    for _ in range(MAX_LOG_TRIES):
        attr.log_buf, attr.log_size, attr.log_true_size = bytearray(size), size, 0
        try:
            fd = bpf.prog_load(attr)
        except SyscallError as error:
            # Linux 6.4 keeps the log's end and reports the size it would have needed, whatever the
            # errno; older kernels keep its beginning and say ENOSPC.
            short = error.errno == errno.ENOSPC or attr.log_true_size > size
            if not short or size == MAX_LOG_SIZE:
                raise
            size = min(max(attr.log_true_size, size * 2), MAX_LOG_SIZE)
            continue
        return fd, _text(attr.log_buf)
    raise SyscallError("BPF_PROG_LOAD", errno.ENOSPC, "verifier log does not fit")


def _text(log: object) -> str:
    if not isinstance(log, bytearray):
        return ""
    end = log.find(0)
    return str(memoryview(log)[: end if end >= 0 else None], "utf-8", "replace")
