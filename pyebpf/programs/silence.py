"""A program refused without a word of the verifier: what it was, by the errno and a few probes.

    EPERM, EACCES   a capability, or a policy of the machine     PrivilegeError
    E2BIG           no instructions, too many, an unknown field  SyscallError
    EINVAL          program type, attach type or flags unknown   NotSupportedError, SyscallError
    EFAULT, EBADF   an address or a descriptor in the attr       SyscallError
    ENOTSUPP        no way to run it                             SyscallError

The probes offer the smallest program, ``r0 = 0; exit``, with less and less of what was asked for,
until the kernel gets as far as looking at it: what was left out last is what it does not know.
The log that Linux 7.2 has for all commands says nothing about these.
"""

from __future__ import annotations

import errno

from pyebpf import features
from pyebpf.errors import (
    ENOTSUPP,
    EbpfError,
    NotSupportedError,
    PrivilegeError,
    SyscallError,
)
from pyebpf.host import privileges
from pyebpf.programs.request import LoadRequest
from pyebpf.sections import SECTIONS
from pyebpf.sys import bpf, kernel
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import AttachType, ProgFlag, ProgType

__all__ = ["explain"]

# BPF_MAXINSNS; and BPF_COMPLEXITY_LIMIT_INSNS, the limit of the privileged since Linux 5.2.
FEW_INSTRUCTIONS = 4096
MANY_INSTRUCTIONS = 1_000_000

# Only opcodes are not zero, so the bytes are the same in either byte order.
RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


def explain(request: LoadRequest, error: SyscallError) -> EbpfError:
    """Say why the kernel refused a program before the verifier looked at it.

    Args:
        request: The program.
        error: What the kernel answered; returned as it is if nothing more is known.
    """
    number = error.errno
    attr = request.attr
    program_type = ProgType(attr.prog_type)
    if isinstance(error, PrivilegeError) or error.detail:
        return error
    if number == errno.EACCES:
        reason = privileges.explain(program_type=program_type, root=kernel.current().root)
        return PrivilegeError(error.cmd, errno.EACCES, reason)
    if number in (errno.EINVAL, errno.E2BIG):
        unsupported = features.program_type(program_type).unsupported()
        if unsupported is not None:
            return unsupported
    if number == errno.E2BIG:
        detail = _size(len(request.code) // 8)
    elif number == errno.EINVAL:
        unsupported = _unknown_flags(attr) or _unknown_attach_type(attr)
        if unsupported is not None:
            return unsupported
        detail = _attach_type(attr)
    else:
        detail = _DETAILS.get(number or 0, "")
    if not detail:
        return error
    return SyscallError(error.cmd, number or 0, detail)


_DETAILS = {
    errno.EFAULT: "an address in bpf_attr cannot be read",
    errno.EBADF: "a descriptor in bpf_attr (BTF, program, token) is closed or of another kind",
    ENOTSUPP: "the JIT compiler cannot translate it, or is off",
}


def _size(count: int) -> str:
    if count == 0:
        return "the program has no instructions"
    if count > MANY_INSTRUCTIONS:
        return f"{count:,} instructions, more than the {MANY_INSTRUCTIONS:,} any kernel takes"
    if count > FEW_INSTRUCTIONS:
        missing = privileges.Capabilities(kernel.current().root).missing("CAP_BPF")
        who = "without CAP_BPF (or CAP_SYS_ADMIN)" if missing else "before Linux 5.2"
        return f"{count:,} instructions, and {FEW_INSTRUCTIONS:,} are allowed {who}"
    return ""


# --- probes ------------------------------------------------------------------------------------


# Whether the kernel got as far as looking at the smallest program of this kind.
def _looked_at(attr: ProgLoad, *, attach_type: int, flags: int) -> bool:
    log = bytearray(4096)
    probe = ProgLoad(
        prog_type=attr.prog_type,
        insns=RETURN_ZERO,
        insn_cnt=2,
        license=b"GPL\0",
        prog_flags=flags,
        expected_attach_type=attach_type,
        attach_btf_id=attr.attach_btf_id,
        attach_btf_obj_fd=attr.attach_btf_obj_fd,
        kern_version=attr.kern_version,
        log_level=1,
        log_buf=log,
        log_size=len(log),
    )
    try:
        bpf.prog_load(probe).close()
    except EbpfError as error:
        number = error.errno if isinstance(error, SyscallError) else errno.EINVAL
        return any(log) or number not in (errno.EINVAL, errno.EPERM)
    return True


def _unknown_flags(attr: ProgLoad) -> NotSupportedError | None:
    flags, attach_type = attr.prog_flags, attr.expected_attach_type
    for bit in range(flags.bit_length()):
        flag = 1 << bit
        if not flags & flag or _looked_at(attr, attach_type=attach_type, flags=flag):
            continue
        if _looked_at(attr, attach_type=attach_type, flags=0):
            name = ProgFlag(flag)
            return NotSupportedError(f"program flag {name}", name.since)
    return None


# Only if it is one that goes with the program type: else a newer kernel would not help.
def _unknown_attach_type(attr: ProgLoad) -> NotSupportedError | None:
    kind, attach_type = ProgType(attr.prog_type), AttachType(attr.expected_attach_type)
    known = any(row.type == kind and row.attach_type == attach_type for row in SECTIONS)
    if not known or _attach_type_instead(attr) is None:
        return None
    return NotSupportedError(f"{attach_type} of {kind}", attach_type.since)


def _attach_type(attr: ProgLoad) -> str:
    kind, attach_type = ProgType(attr.prog_type), AttachType(attr.expected_attach_type)
    other = _attach_type_instead(attr)
    if other is None:
        return ""
    if attach_type == 0:
        return f"{kind} needs an expected_attach_type, such as {other}"
    wanted = f", {other} is" if other else ""
    return f"{attach_type} is no expected_attach_type of {kind} to this kernel{wanted}"


# An attach type that the kernel takes where it did not take the one asked for: so it is that one.
def _attach_type_instead(attr: ProgLoad) -> AttachType | None:
    asked = attr.expected_attach_type
    if _looked_at(attr, attach_type=asked, flags=attr.prog_flags):
        return None
    rows = (row.attach_type for row in SECTIONS if row.type == attr.prog_type)
    for other in [*filter(None, rows), AttachType(0)]:
        if other != asked and _looked_at(attr, attach_type=other, flags=attr.prog_flags):
            return other
    return None
