"""BTF-typed hooks, their target chosen at load: tp_btf, fentry, fexit, fmod_ret, LSM, freplace."""

from __future__ import annotations

from pyebpf.errors import naming
from pyebpf.link.base import Link
from pyebpf.programs.program import Program
from pyebpf.sys import bpf
from pyebpf.uapi.attrs import RawTracepointOpen

__all__ = ["attach_tracing"]


def attach_tracing(program: Program) -> Link:
    """Attach *program* to the function or tracepoint it was loaded for.

    Args:
        program: Of type ``BPF_PROG_TYPE_TRACING``, ``BPF_PROG_TYPE_LSM`` or ``BPF_PROG_TYPE_EXT``
            (which replaces a function of another program); may be closed afterwards.

    Returns:
        A link that detaches when closed.

    Raises:
        SyscallError: ``EBUSY``, ``ENOTSUPP`` where the architecture has no trampolines, …

    Since Linux 5.5 (``BPF_PROG_TYPE_EXT``: 5.6).
    """
    name = program.spec.attach_to if program.spec is not None else program.name
    with naming(f'attach program "{program.name}" to {name}'):
        return Link(
            bpf.raw_tracepoint_open(RawTracepointOpen(prog_fd=program.fileno())), target=name
        )
