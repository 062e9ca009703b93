"""Probes of programs: types, and what their code may hold."""

from __future__ import annotations

import struct
import sys

from pyebpf.errors import PrivilegeError, SyscallError
from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import MapCreate, ProgLoad
from pyebpf.uapi.bpf import AttachType, MapType, ProgFlag, ProgType
from pyebpf.uapi.insn import CALL, JMP, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_VALUE

__all__ = [
    "expected_attach_type",
    "far_map_values",
    "function_addresses",
    "function_pointers",
    "function_types",
    "probe_read_kernel",
    "program_type",
]

# r0 = 0; exit. Only opcodes are not zero, so the bytes are the same in either byte order.
_RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
_GPL = b"GPL\0"
_LOAD_IMM64 = 0x18


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
    log = bytearray(4096)
    attr = ProgLoad(
        prog_type=kind,
        insns=_RETURN_ZERO,
        insn_cnt=2,
        license=_GPL,
        expected_attach_type=_ATTACH_TYPES.get(kind, 0),
        prog_flags=ProgFlag.SLEEPABLE if kind == ProgType.SYSCALL else 0,
        log_level=1,
        log_buf=log,
        log_size=len(log),
    )
    if kind in (ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS):
        # These need a target in the kernel's BTF; a wrong one is refused where the type exists.
        attr.attach_btf_id = 1
    # EINVAL is also how the verifier refuses the wrong target; but then it says so.
    return accepted(lambda: bpf.prog_load(attr).close()) or any(log)


# r1 = address of the function two slots on; without type information no kernel takes it, but those
# that know such loads ask for the information, and older ones say that they do not.
def _try_function_pointers() -> bool:
    log = _refusal(_load_imm64(PSEUDO_FUNC, 3) + _RETURN_ZERO + _RETURN_ZERO)
    return log is None or b"func_info" in log or b"callback" in log


# The address 1 GiB behind the start of an array of one byte; every kernel refuses it, those with a
# limit by naming the offset.
def _try_far_map_values() -> bool:
    shape = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=1, max_entries=1)
    with bpf.map_create(shape) as array:
        log = _refusal(_load_imm64(PSEUDO_MAP_VALUE, array.fileno(), 1 << 30) + _RETURN_ZERO)
    return log is None or b"direct value offset" not in log


# The first type is no function anywhere, which is refused by naming what would do.
def _try_function_addresses() -> bool:
    log = _refusal(_load_imm64(PSEUDO_BTF_ID, 1) + _RETURN_ZERO)
    return log is not None and b"KIND_FUNC" in log


# A helper call without arguments; kernels that have the helper miss its first argument.
def _try_probe_read_kernel() -> bool:
    from pyebpf.uapi.helpers import FuncId

    call = struct.pack("=BBhi", JMP | CALL, 0, 0, FuncId.probe_read_kernel)
    return _takes(ProgType.TRACEPOINT, call + _RETURN_ZERO)


# The kind is as old as cgroups' programs, and says where it attaches since attach types are known.
def _try_expected_attach_type() -> bool:
    return _takes(ProgType.CGROUP_SOCK, expected_attach_type=AttachType.CGROUP_INET_SOCK_CREATE)


# One function described by types that are not there: EBADF, unless the fields are unknown.
def _try_function_types() -> bool:
    return _takes(
        ProgType.SOCKET_FILTER,
        prog_btf_fd=0xFFFFFFFF,
        func_info=bytes(8),
        func_info_rec_size=8,
        func_info_cnt=1,
    )


def _takes(kind: ProgType, code: bytes = _RETURN_ZERO, **fields: int | bytes) -> bool:
    attr = ProgLoad(prog_type=kind, insns=code, insn_cnt=len(code) // 8, license=_GPL)
    for name, value in fields.items():
        setattr(attr, name, value)
    return accepted(lambda: bpf.prog_load(attr).close())


def _load_imm64(pseudo: int, low: int, high: int = 0) -> bytes:
    registers = 1 | pseudo << 4 if sys.byteorder == "little" else 0x10 | pseudo
    return struct.pack("=BBhiBBhi", _LOAD_IMM64, registers, 0, low, 0, 0, 0, high)


# What the verifier says against a program, or nothing if it takes it.
def _refusal(code: bytes) -> bytes | None:
    log = bytearray(4096)
    attr = ProgLoad(
        prog_type=ProgType.SOCKET_FILTER,
        insns=code,
        insn_cnt=len(code) // 8,
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
        return bytes(log)
    return None


probe_read_kernel = Feature("reads that say whose memory", "5.5", _try_probe_read_kernel)
expected_attach_type = Feature("expected attach types", "4.17", _try_expected_attach_type)
function_types = Feature("types of functions", "5.0", _try_function_types)
function_addresses = Feature("addresses of kernel functions", "6.4", _try_function_addresses)
function_pointers = Feature("function pointers in programs", "5.13", _try_function_pointers)
far_map_values = Feature("addresses far behind the start of a map", "7.0", _try_far_map_values)
