"""Probes of helpers: which of them programs of a type may call."""

from __future__ import annotations

import struct

from pyebpf.errors import EbpfError
from pyebpf.features.feature import Feature
from pyebpf.features.programs import TARGETED, program_type, refused, request, tried
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.insn import CALL, EXIT, JMP

__all__ = ["helper"]

# What the verifier says, of helpers that do not exist and of those that are other types'.
_REFUSALS = (b"invalid func ", b"unknown func ", b"cannot use helper ")
# bpf_get_probe_write_proto in kernel/trace/bpf_trace.c.
_FOR_ADMINISTRATORS = frozenset({FuncId.probe_write_user})


def helper(number: FuncId, kind: ProgType) -> Feature:
    """Return the feature "this helper in programs of this type".

    It cannot be told of types whose programs name a target (tracing, LSM, freplace, struct_ops),
    nor is there a "no" without ``CAP_BPF`` and ``CAP_PERFMON``, which some helpers ask for.
    """
    number = FuncId(number)
    return Feature(f"{number} in {kind}", number.since, lambda: _try_helper(number, kind))


# A call without arguments: refused for those, if the helper may be called at all.
def _try_helper(number: FuncId, kind: ProgType) -> bool:
    if not program_type(kind).available():
        return False
    if kind in TARGETED:
        raise EbpfError("what such programs may call depends on their targets")
    code = struct.pack("=BBhi", JMP | CALL, 0, 0, int(number)) + bytes([JMP | EXIT, *bytes(7)])
    refusal, log = tried(request(kind, code))
    if not refusal or not any(words in log for words in _REFUSALS):
        return True
    return refused(*(("CAP_SYS_ADMIN",) if number in _FOR_ADMINISTRATORS else ()))
