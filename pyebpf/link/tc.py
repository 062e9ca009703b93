"""tc: tcx where the kernel has it, a filter of the clsact qdisc where it does not."""

from __future__ import annotations

from pyebpf.errors import NotSupportedError
from pyebpf.link.base import Link
from pyebpf.link.clsact import attach_clsact
from pyebpf.link.tcx import TcDirection, attach_tcx
from pyebpf.programs.program import Program

__all__ = ["attach_tc"]


def attach_tc(
    program: Program, interface: str | int, direction: TcDirection | str | None = None
) -> Link:
    """Attach *program* to the packets of an interface, with what the kernel has for it.

    Options of one or the other kind: `attach_tcx`, `attach_clsact`. Verdicts mean the same in both:
    ``TC_ACT_OK``, ``TC_ACT_SHOT``, ``TC_ACT_REDIRECT``, and -1 for "let the next one decide".

    Args:
        program: Of type ``BPF_PROG_TYPE_SCHED_CLS``; may be closed afterwards.
        interface: Name or index in the caller's network namespace.
        direction: ``"ingress"`` or ``"egress"``; by default what ``SEC("tcx/ingress")`` says.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: Another type of program, no such interface, no direction.
        SyscallError: The kernel refused.

    Since Linux 6.6 (tcx), 4.5 (clsact).
    """
    try:
        return attach_tcx(program, interface, direction)
    except NotSupportedError:
        return attach_clsact(program, interface, direction)
