"""The machine code of a loaded program, function by function.

A descriptor comes in. The kernel hands out (``BPF_OBJ_GET_INFO_BY_FD``):

    jited_prog_insns    code of all functions, one behind another
    jited_func_lens     how long each is
    jited_ksyms         where each is in the kernel: what ``/proc/kallsyms`` says, 0 if hidden
    prog_tags           a hash of the instructions of each
    jited_line_info     an address for each record of ``line_info``
"""

from __future__ import annotations

import array
from collections.abc import Mapping

from pyebpf.errors import SourceLine
from pyebpf.plain import plain
from pyebpf.programs.source_tables import SourceTables
from pyebpf.sys import bpf
from pyebpf.uapi.info import ProgInfo

__all__ = ["JitedCode", "JitedFunction", "jited"]

_TAG_SIZE = 8


@plain(frozen=True, kw_only=True)
class JitedFunction:
    """One function as machine code.

    Attributes:
        name: ``""`` if the program has no types.
        tag: The kernel's hash over its instructions, as hexadecimal text.
        address: Where it is in the kernel, 0 if addresses are hidden (``kptr_restrict``).
        code: Its machine code.
    """

    name: str
    tag: str
    address: int
    code: bytes


@plain(frozen=True, kw_only=True)
class JitedCode:
    """A program as machine code.

    Attributes:
        functions: The program itself first, then the functions it calls.
        lines: Lines of source by address, as far as the program has any.
    """

    functions: tuple[JitedFunction, ...]
    lines: Mapping[int, SourceLine]


def jited(fd: int) -> JitedCode:
    """Ask for the machine code of the program behind *fd*.

    Returns:
        The code; no functions where the kernel interprets the program, or shows nothing to this
        process.

    Raises:
        SyscallError: *fd* is not a program's.

    Since Linux 4.13; several functions 4.18, names, tags and lines 5.0.
    """
    known = ProgInfo()
    bpf.obj_get_info_by_fd(fd, known)
    code = bytearray(known.jited_prog_len)
    lengths = array.array("I", bytes(4 * known.nr_jited_func_lens))
    addresses = array.array("Q", bytes(8 * known.nr_jited_ksyms))
    tags = bytearray(_TAG_SIZE * known.nr_prog_tags)
    of_lines = known.nr_jited_line_info if known.jited_line_info_rec_size == 8 else 0
    line_addresses = array.array("Q", bytes(8 * of_lines))
    asked = ProgInfo()
    asked.jited_prog_len, asked.jited_prog_insns = len(code), code
    asked.nr_jited_func_lens, asked.jited_func_lens = len(lengths), lengths
    asked.nr_jited_ksyms, asked.jited_ksyms = len(addresses), addresses
    asked.nr_prog_tags, asked.prog_tags = known.nr_prog_tags, tags
    if of_lines:
        asked.nr_jited_line_info, asked.jited_line_info = of_lines, line_addresses
        asked.jited_line_info_rec_size = known.jited_line_info_rec_size
    tables = SourceTables(known, asked)
    bpf.obj_get_info_by_fd(fd, asked)
    if not any(code):  # hidden: the buffer is as it was
        return JitedCode(functions=(), lines={})
    # Before Linux 4.18 a program was one function, and its length that of the code.
    sizes = list(lengths) or [len(code)][: len(code)]
    names = list(tables.functions().values())
    by_slot = tables.lines()
    pairs = zip(line_addresses, tables.line_slots(), strict=False)
    return JitedCode(
        functions=tuple(
            JitedFunction(
                name=names[number] if len(names) == len(sizes) else "",
                tag=tags[_TAG_SIZE * number : _TAG_SIZE * (number + 1)].hex(),
                address=addresses[number] if number < len(addresses) else 0,
                code=bytes(code[sum(sizes[:number]) :][:size]),
            )
            for number, size in enumerate(sizes)
        ),
        lines={address: by_slot[slot] for address, slot in pairs if slot in by_slot and address},
    )
