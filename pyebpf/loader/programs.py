"""From `ProgramSpec` to `Program`: relocate against the kernel's types, fill in maps, load.

code ──CO-RE──▶ code for this kernel ──maps, externs──▶ final code ──BPF_PROG_LOAD──▶ Program
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterable, Mapping

from pyebpf import features
from pyebpf.btf.btf import Btf
from pyebpf.btf.relocate import relocate
from pyebpf.errors import (
    BtfError,
    CoreRelocationError,
    ExternError,
    LoadError,
    SyscallError,
    VerifierError,
    naming,
)
from pyebpf.host.modules import Modules
from pyebpf.loader import older
from pyebpf.loader.attach_target import attach_target, needs_target
from pyebpf.loader.externs import EXTERNS, Externs
from pyebpf.loader.patch import load_64
from pyebpf.loader.plan import Target as Interface
from pyebpf.maps.map import Map
from pyebpf.names import kernel_name
from pyebpf.plain import plain
from pyebpf.programs.load import LoadRequest, load
from pyebpf.programs.program import Program
from pyebpf.spec import ProgramSpec, ReferenceKind
from pyebpf.typed import Any
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.insn import PSEUDO_MAP_FD, PSEUDO_MAP_VALUE

__all__ = ["Environment", "check", "load_program"]


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
    for slot, reference in spec.references.items():
        symbol, kind = reference.symbol, reference.kind
        if kind is ReferenceKind.UNDEFINED:
            raise ExternError(
                symbol,
                f'symbol "{symbol}" (slot {slot}) is not defined anywhere;'
                " if it is a constant, set it with rewrite_constant()",
            )
        if kind in (ReferenceKind.MAP, ReferenceKind.MAP_VALUE) and symbol not in maps:
            raise LoadError(spec.name, f'map "{symbol}" (slot {slot}) is not part of the load')


@plain(kw_only=True)
class Environment:
    """What the programs of one load share.

    Attributes:
        maps: By the names references use.
        starts: Where an arena's globals start in it, by its name.
        externs: What was found in the kernel.
        modules: Types of the running kernel's modules.
        interfaces: What a program implements (struct_ops), by its name.
        btf_fd: The object's BTF in the kernel, or ``None``.
        core_types: Types to relocate against, the kernel's first; asked for when needed.
        log_level: ``BPF_LOG_*`` bits to ask for even when a load succeeds, unless a program says.
        log_size: Bytes of log to start with, or ``None``, likewise.
    """

    maps: Mapping[str, Map[Any, Any]]
    starts: Mapping[str, int]
    externs: Externs
    modules: Modules
    interfaces: Mapping[str, Interface]
    core_types: Iterable[Btf]
    btf_fd: int | None = None
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
    with naming(f'load program "{spec.name}"'), contextlib.ExitStack() as until_loaded:
        if _has_many_places(spec) and features.uprobe_multi_process.available():
            spec.attach_type = AttachType.TRACE_UPROBE_MULTI
        tables = {}
        if spec.jump_tables:
            from pyebpf.loader.jump_tables import create_tables

            tables = create_tables(spec.jump_tables, until_loaded)
        relocated, poisoned = _relocated(spec, environment.core_types)
        code = bytearray(relocated)
        missing = _fill_in(spec, code, tables, environment)
        older.downgrade(code)
        typed = environment.btf_fd is not None and bool(spec.func_info)
        request = LoadRequest(
            attr=_attributes(spec, environment, typed=typed),
            code=bytes(code),
            func_info=spec.func_info if typed else b"",
            line_info=spec.line_info if typed else b"",
            btf=spec.btf,
            byteorder=spec.byteorder,
            poisoned=poisoned,
            missing=missing,
            log_level=environment.log_level if spec.log_level is None else spec.log_level,
            log_size=environment.log_size if spec.log_size is None else spec.log_size,
        )
        try:
            fd, log = load(request)
        except VerifierError:
            raise
        except SyscallError as error:
            if error.errno not in (errno.EINVAL, errno.E2BIG):
                raise
            if not older.reduce(request, attach_type_optional=spec.attach_type_optional):
                raise
            fd, log = load(request)
    return Program(fd, name=spec.name, type=spec.type, spec=spec, verifier_log=log)


def _attributes(spec: ProgramSpec, environment: Environment, *, typed: bool) -> ProgLoad:
    attr = ProgLoad(
        prog_type=spec.type,
        license=spec.license.encode() + b"\0",
        prog_flags=spec.flags,
        prog_name=kernel_name(spec.name),
        expected_attach_type=spec.attach_type or 0,
        # Kernels before 5.0 demand their own version from kprobes; later ones ignore it.
        kern_version=spec.kernel_version or _kernel_version(spec),
        fd_array=environment.externs.fd_array or None,
    )
    if typed and environment.btf_fd is not None:
        attr.prog_btf_fd = environment.btf_fd
    interface = environment.interfaces.get(spec.name)
    if interface is not None:
        attr.attach_btf_id = interface.type_id
        attr.expected_attach_type = interface.member
        if interface.module is not None:
            attr.attach_btf_obj_fd = interface.module.fileno()
    elif needs_target(spec):
        target = attach_target(spec, environment.modules)
        attr.attach_btf_id = target.type_id
        # One word for both: whose BTF the id is in.
        attr.attach_btf_obj_fd = target.module_fd or target.program_fd
    return attr


# A USDT probe is in many places, and one link can hold them all; that is chosen here, as in libbpf.
def _has_many_places(spec: ProgramSpec) -> bool:
    return spec.attach_type is None and spec.section.partition("/")[0] in ("usdt", "usdt.s")


def _kernel_version(spec: ProgramSpec) -> int:
    if spec.type != ProgType.KPROBE:
        return 0
    from pyebpf.host import version

    return version.code()


def _relocated(spec: ProgramSpec, core_types: Iterable[Btf]) -> tuple[bytes, dict[int, str]]:
    if not spec.relocations:
        return spec.code, {}
    if spec.btf is None:
        raise CoreRelocationError(spec.name, "CO-RE relocations without BTF")
    try:
        result = relocate(spec.code, spec.relocations, spec.btf, core_types, spec.byteorder)
    except BtfError as error:
        raise CoreRelocationError(spec.name, str(error)) from error
    return result.code, result.poisoned


# Resolves the references in place; returns why the program must not get to some slots.
def _fill_in(
    spec: ProgramSpec,
    code: bytearray,
    tables: Mapping[str, Map[Any, Any]],
    environment: Environment,
) -> dict[int, str]:
    missing: dict[int, str] = {}
    fds: dict[str, int] = {}
    for slot, reference in spec.references.items():
        symbol = reference.symbol
        if reference.kind in EXTERNS:
            reason = environment.externs.patch(code, slot, reference, environment.maps)
            if reason is not None:
                missing[slot] = reason
            continue
        if reference.kind is ReferenceKind.CONSTANT:
            continue
        if reference.kind is ReferenceKind.JUMP_TABLE:
            load_64(code, slot, PSEUDO_MAP_VALUE, tables[symbol].fileno(), reference.offset)
            continue
        if symbol not in fds:
            fds[symbol] = environment.maps[symbol].fileno()
        if reference.kind is ReferenceKind.MAP:
            load_64(code, slot, PSEUDO_MAP_FD, fds[symbol], reference.offset)
        else:
            place = environment.starts.get(symbol, 0) + reference.offset
            load_64(code, slot, PSEUDO_MAP_VALUE, fds[symbol], place)
    return missing
