"""Probes of programs: types, and what their code may hold."""

from __future__ import annotations

import struct
import sys

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import AttachType, ProgFlag, ProgType
from pyebpf.uapi.helpers import FuncId

__all__ = ["attach_cookie", "function_pointers", "program_type"]

# r0 = 0; exit. Only opcodes are not zero, so the bytes are the same in either byte order.
_RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
_GPL = b"GPL\0"
_LOAD_IMM64 = 0x18
_CALL = 0x85


def program_type(kind: ProgType) -> Feature:
    """Return the feature "programs of this type"."""
    return Feature(str(kind), ProgType(kind).since, lambda: _try_program(kind))


# Attach types without which the kernel refuses the program type altogether.
_ATTACH_TYPES = {
    ProgType.CGROUP_SOCK_ADDR: AttachType.CGROUP_INET4_CONNECT,
    ProgType.CGROUP_SOCKOPT: AttachType.CGROUP_GETSOCKOPT,
    ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
    ProgType.NETFILTER: AttachType.NETFILTER,
}


def _try_program(kind: ProgType) -> bool:
    attr = ProgLoad(
        prog_type=kind,
        insns=_RETURN_ZERO,
        insn_cnt=2,
        license=_GPL,
        expected_attach_type=_ATTACH_TYPES.get(kind, 0),
        prog_flags=ProgFlag.SLEEPABLE if kind == ProgType.SYSCALL else 0,
    )
    if kind in (ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS):
        # These need a target in the kernel's BTF; a wrong one is refused where the type exists.
        attr.attach_btf_id = 1
    return accepted(lambda: bpf.prog_load(attr).close())


# r1 = address of the function two slots on; without type information no kernel takes it, but those
# that know such loads ask for the information, and older ones say that they do not.
def _try_function_pointers() -> bool:
    registers = 0x41 if sys.byteorder == "little" else 0x14
    callback = struct.pack("=BBhi8x", _LOAD_IMM64, registers, 0, 3)
    log = bytearray(4096)
    attr = ProgLoad(
        prog_type=ProgType.SOCKET_FILTER,
        insns=callback + _RETURN_ZERO + _RETURN_ZERO,
        insn_cnt=6,
        license=_GPL,
        log_level=1,
        log_buf=log,
        log_size=len(log),
    )
    try:
        bpf.prog_load(attr).close()
    except PrivilegeError:
        raise
    except SyscallError:
        return b"func_info" in log or b"callback" in log
    return True


function_pointers = Feature("function pointers in programs", "5.13", _try_function_pointers)


# Asks for the cookie of its attachment and exits.
def _try_attach_cookie() -> bool:
    call = struct.pack("=BBhi", _CALL, 0, 0, FuncId.get_attach_cookie)
    attr = ProgLoad(
        prog_type=ProgType.TRACEPOINT, insns=call + _RETURN_ZERO[8:], insn_cnt=2, license=_GPL
    )
    return accepted(lambda: bpf.prog_load(attr).close())


attach_cookie = Feature("cookies of attachments", "5.15", _try_attach_cookie)
