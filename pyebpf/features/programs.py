"""Probes of programs: types, and what their code may hold."""

from __future__ import annotations

import errno
import struct
import sys

from pyebpf.errors import PrivilegeError
from pyebpf.features.feature import Feature, accepted, errno_of
from pyebpf.sys import bpf, kernel
from pyebpf.uapi.attrs import MapCreate, ProgLoad
from pyebpf.uapi.bpf import AttachType, Cmd, MapType, ProgFlag, ProgType
from pyebpf.uapi.insn import CALL, JMP, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_VALUE

__all__ = [
    "RETURN_ZERO",
    "TARGETED",
    "expected_attach_type",
    "far_map_values",
    "function_addresses",
    "function_pointers",
    "function_types",
    "probe_read_kernel",
    "program_flag",
    "program_type",
    "refused",
    "request",
    "takes",
    "tried",
]

_PROBE_READ_KERNEL = 113  # FuncId.probe_read_kernel: every load asks, and that table takes 2 ms

#: r0 = 0; exit. Only opcodes are not zero, so the bytes are the same in either byte order.
RETURN_ZERO = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
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


#: Types whose programs name a target in the kernel's BTF when they are loaded.
TARGETED = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.EXT, ProgType.STRUCT_OPS})


def request(kind: ProgType, code: bytes = RETURN_ZERO, /, **fields: int | bytes) -> ProgLoad:
    """Return a program of a type that the kernel takes, if it takes that type and *fields*."""
    attr = ProgLoad(prog_type=kind, insns=code, insn_cnt=len(code) // 8, license=_GPL)
    attr.expected_attach_type = _ATTACH_TYPES.get(kind, 0)
    if kind == ProgType.SYSCALL:
        attr.prog_flags = ProgFlag.SLEEPABLE
    if kind == ProgType.KPROBE:
        from pyebpf.host import version

        attr.kern_version = version.code()  # kernels before 5.0 want their own
    for name, value in fields.items():
        setattr(attr, name, value)
    return attr


def _try_program(kind: ProgType) -> bool:
    # A wrong target is refused where the type exists. EINVAL is also how the verifier does that;
    # but then it says so.
    target = {"attach_btf_id": 1} if kind in TARGETED else {}
    number, log = tried(request(kind, **target))
    return number not in (errno.EINVAL, errno.E2BIG) or bool(log)


# The fields that go with a flag: a program of another kind, a device, a wrong descriptor.
_FLAGGED: dict[ProgFlag, dict[str, int]] = {
    ProgFlag.XDP_HAS_FRAGS: {"prog_type": ProgType.XDP},
    ProgFlag.XDP_DEV_BOUND_ONLY: {"prog_type": ProgType.XDP, "prog_ifindex": 1},  # loopback
    ProgFlag.TOKEN_FD: {"prog_token_fd": -1},
}


def program_flag(flag: ProgFlag) -> Feature:
    """Return the feature "programs loaded with this flag"."""
    return Feature(str(flag), flag.since, lambda: _try_flag(flag))


def _try_flag(flag: ProgFlag) -> bool:
    attr = request(ProgType.SOCKET_FILTER, prog_flags=flag, **_FLAGGED.get(flag, {}))
    number, log = tried(attr)
    return number not in (errno.EINVAL, errno.E2BIG) or bool(log)


# r1 = address of the function two slots on; without type information no kernel takes it, but those
# that know such loads ask for the information, and older ones say that they do not.
def _try_function_pointers() -> bool:
    log = _refusal(_load_imm64(PSEUDO_FUNC, 3) + RETURN_ZERO + RETURN_ZERO)
    return log is None or b"func_info" in log or b"callback" in log


# The address 1 GiB behind the start of an array of one byte; every kernel refuses it, those with a
# limit by naming the offset.
def _try_far_map_values() -> bool:
    shape = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=1, max_entries=1)
    with bpf.map_create(shape) as array:
        log = _refusal(_load_imm64(PSEUDO_MAP_VALUE, array.fileno(), 1 << 30) + RETURN_ZERO)
    return log is None or b"direct value offset" not in log


# The first type is no function anywhere, which is refused by naming what would do.
def _try_function_addresses() -> bool:
    log = _refusal(_load_imm64(PSEUDO_BTF_ID, 1) + RETURN_ZERO)
    return log is not None and b"KIND_FUNC" in log


# A helper call without arguments; kernels that have the helper miss its first argument.
def _try_probe_read_kernel() -> bool:
    call = struct.pack("=BBhi", JMP | CALL, 0, 0, _PROBE_READ_KERNEL)
    return takes(ProgType.TRACEPOINT, call + RETURN_ZERO)


# The kind is as old as cgroups' programs, and says where it attaches since attach types are known.
def _try_expected_attach_type() -> bool:
    return takes(ProgType.CGROUP_SOCK, expected_attach_type=AttachType.CGROUP_INET_SOCK_CREATE)


# One function described by types that are not there: EBADF, unless the fields are unknown.
def _try_function_types() -> bool:
    return takes(
        ProgType.SOCKET_FILTER,
        prog_btf_fd=0xFFFFFFFF,
        func_info=bytes(8),
        func_info_rec_size=8,
        func_info_cnt=1,
    )


def tried(attr: ProgLoad) -> tuple[int, bytes]:
    """Load a program; return the errno that ends with, 0 for success, and what the verifier says.

    Raises:
        SyscallError: It did not come to that, for want of a privilege or of memory.
    """
    log = bytearray(4096)
    attr.log_level, attr.log_buf, attr.log_size = 1, log, len(log)
    number = errno_of(lambda: bpf.prog_load(attr).close())
    return number, bytes(log).partition(b"\0")[0]


def refused(*capabilities: str) -> bool:
    """Return False, the answer of a kernel that refused, unless it allows others more than us.

    Args:
        capabilities: What is asked for beside the usual ones.

    Raises:
        PrivilegeError: This process lacks ``CAP_BPF`` or ``CAP_PERFMON``: it means nothing.
    """
    from pyebpf.host import privileges

    missing = privileges.Capabilities(kernel.current().root).missing(
        "CAP_BPF", "CAP_PERFMON", *capabilities
    )
    if missing:
        reason = f"without {' and '.join(missing)} the verifier allows less"
        raise PrivilegeError(str(Cmd.PROG_LOAD), errno.EPERM, reason)
    return False


def takes(kind: ProgType, code: bytes = RETURN_ZERO, /, **fields: int | bytes) -> bool:
    """Return whether the kernel takes a program, or refuses it otherwise than by ``EINVAL``."""
    return accepted(lambda: bpf.prog_load(request(kind, code, **fields)).close())


def _load_imm64(pseudo: int, low: int, high: int = 0) -> bytes:
    registers = 1 | pseudo << 4 if sys.byteorder == "little" else 0x10 | pseudo
    return struct.pack("=BBhiBBhi", _LOAD_IMM64, registers, 0, low, 0, 0, 0, high)


# What the verifier says against a program, or nothing if it takes it.
def _refusal(code: bytes) -> bytes | None:
    number, log = tried(request(ProgType.SOCKET_FILTER, code))
    return log if number else None


probe_read_kernel = Feature("reads that say whose memory", "5.5", _try_probe_read_kernel)
expected_attach_type = Feature("expected attach types", "4.17", _try_expected_attach_type)
function_types = Feature("types of functions", "5.0", _try_function_types)
function_addresses = Feature("addresses of kernel functions", "6.4", _try_function_addresses)
function_pointers = Feature("function pointers in programs", "5.13", _try_function_pointers)
far_map_values = Feature("addresses far behind the start of a map", "7.0", _try_far_map_values)
