"""From a verifier log to the error that says what is wrong, where, and what to do.

log ──verifier_log──▶ reason, slot, registers ──┬─verifier_causes──▶ words, help
line information ──▶ C line, lines around it ◀──┤
what was relocated to nothing, by slot ◀────────┴──▶ VerifierError, or NotSupportedError
"""

from __future__ import annotations

import re
import struct
import sys

from pyebpf import features
from pyebpf.btf.patch import POISON
from pyebpf.errors import (
    ENOTSUPP,
    NotSupportedError,
    SourceLine,
    SyscallError,
    VerifierError,
    errno_text,
)
from pyebpf.host import privileges
from pyebpf.programs.request import LoadRequest
from pyebpf.programs.verifier_causes import Cause, cause
from pyebpf.programs.verifier_log import Refusal, lines_around, parse, source_line
from pyebpf.sys import kernel
from pyebpf.uapi.helpers import FuncId
from pyebpf.uapi.insn import PSEUDO_FUNC

__all__ = ["explain"]

LOAD_IMM64 = 0x18
FUNC_INFO = {"little": struct.Struct("<II"), "big": struct.Struct(">II")}

# Since Linux 3.18; a helper that exists, but not for this kind of program, is told otherwise.
UNKNOWN_HELPER = re.compile(r"invalid func unknown#(\d+)")
LOCKED_DOWN = re.compile(r"helper bpf_probe_(?:write_user|read\w*)#")
POISONED = Cause(
    "",
    "the program reads or calls what this kernel does not have",
    "ask first: bpf_core_field_exists(), bpf_core_type_exists() or bpf_ksym_exists()",
)


def explain(
    request: LoadRequest, error: SyscallError, log: str, *, truncated: bool
) -> VerifierError | NotSupportedError:
    """Say why the verifier refused a program.

    Args:
        request: The program.
        error: What the kernel answered.
        log: The verifier's log.
        truncated: It is not the whole log.
    """
    refusal = parse(log)
    slot = refusal.slot if refusal.slot is not None else -1
    missing = request.missing.get(slot)
    unsupported = _lacking(request, refusal.reason) if missing is None else None
    if unsupported is not None:
        return unsupported
    text, why = refusal.reason, cause(refusal.reason)
    if missing is not None:
        text, why = missing, POISONED
    elif f"invalid func unknown#{POISON}" in text:
        what = request.poisoned.get(slot)
        text, why = f"CO-RE: {what or 'a field or type'} not found in the kernel's types", POISONED
    elif not text:
        text = _afterwards(error, refusal)
    source = _source(request, slot) or refusal.source
    where = [str(source)] if source else []
    if refusal.omitted:
        where.append(f"{_lines(refusal.omitted)} omitted, see .log")
    return VerifierError(
        error.cmd,
        error.errno or 0,
        f"{text} ({', '.join(where)})" if where else text,
        log=log,
        source=source,
        truncated=truncated,
        nearby=_nearby(request, slot, source),
        slot=refusal.slot,
        instruction=refusal.instruction,
        registers=refusal.registers,
        cause=why.words if why else "",
        notes=tuple(_notes(request, refusal)),
        help=refusal.suggestion or (why.help if why else ""),
    )


def _lines(count: int) -> str:
    return f"{count} line{'s' if count > 1 else ''}"


# The log ends without a reason: cut off, or the verifier had none.
def _afterwards(error: SyscallError, refusal: Refusal) -> str:
    number = error.errno or 0
    if not refusal.complete:
        return errno_text(number)
    if number == ENOTSUPP:
        return "accepted by the verifier, but the JIT compiler cannot translate it, or is off"
    return f"{errno_text(number)}, after the verifier had accepted it"


# What the verifier does not know yet is a matter of the kernel, not of the program.
def _lacking(request: LoadRequest, reason: str) -> NotSupportedError | None:
    match = UNKNOWN_HELPER.search(reason)
    if match is not None and int(match[1]) != POISON:
        helper = FuncId(int(match[1]))
        return NotSupportedError(f"helper {helper}", helper.since)
    pointers = (LOAD_IMM64, PSEUDO_FUNC << 4 if sys.byteorder == "little" else PSEUDO_FUNC)
    mask = 0xF0 if sys.byteorder == "little" else 0x0F
    code = request.code
    if any((code[at], code[at + 1] & mask) == pointers for at in range(0, len(code), 8)):
        return features.function_pointers.unsupported()
    return None


def _source(request: LoadRequest, slot: int) -> SourceLine | None:
    if slot < 0 or request.btf is None or not request.line_info:
        return None
    return source_line(slot, request.line_info, request.btf, request.byteorder)


def _nearby(request: LoadRequest, slot: int, source: SourceLine | None) -> tuple[SourceLine, ...]:
    if slot < 0 or source is None or request.btf is None or not request.line_info:
        return ()
    starts = [start for start, _ in FUNC_INFO[request.byteorder].iter_unpack(request.func_info)]
    first = max((start for start in starts if start <= slot), default=0)
    end = min((start for start in starts if start > slot), default=len(request.code) // 8)
    slots = range(first, end)
    return lines_around(source, slots, request.line_info, request.btf, request.byteorder)


def _notes(request: LoadRequest, refusal: Refusal) -> list[str]:
    notes = []
    if refusal.origin is not None:
        line = _source(request, refusal.origin)
        what = "acquired at" if "alloc_insn=" in refusal.reason else "it comes from"
        place = f"{line}: {line.text.strip()}" if line else f"instruction {refusal.origin}"
        notes.append(f"{what} {place}")
    if refusal.words:
        notes.append(refusal.words)
    root = kernel.current().root
    lockdown = privileges.lockdown(root)
    if lockdown and LOCKED_DOWN.search(refusal.reason):
        notes.append(f"kernel lockdown is at {lockdown}")
    missing = privileges.Capabilities(root).missing("CAP_BPF", "CAP_PERFMON")
    if missing:
        notes.append(f"without {' and '.join(missing)} the verifier allows less")
    return notes
