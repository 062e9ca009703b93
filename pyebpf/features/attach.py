"""Probes of attachments: what a program can learn about its own."""

from __future__ import annotations

import struct

from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import ProgType

__all__ = ["attach_cookie"]


# Asks for the cookie of its attachment, and exits. Opcodes are the same in either byte order.
def _try_attach_cookie() -> bool:
    from pyebpf.uapi.helpers import FuncId

    code = struct.pack("=BBhi", insn.JMP | insn.CALL, 0, 0, FuncId.get_attach_cookie)
    code += struct.pack("=BBhi", insn.JMP | insn.EXIT, 0, 0, 0)
    attr = ProgLoad(
        prog_type=ProgType.TRACEPOINT,
        insns=code,
        insn_cnt=len(code) // 8,
        license=b"GPL\0",
    )
    return accepted(lambda: bpf.prog_load(attr).close())


attach_cookie = Feature("cookies of attachments", "5.15", _try_attach_cookie)
