"""Security hooks: ``SEC("lsm/hook")``, and ``SEC("lsm_cgroup/hook")`` for one control group."""

from __future__ import annotations

import os

from pyebpf.link.base import Link
from pyebpf.link.cgroup import attach_cgroup
from pyebpf.link.interface import check_type
from pyebpf.link.tracing import attach_tracing
from pyebpf.programs.program import Program
from pyebpf.uapi.bpf import AttachType, ProgType

__all__ = ["attach_lsm"]


def attach_lsm(
    program: Program,
    *,
    cgroup: str | os.PathLike[str] | int | None = None,
    cookie: int | None = None,
) -> Link:
    """Attach *program* to the security hook it was loaded for.

    Args:
        program: Of type ``BPF_PROG_TYPE_LSM``; may be closed afterwards.
        cgroup: For ``SEC("lsm_cgroup/…")``: only for processes of this control group and below
            (Linux 6.0).
        cookie: As for `attach_tracing`.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type, or needs a cgroup.
        SyscallError: As for `attach_tracing`.

    Since Linux 5.7.
    """
    check_type(program, ProgType.LSM)
    if cgroup is None:
        return attach_tracing(program, cookie=cookie)
    return attach_cgroup(program, cgroup, attach_type=AttachType.LSM_CGROUP)
