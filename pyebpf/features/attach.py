"""Probes of attachments: what a program can learn about its own."""

from __future__ import annotations

import struct

from pyebpf.features.feature import Feature, accepted
from pyebpf.sys import bpf
from pyebpf.uapi import insn
from pyebpf.uapi.attrs import ProgLoad
from pyebpf.uapi.bpf import ProgType
from pyebpf.uapi.helpers import FuncId

__all__ = ["attach_cookie"]

# Asks for the cookie of its attachment, and exits. Opcodes are the same in either byte order.
_CODE = struct.pack("=BBhi", insn.JMP | insn.CALL, 0, 0, FuncId.get_attach_cookie)
_CODE += struct.pack("=BBhi", insn.JMP | insn.EXIT, 0, 0, 0)


def _try_attach_cookie() -> bool:
    attr = ProgLoad(
        prog_type=ProgType.TRACEPOINT,
        insns=_CODE,
        insn_cnt=len(_CODE) // 8,
        license=b"GPL\0",
    )
    return accepted(lambda: bpf.prog_load(attr).close())


attach_cookie = Feature("cookies of attachments", "5.15", _try_attach_cookie)
