"""What a verifier log says: the sentence that matters, and what is known where it was said.

    ; return *v; @ count.bpf.c:12                                    source
    6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(…)  registers, as they change
    7: (79) r0 = *(u64 *)(r0 +0)                                     slot and instruction
    R0 invalid mem access 'map_value_or_null'                        reason
    processed 7 insns (limit 1000000) max_states_per_insn 0 …        processed

`parse` reads that from its end and looks at no more than the last `TAIL` characters, however long
the log. `source_line` and `lines_around` find lines of C in the program's own line information,
which older kernels do not print and which has columns.

Pure: text and bytes in, data out; any input has an answer. The log's form is not ABI
(``kernel/bpf/log.c``): registers with every change are printed since Linux 5.18, only where paths
meet before that, the file and line of the source since 6.9. Since 7.2 most refusals come with a
report of several paragraphs, of which the ones about reason and remedy are kept. What is not
recognised is shown as it stands.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pyebpf.btf.btf import Btf
from pyebpf.errors import BtfError, SourceLine
from pyebpf.typed import Literal, NamedTuple

__all__ = ["Refusal", "lines_around", "parse", "source_line"]

# Of the log's end. A branch that is followed for longer than this keeps some registers to itself.
TAIL = 256 << 10
# More sentences than this about one refusal there are not; the last ones sum it up.
SENTENCES = 2
# Longer ones the kernel cannot say: BPF_VERIFIER_TMP_LOG_SIZE.
SENTENCE = 1024

LINE_INFO = {"little": struct.Struct("<IIII"), "big": struct.Struct(">IIII")}
# line_col packs the line above 10 bits of column: BPF_LINE_INFO_LINE_NUM in linux/bpf.h.
COLUMN_BITS = 10

STATISTICS = re.compile(r"processed (\d+) insns \(limit \d+\)")
INSTRUCTION = re.compile(r"(\d+): \([0-9a-f]{2}\) ?")
# Where the text of an instruction ends: at registers, or at a reason without a line of its own.
END = re.compile(r" (?=;|\d+: (?:frame\d+: ?)?R\d|BPF program is too large)|;")
SOURCE = re.compile(r"; (.*) @ ([^ @]+):(\d+)$")
# Registers and stack slots; _w, _r and P said until 6.9 how the verifier used them.
VALUE = re.compile(r"(?:^| )(R\d+|fp[-+]?\d+)(?:_[a-zA-Z]+)?=")
STATE = re.compile(r"(?:\d+: |from \d+ to \d+: | )?(?:frame\d+: ?)?(?=(?:R\d+|fp-\d+)(?:_\w+)?=)")
FLAGS = re.compile(r" (?:refs=|cb$|async_cb|callback)")
# What the log says besides reasons: statistics, steps of the search, states, types of arguments.
NOISE = re.compile(
    r"processed \d+ insns|verification time \d|stack depth |insns processed |total_states "
    r"|subprog \d+ \(|mark_precise: |last_idx |regs=|parent (?:didn't|already) "
    r"|from \d+ to \d+|(?:cur|old) state:"
    r"|propagating |func#\d+ @|Validating .+\.\.\.$|Func#\d+ |caller:$|callee:$|returning from "
    r"|to caller at |func '[^']*' arg\d+ has |;|live regs |Live regs |\s*$"
)
# The report: headings at the margin, everything else indented or empty.
REPORT = "Verification failed: "
HEADINGS = frozenset({"Reason:", "At:", "Causal path:", "Suggestion:"})
POINTED_AT = re.compile(r" *>>> *(\d+) \| \([0-9a-f]{2}\) (.*)")
# The reason names the place itself: it is not where the verifier was, or it was nowhere yet.
PLACED = re.compile(
    r"(?:unreachable insn|back-edge from insn|jump out of range from insn|detected at insn"
    r"|jump into the middle of ldimm64 insn) (\d+)"
)
PLACELESS = re.compile(
    r"combined stack size|last insn is not|frames is too deep !|fd \d+ is not|number of funcs"
)
CURRENT = "cur state:"
ACQUIRED = re.compile(r"alloc_insn=(\d+)")
NULLABLE = re.compile(r"_or_null(?:_\w+)?\(id=\d+")
WRITES = re.compile(r"[rw]\d+ |call |lock |if |may_goto|\*\(u\d+ \*\)\(r10 |r\d+ =")
JUMPS_ALWAYS = re.compile(r"goto |gotol |exit")
CLOBBERED = ("R0", "R1", "R2", "R3", "R4", "R5")


class Refusal(NamedTuple):
    """What a verifier log says.

    Attributes:
        reason: Why the program was refused, in the verifier's words on one line; ``""`` if the log
            does not say.
        omitted: Lines of the log that are not in *reason*.
        slot: The refused instruction, in 8-byte units; ``None`` if the reason is about the whole
            program or the log does not say.
        instruction: Its text, or ``""``.
        registers: Before it, as far as the log tells: name to what the verifier knows of it.
        source: The line of C before it in the log, without column; ``None`` before Linux 6.9.
        origin: The call that the pointer in question came from, or the reference that was not
            released; by slot, or ``None``.
        words: The kernel's own explanation, ``""`` before Linux 7.2.
        suggestion: What the kernel suggests, likewise.
        processed: Instructions the verifier walked through, or ``None``.
        complete: The log has its end.
    """

    reason: str
    omitted: int
    slot: int | None = None
    instruction: str = ""
    registers: Mapping[str, str] = MappingProxyType({})
    source: SourceLine | None = None
    origin: int | None = None
    words: str = ""
    suggestion: str = ""
    processed: int | None = None
    complete: bool = False


def parse(log: str | bytes) -> Refusal:
    """Read a verifier log.

    Args:
        log: As much of it as there is; bytes up to the first NUL.
    """
    if isinstance(log, bytes):
        log = log.partition(b"\0")[0].decode(errors="replace")
    lines, report = _without_report(_last_lines(log))
    count = log.count("\n") + (not log.endswith("\n") and log != "")
    statistics = [found for line in lines[-8:] if (found := STATISTICS.search(line))]
    processed = int(statistics[-1][1]) if statistics else None
    said, at = _reason(lines)
    reason = "; ".join(said)
    slot, at = _place(lines, reason, at)
    refusal = Refusal(
        reason,
        max(count - len(said), 0),
        slot if slot is not None else report.slot,
        report.instruction,
        words=report.reason,
        suggestion=report.suggestion,
        processed=processed,
        complete=bool(statistics),
    )
    if at is None:
        return refusal
    registers = _registers(lines, at, reason)
    return refusal._replace(
        instruction=_instruction(lines[at]),
        registers=registers,
        source=_source(lines, at),
        origin=_origin(lines, at, reason, registers),
    )


# Without the first one if the log begins before it.
def _last_lines(log: str) -> list[str]:
    lines = log[-TAIL:].split("\n")
    if len(log) > TAIL and any(lines[1:]):
        del lines[0]
    # Glued together by kernels that forget to end the line: "for tail callprocessed 3 insns".
    if len(lines) > 1 and (found := STATISTICS.search(lines[-2])) and found.start():
        lines[-2:-1] = [lines[-2][: found.start()], lines[-2][found.start() :]]
    return lines


class _Report(NamedTuple):
    reason: str = ""
    suggestion: str = ""
    slot: int | None = None
    instruction: str = ""


# The log as older kernels would have written it, and the last report that was in it.
def _without_report(lines: list[str]) -> tuple[list[str], _Report]:
    start = len(lines) - 1
    while start >= 0 and not lines[start].startswith(REPORT):
        start -= 1
    if start < 0:
        return lines, _Report()
    paragraphs: dict[str, list[str]] = {}
    heading, end = "", start + 1
    while end < len(lines):
        line = lines[end]
        if line in HEADINGS:
            heading = line
        elif line.startswith(" "):
            paragraphs.setdefault(heading, []).append(line)
        elif line:
            break
        end += 1
    place = next(filter(None, map(POINTED_AT.match, paragraphs.get("At:", []))), None)
    report = _Report(
        " ".join(line.strip() for line in paragraphs.get("Reason:", [])),
        " ".join(line.strip() for line in paragraphs.get("Suggestion:", [])),
        int(place[1]) if place else None,
        place[2].strip() if place else "",
    )
    return lines[:start] + lines[end:], report


# The last sentences of the log, and the line of the instruction they follow, if any.
def _reason(lines: list[str]) -> tuple[list[str], int | None]:
    said: list[str] = []
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        found = INSTRUCTION.match(line)
        if found is not None:
            glued = line.find("BPF program is too large")
            if glued > 0:
                said.append(line[glued:].strip()[:SENTENCE])
            return said[::-1], at
        if len(said) < SENTENCES and not NOISE.match(line) and not STATE.match(line):
            said.append(line.strip().rstrip(".")[:SENTENCE])
    return said[::-1], None


# The refused slot, and the line where the log shows it.
def _place(lines: list[str], reason: str, at: int | None) -> tuple[int | None, int | None]:
    if PLACELESS.search(reason):
        return None, None
    named = PLACED.search(reason)
    if named is None:
        found = INSTRUCTION.match(lines[at]) if at is not None else None
        return (int(found[1]), at) if found else (None, None)
    start = f"{named[1]}: ("
    for other in range(at if at is not None else -1, -1, -1):
        if lines[other].startswith(start):
            return int(named[1]), other
    return int(named[1]), None


def _instruction(line: str) -> str:
    found = INSTRUCTION.match(line)
    text = line[found.end() :] if found else line
    end = END.search(text)
    return (text[: end.start()] if end else text).strip()


def _source(lines: list[str], at: int) -> SourceLine | None:
    for line in reversed(lines[:at]):
        if line.startswith("; "):
            found = SOURCE.match(line)
            if found is None:
                return None
            return SourceLine(found[2].rpartition("/")[2], int(found[3]), 0, found[1])
    return None


# --- registers ---------------------------------------------------------------------------------


# The latest word on each register, looked for backwards until a line that has all of them.
def _registers(lines: list[str], at: int, reason: str) -> dict[str, str]:
    if "infinite loop" in reason:
        for line in reversed(lines):
            if line.startswith(CURRENT):
                return _ordered(dict(_values(line[len(CURRENT) :])))
    known: dict[str, str | None] = {}
    followed = False  # by a line of its own with what the instruction changed
    for line in reversed(lines[:at]):
        instruction = INSTRUCTION.match(line)
        state = _state(line) if instruction is None else line[instruction.end() :]
        if instruction is not None:
            text = _instruction(line)
            state = state[len(text) :]
            branch = re.match(r"\s*\d+: ", state)
            _learn(known, state)
            if branch is not None or (not followed and ";" not in state and _writes(text)):
                break
            if text.startswith("call "):
                for name in CLOBBERED:
                    known.setdefault(name, None)
            followed = False
        elif state:
            _learn(known, state)
            if "R10=" in state or line.startswith(" "):
                break
            followed = True
    return _ordered({name: value for name, value in known.items() if value is not None})


# Pointers and references have an id from the call that returned them.
def _origin(lines: list[str], at: int, reason: str, registers: dict[str, str]) -> int | None:
    acquired = ACQUIRED.search(reason)
    if acquired is not None:
        return int(acquired[1])
    register = re.match(r"R\d+", reason)
    nullable = NULLABLE.search(registers.get(register[0], "")) if register else None
    if nullable is None:
        return None
    returned = re.compile(rf"call .*R0(?:_\w+)?=\w+{re.escape(nullable[0])}\b")
    for line in reversed(lines[:at]):
        found = INSTRUCTION.match(line)
        if found is not None and returned.match(line, found.end()):
            return int(found[1])
    return None


def _learn(known: dict[str, str | None], state: str) -> None:
    for name, value in _values(state):
        known.setdefault(name, value)


def _writes(text: str) -> bool:
    return bool(WRITES.match(text)) and not JUMPS_ALWAYS.match(text)


def _state(line: str) -> str:
    found = STATE.match(line)
    return line[found.end() :] if found else ""


def _values(state: str) -> Iterator[tuple[str, str]]:
    flags = FLAGS.search(state)
    if flags is not None:
        state = state[: flags.start()]
    found = list(VALUE.finditer(state))
    for each, following in itertools.zip_longest(found, found[1:]):
        yield each[1], state[each.end() : following.start() if following else None].strip()


# R0 to R10, then the stack from its base.
def _ordered(registers: dict[str, str]) -> dict[str, str]:
    def rank(name: str) -> tuple[bool, int]:
        number = int(re.sub(r"\D", "", name)[:9])
        return not name.startswith("R"), number

    return dict(sorted(registers.items(), key=lambda each: rank(each[0])))


# --- lines of C --------------------------------------------------------------------------------


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
    return _line(found, btf) if found is not None else None


def lines_around(
    source: SourceLine,
    slots: range,
    line_info: bytes,
    btf: Btf,
    byteorder: Literal["little", "big"],
    *,
    distance: int = 2,
) -> tuple[SourceLine, ...]:
    """Find the lines near *source* that instructions of the same function came from.

    Args:
        source: The line, which is not among the result.
        slots: Of the function.
        line_info: As for `source_line`.
        btf: As for `source_line`.
        byteorder: As for `source_line`.
        distance: How many lines away they may be.

    Returns:
        The lines in order. Those without code of their own are not known.
    """
    near: dict[int, SourceLine] = {}
    for record in LINE_INFO[byteorder].iter_unpack(line_info):
        number = record[3] >> COLUMN_BITS
        if record[0] not in slots or number in near or number == source.line:
            continue
        if abs(number - source.line) <= distance:
            line = _line(record, btf)
            if line is not None and line.file == source.file:
                near[number] = line
    return tuple(near[number] for number in sorted(near))


def _line(record: tuple[int, ...], btf: Btf) -> SourceLine | None:
    _, file_offset, text_offset, line_column = record
    try:
        file, text = btf.string(file_offset), btf.string(text_offset)
    except BtfError:
        return None  # explaining an error must not raise another one
    column = line_column & ((1 << COLUMN_BITS) - 1)
    return SourceLine(file.rpartition("/")[2], line_column >> COLUMN_BITS, column, text)
