"""From `ProgramSpec` to `Program`: relocate against the kernel's types, fill in maps, load.

code ──CO-RE──▶ code for this kernel ──map descriptors──▶ final code ──BPF_PROG_LOAD──▶ Program
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pyebpf.btf.btf import Btf
from pyebpf.btf.relocate import relocate
from pyebpf.errors import BtfError, CoreRelocationError, ExternError, LoadError, naming
from pyebpf.host import version
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.loader.attach_target import attach_btf_id, needs_target
from pyebpf.maps.create import kernel_name
from pyebpf.maps.map import Map
from pyebpf.programs.load import LoadRequest, load
from pyebpf.programs.program import Program
from pyebpf.spec import ProgramSpec, Reference, ReferenceKind
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.insn import PSEUDO_MAP_FD, PSEUDO_MAP_VALUE

__all__ = ["Environment", "check", "load_program"]

SLOT = 8
IMM = struct.Struct("=i")

_UNSUPPORTED = {
    ReferenceKind.KCONFIG: "extern kernel configuration variables (.kconfig)",
    ReferenceKind.KSYM: "extern kernel symbols (.ksyms)",
    ReferenceKind.KFUNC: "calls of kernel functions (kfuncs)",
}


def check(spec: ProgramSpec, maps: Collection[str]) -> None:
    """Refuse what cannot be loaded, before anything is.

    Args:
        spec: The program.
        maps: Names of the maps its references may use.

    Raises:
        LoadError: Unknown section, or a construct this version does not load.
        ExternError: A symbol nothing defines.
    """
    if spec.type == ProgType.UNSPEC:
        raise LoadError(
            spec.name,
            f'section "{spec.section}" says no program type; set spec.programs["{spec.name}"].type',
        )
    if spec.type in (ProgType.STRUCT_OPS, ProgType.EXT):
        raise LoadError(spec.name, f"programs of type {spec.type} are not loaded by this version")
    for slot, reference in spec.references.items():
        _check_reference(spec, slot, reference, maps)


def _check_reference(
    spec: ProgramSpec, slot: int, reference: Reference, maps: Collection[str]
) -> None:
    symbol, kind = reference.symbol, reference.kind
    if kind in _UNSUPPORTED:
        raise ExternError(
            symbol, f'"{symbol}" (slot {slot}): {_UNSUPPORTED[kind]} are not loaded by this version'
        )
    if kind is ReferenceKind.UNDEFINED:
        raise ExternError(symbol, f'symbol "{symbol}" (slot {slot}) is not defined anywhere')
    if kind is ReferenceKind.JUMP_TABLE:
        raise LoadError(
            spec.name, f'jump table "{symbol}" (slot {slot}): not loaded by this version'
        )
    if symbol not in maps:
        raise LoadError(spec.name, f'map "{symbol}" (slot {slot}) is not part of the load')


@dataclass(slots=True, kw_only=True)
class Environment:
    """What the programs of one load share.

    Attributes:
        maps: By the names references use.
        btf_fd: The object's BTF in the kernel, or ``None``.
        core_types: Types to relocate against; ``None`` means the running kernel's.
        log_level: ``BPF_LOG_*`` bits to ask for even when a load succeeds.
        log_size: Bytes of log to start with, or ``None``.
    """

    maps: Mapping[str, Map[Any, Any]]
    btf_fd: int | None = None
    core_types: Btf | None = None
    log_level: int = 0
    log_size: int | None = None


def load_program(spec: ProgramSpec, environment: Environment) -> Program:
    """Load one program.

    Args:
        spec: As `check` passed it.
        environment: What it shares with the others.

    Raises:
        VerifierError: The verifier refused it.
        CoreRelocationError: Its relocations cannot be resolved at all.
        LoadError: Its target does not exist here.
        SyscallError: Anything else.
    """
    with naming(f'load program "{spec.name}"'):
        code, poisoned = _relocated(spec, environment)
        attr = ProgLoad(
            prog_type=spec.type,
            license=spec.license.encode() + b"\0",
            prog_flags=spec.flags,
            prog_name=kernel_name(spec.name),
            expected_attach_type=spec.attach_type or 0,
            # Kernels before 5.0 demand their own version from kprobes; later ones ignore it.
            kern_version=spec.kernel_version or _kernel_version(spec),
        )
        typed = environment.btf_fd is not None and bool(spec.func_info)
        if typed and environment.btf_fd is not None:
            attr.prog_btf_fd = environment.btf_fd
        if needs_target(spec):
            attr.attach_btf_id = attach_btf_id(spec, kernel_btf())
        request = LoadRequest(
            attr=attr,
            code=_with_maps(spec, code, environment.maps),
            func_info=spec.func_info if typed else b"",
            line_info=spec.line_info if typed else b"",
            btf=spec.btf,
            byteorder=spec.byteorder,
            poisoned=poisoned,
            log_level=environment.log_level,
            log_size=environment.log_size,
        )
        fd, log = load(request)
    return Program(fd, name=spec.name, type=spec.type, spec=spec, verifier_log=log)


def _kernel_version(spec: ProgramSpec) -> int:
    return version.code() if spec.type == ProgType.KPROBE else 0


def _relocated(spec: ProgramSpec, environment: Environment) -> tuple[bytes, dict[int, str]]:
    if not spec.relocations:
        return spec.code, {}
    if spec.btf is None:
        raise CoreRelocationError(spec.name, "CO-RE relocations without BTF")
    target = environment.core_types if environment.core_types is not None else kernel_btf()
    try:
        result = relocate(spec.code, spec.relocations, spec.btf, [target], spec.byteorder)
    except BtfError as error:
        raise CoreRelocationError(spec.name, str(error)) from error
    return result.code, result.poisoned


# Puts descriptors into the 64-bit loads that name maps: struct bpf_insn is code, registers, off,
# imm.
def _with_maps(spec: ProgramSpec, code: bytes, maps: Mapping[str, Map[Any, Any]]) -> bytes:
    patched = bytearray(code)
    for slot, reference in spec.references.items():
        at = slot * SLOT
        fd = maps[reference.symbol].fileno()
        if reference.kind is ReferenceKind.MAP_VALUE:
            _set_source(patched, at, PSEUDO_MAP_VALUE)
            IMM.pack_into(patched, at + SLOT + 4, reference.offset)
        else:
            _set_source(patched, at, PSEUDO_MAP_FD)
            IMM.pack_into(patched, at + SLOT + 4, 0)
        IMM.pack_into(patched, at + 4, fd)
    return bytes(patched)


# The source register is the high nibble on little-endian machines, the low one on big-endian ones.
def _set_source(code: bytearray, at: int, pseudo: int) -> None:
    registers = code[at + 1]
    if sys.byteorder == "little":
        code[at + 1] = registers & 0x0F | pseudo << 4
    else:
        code[at + 1] = registers & 0xF0 | pseudo
