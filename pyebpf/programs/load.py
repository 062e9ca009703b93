"""BPF_PROG_LOAD with the verifier's log: one program in, an owned descriptor and its log out.

A first try asks for no log, which is the fast case. When it fails the same program is offered again
with a log buffer that grows until the kernel's log fits; the second failure is the one reported.

Errors: `VerifierError` (log and C line) when the verifier looked at the code, `PrivilegeError` when
it never came to that, `NotSupportedError` when the kernel does not know the kind of program.
"""

from __future__ import annotations

import errno
import re
import sys
from dataclasses import dataclass, field
from typing import Literal

from pyebpf import features
from pyebpf.btf.btf import Btf
from pyebpf.btf.patch import POISON
from pyebpf.errors import NotSupportedError, PrivilegeError, SourceLine, SyscallError, VerifierError
from pyebpf.host import privileges
from pyebpf.programs.verifier_log import last_instruction, source_line, summary
from pyebpf.sys import bpf
from pyebpf.sys.fd import FD
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.insn import PSEUDO_FUNC

__all__ = ["LoadRequest", "load"]

FIRST_LOG_SIZE = 64 << 10
# u32 max >> 2: the kernel refuses larger buffers (bpf_verifier_log_attr_valid, since Linux 5.2).
MAX_LOG_SIZE = (1 << 32) - 1 >> 2
# From 64 KiB, fourteen doublings reach the limit.
MAX_LOG_TRIES = 30
FUNC_INFO_SIZE = 8
LINE_INFO_SIZE = 16
LOG_LEVEL_BRANCHES = 1

LOAD_IMM64 = 0x18
# Since Linux 3.18; a helper that exists, but not for this kind of program, is told otherwise.
UNKNOWN_HELPER = re.compile(r"invalid func unknown#(\d+)")
# The verifier was stopped, whatever it had written by then.
INTERRUPTED = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOMEM})
HINTS = (
    ("cannot call GPL-restricted function", "the object's licence is not GPL compatible"),
    ("program of this type cannot use helper", "helper not allowed for this program type"),
    (
        "failed to find the address for kernel symbol",
        "a kernel without CONFIG_KALLSYMS_ALL does not list its variables",
    ),
)


@dataclass(slots=True, kw_only=True)
class LoadRequest:
    """A program ready for the kernel.

    Attributes:
        attr: Everything but code, tables and log.
        code: Instructions with every reference resolved.
        func_info: ``struct bpf_func_info`` records, or empty.
        line_info: ``struct bpf_line_info`` records, or empty.
        btf: What *line_info* refers to.
        byteorder: Of the tables.
        poisoned: What was relocated to nothing, by slot: explains a refusal.
        missing: Why the program must not get there, by slot: likewise.
        log_level: ``BPF_LOG_*`` bits to ask for even when the load succeeds; 0 for none.
        log_size: Bytes to start with, or ``None`` for 64 KiB; grown as needed.
    """

    attr: ProgLoad
    code: bytes
    func_info: bytes = b""
    line_info: bytes = b""
    btf: Btf | None = None
    byteorder: Literal["little", "big"] = "little"
    poisoned: dict[int, str] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    log_level: int = 0
    log_size: int | None = None


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
    if not request.log_level:
        try:
            return bpf.prog_load(attr), ""
        except SyscallError as error:
            first = error
    else:
        first = None
    try:
        return _load_with_log(request)
    except SyscallError as error:
        log, truncated = _text(attr.log_buf), error.errno == errno.ENOSPC
        raise _explain(request, first if truncated and first else error, log, truncated) from None
    finally:
        attr.log_buf, attr.log_size, attr.log_level = None, 0, 0


# Offers the program until the log fits; the last error leaves with the log in attr.log_buf.
def _load_with_log(request: LoadRequest) -> tuple[FD, str]:
    attr = request.attr
    attr.log_level = request.log_level or LOG_LEVEL_BRANCHES
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


def _explain(request: LoadRequest, error: SyscallError, log: str, truncated: bool) -> Exception:
    number = error.errno or 0
    if number in INTERRUPTED:
        return error
    if not log.strip():
        return _explain_silence(request, error)
    slot = last_instruction(log)
    missing = request.missing.get(slot if slot is not None else -1)
    unsupported = _lacking(request, log) if missing is None else None
    if unsupported is not None:
        return unsupported
    text, omitted = summary(log)
    if missing is not None:
        text = missing
    elif f"invalid func unknown#{POISON}" in text:
        what = request.poisoned.get(slot if slot is not None else -1)
        text = f"CO-RE: {what or 'a field or type'} not found in the kernel's types"
    for pattern, hint in HINTS:
        if pattern in text:
            text += f" ({hint})"
    source: SourceLine | None = None
    if slot is not None and request.btf is not None and request.line_info:
        source = source_line(slot, request.line_info, request.btf, request.byteorder)
    where = [str(source)] if source else []
    if omitted:
        where.append(f"{omitted} line{'s' if omitted > 1 else ''} omitted, see .log")
    detail = f"{text} ({', '.join(where)})" if where else text
    return VerifierError(
        "BPF_PROG_LOAD", number, detail, log=log, source=source, truncated=truncated
    )


# What the verifier does not know yet is a matter of the kernel, not of the program.
def _lacking(request: LoadRequest, log: str) -> NotSupportedError | None:
    match = UNKNOWN_HELPER.search(log)
    if match is not None and int(match[1]) != POISON:
        helper = FuncId(int(match[1]))
        return NotSupportedError(f"helper {helper}", helper.since)
    pointers = (LOAD_IMM64, PSEUDO_FUNC << 4 if sys.byteorder == "little" else PSEUDO_FUNC)
    mask = 0xF0 if sys.byteorder == "little" else 0x0F
    code = request.code
    if any((code[at], code[at + 1] & mask) == pointers for at in range(0, len(code), 8)):
        return features.function_pointers.unsupported()
    return None


# The kernel refused before the verifier looked: privilege, an unknown kind, or a field it lacks.
def _explain_silence(request: LoadRequest, error: SyscallError) -> Exception:
    if isinstance(error, PrivilegeError):
        return error
    program_type = ProgType(request.attr.prog_type)
    if error.errno in (errno.EINVAL, errno.E2BIG):
        unsupported = features.program_type(program_type).unsupported()
        if unsupported is not None:
            return unsupported
    if error.errno == errno.EACCES:
        return PrivilegeError(
            error.cmd, errno.EACCES, privileges.explain(program_type=program_type)
        )
    return error


def _text(log: object) -> str:
    if not isinstance(log, bytearray):
        return ""
    return bytes(log).partition(b"\0")[0].decode(errors="replace")
