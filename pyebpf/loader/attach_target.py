"""What a BTF-typed program attaches to: needed before it can be verified.

A program's section or its `attach_target` comes in, an id in somebody's BTF goes out:

SEC("tp_btf/sched_switch")          TYPEDEF btf_trace_sched_switch    kernel, else modules
SEC("fentry/do_unlinkat")           FUNC do_unlinkat                  kernel, else modules
SEC("fentry/nf_conntrack:nf_ct_x")  FUNC nf_ct_x                      that module
SEC("lsm/file_open")                FUNC bpf_lsm_file_open            kernel, else modules
SEC("freplace/f"), attach_target    FUNC f                            that program's own BTF
"""

from __future__ import annotations

import contextlib

from pyebpf.btf_object import btf_by_id
from pyebpf.errors import EbpfError, LoadError, naming
from pyebpf.host.kernel_btf import kernel_btf
from pyebpf.host.modules import Modules
from pyebpf.spec import ProgramSpec
from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.btf import BtfKind

__all__ = ["AttachTarget", "attach_target", "needs_target"]

# Prefix of the kernel's type name, and its kind: kernel/bpf/btf.c and include/trace/bpf_probe.h.
_BY_ATTACH_TYPE: dict[AttachType, tuple[str, BtfKind]] = {
    AttachType.TRACE_RAW_TP: ("btf_trace_", BtfKind.TYPEDEF),
    AttachType.TRACE_ITER: ("bpf_iter_", BtfKind.FUNC),
    AttachType.LSM_MAC: ("bpf_lsm_", BtfKind.FUNC),
    AttachType.LSM_CGROUP: ("bpf_lsm_", BtfKind.FUNC),
    AttachType.TRACE_FENTRY: ("", BtfKind.FUNC),
    AttachType.TRACE_FEXIT: ("", BtfKind.FUNC),
    AttachType.TRACE_FSESSION: ("", BtfKind.FUNC),
    AttachType.MODIFY_RETURN: ("", BtfKind.FUNC),
}
# These are given their functions when they are attached.
_LATE = frozenset(
    {
        AttachType.TRACE_FENTRY_MULTI,
        AttachType.TRACE_FEXIT_MULTI,
        AttachType.TRACE_FSESSION_MULTI,
    }
)
_KERNEL = "vmlinux"


class AttachTarget(NamedTuple):
    """What ``BPF_PROG_LOAD`` is told.

    Attributes:
        type_id: In the BTF of the kernel, of a module or of a program.
        module_fd: The module's BTF (``attach_btf_obj_fd``), or 0.
        program_fd: The program (``attach_prog_fd``), or 0.
    """

    type_id: int
    module_fd: int = 0
    program_fd: int = 0


def needs_target(spec: ProgramSpec) -> bool:
    """Whether the kernel wants to know what *spec* will be attached to when it is loaded."""
    if spec.type == ProgType.EXT or spec.attach_target is not None:
        return True
    return spec.type in (ProgType.TRACING, ProgType.LSM) and spec.attach_type not in _LATE


def attach_target(spec: ProgramSpec, modules: Modules) -> AttachTarget:
    """Find what *spec* attaches to.

    Args:
        spec: A program for which `needs_target` holds.
        modules: Where to look besides the kernel; must stay open until the program is loaded.

    Raises:
        LoadError: The section names no target, or there is none of that name.
        NotSupportedError: The kernel has no BTF.
        PrivilegeError: It is in a module, whose BTF is for ``CAP_SYS_ADMIN``.
    """
    if not spec.attach_to:
        raise LoadError(
            spec.name,
            f'SEC("{spec.section}") names no target; set spec.programs["{spec.name}"].attach_to',
        )
    if spec.attach_target is not None:
        return _in_program(spec, spec.attach_target.fileno())
    if spec.type == ProgType.EXT:
        raise LoadError(
            spec.name,
            f'SEC("{spec.section}") replaces a function of another program;'
            f' set spec.programs["{spec.name}"].attach_target to that program',
        )
    rule = _BY_ATTACH_TYPE.get(spec.attach_type) if spec.attach_type is not None else None
    if rule is None:
        raise LoadError(spec.name, f"attach type {spec.attach_type} has no target in kernel types")
    with naming(f'SEC("{spec.section}")'):
        return _in_kernel(spec, *rule, modules)


def _in_kernel(spec: ProgramSpec, prefix: str, kind: BtfKind, modules: Modules) -> AttachTarget:
    owner, colon, target = spec.attach_to.rpartition(":")
    name = prefix + target
    if not colon or owner == _KERNEL:
        found = kernel_btf().ids(name, kind)
        if len(found) > 1:
            # Which of them the kernel would patch is a matter of luck.
            raise LoadError(spec.name, f"the kernel has {len(found)} of the name {name}")
        if found:
            return AttachTarget(found[0])
    what = "function" if kind is BtfKind.FUNC else "type"
    if owner == _KERNEL:
        raise LoadError(
            spec.name, f"no {what} {name} in the types of the kernel{_near(name, kind)}"
        )
    for module, type_id in modules.find(name, kind, module=owner or None):
        return AttachTarget(type_id, module_fd=module.fileno())
    where = f"module {owner}" if owner else "the kernel and its modules"
    near = _near(name, kind)
    raise LoadError(spec.name, f"no {what} {name} in the types of {where}{near}{modules.remark()}")


# Names that are meant, maybe: of functions, or of tracepoints, which are types here.
def _near(name: str, kind: BtfKind) -> str:
    from pyebpf.host import traceable, tracefs

    if kind is BtfKind.FUNC:
        with contextlib.suppress(EbpfError):
            return traceable.nearest(name)
        return ""
    import difflib

    near = difflib.get_close_matches(name.removeprefix("btf_trace_"), tracefs.tracepoint_names())
    return f" (near: {', '.join(near)})" if near else ""


def _in_program(spec: ProgramSpec, fd: int) -> AttachTarget:
    from pyebpf.programs.info import program_info

    info = program_info(fd)
    if not info.btf_id:
        raise LoadError(
            spec.name, f'program "{info.name}" was loaded without types; nothing in it can be found'
        )
    found = btf_by_id(info.btf_id).ids(spec.attach_to, BtfKind.FUNC)
    if not found:
        raise LoadError(spec.name, f'program "{info.name}" has no function {spec.attach_to}')
    return AttachTarget(found[0], program_fd=fd)
