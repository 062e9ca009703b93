"""Which kernel type a BTF-typed program attaches to: needed before it can be verified.

SEC("tp_btf/sched_switch") ──▶ TYPEDEF btf_trace_sched_switch ──▶ attach_btf_id
"""

from __future__ import annotations

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, LoadError
from pyebpf.spec import ProgramSpec
from pyebpf.uapi.bpf import AttachType, ProgType
from pyebpf.uapi.btf import BtfKind

__all__ = ["attach_btf_id", "needs_target"]

# Prefix of the kernel's type name, and its kind: kernel/bpf/btf.c and include/trace/bpf_probe.h.
_BY_ATTACH_TYPE: dict[AttachType, tuple[str, BtfKind]] = {
    AttachType.TRACE_RAW_TP: ("btf_trace_", BtfKind.TYPEDEF),
    AttachType.TRACE_ITER: ("bpf_iter_", BtfKind.FUNC),
    AttachType.LSM_MAC: ("bpf_lsm_", BtfKind.FUNC),
    AttachType.LSM_CGROUP: ("bpf_lsm_", BtfKind.FUNC),
    AttachType.TRACE_FENTRY: ("", BtfKind.FUNC),
    AttachType.TRACE_FEXIT: ("", BtfKind.FUNC),
    AttachType.MODIFY_RETURN: ("", BtfKind.FUNC),
}


def needs_target(spec: ProgramSpec) -> bool:
    """Whether the kernel wants to know what *spec* will be attached to when it is loaded."""
    return spec.type in (ProgType.TRACING, ProgType.LSM)


def attach_btf_id(spec: ProgramSpec, kernel: Btf) -> int:
    """Find the kernel type that *spec* attaches to.

    Args:
        spec: A program for which `needs_target` holds.
        kernel: The running kernel's BTF.

    Raises:
        LoadError: The section names no target, or the kernel has none of that name.
    """
    rule = _BY_ATTACH_TYPE.get(spec.attach_type) if spec.attach_type is not None else None
    if rule is None:
        raise LoadError(spec.name, f"attach type {spec.attach_type} has no target in kernel types")
    if not spec.attach_to:
        raise LoadError(spec.name, f'SEC("{spec.section}") names no target')
    prefix, kind = rule
    try:
        return kernel.find(prefix + spec.attach_to, kind)
    except BtfError as error:
        raise LoadError(spec.name, f'SEC("{spec.section}"): {error}') from None
