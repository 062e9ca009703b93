"""What a program is given up to load on a kernel older than its object: `downgrade` and `reduce`.

    asked for                          kernels that lack it            what they get
    calls of probe_read_kernel, _user  before 5.5                      probe_read, which reads both
    an expected attach type            before 4.17, optional kinds     none: the kind says it all
    types of functions, source lines   before 5.0                      none: messages lose C lines
    a name, dots in it                 before 4.15, 5.2                none, no dots

Which of these a kernel lacks is found by probes, and those are made only for programs that ask.
"""

from __future__ import annotations

import struct

from pyebpf import features
from pyebpf.programs.load import LoadRequest
from pyebpf.uapi.insn import CALL, JMP

__all__ = ["downgrade", "reduce"]

_SLOT = 8
_INSN = struct.Struct("=BBhi")
# Since Linux 5.5 (commit 6ae08ae3dea2) the helpers say whose memory they read.
OLDER = {
    112: 4,  # probe_read_user: probe_read
    113: 4,  # probe_read_kernel: probe_read
    114: 45,  # probe_read_user_str: probe_read_str
    115: 45,  # probe_read_kernel_str: probe_read_str
}


def downgrade(code: bytearray) -> None:
    """Put older helpers in the place of those that this kernel lacks, in place.

    Args:
        code: Instructions for this machine.

    Raises:
        SyscallError: The kernel cannot say what it has.
    """
    for newer, older in OLDER.items():
        call = _call(newer)
        at = code.find(call)
        if at < 0 or features.probe_read_kernel.available():
            continue
        while at >= 0:
            # No other instruction, nor half of one, has this opcode in its first byte.
            if at % _SLOT == 0:
                code[at : at + _SLOT] = _call(older)
            at = code.find(call, at + 1)


def _call(helper: int) -> bytes:
    return _INSN.pack(JMP | CALL, 0, 0, helper)


def reduce(request: LoadRequest, *, attach_type_optional: bool) -> bool:
    """Take out of a refused request what this kernel lacks and a program can do without.

    Args:
        request: Changed in place.
        attach_type_optional: Its kind is older than attach types.

    Returns:
        Whether there was anything, so that another try is worth while.

    Raises:
        SyscallError: The kernel cannot say what it has.
    """
    attr = request.attr
    before = (attr.prog_name, attr.expected_attach_type, request.func_info)
    attr.prog_name = features.accepted_name(bytes(attr.prog_name))
    if attach_type_optional and not features.expected_attach_type.available():
        attr.expected_attach_type = 0
    if request.func_info and not features.function_types.available():
        request.func_info = request.line_info = b""
        attr.func_info = attr.line_info = None
        attr.func_info_rec_size = attr.func_info_cnt = 0
        attr.line_info_rec_size = attr.line_info_cnt = attr.prog_btf_fd = 0
    return before != (attr.prog_name, attr.expected_attach_type, request.func_info)
