"""What a verifier log says: the sentence that matters, and the C line it is about.

    log ──summary()──────────▶ "R2 !read_ok", 14 lines omitted
    log ──last_instruction()─▶ slot 31
    slot, line_info, BTF ──source_line()──▶ SourceLine("count.bpf.c", 31, 9, "  return *value;")

Pure: text and bytes in, data out. The log's form is not ABI (``kernel/bpf/log.c``): whatever is not
recognised is shown as it stands.
"""

from __future__ import annotations

import re
import struct
from typing import Literal

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, SourceLine

__all__ = ["last_instruction", "source_line", "summary"]

LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}
# line_col packs the line above 10 bits of column: BPF_LINE_INFO_LINE_NUM in linux/bpf.h.
COLUMN_BITS = 10

# The verifier's closing statistics say nothing about why it refused.
NOISE = re.compile(r"processed \d+ insns|verification time \d+|stack depth |peak_states ")
# Linux 7.3 puts pages of advice behind the reason.
ADVICE = re.compile(r"^Verification failed: ", re.MULTILINE)
INSTRUCTION = re.compile(r"^(\d+): \([0-9a-f]{2}\) ", re.MULTILINE)
# A register state or an indented continuation only makes sense with the line before it.
NEEDS_PREVIOUS = re.compile(r"\t|R\d+[=_ ]|invalid bpf_context access")
SELF_CONTAINED = re.compile(
    r"R\d+ (?:!read_ok|type=|invalid|min value|max value|unbounded|pointer)"
)


def summary(log: str) -> tuple[str, int]:
    """Return the line that says why a program was refused, and how many lines it leaves out.

    Args:
        log: A whole verifier log, or ``""``.

    Returns:
        The text (``""`` if the log has none) and the number of lines not shown.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    advice = ADVICE.search(log)
    reason = (advice and log[: advice.start()].strip()) or log
    useful = [line for line in reason.splitlines() if line.strip() and not NOISE.match(line)]
    if not useful:
        return "", len(lines)
    shown = [useful[-1]]
    if len(useful) > 1 and NEEDS_PREVIOUS.match(shown[0]) and not SELF_CONTAINED.match(shown[0]):
        shown.insert(0, useful[-2])
    return " ".join(line.strip() for line in shown), len(lines) - len(shown)


def last_instruction(log: str) -> int | None:
    """Return the slot of the last instruction the verifier looked at, or ``None``."""
    matches = INSTRUCTION.findall(log)
    return int(matches[-1]) if matches else None


def source_line(
    slot: int, line_info: bytes, btf: Btf, byteorder: Literal["little", "big"]
) -> SourceLine | None:
    """Find the C line that an instruction came from.

    Args:
        slot: Index of the instruction in the loaded program, in 8-byte units.
        line_info: ``struct bpf_line_info`` records, ascending.
        btf: The BTF whose strings they use.
        byteorder: Of the records.

    Returns:
        The line, or ``None`` if the records do not reach it or name no string.
    """
    found = None
    for record in LINE_INFO[byteorder].iter_unpack(line_info):
        if record[0] > slot:
            break
        found = record
    if found is None:
        return None
    _, file_offset, text_offset, line_column = found
    try:
        file, text = btf.string(file_offset), btf.string(text_offset)
    except BtfError:
        return None  # explaining an error must not raise another one
    column = line_column & ((1 << COLUMN_BITS) - 1)
    return SourceLine(file.rpartition("/")[2], line_column >> COLUMN_BITS, column, text)
