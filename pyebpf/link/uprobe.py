"""Probes in user programs: ``SEC("uprobe/path:function+offset")`` and ``SEC("uretprobe/…")``.

path, symbol ──host.symbols──▶ file offset ──uprobe PMU or tracefs──▶ perf event ──▶ link
"""

from __future__ import annotations

import os
import re

from pyebpf.errors import LoadError, naming
from pyebpf.host import symbols
from pyebpf.link.base import Link
from pyebpf.link.interface import check_type
from pyebpf.link.probe import attach_probe
from pyebpf.link.target import parsed, section_head
from pyebpf.programs.program import Program
from pyebpf.typed import NamedTuple
from pyebpf.uapi.bpf import ProgType

__all__ = ["UprobeTarget", "attach_uprobe", "by_section", "parse_target"]

TARGET = re.compile(r"(?P<path>[^:]+):(?P<symbol>[^+]+?)(?:\+(?P<offset>\w+))?")


class UprobeTarget(NamedTuple):
    """What a section name says: a file, a symbol in it (or ``""``) and an offset."""

    path: str
    symbol: str
    offset: int


def parse_target(text: str) -> UprobeTarget:
    """Split ``"path:function+offset"`` or ``"path:0xoffset"``.

    Raises:
        ValueError: It has another form.
    """
    match = TARGET.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not of the form path:function[+offset] or path:0xoffset')
    path, symbol = match["path"], match["symbol"]
    offset = int(match["offset"], 0) if match["offset"] else 0
    if symbol[:2] in ("0x", "0X"):
        return UprobeTarget(path, "", int(symbol, 16))
    return UprobeTarget(path, symbol, offset)


def attach_uprobe(
    program: Program,
    path: str | os.PathLike[str],
    symbol: str = "",
    *,
    offset: int = 0,
    pid: int | None = None,
    retprobe: bool = False,
    cookie: int | None = None,
    reference_counter: int = 0,
    use_tracefs: bool | None = None,
) -> Link:
    """Attach *program* to a function of a user program or library.

    Args:
        program: Of type ``BPF_PROG_TYPE_KPROBE``; may be closed afterwards.
        path: The file; a name without ``/`` is looked up as the shell (programs) or the dynamic
            linker (libraries) would.
        symbol: The function; without one, *offset* is a file offset.
        offset: Bytes into the function, or the file offset.
        pid: Only this process (*path* is looked up in its ``/proc/PID/root``); all by default.
        retprobe: Run when the function returns.
        cookie: What ``bpf_get_attach_cookie()`` returns in the program (Linux 5.15).
        reference_counter: Where a counter of 16 bits lies in the file, which the kernel raises in
            every process as long as the probe is there (a USDT semaphore; Linux 4.20).
        use_tracefs: True makes the probe there at once, False never; by default where the kernel
            has no uprobe PMU.

    Returns:
        A link that detaches when closed.

    Raises:
        AttachError: *program* has another type.
        LoadError: No such file or symbol.
        NotSupportedError: This kernel has no uprobes.
        SyscallError: Anything else.

    Since Linux 4.17 (PMU), 4.1 (tracefs).
    """
    check_type(program, ProgType.KPROBE)
    kind = "uretprobe" if retprobe else "uprobe"
    where = symbol if not offset else f"{symbol}+{offset:#x}" if symbol else f"{offset:#x}"
    with naming(f'attach program "{program.name}" to {kind} {os.fspath(path)}:{where}'):
        file = symbols.find_file(path, pid=pid)
        position = offset
        if symbol:
            position = symbols.file_offset(file, symbol) + offset
        elif not offset:
            raise LoadError(program.name, "a uprobe needs a symbol or a file offset")
        return attach_probe(
            program, "uprobe", os.fspath(file), position, target=f"{kind} {file}:{where}",
            retprobe=retprobe, cookie=cookie, pid=pid, reference_counter=reference_counter,
            use_tracefs=use_tracefs,
        )  # fmt: skip


def by_section(program: Program) -> Link:
    """Attach *program* where its section name says; for `pyebpf.link.auto`."""
    path, symbol, offset = parsed(program, parse_target)
    retprobe = section_head(program).startswith("uretprobe")
    return attach_uprobe(program, path, symbol, offset=offset, retprobe=retprobe)
