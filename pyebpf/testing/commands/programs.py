"""PROG_LOAD, PROG_BIND_MAP, ENABLE_STATS."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import time
import weakref

from pyebpf.btf.btf import Btf as Types
from pyebpf.btf.types import Func, Typedef
from pyebpf.errors import BtfError
from pyebpf.testing import buffers
from pyebpf.testing.commands.btf import btf_of
from pyebpf.testing.commands.elements import map_of
from pyebpf.testing.maps.instructions import InstructionArray
from pyebpf.testing.maps.slots import FdArray
from pyebpf.testing.objects import Btf, ProgramObject
from pyebpf.testing.refusal import Refused
from pyebpf.testing.structure import Unsound, check_structure, is_gpl_compatible
from pyebpf.testing.system import System
from pyebpf.typed import ClassVar
from pyebpf.uapi.attrs import EnableStats, ProgBindMap, ProgLoad
from pyebpf.uapi.bpf import TAG_SIZE, AttachType, MapType, ProgFlag, ProgType

__all__ = ["Statistics", "bind_map", "enable_stats", "load", "program_of"]

_LONGEST = 1_000_000
_WITH_TARGET = frozenset({ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT})
_LATE = frozenset(
    {
        AttachType.TRACE_FENTRY_MULTI,
        AttachType.TRACE_FEXIT_MULTI,
        AttachType.TRACE_FSESSION_MULTI,
    }
)
# bpf_prog_load_check_attach: kinds that are not told apart by anything else.
_ATTACH_TYPES: dict[ProgType, tuple[AttachType, ...]] = {
    ProgType.CGROUP_SOCK: (
        AttachType.CGROUP_INET_SOCK_CREATE,
        AttachType.CGROUP_INET_SOCK_RELEASE,
        AttachType.CGROUP_INET4_POST_BIND,
        AttachType.CGROUP_INET6_POST_BIND,
    ),
    ProgType.CGROUP_SOCK_ADDR: tuple(
        each
        for each in AttachType
        if each.name.endswith(
            ("_BIND", "_CONNECT", "_SENDMSG", "_RECVMSG", "_GETPEERNAME", "_GETSOCKNAME")
        )
        and "POST" not in each.name
    ),
    ProgType.CGROUP_SKB: (AttachType.CGROUP_INET_INGRESS, AttachType.CGROUP_INET_EGRESS),
    ProgType.CGROUP_SOCKOPT: (AttachType.CGROUP_SETSOCKOPT, AttachType.CGROUP_GETSOCKOPT),
    ProgType.SK_LOOKUP: (AttachType.SK_LOOKUP,),
    ProgType.SK_REUSEPORT: (
        AttachType.SK_REUSEPORT_SELECT,
        AttachType.SK_REUSEPORT_SELECT_OR_MIGRATE,
    ),
    ProgType.NETFILTER: (AttachType.NETFILTER,),
    ProgType.SYSCALL: (AttachType(0),),
    ProgType.EXT: (AttachType(0),),
}
# Nothing was said of these until they had two attach types.
_SILENT = frozenset({ProgType.CGROUP_SOCK, ProgType.SK_REUSEPORT})


class Statistics:
    """What ``ENABLE_STATS`` hands out; runs are counted as long as it is open."""

    FILE_NAME: ClassVar[str] = "anon_inode:bpf-stats"


def program_of(system: System, fd: int) -> ProgramObject:
    """Return the program behind a descriptor.

    Raises:
        Refused: ``EBADF``; ``EINVAL``: it is something else.
    """
    what = system.holding(fd)
    if not isinstance(what, ProgramObject):
        raise Refused(errno.EINVAL)
    return what


def load(system: System, attr: ProgLoad) -> int:
    """Load a program: bpf_prog_load, with a check of structure in the place of the verifier."""
    kind = ProgType(attr.prog_type)
    _check_request(system, attr, kind)
    code = buffers.read(attr.insns, 8 * attr.insn_cnt)
    gpl = is_gpl_compatible(buffers.read_string(attr.license, 128))
    try:
        program = _checked(system, attr, kind, code, gpl=gpl)
    except Unsound as unsound:
        _write_log(attr, unsound)
        raise Refused(unsound.number) from None
    if attr.log_level and attr.log_buf is not None:
        _put_log(attr, f"processed {attr.insn_cnt} insns (limit {_LONGEST})\n")
    for each in program.maps:
        if isinstance(each.contents, InstructionArray):
            each.contents.user = weakref.ref(program)
    # The program's code refers to its maps, and the machine to the code.
    weakref.finalize(program, system.machine.forget, program.executable)
    return system.files.open(system.programs.add(program))


def bind_map(system: System, attr: ProgBindMap) -> int:
    """Let a program keep a map."""
    if attr.flags:
        raise Refused(errno.EINVAL)
    program, found = program_of(system, attr.prog_fd), map_of(system, attr.map_fd)[0]
    if found not in program.maps:
        program.maps.append(found)
    return 0


def enable_stats(system: System, attr: EnableStats) -> int:
    """Count runs from now on."""
    if attr.type:
        raise Refused(errno.EINVAL)
    if system.statistics is None:
        system.statistics = Statistics()
    return system.files.open(system.statistics)


def _check_request(system: System, attr: ProgLoad, kind: ProgType) -> None:
    known = sum(int(flag) for flag in ProgFlag if system.age.reached(flag.since))
    if attr.prog_flags & ~known or attr.prog_flags & ProgFlag.TOKEN_FD:
        raise Refused(errno.EINVAL)
    if not 0 < attr.insn_cnt <= _LONGEST:
        raise Refused(errno.E2BIG)
    if attr.prog_ifindex:
        raise NotImplementedError("BPF_PROG_LOAD with prog_ifindex")
    if not system.age.has_program_type(kind) or kind == ProgType.UNSPEC:
        raise Refused(errno.EINVAL)
    if attr.expected_attach_type and not system.age.has_ability("expected attach types", "4.17"):
        raise Refused(errno.E2BIG)
    attach_type = AttachType(attr.expected_attach_type)
    if not system.age.reached(attach_type.since) or attach_type.name.startswith("UNKNOWN_"):
        raise Refused(errno.EINVAL)
    allowed = _ATTACH_TYPES.get(kind)
    silent = kind in _SILENT and not attach_type
    if allowed is not None and attach_type not in allowed and not silent:
        raise Refused(errno.EINVAL)
    if attr.attach_btf_id and kind not in _WITH_TARGET:
        raise Refused(errno.EINVAL)


def _checked(
    system: System, attr: ProgLoad, kind: ProgType, code: bytes, *, gpl: bool
) -> ProgramObject:
    btf = _btf(system, attr)
    target, name = _target(system, attr, kind)
    if kind == ProgType.SYSCALL and not attr.prog_flags & ProgFlag.SLEEPABLE:
        raise Unsound("Syscall programs can only be sleepable")
    checked = check_structure(system, attr, code, gpl=gpl)
    for each in checked.maps:
        if each.definition.type == MapType.PROG_ARRAY and isinstance(each.contents, FdArray):
            each.contents.own(kind)
    func_info = line_info = b""
    if btf is not None:
        func_info = buffers.read(attr.func_info, 8 * attr.func_info_cnt) if attr.func_info else b""
        line_info = buffers.read(attr.line_info, 16 * attr.line_info_cnt) if attr.line_info else b""
    return ProgramObject(
        type=kind,
        name=bytes(attr.prog_name),
        code=code,
        tag=hashlib.sha1(code, usedforsecurity=False).digest()[:TAG_SIZE],
        gpl_compatible=gpl,
        executable=checked.executable,
        maps=checked.maps,
        expected_attach_type=AttachType(attr.expected_attach_type),
        btf=btf,
        attach_btf_id=attr.attach_btf_id,
        attach_name=name,
        target=target,
        func_info=func_info,
        line_info=line_info,
        load_time=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        uid=os.getuid(),
    )


def _btf(system: System, attr: ProgLoad) -> Btf | None:
    if not attr.func_info_cnt and not attr.line_info_cnt and not attr.prog_btf_fd:
        return None
    if not system.age.has_ability("types of functions", "5.0"):
        raise Refused(errno.E2BIG)
    return btf_of(system, attr.prog_btf_fd)


# What it will be attached to: a program, or a function or tracepoint's type of the kernel.
def _target(system: System, attr: ProgLoad, kind: ProgType) -> tuple[ProgramObject | None, str]:
    if kind not in _WITH_TARGET or AttachType(attr.expected_attach_type) in _LATE:
        return None, ""
    if not attr.attach_btf_id:
        raise Unsound("Tracing programs must provide btf_id")
    target, btf = None, system.vmlinux
    if attr.attach_btf_obj_fd:
        what = system.holding(attr.attach_btf_obj_fd)
        if isinstance(what, ProgramObject):
            if what.btf is None:
                raise Refused(errno.EINVAL)
            target, btf = what, what.btf
        elif isinstance(what, Btf):
            btf = what
        else:
            raise Refused(errno.EINVAL)
    if kind == ProgType.EXT and target is None:
        raise Unsound("Cannot replace kernel functions")
    try:
        found = Types.decode(btf.data).type(attr.attach_btf_id)
    except BtfError:
        raise Unsound(f"attach_btf_id {attr.attach_btf_id} is invalid") from None
    if attr.expected_attach_type == AttachType.TRACE_RAW_TP:
        if not isinstance(found, Typedef) or not found.name.startswith("btf_trace_"):
            raise Unsound(f"attach_btf_id {attr.attach_btf_id} points to wrong type name")
        return target, found.name.removeprefix("btf_trace_")
    if not isinstance(found, Func):
        raise Unsound(f"attach_btf_id {attr.attach_btf_id} is not a function")
    if target is not None and attr.attach_btf_id not in _functions(target):
        raise Unsound(f"Subprog {found.name} doesn't exist")
    return target, found.name


def _functions(program: ProgramObject) -> set[int]:
    return {type_id for _, type_id in struct.iter_unpack("=II", program.func_info)}


def _write_log(attr: ProgLoad, unsound: Unsound) -> None:
    place = f"{unsound.slot}: (00)\n" if unsound.slot >= 0 else ""
    _put_log(attr, f"{place}{unsound.reason}\nprocessed 0 insns (limit {_LONGEST})\n")


def _put_log(attr: ProgLoad, text: str) -> None:
    if not attr.log_level or attr.log_buf is None:
        return
    data = text.encode()
    attr.log_true_size = len(data) + 1
    buffers.write(attr.log_buf, data[: attr.log_size - 1] + b"\0")
    if len(data) >= attr.log_size:
        raise Refused(errno.ENOSPC)
